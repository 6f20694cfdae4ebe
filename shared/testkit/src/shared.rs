//! One server of each kind for many tests.
//!
//! `cargo x test` starts the servers once and puts their addresses into `RATESTREAM_TEST_<SERVER>` as JSON. Without these
//! variables the first test that asks starts a server for its program; a watcher process stops it at the program's end.

use crate::servers::{StartOptions, influxdb as influx};
use crate::{Cassandra, Elasticsearch, InfluxDb, Kafka, Postgres, PostgresOptions, free_port};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::{Mutex, OnceCell};

/// Where Kafka answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KafkaAddress {
    bootstrap: String,
}

impl KafkaAddress {
    /// Of a started broker.
    pub fn of(server: &Kafka) -> Self {
        Self { bootstrap: server.bootstrap() }
    }

    /// `host:port`.
    pub fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }
}

/// Where PostgreSQL answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PostgresAddress {
    port: u16,
    password: String,
}

impl PostgresAddress {
    /// Of a started server.
    pub fn of(server: &Postgres) -> Self {
        Self { port: server.port(), password: server.password().to_owned() }
    }

    /// Always the loopback address.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser, who may also replicate.
    pub fn user(&self) -> &'static str {
        crate::servers::postgres::USER
    }

    /// That user's password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Connection URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{}:{}@127.0.0.1:{}/{database}", self.user(), self.password, self.port)
    }
}

/// A fresh database of one test.
#[derive(Clone, Debug)]
pub struct Database {
    /// The server it is on.
    pub server: PostgresAddress,
    /// Its name.
    pub name: String,
}

impl Database {
    /// Connection URL.
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }
}

/// Where Elasticsearch answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ElasticsearchAddress {
    url: String,
}

impl ElasticsearchAddress {
    /// Of a started node.
    pub fn of(server: &Elasticsearch) -> Self {
        Self { url: server.url() }
    }

    /// `http://host:port`.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Where Cassandra answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CassandraAddress {
    contact_point: String,
}

impl CassandraAddress {
    /// Of a started node.
    pub fn of(server: &Cassandra) -> Self {
        Self { contact_point: server.contact_point() }
    }

    /// `host:port`.
    pub fn contact_point(&self) -> &str {
        &self.contact_point
    }
}

/// Where InfluxDB answers, and as whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InfluxAddress {
    /// `http://host:port`.
    pub url: String,
    /// Organisation.
    pub org: String,
    /// Bucket.
    pub bucket: String,
    /// Token with all rights.
    pub token: String,
}

impl InfluxAddress {
    /// Of a started server.
    pub fn of(server: &InfluxDb) -> Self {
        Self { url: server.url(), org: influx::ORG.into(), bucket: influx::BUCKET.into(), token: influx::TOKEN.into() }
    }
}

fn from_environment<T: DeserializeOwned>(name: &str) -> Result<Option<T>> {
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    serde_json::from_str(&text).map(Some).with_context(|| format!("{name} is no address: {text}"))
}

macro_rules! shared {
    ($(#[$doc:meta])* $name:ident, $variable:literal, $server:ty, $address:ty, $options:expr) => {
        $(#[$doc])*
        pub async fn $name() -> Result<$address> {
            static ADDRESS: OnceCell<$address> = OnceCell::const_new();
            static SERVER: Mutex<Option<$server>> = Mutex::const_new(None);
            let start = || async {
                if let Some(address) = from_environment($variable)? {
                    return Ok(address);
                }
                let server = <$server>::start($options).await?;
                let address = <$address>::of(&server);
                *SERVER.lock().await = Some(server);
                anyhow::Ok(address)
            };
            ADDRESS.get_or_try_init(start).await.cloned()
        }
    };
}

shared!(
    /// The Kafka of this test run. Use topics and groups with names of your own.
    kafka, "RATESTREAM_TEST_KAFKA", Kafka, KafkaAddress, StartOptions::default()
);
shared!(
    /// The PostgreSQL of this test run. See [`postgres_database`].
    postgres, "RATESTREAM_TEST_POSTGRES", Postgres, PostgresAddress, PostgresOptions::default()
);
shared!(
    /// The Elasticsearch of this test run. Use indexes with names of your own.
    elasticsearch, "RATESTREAM_TEST_ELASTICSEARCH", Elasticsearch, ElasticsearchAddress, StartOptions::default()
);
shared!(
    /// The Cassandra of this test run. Use a keyspace of your own.
    cassandra, "RATESTREAM_TEST_CASSANDRA", Cassandra, CassandraAddress, StartOptions::default()
);
shared!(
    /// The InfluxDB of this test run. Use measurements of your own.
    influxdb, "RATESTREAM_TEST_INFLUXDB", InfluxDb, InfluxAddress, StartOptions::default()
);

/// A fresh, empty database whose name begins with `prefix` (letters, digits, `_`).
pub async fn postgres_database(prefix: &str) -> Result<Database> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let server = postgres().await?;
    // a port drawn from this process's own sequence keeps names apart when process ids repeat
    let name = format!("{prefix}_{}_{}_{}", std::process::id(), free_port()?, NEXT.fetch_add(1, Ordering::Relaxed));
    let name = name.to_lowercase();
    crate::servers::postgres::create_database(&server.url("postgres"), &name).await?;
    Ok(Database { server, name })
}

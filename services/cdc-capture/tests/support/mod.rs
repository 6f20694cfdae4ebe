//! Real PostgreSQL and Kafka, the schema registry and the service, and a reader that sees committed records only.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ratestream_avro::{RegistryClient, Value, codec, envelope, wire};
use ratestream_testkit::{Database, Kafka, Service, ServiceOptions, StartOptions};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value as Json, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// How long anything may take before the test fails: machines are slow when they are busy.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Everything that runs.
pub struct Lab {
    pub kafka: Kafka,
    pub database: Database,
    pub registry: Service,
    pub capture: Service,
    pub http: reqwest::Client,
}

/// One committed record.
#[derive(Debug, Clone)]
pub struct Read {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: BTreeMap<String, String>,
}

impl Lab {
    pub async fn start(prefix: &str) -> Result<Self> {
        let kafka = Kafka::start(StartOptions::default()).await?;
        let database = ratestream_testkit::postgres_database(prefix).await?;
        let registry = ratestream_testkit::service(
            "schema-registry",
            ServiceOptions { kafka: kafka.bootstrap(), ..ServiceOptions::default() },
        )
        .await?;
        let options =
            ServiceOptions { kafka: kafka.bootstrap(), schema_registry: registry.url(), ..ServiceOptions::default() };
        let capture = ratestream_testkit::service("cdc-capture", options).await?;
        let http = ratestream_testkit::install::http_client()?;
        Ok(Self { kafka, database, registry, capture, http })
    }

    pub async fn sql(&self, statements: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&self.database.url()).await?;
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&mut connection)
            .await
            .with_context(|| statements.to_owned())?;
        Ok(())
    }

    /// The article's connector with the addresses of this lab and `extra` on top.
    pub fn connector(&self, extra: &[(&str, &str)]) -> Json {
        let server = &self.database.server;
        let mut config = json!({
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.hostname": server.host(),
            "database.port": server.port().to_string(),
            "database.user": server.user(),
            "database.password": server.password(),
            "database.dbname": self.database.name,
            "database.server.name": "ratingserver",
            "value.converter": "io.confluent.connect.avro.AvroConverter",
            "value.converter.schema.registry.url": self.registry.url(),
            "value.converter.schemas.enable": "true",
            "slot.name": self.database.name,
        });
        for (key, value) in extra {
            config[*key] = json!(value);
        }
        config
    }

    pub async fn post(&self, name: &str, config: Json) -> Result<()> {
        let body = json!({ "name": name, "config": config }).to_string();
        let request = self.http.post(format!("{}/connectors", self.capture.url()));
        let answer = request.header("content-type", "application/json").body(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("POST /connectors answered {status}: {text}");
        }
        Ok(())
    }

    pub async fn status(&self, name: &str) -> Result<String> {
        Ok(self.http.get(format!("{}/connectors/{name}/status", self.capture.url())).send().await?.text().await?)
    }

    pub async fn wait_status(&self, name: &str, wanted: &str) -> Result<String> {
        let start = Instant::now();
        loop {
            let text = self.status(name).await?;
            if text.contains(wanted) {
                return Ok(text);
            }
            if start.elapsed() > PATIENCE {
                bail!("the status of {name} never said {wanted}: {text}\n{}", self.capture.last_log_lines());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Reads committed records of a topic until `enough` says so.
    pub fn read_until(&self, topic: &str, enough: impl Fn(&[Read]) -> bool) -> Result<Vec<Read>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.bootstrap())
            .set("group.id", "test")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .create()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning)?;
        consumer.assign(&list)?;
        let start = Instant::now();
        let mut found = Vec::new();
        while !enough(&found) {
            if start.elapsed() > PATIENCE {
                bail!("{topic} has only {} records after {PATIENCE:?}\n{}", found.len(), self.capture.last_log_lines());
            }
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
            let headers = message.headers().map(|headers| {
                let text = |v: Option<&[u8]>| String::from_utf8_lossy(v.unwrap_or_default()).into_owned();
                headers.iter().map(|h| (h.key.to_owned(), text(h.value))).collect()
            });
            found.push(Read {
                partition: message.partition(),
                offset: message.offset(),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: headers.unwrap_or_default(),
            });
        }
        Ok(found)
    }

    pub async fn decode(&self, bytes: &[u8]) -> Result<Value> {
        let (id, datum) = wire::split(bytes)?;
        let schema = RegistryClient::at(&self.registry.url()).schema(id).await?;
        Ok(codec::decode(&schema, datum)?)
    }

    pub async fn change(&self, read: &Read) -> Result<envelope::Change> {
        let value = self.decode(read.value.as_deref().context("a tombstone")?).await?;
        Ok(envelope::change(value, read.headers.get(envelope::UNCHANGED_HEADER).map(String::as_bytes))?)
    }
}

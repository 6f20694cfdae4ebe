//! Several servers at once.

use crate::servers::StartOptions;
use crate::{Cassandra, Elasticsearch, InfluxDb, Kafka, Postgres, PostgresOptions};
use anyhow::Result;

/// Which servers to start.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerSet {
    /// Kafka.
    pub kafka: bool,
    /// PostgreSQL.
    pub postgres: bool,
    /// Elasticsearch.
    pub elasticsearch: bool,
    /// Cassandra.
    pub cassandra: bool,
    /// InfluxDB.
    pub influxdb: bool,
}

/// Servers of one test, on free ports and with temporary data.
#[derive(Debug, Default)]
pub struct Stack {
    /// Kafka.
    pub kafka: Option<Kafka>,
    /// PostgreSQL.
    pub postgres: Option<Postgres>,
    /// Elasticsearch.
    pub elasticsearch: Option<Elasticsearch>,
    /// Cassandra.
    pub cassandra: Option<Cassandra>,
    /// InfluxDB.
    pub influxdb: Option<InfluxDb>,
}

impl Stack {
    /// Starts them all in parallel; the first failure stops those that had started.
    pub async fn start(set: ServerSet) -> Result<Self> {
        let options = StartOptions::default;
        let (kafka, postgres, elasticsearch, cassandra, influxdb) = tokio::try_join!(
            when(set.kafka, Kafka::start(options())),
            when(set.postgres, Postgres::start(PostgresOptions::default())),
            when(set.elasticsearch, Elasticsearch::start(options())),
            when(set.cassandra, Cassandra::start(options())),
            when(set.influxdb, InfluxDb::start(options())),
        )?;
        Ok(Self { kafka, postgres, elasticsearch, cassandra, influxdb })
    }
}

async fn when<T>(wanted: bool, start: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    if wanted { start.await.map(Some) } else { Ok(None) }
}

//! Source connectors for Kafka: changes of PostgreSQL tables by logical replication, and tables by polling.

pub mod jdbc;
pub mod metrics;
pub mod output;
pub mod postgres;

use std::sync::Arc;

use ratestream_connect::{Connector, TaskError, Worker};
use ratestream_runtime::{Context, Dependency, Routes, Service, StartError};
use serde::Deserialize;

/// The service.
pub struct CdcCapture {
    worker: Worker,
}

/// Nothing of its own: connectors are configured by REST.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

impl Service for CdcCapture {
    const NAME: &'static str = "cdc-capture";
    const PORT: u16 = 8083;
    type Config = Config;

    async fn start(context: Context<Config>) -> Result<Self, StartError> {
        ratestream_telemetry::start(&context);
        let connectors: Vec<Arc<dyn Connector>> =
            vec![Arc::new(postgres::PostgresConnector), Arc::new(jdbc::JdbcConnector)];
        Ok(Self { worker: Worker::start(&context, connectors) })
    }

    fn routes(&self) -> Routes {
        self.worker.routes()
    }

    async fn stop(self) {
        // the fabric's actors drain with the process's shutdown, which was triggered before
        drop(self.worker);
    }
}

/// A database that is away makes the service unready; a connector that needs a human does not: its own status is FAILED,
/// and the others go on.
fn report(health: &Dependency, result: &Result<(), TaskError>, stopping: bool) {
    match result {
        Err(error @ TaskError::Transient { .. }) if !stopping => health.down(error),
        _ => health.remove(),
    }
}

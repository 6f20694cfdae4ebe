//! events-to-cassandra: carries user events (and any other topic) from Kafka into Cassandra, with DataStax's mapping syntax.
//! Every write has the source position as its timestamp, so that a replay never undoes newer data.

mod connector;
mod convert;
mod mapping;
mod sink;
mod statement;

use ratestream_connect::Worker;
use ratestream_runtime::{Context, Routes, Service, StartError};
use std::sync::Arc;

/// The service.
pub struct EventsToCassandra {
    worker: Worker,
}

/// It has no sections of its own: everything is configured per connector.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

impl Service for EventsToCassandra {
    const NAME: &'static str = "events-to-cassandra";
    const PORT: u16 = 8085;
    type Config = Config;

    async fn start(context: Context<Config>) -> Result<Self, StartError> {
        ratestream_telemetry::start(&context);
        Ok(EventsToCassandra { worker: Worker::start(&context, vec![Arc::new(connector::CassandraSink)]) })
    }

    fn routes(&self) -> Routes {
        self.worker.routes()
    }

    fn owns_health_route() -> bool {
        true
    }

    async fn stop(self) {}
}

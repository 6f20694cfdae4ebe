//! metrics-to-influx: carries counts and metrics from Kafka into InfluxDB 2 as points, by line protocol.
//! A point's identity (tags and time) follows from its record, so that a replay writes the same points again.

mod connector;
mod influx;
mod line;
mod point;
mod sink;

use ratestream_connect::Worker;
use ratestream_runtime::{Context, Routes, Service, StartError};
use std::sync::Arc;

/// The service.
pub struct MetricsToInflux {
    worker: Worker,
}

/// It has no sections of its own: everything is configured per connector.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

impl Service for MetricsToInflux {
    const NAME: &'static str = "metrics-to-influx";
    const PORT: u16 = 8087;
    type Config = Config;

    async fn start(context: Context<Config>) -> Result<Self, StartError> {
        ratestream_telemetry::start(&context);
        Ok(MetricsToInflux { worker: Worker::start(&context, vec![Arc::new(connector::InfluxDbSink)]) })
    }

    fn routes(&self) -> Routes {
        self.worker.routes()
    }

    fn owns_health_route() -> bool {
        true
    }

    async fn stop(self) {}
}

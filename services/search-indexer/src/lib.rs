//! search-indexer: carries rows and logs from Kafka into Elasticsearch (8, 9) or OpenSearch, compatible with Confluent's
//! Elasticsearch sink connector. Document id = record key, external version = source position, so replays never undo newer data.

mod bulk;
mod connector;
mod document;
mod elasticsearch;
mod sink;

use ratestream_connect::Worker;
use ratestream_runtime::{Context, Routes, Service, StartError};
use std::sync::Arc;

/// The service.
pub struct SearchIndexer {
    worker: Worker,
}

/// It has no sections of its own: everything is configured per connector.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

impl Service for SearchIndexer {
    const NAME: &'static str = "search-indexer";
    const PORT: u16 = 8084;
    type Config = Config;

    async fn start(context: Context<Config>) -> Result<Self, StartError> {
        ratestream_telemetry::start(&context);
        Ok(SearchIndexer { worker: Worker::start(&context, vec![Arc::new(connector::ElasticsearchSink)]) })
    }

    fn routes(&self) -> Routes {
        self.worker.routes()
    }

    fn owns_health_route() -> bool {
        true
    }

    async fn stop(self) {}
}

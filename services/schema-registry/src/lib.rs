//! A schema registry that speaks Confluent's REST API and keeps everything in the compacted topic `_schemas`.
//!
//! [`store`] is the state and its log, [`compat`] the rules of evolution, [`actors`] the reader and the writer of the log,
//! [`rest`] the API.

pub mod actors;
pub mod compat;
pub mod config;
pub mod error;
pub mod rest;
pub mod store;

use std::sync::Arc;

use actix_web::web;
use ratestream_avro::RegistryClient;
use ratestream_kafka::Kafka;
use ratestream_runtime::{Context, Routes, Service, StartError};
use tokio::sync::{Mutex, mpsc};

use actors::follower::Follower;
use actors::writer::Writer;
use config::Config;
use rest::Registry;
use store::index::Index;
use store::log::Log;
use store::model::Level;

/// Requests that may wait for the writer; more are answered 503.
const WAITING_MAX: usize = 1024;

/// The service.
pub struct SchemaRegistry {
    registry: Registry,
}

impl Service for SchemaRegistry {
    const NAME: &'static str = "schema-registry";
    const PORT: u16 = 8081;
    type Config = Config;

    async fn start(context: Context<Config>) -> Result<Self, StartError> {
        let config = context.config.registry.clone();
        if Level::from_name(&config.compatibility).is_none() {
            let levels: Vec<&str> = Level::ALL.iter().map(|(_, name)| *name).collect();
            let text = format!(
                "registry.compatibility = {:?} is not a level: use one of {}",
                config.compatibility,
                levels.join(", ")
            );
            return Err(StartError(text));
        }
        let itself = RegistryClient::at(&format!("http://{}", context.settings.http.bind));
        ratestream_telemetry::start_with(&context, &itself);
        let kafka = Kafka::new(&context.settings.kafka, Self::NAME);
        let log = Arc::new(Log::new(Index::new(config.level())));
        let follower = Follower {
            kafka: kafka.clone(),
            config: config.clone(),
            log: log.clone(),
            health: context.health.dependency("log"),
        };
        context.supervisor.spawn_loop("log-follower", move |child| follower.clone().run(child));
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let writer = Writer { kafka, config, log: log.clone(), jobs: Arc::new(Mutex::new(receiver)) };
        context.supervisor.spawn_loop("log-writer", move |child| writer.clone().run(child));
        let bytes_max = context.settings.http.body_bytes_max;
        Ok(SchemaRegistry { registry: Registry { log, jobs: sender, body_bytes_max: bytes_max } })
    }

    fn routes(&self) -> Routes {
        let registry = web::Data::new(self.registry.clone());
        Arc::new(move |config| rest::routes(config, &registry))
    }

    async fn stop(self) {}
}

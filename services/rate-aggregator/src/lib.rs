//! ksqlDB's job for counts by region, country and time: continuous queries over Kafka topics, right under update and delete.
//!
//! [`sql`] is the language, [`catalog`] what exists, [`engine`] what queries do with records, [`actors`] who drives it,
//! [`rest`] ksqlDB's HTTP interface.

pub mod actors;
pub mod catalog;
pub mod config;
pub mod engine;
pub mod metrics;
pub mod rest;
pub mod sql;
pub mod state;
pub mod view;

use std::sync::Arc;

use actix_web::web;
use ratestream_avro::RegistryClient;
use ratestream_kafka::Kafka;
use ratestream_runtime::{Context, Routes, Service, StartError};
use tokio::sync::{Mutex, mpsc};

use actors::commands::Commands;
use config::Config;
use engine::decode::Registry;
use rest::Api;
use state::State;

/// Batches of effects that may wait.
const EFFECTS_MAX: usize = 64;

/// The service.
pub struct RateAggregator {
    api: Api,
}

impl Service for RateAggregator {
    const NAME: &'static str = "rate-aggregator";
    const PORT: u16 = 8088;
    type Config = Config;

    async fn start(context: Context<Config>) -> Result<Self, StartError> {
        ratestream_telemetry::start(&context);
        let kafka = Kafka::new(&context.settings.kafka, Self::NAME);
        let client = RegistryClient::new(&context.settings.schema_registry);
        let registry = Registry::new(client, tokio::runtime::Handle::current());
        let producer = kafka
            .producer_config()
            .create()
            .map_err(|error| StartError(format!("the producer of statements cannot be made: {error}")))?;
        let state = Arc::new(State::new(kafka, registry, context.config.aggregator.clone()));
        let (effects, received) = mpsc::channel(EFFECTS_MAX);
        let (this, supervisor, received) = (state.clone(), context.supervisor.clone(), Arc::new(Mutex::new(received)));
        context.supervisor.spawn_loop("runner", move |child| {
            actors::runner::carry_out(this.clone(), supervisor.clone(), received.clone(), child)
        });
        let commands = Commands { state: state.clone(), effects, health: context.health.dependency("command-topic") };
        context.supervisor.spawn_loop("commands", move |child| commands.clone().run(child));
        Ok(RateAggregator { api: Api { state, producer } })
    }

    fn routes(&self) -> Routes {
        let api = web::Data::new(self.api.clone());
        Arc::new(move |config| rest::routes(config, &api))
    }

    async fn stop(self) {}
}

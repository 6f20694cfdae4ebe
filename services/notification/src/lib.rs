//! notification: a mail to the support desk for every rating that falls below the threshold, one each.
//!
//! A stream task finds the alerts and writes each, with the consumed offset, into the ledger topic in one Kafka transaction; the
//! mailer follows the ledger, hands each queued alert to the SMTP server and records the outcome there. Every alert is mailed;
//! none twice, except that a crash between the server's acceptance and the ledger's record repeats one mail with the same
//! Message-ID.

mod actors;
pub mod config;
mod ledger;
mod mail;
mod rest;
mod rule;
mod task;
mod transport;

use actors::mailer::Mailer;
use config::Config;
use ledger::Outbox;
use ratestream_avro::{BlockingRegistry, RegistryClient};
use ratestream_kafka::Kafka;
use ratestream_runtime::{Context, Routes, Service, StartError};
use ratestream_streams::{Stage, StageStatus, supervise};
use rule::Rule;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use task::AlertTask;

/// Consumer group and prefix of internal topics.
const APPLICATION: &str = "ratestream-notification";
/// Topic of the ledger: key = alert id, value = JSON of `ledger::Entry`.
pub const LEDGER: &str = "ratestream.notification.ledger";

/// The service.
pub struct Notification {
    outbox: Arc<Mutex<Outbox>>,
}

impl Service for Notification {
    const NAME: &'static str = "notification";
    const PORT: u16 = 8090;
    type Config = Config;

    async fn start(context: Context<Config>) -> Result<Self, StartError> {
        let config = context.config.clone();
        let mail = mail::Composer::new(&config).map_err(StartError)?;
        let transport = transport::Transport::new(&config.smtp).map_err(StartError)?;
        ratestream_telemetry::start(&context);
        let kafka = Kafka::new(&context.settings.kafka, Self::NAME);
        let registry = RegistryClient::new(&context.settings.schema_registry);
        let rule = Arc::new(Rule::new(&config.alerts));
        let status = Arc::new(StageStatus::default());
        let stage = Stage {
            application: APPLICATION.to_owned(),
            inputs: vec![config.alerts.topic.clone()],
            changelog: Some(format!("{APPLICATION}-changelog")),
            from_beginning: true,
            commit_interval: Duration::from_millis(100),
            task: Arc::new(move |_| Box::new(AlertTask::new(rule.clone(), BlockingRegistry::new(registry.clone())))),
        };
        supervise(&context.supervisor, &kafka, stage, status.clone());
        let outbox = Arc::new(Mutex::new(Outbox::default()));
        let mailer = Mailer {
            kafka,
            outbox: outbox.clone(),
            status,
            mail: Arc::new(mail),
            transport,
            in_flight_max: config.smtp.connections.clamp(1, 100) as usize,
            smtp: context.health.dependency("smtp"),
            log: context.health.dependency("kafka"),
        };
        context.supervisor.spawn_loop("mailer", move |child| mailer.clone().run(child));
        Ok(Notification { outbox })
    }

    fn routes(&self) -> Routes {
        let outbox = actix_web::web::Data::from(self.outbox.clone());
        Arc::new(move |config| rest::routes(config, &outbox))
    }

    async fn stop(self) {}
}

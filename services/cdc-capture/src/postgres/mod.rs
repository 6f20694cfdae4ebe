//! `io.debezium.connector.postgresql.PostgresConnector`: changes of PostgreSQL tables by logical replication.

pub mod catalog;
pub mod encoder;
pub mod error;
pub mod keys;
pub mod offset;
pub mod pgoutput;
pub mod replication;
pub mod settings;
pub mod snapshot;
pub mod source;
pub mod stream;
pub mod table;
pub mod tables;
pub mod text;
pub mod types;
pub mod values;
pub mod writer;

use std::sync::Arc;
use std::time::Duration;

use ratestream_avro::RegistryClient;
use ratestream_connect::{ConfigError, Connector, ConnectorConfig, Descriptor, Kind, TaskContext, TaskError};
use serde_json::json;

use catalog::Catalog;
use offset::{Offset, Slot, Stage, Start};
use settings::{Settings, SnapshotMode};
use tables::Tables;
use writer::Rules;

use crate::metrics::metrics;
use crate::output::{Batch, Boundary, Output};

/// How often the slot is looked at.
const WATCH: Duration = Duration::from_secs(15);

/// The class.
#[derive(Debug, Default)]
pub struct PostgresConnector;

#[async_trait::async_trait(?Send)]
impl Connector for PostgresConnector {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            class: "io.debezium.connector.postgresql.PostgresConnector",
            aliases: &["PostgresConnector", "PostgreSqlConnector"],
            kind: Kind::Source,
            version: "3.7.0.Final",
            keys: keys::KEYS,
        }
    }

    fn validate(&self, config: &ConnectorConfig) -> Vec<ConfigError> {
        let name = config.get("name").unwrap_or("connector");
        Settings::parse(config, name).err().unwrap_or_default()
    }

    async fn run(&self, task: TaskContext) -> Result<(), TaskError> {
        for note in settings::notes(&task.config) {
            tracing::warn!(connector = task.connector, "{note}");
        }
        let settings = Arc::new(Settings::for_task(&task.config, &task.connector)?);
        let health = task.health.dependency(&format!("postgresql/{}", task.connector));
        let result = Run { task: &task, settings: &settings, health: &health }.run().await;
        crate::report(&health, &result, task.stop.is_triggered());
        result
    }
}

struct Run<'a> {
    task: &'a TaskContext,
    settings: &'a Arc<Settings>,
    health: &'a ratestream_runtime::Dependency,
}

impl Run<'_> {
    async fn run(&self) -> Result<(), TaskError> {
        let (task, settings) = (self.task, self.settings);
        let mut catalog = Catalog::connect(&settings.database).await?;
        catalog.preflight().await?;
        let list = catalog.tables(settings).await?;
        catalog.publication(settings, &list).await?;
        // fence the former owner first: the position read next is then the last one it could store
        let mut output = Output::start(&task.kafka, &task.offsets.transactional_id()).await?;
        let partition = json!({ "server": settings.prefix });
        let stored = task.offsets.load(&partition).await?.as_ref().and_then(Offset::parse);
        let mut session =
            replication::connect(settings, stored.as_ref().filter(|o| !o.in_snapshot).map_or(0, |o| o.lsn)).await?;
        let slot = catalog.slot(&settings.slot).await?;
        let place = (session.system.as_str(), settings.database.name.as_str());
        let start =
            offset::decide(settings.snapshot, &settings.slot, &task.connector, stored.as_ref(), slot.as_ref(), place)?;
        tracing::info!(connector = task.connector, ?start, slot = settings.slot, "capture starts");
        self.health.up();
        let registry = match &settings.registry {
            Some(url) if *url != task.registry.url() => RegistryClient::at(url),
            _ => task.registry.clone(),
        };
        let mut tables = Tables::new(Arc::clone(settings), registry, task.kafka.clone());
        let rules = Rules { tombstones: settings.tombstones, skipped: settings.skipped.clone() };
        let from = match start {
            Start::Resume { lsn } => lsn,
            Start::Fresh => self.fresh(&mut session, &mut output, &partition).await?,
            Start::Snapshot(slot) => {
                let mut work = Work { output: &mut output, tables: &mut tables, partition: &partition, rules: &rules };
                match self.snapshot(&mut catalog, &mut session, &mut work, (slot, &list)).await? {
                    Some(lsn) => lsn,
                    None => return output.close().await,
                }
            }
        };
        if settings.snapshot == SnapshotMode::InitialOnly {
            task.status.note("snapshot completed; initial_only ends here");
            task.stop.triggered().await;
            return output.close().await;
        }
        replication::release(&mut catalog, settings, task).await?;
        drop(catalog);
        session.start(settings).await?;
        task.status.note(format!("streaming from {}", offset::lsn_text(from)));
        let watch = Watch::start(settings, task);
        let parts = stream::Parts {
            task,
            settings,
            output: &mut output,
            tables: &mut tables,
            partition: &partition,
            system: &session.system,
            rules: &rules,
        };
        let result = stream::Stream::new(parts, from).run(&mut session.client).await;
        drop(watch);
        session.client.stop();
        result?;
        output.close().await
    }

    /// A slot without a snapshot.
    async fn fresh(
        &self,
        session: &mut replication::Session,
        output: &mut Output,
        partition: &serde_json::Value,
    ) -> Result<u64, TaskError> {
        let slot = session.create_slot(self.settings, self.task).await?;
        let offset = Offset::streaming(slot.consistent, 0, snapshot::now_micros(), &session.system);
        let offset = self.task.offsets.record(partition, &offset);
        output.send(Batch::default(), Some(Boundary { offset, lsn: slot.consistent })).await?;
        output.settle().await?;
        Ok(slot.consistent)
    }

    /// All rows of all tables; answers where the stream begins, `None` when stopped before the end.
    async fn snapshot(
        &self,
        catalog: &mut Catalog,
        session: &mut replication::Session,
        work: &mut Work<'_>,
        (slot, list): (Slot, &[catalog::Table]),
    ) -> Result<Option<u64>, TaskError> {
        let (task, settings) = (self.task, self.settings);
        let system = session.system.clone();
        let record = |stage, lsn| {
            let offset = Offset::snapshot(lsn, snapshot::now_micros(), stage, &system);
            task.offsets.record(work.partition, &offset)
        };
        let (floor, from, exported) = match slot {
            Slot::Keep { floor, from } => (floor, from, None),
            Slot::Create | Slot::Recreate => {
                if slot == Slot::Recreate {
                    replication::release(catalog, settings, task).await?;
                    replication::drop_slot(catalog, settings).await?;
                }
                // stored before the slot is made: a slot found at the next start is then known to be ours
                let floor = catalog.wal_end().await?;
                let under_way = Boundary { offset: record(Stage::Announced, floor), lsn: 0 };
                work.output.send(Batch::default(), Some(under_way)).await?;
                work.output.settle().await?;
                *session = replication::connect(settings, 0).await?;
                let new = session.create_slot(settings, task).await?;
                (floor, new.consistent, Some(new.snapshot))
            }
        };
        let mut run = snapshot::Snapshot {
            task,
            settings,
            output: work.output,
            tables: work.tables,
            partition: work.partition,
            system: &system,
            floor,
            rules: work.rules,
        };
        if !run.run(exported.as_deref(), list).await? {
            return Ok(None);
        }
        let completed = Boundary { offset: record(Stage::Completed, from), lsn: from };
        work.output.send(Batch::default(), Some(completed)).await?;
        work.output.settle().await?;
        Ok(Some(from))
    }
}

struct Work<'a> {
    output: &'a mut Output,
    tables: &'a mut Tables,
    partition: &'a serde_json::Value,
    rules: &'a Rules,
}

/// Looks at the slot now and then; ends with its owner.
struct Watch(tokio::task::JoinHandle<()>);

impl Watch {
    fn start(settings: &Arc<Settings>, task: &TaskContext) -> Self {
        let (settings, connector, status) = (Arc::clone(settings), task.connector.clone(), task.status.clone());
        Self(tokio::spawn(async move {
            loop {
                match slot_state(&settings).await {
                    Ok(Some(slot)) => {
                        metrics().retained.with_label_values(&[&connector]).set(slot.retained);
                        let at = offset::lsn_text(slot.confirmed);
                        status
                            .note(format!("streaming; confirmed {at}, the slot keeps {} bytes of WAL", slot.retained));
                    }
                    Ok(None) => {}
                    Err(error) => tracing::debug!(%error, "the slot was not looked at"),
                }
                tokio::time::sleep(WATCH).await;
            }
        }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn slot_state(settings: &Settings) -> Result<Option<offset::SlotState>, TaskError> {
    Catalog::connect(&settings.database).await?.slot(&settings.slot).await
}

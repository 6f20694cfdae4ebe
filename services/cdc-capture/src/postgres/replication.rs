//! The replication connection and its slot.

use std::path::PathBuf;
use std::time::Duration;

use pgwire_replication::client::ReplicationClient;
use pgwire_replication::config::{ReplicationConfig, SslMode, TlsConfig};
use pgwire_replication::{Lsn, PgWireError};
use ratestream_connect::{TaskContext, TaskError};
use ratestream_runtime::backoff::Backoff;

use super::catalog::Catalog;
use super::error::{literal, replication};
use super::offset::parse_lsn;
use super::settings::{Database, Settings};
use super::text::SESSION_OPTIONS;

/// Confirmed positions go to the server at most this often.
const STATUS: Duration = Duration::from_millis(500);
/// Events between the socket and us; rows may be wide, so only a few.
const EVENTS: usize = 512;
/// After this time the transaction that blocks a slot's creation is named.
const PATIENCE: Duration = Duration::from_secs(3);

/// A session that has not started to stream.
pub struct Session {
    /// The client.
    pub client: ReplicationClient,
    /// Identifies the cluster.
    pub system: String,
}

/// A slot just made.
#[derive(Debug)]
pub struct NewSlot {
    /// Everything before is in the snapshot, everything after in the stream.
    pub consistent: u64,
    /// Snapshot of that moment, until the session streams.
    pub snapshot: String,
}

/// Connects; streaming will begin at `start` (0: where the slot stands).
///
/// # Errors
/// Classified.
pub async fn connect(settings: &Settings, start: u64) -> Result<Session, TaskError> {
    let database = &settings.database;
    let mut config = ReplicationConfig::new(
        database.host.as_str(),
        database.user.as_str(),
        database.password.expose(),
        database.name.as_str(),
        settings.slot.as_str(),
        format!("\"{}\"", settings.publication),
    )
    .with_port(database.port)
    .with_start_lsn(Lsn::from_u64(start))
    .with_status_interval(STATUS)
    .with_buffer_size(EVENTS)
    .with_options(SESSION_OPTIONS)
    .with_application_name(database.application.as_str());
    config.tls = tls(database);
    let failed = |error: PgWireError| replication(database, "opening the replication connection", &error);
    let mut client = ReplicationClient::connect_gated(config).await.map_err(failed)?;
    let system = client.identify_system().await.map_err(failed)?.system_id;
    Ok(Session { client, system })
}

fn tls(database: &Database) -> TlsConfig {
    let mode = match database.sslmode.as_str() {
        "disable" => SslMode::Disable,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => SslMode::Prefer,
    };
    let mut tls =
        TlsConfig { mode, ca_pem_path: database.root_certificate.as_ref().map(PathBuf::from), ..TlsConfig::default() };
    if let Some((certificate, key)) = &database.client {
        tls = tls.with_client_cert(certificate, key);
    }
    tls
}

impl Session {
    /// Makes the slot. PostgreSQL waits for every open transaction meanwhile; the status names the oldest.
    ///
    /// # Errors
    /// Classified.
    pub async fn create_slot(&mut self, settings: &Settings, task: &TaskContext) -> Result<NewSlot, TaskError> {
        let statement = format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput EXPORT_SNAPSHOT", settings.slot);
        let create = self.client.simple_query(&statement);
        tokio::pin!(create);
        let rows = loop {
            tokio::select! {
                result = &mut create => break result,
                () = task.stop.triggered() => return Err(TaskError::transient("The task was stopped while its slot was being made.")),
                () = tokio::time::sleep(PATIENCE) => {
                    let waiting = Catalog::connect(&settings.database).await?.oldest_transaction().await?;
                    let whom = waiting.unwrap_or_else(|| "no open transaction is visible".to_owned());
                    task.progress.tick();
                    task.status.note(format!("PostgreSQL makes the replication slot when all open transactions have ended: {whom}"));
                }
            }
        };
        let rows = rows.map_err(|error| replication(&settings.database, "making the replication slot", &error))?;
        let text = |n: usize| {
            let cell = rows.first().and_then(|row| row.get(n)).and_then(Option::as_ref);
            cell.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
        };
        match (parse_lsn(&text(1)), text(2)) {
            (Some(consistent), snapshot) if !snapshot.is_empty() => Ok(NewSlot { consistent, snapshot }),
            _ => Err(TaskError::transient("PostgreSQL answered CREATE_REPLICATION_SLOT unexpectedly.")),
        }
    }

    /// Starts to stream.
    ///
    /// # Errors
    /// Classified; a slot still held by somebody is transient.
    pub async fn start(&mut self, settings: &Settings) -> Result<(), TaskError> {
        let failed = |error: PgWireError| replication(&settings.database, "starting replication", &error);
        self.client.start().await.map_err(failed)?;
        self.client.wait_started().await.map_err(failed)
    }
}

/// Waits until nobody holds the slot. A walsender of this very connector (its owner was killed) is ended; another
/// reader is left alone and named.
///
/// # Errors
/// After some seconds, transient.
pub async fn release(catalog: &mut Catalog, settings: &Settings, task: &TaskContext) -> Result<(), TaskError> {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));
    for _ in 0..20 {
        let Some(slot) = catalog.slot(&settings.slot).await? else { return Ok(()) };
        let Some(pid) = slot.active_pid else { return Ok(()) };
        let holder = slot.holder.unwrap_or_default();
        if holder == settings.database.application {
            tracing::info!(
                pid,
                slot = settings.slot,
                "ending the replication connection of this connector's former owner"
            );
            catalog
                .run("ending a former replication connection", format!("SELECT pg_terminate_backend({pid})"))
                .await?;
        } else {
            task.status.note(format!("The replication slot {} is in use by {holder:?} (pid {pid})", settings.slot));
        }
        if task.stop.sleep(backoff.next()).await {
            break;
        }
    }
    Err(TaskError::transient(format!("The replication slot {} stays in use by another reader.", settings.slot)))
}

/// Drops the connector's own slot.
///
/// # Errors
/// Classified.
pub async fn drop_slot(catalog: &mut Catalog, settings: &Settings) -> Result<(), TaskError> {
    let name = literal(&settings.slot);
    catalog
        .run(
            "dropping the replication slot",
            format!("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {name}"),
        )
        .await
}

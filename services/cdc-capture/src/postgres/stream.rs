//! The stream: WAL to batches, boundaries at the ends of transactions, confirmed positions back to the server.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use pgwire_replication::Lsn;
use pgwire_replication::client::{ReplicationClient, ReplicationEvent};
use ratestream_connect::{TaskContext, TaskError};
use serde_json::Value as Json;

use super::error::replication;
use super::offset::Offset;
use super::pgoutput::{Message, Scratch, decode};
use super::settings::Settings;
use super::snapshot::{bad_value, now_micros};
use super::source::{Event, Mark};
use super::tables::Tables;
use super::writer::{self, Rules};
use crate::metrics::metrics;
use crate::output::{BATCH_BYTES, Batch, Boundary, Output};

/// PostgreSQL counts from 2000-01-01.
const EPOCH: i64 = 946_684_800_000_000;
/// How often a position without events is stored, so that the slot of a quiet table moves on.
const IDLE: Duration = Duration::from_secs(5);
/// At the end of a transaction a batch of this size is handed over although more input waits.
const SOFT_BYTES: usize = BATCH_BYTES / 4;

/// The open transaction.
#[derive(Debug, Clone, Default)]
struct Transaction {
    xid: u32,
    commit_micros: i64,
    origin: Option<(String, u64)>,
}

/// The last complete transaction.
#[derive(Debug, Clone, Copy, Default)]
struct Completed {
    lsn: u64,
    xid: u32,
    commit_micros: i64,
}

/// A running stream.
pub struct Stream<'a> {
    task: &'a TaskContext,
    settings: &'a Settings,
    output: &'a mut Output,
    tables: &'a mut Tables,
    partition: &'a Json,
    system: &'a str,
    rules: &'a Rules,
    scratch: Scratch,
    batch: Batch,
    open: Option<Transaction>,
    completed: Completed,
    /// Position that was handed over with the last boundary.
    stored: u64,
    stored_at: Instant,
    transactions: u64,
}

/// What the stream works with.
pub struct Parts<'a> {
    /// Task.
    pub task: &'a TaskContext,
    /// Settings.
    pub settings: &'a Settings,
    /// Where records go.
    pub output: &'a mut Output,
    /// Encoders.
    pub tables: &'a mut Tables,
    /// Partition of the stored offsets.
    pub partition: &'a Json,
    /// System identifier.
    pub system: &'a str,
    /// What to write.
    pub rules: &'a Rules,
}

impl<'a> Stream<'a> {
    /// After the transaction that ended at `start`.
    pub fn new(parts: Parts<'a>, start: u64) -> Self {
        let Parts { task, settings, output, tables, partition, system, rules } = parts;
        Self {
            task,
            settings,
            output,
            tables,
            partition,
            system,
            rules,
            scratch: Scratch::default(),
            batch: Batch::default(),
            open: None,
            completed: Completed { lsn: start, ..Completed::default() },
            stored: start,
            stored_at: Instant::now(),
            transactions: 0,
        }
    }

    /// Streams until the task is stopped.
    ///
    /// # Errors
    /// Classified.
    pub async fn run(&mut self, client: &mut ReplicationClient) -> Result<(), TaskError> {
        let failed = |settings: &Settings, error| replication(&settings.database, "reading changes", &error);
        let ended = || TaskError::transient("PostgreSQL ended the replication connection.");
        while !self.task.stop.is_triggered() {
            let event = match client.recv().now_or_never() {
                Some(event) => event,
                None => {
                    // no more input waits: what is complete is committed at once
                    if self.open.is_none() && !self.batch.is_empty() {
                        self.flush().await?;
                    }
                    tokio::select! {
                        biased;
                        () = self.task.stop.triggered() => break,
                        durable = self.output.progressed() => {
                            client.update_applied_lsn(Lsn::from_u64(durable?.lsn));
                            continue;
                        }
                        event = client.recv() => event,
                        () = tokio::time::sleep(Duration::from_secs(1)) => {
                            self.task.progress.tick();
                            continue;
                        }
                    }
                }
            };
            let event = event.map_err(|error| failed(self.settings, error))?.ok_or_else(ended)?;
            self.handle(event).await?;
            let full = self.batch.bytes() > if self.open.is_none() { SOFT_BYTES } else { BATCH_BYTES };
            if full {
                self.flush().await?;
                client.update_applied_lsn(Lsn::from_u64(self.output.durable().lsn));
            }
        }
        if self.open.is_none() && !self.batch.is_empty() {
            self.flush().await?;
            client.update_applied_lsn(Lsn::from_u64(self.output.settle().await?.lsn));
        }
        Ok(())
    }

    async fn handle(&mut self, event: ReplicationEvent) -> Result<(), TaskError> {
        match event {
            ReplicationEvent::Begin { xid, commit_time_micros, .. } => {
                self.open = Some(Transaction { xid, commit_micros: commit_time_micros + EPOCH, origin: None });
                Ok(())
            }
            ReplicationEvent::XLogData { wal_start, data, .. } => self.change(wal_start.as_u64(), &data).await,
            ReplicationEvent::Commit { end_lsn, .. } => {
                let open = self.open.take().unwrap_or_default();
                self.completed = Completed { lsn: end_lsn.as_u64(), xid: open.xid, commit_micros: open.commit_micros };
                self.transactions += 1;
                self.idle().await
            }
            ReplicationEvent::KeepAlive { wal_end, .. } => {
                let labels = &[self.task.connector.as_str()];
                let confirmed = self.output.durable().lsn.max(self.stored);
                let lag = wal_end.as_u64().saturating_sub(confirmed);
                metrics().lag_bytes.with_label_values(labels).set(i64::try_from(lag).unwrap_or(i64::MAX));
                if self.open.is_none() {
                    self.completed.lsn = self.completed.lsn.max(wal_end.as_u64());
                    self.idle().await?;
                }
                Ok(())
            }
            // logical messages and whatever comes later carry no row
            _ => Ok(()),
        }
    }

    /// Stores a position without events now and then, never ahead of an event.
    async fn idle(&mut self) -> Result<(), TaskError> {
        let due = self.stored_at.elapsed() >= IDLE && self.completed.lsn > self.stored;
        if due && self.batch.is_empty() && self.output.is_settled() {
            metrics().lag_ms.with_label_values(&[&self.task.connector]).set(0);
            return self.flush().await;
        }
        Ok(())
    }

    async fn change(&mut self, lsn: u64, data: &[u8]) -> Result<(), TaskError> {
        let message = decode(data, &mut self.scratch).map_err(TaskError::transient)?;
        let (relation, truncated) = match message {
            Message::Relation(relation) => return self.tables.announce(relation).await,
            Message::Origin { lsn, name } => {
                if let Some(open) = &mut self.open {
                    open.origin = Some((name.to_owned(), lsn));
                }
                return Ok(());
            }
            Message::Other => return Ok(()),
            Message::Truncate { ref relations } => (0, relations.clone()),
            Message::Insert { relation, .. } | Message::Update { relation, .. } | Message::Delete { relation, .. } => {
                (relation, Vec::new())
            }
        };
        let open = self.open.as_ref();
        let event = Event {
            commit_micros: open.map_or(0, |t| t.commit_micros),
            processed_micros: now_micros(),
            mark: Mark::False,
            xid: open.map_or(0, |t| t.xid),
            lsn,
            last_commit: self.completed.lsn,
            origin: open.and_then(|t| t.origin.as_ref()).map(|(name, lsn)| (name.as_str(), *lsn)),
        };
        for id in truncated {
            if let Some(Some(table)) = self.tables.get(id) {
                writer::truncate(&mut self.batch, table, &event, self.rules)
                    .map_err(|bad| bad_value(table, &bad.column))?;
            }
        }
        if matches!(message, Message::Truncate { .. }) {
            return Ok(());
        }
        let table = match self.tables.get(relation) {
            Some(Some(table)) => table,
            Some(None) => return Ok(()),
            None => {
                return Err(TaskError::transient(format!(
                    "PostgreSQL sent a change of the relation {relation} before its columns."
                )));
            }
        };
        let (batch, rules) = (&mut self.batch, self.rules);
        let (old, new) = (self.scratch.old(data), self.scratch.new_row(data));
        let written = match message {
            Message::Insert { .. } => writer::insert(batch, table, "c", new, &event, rules),
            Message::Update { old: kind, .. } => writer::update(batch, table, (kind, old), new, &event, rules),
            _ => writer::delete(batch, table, old, &event, rules),
        };
        written.map_err(|bad| bad_value(table, &bad.column))
    }

    /// Hands the batch over; between transactions with the position it ends at.
    async fn flush(&mut self) -> Result<(), TaskError> {
        let labels = &[self.task.connector.as_str()];
        metrics().events.with_label_values(labels).inc_by(self.batch.len() as u64);
        metrics().transactions.with_label_values(labels).inc_by(std::mem::take(&mut self.transactions));
        if !self.batch.is_empty() && self.completed.commit_micros > 0 {
            let age = (now_micros() - self.completed.commit_micros) / 1000;
            metrics().lag_ms.with_label_values(labels).set(age.max(0));
        }
        let boundary = self.open.is_none().then(|| {
            let Completed { lsn, xid, commit_micros } = self.completed;
            let offset = Offset::streaming(lsn, xid, commit_micros, self.system);
            self.stored = lsn;
            self.stored_at = Instant::now();
            Boundary { offset: self.task.offsets.record(self.partition, &offset), lsn }
        });
        self.task.progress.tick();
        self.output.send(std::mem::take(&mut self.batch), boundary).await.map(|_| ())
    }
}

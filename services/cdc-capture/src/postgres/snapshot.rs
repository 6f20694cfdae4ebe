//! The initial snapshot: every row of every captured table as of the moment the slot was made.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::StreamExt;
use ratestream_connect::{TaskContext, TaskError};
use serde_json::Value as Json;
use sqlx::postgres::PgConnection;

use super::catalog::{Catalog, Table};
use super::encoder::TableEncoder;
use super::error::{config, literal, quote, sql};
use super::offset::{Offset, Stage};
use super::pgoutput::Scratch;
use super::settings::Settings;
use super::source::{Event, Mark};
use super::tables::Tables;
use super::writer::{Rules, insert};
use crate::metrics::metrics;
use crate::output::{BATCH_BYTES, Batch, Boundary, Output};

/// A snapshot under way.
pub struct Snapshot<'a> {
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
    /// Position given to the rows: before every change that the stream will bring. Changes of transactions that were
    /// open when the slot was made can lie before its consistent point, so that point itself would hide them from
    /// readers which order by position.
    pub floor: u64,
    /// What to write.
    pub rules: &'a Rules,
}

/// Microseconds since the epoch.
pub fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

struct Row {
    line: Bytes,
    first: bool,
}

impl Snapshot<'_> {
    /// Reads all tables, under the exported snapshot or as of now; false when stopped before the end.
    ///
    /// # Errors
    /// Classified.
    pub async fn run(&mut self, exported: Option<&str>, list: &[Table]) -> Result<bool, TaskError> {
        let mut reader = Catalog::connect(&self.settings.database).await?;
        let mut begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned();
        if let Some(exported) = exported {
            begin.push_str(&format!("; SET TRANSACTION SNAPSHOT {}", literal(exported)));
        }
        reader.run("opening the snapshot", begin).await?;
        let list: Vec<&Table> = list.iter().filter(|table| !table.partitioned).collect();
        let mut total = 0;
        for (at, table) in list.iter().enumerate() {
            let place = (table.schema.as_str(), table.name.as_str());
            let Some((encoder, columns)) = self.tables.for_snapshot(&mut reader, place).await? else { continue };
            let names: Vec<_> = columns.iter().map(|name| quote(name)).collect();
            let statement = format!("COPY (SELECT {} FROM ONLY {}) TO STDOUT", names.join(", "), table.sql());
            let place = Place {
                number: at + 1,
                of: list.len(),
                name: format!("{}.{}", table.schema, table.name),
                first: total == 0,
            };
            match self.table(&mut reader.connection, &statement, &encoder, &place).await? {
                Some(rows) => total += rows,
                None => return Ok(false),
            }
        }
        self.task.status.note(format!("snapshot completed: {total} rows of {} tables", list.len()));
        tracing::info!(connector = self.task.connector, rows = total, tables = list.len(), "snapshot completed");
        Ok(true)
    }

    /// One table; its number of rows, or `None` when stopped.
    async fn table(
        &mut self,
        connection: &mut PgConnection,
        statement: &str,
        encoder: &Arc<TableEncoder>,
        place: &Place,
    ) -> Result<Option<u64>, TaskError> {
        let database = self.settings.database.clone();
        let failed = |error: sqlx::Error| sql(&database, &format!("reading the table {}", place.name), &error);
        let mut stream = connection.copy_out_raw(statement).await.map_err(failed)?;
        let mut writer =
            TableWriter { encoder, scratch: Scratch::default(), plain: Vec::new(), batch: Batch::default() };
        let mut lines = Lines::default();
        let mut rows = 0u64;
        let mut waiting: Option<Row> = None;
        while let Some(chunk) = stream.next().await {
            lines.feed(chunk.map_err(failed)?);
            while let Some(line) = lines.next() {
                // a row is written when the next is known: the last one is marked
                if let Some(row) = waiting.replace(Row { line, first: rows == 0 }) {
                    let mark = match (row.first, place.first) {
                        (true, true) => Mark::First,
                        (true, false) => Mark::FirstInTable,
                        _ => Mark::True,
                    };
                    self.row(&mut writer, &row, mark)?;
                }
                rows += 1;
            }
            if writer.batch.bytes() > BATCH_BYTES {
                self.flush(&mut writer.batch).await?;
                self.task
                    .status
                    .note(format!("snapshot: table {} of {}, {}, {rows} rows", place.number, place.of, place.name));
                if self.task.stop.is_triggered() {
                    return Ok(None);
                }
            }
        }
        if let Some(row) = waiting {
            let last = if place.number == place.of { Mark::Last } else { Mark::LastInTable };
            self.row(&mut writer, &row, last)?;
        }
        self.flush(&mut writer.batch).await?;
        Ok(Some(rows))
    }

    fn row(&self, writer: &mut TableWriter<'_>, row: &Row, mark: Mark) -> Result<(), TaskError> {
        let now = now_micros();
        let event = Event {
            commit_micros: now,
            processed_micros: now,
            mark,
            xid: 0,
            lsn: self.floor,
            last_commit: 0,
            origin: None,
        };
        writer.scratch.copy_line(&row.line, &mut writer.plain);
        let tuple = writer.scratch.new_row(&writer.plain);
        insert(&mut writer.batch, writer.encoder, "r", tuple, &event, self.rules)
            .map_err(|bad| bad_value(writer.encoder, &bad.column))
    }

    async fn flush(&mut self, batch: &mut Batch) -> Result<(), TaskError> {
        self.task.progress.tick();
        if batch.is_empty() {
            return Ok(());
        }
        metrics().events.with_label_values(&[&self.task.connector]).inc_by(batch.len() as u64);
        let offset = Offset::snapshot(self.floor, now_micros(), Stage::Publishing, self.system);
        let offset = self.task.offsets.record(self.partition, &offset);
        self.output.send(std::mem::take(batch), Some(Boundary { offset, lsn: 0 })).await.map(|_| ())
    }
}

/// A value that no mapping can carry.
pub fn bad_value(table: &TableEncoder, column: &str) -> TaskError {
    config(
        "PGT002",
        format!(
            "A value of the NOT NULL column {column} of {}.{} has no Avro form in the chosen modes (NaN or infinity of a numeric column).",
            table.plan.schema, table.plan.table
        ),
        "Set decimal.handling.mode to double or string, or leave the column out with column.exclude.list.",
    )
}

struct Place {
    number: usize,
    of: usize,
    name: String,
    first: bool,
}

struct TableWriter<'a> {
    encoder: &'a TableEncoder,
    scratch: Scratch,
    plain: Vec<u8>,
    batch: Batch,
}

/// Splits COPY data into lines; a chunk usually is one line.
#[derive(Debug, Default)]
pub struct Lines {
    rest: Bytes,
    part: Vec<u8>,
}

#[allow(clippy::should_implement_trait)]
impl Lines {
    /// The next chunk; the one before must be used up.
    pub fn feed(&mut self, chunk: Bytes) {
        self.rest = chunk;
    }

    /// The next whole line, without its end.
    pub fn next(&mut self) -> Option<Bytes> {
        let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') else {
            self.part.extend_from_slice(&self.rest);
            self.rest = Bytes::new();
            return None;
        };
        let line = self.rest.split_to(end);
        let _ = self.rest.split_to(1);
        if self.part.is_empty() {
            return Some(line);
        }
        self.part.extend_from_slice(&line);
        Some(Bytes::from(std::mem::take(&mut self.part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_whatever_the_chunks_are() {
        let text = b"1\ta\n2\tb\n\n3\tc\n";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for chunk in text.chunks(size) {
                lines.feed(Bytes::copy_from_slice(chunk));
                found.extend(std::iter::from_fn(|| lines.next()));
            }
            assert_eq!(found, [&b"1\ta"[..], b"2\tb", b"", b"3\tc"]);
        }
    }
}

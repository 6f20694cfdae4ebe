//! Changes to records: which records one change of a row becomes. Pure but for the batch it writes to.

use rdkafka::message::{Header, OwnedHeaders};

use super::encoder::{BadValue, Rows, TableEncoder};
use super::pgoutput::{Old, Tuple};
use super::source::Event;
use crate::output::Batch;
use ratestream_avro::envelope::{UNCHANGED_HEADER, encode_unchanged};

const NEW_KEY: &str = "__debezium.newkey";
const OLD_KEY: &str = "__debezium.oldkey";

/// What the connector leaves out.
#[derive(Debug, Clone)]
pub struct Rules {
    /// A record without value after each delete.
    pub tombstones: bool,
    /// Letters of skipped operations.
    pub skipped: String,
}

impl Rules {
    fn skips(&self, op: char) -> bool {
        self.skipped.contains(op)
    }
}

/// Appends a row that was inserted (`c`) or read (`r`).
///
/// # Errors
/// A value that cannot be written.
pub fn insert(
    batch: &mut Batch,
    table: &TableEncoder,
    op: &str,
    row: Tuple<'_>,
    event: &Event<'_>,
    rules: &Rules,
) -> Result<(), BadValue> {
    if op == "c" && rules.skips('c') {
        return Ok(());
    }
    let rows = Rows { after: Some(row), ..Rows::default() };
    put(batch, table, op, row, &rows, event, None)
}

/// Appends an update, or delete and create when the key changed.
///
/// # Errors
/// A value that cannot be written.
pub fn update(
    batch: &mut Batch,
    table: &TableEncoder,
    (kind, old): (Old, Tuple<'_>),
    new: Tuple<'_>,
    event: &Event<'_>,
    rules: &Rules,
) -> Result<(), BadValue> {
    let fill = (kind == Old::Full).then_some(old);
    if kind != Old::None && table.key_changed(old, new) {
        let (old_key, new_key) = (table.key_header(old)?, table.key_header(new)?);
        if !rules.skips('d') {
            remove(batch, table, old, event, rules, header(None, NEW_KEY, &new_key))?;
        }
        if !rules.skips('c') {
            let rows = Rows { after: Some(new), fill, before: None };
            put(batch, table, "c", new, &rows, event, header(None, OLD_KEY, &old_key))?;
        }
        return Ok(());
    }
    if rules.skips('u') {
        return Ok(());
    }
    let rows = Rows { before: (kind != Old::None).then_some(old), after: Some(new), fill };
    put(batch, table, "u", new, &rows, event, None)
}

/// Appends a delete and its tombstone.
///
/// # Errors
/// A value that cannot be written.
pub fn delete(
    batch: &mut Batch,
    table: &TableEncoder,
    old: Tuple<'_>,
    event: &Event<'_>,
    rules: &Rules,
) -> Result<(), BadValue> {
    if rules.skips('d') {
        return Ok(());
    }
    remove(batch, table, old, event, rules, None)
}

/// Appends a truncate: an event without key.
///
/// # Errors
/// None in practice: there are no values.
pub fn truncate(batch: &mut Batch, table: &TableEncoder, event: &Event<'_>, rules: &Rules) -> Result<(), BadValue> {
    if rules.skips('t') {
        return Ok(());
    }
    let value = |out: &mut Vec<u8>| table.envelope("t", &Rows::default(), event, out).map(|()| true);
    batch.push(&table.plan.topic, None, |_| Ok(false), value)
}

fn remove(
    batch: &mut Batch,
    table: &TableEncoder,
    old: Tuple<'_>,
    event: &Event<'_>,
    rules: &Rules,
    headers: Option<OwnedHeaders>,
) -> Result<(), BadValue> {
    let rows = Rows { before: Some(old), ..Rows::default() };
    put(batch, table, "d", old, &rows, event, headers.clone())?;
    // without a key there is nothing that a tombstone could stand for
    if rules.tombstones && !table.plan.key.is_empty() {
        batch.push(&table.plan.topic, headers, |out| table.key(old, out), |_| Ok(false))?;
    }
    Ok(())
}

fn put(
    batch: &mut Batch,
    table: &TableEncoder,
    op: &str,
    keyed: Tuple<'_>,
    rows: &Rows<'_>,
    event: &Event<'_>,
    mut headers: Option<OwnedHeaders>,
) -> Result<(), BadValue> {
    let unchanged = table.unchanged(rows);
    if !unchanged.is_empty() {
        headers = header(headers, UNCHANGED_HEADER, &encode_unchanged(&unchanged));
    }
    let value = |out: &mut Vec<u8>| table.envelope(op, rows, event, out).map(|()| true);
    batch.push(&table.plan.topic, headers, |out| table.key(keyed, out), value)
}

fn header(headers: Option<OwnedHeaders>, key: &str, value: &[u8]) -> Option<OwnedHeaders> {
    Some(headers.unwrap_or_default().insert(Header { key, value: Some(value) }))
}

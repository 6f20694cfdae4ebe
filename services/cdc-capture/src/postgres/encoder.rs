//! The encoder of a compiled table: tuples to framed Avro bytes, without a value in between.

use std::sync::Arc;

use ratestream_avro::codec::raw;
use ratestream_avro::wire;
use serde_json::{Value as Json, json};

use super::pgoutput::{Cell, Tuple};
use super::source::{Event, SourceBlock};
use super::table::{Column, Slot, TablePlan};
use super::types::Kind;

/// A value that cannot be written, by column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue {
    /// The column.
    pub column: String,
}

/// How keys are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFormat {
    /// Framed Avro under this schema id.
    Avro(i32),
    /// The text of Connect's struct: `Struct{id=1}`.
    Text,
    /// `{"id":1}`, with or without its schema beside it.
    Json {
        /// `key.converter.schemas.enable`
        schemas: bool,
    },
}

/// A plan with its registered ids: writes keys and values.
#[derive(Debug, Clone)]
pub struct TableEncoder {
    /// The layout.
    pub plan: TablePlan,
    key_format: KeyFormat,
    value_id: i32,
    source: SourceBlock,
}

/// The rows of one event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rows<'a> {
    /// `before`
    pub before: Option<Tuple<'a>>,
    /// `after`
    pub after: Option<Tuple<'a>>,
    /// Full old row from which unsent values of `after` are taken.
    pub fill: Option<Tuple<'a>>,
}

impl TableEncoder {
    /// Ready to write.
    pub fn new(plan: TablePlan, key_format: KeyFormat, value_id: i32, source: SourceBlock) -> Self {
        Self { plan, key_format, value_id, source }
    }

    /// Appends the key of `row`; false when the table has none.
    ///
    /// # Errors
    /// A key value that cannot be written.
    pub fn key(&self, row: Tuple<'_>, out: &mut Vec<u8>) -> Result<bool, BadValue> {
        if self.plan.key.is_empty() {
            return Ok(false);
        }
        match self.key_format {
            KeyFormat::Avro(id) => {
                wire::frame(id, out);
                for column in self.key_columns() {
                    self.cell(column, row.cell(column.tuple), Cell::Null, out)?;
                }
            }
            KeyFormat::Text => self.key_text(row, out)?,
            KeyFormat::Json { schemas } => self.key_json(row, schemas, out)?,
        }
        Ok(true)
    }

    fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.plan.key.iter().filter_map(|at| self.plan.columns.get(*at))
    }

    fn key_values(&self, row: Tuple<'_>) -> Result<Vec<(&str, Json)>, BadValue> {
        let value = |column: &Column| match row.cell(column.tuple) {
            Cell::Text(text) => column.kind.plain_json(text).ok_or_else(|| BadValue { column: column.source.clone() }),
            _ => Ok(column.kind.zero_json().unwrap_or(Json::Null)),
        };
        self.key_columns().map(|column| Ok((column.name.as_ref(), value(column)?))).collect()
    }

    fn key_text(&self, row: Tuple<'_>, out: &mut Vec<u8>) -> Result<(), BadValue> {
        out.extend_from_slice(b"Struct{");
        for (i, (name, value)) in self.key_values(row)?.into_iter().enumerate() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            out.extend_from_slice(format!("{}{name}={text}", if i > 0 { "," } else { "" }).as_bytes());
        }
        out.push(b'}');
        Ok(())
    }

    fn key_json(&self, row: Tuple<'_>, schemas: bool, out: &mut Vec<u8>) -> Result<(), BadValue> {
        let payload: serde_json::Map<String, Json> =
            self.key_values(row)?.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let text = if schemas {
            let fields: Vec<Json> = self
                .key_columns()
                .map(|c| json!({"type": connect_word(&c.kind), "optional": false, "field": &*c.name}))
                .collect();
            let name = self.plan.key_schema.as_ref().and_then(|s| s.record().map(|r| r.name.to_string()));
            let schema = json!({"type": "struct", "fields": fields, "optional": false, "name": name});
            json!({"schema": schema, "payload": payload}).to_string()
        } else {
            Json::Object(payload).to_string()
        };
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// The key as JSON text, for the headers that link a changed key's old and new records.
    ///
    /// # Errors
    /// A key value that cannot be written.
    pub fn key_header(&self, row: Tuple<'_>) -> Result<Vec<u8>, BadValue> {
        let mut out = Vec::new();
        self.key_json(row, false, &mut out)?;
        Ok(out)
    }

    /// True when a key column differs between the two rows.
    pub fn key_changed(&self, old: Tuple<'_>, new: Tuple<'_>) -> bool {
        self.key_columns().any(|column| {
            let (old, new) = (old.cell(column.tuple), new.cell(column.tuple));
            // an identity index may not cover the key: what was not sent did not change
            old != new && !matches!(old, Cell::Null) && !matches!(new, Cell::Unchanged)
        })
    }

    /// Names of the columns that were not sent and cannot be taken from the old row.
    pub fn unchanged(&self, rows: &Rows<'_>) -> Vec<Arc<str>> {
        let Some(after) = rows.after else { return Vec::new() };
        let missing = |column: &&Column| {
            after.cell(column.tuple) == Cell::Unchanged
                && !rows.fill.is_some_and(|old| matches!(old.cell(column.tuple), Cell::Text(_) | Cell::Binary(_)))
        };
        self.plan.columns.iter().filter(missing).map(|c| Arc::clone(&c.name)).collect()
    }

    /// Appends the framed envelope of one event.
    ///
    /// # Errors
    /// A value of a NOT NULL column that its mapping cannot carry.
    pub fn envelope(&self, op: &str, rows: &Rows<'_>, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), BadValue> {
        wire::frame(self.value_id, out);
        self.row(rows.before, None, out)?;
        self.row(rows.after, rows.fill, out)?;
        self.source.write(event, out);
        out.push(0);
        raw::bytes(op.as_bytes(), out);
        let micros = event.processed_micros;
        for time in [micros.div_euclid(1000), micros, micros.saturating_mul(1000)] {
            out.push(2);
            raw::long(time, out);
        }
        Ok(())
    }

    fn row(&self, row: Option<Tuple<'_>>, fill: Option<Tuple<'_>>, out: &mut Vec<u8>) -> Result<(), BadValue> {
        let Some(row) = row else {
            out.push(0);
            return Ok(());
        };
        out.push(2);
        for column in &self.plan.columns {
            let old = fill.map_or(Cell::Null, |fill| fill.cell(column.tuple));
            self.cell(column, row.cell(column.tuple), old, out)?;
        }
        Ok(())
    }

    fn cell(&self, column: &Column, cell: Cell<'_>, old: Cell<'_>, out: &mut Vec<u8>) -> Result<(), BadValue> {
        let (null, value) = match column.slot {
            Slot::Required => (None, None),
            Slot::NullFirst => (Some(0u8), Some(2u8)),
            Slot::NullLast => (Some(2), Some(0)),
        };
        let start = out.len();
        let written = match (cell, old) {
            (Cell::Text(text), _) | (Cell::Unchanged, Cell::Text(text)) => {
                out.extend(value);
                match column.kind.encode(text, out) {
                    Ok(()) => true,
                    Err(_) if null.is_some() => false,
                    Err(_) => return Err(BadValue { column: column.source.clone() }),
                }
            }
            (Cell::Unchanged, _) => {
                out.extend(value);
                column.kind.unavailable(&self.plan.placeholder, out)
            }
            // binary is not asked for
            (Cell::Null | Cell::Binary(_), _) => false,
        };
        if !written {
            out.truncate(start);
            match null {
                Some(index) => out.push(index),
                None => column.kind.zero(out),
            }
        }
        Ok(())
    }
}

fn connect_word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool | Kind::Bit => "boolean",
        Kind::Int16 => "int16",
        Kind::Int32 | Kind::Date | Kind::ConnectDate | Kind::ConnectTime | Kind::Time { micros: false } => "int32",
        Kind::Int64 | Kind::Interval | Kind::Timestamp { .. } | Kind::ConnectTimestamp | Kind::Time { .. } => "int64",
        Kind::Float => "float",
        Kind::Double | Kind::DecimalDouble => "double",
        Kind::Bytes | Kind::Bits(_) => "bytes",
        _ => "string",
    }
}

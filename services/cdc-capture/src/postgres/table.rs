//! One table compiled: schemas, and an encoder from tuples to framed Avro bytes without a value in between.

use std::sync::Arc;

use ratestream_avro::codec::raw;
use ratestream_avro::{AvroError, Field, Schema, Type, wire};
use serde_json::{Value as Json, json};

use super::pgoutput::{Cell, RelationColumn, Tuple};
use super::source::{SourceBlock, source_type};
use super::types::{Kind, Modes, TypeInfo};

/// What the catalogue says about a table's columns; absent when the table is gone by the time its changes are read.
#[derive(Debug, Clone, Default)]
pub struct TableInfo {
    /// By name.
    pub columns: Vec<ColumnInfo>,
    /// Primary key columns in key order; without one, those of the replica identity index.
    pub key: Vec<String>,
}

/// A column in the catalogue.
#[derive(Debug, Clone, Default)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// NOT NULL is absent.
    pub nullable: bool,
    /// `pg_get_expr` of its default.
    pub default: Option<String>,
}

/// What the compiler needs besides the table.
#[derive(Debug, Clone)]
pub struct Naming {
    /// `topic.prefix`
    pub prefix: String,
    /// Value modes.
    pub modes: Modes,
    /// Stands for values that were not sent.
    pub placeholder: String,
}

/// How a column's union is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// Not nullable.
    Required,
    /// `["null", T]`
    NullFirst,
    /// `[T, "null"]`, because the default is a value
    NullLast,
}

/// A column that is written.
#[derive(Debug, Clone)]
pub struct Column {
    /// Name in the schema.
    pub name: Arc<str>,
    /// Name in the database.
    pub source: String,
    tuple: usize,
    kind: Kind,
    slot: Slot,
}

/// A value that cannot be written, by column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue {
    /// The column.
    pub column: String,
}

/// Schemas and layout of a table; pure.
#[derive(Debug, Clone)]
pub struct TablePlan {
    /// `<prefix>.<schema>.<table>`
    pub topic: Arc<str>,
    /// Schema in the database.
    pub schema: String,
    /// Table in the database.
    pub table: String,
    /// In the order of the row's schema.
    pub columns: Vec<Column>,
    /// Positions in `columns`, in key order; empty without a key.
    pub key: Vec<usize>,
    /// Schema of the envelope.
    pub value_schema: Arc<Schema>,
    /// Schema of the key record.
    pub key_schema: Option<Arc<Schema>>,
    placeholder: String,
}

impl TablePlan {
    /// Compiles a table.
    ///
    /// # Errors
    /// When its columns make no valid Avro schema (more than 2000, two that differ only in replaced characters).
    pub fn compile(
        (schema, table): (&str, &str),
        relation: &[RelationColumn],
        info: &TableInfo,
        naming: &Naming,
        lookup: &dyn Fn(u32) -> Option<TypeInfo>,
        taken: &dyn Fn(&str) -> bool,
    ) -> Result<Self, AvroError> {
        let mut columns = Vec::with_capacity(relation.len());
        let mut fields = Vec::with_capacity(relation.len());
        for (tuple, column) in relation.iter().enumerate().filter(|(_, column)| taken(&column.name)) {
            let Some(kind) = Kind::of(column.type_oid, column.type_mod, naming.modes, lookup) else { continue };
            let known = info.columns.iter().find(|c| c.name == column.name);
            let in_key = info.key.contains(&column.name);
            let nullable = known.is_none_or(|c| c.nullable) && !in_key;
            let default = known.and_then(|c| c.default.as_deref()).and_then(|text| column_default(&kind, text));
            let (field, slot) = field(&avro_name(&column.name), &kind, nullable, default);
            columns.push(Column { name: Arc::clone(&field.name), source: column.name.clone(), tuple, kind, slot });
            fields.push(field);
        }
        let key: Vec<usize> =
            info.key.iter().filter_map(|name| columns.iter().position(|c| c.source == *name)).collect();
        let key = if key.len() == info.key.len() { key } else { Vec::new() };
        let topic = topic_name(&format!("{}.{schema}.{table}", naming.prefix));
        let base = topic.split('.').map(avro_name).collect::<Vec<_>>().join(".");
        let key_fields: Vec<Field> = key.iter().filter_map(|at| fields.get(*at).cloned()).collect();
        let key_schema = if key.is_empty() {
            None
        } else {
            let name = format!("{base}.Key");
            Some(Schema::new(Type::record(&name).fields(key_fields).with("connect.name", name.as_str()).build())?)
        };
        Ok(Self {
            topic: topic.into(),
            schema: schema.to_owned(),
            table: table.to_owned(),
            columns,
            key,
            value_schema: Schema::new(envelope_type(&base, fields))?,
            key_schema,
            placeholder: naming.placeholder.clone(),
        })
    }
}

fn envelope_type(base: &str, fields: Vec<Field>) -> Type {
    let value = format!("{base}.Value");
    let row = Type::record(&value).fields(fields).with("connect.name", value.as_str()).build();
    let block = Type::record("event.block")
        .field(Field::new("id", Type::string()))
        .field(Field::new("total_order", Type::long()))
        .field(Field::new("data_collection_order", Type::long()))
        .with("connect.version", 1)
        .with("connect.name", "event.block")
        .build();
    let envelope = format!("{base}.Envelope");
    Type::record(&envelope)
        .field(Field::optional("before", row.clone()))
        .field(Field::optional("after", row))
        .field(Field::new("source", source_type()))
        .field(Field::optional("transaction", block))
        .field(Field::new("op", Type::string()))
        .field(Field::optional("ts_ms", Type::long()))
        .field(Field::optional("ts_us", Type::long()))
        .field(Field::optional("ts_ns", Type::long()))
        .with("connect.version", 2)
        .with("connect.name", envelope.as_str())
        .build()
}

/// A column as field: nullable ones as unions, defaults as Connect's Avro converter writes them.
fn field(name: &str, kind: &Kind, nullable: bool, default: Option<Json>) -> (Field, Slot) {
    let ty = kind.avro(default.as_ref());
    match (nullable, default) {
        (true, None) => (Field::optional(name, ty), Slot::NullFirst),
        (true, Some(default)) => {
            let union = Type::union(vec![ty, Type::primitive(ratestream_avro::Kind::Null)]);
            (Field::new(name, union).default_to(default), Slot::NullLast)
        }
        (false, Some(default)) => (Field::new(name, ty).default_to(default), Slot::Required),
        (false, None) => (Field::new(name, ty), Slot::Required),
    }
}

/// A default's JSON from the catalogue's expression: constants as they are, function calls as the type's zero, as
/// Debezium shows them.
fn column_default(kind: &Kind, expression: &str) -> Option<Json> {
    let bare = expression.trim();
    if bare.starts_with("NULL") {
        return None;
    }
    if let Some(quoted) = bare.strip_prefix('\'') {
        let end = quoted.rfind('\'')?;
        return kind.default_json(quoted.get(..end)?.replace("''", "'").as_bytes());
    }
    let literal = bare.trim_start_matches('(').split([')', ':']).next().unwrap_or_default();
    let word = match literal {
        "true" => "t",
        "false" => "f",
        other => other,
    };
    let number = word.parse::<f64>().is_ok();
    if number || matches!(word, "t" | "f") {
        return kind.default_json(word.as_bytes());
    }
    kind.zero_json()
}

/// A name that Avro takes.
pub fn avro_name(name: &str) -> String {
    let mut out: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

/// A name that Kafka takes as a topic.
pub fn topic_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' }).collect()
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
    pub fn envelope(
        &self,
        op: &str,
        rows: &Rows<'_>,
        event: &super::source::Event<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), BadValue> {
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

#[cfg(test)]
mod tests;

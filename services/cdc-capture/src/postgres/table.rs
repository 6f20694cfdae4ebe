//! One table compiled: its schemas and the layout of its rows. Pure.

use std::sync::Arc;

use ratestream_avro::{AvroError, Field, Schema, Type};
use serde_json::Value as Json;

use super::pgoutput::RelationColumn;
use super::source::source_type;
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
pub(super) enum Slot {
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
    pub(super) tuple: usize,
    pub(super) kind: Kind,
    pub(super) slot: Slot,
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
    pub(super) placeholder: String,
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

#[cfg(test)]
mod tests;

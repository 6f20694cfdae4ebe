//! Queries row by row. Of a changelog they make a changelog: an envelope with the projected images, the source's key, partition
//! and position, tombstones passed on. A row that WHERE lets in or out by an update appears as created or deleted.

use std::sync::Arc;

use ahash::AHashMap;
use ratestream_avro::envelope::{UNCHANGED_HEADER, decode_unchanged, encode_unchanged};
use ratestream_avro::{Field, Record, Schema, Type, Value, codec, wire};
use ratestream_streams::{Incoming, Output, Produced, Task, TaskError};

use super::decode::{DecodeError, Decoder, Known};
use super::evaluate::{evaluate, holds, uses};
use super::merge::RECORD_NAME;
use super::plan::{OutputColumn, Projection, avro_type, fit};
use crate::metrics::Skips;
use crate::sql::ast::{Expr, Name};

/// The task of one source partition.
pub struct Project {
    plan: Arc<Projection>,
    decoder: Decoder,
    sink: String,
    skips: Arc<Skips>,
    /// What is written for each schema that was read.
    outputs: AHashMap<i32, Target>,
}

#[derive(Clone)]
struct Target {
    id: i32,
    schema: Arc<Schema>,
    columns: Arc<Vec<(OutputColumn, bool)>>,
}

impl Project {
    /// Writes to the topic `sink`, which has the source's partitions.
    pub fn new(plan: Arc<Projection>, decoder: Decoder, sink: String, skips: Arc<Skips>) -> Project {
        Project { plan, decoder, sink, skips, outputs: AHashMap::new() }
    }

    fn target(&mut self, known: &Known) -> Result<Target, DecodeError> {
        if let Some(target) = self.outputs.get(&known.id) {
            return Ok(target.clone());
        }
        let bad = |error: ratestream_avro::AvroError| DecodeError::Bad(error.to_string());
        let row_type = row_type(known).ok_or_else(|| DecodeError::Bad("the schema has no row".into()))?;
        let (columns, fields) = columns(&self.plan, &known.schema, &row_type);
        let name =
            if known.envelope { format!("ksql.{}.Value", avro_name(&self.sink)) } else { RECORD_NAME.to_owned() };
        let row = Type::record(&name).fields(fields).with("connect.name", name.as_str()).build();
        let root = if known.envelope { envelope(&known.schema, row, &self.sink) } else { row };
        let schema = Schema::new(root).map_err(bad)?;
        let subject = format!("{}-value", self.sink);
        let id =
            self.decoder.registry().register(&subject, &schema).map_err(|failure| DecodeError::Away(failure.task()))?;
        let target = Target { id, schema, columns: Arc::new(columns) };
        self.outputs.insert(known.id, target.clone());
        Ok(target)
    }

    fn row(&self, target: &Target, row: &Record) -> Option<Value> {
        if self.plan.filter.as_ref().is_some_and(|filter| !holds(filter, row)) {
            return None;
        }
        let values = target.columns.iter().map(|(column, as_it_is)| {
            let value = evaluate(&column.expr, row);
            (column.name.as_str(), if *as_it_is { value } else { fit(value, &column.ty) })
        });
        Some(Record::from_pairs(RECORD_NAME, values.collect::<Vec<_>>()).into())
    }

    /// The source's headers; the list of columns whose values were not sent speaks of the written columns.
    fn headers(&self, record: &Incoming<'_>) -> Vec<(String, Vec<u8>)> {
        let translate = |key: &str, value: &[u8]| -> Vec<u8> {
            let (UNCHANGED_HEADER, Some(columns)) = (key, &self.plan.columns) else { return value.to_vec() };
            let Ok(unchanged) = decode_unchanged(value) else { return value.to_vec() };
            let hit = columns.iter().filter(|column| uses(&column.expr, &unchanged));
            encode_unchanged(&hit.map(|column| column.name.as_str()).collect::<Vec<_>>())
        };
        record.headers.iter().map(|(key, value)| ((*key).to_owned(), translate(key, value))).collect()
    }

    fn value(&mut self, record: &Incoming<'_>) -> Result<Option<Option<Vec<u8>>>, DecodeError> {
        let Some((known, value)) = self.decoder.value(record.value)? else { return Ok(Some(None)) };
        let target = self.target(&known)?;
        let Value::Record(mut source) = value else {
            return Err(DecodeError::Bad(format!("the value is a {}, not a record", value.kind())));
        };
        let written = if known.envelope {
            let image = |name: &str| source.get(name).and_then(Value::as_record).and_then(|row| self.row(&target, row));
            let had = source.get("before").is_some_and(|before| !before.is_null());
            let (before, after) = (image("before"), image("after"));
            let operation = source.get("op").and_then(Value::as_str).unwrap_or_default().to_owned();
            let operation = match (operation.as_str(), &before, &after) {
                ("d" | "t" | "m", ..) => operation,
                (_, None, None) if had => return Ok(None),
                // New, and not wanted: nobody has it.
                ("c", _, None) => return Ok(None),
                // Left out now, and nobody can tell whether it was let in before: whoever has it must drop it.
                (_, _, None) => "d".to_owned(),
                ("u", None, Some(_)) if had => "c".to_owned(),
                _ => operation,
            };
            for (name, value) in [("before", before), ("after", after)] {
                if let Some(slot) = source.get_mut(name) {
                    *slot = value.unwrap_or(Value::Null);
                }
            }
            if let Some(slot) = source.get_mut("op") {
                *slot = Value::String(operation.into());
            }
            Value::Record(source)
        } else {
            let Some(row) = self.row(&target, &source) else { return Ok(None) };
            row
        };
        let mut bytes = Vec::new();
        wire::frame(target.id, &mut bytes);
        codec::encode(&target.schema, &written, &mut bytes).map_err(|error| DecodeError::Bad(error.to_string()))?;
        Ok(Some(Some(bytes)))
    }
}

fn avro_name(topic: &str) -> String {
    let letters: String =
        topic.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    if letters.starts_with(|first: char| first.is_ascii_digit()) { format!("_{letters}") } else { letters }
}

/// The record type of a row: the schema itself, or what an envelope's `after` holds.
fn row_type(known: &Known) -> Option<Type> {
    let record = known.schema.record()?;
    if !known.envelope {
        return Some(Type::Record(record.clone()));
    }
    // `after` may only refer to the type that `before` defines.
    let after = record.field("after").map(|field| field.ty.non_null())?;
    Some(known.schema.resolve(after).clone())
}

/// The columns that are written (and whether their values go over unchanged) with their fields.
fn columns(plan: &Projection, schema: &Schema, row: &Type) -> (Vec<(OutputColumn, bool)>, Vec<Field>) {
    let Type::Record(row) = row else { return (Vec::new(), Vec::new()) };
    let Some(wanted) = &plan.columns else {
        let all = row.fields.iter().map(|field| {
            let name = Name { text: field.name.to_string(), quoted: true };
            let ty = super::plan::sql_type(schema.resolve(&field.ty));
            (OutputColumn { name: name.text.clone(), expr: Expr::Column(name), ty }, true)
        });
        return (all.collect(), row.fields.clone());
    };
    let mut columns = Vec::new();
    let mut fields = Vec::new();
    for column in wanted {
        let source = match &column.expr {
            Expr::Column(name) => row.fields.iter().find(|field| {
                *field.name == *name.text || (!name.quoted && field.name.eq_ignore_ascii_case(&name.text))
            }),
            _ => None,
        };
        match source {
            Some(field) => {
                // Types as they are (decimals, dates); optional, so that columns may come and go.
                fields.push(Field::optional(&column.name, schema.resolve(&field.ty).clone().optional()));
                columns.push((column.clone(), true));
            }
            None => {
                let types = |name: &Name| {
                    let found = row.fields.iter().find(|field| field.name.eq_ignore_ascii_case(&name.text))?;
                    Some(super::plan::sql_type(schema.resolve(&found.ty)))
                };
                let ty = super::plan::infer(&column.expr, &types);
                fields.push(Field::optional(&column.name, avro_type(&ty)));
                columns.push((OutputColumn { ty, ..column.clone() }, false));
            }
        }
    }
    (columns, fields)
}

/// The source's envelope around another row.
fn envelope(schema: &Schema, row: Type, sink: &str) -> Type {
    let name = format!("ksql.{}.Envelope", avro_name(sink));
    let fields = schema.record().map(|record| record.fields.clone()).unwrap_or_default();
    let fields = fields.into_iter().map(|field| match &*field.name {
        "before" | "after" => Field::optional(&field.name, row.clone()),
        _ => field,
    });
    Type::record(&name).fields(fields).with("connect.name", name.as_str()).build()
}

impl Task for Project {
    fn restore(&mut self, _key: &[u8], _value: Option<&[u8]>) -> Result<(), TaskError> {
        Ok(())
    }

    fn process(&mut self, record: &Incoming<'_>, output: &mut Output) -> Result<(), TaskError> {
        match self.value(record) {
            Ok(None) => {}
            Ok(Some(value)) => output.send(Produced {
                topic: self.sink.clone(),
                partition: Some(record.partition),
                key: record.key.map(<[u8]>::to_vec),
                value,
                headers: self.headers(record),
                timestamp_ms: Some(record.timestamp_ms),
            }),
            Err(DecodeError::Bad(cause)) => self.skips.add(record, &cause),
            Err(DecodeError::Away(error)) => return Err(error),
        }
        Ok(())
    }
}

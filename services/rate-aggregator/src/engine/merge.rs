//! Second stage of an aggregation: adds up the deltas of all source partitions by group and writes the result table.
//!
//! A group that has no row left disappears, as it does from SQL's GROUP BY: its result becomes a tombstone.

use std::collections::BTreeSet;
use std::sync::Arc;

use ahash::AHashMap;
use ratestream_avro::{Field, Record, Schema, Type, Value, codec, wire};
use ratestream_streams::{Incoming, Output, Produced, Task, TaskError};

use super::accumulate::{Delta, from_json};
use super::decode::Registry;
use super::evaluate::{evaluate, holds, text};
use super::plan::{Aggregation, avro_type, fit};
use crate::metrics::Skips;

/// Full name of the records that ksqlDB writes.
pub const RECORD_NAME: &str = "io.confluent.ksql.avro_schemas.KsqlDataSourceSchema";

/// The task of one partition of groups.
pub struct Merge {
    plan: Arc<Aggregation>,
    registry: Registry,
    sink: String,
    skips: Arc<Skips>,
    schema: Option<(i32, Arc<Schema>)>,
    groups: AHashMap<Vec<u8>, Delta>,
    changed: BTreeSet<Vec<u8>>,
}

impl Merge {
    /// With empty state; results go to the topic `sink`.
    pub fn new(plan: Arc<Aggregation>, registry: Registry, sink: String, skips: Arc<Skips>) -> Merge {
        Merge { plan, registry, sink, skips, schema: None, groups: AHashMap::new(), changed: BTreeSet::new() }
    }

    fn schema(&mut self) -> Result<(i32, Arc<Schema>), TaskError> {
        if let Some(known) = &self.schema {
            return Ok(known.clone());
        }
        let schema = value_schema(&self.plan)?;
        let id = self.registry.register(&format!("{}-value", self.sink), &schema).map_err(|failure| failure.task())?;
        Ok(self.schema.insert((id, schema)).clone())
    }

    /// Key and value of a group's result; the value is none when the group is gone or HAVING leaves it out.
    fn result(&mut self, delta: &Delta) -> Result<(Vec<u8>, Option<Vec<u8>>), TaskError> {
        let group: Vec<Value> = delta.group.iter().map(|json| from_json(json).unwrap_or(Value::Null)).collect();
        let key = self.key(&group);
        if delta.rows <= 0 {
            return Ok((key, None));
        }
        let sums = self.plan.calls.iter().zip(&delta.sums).map(|(call, sum)| call.function.result(sum));
        let row = self.plan.row(&group, sums);
        if self.plan.having.as_ref().is_some_and(|having| !holds(having, row.as_slice())) {
            return Ok((key, None));
        }
        let (id, schema) = self.schema()?;
        let values = self
            .plan
            .columns
            .iter()
            .map(|column| (column.name.as_str(), fit(evaluate(&column.expr, row.as_slice()), &column.ty)));
        let record = Record::from_pairs(RECORD_NAME, values.collect::<Vec<_>>());
        let mut bytes = Vec::new();
        wire::frame(id, &mut bytes);
        codec::encode(&schema, &record.into(), &mut bytes).map_err(|error| TaskError::Fatal(error.to_string()))?;
        Ok((key, Some(bytes)))
    }

    /// One column: its text. Several: a JSON object by column name. None: empty.
    fn key(&self, group: &[Value]) -> Vec<u8> {
        match group {
            [] => Vec::new(),
            [single] => text(single).into_bytes(),
            many => {
                let pairs =
                    self.plan.key.iter().zip(many).map(|(column, value)| (column.name.clone(), value.to_json()));
                serde_json::Value::Object(pairs.collect()).to_string().into_bytes()
            }
        }
    }
}

/// The schema of the results of an aggregation: every column nullable, as ksqlDB writes it.
///
/// # Errors
/// When a column's name is not one that Avro allows.
pub fn value_schema(plan: &Aggregation) -> Result<Arc<Schema>, TaskError> {
    let fields = plan.columns.iter().map(|column| Field::optional(&column.name, avro_type(&column.ty)));
    let record = Type::record(RECORD_NAME).fields(fields).with("connect.name", RECORD_NAME).build();
    Schema::new(record).map_err(|error| TaskError::Fatal(error.to_string()))
}

impl Task for Merge {
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TaskError> {
        let Some(value) = value else {
            self.groups.remove(key);
            return Ok(());
        };
        let delta = serde_json::from_slice(value).map_err(|error| {
            TaskError::Fatal(format!("a group in the changelog of {} cannot be read: {error}", self.sink))
        })?;
        self.groups.insert(key.to_vec(), delta);
        Ok(())
    }

    fn process(&mut self, record: &Incoming<'_>, _output: &mut Output) -> Result<(), TaskError> {
        let (Some(key), Some(value)) = (record.key, record.value) else { return Ok(()) };
        let delta: Delta = match serde_json::from_slice(value) {
            Ok(delta) => delta,
            Err(error) => {
                self.skips.add(record, &error.to_string());
                return Ok(());
            }
        };
        match self.groups.get_mut(key) {
            Some(group) => group.add(&delta),
            None => {
                self.groups.insert(key.to_vec(), delta);
            }
        }
        self.changed.insert(key.to_vec());
        Ok(())
    }

    fn flush(&mut self, output: &mut Output) -> Result<(), TaskError> {
        for key in std::mem::take(&mut self.changed) {
            let Some(delta) = self.groups.get(&key).cloned() else { continue };
            let (result_key, value) = self.result(&delta)?;
            output.send(Produced { topic: self.sink.clone(), key: Some(result_key), value, ..Produced::default() });
            // Deltas of one group may arrive out of order: a group is forgotten only when nothing is left of it at all.
            if delta.is_empty() {
                self.groups.remove(&key);
                output.remember(key, None);
            } else {
                let bytes = serde_json::to_vec(&delta).map_err(|error| TaskError::Fatal(error.to_string()))?;
                output.remember(key, Some(bytes));
            }
        }
        Ok(())
    }
}

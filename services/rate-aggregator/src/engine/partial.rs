//! First stage of an aggregation: what the rows of one source partition add to each group.
//!
//! Of a changelog it keeps, by row key, what the row counts for at present (in the changelog topic). A change is the difference
//! between that and what the row counts for now. So `before` images are not needed, and a row that is read again by a second
//! snapshot, or delivered twice, changes nothing. Rows of a plain stream count once each. One delta a group and commit goes on.

use std::sync::Arc;

use ahash::AHashMap;
use ratestream_avro::envelope::{Change, Op};
use ratestream_avro::{Record, Value};
use ratestream_streams::{Incoming, Output, Produced, Task, TaskError};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::accumulate::{Delta, from_json};
use super::decode::{DecodeError, Decoded, Decoder};
use super::evaluate::{evaluate, holds, uses};
use super::plan::Aggregation;
use crate::metrics::Skips;
use crate::sql::ast::Expr;

/// What a row counts for. A row that is left out (by WHERE, or for a null group) is remembered too: an older change of it that
/// is delivered again must not bring it back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counted {
    /// Source position of the newest change that was counted.
    #[serde(rename = "l", default)]
    lsn: Option<i64>,
    /// It counts for nothing.
    #[serde(rename = "o", default, skip_serializing_if = "std::ops::Not::not")]
    left_out: bool,
    /// Group values.
    #[serde(rename = "g", default)]
    group: Vec<Json>,
    /// Inputs of the aggregate calls.
    #[serde(rename = "i", default)]
    inputs: Vec<Json>,
}

/// The task of one source partition.
pub struct Partial {
    plan: Arc<Aggregation>,
    decoder: Decoder,
    repartition: String,
    skips: Arc<Skips>,
    rows: AHashMap<Vec<u8>, Counted>,
    deltas: AHashMap<String, Delta>,
}

impl Partial {
    /// With empty state; deltas go to the topic `repartition`.
    pub fn new(plan: Arc<Aggregation>, decoder: Decoder, repartition: String, skips: Arc<Skips>) -> Partial {
        Partial { plan, decoder, repartition, skips, rows: AHashMap::new(), deltas: AHashMap::new() }
    }

    /// What a row counts for.
    fn counted(&self, row: &Record, lsn: Option<i64>) -> Counted {
        self.counted_now(row, lsn, &[], None)
    }

    /// As [`Partial::counted`] for a change that did not send some columns: what is made of those stays as it was counted.
    fn counted_now(&self, row: &Record, lsn: Option<i64>, unsent: &[Arc<str>], old: Option<&Counted>) -> Counted {
        let nothing = || Counted { lsn, left_out: true, ..Counted::default() };
        let old = old.filter(|old| !old.left_out);
        let as_before = |expr: &Expr| !unsent.is_empty() && uses(expr, unsent);
        let left_out = |filter: &Expr| if as_before(filter) { old.is_none() } else { !holds(filter, row) };
        if self.plan.filter.as_ref().is_some_and(left_out) {
            return nothing();
        }
        let value = |expr: &Expr, before: Option<&Json>| match before {
            Some(before) if as_before(expr) => before.clone(),
            _ => evaluate(expr, row).to_json(),
        };
        let groups = self.plan.groups.iter().enumerate();
        let group: Vec<Json> = groups.map(|(at, expr)| value(expr, old.and_then(|old| old.group.get(at)))).collect();
        if group.iter().any(Json::is_null) {
            return nothing();
        }
        let calls = self.plan.calls.iter().enumerate();
        let inputs = calls.map(|(at, call)| match &call.argument {
            Some(argument) => value(argument, old.and_then(|old| old.inputs.get(at))),
            None => Json::Bool(true),
        });
        let inputs = inputs.collect();
        Counted { lsn, left_out: false, group, inputs }
    }

    fn bump(&mut self, counted: &Counted, sign: i64) {
        if counted.left_out {
            return;
        }
        let key = Json::Array(counted.group.clone()).to_string();
        let calls = &self.plan.calls;
        let delta = self.deltas.entry(key).or_insert_with(|| Delta::new(counted.group.clone(), calls.len()));
        delta.rows += sign;
        for ((sum, call), input) in delta.sums.iter_mut().zip(calls).zip(&counted.inputs) {
            sum.add_input(call.function, &from_json(input).unwrap_or(Value::Null), sign);
        }
    }

    fn change(&mut self, key: Option<&[u8]>, change: &Change, output: &mut Output) {
        if change.op == Op::Truncate {
            let keys: Vec<Vec<u8>> = self.rows.keys().cloned().collect();
            keys.iter().for_each(|key| self.replace(key, None, output));
            return;
        }
        if change.op == Op::Message {
            return;
        }
        let lsn = change.position.lsn;
        let after = if change.op == Op::Delete { None } else { change.after.as_ref() };
        let old = key.and_then(|key| self.rows.get(key));
        let now = after.map(|row| self.counted_now(row, lsn, &change.unchanged, old));
        let Some(key) = key else {
            // A table without a key: the images are all there is.
            if let Some(before) = change.before.as_ref().map(|row| self.counted(row, lsn)) {
                self.bump(&before, -1);
            }
            if let Some(now) = now {
                self.bump(&now, 1);
            }
            return;
        };
        let stale = self.rows.get(key).and_then(|old| old.lsn).zip(lsn).is_some_and(|(old, new)| new < old);
        if !stale {
            self.replace(key, now, output);
        }
    }

    fn replace(&mut self, key: &[u8], now: Option<Counted>, output: &mut Output) {
        let old = self.rows.remove(key);
        if old == now {
            if let Some(now) = now {
                self.rows.insert(key.to_vec(), now);
            }
            return;
        }
        if let Some(old) = &old {
            self.bump(old, -1);
        }
        if let Some(now) = &now {
            self.bump(now, 1);
        }
        let bytes = now.as_ref().and_then(|now| serde_json::to_vec(now).ok());
        output.remember(key.to_vec(), bytes);
        if let Some(now) = now {
            self.rows.insert(key.to_vec(), now);
        }
    }
}

impl Task for Partial {
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TaskError> {
        let Some(value) = value else {
            self.rows.remove(key);
            return Ok(());
        };
        let counted = serde_json::from_slice(value).map_err(|error| {
            TaskError::Fatal(format!("a row in the changelog of {} cannot be read: {error}", self.repartition))
        })?;
        self.rows.insert(key.to_vec(), counted);
        Ok(())
    }

    fn process(&mut self, record: &Incoming<'_>, output: &mut Output) -> Result<(), TaskError> {
        match self.decoder.decode(record) {
            Ok(Decoded::Change(change)) => self.change(record.key, &change, output),
            Ok(Decoded::Flat(row)) => {
                let counted = self.counted(&row, None);
                self.bump(&counted, 1);
            }
            Ok(Decoded::Tombstone) => {}
            Err(DecodeError::Bad(cause)) => self.skips.add(record, &cause),
            Err(DecodeError::Away(error)) => return Err(error),
        }
        Ok(())
    }

    fn flush(&mut self, output: &mut Output) -> Result<(), TaskError> {
        for (key, delta) in self.deltas.drain().filter(|(_, delta)| !delta.is_empty()) {
            let value = serde_json::to_vec(&delta).map_err(|error| TaskError::Fatal(error.to_string()))?;
            output.send(Produced {
                topic: self.repartition.clone(),
                key: Some(key.into_bytes()),
                value: Some(value),
                ..Produced::default()
            });
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "partial_tests.rs"]
mod tests;

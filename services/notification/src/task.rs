//! The stream task of one partition of ratings: remembers which rows are low, and queues an alert when one becomes low.

use crate::LEDGER;
use crate::ledger::{Entry, State};
use crate::rule::{Finding, Rule};
use ratestream_avro::envelope::{self, Change, Op, Position};
use ratestream_avro::{AvroError, BlockingRegistry, RegistryError, Value, codec, wire};
use ratestream_pipeline::key_value;
use ratestream_runtime::metrics;
use ratestream_streams::{Incoming, Output, Produced, Task, TaskError};
use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

static ALERTS: LazyLock<prometheus::IntCounterVec> =
    LazyLock::new(|| metrics::counters("ratestream_alerts_total", "Alerts queued.", &["topic"]));
static SKIPPED: LazyLock<prometheus::IntCounterVec> = LazyLock::new(|| {
    metrics::counters("ratestream_records_skipped_total", "Records that could not be judged.", &["topic"])
});

/// See the module. Its changelog: key = the record's key, value = `low`, tombstone = not low.
pub(crate) struct AlertTask {
    rule: Arc<Rule>,
    registry: BlockingRegistry,
    low: HashSet<Vec<u8>>,
}

impl AlertTask {
    pub(crate) fn new(rule: Arc<Rule>, registry: BlockingRegistry) -> AlertTask {
        AlertTask { rule, registry, low: HashSet::new() }
    }

    /// The change in a record; the inner error is what is wrong with the record.
    fn change(&mut self, record: &Incoming<'_>, value: &[u8]) -> Result<Result<Change, String>, TaskError> {
        let (id, datum) = match wire::split(value) {
            Ok(parts) => parts,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let schema = match self.registry.schema(id) {
            Ok(schema) => schema,
            Err(error @ RegistryError::Unavailable { .. }) => return Err(TaskError::Transient(error.to_string())),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let is_envelope = envelope::is_envelope(&schema);
        let read = |error: AvroError| error.to_string();
        Ok(codec::decode(&schema, datum).map_err(read).and_then(|value| match value {
            value if is_envelope => envelope::change(value, record.header(envelope::UNCHANGED_HEADER)).map_err(read),
            Value::Record(row) => Ok(Change {
                op: Op::Create,
                before: None,
                after: Some(row),
                position: Position { ts_ms: Some(record.timestamp_ms), ..Position::default() },
                unchanged: Vec::new(),
            }),
            other => Err(format!("the value is a {}, no record", other.kind())),
        }))
    }

    fn remember(&mut self, key: Option<&[u8]>, is_low: bool, output: &mut Output) {
        let Some(key) = key else { return };
        if is_low {
            if self.low.insert(key.to_vec()) {
                output.remember(key.to_vec(), Some(b"low".to_vec()));
            }
        } else if self.low.remove(key) {
            output.remember(key.to_vec(), None);
        }
    }
}

impl Task for AlertTask {
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TaskError> {
        match value {
            Some(_) => self.low.insert(key.to_vec()),
            None => self.low.remove(key),
        };
        Ok(())
    }

    fn process(&mut self, record: &Incoming<'_>, output: &mut Output) -> Result<(), TaskError> {
        let Some(value) = record.value else {
            self.remember(record.key, false, output);
            return Ok(());
        };
        let was_low = record.key.is_some_and(|key| self.low.contains(key));
        let finding = self.change(record, value)?.and_then(|change| self.rule.judge(&change, was_low));
        match finding {
            Ok(Finding::Nothing) => {}
            Ok(Finding::NotLow) => self.remember(record.key, false, output),
            Ok(Finding::IsLow) => self.remember(record.key, true, output),
            Ok(Finding::BecameLow(mut alert)) => {
                self.remember(record.key, true, output);
                alert.row = record.key.map(row_text).unwrap_or_default();
                // Coordinates name an alert for ever: a replay of this record is the same alert.
                let id = format!("{}.{}.{}", record.topic, record.partition, record.offset);
                let entry = Entry {
                    state: State::Queued,
                    at_ms: record.timestamp_ms,
                    partition: record.partition,
                    alert: *alert,
                    detail: String::new(),
                    attempts: 0,
                };
                ALERTS.with_label_values(&[record.topic]).inc();
                output.send(Produced {
                    topic: LEDGER.to_owned(),
                    key: Some(id.into_bytes()),
                    value: Some(entry.to_bytes()),
                    ..Produced::default()
                });
            }
            Err(cause) => {
                SKIPPED.with_label_values(&[record.topic]).inc();
                tracing::warn!(
                    topic = record.topic,
                    partition = record.partition,
                    offset = record.offset,
                    cause,
                    "record is skipped"
                );
            }
        }
        Ok(())
    }
}

/// The key as it is shown in the mail.
fn row_text(key: &[u8]) -> String {
    let value = match wire::split(key) {
        Ok(_) => return String::new(),
        Err(_) => key_value(key),
    };
    match value {
        Value::Record(record) => {
            record.values().iter().map(|v| v.as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>().join("+")
        }
        other => other.to_json().to_string().trim_matches('"').to_owned(),
    }
}

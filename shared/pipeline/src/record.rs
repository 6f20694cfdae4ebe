//! A consumed record as sinks see it.

use ratestream_avro::{Record, Value};
use std::sync::Arc;

/// What happened to the row or thing that the key names.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Its present state. `unchanged` lists columns whose values the source did not send (TOAST): they must be left as they are.
    Row {
        /// The state.
        row: Record,
        /// Columns not sent.
        unchanged: Vec<Arc<str>>,
    },
    /// It is gone.
    Deleted {
        /// What is known of its last state.
        before: Option<Record>,
    },
}

/// A decoded record with its coordinates.
#[derive(Clone, Debug)]
pub struct SinkRecord {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Its key; none = no key.
    pub key: Option<Value>,
    /// What happened.
    pub payload: Payload,
    /// Position that orders all records of one key, for idempotent writes: the source's LSN, else a number made of the
    /// record's timestamp and offset.
    pub version: i64,
    /// When it happened at the source, milliseconds since the epoch; the record's timestamp where the source does not say.
    pub source_ms: i64,
}

impl SinkRecord {
    /// The key as a text that is the same for the same key, whatever its converter: a single field stands for itself, several
    /// are joined by `+` in order. None when there is no key.
    pub fn key_text(&self) -> Option<String> {
        self.key.as_ref().map(text)
    }

    /// `topic+partition+offset`, Confluent's id for records whose key is ignored.
    pub fn coordinates(&self) -> String {
        format!("{}+{}+{}", self.topic, self.partition, self.offset)
    }

    /// A value of the row by name, or of the key when the row has none.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let row = match &self.payload {
            Payload::Row { row, .. } => Some(row),
            Payload::Deleted { before } => before.as_ref(),
        };
        row.and_then(|row| row.get(name)).or_else(|| self.key.as_ref()?.as_record()?.get(name))
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Record(record) => record.values().iter().map(text).collect::<Vec<_>>().join("+"),
        other => match other.to_json() {
            serde_json::Value::String(text) => text,
            json => json.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_shape_have_one_text() {
        let record = |key| SinkRecord {
            topic: "t".into(),
            partition: 0,
            offset: 7,
            timestamp_ms: 0,
            key: Some(key),
            payload: Payload::Deleted { before: None },
            version: 7,
            source_ms: 0,
        };
        assert_eq!(record(Value::Long(5)).key_text().unwrap(), "5");
        assert_eq!(record(Value::from("a b")).key_text().unwrap(), "a b");
        let pair = Record::from_pairs("k", [("a", 1i64.into()), ("b", "x".into())]);
        assert_eq!(record(Value::Record(pair)).key_text().unwrap(), "1+x");
        assert_eq!(record(Value::Null).coordinates(), "t+0+7");
    }
}

//! From bytes to [`SinkRecord`]: Confluent's Avro frame, JSON (with or without Connect's schema), or plain text; Debezium
//! envelopes and flat records alike.

use crate::record::{Payload, SinkRecord};
use crate::sink::Reject;
use ratestream_avro::envelope::{self, Op};
use ratestream_avro::{Record, RegistryClient, RegistryError, Value, codec, wire};
use ratestream_kafka::{Batch, Record as Consumed};
use serde_json::Value as Json;

/// Objects nested deeper than this are refused.
const DEPTH_MAX: usize = 64;

/// Decodes records by the schemas of one registry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Decoder {
    registry: RegistryClient,
}

/// A decoded datum and whether its schema is a Debezium envelope.
struct Decoded {
    value: Value,
    is_envelope: bool,
}

/// Why a record could not be decoded.
#[derive(Debug)]
pub(crate) enum DecodeError {
    /// The registry is away; the record itself may be good.
    Unavailable(String),
    /// The record is bad.
    Poison(String),
}

impl Decoder {
    /// A decoder.
    pub fn new(registry: RegistryClient) -> Decoder {
        Decoder { registry }
    }

    /// Decodes one record of a batch; `Ok(None)` for one that says nothing, such as the tombstone after a delete.
    pub(crate) async fn decode(&self, batch: &Batch, consumed: &Consumed) -> Result<Option<SinkRecord>, DecodeError> {
        let key = match consumed.key.as_deref() {
            None => None,
            Some(bytes) => Some(self.key(bytes).await?),
        };
        let mut record = SinkRecord {
            topic: batch.topic.clone(),
            partition: batch.partition,
            offset: consumed.offset,
            timestamp_ms: consumed.timestamp_ms,
            key,
            payload: Payload::Deleted { before: None },
            version: own_version(consumed),
            source_ms: consumed.timestamp_ms,
        };
        let Some(bytes) = consumed.value.as_deref() else {
            // At which position it deletes depends on the records before it: see `tombstone`.
            return Ok(record.key.is_some().then_some(record));
        };
        let Decoded { value, is_envelope } = self.datum(bytes).await?;
        if is_envelope {
            let header = consumed.headers.iter().find(|(name, _)| name == envelope::UNCHANGED_HEADER);
            return unwrap(record, value, header.and_then(|(_, bytes)| bytes.as_deref()));
        }
        let row = match value {
            Value::Record(row) => row,
            Value::Null => return Ok(record.key.is_some().then_some(record)),
            other => Record::from_pairs("value", [("value", other)]),
        };
        record.payload = Payload::Row { row, unchanged: Vec::new() };
        Ok(Some(record))
    }

    async fn key(&self, bytes: &[u8]) -> Result<Value, DecodeError> {
        if bytes.len() > 4 && bytes.first() == Some(&0) {
            return Ok(self.avro(bytes).await?.value);
        }
        Ok(key_value(bytes))
    }

    async fn datum(&self, bytes: &[u8]) -> Result<Decoded, DecodeError> {
        match bytes.first() {
            Some(0) => self.avro(bytes).await,
            Some(b'{' | b'[') => json_datum(bytes),
            _ => {
                let text =
                    std::str::from_utf8(bytes).map_err(|_| poison("the value is neither Avro, JSON nor text"))?;
                Ok(Decoded {
                    value: serde_json::from_str(text).map_or_else(|_| Value::from(text), plain),
                    is_envelope: false,
                })
            }
        }
    }

    async fn avro(&self, bytes: &[u8]) -> Result<Decoded, DecodeError> {
        let (id, datum) = wire::split(bytes).map_err(|error| poison(error.to_string()))?;
        let schema = self.registry.schema(id).await.map_err(|error| match error {
            RegistryError::Refused { .. } => poison(format!("schema {id}: {error}")),
            _ => DecodeError::Unavailable(error.to_string()),
        })?;
        let value = codec::decode(&schema, datum).map_err(|error| poison(format!("schema {id}: {error}")))?;
        Ok(Decoded { value, is_envelope: envelope::is_envelope(&schema) })
    }
}

/// Bits of an offset in a version.
const OFFSET_BITS: u32 = 21;

/// Orders records without a source position: by time, then by the low bits of the offset, which come around only after two
/// million records of one millisecond. Time comes first because offsets start anew when a topic is created anew, and then the
/// newer data would lose against the older.
pub(crate) fn own_version(consumed: &Consumed) -> i64 {
    let millis = consumed.timestamp_ms.clamp(0, i64::MAX >> OFFSET_BITS);
    (millis << OFFSET_BITS) | (consumed.offset & ((1 << OFFSET_BITS) - 1))
}

fn poison(cause: impl Into<String>) -> DecodeError {
    DecodeError::Poison(cause.into())
}

fn unwrap(mut record: SinkRecord, value: Value, unchanged: Option<&[u8]>) -> Result<Option<SinkRecord>, DecodeError> {
    let change = envelope::change(value, unchanged).map_err(|error| poison(error.to_string()))?;
    record.version = change.position.lsn.unwrap_or(record.version);
    record.source_ms = change.position.ts_ms.unwrap_or(record.timestamp_ms);
    record.payload = match change.op {
        Op::Create | Op::Read | Op::Update => match change.after {
            Some(row) => Payload::Row { row, unchanged: change.unchanged },
            None => return Err(poison("the envelope has no 'after' although its operation says so")),
        },
        Op::Delete => Payload::Deleted { before: change.before },
        Op::Truncate | Op::Message => return Ok(None),
    };
    Ok(Some(record))
}

/// The value of a key that is not Avro: JSON, Connect's text form `Struct{a=1,b=x}`, or plain text.
pub fn key_value(bytes: &[u8]) -> Value {
    let text = String::from_utf8_lossy(bytes);
    if let Some(fields) = text.strip_prefix("Struct{").and_then(|rest| rest.strip_suffix('}')) {
        let pairs: Vec<(&str, Value)> = fields
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name, Value::from(value)))
            .collect();
        return Value::Record(Record::from_pairs("key", pairs));
    }
    match serde_json::from_str::<Json>(&text) {
        Ok(Json::Object(object)) => plain(payload(Json::Object(object))),
        Ok(Json::Number(number)) if number.to_string() == text => plain(Json::Number(number)),
        _ => Value::from(text.as_ref()),
    }
}

/// Connect's JSON converter wraps data as `{"schema":…,"payload":…}` when schemas are enabled.
fn payload(json: Json) -> Json {
    match json {
        Json::Object(mut object)
            if object.len() == 2 && object.contains_key("schema") && object.contains_key("payload") =>
        {
            object.remove("payload").unwrap_or_default()
        }
        other => other,
    }
}

fn json_datum(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let json: Json =
        serde_json::from_slice(bytes).map_err(|error| poison(format!("the value is not JSON: {error}")))?;
    let json = payload(json);
    let has = |name: &str| json.get(name).is_some();
    let is_envelope = has("op") && has("source") && (has("before") || has("after"));
    if depth(&json) > DEPTH_MAX {
        return Err(poison(format!("the value is nested deeper than {DEPTH_MAX} levels")));
    }
    Ok(Decoded { value: plain(json), is_envelope })
}

/// serde_json itself bounds the nesting it parses, so this recursion is bounded too.
fn depth(json: &Json) -> usize {
    match json {
        Json::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Json::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn plain(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(b) => Value::Boolean(b),
        Json::Number(number) => {
            number.as_i64().map_or_else(|| Value::Double(number.as_f64().unwrap_or(f64::NAN)), Value::Long)
        }
        Json::String(text) => Value::from(text),
        Json::Array(items) => Value::Array(items.into_iter().map(plain).collect()),
        Json::Object(fields) => {
            let fields: Vec<(String, Value)> = fields.into_iter().map(|(name, value)| (name, plain(value))).collect();
            Value::Record(Record::from_pairs(
                "object",
                fields.iter().map(|(name, value)| (name.as_str(), value.clone())),
            ))
        }
    }
}

impl From<DecodeError> for Reject {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Unavailable(cause) | DecodeError::Poison(cause) => Reject(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratestream_avro::{Field, Schema, Type};
    use std::sync::Arc;

    fn batch() -> Batch {
        Batch { topic: Arc::from("t"), partition: 0, assignment: 0, records: Vec::new() }
    }

    async fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<SinkRecord>, DecodeError> {
        let decoder = Decoder::new(RegistryClient::at("http://127.0.0.1:9"));
        let consumed = Consumed {
            offset: 5,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            ..Consumed::default()
        };
        decoder.decode(&batch(), &consumed).await
    }

    fn install_tls() {
        let _installed = rustls::crypto::ring::default_provider().install_default();
    }

    #[tokio::test]
    async fn json_envelopes_are_unwrapped_with_their_position() {
        install_tls();
        let json = br#"{"schema":{},"payload":{"op":"u","before":null,"after":{"id":1,"rate":2},"source":{"lsn":77,"ts_ms":9}}}"#;
        let record = decode(Some(b"Struct{id=1}"), Some(json)).await.unwrap().unwrap();
        assert_eq!((record.version, record.source_ms, record.key_text().unwrap()), (77, 9, "1".to_owned()));
        let Payload::Row { row, .. } = record.payload else { panic!("a row") };
        assert_eq!(row.get("rate"), Some(&Value::Long(2)));
    }

    #[tokio::test]
    async fn flat_records_and_tombstones_count_by_offset() {
        install_tls();
        let record = decode(Some(b"DE"), Some(br#"{"count":3}"#)).await.unwrap().unwrap();
        assert_eq!((record.version, record.key_text().unwrap()), (5, "DE".to_owned()));
        let gone = decode(Some(b"DE"), None).await.unwrap().unwrap();
        assert_eq!(gone.payload, Payload::Deleted { before: None });
        assert!(decode(None, None).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn poison_is_told_from_an_absent_registry() {
        install_tls();
        assert!(matches!(decode(None, Some(&[0, 0])).await, Err(DecodeError::Poison(_))));
        assert!(matches!(decode(None, Some(b"{broken")).await, Err(DecodeError::Poison(_))));
        assert!(matches!(decode(None, Some(&[0xff, 0xfe])).await, Err(DecodeError::Poison(_))));
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        assert!(matches!(decode(None, Some(deep.as_bytes())).await, Err(DecodeError::Poison(_))));
    }

    #[test]
    fn versions_rise_with_time_and_with_the_offset_within_a_millisecond() {
        let version = |timestamp_ms, offset| own_version(&Consumed { offset, timestamp_ms, ..Consumed::default() });
        let now = 1_795_392_000_000;
        assert!(version(now, 999) < version(now, 1000) && version(now, 1000) < version(now, 1001));
        assert!(version(now, 5_000_000) < version(now + 1, 0));
        assert!(version(i64::MAX, 0) > version(now, 0) && version(-1, 3) == 3);
    }

    #[test]
    fn keys_that_look_like_numbers_keep_their_digits() {
        assert_eq!(key_value(b"42"), Value::Long(42));
        assert_eq!(key_value(b"042"), Value::from("042"));
        let ty = Type::record("k").field(Field::new("id", Type::long())).build();
        assert!(Schema::new(ty).is_ok());
    }
}

//! Source offsets in `connect-offsets`, in Kafka Connect's format: key `["<connector>",{partition}]`, value `{offset}`, both JSON
//! without schema. A task produces them inside its own Kafka transaction, together with the events they stand for.

use crate::connector::TaskError;
use crate::store::OFFSETS;
use ratestream_kafka::{Kafka, LogReader};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Offsets of one connector.
#[derive(Clone, Debug)]
pub struct SourceOffsets {
    kafka: Kafka,
    connector: String,
}

/// A record to be produced to `connect-offsets`. Its partition follows from its key (murmur2), as in Kafka Connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetRecord {
    /// `connect-offsets`.
    pub topic: &'static str,
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

impl SourceOffsets {
    /// Offsets of the connector with this name.
    pub fn new(kafka: Kafka, connector: &str) -> SourceOffsets {
        SourceOffsets { kafka, connector: connector.to_owned() }
    }

    /// The newest offset of a source partition, for example `{"server":"ratingserver"}`; the topic is read to its present end.
    pub async fn load(&self, partition: &Value) -> Result<Option<Value>, TaskError> {
        let wanted = partition.clone();
        Ok(self.load_all().await?.into_iter().find(|(partition, _)| *partition == wanted).map(|(_, offset)| offset))
    }

    /// All source partitions of the connector with their newest offsets.
    pub async fn load_all(&self) -> Result<Vec<(Value, Value)>, TaskError> {
        let (kafka, connector) = (self.kafka.clone(), self.connector.clone());
        let read = tokio::task::spawn_blocking(move || read_all(&kafka, &connector));
        read.await.map_err(|error| TaskError::transient(format!("reading {OFFSETS} was cut short: {error}")))?
    }

    /// The record which stores `offset` for `partition`.
    pub fn record(&self, partition: &Value, offset: &Value) -> OffsetRecord {
        let key = json!([self.connector, partition]).to_string().into_bytes();
        OffsetRecord { topic: OFFSETS, key, value: offset.to_string().into_bytes() }
    }

    /// The transactional id by which the owner of the connector fences its predecessor.
    pub fn transactional_id(&self) -> String {
        format!("ratestream-source-{}", self.connector)
    }
}

fn read_all(kafka: &Kafka, connector: &str) -> Result<Vec<(Value, Value)>, TaskError> {
    let mut newest: BTreeMap<Vec<u8>, (Value, Option<Value>)> = BTreeMap::new();
    LogReader::open(kafka, OFFSETS)?.read_to_end(|record| {
        let Some(key) = record.key else { return };
        let Ok(Value::Array(parts)) = serde_json::from_slice(&key) else { return };
        if let [Value::String(name), partition] = parts.as_slice()
            && name == connector
        {
            let offset = record.value.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            newest.insert(key, (partition.clone(), offset));
        }
    })?;
    Ok(newest.into_values().filter_map(|(partition, offset)| Some((partition, offset?))).collect())
}

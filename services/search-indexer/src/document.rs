//! From a record to what is to be done with one document. Pure.

use ratestream_connect::{ConnectorConfig, TaskError};
use ratestream_pipeline::{Payload, Reject, SinkRecord};
use serde_json::{Map, Value};

/// Elasticsearch's own limit of a document id, in bytes.
const ID_MAX: usize = 512;

/// What a tombstone does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NullValues {
    Delete,
    Ignore,
    Fail,
}

impl NullValues {
    pub(crate) fn parse(text: &str) -> Option<NullValues> {
        match text.to_ascii_lowercase().as_str() {
            "delete" => Some(NullValues::Delete),
            "ignore" => Some(NullValues::Ignore),
            "fail" => Some(NullValues::Fail),
            _ => None,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Store this source. `unchanged` names fields that keep the value which the document has now.
    Index {
        source: Map<String, Value>,
        unchanged: Vec<String>,
    },
    Delete,
}

/// One document, at one position of its source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) index: String,
    pub(crate) id: String,
    /// External version; none for documents that are written once, whose id is their coordinates.
    pub(crate) version: Option<i64>,
    pub(crate) action: Action,
}

/// How records become documents.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    key_ignore: bool,
    key_ignore_topics: Vec<String>,
    null_values: NullValues,
    index_format: String,
}

impl Rules {
    pub(crate) fn new(config: &ConnectorConfig) -> Result<Rules, TaskError> {
        Ok(Rules {
            key_ignore: config.bool("key.ignore")?,
            key_ignore_topics: config.list("topic.key.ignore"),
            null_values: config
                .get("behavior.on.null.values")
                .and_then(NullValues::parse)
                .unwrap_or(NullValues::Delete),
            index_format: config.required("index.name.format")?.to_owned(),
        })
    }

    pub(crate) fn document(&self, record: &SinkRecord) -> Result<Option<Document>, Reject> {
        let by_coordinates = self.key_ignore || self.key_ignore_topics.iter().any(|topic| **topic == *record.topic);
        let id = if by_coordinates { Some(record.coordinates()) } else { record.key_text() };
        let id =
            id.ok_or_else(|| Reject("the record has no key to be the document id; set key.ignore to true".into()))?;
        if id.is_empty() || id.len() > ID_MAX {
            return Err(Reject(format!("the key is {} bytes long; a document id has 1 to {ID_MAX}", id.len())));
        }
        let action = match &record.payload {
            Payload::Row { row, unchanged } => {
                Action::Index { source: row.to_json(), unchanged: unchanged.iter().map(ToString::to_string).collect() }
            }
            Payload::Deleted { .. } if by_coordinates => return Ok(None),
            Payload::Deleted { .. } => match self.null_values {
                NullValues::Delete => Action::Delete,
                NullValues::Ignore => return Ok(None),
                NullValues::Fail => return Err(Reject("a tombstone, and behavior.on.null.values is fail".into())),
            },
        };
        let version = (!by_coordinates).then_some(record.version);
        Ok(Some(Document { index: self.index(&record.topic), id, version, action }))
    }

    /// Index names are lower case and at most 255 bytes, and do not begin with `-`, `_` or `+`.
    fn index(&self, topic: &str) -> String {
        let name = self.index_format.replace("${topic}", topic).to_lowercase();
        let allowed = |c: char| if c.is_whitespace() || "\\/*?\"<>|,#:".contains(c) { '_' } else { c };
        let name: String = name.trim_start_matches(['-', '_', '+']).chars().map(allowed).collect();
        name.chars().take(255).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratestream_avro::{Record, Value as Avro};
    use std::collections::BTreeMap;

    fn rules(properties: &[(&str, &str)]) -> Rules {
        let mut given = BTreeMap::from([("index.name.format".to_owned(), "${topic}".to_owned())]);
        given.extend(properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        Rules::new(&ConnectorConfig::new(given, &[])).unwrap()
    }

    fn record(payload: Payload) -> SinkRecord {
        SinkRecord {
            topic: "RatingServer.rating.rates".into(),
            partition: 2,
            offset: 9,
            timestamp_ms: 0,
            key: Some(Avro::Record(Record::from_pairs("k", [("id", 5i64.into())]))),
            payload,
            version: 77,
            source_ms: 0,
        }
    }

    fn row() -> Payload {
        Payload::Row { row: Record::from_pairs("r", [("id", 5i64.into()), ("rate", 2.into())]), unchanged: vec![] }
    }

    #[test]
    fn the_key_is_the_id_and_the_position_the_version() {
        let document = rules(&[]).document(&record(row())).unwrap().unwrap();
        assert_eq!(
            (document.index.as_str(), document.id.as_str(), document.version),
            ("ratingserver.rating.rates", "5", Some(77))
        );
        let gone = rules(&[]).document(&record(Payload::Deleted { before: None })).unwrap().unwrap();
        assert_eq!((gone.id.as_str(), gone.version, gone.action), ("5", Some(77), Action::Delete));
    }

    #[test]
    fn records_without_a_key_are_refused_unless_it_is_ignored() {
        let mut keyless = record(row());
        keyless.key = None;
        assert!(rules(&[]).document(&keyless).unwrap_err().0.contains("key.ignore"));
        let document = rules(&[("key.ignore", "true")]).document(&keyless).unwrap().unwrap();
        assert_eq!((document.id.as_str(), document.version), ("RatingServer.rating.rates+2+9", None));
    }

    #[test]
    fn tombstones_follow_the_rule() {
        let gone = record(Payload::Deleted { before: None });
        assert_eq!(rules(&[("behavior.on.null.values", "IGNORE")]).document(&gone).unwrap(), None);
        assert!(rules(&[("behavior.on.null.values", "fail")]).document(&gone).is_err());
    }
}

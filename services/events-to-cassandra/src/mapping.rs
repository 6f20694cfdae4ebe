//! DataStax's mapping of records to rows: `topic.<topic>.<keyspace>.<table>.mapping = col=value.field, col=key.field, …`.
//! Ours are `date(…)`, the UTC day of a time, for tables whose partitions are bounded by day, and `.create`, the columns and
//! options of a table to be created. Pure.

use ratestream_avro::Value;
use ratestream_connect::ConnectorConfig;
use ratestream_pipeline::{Payload, Reject, SinkRecord};

const DAY_MICROS: i64 = 86_400_000_000;

/// Property and sentence.
pub(crate) type Mistake = (String, String);

/// Where a column's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Key,
    KeyField(String),
    Value,
    ValueField(String),
    Date(Box<Source>),
}

/// One topic's way into one table.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    pub(crate) topic: String,
    pub(crate) keyspace: String,
    pub(crate) table: String,
    pub(crate) columns: Vec<String>,
    sources: Vec<Source>,
    /// What follows `CREATE TABLE <name>`, when the table shall be created.
    pub(crate) create: Option<String>,
    pub(crate) consistency: String,
    pub(crate) ttl: Option<i32>,
    pub(crate) null_to_unset: bool,
    pub(crate) deletes: bool,
}

/// A row to be written, its values in the order of the mapping's columns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// Index of its mapping.
    pub(crate) mapping: usize,
    /// `None` = leave the column as it is.
    pub(crate) values: Vec<Option<Value>>,
    /// Write timestamp in microseconds: the source position.
    pub(crate) timestamp: i64,
    pub(crate) is_delete: bool,
}

/// All mappings of a connector.
#[derive(Clone, Debug)]
pub(crate) struct Mappings(pub(crate) Vec<Mapping>);

impl Mappings {
    pub(crate) fn new(config: &ConnectorConfig) -> Result<Mappings, Mistake> {
        let mut all = Vec::new();
        for (name, text) in config.prefixed("topic.").filter(|(name, _)| name.ends_with(".mapping")) {
            let property = format!("topic.{name}");
            let place = name.strip_suffix(".mapping").unwrap_or(name);
            let mut parts = place.rsplitn(3, '.');
            let (Some(table), Some(keyspace), Some(topic)) = (parts.next(), parts.next(), parts.next()) else {
                return Err((
                    property,
                    "Name the topic, keyspace and table: topic.<topic>.<keyspace>.<table>.mapping".into(),
                ));
            };
            let (columns, sources) = columns(text).map_err(|message| (property, message))?;
            let option = |option: &str| config.get(&format!("topic.{place}.{option}"));
            let flag = |name: &str| option(name).is_none_or(|text| !text.trim().eq_ignore_ascii_case("false"));
            let ttl = option("ttl").map(|text| {
                text.trim()
                    .parse::<i32>()
                    .map_err(|_| (format!("topic.{place}.ttl"), format!("Invalid value {text}: seconds")))
            });
            all.push(Mapping {
                topic: topic.to_owned(),
                keyspace: keyspace.to_owned(),
                table: table.to_owned(),
                columns,
                sources,
                create: option("create").map(str::to_owned),
                consistency: option("consistencyLevel").unwrap_or("LOCAL_ONE").to_ascii_uppercase(),
                ttl: ttl.transpose()?.filter(|ttl| *ttl > 0),
                null_to_unset: flag("nullToUnset"),
                deletes: flag("deletesEnabled"),
            });
        }
        if all.is_empty() {
            let message = "Missing required configuration topic.<topic>.<keyspace>.<table>.mapping";
            return Err(("topic.*".into(), message.into()));
        }
        Ok(Mappings(all))
    }

    /// The row that a record becomes in one table; a topic mapped to several tables has several.
    pub(crate) fn rows(&self, record: &SinkRecord) -> Result<Vec<Row>, Reject> {
        let mine: Vec<usize> =
            (0..self.0.len()).filter(|at| self.0.get(*at).is_some_and(|m| *m.topic == *record.topic)).collect();
        if mine.is_empty() {
            return Err(Reject(format!("no mapping for the topic {}", record.topic)));
        }
        Ok(mine.into_iter().filter_map(|at| self.0.get(at)?.row(at, record)).collect())
    }
}

impl Mapping {
    fn row(&self, mapping: usize, record: &SinkRecord) -> Option<Row> {
        let is_delete = matches!(record.payload, Payload::Deleted { .. });
        if is_delete && !self.deletes {
            return None;
        }
        let unchanged: &[_] = if let Payload::Row { unchanged, .. } = &record.payload { unchanged } else { &[] };
        let values = self.sources.iter().map(|source| {
            let left_out = matches!(source, Source::ValueField(name) if unchanged.iter().any(|u| **u == **name));
            let value = if left_out { None } else { Some(source.read(record).unwrap_or(Value::Null)) };
            value.filter(|value| !(self.null_to_unset && value.is_null()))
        });
        Some(Row { mapping, values: values.collect(), timestamp: record.version, is_delete })
    }
}

impl Source {
    fn parse(text: &str) -> Result<Source, String> {
        let text = text.trim();
        if let Some(inner) = text.strip_prefix("date(").and_then(|rest| rest.strip_suffix(')')) {
            return Ok(Source::Date(Box::new(Source::parse(inner)?)));
        }
        match text.split_once('.') {
            None if text == "key" => Ok(Source::Key),
            None if text == "value" => Ok(Source::Value),
            Some(("key", field)) => Ok(Source::KeyField(field.to_owned())),
            Some(("value", field)) => Ok(Source::ValueField(field.to_owned())),
            _ => Err(format!("Invalid source {text}: write key, value, key.<field>, value.<field> or date(<source>)")),
        }
    }

    fn read(&self, record: &SinkRecord) -> Option<Value> {
        let row = match &record.payload {
            Payload::Row { row, .. } => Some(row),
            Payload::Deleted { before } => before.as_ref(),
        };
        match self {
            Source::Key => record.key.clone(),
            Source::KeyField(name) => record.key.as_ref()?.as_record()?.get(name).cloned(),
            Source::Value => row.map(|row| Value::Record(row.clone())),
            Source::ValueField(name) => record.field(name).cloned(),
            Source::Date(inner) => match inner.read(record)? {
                Value::Timestamp(micros) => Some(Value::Date(micros.div_euclid(DAY_MICROS) as i32)),
                Value::String(text) => ratestream_avro::time::parse_timestamp(&text)
                    .map(|micros| Value::Date(micros.div_euclid(DAY_MICROS) as i32)),
                Value::Date(day) => Some(Value::Date(day)),
                _ => None,
            },
        }
    }
}

fn columns(text: &str) -> Result<(Vec<String>, Vec<Source>), String> {
    let pairs = text.split(',').map(|pair| {
        let (column, source) =
            pair.split_once('=').ok_or_else(|| format!("Invalid mapping {}: write column=source", pair.trim()))?;
        Ok((column.trim().to_owned(), Source::parse(source)?))
    });
    let pairs: Vec<(String, Source)> = pairs.collect::<Result<_, String>>()?;
    Ok(pairs.into_iter().unzip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratestream_avro::Record;
    use std::collections::BTreeMap;

    const PLACE: &str = "topic.customer-events-customer_events.ratestream.customer_events";

    fn mappings(properties: &[(&str, &str)]) -> Result<Mappings, Mistake> {
        let given: BTreeMap<String, String> =
            properties.iter().map(|(k, v)| (format!("{PLACE}.{k}"), (*v).to_owned())).collect();
        Mappings::new(&ConnectorConfig::new(given, &[]))
    }

    fn record(payload: Payload) -> SinkRecord {
        SinkRecord {
            topic: "customer-events-customer_events".into(),
            partition: 0,
            offset: 3,
            timestamp_ms: 0,
            key: Some(Value::Long(7)),
            payload,
            version: 99,
            source_ms: 0,
        }
    }

    #[test]
    fn a_row_is_read_from_key_and_value_with_its_day() {
        let mappings = mappings(&[(
            "mapping",
            "id=key, customer_id=value.customer_id, day=date(value.created_on), note=value.note",
        )])
        .unwrap();
        let row = Record::from_pairs(
            "e",
            [("customer_id", 5i64.into()), ("created_on", Value::Timestamp(DAY_MICROS * 3 + 5)), ("note", Value::Null)],
        );
        let rows = mappings.rows(&record(Payload::Row { row, unchanged: vec![] })).unwrap();
        assert_eq!(mappings.0[0].keyspace, "ratestream");
        assert_eq!(rows[0].values, [Some(Value::Long(7)), Some(Value::Long(5)), Some(Value::Date(3)), None]);
        assert_eq!((rows[0].timestamp, rows[0].is_delete), (99, false));
    }

    #[test]
    fn unchanged_columns_are_left_as_they_are() {
        let mappings = mappings(&[("mapping", "id=key, note=value.note"), ("nullToUnset", "false")]).unwrap();
        let row = Record::from_pairs("e", [("note", "__debezium_unavailable_value".into())]);
        let rows = mappings.rows(&record(Payload::Row { row, unchanged: vec!["note".into()] })).unwrap();
        assert_eq!(rows[0].values, [Some(Value::Long(7)), None]);
    }

    #[test]
    fn mistakes_name_their_property() {
        assert!(mappings(&[("mapping", "id")]).unwrap_err().1.contains("write column=source"));
        assert!(mappings(&[("mapping", "id=x.y")]).unwrap_err().1.contains("Invalid source x.y"));
        assert!(mappings(&[]).unwrap_err().1.contains("Missing required configuration"));
        let gone = record(Payload::Deleted { before: None });
        assert!(
            mappings(&[("mapping", "id=key"), ("deletesEnabled", "false")]).unwrap().rows(&gone).unwrap().is_empty()
        );
    }
}

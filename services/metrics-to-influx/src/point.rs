//! From a record to a point. Pure.

use crate::line::{Field, Point};
use ratestream_avro::{Record, Value};
use ratestream_connect::ConnectorConfig;
use ratestream_pipeline::{Payload, Reject, SinkRecord};

/// Nanoseconds of a millisecond, shared among records with the same timestamp.
const NANOS: i64 = 1_000_000;

/// Where a tag or field comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    /// The whole key, as text.
    Key,
    KeyField(String),
    ValueField(String),
}

/// How records become points.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    measurement: String,
    tags: Vec<(String, Source)>,
    fields: Vec<(String, Source)>,
    time: Option<String>,
    deletes_are_zero: bool,
}

type Mistake = (&'static str, String);

impl Rules {
    /// Reads the rules; an error names the property and says what is wrong with it.
    pub(crate) fn new(config: &ConnectorConfig) -> Result<Rules, Mistake> {
        let time = match config.get("timestamp") {
            None | Some("record") => None,
            Some(text) => Some(
                text.strip_prefix("value.")
                    .ok_or_else(|| invalid("timestamp", text, "use record or value.<field>"))?
                    .to_owned(),
            ),
        };
        let deletes_are_zero = match config.get("deletes") {
            None | Some("zero") => true,
            Some("ignore") => false,
            Some(text) => return Err(invalid("deletes", text, "use zero or ignore")),
        };
        Ok(Rules {
            measurement: config.get("measurement.name.format").unwrap_or("${topic}").to_owned(),
            tags: sources(config, "tags")?,
            fields: sources(config, "fields")?,
            time,
            deletes_are_zero,
        })
    }

    /// The point of a record; none when it holds nothing to store.
    pub(crate) fn point(&self, record: &SinkRecord) -> Result<Option<Point>, Reject> {
        let fields = match &record.payload {
            Payload::Row { row, .. } => self.fields(record, row)?,
            Payload::Deleted { .. } if !self.deletes_are_zero => return Ok(None),
            Payload::Deleted { .. } => self.fields.iter().map(|(name, _)| (name.clone(), Field::Integer(0))).collect(),
        };
        if fields.is_empty() {
            return Ok(None);
        }
        let tags = self.tags.iter().map(|(name, source)| Ok((name.clone(), text(record, source).unwrap_or_default())));
        Ok(Some(Point {
            measurement: self.measurement.replace("${topic}", &record.topic),
            tags: tags.collect::<Result<_, Reject>>()?,
            fields,
            time_ns: self.time_ns(record)?,
        }))
    }

    fn fields(&self, record: &SinkRecord, row: &Record) -> Result<Vec<(String, Field)>, Reject> {
        if self.fields.is_empty() {
            let is_tag = |name: &str| {
                self.tags.iter().any(|(_, source)| matches!(source, Source::ValueField(field) if field == name))
            };
            return Ok(row
                .iter()
                .filter(|(name, _)| !is_tag(name) && self.time.as_deref() != Some(name))
                .filter_map(|(name, value)| Some((name.to_string(), field(value)?)))
                .collect());
        }
        let mut fields = Vec::with_capacity(self.fields.len());
        for (name, source) in &self.fields {
            let value = value(record, source)
                .ok_or_else(|| Reject(format!("the record has no {source:?} for the field {name}")))?;
            fields.extend(field(value).map(|field| (name.clone(), field)));
        }
        Ok(fields)
    }

    /// Time of the point: records of one millisecond differ by their offsets, so none overwrites another.
    fn time_ns(&self, record: &SinkRecord) -> Result<i64, Reject> {
        let millis = match &self.time {
            None => record.timestamp_ms,
            Some(name) => match record.field(name) {
                Some(Value::Timestamp(micros)) => micros.div_euclid(1000),
                Some(value) => value.as_i64().ok_or_else(|| Reject(format!("the field {name} is no time")))?,
                None => return Err(Reject(format!("the record has no field {name} for its time"))),
            },
        };
        millis
            .checked_mul(NANOS)
            .and_then(|ns| ns.checked_add(record.offset.rem_euclid(NANOS)))
            .ok_or_else(|| Reject(format!("the time {millis} ms is out of InfluxDB's range")))
    }
}

fn invalid(key: &'static str, text: &str, hint: &str) -> Mistake {
    (key, format!("Invalid value {text} for configuration {key}: {hint}"))
}

fn sources(config: &ConnectorConfig, key: &'static str) -> Result<Vec<(String, Source)>, Mistake> {
    let parse = |item: &String| {
        let (name, source) = item.split_once('=').unwrap_or((item.rsplit('.').next().unwrap_or(item), item));
        let source = match source.trim().split_once('.') {
            None if source.trim() == "key" => Source::Key,
            Some(("key", field)) => Source::KeyField(field.to_owned()),
            Some(("value", field)) => Source::ValueField(field.to_owned()),
            _ => return Err(invalid(key, item, "write name=key, name=key.<field> or name=value.<field>")),
        };
        Ok((name.trim().to_owned(), source))
    };
    config.list(key).iter().map(parse).collect()
}

fn value<'a>(record: &'a SinkRecord, source: &Source) -> Option<&'a Value> {
    let find = |row: &'a Record, name: &str| {
        row.get(name).or_else(|| row.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    };
    match (source, &record.payload) {
        (Source::Key, _) => record.key.as_ref(),
        (Source::KeyField(name), _) => find(record.key.as_ref()?.as_record()?, name),
        (Source::ValueField(name), Payload::Row { row, .. }) => find(row, name),
        (Source::ValueField(name), Payload::Deleted { before }) => find(before.as_ref()?, name),
    }
}

fn text(record: &SinkRecord, source: &Source) -> Option<String> {
    if *source == Source::Key {
        return record.key_text();
    }
    value(record, source).filter(|value| !value.is_null()).map(|value| match value.to_json() {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    })
}

/// Nothing for null; decimals and numbers as floats or integers; everything else as text.
fn field(value: &Value) -> Option<Field> {
    match value {
        Value::Null => None,
        Value::Boolean(truth) => Some(Field::Boolean(*truth)),
        Value::Int(number) => Some(Field::Integer(i64::from(*number))),
        Value::Long(number) => Some(Field::Integer(*number)),
        Value::Float(_) | Value::Double(_) | Value::Decimal { .. } => {
            value.as_f64().filter(|n| n.is_finite()).map(Field::Float)
        }
        other => Some(Field::Text(match other.to_json() {
            serde_json::Value::String(text) => text,
            json => json.to_string(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn rules(properties: &[(&str, &str)]) -> Result<Rules, Mistake> {
        let given: BTreeMap<String, String> = properties.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Rules::new(&ConnectorConfig::new(given, &[]))
    }

    fn count(offset: i64, payload: Payload) -> SinkRecord {
        SinkRecord {
            topic: "RATES_COUNT".into(),
            partition: 0,
            offset,
            timestamp_ms: 1000,
            key: Some("Germany".into()),
            payload,
            version: 0,
            source_ms: 1000,
        }
    }

    fn row(n: i64) -> Payload {
        Payload::Row { row: Record::from_pairs("c", [("KSQL_COL_0", n.into())]), unchanged: vec![] }
    }

    const PER_COUNTRY: [(&str, &str); 3] = [
        ("measurement.name.format", "rates_per_country"),
        ("tags", "country=key"),
        ("fields", "count=value.ksql_col_0"),
    ];

    #[test]
    fn counts_are_points_by_country_and_their_corrections_newer_points() {
        let rules = rules(&PER_COUNTRY).unwrap();
        let point = rules.point(&count(5, row(3))).unwrap().unwrap();
        assert_eq!(
            (point.measurement.as_str(), &point.tags[0].1[..], point.time_ns),
            ("rates_per_country", "Germany", 1_000_000_005)
        );
        assert_eq!(point.fields, [("count".to_owned(), Field::Integer(3))]);
        let gone = rules.point(&count(6, Payload::Deleted { before: None })).unwrap().unwrap();
        assert_eq!((gone.fields[0].1.clone(), gone.time_ns), (Field::Integer(0), 1_000_000_006));
    }

    #[test]
    fn without_a_list_every_value_that_is_no_tag_is_a_field() {
        let rules = rules(&[("tags", "value.name"), ("timestamp", "value.ts")]).unwrap();
        let row = Record::from_pairs(
            "m",
            [("ts", Value::Timestamp(7000)), ("name", "x".into()), ("value", 1.5.into()), ("none", Value::Null)],
        );
        let point = rules.point(&count(1, Payload::Row { row, unchanged: vec![] })).unwrap().unwrap();
        assert_eq!(point.tags, [("name".to_owned(), "x".to_owned())]);
        assert_eq!((point.fields, point.time_ns), (vec![("value".to_owned(), Field::Float(1.5))], 7_000_001));
    }

    #[test]
    fn mistakes_name_their_property() {
        assert_eq!(rules(&[("tags", "a=b.c")]).unwrap_err().0, "tags");
        assert_eq!(rules(&[("timestamp", "now")]).unwrap_err().0, "timestamp");
        let rules = rules(&PER_COUNTRY).unwrap();
        let other = Payload::Row { row: Record::from_pairs("c", [("x", 1.into())]), unchanged: vec![] };
        assert!(rules.point(&count(1, other)).is_err());
    }
}

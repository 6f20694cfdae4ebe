//! Bytes of `_schemas` records, in both directions.
//!
//! Compaction compares key bytes, so keys are written in the field order of the Java original:
//! `{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}`, `{"keytype":"CONFIG","subject":null,"magic":0}`,
//! `{"keytype":"NOOP","magic":0}`, `{"keytype":"CONTEXT","tenant":"default","context":".c"}`.
//! Reading accepts any order, magic 0 for schemas, and reports what it does not know instead of failing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::model::{Config, Content, Level, Mode, Reference, SchemaType};

/// One record of the log. A `None` value is a tombstone.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A version of a subject.
    Schema {
        /// Subject.
        subject: Arc<str>,
        /// Version number.
        version: i32,
        /// None for a tombstone.
        value: Option<SchemaValue>,
    },
    /// A configuration; no subject means global.
    Config {
        /// Subject; none means global.
        subject: Option<Arc<str>>,
        /// None for a tombstone.
        value: Option<Config>,
    },
    /// A mode; no subject means global.
    Mode {
        /// Subject; none means global.
        subject: Option<Arc<str>>,
        /// None for a tombstone.
        value: Option<Mode>,
    },
    /// All versions up to a watermark are softly deleted.
    DeleteSubject {
        /// Subject.
        subject: Arc<str>,
        /// Highest deleted version; none for a tombstone.
        watermark: Option<i32>,
    },
    /// The softly deleted versions are gone for good.
    ClearSubject {
        /// Subject.
        subject: Arc<str>,
        /// False for a tombstone.
        live: bool,
    },
    /// The name of a context.
    Context {
        /// Name of the context.
        context: String,
        /// False for a tombstone.
        live: bool,
    },
    /// Nothing: a leader writes it to learn the log's end.
    Noop,
}

/// The value of a schema record.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaValue {
    /// The schema's id.
    pub id: i32,
    /// What the id names.
    pub content: Arc<Content>,
    /// Softly deleted.
    pub deleted: bool,
    /// Hash that other registries write; handed through.
    pub md5: Option<String>,
}

/// Why a record was skipped.
#[derive(Debug, Error, PartialEq)]
pub enum RecordError {
    /// The record has no key.
    #[error("the record has no key")]
    NoKey,
    /// The key is not JSON of a known shape.
    #[error("the key cannot be read: {0}")]
    Key(String),
    /// A key type of another registry's extension.
    #[error("key type {0} is not known to this version")]
    KeyType(String),
    /// The value is not JSON of the shape its key type needs.
    #[error("the value cannot be read: {0}")]
    Value(String),
}

#[derive(Deserialize)]
struct KeyFields {
    keytype: String,
    #[serde(default)]
    subject: Option<Arc<str>>,
    #[serde(default)]
    version: Option<i32>,
    #[serde(default)]
    context: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct SchemaFields {
    #[serde(default)]
    subject: Option<Arc<str>>,
    #[serde(default)]
    version: Option<i32>,
    id: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    #[serde(default, rename = "schemaType", skip_serializing_if = "Option::is_none")]
    schema_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    references: Option<Vec<Reference>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    #[serde(default, rename = "ruleSet", skip_serializing_if = "Option::is_none")]
    rule_set: Option<Value>,
    schema: Arc<str>,
    #[serde(default)]
    deleted: bool,
}

impl Record {
    /// Reads one record.
    ///
    /// # Errors
    /// A [`RecordError`] that names what is wrong; the caller counts it and goes on.
    pub fn parse(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Record, RecordError> {
        let key = key.ok_or(RecordError::NoKey)?;
        let key: KeyFields = serde_json::from_slice(key).map_err(|error| RecordError::Key(error.to_string()))?;
        let subject = || key.subject.clone().ok_or_else(|| RecordError::Key("the subject is missing".into()));
        Ok(match key.keytype.as_str() {
            "SCHEMA" => {
                let version = key.version.ok_or_else(|| RecordError::Key("the version is missing".into()))?;
                Record::Schema { subject: subject()?, version, value: value.map(parse_schema).transpose()? }
            }
            "CONFIG" => Record::Config { subject: key.subject, value: value.map(parse_config).transpose()? },
            "MODE" => Record::Mode { subject: key.subject, value: value.map(parse_mode).transpose()? },
            "DELETE_SUBJECT" => {
                Record::DeleteSubject { subject: subject()?, watermark: value.map(parse_watermark).transpose()? }
            }
            "CLEAR_SUBJECT" => Record::ClearSubject { subject: subject()?, live: value.is_some() },
            "CONTEXT" => {
                let context = key.context.ok_or_else(|| RecordError::Key("the context is missing".into()))?;
                Record::Context { context, live: value.is_some() }
            }
            "NOOP" => Record::Noop,
            other => return Err(RecordError::KeyType(other.to_owned())),
        })
    }

    /// The key's bytes.
    pub fn key(&self) -> Vec<u8> {
        let key = match self {
            Record::Schema { subject, version, .. } => {
                json!({"keytype": "SCHEMA", "subject": subject, "version": version, "magic": 1})
            }
            Record::Config { subject, .. } => json!({"keytype": "CONFIG", "subject": subject, "magic": 0}),
            Record::Mode { subject, .. } => json!({"keytype": "MODE", "subject": subject, "magic": 0}),
            Record::DeleteSubject { subject, .. } => {
                json!({"keytype": "DELETE_SUBJECT", "subject": subject, "magic": 0})
            }
            Record::ClearSubject { subject, .. } => json!({"keytype": "CLEAR_SUBJECT", "subject": subject, "magic": 0}),
            Record::Context { context, .. } => {
                json!({"keytype": "CONTEXT", "tenant": "default", "context": context})
            }
            Record::Noop => json!({"keytype": "NOOP", "magic": 0}),
        };
        key.to_string().into_bytes()
    }

    /// The value's bytes, `None` for a tombstone.
    pub fn value(&self) -> Option<Vec<u8>> {
        let value = match self {
            Record::Schema { subject, version, value } => print_schema(subject, *version, value.as_ref()?),
            Record::Config { subject, value } => print_config(subject.as_deref(), value.as_ref()?),
            Record::Mode { subject, value } => json!({"subject": subject, "mode": (*value)?.name()}).to_string(),
            Record::DeleteSubject { subject, watermark } => {
                json!({"subject": subject, "version": (*watermark)?}).to_string()
            }
            Record::ClearSubject { subject, live } => live.then(|| json!({"subject": subject}).to_string())?,
            Record::Context { context, live } => {
                live.then(|| json!({"tenant": "default", "context": context}).to_string())?
            }
            Record::Noop => return None,
        };
        Some(value.into_bytes())
    }
}

fn bad_value(error: impl std::fmt::Display) -> RecordError {
    RecordError::Value(error.to_string())
}

fn parse_schema(bytes: &[u8]) -> Result<SchemaValue, RecordError> {
    let fields: SchemaFields = serde_json::from_slice(bytes).map_err(bad_value)?;
    let schema_type = match fields.schema_type.as_deref() {
        None => SchemaType::Avro,
        Some(name) => {
            SchemaType::from_name(name).ok_or_else(|| bad_value(format_args!("schema type {name} is not known")))?
        }
    };
    let content = Content {
        schema_type,
        schema: fields.schema,
        references: fields.references.unwrap_or_default(),
        metadata: fields.metadata.filter(|value| !value.is_null()).map(|value| value.to_string().into()),
        rule_set: fields.rule_set.filter(|value| !value.is_null()).map(|value| value.to_string().into()),
    };
    Ok(SchemaValue { id: fields.id, content: Arc::new(content), deleted: fields.deleted, md5: fields.md5 })
}

fn print_schema(subject: &Arc<str>, version: i32, value: &SchemaValue) -> String {
    let content = &value.content;
    let contract = |text: &Option<Arc<str>>| text.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let fields = SchemaFields {
        subject: Some(subject.clone()),
        version: Some(version),
        id: value.id,
        md5: value.md5.clone(),
        schema_type: (content.schema_type != SchemaType::Avro).then(|| content.schema_type.name().to_owned()),
        references: (!content.references.is_empty()).then(|| content.references.clone()),
        metadata: contract(&content.metadata),
        rule_set: contract(&content.rule_set),
        schema: content.schema.clone(),
        deleted: value.deleted,
    };
    // The fields are strings, numbers and JSON values: printing them cannot fail.
    serde_json::to_string(&fields).unwrap_or_default()
}

fn parse_config(bytes: &[u8]) -> Result<Config, RecordError> {
    let mut other: Map<String, Value> = serde_json::from_slice(bytes).map_err(bad_value)?;
    other.shift_remove("subject");
    let level = match other.shift_remove("compatibilityLevel") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let name = value.as_str().unwrap_or_default();
            Some(Level::from_name(name).ok_or_else(|| bad_value(format_args!("level {value} is not known")))?)
        }
    };
    Ok(Config { level, other })
}

fn print_config(subject: Option<&str>, config: &Config) -> String {
    let mut value = Map::new();
    value.insert("subject".into(), subject.into());
    if let Some(level) = config.level {
        value.insert("compatibilityLevel".into(), level.name().into());
    }
    value.extend(config.other.clone());
    Value::Object(value).to_string()
}

fn parse_mode(bytes: &[u8]) -> Result<Mode, RecordError> {
    let value: Value = serde_json::from_slice(bytes).map_err(bad_value)?;
    let name = value.get("mode").and_then(Value::as_str).unwrap_or_default();
    Mode::from_name(name).ok_or_else(|| bad_value(format_args!("mode {name:?} is not known")))
}

fn parse_watermark(bytes: &[u8]) -> Result<i32, RecordError> {
    let value: Value = serde_json::from_slice(bytes).map_err(bad_value)?;
    value
        .get("version")
        .and_then(Value::as_i64)
        .and_then(|version| i32::try_from(version).ok())
        .ok_or_else(|| bad_value("the version is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> Arc<Content> {
        Arc::new(Content {
            schema_type: SchemaType::Avro,
            schema: text.into(),
            references: Vec::new(),
            metadata: None,
            rule_set: None,
        })
    }

    #[test]
    fn keys_have_the_exact_bytes_that_compaction_needs() {
        let text = |record: Record| String::from_utf8(record.key()).unwrap();
        let schema = Record::Schema { subject: "a-value".into(), version: 3, value: None };
        assert_eq!(text(schema), r#"{"keytype":"SCHEMA","subject":"a-value","version":3,"magic":1}"#);
        assert_eq!(
            text(Record::Config { subject: None, value: None }),
            r#"{"keytype":"CONFIG","subject":null,"magic":0}"#
        );
        assert_eq!(
            text(Record::Mode { subject: Some("s".into()), value: None }),
            r#"{"keytype":"MODE","subject":"s","magic":0}"#
        );
        assert_eq!(
            text(Record::DeleteSubject { subject: "s".into(), watermark: None }),
            r#"{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}"#
        );
        assert_eq!(text(Record::Noop), r#"{"keytype":"NOOP","magic":0}"#);
    }

    #[test]
    fn values_have_the_original_field_order_and_come_back() {
        let value = SchemaValue { id: 7, content: content(r#""int""#), deleted: false, md5: None };
        let record = Record::Schema { subject: "s".into(), version: 1, value: Some(value) };
        let bytes = record.value().unwrap();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            r#"{"subject":"s","version":1,"id":7,"schema":"\"int\"","deleted":false}"#
        );
        assert_eq!(Record::parse(Some(&record.key()), Some(&bytes)).unwrap(), record);
    }

    #[test]
    fn reads_records_that_the_java_registry_wrote() {
        let key = br#"{"keytype":"SCHEMA","subject":"t-value","version":1,"magic":0}"#;
        let value = br#"{"subject":"t-value","version":1,"id":100500,"md5":"x==","schemaType":"PROTOBUF","references":[{"name":"a.proto","subject":"a","version":2}],"metadata":null,"ruleSet":null,"schema":"syntax = \"proto3\";","deleted":true}"#;
        let Record::Schema { value: Some(value), .. } = Record::parse(Some(key), Some(value)).unwrap() else {
            panic!("not a schema")
        };
        assert_eq!((value.id, value.deleted, value.md5.as_deref()), (100_500, true, Some("x==")));
        assert_eq!(value.content.schema_type, SchemaType::Protobuf);
        assert_eq!(value.content.references[0].version, 2);
    }

    #[test]
    fn config_keeps_what_it_does_not_understand() {
        let key = br#"{"keytype":"CONFIG","subject":"s","magic":0}"#;
        let value =
            br#"{"subject":"s","compatibilityLevel":"FULL_TRANSITIVE","compatibilityGroup":"major","alias":"x"}"#;
        let record = Record::parse(Some(key), Some(value)).unwrap();
        assert_eq!(record.value().unwrap(), value);
    }

    #[test]
    fn foreign_and_broken_records_are_named_not_fatal() {
        assert_eq!(Record::parse(None, None), Err(RecordError::NoKey));
        assert_eq!(
            Record::parse(Some(br#"{"keytype":"ASSOC","tenant":"d"}"#), None),
            Err(RecordError::KeyType("ASSOC".into()))
        );
        assert!(matches!(Record::parse(Some(b"\x00\x01"), Some(b"x")), Err(RecordError::Key(_))));
        let key = br#"{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}"#;
        assert!(matches!(Record::parse(Some(key), Some(br#"{"subject":"s","ver"#)), Err(RecordError::Value(_))));
    }
}

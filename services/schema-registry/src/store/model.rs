//! What a schema, a configuration and a mode are to the registry.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A named pointer from one schema to a version of another subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// The name under which the schema's text mentions it.
    pub name: String,
    /// The subject that holds it.
    pub subject: String,
    /// The version within that subject.
    pub version: i32,
}

/// What an id names: text, references and data contract. Two contents that are equal have one id.
///
/// Contract parts are kept as JSON text: they are compared and handed back, never interpreted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Content {
    /// `AVRO`, `JSON` or `PROTOBUF`.
    pub schema_type: SchemaType,
    /// Canonical text.
    pub schema: Arc<str>,
    /// Other subjects' schemas that the text mentions.
    pub references: Vec<Reference>,
    /// The `metadata` object as compact JSON.
    pub metadata: Option<Arc<str>>,
    /// The `ruleSet` object as compact JSON.
    pub rule_set: Option<Arc<str>>,
}

/// The language of a schema. Absent on the wire means Avro.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SchemaType {
    /// Apache Avro.
    #[default]
    Avro,
    /// JSON Schema.
    Json,
    /// Protocol Buffers.
    Protobuf,
}

impl SchemaType {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            SchemaType::Avro => "AVRO",
            SchemaType::Json => "JSON",
            SchemaType::Protobuf => "PROTOBUF",
        }
    }

    /// Reads the name on the wire; `None` for a type this registry has never heard of.
    pub fn from_name(name: &str) -> Option<SchemaType> {
        match name {
            "AVRO" => Some(SchemaType::Avro),
            "JSON" => Some(SchemaType::Json),
            "PROTOBUF" => Some(SchemaType::Protobuf),
            _ => None,
        }
    }
}

/// How far a new schema may differ from the earlier ones of its subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Level {
    /// Anything goes.
    None,
    /// The new schema reads what the latest one wrote.
    #[default]
    Backward,
    /// The new schema reads what any earlier one wrote.
    BackwardTransitive,
    /// The latest schema reads what the new one writes.
    Forward,
    /// Every earlier schema reads what the new one writes.
    ForwardTransitive,
    /// Both directions with the latest one.
    Full,
    /// Both directions with every earlier one.
    FullTransitive,
}

impl Level {
    /// Every level with its wire name.
    pub const ALL: [(Level, &'static str); 7] = [
        (Level::None, "NONE"),
        (Level::Backward, "BACKWARD"),
        (Level::BackwardTransitive, "BACKWARD_TRANSITIVE"),
        (Level::Forward, "FORWARD"),
        (Level::ForwardTransitive, "FORWARD_TRANSITIVE"),
        (Level::Full, "FULL"),
        (Level::FullTransitive, "FULL_TRANSITIVE"),
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        Level::ALL.iter().find(|(level, _)| *level == self).map_or("NONE", |(_, name)| name)
    }

    /// Reads the name in any case.
    pub fn from_name(name: &str) -> Option<Level> {
        Level::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(level, _)| *level)
    }

    /// Whether the new schema must read old data.
    pub fn backward(self) -> bool {
        matches!(self, Level::Backward | Level::BackwardTransitive | Level::Full | Level::FullTransitive)
    }

    /// Whether old schemas must read new data.
    pub fn forward(self) -> bool {
        matches!(self, Level::Forward | Level::ForwardTransitive | Level::Full | Level::FullTransitive)
    }

    /// Whether all earlier versions count, not only the latest.
    pub fn transitive(self) -> bool {
        matches!(self, Level::BackwardTransitive | Level::ForwardTransitive | Level::FullTransitive)
    }
}

/// What a subject accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// Reads and writes.
    #[default]
    ReadWrite,
    /// Reads only.
    ReadOnly,
    /// Reads only, deprecated spelling of the global form.
    #[serde(rename = "READONLY_OVERRIDE")]
    ReadOnlyOverride,
    /// Registration with given ids and versions, unchecked.
    Import,
    /// Writes go to another registry.
    Forward,
}

impl Mode {
    const ALL: [(Mode, &'static str); 5] = [
        (Mode::ReadWrite, "READWRITE"),
        (Mode::ReadOnly, "READONLY"),
        (Mode::ReadOnlyOverride, "READONLY_OVERRIDE"),
        (Mode::Import, "IMPORT"),
        (Mode::Forward, "FORWARD"),
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        Mode::ALL.iter().find(|(mode, _)| *mode == self).map_or("READWRITE", |(_, name)| name)
    }

    /// Reads the name in any case.
    pub fn from_name(name: &str) -> Option<Mode> {
        Mode::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(mode, _)| *mode)
    }

    /// Whether changes are refused.
    pub fn read_only(self) -> bool {
        matches!(self, Mode::ReadOnly | Mode::ReadOnlyOverride | Mode::Forward)
    }
}

/// A subject's (or the global) configuration: the level and whatever else was put, kept as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The compatibility level, if this scope sets one.
    pub level: Option<Level>,
    /// Further keys (`normalize`, `compatibilityGroup`, `alias`, …) in the order given.
    pub other: serde_json::Map<String, Value>,
}

impl Config {
    /// Whether registrations of this scope are normalized without being asked to.
    pub fn normalize(&self) -> bool {
        self.other.get("normalize").and_then(Value::as_bool).unwrap_or(false)
    }

    /// The metadata property whose value separates versions into groups that are compared only among themselves.
    pub fn compatibility_group(&self) -> Option<&str> {
        self.other.get("compatibilityGroup").and_then(Value::as_str)
    }
}

/// The context (name space of ids) a subject lives in: `:.ctx:subject` is in `.ctx`, everything else in `.`.
pub fn context_of(subject: &str) -> &str {
    subject
        .strip_prefix(':')
        .and_then(|rest| rest.split_once(':'))
        .map(|(context, _)| context)
        .filter(|context| context.starts_with('.'))
        .unwrap_or(".")
}

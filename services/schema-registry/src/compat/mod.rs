//! Whether a new schema may follow the earlier ones of its subject.
//!
//! [`avro`] compares two Avro schemas and reports every fault with its path; this module chooses what is compared with what
//! (level, compatibility group, references) and words the answer as the Java registry does.

pub mod avro;

use std::sync::Arc;

use ratestream_avro::Schema;
use serde_json::Value;

use crate::error::ApiError;
use crate::store::index::{Index, Show, Version};
use crate::store::model::{Config, Content, Level, SchemaType};
use avro::Incompatibility;

/// Schemas that refer to schemas that refer to schemas …: so deep and no deeper.
const REFERENCE_DEPTH_MAX: usize = 16;

/// Refuses a schema that breaks its subject's level.
///
/// # Errors
/// 409 with every incompatibility, 42201 when a schema cannot be read.
pub fn admit(index: &Index, subject: &str, content: &Content) -> Result<(), ApiError> {
    let level = index.level(Some(subject));
    let earlier: Vec<&Version> = index.versions(subject, Show::Live).collect();
    let faults = check(index, subject, level, content, &earlier)?;
    if faults.is_empty() { Ok(()) } else { Err(ApiError::incompatible(subject, &faults)) }
}

/// Compares a schema with earlier versions (ascending) as far as the level asks for; one text for each fault, none = compatible.
///
/// # Errors
/// 42201 when one of the schemas cannot be read.
pub fn check(
    index: &Index,
    subject: &str,
    level: Level,
    content: &Content,
    earlier: &[&Version],
) -> Result<Vec<String>, ApiError> {
    if level == Level::None {
        return Ok(Vec::new());
    }
    let group = index.setting(subject, Config::compatibility_group);
    let mut earlier: Vec<&Version> =
        earlier.iter().rev().copied().filter(|old| same_group(group, content, &old.content)).collect();
    if !level.transitive() {
        earlier.truncate(1);
    }
    let mut faults = Vec::new();
    if earlier.is_empty() {
        return Ok(faults);
    }
    let new = parse(index, content).map_err(ApiError::invalid_schema)?;
    for old in earlier {
        let found = compare(index, level, content, &new, old)?;
        if !found.is_empty() {
            faults.extend(found);
            faults.push(format!("{{oldSchemaVersion: {}}}", old.number));
            faults.push(format!("{{oldSchema: '{}'}}", old.content.schema));
        }
    }
    if !faults.is_empty() {
        faults.push(format!("{{compatibility: '{}'}}", level.name()));
    }
    Ok(faults)
}

fn compare(
    index: &Index,
    level: Level,
    content: &Content,
    new: &Schema,
    old: &Version,
) -> Result<Vec<String>, ApiError> {
    if content.schema_type != old.content.schema_type {
        return Ok(vec!["Incompatible because of different schema type".to_owned()]);
    }
    let old = parse(index, &old.content).map_err(ApiError::invalid_schema)?;
    let mut faults = Vec::new();
    if level.backward() {
        let found = avro::read(new, &old).map_err(ApiError::invalid_schema)?;
        faults.extend(found.iter().map(|fault| describe(fault, "new", "old")));
    }
    if level.forward() {
        let found = avro::read(&old, new).map_err(ApiError::invalid_schema)?;
        faults.extend(found.iter().map(|fault| describe(fault, "old", "new")));
    }
    Ok(faults)
}

/// The text of one fault in the form that clients of the Java registry know.
fn describe(fault: &Incompatibility, reader: &str, writer: &str) -> String {
    use avro::Rule;
    let (path, info) = (&fault.path, &fault.detail);
    let description = match fault.rule {
        Rule::NameMismatch => format!("The name of the schema has changed (path '{path}')"),
        Rule::TypeMismatch => {
            format!(
                "The type (path '{path}') of a field in the {reader} schema does not match with the {writer} schema"
            )
        }
        Rule::FixedSizeMismatch => {
            format!(
                "The size of FIXED type field at path '{path}' in the {reader} schema does not match with the {writer} schema"
            )
        }
        Rule::MissingEnumSymbols => {
            format!("The {reader} schema is missing enum symbols '{info}' at path '{path}' in the {writer} schema")
        }
        Rule::MissingUnionBranch => {
            format!(
                "The {reader} schema is missing a type inside a union field at path '{path}' in the {writer} schema"
            )
        }
        Rule::ReaderFieldMissingDefault => format!(
            "The field '{info}' at path '{path}' in the {reader} schema has no default value and is missing in the {writer} schema"
        ),
    };
    format!("{{errorType:'{}', description:'{description}', additionalInfo:'{info}'}}", fault.rule.name())
}

fn same_group(group: Option<&str>, new: &Content, old: &Content) -> bool {
    let Some(group) = group else { return true };
    let value = |content: &Content| -> Option<Value> {
        let metadata: Value = serde_json::from_str(content.metadata.as_deref()?).ok()?;
        metadata.get("properties")?.get(group).cloned()
    };
    value(new) == value(old)
}

/// Parses an Avro content with what it refers to.
///
/// # Errors
/// A sentence that says which schema cannot be read and why.
pub fn parse(index: &Index, content: &Content) -> Result<Arc<Schema>, String> {
    parse_at(index, content, 0)
}

fn parse_at(index: &Index, content: &Content, depth: usize) -> Result<Arc<Schema>, String> {
    if depth > REFERENCE_DEPTH_MAX {
        return Err(format!("references nest deeper than {REFERENCE_DEPTH_MAX}"));
    }
    if content.schema_type != SchemaType::Avro {
        return Err(format!("schemas of type {} are kept and served, not compared yet", content.schema_type.name()));
    }
    let mut references = Vec::with_capacity(content.references.len());
    for reference in &content.references {
        let target = index.version(&reference.subject, reference.version).ok_or_else(|| {
            format!("No schema reference found for subject \"{}\" and version {}", reference.subject, reference.version)
        })?;
        references.push(parse_at(index, &target.content, depth + 1)?);
    }
    Schema::parse_with(&content.schema, &references).map_err(|error| error.to_string())
}

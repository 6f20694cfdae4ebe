//! Which records a request writes, given a state. Plain and synchronous: the writer calls it on its draft of the state,
//! tests call it on any.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::index::{Index, Show, Version};
use super::model::{Config, Content, Level, Mode, context_of};
use super::record::{Record, SchemaValue};
use crate::compat;
use crate::error::ApiError;

/// A request that may change the log.
#[derive(Clone, Debug)]
pub enum Command {
    /// Register a schema.
    Register(Registration),
    /// Delete all versions, softly or for good.
    DeleteSubject {
        /// Subject.
        subject: Arc<str>,
        /// For good instead of softly.
        permanent: bool,
    },
    /// Delete one version; `None` is the latest one.
    DeleteVersion {
        /// Subject.
        subject: Arc<str>,
        /// Version number; for a command, none means the latest.
        version: Option<i32>,
        /// For good instead of softly.
        permanent: bool,
    },
    /// Set a configuration; no subject means global.
    PutConfig {
        /// Subject; none means global.
        subject: Option<Arc<str>>,
        /// The new configuration.
        config: Config,
    },
    /// Forget a configuration.
    DeleteConfig {
        /// Subject; none means global.
        subject: Option<Arc<str>>,
    },
    /// Set a mode; `force` skips the check that an importing subject is empty.
    PutMode {
        /// Subject; none means global.
        subject: Option<Arc<str>>,
        /// The new mode.
        mode: Mode,
        /// Skips the check that an importing subject is empty.
        force: bool,
    },
    /// Forget a mode.
    DeleteMode {
        /// Subject; none means global.
        subject: Option<Arc<str>>,
    },
}

/// A schema to be registered.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Where.
    pub subject: Arc<str>,
    /// What, already canonical; `None` when the caller sent an empty schema.
    pub content: Option<Arc<Content>>,
    /// The id that an import asks for.
    pub id: Option<i32>,
    /// The version that an import asks for.
    pub version: Option<i32>,
}

/// What to write and what to answer once it is written.
#[derive(Debug)]
pub struct Decision {
    /// In this order, in one transaction.
    pub records: Vec<Record>,
    /// The response's body.
    pub answer: Value,
}

impl Decision {
    fn answer(answer: Value) -> Decision {
        Decision { records: Vec::new(), answer }
    }

    fn write(record: Record, answer: Value) -> Decision {
        Decision { records: vec![record], answer }
    }
}

/// Decides a command.
///
/// # Errors
/// The refusal that the caller gets.
pub fn decide(index: &Index, command: &Command) -> Result<Decision, ApiError> {
    match command {
        Command::Register(registration) => register(index, registration),
        Command::DeleteSubject { subject, permanent } => delete_subject(index, subject, *permanent),
        Command::DeleteVersion { subject, version, permanent } => delete_version(index, subject, *version, *permanent),
        Command::PutConfig { subject, config } => {
            writable(index, subject.as_deref())?;
            let record = Record::Config { subject: subject.clone(), value: Some(config.clone()) };
            Ok(Decision::write(record, config_echo(config)))
        }
        Command::DeleteConfig { subject } => delete_config(index, subject),
        Command::PutMode { subject, mode, force } => put_mode(index, subject, *mode, *force),
        Command::DeleteMode { subject } => delete_mode(index, subject),
    }
}

/// The version of a subject that holds exactly this content, the newest if there are several.
pub fn find<'a>(index: &'a Index, subject: &str, content: &Content, show: Show) -> Option<&'a Version> {
    index.versions(subject, show).rev().find(|version| *version.content == *content)
}

/// The answer to a registration that needs no write, if there is one: the schema is registered already.
pub fn already_registered(index: &Index, registration: &Registration) -> Option<Value> {
    let content = registration.content.as_ref()?;
    let version = find(index, &registration.subject, content, Show::Live)?;
    let same = |wanted: Option<i32>, have: i32| wanted.is_none_or(|wanted| wanted == have);
    (same(registration.id, version.id) && same(registration.version, version.number)).then(|| json!({"id": version.id}))
}

fn writable(index: &Index, subject: Option<&str>) -> Result<(), ApiError> {
    if index.mode(subject).read_only() { Err(ApiError::read_only(subject)) } else { Ok(()) }
}

fn register(index: &Index, registration: &Registration) -> Result<Decision, ApiError> {
    let subject = &registration.subject;
    let Some(content) = &registration.content else { return register_nothing(index, subject) };
    if let Some(answer) = already_registered(index, registration) {
        return Ok(Decision::answer(answer));
    }
    writable(index, Some(subject))?;
    let import = index.mode(Some(subject)) == Mode::Import;
    if registration.id.is_some() && !import {
        return Err(ApiError::not_permitted(format!("Subject {subject} is not in import mode")));
    }
    if !import {
        compat::admit(index, subject, content)?;
    }
    let id = choose_id(index, registration, content)?;
    let version = registration.version.filter(|_| import).unwrap_or_else(|| index.highest_version(subject) + 1);
    let value = SchemaValue { id, content: content.clone(), deleted: false, md5: None };
    let mut records = vec![Record::Schema { subject: subject.clone(), version, value: Some(value) }];
    // The same schema, softly deleted earlier, comes back under a new number; the old number is given up.
    if let Some(old) = find(index, subject, content, Show::Deleted).filter(|old| old.number != version) {
        records.push(Record::Schema { subject: subject.clone(), version: old.number, value: None });
    }
    Ok(Decision { records, answer: json!({"id": id}) })
}

/// An empty schema asks for the latest version of an existing subject.
fn register_nothing(index: &Index, subject: &str) -> Result<Decision, ApiError> {
    let latest = index.versions(subject, Show::Live).next_back();
    let latest = latest.ok_or_else(|| ApiError::invalid_schema("Empty schema"))?;
    Ok(Decision::answer(json!({
        "id": latest.id, "version": latest.number, "schema": latest.content.schema,
    })))
}

fn choose_id(index: &Index, registration: &Registration, content: &Content) -> Result<i32, ApiError> {
    let ids = index.ids(context_of(&registration.subject));
    let Some(wanted) = registration.id else {
        return Ok(ids.map_or(1, |ids| ids.of(content).unwrap_or_else(|| ids.next())));
    };
    match ids.and_then(|ids| ids.get(wanted)) {
        Some(named) if *named.content != *content => Err(ApiError::not_permitted(format!(
            "Overwrite new schema with id {wanted} is not permitted: the id names another schema"
        ))),
        _ => Ok(wanted),
    }
}

fn delete_subject(index: &Index, subject: &Arc<str>, permanent: bool) -> Result<Decision, ApiError> {
    if !index.knows(subject) {
        return Err(ApiError::subject_not_found(subject));
    }
    writable(index, Some(subject))?;
    let live: Vec<&Version> = index.versions(subject, Show::Live).collect();
    if permanent {
        if !live.is_empty() {
            return Err(ApiError::subject_not_soft_deleted(subject));
        }
        return erase_subject(index, subject);
    }
    let Some(highest) = live.last().map(|version| version.number) else {
        return Err(ApiError::subject_soft_deleted(subject));
    };
    for version in &live {
        unreferenced(index, subject, version.number)?;
    }
    let numbers: Vec<i32> = live.iter().map(|version| version.number).collect();
    let record = Record::DeleteSubject { subject: subject.clone(), watermark: Some(highest) };
    Ok(Decision::write(record, json!(numbers)))
}

fn erase_subject(index: &Index, subject: &Arc<str>) -> Result<Decision, ApiError> {
    let mut records = Vec::new();
    let mut numbers = Vec::new();
    for version in index.versions(subject, Show::All) {
        unreferenced(index, subject, version.number)?;
        numbers.push(version.number);
        records.push(Record::Schema { subject: subject.clone(), version: version.number, value: None });
    }
    if index.config(Some(subject)).is_some() {
        records.push(Record::Config { subject: Some(subject.clone()), value: None });
    }
    if index.own_mode(Some(subject)).is_some() {
        records.push(Record::Mode { subject: Some(subject.clone()), value: None });
    }
    Ok(Decision { records, answer: json!(numbers) })
}

fn unreferenced(index: &Index, subject: &str, number: i32) -> Result<(), ApiError> {
    match index.referrers(subject, number).any(|user| !user.deleted) {
        true => Err(ApiError::referenced(subject, number)),
        false => Ok(()),
    }
}

fn delete_version(
    index: &Index,
    subject: &Arc<str>,
    version: Option<i32>,
    permanent: bool,
) -> Result<Decision, ApiError> {
    if !index.knows(subject) {
        return Err(ApiError::subject_not_found(subject));
    }
    let found = match version {
        Some(number) => index.version(subject, number),
        None => index.versions(subject, Show::Live).next_back(),
    };
    let found = found.ok_or_else(|| ApiError::version_not_found(version.unwrap_or(-1)))?;
    writable(index, Some(subject))?;
    unreferenced(index, subject, found.number)?;
    let value = match (found.deleted, permanent) {
        (true, true) => None,
        (false, true) => return Err(ApiError::version_not_soft_deleted(subject, found.number)),
        (true, false) => return Err(ApiError::version_soft_deleted(subject, found.number)),
        (false, false) => {
            Some(SchemaValue { id: found.id, content: found.content.clone(), deleted: true, md5: found.md5.clone() })
        }
    };
    let record = Record::Schema { subject: subject.clone(), version: found.number, value };
    Ok(Decision::write(record, json!(found.number)))
}

/// How a `PUT` of a configuration is echoed: the level is called `compatibility` there.
fn config_echo(config: &Config) -> Value {
    config_body(config, "compatibility", config.level)
}

/// How a configuration is shown.
pub fn config_view(config: &Config, level: Option<Level>) -> Value {
    config_body(config, "compatibilityLevel", level)
}

fn config_body(config: &Config, name: &str, level: Option<Level>) -> Value {
    let mut body = Map::new();
    if let Some(level) = level {
        body.insert(name.into(), level.name().into());
    }
    body.extend(config.other.clone());
    Value::Object(body)
}

fn delete_config(index: &Index, subject: &Option<Arc<str>>) -> Result<Decision, ApiError> {
    let old = index.config(subject.as_deref());
    if let (Some(subject), None) = (subject, old) {
        return Err(ApiError::subject_not_found(subject));
    }
    writable(index, subject.as_deref())?;
    let old = old.cloned().unwrap_or_default();
    let level = old.level.or_else(|| subject.is_none().then(|| index.level(None)));
    let record = Record::Config { subject: subject.clone(), value: None };
    Ok(Decision::write(record, config_view(&old, level)))
}

fn put_mode(index: &Index, subject: &Option<Arc<str>>, mode: Mode, force: bool) -> Result<Decision, ApiError> {
    if mode == Mode::Import && !force {
        let occupied = match subject {
            Some(subject) => index.versions(subject, Show::Live).next().is_some(),
            None => index.subjects(Show::Live).next().is_some(),
        };
        if occupied {
            return Err(ApiError::not_permitted("Cannot import since found existing subjects"));
        }
    }
    let record = Record::Mode { subject: subject.clone(), value: Some(mode) };
    Ok(Decision::write(record, json!({"mode": mode.name()})))
}

fn delete_mode(index: &Index, subject: &Option<Arc<str>>) -> Result<Decision, ApiError> {
    let old = index.own_mode(subject.as_deref());
    if let (Some(subject), None) = (subject, old) {
        return Err(ApiError::subject_not_found(subject));
    }
    let record = Record::Mode { subject: subject.clone(), value: None };
    Ok(Decision::write(record, json!({"mode": old.unwrap_or_default().name()})))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

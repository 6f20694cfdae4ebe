//! The state that replaying the log produces. No I/O, no locks: readers share one behind a lock, the writer drafts on a clone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ids::{Ids, Named, Use};
use super::model::{Config, Content, Level, Mode, context_of};
use super::record::{Record, SchemaValue};

/// One version of a subject.
#[derive(Clone, Debug)]
pub struct Version {
    /// Number within the subject, from 1.
    pub number: i32,
    /// Id within the subject's context.
    pub id: i32,
    /// The schema.
    pub content: Arc<Content>,
    /// Softly deleted: readable by id, hidden elsewhere unless asked for.
    pub deleted: bool,
    /// Hash written by another registry, kept when the record is rewritten.
    pub md5: Option<String>,
}

/// Which versions a reader wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Show {
    /// Live versions.
    #[default]
    Live,
    /// Live and softly deleted ones.
    All,
    /// Softly deleted ones only.
    Deleted,
}

impl Show {
    /// From the parameters `deleted` and `deletedOnly`; the latter wins.
    pub fn from_flags(deleted: bool, deleted_only: bool) -> Show {
        match (deleted, deleted_only) {
            (_, true) => Show::Deleted,
            (true, false) => Show::All,
            (false, false) => Show::Live,
        }
    }

    /// Whether a version is wanted.
    pub fn wants(self, version: &Version) -> bool {
        match self {
            Show::Live => !version.deleted,
            Show::All => true,
            Show::Deleted => version.deleted,
        }
    }
}

type Versions = BTreeMap<i32, Version>;

/// Subjects, ids, configurations and modes.
#[derive(Clone, Debug, Default)]
pub struct Index {
    subjects: BTreeMap<Arc<str>, Versions>,
    contexts: BTreeMap<String, Ids>,
    named_contexts: BTreeSet<String>,
    configs: BTreeMap<Option<Arc<str>>, Config>,
    modes: BTreeMap<Option<Arc<str>>, Mode>,
    /// Who refers to a version: (subject, version) to users of the referring schemas.
    referrers: BTreeMap<Use, BTreeSet<Use>>,
    default_level: Level,
}

impl Index {
    /// An empty state.
    pub fn new(default_level: Level) -> Index {
        Index { default_level, ..Index::default() }
    }

    /// Takes one record of the log. `false` when it contradicts the state (an id that names another schema) and was skipped.
    pub fn apply(&mut self, record: &Record) -> bool {
        match record {
            Record::Schema { subject, version, value: Some(value) } => return self.put(subject, *version, value),
            Record::Schema { subject, version, value: None } => self.remove(subject, *version),
            Record::DeleteSubject { subject, watermark: Some(watermark) } => {
                if let Some(versions) = self.subjects.get_mut(subject) {
                    versions.range_mut(..=*watermark).for_each(|(_, version)| version.deleted = true);
                }
            }
            Record::ClearSubject { subject, live: true } => {
                let gone: Vec<i32> = self.versions(subject, Show::Deleted).map(|version| version.number).collect();
                gone.into_iter().for_each(|version| self.remove(subject, version));
            }
            Record::Config { subject, value } => put_or_remove(&mut self.configs, subject, value.clone()),
            Record::Mode { subject, value } => put_or_remove(&mut self.modes, subject, *value),
            Record::Context { context, live } => {
                if *live {
                    self.named_contexts.insert(context.clone());
                } else {
                    self.named_contexts.remove(context);
                }
            }
            Record::DeleteSubject { watermark: None, .. } | Record::ClearSubject { live: false, .. } | Record::Noop => {
            }
        }
        true
    }

    fn put(&mut self, subject: &Arc<str>, number: i32, value: &SchemaValue) -> bool {
        let context = context_of(subject);
        if !self.contexts.contains_key(context) {
            self.contexts.insert(context.to_owned(), Ids::default());
        }
        let Some(ids) = self.contexts.get_mut(context) else { return false };
        let place = (subject.clone(), number);
        let replaced = self.subjects.get(subject).and_then(|versions| versions.get(&number)).map(|old| old.id);
        if let Some(old) = replaced.filter(|old| *old != value.id) {
            ids.release(old, &place);
        }
        if !ids.claim(value.id, &value.content, place.clone()) {
            return false;
        }
        // One copy of a text however many versions use it.
        let content = ids.get(value.id).map_or_else(|| value.content.clone(), |named| named.content.clone());
        for reference in &content.references {
            let target: (Arc<str>, i32) = (reference.subject.as_str().into(), reference.version);
            self.referrers.entry(target).or_default().insert(place.clone());
        }
        let version = Version { number, id: value.id, content, deleted: value.deleted, md5: value.md5.clone() };
        self.subjects.entry(subject.clone()).or_default().insert(number, version);
        true
    }

    fn remove(&mut self, subject: &Arc<str>, number: i32) {
        let Some(versions) = self.subjects.get_mut(subject) else { return };
        let Some(version) = versions.remove(&number) else { return };
        if versions.is_empty() {
            self.subjects.remove(subject);
        }
        let place = (subject.clone(), number);
        if let Some(ids) = self.contexts.get_mut(context_of(subject)) {
            ids.release(version.id, &place);
        }
        for reference in &version.content.references {
            let target: (Arc<str>, i32) = (reference.subject.as_str().into(), reference.version);
            if let Some(users) = self.referrers.get_mut(&target) {
                users.remove(&place);
                if users.is_empty() {
                    self.referrers.remove(&target);
                }
            }
        }
    }

    /// The subjects that have a wanted version, sorted.
    pub fn subjects(&self, show: Show) -> impl Iterator<Item = &Arc<str>> {
        self.subjects
            .iter()
            .filter(move |(_, versions)| match show {
                // A subject counts as deleted only when nothing of it lives.
                Show::Deleted => versions.values().all(|version| version.deleted),
                _ => versions.values().any(|version| show.wants(version)),
            })
            .map(|(name, _)| name)
    }

    /// The wanted versions of a subject, ascending; none if it is unknown.
    pub fn versions(&self, subject: &str, show: Show) -> impl DoubleEndedIterator<Item = &Version> {
        self.subjects.get(subject).into_iter().flat_map(BTreeMap::values).filter(move |version| show.wants(version))
    }

    /// One version, whatever its state.
    pub fn version(&self, subject: &str, number: i32) -> Option<&Version> {
        self.subjects.get(subject)?.get(&number)
    }

    /// Whether the subject has any version, live or softly deleted.
    pub fn knows(&self, subject: &str) -> bool {
        self.subjects.contains_key(subject)
    }

    /// The highest number ever used by what is left of a subject.
    pub fn highest_version(&self, subject: &str) -> i32 {
        self.subjects.get(subject).and_then(|versions| versions.last_key_value()).map_or(0, |(number, _)| *number)
    }

    /// The ids of a context (`.` is the default one).
    pub fn ids(&self, context: &str) -> Option<&Ids> {
        self.contexts.get(context)
    }

    /// What an id names: in the hint's context, else in the default one.
    pub fn named(&self, id: i32, hint: Option<&str>) -> Option<&Named> {
        let context = hint.map_or(".", context_of);
        self.contexts.get(context).and_then(|ids| ids.get(id)).or_else(|| self.contexts.get(".")?.get(id))
    }

    /// The users (subject, version) of schemas that refer to a version.
    pub fn referrers(&self, subject: &str, number: i32) -> impl Iterator<Item = &Version> {
        self.referrers
            .get(&(Arc::from(subject), number))
            .into_iter()
            .flatten()
            .filter_map(|(subject, number)| self.version(subject, *number))
    }

    /// The contexts that exist, the default one first.
    pub fn contexts(&self) -> Vec<&str> {
        let all: BTreeSet<&str> =
            self.contexts.keys().chain(&self.named_contexts).map(String::as_str).chain(["."]).collect();
        all.into_iter().collect()
    }

    /// A scope's own configuration.
    pub fn config(&self, subject: Option<&str>) -> Option<&Config> {
        self.configs.get(&subject.map(Arc::from))
    }

    /// The level that applies to a subject: its own, else the global one, else the service's default.
    pub fn level(&self, subject: Option<&str>) -> Level {
        subject
            .and_then(|subject| self.config(Some(subject))?.level)
            .or_else(|| self.config(None)?.level)
            .unwrap_or(self.default_level)
    }

    /// A key of the configuration that applies to a subject, looked up as [`Index::level`] does.
    pub fn setting<'a, T>(&'a self, subject: &str, read: impl Fn(&'a Config) -> Option<T>) -> Option<T> {
        self.config(Some(subject)).and_then(&read).or_else(|| self.config(None).and_then(&read))
    }

    /// A scope's own mode.
    pub fn own_mode(&self, subject: Option<&str>) -> Option<Mode> {
        self.modes.get(&subject.map(Arc::from)).copied()
    }

    /// The mode that applies to a subject.
    pub fn mode(&self, subject: Option<&str>) -> Mode {
        let global = self.own_mode(None);
        if global == Some(Mode::ReadOnlyOverride) {
            return Mode::ReadOnlyOverride;
        }
        subject.and_then(|subject| self.own_mode(Some(subject))).or(global).unwrap_or_default()
    }

    /// How many records claimed an id that names another schema.
    pub fn conflicts(&self) -> u64 {
        self.contexts.values().map(|ids| ids.conflicts).sum()
    }
}

fn put_or_remove<V>(map: &mut BTreeMap<Option<Arc<str>>, V>, key: &Option<Arc<str>>, value: Option<V>) {
    match value {
        Some(value) => map.insert(key.clone(), value),
        None => map.remove(key),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::model::{Reference, SchemaType};

    fn schema(subject: &str, version: i32, id: i32, text: &str) -> Record {
        let content = Content {
            schema_type: SchemaType::Avro,
            schema: text.into(),
            references: Vec::new(),
            metadata: None,
            rule_set: None,
        };
        let value = SchemaValue { id, content: Arc::new(content), deleted: false, md5: None };
        Record::Schema { subject: subject.into(), version, value: Some(value) }
    }

    fn numbers(index: &Index, subject: &str, show: Show) -> Vec<i32> {
        index.versions(subject, show).map(|version| version.number).collect()
    }

    #[test]
    fn a_subject_delete_hides_versions_up_to_the_watermark_only() {
        let mut index = Index::default();
        index.apply(&schema("s", 1, 1, "a"));
        index.apply(&schema("s", 2, 2, "b"));
        index.apply(&Record::DeleteSubject { subject: "s".into(), watermark: Some(2) });
        index.apply(&schema("s", 3, 2, "b"));
        assert_eq!(numbers(&index, "s", Show::Live), [3]);
        assert_eq!(numbers(&index, "s", Show::All), [1, 2, 3]);
        assert_eq!(numbers(&index, "s", Show::Deleted), [1, 2]);
        assert_eq!(index.subjects(Show::Live).count(), 1);
        assert_eq!(index.subjects(Show::Deleted).count(), 0);
        assert_eq!(index.highest_version("s"), 3);
    }

    #[test]
    fn tombstones_remove_versions_and_free_ids() {
        let mut index = Index::default();
        index.apply(&schema("s", 1, 1, "a"));
        assert!(index.named(1, None).is_some());
        index.apply(&Record::Schema { subject: "s".into(), version: 1, value: None });
        assert!(index.named(1, None).is_none());
        assert!(!index.knows("s"));
    }

    #[test]
    fn one_text_is_kept_once() {
        let mut index = Index::default();
        index.apply(&schema("s", 1, 1, "a"));
        index.apply(&schema("t", 1, 1, "a"));
        let (one, two) = (index.version("s", 1).unwrap(), index.version("t", 1).unwrap());
        assert!(Arc::ptr_eq(&one.content, &two.content));
    }

    #[test]
    fn contexts_have_their_own_ids() {
        let mut index = Index::default();
        index.apply(&schema("s", 1, 1, "a"));
        index.apply(&schema(":.other:s", 1, 1, "b"));
        assert_eq!(&*index.named(1, None).unwrap().content.schema, "a");
        assert_eq!(&*index.named(1, Some(":.other:s")).unwrap().content.schema, "b");
        assert_eq!(index.contexts(), [".", ".other"]);
    }

    #[test]
    fn levels_and_modes_fall_back_to_the_global_ones() {
        let mut index = Index::new(Level::Backward);
        assert_eq!(index.level(Some("s")), Level::Backward);
        let full = Config { level: Some(Level::Full), ..Config::default() };
        index.apply(&Record::Config { subject: None, value: Some(full) });
        assert_eq!(index.level(Some("s")), Level::Full);
        let none = Config { level: Some(Level::None), ..Config::default() };
        index.apply(&Record::Config { subject: Some("s".into()), value: Some(none) });
        assert_eq!((index.level(Some("s")), index.level(Some("t"))), (Level::None, Level::Full));
        index.apply(&Record::Mode { subject: None, value: Some(Mode::ReadOnly) });
        index.apply(&Record::Mode { subject: Some("s".into()), value: Some(Mode::Import) });
        assert_eq!((index.mode(Some("s")), index.mode(Some("t"))), (Mode::Import, Mode::ReadOnly));
    }

    #[test]
    fn referrers_are_known_while_they_exist() {
        let mut index = Index::default();
        index.apply(&schema("base", 1, 1, "a"));
        let reference = Reference { name: "a".into(), subject: "base".into(), version: 1 };
        let content = Content {
            schema_type: SchemaType::Avro,
            schema: "b".into(),
            references: vec![reference],
            metadata: None,
            rule_set: None,
        };
        let value = SchemaValue { id: 2, content: Arc::new(content), deleted: false, md5: None };
        index.apply(&Record::Schema { subject: "user".into(), version: 1, value: Some(value) });
        assert_eq!(index.referrers("base", 1).map(|version| version.id).collect::<Vec<_>>(), [2]);
        index.apply(&Record::Schema { subject: "user".into(), version: 1, value: None });
        assert_eq!(index.referrers("base", 1).count(), 0);
    }
}

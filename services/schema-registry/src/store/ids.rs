//! Which id names which schema, within one context.
//!
//! The rule the registry lives by: an id names one content for ever, and one content has one id while anybody uses it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::model::Content;

/// A place where an id is used: subject and version.
pub type Use = (Arc<str>, i32);

/// What an id names and who uses it.
#[derive(Clone, Debug)]
pub struct Named {
    /// The schema.
    pub content: Arc<Content>,
    /// Live and softly deleted versions.
    pub uses: BTreeSet<Use>,
}

/// The ids of one context.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    named: BTreeMap<i32, Named>,
    by_content: HashMap<Arc<Content>, i32>,
    /// Highest id ever seen, so that a freed id is not given again while this log remembers it.
    highest: i32,
    /// How often a record claimed an id that already names another schema (a corrupt log). The first claim stands.
    pub conflicts: u64,
}

impl Ids {
    /// Notes that a version uses an id. `false` if the id names something else: the record must be skipped.
    pub fn claim(&mut self, id: i32, content: &Arc<Content>, place: Use) -> bool {
        self.highest = self.highest.max(id);
        let named = self.named.entry(id).or_insert_with(|| Named { content: content.clone(), uses: BTreeSet::new() });
        if named.content != *content {
            self.conflicts += 1;
            return false;
        }
        named.uses.insert(place);
        let shared = named.content.clone();
        self.by_content.entry(shared).or_insert(id);
        true
    }

    /// Forgets one use; the last one frees the id.
    pub fn release(&mut self, id: i32, place: &Use) {
        let Some(named) = self.named.get_mut(&id) else { return };
        named.uses.remove(place);
        if named.uses.is_empty() {
            let content = named.content.clone();
            self.named.remove(&id);
            if self.by_content.get(&content) == Some(&id) {
                self.by_content.remove(&content);
            }
        }
    }

    /// The id of a content, if it has one.
    pub fn of(&self, content: &Content) -> Option<i32> {
        self.by_content.get(content).copied()
    }

    /// What an id names.
    pub fn get(&self, id: i32) -> Option<&Named> {
        self.named.get(&id)
    }

    /// The next free id: one above the highest ever seen.
    pub fn next(&self) -> i32 {
        self.highest.saturating_add(1)
    }

    /// The highest id that is in use or was.
    pub fn highest(&self) -> i32 {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::model::SchemaType;

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
    fn same_content_same_id_until_the_last_use_is_gone() {
        let mut ids = Ids::default();
        assert!(ids.claim(1, &content("a"), ("s".into(), 1)));
        assert!(ids.claim(1, &content("a"), ("t".into(), 1)));
        assert_eq!(ids.of(&content("a")), Some(1));
        ids.release(1, &("s".into(), 1));
        assert_eq!(ids.of(&content("a")), Some(1));
        ids.release(1, &("t".into(), 1));
        assert_eq!(ids.of(&content("a")), None);
        assert!(ids.get(1).is_none());
        assert_eq!(ids.next(), 2, "a freed id is not handed out again");
    }

    #[test]
    fn an_id_never_names_two_schemas() {
        let mut ids = Ids::default();
        assert!(ids.claim(5, &content("a"), ("s".into(), 1)));
        assert!(!ids.claim(5, &content("b"), ("s".into(), 2)));
        assert_eq!(ids.conflicts, 1);
        assert_eq!(&*ids.get(5).unwrap().content.schema, "a");
    }

    #[test]
    fn imported_ids_raise_the_next_one() {
        let mut ids = Ids::default();
        ids.claim(100_500, &content("a"), ("s".into(), 1));
        assert_eq!(ids.next(), 100_501);
    }
}

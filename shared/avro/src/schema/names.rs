//! Names and extra properties.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde_json::{Map, Value as Json};

/// A full name: namespace, dot, simple name; cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// A name as written in `text`, in `namespace` unless it has its own.
    pub fn new(text: &str, namespace: Option<&str>) -> Self {
        match namespace {
            Some(space) if !text.contains('.') && !space.is_empty() => Self(format!("{space}.{text}").into()),
            _ => Self(text.trim_start_matches('.').into()),
        }
    }

    /// Namespace and simple name together.
    pub fn full(&self) -> &str {
        &self.0
    }

    /// The full name, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The last part.
    pub fn simple(&self) -> &str {
        self.0.rsplit_once('.').map_or(&*self.0, |(_, simple)| simple)
    }

    /// Everything before the last dot.
    pub fn namespace(&self) -> Option<&str> {
        self.0.rsplit_once('.').map(|(space, _)| space)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        str::hash(&self.0, state);
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", self.0)
    }
}

/// Properties that Avro does not define (`connect.name`, `logicalType`, ...), in the order of the text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Props(Option<Arc<Map<String, Json>>>);

impl Props {
    /// The value of a property.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.0.as_ref()?.get(key)
    }

    /// A property that is a string.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// Adds or replaces one.
    pub fn set(&mut self, key: &str, value: Json) {
        Arc::make_mut(self.0.get_or_insert_default()).insert(key.to_owned(), value);
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|map| map.is_empty())
    }

    /// In the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().flat_map(|map| map.iter().map(|(key, value)| (key.as_str(), value)))
    }
}

impl From<Map<String, Json>> for Props {
    fn from(map: Map<String, Json>) -> Self {
        Self(if map.is_empty() { None } else { Some(Arc::new(map)) })
    }
}

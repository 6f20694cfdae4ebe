//! What the fabric knows: connectors, their target states, statuses and plugins, as read from its topics. Plain and synchronous.
//!
//! Record formats are Kafka Connect's (`KafkaConfigBackingStore`, `KafkaStatusBackingStore`): `connector-<name>`
//! `{"properties":{…}}`, `target-state-<name>` `{"state":…,"state.v2":…}`, `restart-connector-<name>`,
//! `status-connector-<name>` and `status-task-<name>-<n>` `{"state","trace","worker_id","generation"}`. Ours is
//! `ratestream-plugin-<class>` in the status topic; Kafka Connect ignores unknown keys.

use crate::connector::{Descriptor, Kind, ValueKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a connector shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Running,
    Paused,
    Stopped,
}

impl Target {
    pub(crate) fn parse(text: &str) -> Option<Target> {
        match text {
            "STARTED" | "RUNNING" => Some(Target::Running),
            "PAUSED" => Some(Target::Paused),
            "STOPPED" => Some(Target::Stopped),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Target::Running => "RUNNING",
            Target::Paused => "PAUSED",
            Target::Stopped => "STOPPED",
        }
    }

    /// The record value; workers older than 3.5 read STOPPED as PAUSED.
    pub(crate) fn record(self) -> Value {
        let v1 = match self {
            Target::Running => "STARTED",
            Target::Paused | Target::Stopped => "PAUSED",
        };
        let v2 = if self == Target::Running { "STARTED" } else { self.name() };
        json!({"state": v1, "state.v2": v2})
    }
}

/// One connector as configured.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) target: Target,
    /// Offset of the newest configuration or restart record: a task of an older one must be replaced.
    pub(crate) revision: i64,
}

/// Status of a connector or task, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) trace: Option<String>,
    #[serde(default)]
    pub(crate) worker_id: String,
    #[serde(default)]
    pub(crate) generation: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// What the owner of a class tells about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plugin {
    pub(crate) class: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) kind: Kind,
    pub(crate) version: String,
    pub(crate) service: String,
    pub(crate) keys: Vec<PluginKey>,
}

/// See [`crate::ConfigKey`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PluginKey {
    pub(crate) name: String,
    pub(crate) required: bool,
    pub(crate) default: Option<String>,
    pub(crate) kind: ValueKind,
    pub(crate) doc: String,
}

impl Plugin {
    pub(crate) fn new(descriptor: &Descriptor, service: &str) -> Plugin {
        let key = |key: &crate::ConfigKey| PluginKey {
            name: key.name.to_owned(),
            required: key.required,
            default: key.default.map(str::to_owned),
            kind: key.kind,
            doc: key.doc.to_owned(),
        };
        Plugin {
            class: descriptor.class.to_owned(),
            aliases: descriptor.aliases.iter().map(|a| (*a).to_owned()).collect(),
            kind: descriptor.kind,
            version: descriptor.version.to_owned(),
            service: service.to_owned(),
            keys: descriptor.keys.iter().map(key).collect(),
        }
    }

    pub(crate) fn is_named(&self, name: &str) -> bool {
        crate::catalogue::matches(&self.class, name) || self.aliases.iter().any(|alias| alias == name)
    }
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fabric {
    pub(crate) connectors: BTreeMap<String, Entry>,
    pub(crate) connector_status: BTreeMap<String, Status>,
    pub(crate) task_status: BTreeMap<(String, u32), Status>,
    pub(crate) plugins: BTreeMap<String, Plugin>,
    /// Target states that arrived before their connectors.
    targets: BTreeMap<String, Target>,
}

#[derive(Deserialize)]
struct Properties {
    properties: BTreeMap<String, Value>,
}

impl Fabric {
    /// Applies a record of `connect-configs`. Records that it does not understand are left to others.
    pub(crate) fn apply_config(&mut self, offset: i64, key: &str, value: Option<&[u8]>) {
        if let Some(name) = key.strip_prefix("connector-") {
            match value.map(serde_json::from_slice::<Properties>) {
                Some(Ok(record)) => {
                    let config = record.properties.into_iter().map(|(k, v)| (k, text(v))).collect();
                    let target = self.targets.get(name).copied().unwrap_or(Target::Running);
                    self.connectors.insert(name.to_owned(), Entry { config, target, revision: offset });
                }
                Some(Err(error)) => tracing::warn!(connector = name, %error, "connector record is skipped"),
                None => {
                    self.connectors.remove(name);
                    self.targets.remove(name);
                }
            }
        } else if let Some(name) = key.strip_prefix("target-state-") {
            let record: Option<Value> = value.and_then(|bytes| serde_json::from_slice(bytes).ok());
            let field = |name: &str| record.as_ref()?.get(name)?.as_str().and_then(Target::parse);
            let target = field("state.v2").or_else(|| field("state")).unwrap_or(Target::Running);
            self.targets.insert(name.to_owned(), target);
            if let Some(entry) = self.connectors.get_mut(name) {
                entry.target = target;
            }
        } else if let Some(entry) =
            key.strip_prefix("restart-connector-").and_then(|name| self.connectors.get_mut(name))
        {
            entry.revision = offset;
        }
    }

    /// Takes over what a fresh reading of `connect-configs` told.
    pub(crate) fn replace_configs(&mut self, fresh: Fabric) {
        self.connectors = fresh.connectors;
        self.targets = fresh.targets;
    }

    /// Applies a record of `connect-status`.
    pub(crate) fn apply_status(&mut self, key: &str, value: Option<&[u8]>) {
        if let Some(class) = key.strip_prefix("ratestream-plugin-") {
            apply(&mut self.plugins, class.to_owned(), value);
        } else if let Some(name) = key.strip_prefix("status-connector-") {
            apply(&mut self.connector_status, name.to_owned(), value);
        } else if let Some((name, task)) = key.strip_prefix("status-task-").and_then(|rest| rest.rsplit_once('-'))
            && let Ok(task) = task.parse()
        {
            apply(&mut self.task_status, (name.to_owned(), task), value);
        }
    }

    /// The plugin for a class name or alias.
    pub(crate) fn plugin(&self, name: &str) -> Option<&Plugin> {
        self.plugins.values().find(|plugin| plugin.is_named(name))
    }
}

fn apply<K: Ord, V: serde::de::DeserializeOwned>(into: &mut BTreeMap<K, V>, key: K, value: Option<&[u8]>) {
    match value.map(serde_json::from_slice) {
        Some(Ok(parsed)) => {
            into.insert(key, parsed);
        }
        Some(Err(error)) => tracing::debug!(%error, "status record is skipped"),
        None => {
            into.remove(&key);
        }
    }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(fabric: &mut Fabric, offset: i64, key: &str, value: Option<Value>) {
        let bytes = value.map(|v| v.to_string().into_bytes());
        fabric.apply_config(offset, key, bytes.as_deref());
    }

    #[test]
    fn a_connector_lives_from_its_record_to_its_tombstone() {
        let mut fabric = Fabric::default();
        config(&mut fabric, 1, "target-state-a", Some(Target::Paused.record()));
        config(&mut fabric, 2, "connector-a", Some(json!({"properties": {"tasks.max": 1, "x": "y"}})));
        assert_eq!(fabric.connectors["a"].target, Target::Paused);
        assert_eq!(fabric.connectors["a"].config["tasks.max"], "1");
        config(&mut fabric, 3, "target-state-a", Some(json!({"state": "STARTED"})));
        config(&mut fabric, 4, "restart-connector-a", Some(json!({"only-failed": false})));
        assert_eq!((fabric.connectors["a"].target, fabric.connectors["a"].revision), (Target::Running, 4));
        config(&mut fabric, 5, "session-key", Some(json!({"key": "…"})));
        config(&mut fabric, 6, "connector-a", None);
        assert!(fabric.connectors.is_empty());
    }

    #[test]
    fn statuses_of_tasks_of_connectors_with_dashes_are_found() {
        let mut fabric = Fabric::default();
        fabric.apply_status(
            "status-task-rating-system-connector-0",
            Some(br#"{"state":"RUNNING","trace":null,"worker_id":"w","generation":3}"#),
        );
        assert_eq!(fabric.task_status[&("rating-system-connector".to_owned(), 0)].generation, 3);
    }
}

//! What a connector class brings, and what one of its tasks gets.

use crate::config::ConnectorConfig;
use crate::offsets::SourceOffsets;
use ratestream_avro::RegistryClient;
use ratestream_kafka::{Kafka, KafkaError};
use ratestream_runtime::{Health, Progress, Shutdown};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};

/// Direction of a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Into Kafka: one owner at a time.
    Source,
    /// Out of Kafka: scales by its consumer group.
    Sink,
}

/// Type of a configuration value, as Connect names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ValueKind {
    /// Any text.
    String,
    /// Text that is never shown.
    Password,
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
    /// `true` or `false`.
    Boolean,
    /// Separated by commas.
    List,
    /// Name of a Java class.
    Class,
}

/// One configuration property of a class.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    /// Its name; one that ends in `*` stands for every name with that beginning.
    pub name: &'static str,
    /// Whether it must be given.
    pub required: bool,
    /// What holds when it is not given.
    pub default: Option<&'static str>,
    /// Its type.
    pub kind: ValueKind,
    /// What it does.
    pub doc: &'static str,
}

impl ConfigKey {
    /// An optional property without a default.
    pub const fn optional(name: &'static str, kind: ValueKind, doc: &'static str) -> ConfigKey {
        ConfigKey { name, required: false, default: None, kind, doc }
    }

    /// A property that must be given.
    pub const fn required(name: &'static str, kind: ValueKind, doc: &'static str) -> ConfigKey {
        ConfigKey { name, required: true, default: None, kind, doc }
    }

    /// A property with a default.
    pub const fn with_default(
        name: &'static str,
        default: &'static str,
        kind: ValueKind,
        doc: &'static str,
    ) -> ConfigKey {
        ConfigKey { name, required: false, default: Some(default), kind, doc }
    }
}

/// A connector class.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// Full Java name of the class that it stands for.
    pub class: &'static str,
    /// Other names it is known by, simple names included.
    pub aliases: &'static [&'static str],
    /// Its direction.
    pub kind: Kind,
    /// Version that it is compatible with.
    pub version: &'static str,
    /// Its properties, without those that all connectors have.
    pub keys: &'static [ConfigKey],
}

/// One finding of a validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The property.
    pub key: String,
    /// What is wrong and what to do, a sentence.
    pub message: String,
}

/// A connector class with its behaviour.
#[async_trait::async_trait(?Send)]
pub trait Connector: Send + Sync + 'static {
    /// Its description.
    fn descriptor(&self) -> Descriptor;

    /// Checks beyond missing and unknown properties. Pure.
    fn validate(&self, config: &ConnectorConfig) -> Vec<ConfigError>;

    /// Runs one task until `task.stop` fires, then returns `Ok`. An error ends the task; its class decides what follows.
    async fn run(&self, task: TaskContext) -> Result<(), TaskError>;
}

/// What one task works with.
#[derive(Clone)]
pub struct TaskContext {
    /// Name of its connector.
    pub connector: String,
    /// Its number.
    pub task: u32,
    /// Configuration with defaults and resolved references.
    pub config: ConnectorConfig,
    /// Kafka.
    pub kafka: Kafka,
    /// Schema registry.
    pub registry: RegistryClient,
    /// Source offsets of the connector.
    pub offsets: SourceOffsets,
    /// Fires when the task shall drain and return.
    pub stop: Shutdown,
    /// To be ticked.
    pub progress: Progress,
    /// Where it notes what it does.
    pub status: TaskStatus,
    /// Dependencies of the process, to which a task adds its database or target.
    pub health: Health,
}

/// A note that a task leaves for `GET /connectors/{name}/status` of its own worker. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TaskStatus(Arc<Mutex<Option<String>>>);

impl TaskStatus {
    /// Replaces the note.
    pub fn note(&self, text: impl Into<String>) {
        if let Ok(mut note) = self.0.lock() {
            *note = Some(text.into());
        }
    }

    /// The note.
    pub fn read(&self) -> Option<String> {
        self.0.lock().ok().and_then(|note| note.clone())
    }
}

/// Why a task ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// Comes back by itself; the task is started again with back-off.
    #[error("{cause}")]
    Transient {
        /// What happened, a sentence.
        cause: String,
    },
    /// Needs a human: the connector is FAILED until its configuration changes or it is restarted.
    #[error("{code}: {cause} {fix}")]
    Config {
        /// Code of the error, documented in docs/errors.md.
        code: &'static str,
        /// What happened, a sentence.
        cause: String,
        /// What to do, a sentence; exact SQL or command where there is one.
        fix: String,
    },
    /// Another copy took over; this one steps back without a fuss.
    #[error("another worker took this connector over")]
    Fenced,
}

impl TaskError {
    /// A transient error with this cause.
    pub fn transient(cause: impl ToString) -> TaskError {
        TaskError::Transient { cause: cause.to_string() }
    }
}

impl From<KafkaError> for TaskError {
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::Transient { .. } => TaskError::transient(error),
            KafkaError::Fenced { .. } => TaskError::Fenced,
            KafkaError::Fatal { .. } => TaskError::Config {
                code: "KAF001",
                cause: format!("{error}."),
                fix: "Check the permissions and properties of the Kafka client.".into(),
            },
        }
    }
}

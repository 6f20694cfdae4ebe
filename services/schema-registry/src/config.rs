//! The registry's own configuration.

use serde::Deserialize;

use crate::store::model::Level;

/// The service's sections.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[registry]`.
    pub registry: RegistryConfig,
}

/// `[registry]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// The topic that holds everything.
    pub topic: String,
    /// Level of subjects that have none, while no global one was put.
    pub compatibility: String,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        RegistryConfig { topic: "_schemas".into(), compatibility: "BACKWARD".into() }
    }
}

impl RegistryConfig {
    /// The default level; the name is checked at start.
    pub fn level(&self) -> Level {
        Level::from_name(&self.compatibility).unwrap_or_default()
    }

    /// The fence between copies that share a topic.
    pub fn transactional_id(&self) -> String {
        format!("ratestream-schema-registry-{}", self.topic)
    }
}

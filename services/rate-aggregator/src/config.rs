//! The aggregator's own configuration.

use serde::Deserialize;

/// The service's sections.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[aggregator]`.
    pub aggregator: AggregatorConfig,
}

/// `[aggregator]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AggregatorConfig {
    /// Copies with the same id share queries; prefix of groups and internal topics.
    pub service_id: String,
    /// Refuse what would only be a warning.
    pub strict: bool,
    /// Longest time a transaction stays open, milliseconds.
    pub commit_interval_ms: u64,
    /// Push queries at a time.
    pub push_queries_max: usize,
}

impl Default for AggregatorConfig {
    fn default() -> Self {
        AggregatorConfig {
            service_id: "default_".into(),
            strict: false,
            commit_interval_ms: 100,
            push_queries_max: 100,
        }
    }
}

impl AggregatorConfig {
    /// The topic of all statements that make or end something.
    pub fn command_topic(&self) -> String {
        format!("_ratestream-ksql-{}command_topic", self.service_id)
    }

    /// Prefix of a query's group and internal topics.
    pub fn query_prefix(&self, id: &str) -> String {
        format!("_ratestream-ksql-{}query_{id}", self.service_id)
    }
}

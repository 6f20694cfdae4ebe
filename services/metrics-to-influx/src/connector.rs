//! The connector class and its properties.

use crate::point::Rules;
use crate::sink::InfluxTarget;
use ValueKind::{Boolean, Int, List, Long, Password, String as Text};
use ratestream_connect::{
    ConfigError, ConfigKey, Connector, ConnectorConfig, Descriptor, Kind, TaskContext, TaskError, ValueKind,
};

/// `io.ratestream.influxdb.InfluxDBSinkConnector`. (The incumbents speak InfluxDB 1 or are retired; the names are ours.)
pub(crate) struct InfluxDbSink;

const KEYS: &[ConfigKey] = &[
    ConfigKey::required("influxdb.url", Text, "URL of InfluxDB 2."),
    ConfigKey::required("influxdb.org", Text, "Organisation."),
    ConfigKey::required("influxdb.bucket", Text, "Bucket."),
    ConfigKey::required("influxdb.token", Password, "Token that may write the bucket."),
    ConfigKey::with_default("influxdb.gzip", "true", Boolean, "Whether bodies are compressed."),
    ConfigKey::with_default("influxdb.timeout.ms", "10000", Int, "Time for an answer."),
    ConfigKey::with_default(
        "measurement.name.format",
        "${topic}",
        Text,
        "Name of the measurement; ${topic} stands for the topic.",
    ),
    ConfigKey::optional("tags", List, "Tags as name=source, where source is key, key.<field> or value.<field>."),
    ConfigKey::optional("fields", List, "Fields as name=source; by default every field of the value that is no tag."),
    ConfigKey::with_default("timestamp", "record", Text, "Time of the point: record (its timestamp) or value.<field>."),
    ConfigKey::with_default(
        "deletes",
        "zero",
        Text,
        "What a tombstone does: zero (a newer point with 0 in each field of 'fields') or ignore.",
    ),
    ConfigKey::with_default("batch.size", "2000", Int, "Records of one write."),
    ConfigKey::with_default("linger.ms", "50", Long, "How long a write that is not full waits for more."),
];

#[async_trait::async_trait(?Send)]
impl Connector for InfluxDbSink {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            class: "io.ratestream.influxdb.InfluxDBSinkConnector",
            aliases: &["InfluxDBSink", "influxdb"],
            kind: Kind::Sink,
            version: env!("CARGO_PKG_VERSION"),
            keys: KEYS,
        }
    }

    fn validate(&self, config: &ConnectorConfig) -> Vec<ConfigError> {
        match Rules::new(config) {
            Ok(_) => Vec::new(),
            Err((key, message)) => vec![ConfigError { key: key.to_owned(), message }],
        }
    }

    async fn run(&self, task: TaskContext) -> Result<(), TaskError> {
        ratestream_pipeline::run(InfluxTarget::new(&task.config)?, task).await
    }
}

//! The connector class and its properties.

use crate::mapping::Mappings;
use crate::sink::CassandraTarget;
use ValueKind::{Int, List, Long, Password, String as Text};
use ratestream_connect::{
    ConfigError, ConfigKey, Connector, ConnectorConfig, Descriptor, Kind, TaskContext, TaskError, ValueKind,
};

/// `com.datastax.oss.kafka.sink.CassandraSinkConnector`.
pub(crate) struct CassandraSink;

const fn key(name: &'static str, default: &'static str, kind: ValueKind, doc: &'static str) -> ConfigKey {
    ConfigKey::with_default(name, default, kind, doc)
}

const KEYS: &[ConfigKey] = &[
    ConfigKey::required("contactPoints", List, "Hosts, separated by commas."),
    key("port", "9042", Int, "Port of all hosts."),
    key("loadBalancing.localDc", "", Text, "Data centre whose nodes are asked first."),
    key("auth.provider", "", Text, "Accepted; user and password decide."),
    key("auth.username", "", Text, "User."),
    key("auth.password", "", Password, "Password."),
    key("maxConcurrentRequests", "128", Int, "Statements in flight for each batch."),
    key("queryExecutionTimeout", "30", Int, "Seconds for one statement."),
    key(
        "keyspace.replication",
        "{'class': 'SimpleStrategy', 'replication_factor': 1}",
        Text,
        "Replication of keyspaces that this connector creates.",
    ),
    ConfigKey::optional(
        "topic.*",
        Text,
        "topic.<topic>.<keyspace>.<table>.mapping, .create, .consistencyLevel, .ttl, .nullToUnset, .deletesEnabled",
    ),
    key("batch.size", "1000", Int, "Records written side by side."),
    key("linger.ms", "5", Long, "How long records wait for more."),
    ConfigKey::optional("maxNumberOfRecordsInBatch", Int, "Accepted; has no effect here."),
    ConfigKey::optional("connectionPoolLocalSize", Int, "Accepted; has no effect here."),
    ConfigKey::optional("compression", Text, "Accepted; has no effect here."),
    ConfigKey::optional("ignoreErrors", Text, "Accepted: records that the table cannot take go to the dead letters."),
    ConfigKey::optional("jmx", Text, "Accepted; has no effect here."),
];

#[async_trait::async_trait(?Send)]
impl Connector for CassandraSink {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            class: "com.datastax.oss.kafka.sink.CassandraSinkConnector",
            aliases: &["com.datastax.kafkaconnector.DseSinkConnector", "com.datastax.oss.kafka.sink.CassandraSinkTask"],
            kind: Kind::Sink,
            version: "1.4.0",
            keys: KEYS,
        }
    }

    fn validate(&self, config: &ConnectorConfig) -> Vec<ConfigError> {
        match Mappings::new(config) {
            Ok(_) => Vec::new(),
            Err((key, message)) => vec![ConfigError { key, message }],
        }
    }

    async fn run(&self, task: TaskContext) -> Result<(), TaskError> {
        ratestream_pipeline::run(CassandraTarget::new(&task.config)?, task).await
    }
}

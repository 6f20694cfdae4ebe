//! The connector classes of the suite and the service that owns each, so that any service accepts any connector, even when the
//! owner has not run yet. What a class's properties are is told by its owner (see `state`).

use crate::connector::Kind;

/// A class that the suite runs somewhere.
pub(crate) struct KnownClass {
    pub(crate) class: &'static str,
    pub(crate) kind: Kind,
}

pub(crate) const CLASSES: [KnownClass; 6] = [
    KnownClass { class: "io.debezium.connector.postgresql.PostgresConnector", kind: Kind::Source },
    KnownClass { class: "io.confluent.connect.jdbc.JdbcSourceConnector", kind: Kind::Source },
    KnownClass { class: "io.confluent.connect.elasticsearch.ElasticsearchSinkConnector", kind: Kind::Sink },
    KnownClass { class: "com.datastax.oss.kafka.sink.CassandraSinkConnector", kind: Kind::Sink },
    KnownClass { class: "io.ratestream.influxdb.InfluxDBSinkConnector", kind: Kind::Sink },
    KnownClass { class: "io.confluent.connect.jdbc.JdbcSinkConnector", kind: Kind::Sink },
];

/// The full class name for a full or simple name: `PostgresConnector` and `Postgres` are both accepted, as by Connect.
pub(crate) fn full_name(name: &str) -> Option<&'static KnownClass> {
    CLASSES.iter().find(|known| matches(known.class, name))
}

/// Whether `name` is a full class name, its simple form, or that without `Connector`, `SinkConnector`, `SourceConnector`.
pub(crate) fn matches(class: &str, name: &str) -> bool {
    let simple = class.rsplit('.').next().unwrap_or(class);
    let short = simple.strip_suffix("Connector").unwrap_or(simple);
    let shortest = short.strip_suffix("Sink").or_else(|| short.strip_suffix("Source"));
    name == class || name == simple || name == short || (shortest == Some(name) && name != "Jdbc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_found_by_their_simple_names() {
        for name in ["io.debezium.connector.postgresql.PostgresConnector", "PostgresConnector", "Postgres"] {
            assert_eq!(full_name(name).unwrap().class, "io.debezium.connector.postgresql.PostgresConnector");
        }
        assert!(full_name("JdbcSink").is_some() && full_name("Jdbc").is_none() && full_name("MySql").is_none());
    }
}

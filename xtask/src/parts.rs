//! What `up` can start, and the choice among it.

use anyhow::{Result, bail};
use std::collections::BTreeSet;

/// PostgreSQL's port and those of the other servers.
pub(crate) const POSTGRES_PORT: u16 = 5432;
pub(crate) const KAFKA_PORT: u16 = 9092;
pub(crate) const ELASTICSEARCH_PORT: u16 = 9200;
pub(crate) const CASSANDRA_PORT: u16 = 9042;
pub(crate) const INFLUXDB_PORT: u16 = 8086;
pub(crate) const SMTP_PORT: u16 = 1025;
pub(crate) const INBOX_PORT: u16 = 8025;

/// Servers that `up` starts, with their main ports.
pub(crate) const SERVERS: [(&str, u16); 6] = [
    ("postgres", POSTGRES_PORT),
    ("kafka", KAFKA_PORT),
    ("inbox", INBOX_PORT),
    ("elasticsearch", ELASTICSEARCH_PORT),
    ("cassandra", CASSANDRA_PORT),
    ("influxdb", INFLUXDB_PORT),
];

/// A service of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// Part of `--light`: needs none of the sinks' servers.
    pub(crate) light: bool,
}

impl Service {
    pub(crate) const ALL: [Self; 7] = [
        Self { name: "schema-registry", port: 8081, light: true },
        Self { name: "cdc-capture", port: 8083, light: true },
        Self { name: "rate-aggregator", port: 8088, light: true },
        Self { name: "notification", port: 8090, light: true },
        Self { name: "search-indexer", port: 8084, light: false },
        Self { name: "events-to-cassandra", port: 8085, light: false },
        Self { name: "metrics-to-influx", port: 8087, light: false },
    ];

    /// Settings beyond Kafka, registry and address.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let pairs: &[(&str, String)] = match self.name {
            "notification" => &[
                ("RATESTREAM__SMTP__HOST", "127.0.0.1".into()),
                ("RATESTREAM__SMTP__PORT", SMTP_PORT.to_string()),
                ("RATESTREAM__SMTP__TLS", "none".into()),
            ],
            _ => &[],
        };
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }
}

/// The chosen parts by name.
#[derive(Clone, Debug)]
pub(crate) struct Parts(BTreeSet<&'static str>);

impl Parts {
    pub(crate) fn choose(only: &[String], without: &[String], light: bool) -> Result<Self> {
        let all: Vec<&'static str> =
            SERVERS.iter().map(|server| server.0).chain(Service::ALL.iter().map(|service| service.name)).collect();
        let known = |name: &String| match all.iter().find(|part| *part == name) {
            Some(part) => Ok(*part),
            None => bail!("there is no part {name:?}; the parts are {}", all.join(", ")),
        };
        let only = only.iter().map(known).collect::<Result<BTreeSet<_>>>()?;
        let without = without.iter().map(known).collect::<Result<BTreeSet<_>>>()?;
        let heavy = |name: &str| {
            matches!(name, "elasticsearch" | "cassandra" | "influxdb")
                || Service::ALL.iter().any(|service| service.name == name && !service.light)
        };
        let wanted = |name: &&'static str| {
            (only.is_empty() || only.contains(name)) && !without.contains(name) && !(light && heavy(name))
        };
        Ok(Self(all.iter().copied().filter(wanted).collect()))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    pub(crate) fn services(&self, light: bool) -> Vec<Service> {
        Service::ALL.into_iter().filter(|service| service.light == light && self.has(service.name)).collect()
    }

    /// Every port that will be listened on, with its owner.
    pub(crate) fn ports(&self) -> Vec<(&'static str, u16)> {
        let servers = SERVERS.into_iter().chain([("inbox", SMTP_PORT)]);
        let services = Service::ALL.iter().map(|service| (service.name, service.port));
        servers.chain(services).filter(|(name, _)| self.has(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_leaves_the_sinks_out() {
        let parts = Parts::choose(&[], &[], true).unwrap();
        assert!(parts.has("kafka") && parts.has("notification"));
        assert!(!parts.has("cassandra") && !parts.has("search-indexer"));
        assert_eq!(parts.services(false), []);
    }

    #[test]
    fn only_and_without_combine_and_unknown_names_are_refused() {
        let words = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let parts = Parts::choose(&words("kafka,postgres"), &words("postgres"), false).unwrap();
        assert_eq!(parts.ports(), [("kafka", KAFKA_PORT)]);
        assert!(Parts::choose(&words("kafak"), &[], false).unwrap_err().to_string().contains("kafak"));
    }
}

//! The demo that `cargo x up` shows and the end-to-end test checks: the article's databases, connectors and SQL statements,
//! from the files in `compose/`, with the addresses of servers that run here.

use crate::install;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::time::Duration;

/// The password of the demo's database users.
pub const PASSWORD: &str = "P@ssw0rd";
/// The subject whose schema the first statement needs.
pub const RATES_SUBJECT: &str = "ratingserver.rating.rates-value";
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

const CONNECTORS: [&str; 7] = [
    include_str!("../../../compose/connectors/10-rates-source.json"),
    include_str!("../../../compose/connectors/20-customer-events-source.json"),
    include_str!("../../../compose/connectors/30-rates-elasticsearch.json"),
    include_str!("../../../compose/connectors/31-logs-elasticsearch.json"),
    include_str!("../../../compose/connectors/40-customer-events-cassandra.json"),
    include_str!("../../../compose/connectors/50-rates-count-influxdb.json"),
    include_str!("../../../compose/connectors/51-metrics-influxdb.json"),
];

/// Where the servers of the demo are, each as `host:port`.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// PostgreSQL.
    pub postgres: String,
    /// The schema registry.
    pub schema_registry: String,
    /// Elasticsearch.
    pub elasticsearch: String,
    /// Cassandra.
    pub cassandra: String,
    /// InfluxDB.
    pub influxdb: String,
}

impl Default for Addresses {
    fn default() -> Self {
        let here = |port: u16| format!("127.0.0.1:{port}");
        Addresses {
            postgres: here(5432),
            schema_registry: here(8081),
            elasticsearch: here(9200),
            cassandra: here(9042),
            influxdb: here(8086),
        }
    }
}

impl Addresses {
    /// The value of one property: the files name the hosts of the Compose network. Credentials stay as they are printed.
    fn adapted(&self, key: &str, value: &str) -> String {
        let part = |address: &str, number: usize| address.split(':').nth(number).unwrap_or_default().to_owned();
        match (key, value) {
            ("database.hostname", "postgres") => part(&self.postgres, 0),
            ("database.port", "5432") => part(&self.postgres, 1),
            ("contactPoints", "cassandra") => part(&self.cassandra, 0),
            ("port", "9042") => part(&self.cassandra, 1),
            _ => [
                ("//postgres:5432", &self.postgres),
                ("//schema-registry:8081", &self.schema_registry),
                ("//elasticsearch:9200", &self.elasticsearch),
                ("//influxdb:8086", &self.influxdb),
            ]
            .iter()
            .fold(value.to_owned(), |text, (host, here)| text.replace(host, &format!("//{here}"))),
        }
    }
}

/// Roles, and each database with its first SQL.
pub fn databases() -> (String, Vec<(String, String)>) {
    let databases = [
        ("rating_system_demo", include_str!("../../../compose/sql/rating_system_demo.sql")),
        ("customers", include_str!("../../../compose/sql/customers.sql")),
    ];
    let owned = databases.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect();
    (include_str!("../../../compose/sql/roles.sql").to_owned(), owned)
}

/// A connector file: which service must run before it is registered, and its JSON for these servers.
#[derive(Clone, Debug)]
pub struct Connector {
    /// Its name.
    pub name: String,
    /// The service that runs it.
    pub needs: &'static str,
    /// The body of `POST /connectors`.
    pub body: Value,
}

/// The demo's connectors, in order.
pub fn connectors(addresses: &Addresses) -> Result<Vec<Connector>> {
    CONNECTORS.iter().map(|text| connector(text, addresses)).collect()
}

fn connector(text: &str, addresses: &Addresses) -> Result<Connector> {
    let mut body: Value = serde_json::from_str(text)?;
    let name = body["name"].as_str().context("a connector file has no name")?.to_owned();
    let config = body["config"].as_object_mut().with_context(|| format!("the file of {name} has no config"))?;
    for (key, value) in config.iter_mut() {
        if let Some(text) = value.as_str() {
            *value = addresses.adapted(key, text).into();
        }
    }
    let class = config.get("connector.class").and_then(Value::as_str).unwrap_or_default();
    let needs = match class {
        class if class.contains("Elasticsearch") => "search-indexer",
        class if class.contains("Cassandra") => "events-to-cassandra",
        class if class.contains("InfluxDB") => "metrics-to-influx",
        _ => "cdc-capture",
    };
    Ok(Connector { name, needs, body })
}

/// `POST /connectors` at the service at `url`; one that exists already is fine.
pub async fn register(url: &str, connector: &Connector) -> Result<()> {
    let request = install::http_client()?.post(format!("{url}/connectors")).json(&connector.body).timeout(ANSWER_LIMIT);
    let answer =
        request.send().await.with_context(|| format!("POST {url}/connectors of {} is not answered", connector.name))?;
    let status = answer.status();
    if status.is_success() || status.as_u16() == 409 {
        return Ok(());
    }
    bail!("connector {} is refused with {status}: {}", connector.name, answer.text().await.unwrap_or_default())
}

/// The demo's statements, each with its semicolon.
pub fn statements() -> Vec<String> {
    let text = include_str!("../../../compose/statements.sql");
    text.split_inclusive(';').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// `POST /ksql` at the service at `url`; a stream that exists already is fine.
pub async fn execute(url: &str, statement: &str) -> Result<Value> {
    let body = json!({"ksql": statement, "streamsProperties": {}});
    let request = install::http_client()?.post(format!("{url}/ksql")).json(&body).timeout(ANSWER_LIMIT);
    let answer = request.send().await.context("POST /ksql is not answered")?;
    let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
    if status.is_success() || text.contains("already exists") {
        return Ok(serde_json::from_str(&text).unwrap_or_default());
    }
    bail!("the statement {statement:?} is refused with {status}: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connector_points_to_the_servers_that_run() {
        let addresses = Addresses { postgres: "127.0.0.1:7777".into(), ..Addresses::default() };
        let all = connectors(&addresses).unwrap();
        assert_eq!(
            (&all[0].body["config"]["database.hostname"], &all[0].body["config"]["database.port"]),
            (&json!("127.0.0.1"), &json!("7777"))
        );
        assert_eq!(all[0].body["config"]["database.password"], PASSWORD);
        assert_eq!(all[1].body["config"]["connection.url"], "jdbc:postgres://127.0.0.1:7777/customers");
        assert!(all.iter().all(|connector| !connector.body.to_string().contains("//elasticsearch:")));
        assert_eq!(all.iter().filter(|connector| connector.needs == "cdc-capture").count(), 2);
    }

    #[test]
    fn the_articles_statements_follow_the_projection() {
        assert_eq!(statements().len(), 3);
        assert!(statements()[2].starts_with("CREATE STREAM RATES_COUNT"));
    }
}

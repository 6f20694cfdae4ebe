//! The demo: databases, connectors and SQL statements.

use crate::build::repository;
use anyhow::{Context, Result, bail};
use ratestream_testkit::{install, servers};
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

/// The password of the demo's database users.
pub(crate) const PASSWORD: &str = "P@ssw0rd";
/// The subject whose schema the first statement needs.
const RATES_SUBJECT: &str = "ratingserver.rating.rates-value";
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const SCHEMA_LIMIT: Duration = Duration::from_secs(180);

/// Roles, and each database with its first SQL.
pub(crate) fn databases() -> (String, Vec<(String, String)>) {
    let databases = [
        ("rating_system_demo", include_str!("../../compose/sql/rating_system_demo.sql")),
        ("customers", include_str!("../../compose/sql/customers.sql")),
    ];
    let owned = databases.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned())).collect();
    (include_str!("../../compose/sql/roles.sql").to_owned(), owned)
}

/// A connector file: which part must run before it is registered, and its JSON for this machine.
pub(crate) struct Connector {
    pub(crate) name: String,
    pub(crate) needs: &'static str,
    pub(crate) body: Value,
}

/// The connector files in order, with this machine's addresses.
pub(crate) fn connectors() -> Result<Vec<Connector>> {
    let folder = repository().join("compose/connectors");
    let context = || format!("cannot read {}", folder.display());
    let mut files: Vec<_> =
        fs::read_dir(&folder).with_context(context)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
        .iter()
        .map(|file| {
            connector(&fs::read_to_string(file)?).with_context(|| format!("{} is no connector", file.display()))
        })
        .collect()
}

fn connector(text: &str) -> Result<Connector> {
    let mut body: Value = serde_json::from_str(text)?;
    let name = body["name"].as_str().context("it has no name")?.to_owned();
    let config = body["config"].as_object_mut().context("it has no config")?;
    for (key, value) in config.iter_mut() {
        if let Some(text) = value.as_str() {
            *value = here(key, text).into();
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

/// The files name the hosts of the Compose network; here everything is on the loopback address.
fn here(key: &str, value: &str) -> String {
    match (key, value) {
        ("database.hostname", "postgres") | ("contactPoints", "cassandra") => "127.0.0.1".into(),
        ("influxdb.org", _) => servers::influxdb::ORG.into(),
        ("influxdb.bucket", _) => servers::influxdb::BUCKET.into(),
        ("influxdb.token", _) => servers::influxdb::TOKEN.into(),
        _ => ["postgres", "schema-registry", "elasticsearch", "influxdb"]
            .iter()
            .fold(value.to_owned(), |text, host| text.replace(&format!("//{host}:"), "//127.0.0.1:")),
    }
}

/// `POST /connectors`; one that exists already is fine.
pub(crate) async fn register(connector: &Connector) -> Result<()> {
    let url = "http://127.0.0.1:8083/connectors";
    let request = install::http_client()?.post(url).json(&connector.body).timeout(ANSWER_LIMIT);
    let answer = request.send().await.with_context(|| format!("POST {url} of {} is not answered", connector.name))?;
    let status = answer.status();
    if status.is_success() || status.as_u16() == 409 {
        return Ok(());
    }
    bail!("connector {} is refused with {status}: {}", connector.name, answer.text().await.unwrap_or_default())
}

/// The first statement reads the schema of the captured table: it is there once capture has sent a row.
pub(crate) async fn wait_for_rates() -> Result<()> {
    let url = format!("http://127.0.0.1:8081/subjects/{RATES_SUBJECT}/versions/latest");
    let end = Instant::now() + SCHEMA_LIMIT;
    loop {
        if ratestream_testkit::probe::http(&url).await {
            return Ok(());
        }
        if Instant::now() > end {
            let status = install::http_client()?
                .get("http://127.0.0.1:8083/connectors/rating-system-connector/status")
                .send()
                .await?;
            let status = status.text().await.unwrap_or_default();
            bail!(
                "no captured rating after {} s: subject {RATES_SUBJECT} is missing. The connector says: {status}",
                SCHEMA_LIMIT.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The demo's statements, each with its semicolon.
pub(crate) fn statements() -> Vec<String> {
    split(include_str!("../../compose/statements.sql"))
}

fn split(text: &str) -> Vec<String> {
    text.split_inclusive(';').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// `POST /ksql`; a stream that exists already is fine.
pub(crate) async fn execute(statement: &str) -> Result<()> {
    let body = json!({"ksql": statement, "streamsProperties": {}});
    let request = install::http_client()?.post("http://127.0.0.1:8088/ksql").json(&body).timeout(ANSWER_LIMIT);
    let answer = request.send().await.context("POST /ksql is not answered")?;
    let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
    if status.is_success() || text.contains("already exists") {
        return Ok(());
    }
    bail!("the statement {statement:?} is refused with {status}: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connector_file_is_read_and_points_here() {
        let all = connectors().unwrap();
        assert_eq!(all.len(), 7);
        assert_eq!(all[0].body["config"]["database.hostname"], "127.0.0.1");
        assert_eq!(all[0].body["config"]["database.user"], "postgres");
        assert_eq!(all[1].body["config"]["connection.url"], "jdbc:postgres://127.0.0.1:5432/customers");
        assert!(all.iter().all(|connector| !connector.body.to_string().contains("//elasticsearch:")));
        assert_eq!(all.iter().filter(|connector| connector.needs == "cdc-capture").count(), 2);
    }

    #[test]
    fn three_statements() {
        assert_eq!(statements().len(), 3);
        assert!(statements()[2].starts_with("CREATE STREAM RATES_COUNT"));
    }
}

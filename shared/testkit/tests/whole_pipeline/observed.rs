//! What each target holds, read by plain clients, compared with PostgreSQL.

use anyhow::{Context, Result, ensure};
use ratestream_testkit::demo::Addresses;
use ratestream_testkit::servers::influxdb::{BUCKET, ORG, TOKEN};
use ratestream_testkit::{Message, Postgres, install};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// id → product, country, rate, comment.
type Ratings = BTreeMap<i64, (String, String, i32, Option<String>)>;
/// id → customer, kind, product.
type Events = BTreeMap<i64, (i64, String, Option<String>)>;
type Counts = BTreeMap<String, i64>;

/// Subjects of the demo and their contracts.
const CONTRACTS: [(&str, &str); 5] = [
    ("ratingserver.rating.rates-value", include_str!("../../../../proto/ratingserver.rating.rates.avsc")),
    ("customer-events-customer_events-key", include_str!("../../../../proto/customer-events-customer_events.key.avsc")),
    ("customer-events-customer_events-value", include_str!("../../../../proto/customer-events-customer_events.avsc")),
    ("RATES-value", include_str!("../../../../proto/RATES.avsc")),
    ("RATES_COUNT-value", include_str!("../../../../proto/RATES_COUNT.avsc")),
];

/// Readers of all targets.
pub(crate) struct Observer {
    ratings: PgPool,
    customers: PgPool,
    http: reqwest::Client,
    elasticsearch: String,
    influxdb: String,
    aggregator: String,
    cassandra: Session,
}

impl Observer {
    pub(crate) async fn connect(postgres: &Postgres, addresses: &Addresses, aggregator: &str) -> Result<Observer> {
        let pool = |database: &str| PgPoolOptions::new().max_connections(2).connect_lazy(&postgres.url(database));
        Ok(Observer {
            ratings: pool("rating_system_demo")?,
            customers: pool("customers")?,
            http: install::http_client()?,
            elasticsearch: format!("http://{}", addresses.elasticsearch),
            influxdb: format!("http://{}", addresses.influxdb),
            aggregator: aggregator.to_owned(),
            cassandra: SessionBuilder::new().known_node(&addresses.cassandra).build().await?,
        })
    }

    /// One sentence for each target that does not hold what PostgreSQL holds.
    pub(crate) async fn differences(&self, mails: Vec<Arc<Message>>) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let ratings = self.ratings().await?;
        compare("Elasticsearch", &ratings, &self.documents().await?, &mut found);
        compare("Cassandra", &self.events().await?, &self.rows().await?, &mut found);
        let counts = self.counts().await?;
        compare("counts by country", &counts, &self.pulled().await?, &mut found);
        compare("InfluxDB", &counts, &self.points().await?, &mut found);
        self.compare_mails(&mails, &mut found).await?;
        Ok(found)
    }

    async fn ratings(&self) -> Result<Ratings> {
        let rows: Vec<(i64, String, String, i32, Option<String>)> =
            sqlx::query_as("SELECT id, product, country_name, rate, comment FROM rating.rates")
                .fetch_all(&self.ratings)
                .await?;
        Ok(rows
            .into_iter()
            .map(|(id, product, country, rate, comment)| (id, (product, country, rate, comment)))
            .collect())
    }

    async fn events(&self) -> Result<Events> {
        let rows: Vec<(i64, i64, String, Option<String>)> =
            sqlx::query_as("SELECT id, customer_id, event_type, product FROM customer_events")
                .fetch_all(&self.customers)
                .await?;
        Ok(rows.into_iter().map(|(id, customer, kind, product)| (id, (customer, kind, product))).collect())
    }

    async fn counts(&self) -> Result<Counts> {
        let sql = "SELECT country_name, count(*) FROM rating.rates GROUP BY country_name";
        Ok(sqlx::query_as::<_, (String, i64)>(sql).fetch_all(&self.ratings).await?.into_iter().collect())
    }

    async fn search(&self, index: &str, body: Value) -> Result<Value> {
        let url = format!("{}/{index}", self.elasticsearch);
        // An index that is not there yet holds nothing.
        if !self.http.post(format!("{url}/_refresh")).send().await?.status().is_success() {
            return Ok(json!({"hits": {"hits": []}}));
        }
        Ok(self.http.post(format!("{url}/_search")).json(&body).send().await?.json().await?)
    }

    async fn documents(&self) -> Result<Ratings> {
        let answer = self.search("ratingserver.rating.rates", json!({"size": 10_000})).await?;
        let hits = answer["hits"]["hits"].as_array().context("hits")?;
        let document = |hit: &Value| {
            let source = &hit["_source"];
            let text = |name: &str| source[name].as_str().map(str::to_owned);
            let row = (text("product")?, text("country_name")?, source["rate"].as_i64()? as i32, text("comment"));
            let id = hit["_id"].as_str()?.parse().ok()?;
            (source["id"].as_i64() == Some(id)).then_some((id, row))
        };
        hits.iter().map(|hit| document(hit).with_context(|| format!("an odd document: {hit}"))).collect()
    }

    async fn rows(&self) -> Result<Events> {
        let query = "SELECT id, customer_id, event_type, product FROM ratestream.customer_events";
        let Ok(answer) = self.cassandra.query_unpaged(query, ()).await else { return Ok(Events::new()) };
        let rows = answer.into_rows_result()?;
        let rows = rows.rows::<(i64, i64, String, Option<String>)>()?;
        rows.map(|row| row.map(|(id, customer, kind, product)| (id, (customer, kind, product))).map_err(Into::into))
            .collect()
    }

    async fn pulled(&self) -> Result<Counts> {
        let body = json!({"sql": "SELECT * FROM RATES_COUNT;"});
        let text = self.http.post(format!("{}/query-stream", self.aggregator)).json(&body).send().await?.text().await?;
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let Some(header) = lines.next().filter(|header| header["columnNames"].is_array()) else {
            return Ok(Counts::new());
        };
        let names: Vec<&str> =
            header["columnNames"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let position = |name: &str| {
            names.iter().position(|n| n.eq_ignore_ascii_case(name)).with_context(|| format!("{name} in {names:?}"))
        };
        let (country, count) = (position("COUNTRY_NAME")?, position("KSQL_COL_0")?);
        let row = |row: Value| Some((row[country].as_str()?.to_owned(), row[count].as_i64()?));
        Ok(lines.filter_map(row).collect())
    }

    async fn flux(&self, query: &str) -> Result<Vec<Vec<String>>> {
        let url = format!("{}/api/v2/query?org={ORG}", self.influxdb);
        let request =
            self.http.post(url).header("Authorization", format!("Token {TOKEN}")).header("Accept", "application/csv");
        let answer = request.header("Content-Type", "application/vnd.flux").body(query.to_owned()).send().await?;
        ensure!(answer.status().is_success(), "InfluxDB answers {}: {}", answer.status(), answer.text().await?);
        let text = answer.text().await?;
        Ok(text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| line.split(',').map(str::to_owned).collect())
            .collect())
    }

    /// The newest point of each country; one of 0 says that no rating is left.
    async fn points(&self) -> Result<Counts> {
        let query = format!(
            "from(bucket: \"{BUCKET}\") |> range(start: 0) |> filter(fn: (r) => r._measurement == \"rates_per_country\") |> last() |> keep(columns: [\"country\", \"_value\"])"
        );
        let table = self.flux(&query).await?;
        let mut counts = Counts::new();
        let mut columns = (0, 0);
        for row in table {
            let position = |name: &str| row.iter().position(|cell| cell.trim() == name);
            if let (Some(country), Some(value)) = (position("country"), position("_value")) {
                columns = (country, value);
            } else if let (Some(country), Some(value)) = (row.get(columns.0), row.get(columns.1)) {
                counts.insert(country.trim().to_owned(), value.trim().parse()?);
            }
        }
        counts.retain(|_, count| *count != 0);
        Ok(counts)
    }

    /// Each rating that fell below 3 has its mail, with what the support desk needs.
    async fn compare_mails(&self, mails: &[Arc<Message>], found: &mut Vec<String>) -> Result<()> {
        let ids: BTreeSet<&str> = mails.iter().filter_map(|mail| mail.header("Message-ID")).collect();
        let subjects: BTreeSet<String> = mails.iter().filter_map(|mail| row(mail)).collect();
        let low: Vec<(i64, i32, String, String, Option<String>)> =
            sqlx::query_as("SELECT id, rate, customer_name, product, comment FROM rating.rates WHERE rate < 3")
                .fetch_all(&self.ratings)
                .await?;
        let missing: Vec<i64> = low.iter().map(|row| row.0).filter(|id| !subjects.contains(&id.to_string())).collect();
        if !missing.is_empty() {
            found.push(format!(
                "{} low ratings without a mail, for example {:?}",
                missing.len(),
                missing.iter().take(5).collect::<Vec<_>>()
            ));
        }
        if ids.len() != subjects.len() {
            found.push(format!("{} Message-IDs for {} ratings", ids.len(), subjects.len()));
        }
        for (id, _, customer, product, comment) in &low {
            let Some(mail) = mails.iter().find(|mail| row(mail).as_deref() == Some(&id.to_string())) else { continue };
            let text = mail.text.as_deref().unwrap_or_default();
            // A rating that was corrected after its mail has another comment by now.
            let comment = comment.as_deref().filter(|comment| *comment != "still low").unwrap_or_default();
            if !(text.contains(customer) && text.contains(product) && text.contains(comment)) {
                found.push(format!("the mail of rating {id} lacks {customer:?}, {product:?} or {comment:?}: {text:?}"));
                break;
            }
        }
        Ok(())
    }

    /// Golden: what is in the registry is what `proto/` says, so that a change of a contract is meant.
    pub(crate) async fn contracts_hold(&self, registry: &str) -> Result<()> {
        for (subject, contract) in CONTRACTS {
            let url = format!("{registry}/subjects/{subject}/versions/latest/schema");
            let found: Value = self.http.get(url).send().await?.json().await?;
            let expected: Value = serde_json::from_str(contract)?;
            ensure!(found == expected, "the schema of {subject} is not the one in proto/: {found}");
        }
        Ok(())
    }

    /// `ratestream.logs` is in Elasticsearch and `ratestream.metrics` in InfluxDB, of every service.
    pub(crate) async fn streams_about_the_services_flow(&self) -> Result<()> {
        let services = json!({"size": 0, "aggs": {"services": {"terms": {"field": "service.keyword", "size": 20}}}});
        let logs = self.search("ratestream.logs", services).await?;
        let count = logs["aggregations"]["services"]["buckets"].as_array().map_or(0, Vec::len);
        ensure!(count == 7, "log lines of {count} services: {logs}");
        let query = format!(
            "from(bucket: \"{BUCKET}\") |> range(start: 0) |> filter(fn: (r) => r._measurement == \"service_metrics\" and r.name == \"ratestream_resident_bytes\") |> last() |> group() |> distinct(column: \"service\")"
        );
        let services = self.flux(&query).await?.len().saturating_sub(1);
        ensure!(services == 7, "metrics of {services} services");
        Ok(())
    }
}

/// The row that a mail is about.
fn row(mail: &Message) -> Option<String> {
    mail.text.as_deref()?.lines().find_map(|line| line.strip_prefix("Row: ")).map(|row| row.trim().to_owned())
}

fn compare<V: PartialEq + std::fmt::Debug, K: Ord + std::fmt::Debug>(
    name: &str,
    expected: &BTreeMap<K, V>,
    held: &BTreeMap<K, V>,
    found: &mut Vec<String>,
) {
    let wrong: Vec<&K> =
        expected.iter().filter(|(key, value)| held.get(key) != Some(value)).map(|(key, _)| key).collect();
    let extra: Vec<&K> = held.keys().filter(|key| !expected.contains_key(key)).collect();
    if let Some(first) = wrong.first().or(extra.first()) {
        found.push(format!(
            "{name}: {} missing or different, {} too many of {}; for example {first:?}: expected {:?}, held {:?}",
            wrong.len(),
            extra.len(),
            expected.len(),
            expected.get(first),
            held.get(first)
        ));
    }
}

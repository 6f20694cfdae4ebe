//! The article's statements on real servers: counts are those of a SQL GROUP BY, whatever happens to rows and to the service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ratestream_avro::{Field, Record, RegistryClient, Schema, Type, Value, codec, wire};
use ratestream_kafka::{Kafka, Outgoing, TopicSpec, TransactionalProducer};
use ratestream_runtime::KafkaSettings;
use ratestream_testkit::{Service, ServiceOptions};
use reqwest::Client;
use serde_json::{Value as Json, json};

const FIRST: &str = "CREATE STREAM RATES WITH (KAFKA_TOPIC='RATES', VALUE_FORMAT='AVRO') AS SELECT id, customer_name, country_name, rate FROM `ratingserver.rating.rates`;";
const STREAM: &str = "CREATE STREAM RATES_STREAM\n(id BIGINT,\ncustomer_name VARCHAR,\nCountry_name VARCHAR\nrate INT)\nWITH (KAFKA_TOPIC='RATES',\nVALUE_FORMAT='AVRO')\nEMIT CHANGES;";
const COUNT: &str = "CREATE STREAM RATES_COUNT AS\nSELECT COUNT(*), Country_name FROM RATES_STREAM\nGROUP BY Country_name\nEMIT CHANGES;";
const TOPIC: &str = "ratingserver.rating.rates";
const COUNTRIES: [&str; 5] = ["Egypt", "Germany", "Japan", "Brazil", "Kenya"];

/// A table as a source connector would write it, and what SQL would say about it.
struct Table {
    producer: TransactionalProducer,
    id: i32,
    schema: Arc<Schema>,
    rows: BTreeMap<i64, (String, i32)>,
    lsn: i64,
}

fn schema() -> Result<Arc<Schema>> {
    let row = Type::record("ratingserver.rating.rates.Value")
        .field(Field::new("id", Type::long()))
        .field(Field::optional("customer_name", Type::string()))
        .field(Field::optional("country_name", Type::string()))
        .field(Field::optional("rate", Type::int()))
        .build();
    let source = Type::record("io.debezium.connector.postgresql.Source")
        .field(Field::optional("lsn", Type::long()))
        .field(Field::new("snapshot", Type::string()))
        .field(Field::new("table", Type::string()))
        .build();
    let envelope = Type::record("ratingserver.rating.rates.Envelope")
        .field(Field::optional("before", row.clone()))
        .field(Field::optional("after", row))
        .field(Field::new("source", source))
        .field(Field::new("op", Type::string()))
        .with("connect.name", "ratingserver.rating.rates.Envelope");
    Ok(Schema::new(envelope.build())?)
}

impl Table {
    async fn new(kafka: &Kafka, registry: &str) -> Result<Table> {
        kafka.ensure_topics(&[TopicSpec::plain(TOPIC, 3)]).await?;
        let schema = schema()?;
        let id = RegistryClient::at(registry).register(&format!("{TOPIC}-value"), &schema).await?;
        let producer = TransactionalProducer::new(kafka, "article-table")?;
        Ok(Table { producer, id, schema, rows: BTreeMap::new(), lsn: 100 })
    }

    fn send(&mut self, op: &str, id: i64, before: Option<(String, i32)>, after: Option<(String, i32)>) -> Result<()> {
        self.lsn += 1;
        let image = |row: Option<(String, i32)>| match row {
            None => Value::Null,
            Some((country, rate)) => Record::from_pairs(
                "ratingserver.rating.rates.Value",
                [
                    ("id", id.into()),
                    ("customer_name", "somebody".into()),
                    ("country_name", country.into()),
                    ("rate", rate.into()),
                ],
            )
            .into(),
        };
        let snapshot = if op == "r" { "true" } else { "false" };
        let source = Record::from_pairs(
            "io.debezium.connector.postgresql.Source",
            [("lsn", self.lsn.into()), ("snapshot", snapshot.into()), ("table", "rates".into())],
        );
        let value = Record::from_pairs(
            "ratingserver.rating.rates.Envelope",
            [("before", image(before)), ("after", image(after)), ("source", source.into()), ("op", op.into())],
        );
        let mut bytes = Vec::new();
        wire::frame(self.id, &mut bytes);
        codec::encode(&self.schema, &value.into(), &mut bytes)?;
        let key = id.to_string();
        let record = Outgoing { topic: TOPIC, key: Some(key.as_bytes()), payload: Some(&bytes), ..Outgoing::default() };
        self.producer.send(record)?;
        if op == "d" {
            self.producer.send(Outgoing { topic: TOPIC, key: Some(key.as_bytes()), ..Outgoing::default() })?;
        }
        Ok(())
    }

    /// `steps` random inserts, updates and deletes, some of them without `before`, as a replica identity may have it.
    fn work(&mut self, steps: usize) -> Result<()> {
        self.producer.begin()?;
        for _ in 0..steps {
            let id = rand::random_range(0..400i64);
            let new = (COUNTRIES[rand::random_range(0..COUNTRIES.len())].to_owned(), rand::random_range(1..6));
            match self.rows.get(&id).cloned() {
                None => {
                    self.send("c", id, None, Some(new.clone()))?;
                    self.rows.insert(id, new);
                }
                Some(old) if rand::random_range(0..4) == 0 => {
                    self.send("d", id, Some(old), None)?;
                    self.rows.remove(&id);
                }
                Some(old) => {
                    let before = rand::random::<bool>().then_some(old);
                    self.send("u", id, before, Some(new.clone()))?;
                    self.rows.insert(id, new);
                }
            }
        }
        Ok(self.producer.commit()?)
    }

    /// A snapshot of all rows, as after a restart of the connector with lost offsets.
    fn snapshot(&mut self) -> Result<()> {
        self.producer.begin()?;
        for (id, row) in self.rows.clone() {
            self.send("r", id, None, Some(row))?;
        }
        Ok(self.producer.commit()?)
    }

    fn group_by(&self) -> BTreeMap<String, i64> {
        let mut counts = BTreeMap::new();
        for (country, _) in self.rows.values() {
            *counts.entry(country.clone()).or_default() += 1;
        }
        counts
    }
}

struct Ksql {
    client: Client,
    url: String,
}

impl Ksql {
    async fn post(&self, path: &str, body: Json) -> Result<(u16, String)> {
        let response = self.client.post(format!("{}{path}", self.url)).json(&body).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    async fn statement(&self, text: &str) -> Result<Json> {
        let (status, body) = self.post("/ksql", json!({"ksql": text, "streamsProperties": {}})).await?;
        ensure!(status == 200, "{text}: {status} {body}");
        Ok(serde_json::from_str::<Json>(&body)?[0].clone())
    }

    async fn rows(&self, sql: &str) -> Result<Vec<Vec<Json>>> {
        let (status, body) = self.post("/query-stream", json!({"sql": sql})).await?;
        ensure!(status == 200, "{sql}: {status} {body}");
        body.lines().skip(1).map(|line| serde_json::from_str(line).context("a row")).collect()
    }

    async fn counts(&self) -> Result<BTreeMap<String, i64>> {
        let rows = self.rows("SELECT * FROM RATES_COUNT;").await?;
        let pair = |row: Vec<Json>| Some((row.first()?.as_str()?.to_owned(), row.get(1)?.as_i64()?));
        Ok(rows.into_iter().filter_map(pair).collect())
    }

    async fn wait_for(&self, wanted: &BTreeMap<String, i64>) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let found = self.counts().await;
            if found.as_ref().is_ok_and(|found| found == wanted) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "wanted {wanted:?}, found {found:?}\n{}",
                self.statement("SHOW QUERIES;").await?
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn servers() -> Result<(Kafka, Service, Service, Ksql)> {
    let brokers = ratestream_testkit::kafka().await?.bootstrap();
    let env = vec![("RATESTREAM__REGISTRY__TOPIC".to_owned(), "_schemas-article".to_owned())];
    let options = ServiceOptions { kafka: brokers.clone(), env, ..ServiceOptions::default() };
    let registry = ratestream_testkit::service("schema-registry", options).await?;
    let options =
        ServiceOptions { kafka: brokers.clone(), schema_registry: registry.url(), ..ServiceOptions::default() };
    let service = ratestream_testkit::service("rate-aggregator", options).await?;
    let ksql = Ksql { client: ratestream_testkit::install::http_client()?, url: service.url() };
    let kafka =
        Kafka::new(&KafkaSettings { brokers, replication_factor: 1, ..KafkaSettings::default() }, "article-test");
    Ok((kafka, registry, service, ksql))
}

#[tokio::test]
async fn the_articles_counts_are_those_of_group_by_through_everything() -> Result<()> {
    let (kafka, registry, mut service, ksql) = servers().await?;
    // Before the first rating: nothing is there, the statements wait.
    let made = ksql.statement(FIRST).await?;
    assert!(made["warnings"][0]["message"].as_str().unwrap_or_default().contains("does not exist yet"), "{made}");
    assert_eq!(made["commandId"], json!("stream/`RATES`/create"));
    ksql.statement(STREAM).await?;
    let made = ksql.statement(COUNT).await?;
    let warnings = made["warnings"].to_string();
    assert!(warnings.contains("CREATE TABLE RATES_COUNT AS SELECT COUNT(*), COUNTRY_NAME"), "{warnings}");
    assert_eq!(ksql.statement("SHOW TABLES;").await?["tables"][0]["name"], json!("RATES_COUNT"));

    let mut table = Table::new(&kafka, &registry.url()).await?;
    table.work(300)?;
    ksql.wait_for(&table.group_by()).await?;

    // A push query: the present rows, then each change.
    let mut response = ksql
        .client
        .post(format!("{}/query", ksql.url))
        .json(&json!({"ksql": "SELECT * FROM RATES_COUNT EMIT CHANGES;"}))
        .send()
        .await?;
    let mut seen = String::new();
    while COUNTRIES.iter().any(|country| !seen.contains(country)) {
        seen.push_str(&String::from_utf8_lossy(&response.chunk().await?.context("the end of a push query")?));
    }
    assert!(seen.starts_with(r#"[{"header":{"queryId":"transient_"#), "{seen}");
    assert!(seen.contains(r#""schema":"`COUNTRY_NAME` STRING KEY, `KSQL_COL_0` BIGINT"}}"#), "{seen}");
    table.work(200)?;
    let more = response.chunk().await?.context("a change")?;
    assert!(String::from_utf8_lossy(&more).contains(r#"{"row":{"columns":["#), "{more:?}");
    drop(response);
    ksql.wait_for(&table.group_by()).await?;

    // A second snapshot counts nothing twice.
    table.snapshot()?;
    table.work(50)?;
    ksql.wait_for(&table.group_by()).await?;

    // Killed in the middle; statements and state come back.
    for _ in 0..2 {
        table.work(400)?;
        service.kill_9();
        table.work(400)?;
        service.restart().await?;
        ksql.wait_for(&table.group_by()).await?;
    }
    assert_eq!(ksql.statement("SHOW QUERIES;").await?["queries"].as_array().map(Vec::len), Some(2));

    // A second copy takes its share, then all of it.
    let options = ServiceOptions {
        kafka: ratestream_testkit::kafka().await?.bootstrap(),
        schema_registry: registry.url(),
        ..ServiceOptions::default()
    };
    let mut second = ratestream_testkit::service("rate-aggregator", options).await?;
    let other = Ksql { client: ksql.client.clone(), url: second.url() };
    table.work(300)?;
    other.wait_for(&table.group_by()).await?;
    service.kill_9();
    table.work(300)?;
    other.wait_for(&table.group_by()).await?;
    service.restart().await?;
    second.stop();

    // A country without rows disappears.
    table.producer.begin()?;
    let kenya: Vec<i64> = table.rows.iter().filter(|(_, row)| row.0 == "Kenya").map(|(id, _)| *id).collect();
    for id in kenya {
        let old = table.rows.remove(&id);
        table.send("d", id, old, None)?;
    }
    table.producer.commit()?;
    ksql.wait_for(&table.group_by()).await?;
    assert!(!ksql.counts().await?.contains_key("Kenya"));
    assert_eq!(ksql.rows("SELECT KSQL_COL_0 FROM RATES_COUNT WHERE COUNTRY_NAME = 'Egypt' LIMIT 1;").await?.len(), 1);

    // More aggregates over the same rows, begun late.
    ksql.statement("CREATE TABLE STATS AS SELECT country_name, AVG(rate) AS average, MIN(rate) AS worst, SUM(rate) AS total FROM RATES_STREAM GROUP BY country_name HAVING COUNT(*) > 0;").await?;
    let mut wanted: BTreeMap<String, (i64, i64, i64)> = BTreeMap::new();
    for (country, rate) in table.rows.values() {
        let entry = wanted.entry(country.clone()).or_insert((0, i64::MAX, 0));
        *entry = (entry.0 + 1, entry.1.min(i64::from(*rate)), entry.2 + i64::from(*rate));
    }
    let wanted: Vec<Vec<Json>> = wanted
        .into_iter()
        .map(|(country, (count, worst, total))| {
            vec![json!(country), json!(total as f64 / count as f64), json!(worst), json!(total)]
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(30);
    while ksql.rows("SELECT * FROM STATS;").await.ok().as_ref() != Some(&wanted) {
        ensure!(Instant::now() < deadline, "{wanted:?} {:?}", ksql.rows("SELECT * FROM STATS;").await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // Refusals.
    let (status, body) = ksql.post("/ksql", json!({"ksql": "SELECT * FROM RATES_COUNT;"})).await?;
    assert_eq!((status, serde_json::from_str::<Json>(&body)?["error_code"].clone()), (400, json!(40002)));
    let (_, body) = ksql.post("/ksql", json!({"ksql": STREAM, "streamsProperties": {"strict": true}})).await?;
    assert!(body.contains("40001") && body.contains("line 5:1"), "{body}");
    ensure!(ksql.post("/ksql", json!({"ksql": "DROP STREAM RATES_STREAM;"})).await?.0 == 400);
    ksql.statement("DROP TABLE STATS;").await?;
    service.stop();
    Ok(())
}

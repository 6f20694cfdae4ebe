//! The service as a process, against real Kafka, schema registry and Elasticsearch. What is true is what Elasticsearch says.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a test program fails loudly and tells what it measured")]

#[path = "../../../shared/pipeline/tests/support/lab.rs"]
mod lab;

use anyhow::{Context, Result, ensure};
use lab::{Lab, Outgoing, Writer, envelope, envelope_schema, eventually, text_key, unique};
use ratestream_avro::Record;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

const ROW: &str = r#"{"name":"id","type":"long"},{"name":"rate","type":"int"},{"name":"comment","type":["null","string"],"default":null}"#;

struct Search {
    url: String,
    http: reqwest::Client,
}

impl Search {
    async fn get(&self, path: &str) -> Result<(u16, Json)> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await?;
        Ok((answer.status().as_u16(), serde_json::from_str(&answer.text().await?).unwrap_or_default()))
    }

    async fn document(&self, index: &str, id: &str) -> Result<Option<Json>> {
        let (_, mut body) = self.get(&format!("/{index}/_doc/{id}")).await?;
        Ok((body["found"] == true).then(|| body["_source"].take()))
    }

    /// All documents of an index as a search sees them.
    async fn all(&self, index: &str) -> Result<BTreeMap<String, Json>> {
        self.http.post(format!("{}/{index}/_refresh", self.url)).send().await?;
        let (mut found, mut after) = (BTreeMap::new(), Json::Null);
        loop {
            let mut query = json!({"size": 5000, "sort": [{"id": "asc"}], "query": {"match_all": {}}});
            if !after.is_null() {
                query["search_after"] = after;
            }
            let request =
                self.http.post(format!("{}/{index}/_search", self.url)).header("content-type", "application/json");
            let body: Json = serde_json::from_str(&request.body(query.to_string()).send().await?.text().await?)?;
            let hits = body["hits"]["hits"].as_array().with_context(|| format!("{index}: {body}"))?;
            let Some(last) = hits.last() else { return Ok(found) };
            after = last["sort"].clone();
            for hit in hits {
                found.insert(hit["_id"].as_str().unwrap_or_default().to_owned(), hit["_source"].clone());
            }
        }
    }
}

fn config(topic: &str, search: &Search, extra: &[(&str, &str)]) -> Json {
    let mut config = json!({
        "connector.class": "io.confluent.connect.elasticsearch.ElasticsearchSinkConnector",
        "tasks.max": "1",
        "topics": topic,
        "connection.url": search.url,
        "type.name": "_doc",
    });
    for (key, value) in extra {
        config[*key] = json!(value);
    }
    config
}

fn row(id: i64, rate: i32, comment: &str) -> Record {
    Record::from_pairs("v", [("id", id.into()), ("rate", rate.into()), ("comment", comment.into())])
}

fn put(writer: &Writer, op: &str, lsn: i64, id: i64, rate: i32, comment: &str) -> Outgoing {
    Outgoing {
        key: Some(text_key(id)),
        value: Some(envelope(writer, op, lsn, None, Some(row(id, rate, comment)))),
        ..Outgoing::default()
    }
}

fn delete(writer: &Writer, lsn: i64, id: i64) -> [Outgoing; 2] {
    let key = Some(text_key(id));
    [
        Outgoing {
            key: key.clone(),
            value: Some(envelope(writer, "d", lsn, Some(row(id, 0, "")), None)),
            ..Outgoing::default()
        },
        Outgoing { key, ..Outgoing::default() },
    ]
}

#[tokio::test]
async fn documents_follow_their_rows() -> Result<()> {
    let lab = Lab::start("search-indexer", &[]).await?;
    let search = Search { url: ratestream_testkit::elasticsearch().await?.url().to_owned(), http: lab.http.clone() };
    rows_by_primary_key(&lab, &search).await.context("rows by primary key")?;
    avro_keys(&lab, &search).await.context("Avro keys")?;
    one_of_500_is_a_dead_letter(&lab, &search).await.context("one of 500 is a dead letter")?;
    flat_records_without_keys(&lab, &search).await.context("flat records without keys")?;
    flat_tables_with_tombstones(&lab, &search).await.context("flat tables with tombstones")?;
    unchanged_columns_stay(&lab, &search).await.context("unchanged columns stay")?;
    deleted_connectors_stop(&lab, &search).await.context("deleted connectors stop")?;
    lab.check_log(&["record goes to the dead letters"])
}

async fn rows_by_primary_key(lab: &Lab, search: &Search) -> Result<()> {
    let topic = unique("rows");
    lab.create_topic(&topic, 3).await?;
    let writer = lab.writer(&format!("{topic}-value"), &envelope_schema(ROW)).await?;
    lab.connector(
        &topic,
        &config(&topic, search, &[("connection.username", "elastic"), ("connection.password", "hush-hush")]),
    )
    .await?;
    lab.wait_status(&topic, "RUNNING").await?;
    let (_, shown) = lab.call("GET", &format!("/connectors/{topic}/config"), None).await?;
    ensure!(shown["connection.password"] == "********" && !shown.to_string().contains("hush"), "{shown}");

    let mut records: Vec<Outgoing> = (1..=20).map(|id| put(&writer, "r", 1000, id, 3, "read")).collect();
    records.extend((1..=5).map(|id| put(&writer, "u", 1000 + id, id, 1, "changed")));
    records.extend((6..=10).flat_map(|id| delete(&writer, 1000 + id, id)));
    // Row 7 comes back with a later position: the tombstone before it must not outrank it.
    records.push(put(&writer, "c", 2000, 7, 5, "again"));
    lab.send(&topic, records)?;
    lab.wait_consumed(&topic, &topic).await?;
    let expected = || {
        let mut model: BTreeMap<String, Json> = BTreeMap::new();
        for id in (1..=20).filter(|id| !(6..=10).contains(id)) {
            let (rate, comment) = if id <= 5 { (1, "changed") } else { (3, "read") };
            model.insert(id.to_string(), json!({"id": id, "rate": rate, "comment": comment}));
        }
        model.insert("7".into(), json!({"id": 7, "rate": 5, "comment": "again"}));
        model
    };
    ensure!(search.all(&topic).await? == expected(), "after the changes: {:?}", search.all(&topic).await?);
    ensure!(search.document(&topic, "6").await?.is_none());

    // A replay of what is older changes nothing, neither rows nor what is deleted.
    let mut replay: Vec<Outgoing> = (1..=10).map(|id| put(&writer, "c", 900 + id, id, 4, "older")).collect();
    replay.extend(delete(&writer, 1007, 7));
    lab.send(&topic, replay)?;
    lab.wait_consumed(&topic, &topic).await?;
    ensure!(search.all(&topic).await? == expected(), "after the replay: {:?}", search.all(&topic).await?);
    lab.wait_status(&topic, "RUNNING").await?;
    tombstone_after_a_restart(lab, search, &topic, &writer).await
}

/// The task ends between a delete event and its tombstone, and the row comes back afterwards.
async fn tombstone_after_a_restart(lab: &Lab, search: &Search, topic: &str, writer: &Writer) -> Result<()> {
    let [gone, tombstone] = delete(writer, 3000, 20);
    lab.send(topic, [gone])?;
    lab.wait_consumed(topic, topic).await?;
    lab.call("PUT", &format!("/connectors/{topic}/pause"), None).await?;
    lab.wait_status(topic, "PAUSED").await?;
    lab.send(topic, [tombstone])?;
    lab.call("PUT", &format!("/connectors/{topic}/resume"), None).await?;
    lab.wait_consumed(topic, topic).await?;
    ensure!(search.document(topic, "20").await?.is_none());
    lab.send(topic, [put(writer, "c", 3001, 20, 4, "again")])?;
    lab.wait_consumed(topic, topic).await?;
    ensure!(search.document(topic, "20").await?.is_some(), "the tombstone outranked the row that came after it");
    Ok(())
}

async fn avro_keys(lab: &Lab, search: &Search) -> Result<()> {
    let topic = unique("avro");
    lab.create_topic(&topic, 1).await?;
    let writer = lab.writer(&format!("{topic}-value"), &envelope_schema(ROW)).await?;
    let key_schema = r#"{"type":"record","name":"Key","namespace":"shop","fields":[{"name":"id","type":"long"}]}"#;
    let keys = lab.writer(&format!("{topic}-key"), key_schema).await?;
    let key = |id: i64| Some(keys.record(&[("id", id.into())]));
    lab.connector(&topic, &config(&topic, search, &[])).await?;
    let value = |op, lsn, after| Some(envelope(&writer, op, lsn, None, after));
    lab.send(
        &topic,
        [
            Outgoing { key: key(1), value: value("c", 10, Some(row(1, 2, "one"))), ..Outgoing::default() },
            Outgoing { key: key(2), value: value("c", 11, Some(row(2, 2, "two"))), ..Outgoing::default() },
            Outgoing { key: key(2), value: value("d", 12, None), ..Outgoing::default() },
            Outgoing { key: key(2), value: None, ..Outgoing::default() },
            Outgoing { key: key(2), value: value("c", 13, Some(row(2, 5, "again"))), ..Outgoing::default() },
        ],
    )?;
    lab.wait_consumed(&topic, &topic).await?;
    let found = search.all(&topic).await?;
    ensure!(found.len() == 2 && found["1"]["comment"] == "one" && found["2"]["comment"] == "again", "{found:?}");
    Ok(())
}

async fn one_of_500_is_a_dead_letter(lab: &Lab, search: &Search) -> Result<()> {
    let topic = unique("conflict");
    lab.create_topic(&topic, 1).await?;
    // The index says that `comment` is a date; one comment is none.
    let mapping = json!({"mappings": {"properties": {"comment": {"type": "date"}}}});
    let request = search.http.put(format!("{}/{topic}", search.url)).header("content-type", "application/json");
    ensure!(request.body(mapping.to_string()).send().await?.status().is_success());
    let writer = lab.writer(&format!("{topic}-value"), &envelope_schema(ROW)).await?;
    let comment = |id| if id == 250 { "not a date" } else { "2026-11-23T10:00:00Z" };
    lab.send(&topic, (1..=500).map(|id| put(&writer, "c", id, id, 3, comment(id))))?;
    lab.connector(&topic, &config(&topic, search, &[])).await?;
    lab.wait_consumed(&topic, &topic).await?;
    let found = search.all(&topic).await?;
    ensure!(found.len() == 499 && !found.contains_key("250"), "{} documents", found.len());
    let letters = lab.read(&format!("dlq-{topic}"), 1)?;
    let headers = &letters[0].headers;
    ensure!(letters[0].key.as_deref() == Some(&*text_key(250)) && letters[0].value.is_some());
    let expected = [
        ("topic", topic.as_str()),
        ("partition", "0"),
        ("offset", "249"),
        ("connector.name", &topic),
        ("task.id", "0"),
        ("stage", "TASK_PUT"),
    ];
    for (name, value) in expected {
        ensure!(
            headers.get(&format!("__connect.errors.{name}")).map(String::as_str) == Some(value),
            "{name}: {headers:?}"
        );
    }
    ensure!(headers["__connect.errors.exception.message"].contains("failed to parse"), "{headers:?}");
    ensure!(lab.count(&format!("dlq-{topic}"))? == 1);
    // The law of conservation, by the service's own counters.
    let part = format!("connector=\"{topic}\"");
    let consumed = lab.metric("ratestream_records_consumed_total", &part).await?;
    let written = lab.metric("ratestream_records_written_total", &part).await?;
    let rejected = lab.metric("ratestream_records_rejected_total", &part).await?;
    ensure!((consumed, written, rejected) == (500.0, 499.0, 1.0), "{consumed} {written} {rejected}");
    Ok(())
}

async fn flat_records_without_keys(lab: &Lab, search: &Search) -> Result<()> {
    let topic = unique("Logs");
    lab.create_topic(&topic, 2).await?;
    let schema =
        r#"{"type":"record","name":"Log","fields":[{"name":"id","type":"long"},{"name":"message","type":"string"}]}"#;
    let writer = lab.writer(&format!("{topic}-value"), schema).await?;
    lab.connector(&topic, &config(&topic, search, &[("key.ignore", "true")])).await?;
    let log = |id: i64| Outgoing {
        value: Some(writer.record(&[("id", id.into()), ("message", "line".into())])),
        ..Outgoing::default()
    };
    lab.send(&topic, (0..300).map(log))?;
    lab.wait_consumed(&topic, &topic).await?;
    let found = search.all(&topic.to_lowercase()).await?;
    ensure!(found.len() == 300 && found.keys().all(|id| id.starts_with(&format!("{topic}+"))), "{}", found.len());
    Ok(())
}

/// A compacted table without envelopes, such as the counts: the tombstone is the only word about a delete.
async fn flat_tables_with_tombstones(lab: &Lab, search: &Search) -> Result<()> {
    let topic = unique("counts");
    lab.create_topic(&topic, 1).await?;
    let schema = r#"{"type":"record","name":"Count","fields":[{"name":"id","type":"long"}]}"#;
    let writer = lab.writer(&format!("{topic}-value"), schema).await?;
    lab.connector(&topic, &config(&topic, search, &[])).await?;
    let count = |country: &str, n: i64| Outgoing {
        key: Some(country.into()),
        value: Some(writer.record(&[("id", n.into())])),
        ..Outgoing::default()
    };
    let gone = |country: &str| Outgoing { key: Some(country.into()), ..Outgoing::default() };
    let mut records: Vec<Outgoing> = (1..=1500).map(|n| count("Germany", n)).collect();
    records.extend([count("Peru", 1), gone("Peru"), count("Chad", 1), gone("Chad"), count("Chad", 2)]);
    lab.send(&topic, records)?;
    lab.wait_consumed(&topic, &topic).await?;
    let found = search.all(&topic).await?;
    let expected = BTreeMap::from([("Germany".to_owned(), json!({"id": 1500})), ("Chad".to_owned(), json!({"id": 2}))]);
    ensure!(found == expected, "{found:?}");
    // The first word after a restart may be a tombstone.
    lab.call("PUT", &format!("/connectors/{topic}/pause"), None).await?;
    lab.wait_status(&topic, "PAUSED").await?;
    lab.send(&topic, [gone("Chad")])?;
    lab.call("PUT", &format!("/connectors/{topic}/resume"), None).await?;
    lab.wait_consumed(&topic, &topic).await?;
    ensure!(search.document(&topic, "Chad").await?.is_none());
    Ok(())
}

async fn unchanged_columns_stay(lab: &Lab, search: &Search) -> Result<()> {
    let topic = unique("toast");
    lab.create_topic(&topic, 1).await?;
    let writer = lab.writer(&format!("{topic}-value"), &envelope_schema(ROW)).await?;
    lab.connector(&topic, &config(&topic, search, &[])).await?;
    let unchanged = |lsn, id, rate| Outgoing {
        header: Some(("ratestream.unchanged", br#"["comment"]"#.to_vec())),
        ..put(&writer, "u", lsn, id, rate, "__debezium_unavailable_value")
    };
    // In one bulk with the insert it depends on, then alone.
    lab.send(
        &topic,
        [
            put(&writer, "c", 1, 1, 5, "long"),
            unchanged(2, 1, 4),
            put(&writer, "u", 3, 1, 4, "longer"),
            unchanged(4, 1, 3),
        ],
    )?;
    lab.wait_consumed(&topic, &topic).await?;
    ensure!(search.document(&topic, "1").await? == Some(json!({"id": 1, "rate": 3, "comment": "longer"})));
    lab.send(&topic, [unchanged(5, 1, 2)])?;
    lab.wait_consumed(&topic, &topic).await?;
    ensure!(search.document(&topic, "1").await? == Some(json!({"id": 1, "rate": 2, "comment": "longer"})));
    Ok(())
}

async fn deleted_connectors_stop(lab: &Lab, search: &Search) -> Result<()> {
    let topic = unique("deleted");
    lab.create_topic(&topic, 1).await?;
    let writer = lab.writer(&format!("{topic}-value"), &envelope_schema(ROW)).await?;
    lab.connector(&topic, &config(&topic, search, &[])).await?;
    lab.send(&topic, [put(&writer, "c", 1, 1, 5, "before")])?;
    lab.wait_consumed(&topic, &topic).await?;
    let (status, _) = lab.call("DELETE", &format!("/connectors/{topic}"), None).await?;
    ensure!(status == 204, "{status}");
    eventually(async || Ok(lab.call("GET", &format!("/connectors/{topic}"), None).await?.0 == 404)).await?;
    let actor = format!("connector/{topic}/0");
    eventually(async || Ok(!lab.call("GET", "/admin/actors", None).await?.1.to_string().contains(&actor))).await?;
    lab.send(&topic, [put(&writer, "c", 2, 2, 5, "after")])?;
    // What another connector has consumed since shows that time has passed for this one, too.
    rows_again(lab, search).await?;
    ensure!(search.document(&topic, "1").await?.is_some() && search.document(&topic, "2").await?.is_none());
    Ok(())
}

async fn rows_again(lab: &Lab, search: &Search) -> Result<()> {
    let topic = unique("later");
    lab.create_topic(&topic, 1).await?;
    let writer = lab.writer(&format!("{topic}-value"), &envelope_schema(ROW)).await?;
    lab.connector(&topic, &config(&topic, search, &[])).await?;
    lab.send(&topic, [put(&writer, "c", 1, 1, 5, "x")])?;
    lab.wait_consumed(&topic, &topic).await
}

#[tokio::test]
async fn killed_in_mid_flow_nothing_is_missing() -> Result<()> {
    let mut lab = Lab::start("search-indexer", &[]).await?;
    let search = Search { url: ratestream_testkit::elasticsearch().await?.url().to_owned(), http: lab.http.clone() };
    let topic = unique("flow");
    lab.create_topic(&topic, 4).await?;
    let writer = lab.writer(&format!("{topic}-value"), &envelope_schema(ROW)).await?;
    lab.connector(&topic, &config(&topic, &search, &[("batch.size", "500")])).await?;
    lab.wait_status(&topic, "RUNNING").await?;
    let (mut model, mut records) = (BTreeMap::new(), Vec::new());
    for n in 1..=20_000_i64 {
        // 6,000 rows: inserted, changed, some deleted and inserted again.
        let id = n * 7919 % 6000;
        if n % 5 == 0 && model.remove(&id.to_string()).is_some() {
            records.extend(delete(&writer, n, id));
        } else {
            let rate = (n % 5 + 1) as i32;
            records.push(put(&writer, "u", n, id, rate, "flow"));
            model.insert(id.to_string(), json!({"id": id, "rate": rate, "comment": "flow"}));
        }
    }
    let started = std::time::Instant::now();
    let mut later = records.split_off(12_000);
    lab.send(&topic, records)?;
    let part = format!("connector=\"{topic}\"");
    eventually(async || Ok(lab.metric("ratestream_records_written_total", &part).await? > 3000.0)).await?;
    lab.service.kill_9();
    lab.send(&topic, later.drain(..later.len() / 2))?;
    lab.service.restart().await?;
    lab.send(&topic, later)?;
    lab.wait_consumed(&topic, &topic).await?;
    println!("20,000 changes with a kill -9 and a restart: {:?}", started.elapsed());
    let found = search.all(&topic).await?;
    let differing: Vec<_> = model.iter().filter(|(id, row)| found.get(*id) != Some(*row)).take(5).collect();
    ensure!(found.len() == model.len() && differing.is_empty(), "{} of {}; {differing:?}", found.len(), model.len());
    ensure!(lab.count(&format!("dlq-{topic}"))? == 0);
    lab.check_log(&[])
}

//! The service as a process, against real Kafka, schema registry and Cassandra. What is true is what CQL reads back.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a test program fails loudly and tells what it measured")]

#[path = "../../../shared/pipeline/tests/support/lab.rs"]
mod lab;

use anyhow::{Context, Result, ensure};
use lab::{Lab, Outgoing, Writer, envelope, envelope_schema, eventually, unique};
use ratestream_avro::{Record, Value};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// 2026-11-20T00:00:00Z in milliseconds.
const MIDNIGHT: i64 = 1_795_132_800_000;
const EVENT: &str = r#"{"name":"id","type":"long"},{"name":"customer_id","type":["null","long"],"default":null},
    {"name":"created_on","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"event_type","type":"string"},
    {"name":"details","type":["null","string"],"default":null}"#;

fn flat_schema() -> String {
    format!(r#"{{"type":"record","name":"customer_events","fields":[{EVENT}]}}"#)
}

struct Target {
    address: String,
    session: Session,
    keyspace: String,
}

impl Target {
    async fn start() -> Result<Target> {
        let address = ratestream_testkit::cassandra().await?.contact_point().to_owned();
        let session = SessionBuilder::new().known_node(&address).build().await?;
        Ok(Target { address, session, keyspace: unique("ks").replace('-', "_") })
    }

    async fn rows<T>(&self, table: &str, what: &str) -> Result<Vec<T>>
    where
        T: for<'f, 'm> scylla::deserialize::row::DeserializeRow<'f, 'm> + 'static,
    {
        let answer = self
            .session
            .query_unpaged(format!("SELECT {what}").replace("$", &format!("{}.{table}", self.keyspace)), ())
            .await?;
        Ok(answer.into_rows_result()?.rows::<T>()?.collect::<Result<_, _>>()?)
    }

    /// The example's connector with this topic and table.
    fn config(&self, topic: &str, table: &str) -> Json {
        let (host, port) = self.address.rsplit_once(':').unwrap_or((&self.address, "9042"));
        let place = format!("topic.{topic}.{}.{table}", self.keyspace);
        json!({
            "connector.class": "com.datastax.oss.kafka.sink.CassandraSinkConnector",
            "tasks.max": "1",
            "topics": topic,
            "contactPoints": host,
            "port": port,
            "loadBalancing.localDc": "datacenter1",
            "auth.password": "hush-hush",
            format!("{place}.mapping"): "customer_id=value.customer_id, day=date(value.created_on), created_on=value.created_on, id=value.id, event_type=value.event_type, details=value.details",
            format!("{place}.create"): "(customer_id bigint, day date, created_on timestamp, id bigint, event_type text, details text, PRIMARY KEY ((customer_id, day), created_on, id)) WITH CLUSTERING ORDER BY (created_on DESC, id DESC)",
        })
    }
}

fn event(id: i64, customer: Option<i64>, created_ms: i64, kind: &str, details: Option<&str>) -> Record {
    Record::from_pairs(
        "e",
        [
            ("id", id.into()),
            ("customer_id", customer.map_or(Value::Null, Value::from)),
            ("created_on", Value::Timestamp(created_ms * 1000)),
            ("event_type", kind.into()),
            ("details", details.map_or(Value::Null, Value::from)),
        ],
    )
}

fn flat(writer: &Writer, event: Record) -> Outgoing {
    let key = event.get("id").and_then(Value::as_i64).unwrap_or(0).to_string().into_bytes();
    Outgoing { key: Some(key), value: Some(writer.bytes(&Value::Record(event))), ..Outgoing::default() }
}

fn change(writer: &Writer, op: &str, lsn: i64, before: Option<Record>, after: Option<Record>) -> Outgoing {
    let id = before.iter().chain(&after).find_map(|row| row.get("id")?.as_i64()).unwrap_or(0);
    Outgoing {
        key: Some(lab::text_key(id)),
        value: Some(envelope(writer, op, lsn, before, after)),
        ..Outgoing::default()
    }
}

#[tokio::test]
async fn events_are_rows() -> Result<()> {
    let lab = Lab::start("events-to-cassandra", &[]).await?;
    let target = Target::start().await?;
    newest_first(&lab, &target).await.context("newest first")?;
    changes_by_position(&lab, &target).await.context("changes by position")?;
    a_missing_table_is_told(&lab, &target).await.context("a missing table is told")?;
    lab.check_log(&["record goes to the dead letters", "CAS001"])
}

async fn newest_first(lab: &Lab, target: &Target) -> Result<()> {
    let topic = unique("customer.events");
    lab.create_topic(&topic, 2).await?;
    let writer = lab.writer(&format!("{topic}-value"), &flat_schema()).await?;
    lab.connector(&topic, &target.config(&topic, "events")).await?;
    lab.wait_status(&topic, "RUNNING").await?;
    let (_, shown) = lab.call("GET", &format!("/connectors/{topic}"), None).await?;
    ensure!(shown["config"]["auth.password"] == "********", "{shown}");
    let of = |id: i64| event(id, Some(id % 3), MIDNIGHT + id * 60_000, "visit", (id % 2 == 0).then_some("even"));
    let mut records: Vec<Outgoing> = (0..300).map(|id| flat(&writer, of(id))).collect();
    records.insert(150, flat(&writer, event(9000, None, MIDNIGHT, "nobody's", None)));
    // Bulk polling sends everything again and again: nothing changes.
    records.extend((0..300).map(|id| flat(&writer, of(id))));
    lab.send(&topic, records)?;
    lab.wait_consumed(&topic, &topic).await?;
    let select = "id, created_on, details FROM $ WHERE customer_id = 1 AND day = '2026-11-20' LIMIT 3";
    let newest: Vec<(i64, scylla::value::CqlTimestamp, Option<String>)> = target.rows("events", select).await?;
    let told: Vec<_> = newest.iter().map(|(id, at, details)| (*id, at.0, details.as_deref())).collect();
    let expected = [298, 295, 292].map(|id| (id, MIDNIGHT + id * 60_000, (id % 2 == 0).then_some("even")));
    ensure!(told == expected, "{told:?}");
    let count: Vec<(i64,)> = target.rows("events", "COUNT(*) FROM $").await?;
    ensure!(count == [(300,)], "{count:?}");
    let letters = lab.read(&format!("dlq-{topic}"), 1)?;
    let cause = &letters[0].headers["__connect.errors.exception.message"];
    ensure!(
        letters[0].key.as_deref() == Some(b"9000") && cause.contains("customer_id") && cause.contains("primary key"),
        "{letters:?}"
    );
    ensure!(lab.count(&format!("dlq-{topic}"))? == 1);
    Ok(())
}

async fn changes_by_position(lab: &Lab, target: &Target) -> Result<()> {
    let topic = unique("changes");
    lab.create_topic(&topic, 1).await?;
    let writer = lab.writer(&format!("{topic}-value"), &envelope_schema(EVENT)).await?;
    lab.connector(&topic, &target.config(&topic, "changes")).await?;
    let row = |id: i64, kind: &str| Some(event(id, Some(5), MIDNIGHT + id, kind, Some("d")));
    let gone = |id: i64| Outgoing { key: Some(lab::text_key(id)), ..Outgoing::default() };
    lab.send(
        &topic,
        [
            change(&writer, "c", 100, None, row(1, "first")),
            change(&writer, "u", 200, row(1, "first"), row(1, "second")),
            change(&writer, "c", 300, None, row(2, "kept")),
            change(&writer, "c", 400, None, row(3, "doomed")),
            change(&writer, "d", 500, row(3, "doomed"), None),
            gone(3),
            change(&writer, "c", 600, None, row(4, "doomed")),
            change(&writer, "d", 700, row(4, "doomed"), None),
            gone(4),
            change(&writer, "c", 800, None, row(4, "again")),
        ],
    )?;
    lab.wait_consumed(&topic, &topic).await?;
    let expected = BTreeMap::from([(1, "second".to_owned()), (2, "kept".to_owned()), (4, "again".to_owned())]);
    let read = async || {
        anyhow::Ok(
            target
                .rows::<(i64, String)>("changes", "id, event_type FROM $")
                .await?
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
        )
    };
    ensure!(read().await? == expected, "{:?}", read().await?);
    // Older news of the same rows: nothing is undone, nobody rises from the dead.
    lab.send(
        &topic,
        [
            change(&writer, "c", 100, None, row(1, "first")),
            change(&writer, "c", 400, None, row(3, "doomed")),
            change(&writer, "d", 700, row(4, "doomed"), None),
            gone(4),
        ],
    )?;
    lab.wait_consumed(&topic, &topic).await?;
    ensure!(read().await? == expected, "after the replay: {:?}", read().await?);
    ensure!(lab.count(&format!("dlq-{topic}"))? == 0, "tombstones are no dead letters");
    Ok(())
}

async fn a_missing_table_is_told(lab: &Lab, target: &Target) -> Result<()> {
    let topic = unique("missing");
    let mut config = target.config(&topic, "absent");
    let create = format!("topic.{topic}.{}.absent.create", target.keyspace);
    config.as_object_mut().context("an object")?.remove(&create);
    lab.create_topic(&topic, 1).await?;
    lab.connector(&topic, &config).await?;
    let status = lab.wait_status(&topic, "FAILED").await?;
    let trace = status["trace"].as_str().unwrap_or_default();
    ensure!(trace.contains("CAS001") && trace.contains("has no table") && trace.contains(&create), "{trace}");
    Ok(())
}

#[tokio::test]
async fn killed_in_mid_flow_nothing_is_missing() -> Result<()> {
    let mut lab = Lab::start("events-to-cassandra", &[]).await?;
    let target = Target::start().await?;
    let topic = unique("flow");
    lab.create_topic(&topic, 4).await?;
    let writer = lab.writer(&format!("{topic}-value"), &envelope_schema(EVENT)).await?;
    lab.connector(&topic, &target.config(&topic, "flow")).await?;
    let (mut model, mut records) = (BTreeMap::new(), Vec::new());
    for n in 1..=20_000_i64 {
        let id = n * 7919 % 5000;
        let row = |kind: String| event(id, Some(id % 50), MIDNIGHT + id, &kind, None);
        if n % 5 == 0 && model.contains_key(&id) {
            records.push(change(&writer, "d", n, Some(row(String::new())), None));
            records.push(Outgoing { key: Some(lab::text_key(id)), ..Outgoing::default() });
            model.remove(&id);
        } else {
            records.push(change(&writer, "u", n, None, Some(row(format!("n{n}")))));
            model.insert(id, format!("n{n}"));
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
    let mut found = BTreeMap::new();
    for customer in 0..50 {
        let select = format!("id, event_type FROM $ WHERE customer_id = {customer} AND day = '2026-11-20'");
        found.extend(target.rows::<(i64, String)>("flow", &select).await?);
    }
    let differing: Vec<_> = model.iter().filter(|(id, kind)| found.get(*id) != Some(*kind)).take(5).collect();
    ensure!(found.len() == model.len() && differing.is_empty(), "{} of {}; {differing:?}", found.len(), model.len());
    ensure!(lab.count(&format!("dlq-{topic}"))? == 0);
    lab.check_log(&[])
}

//! The PostgreSQL connector on real servers.

mod support;

use anyhow::Result;
use ratestream_avro::Value;
use ratestream_avro::envelope::Op;
use serde_json::json;
use support::{Lab, Read};

fn text(bytes: &Option<Vec<u8>>) -> String {
    bytes.as_ref().map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default()
}

#[tokio::test]
async fn snapshot_then_insert_update_delete_and_tombstone() -> Result<()> {
    let lab = Lab::start("crud").await?;
    lab.sql(
        "CREATE SCHEMA rating;
         CREATE TABLE rating.rates (id bigserial PRIMARY KEY, customer_name text NOT NULL, rate int, comment text);
         CREATE TABLE rating.other (id int PRIMARY KEY);
         INSERT INTO rating.rates (customer_name, rate) VALUES ('Ann', 5), ('Bob', 1), ('Cid', 3);",
    )
    .await?;
    let config = lab.connector(&[
        ("table.whitelist", "rating.rates"),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("key.converter.schemas.enable", "true"),
    ]);
    lab.post("rating-system-connector", config).await?;
    let topic = "ratingserver.rating.rates";
    let snapshot = lab.read_until(topic, |found| found.len() >= 3)?;
    let marks = ["first", "true", "last"];
    for (read, mark) in snapshot.iter().zip(marks) {
        let change = lab.change(read).await?;
        assert_eq!(change.op, Op::Read);
        assert!(change.position.snapshot, "{mark}");
    }
    assert_eq!(text(&snapshot[0].key), "Struct{id=1}");
    lab.wait_status("rating-system-connector", "streaming").await?;
    lab.sql("INSERT INTO rating.rates (customer_name, rate, comment) VALUES ('Dan', 2, 'meh')").await?;
    lab.sql("UPDATE rating.rates SET rate = 4 WHERE id = 4; INSERT INTO rating.other VALUES (1)").await?;
    lab.sql("UPDATE rating.rates SET id = 40 WHERE id = 4").await?;
    lab.sql("DELETE FROM rating.rates WHERE id = 40").await?;
    let all = lab.read_until(topic, |found| found.len() >= 10)?;
    let events = &all[3..];
    let ops: Vec<String> = {
        let mut ops = Vec::new();
        for read in events {
            ops.push(if read.value.is_none() {
                "tombstone".to_owned()
            } else {
                lab.change(read).await?.op.letter().to_owned()
            });
        }
        ops
    };
    assert_eq!(ops, ["c", "u", "d", "tombstone", "c", "d", "tombstone"]);
    let keys: Vec<String> = events.iter().map(|read| text(&read.key)).collect();
    assert_eq!(keys[..3], ["Struct{id=4}", "Struct{id=4}", "Struct{id=4}"]);
    assert_eq!(keys[4..], ["Struct{id=40}", "Struct{id=40}", "Struct{id=40}"]);
    let created = lab.change(&events[0]).await?;
    let after = created.after.unwrap().to_json();
    assert_eq!(json!(after), json!({"id": 4, "customer_name": "Dan", "rate": 2, "comment": "meh"}));
    assert!(created.before.is_none() && !created.position.snapshot);
    assert_eq!(created.position.table.as_deref(), Some("rates"));
    assert_eq!(events[2].headers["__debezium.newkey"], r#"{"id":40}"#);
    assert_eq!(events[4].headers["__debezium.oldkey"], r#"{"id":4}"#);
    let deleted = lab.change(&events[5]).await?.before.unwrap().to_json();
    assert_eq!(json!(deleted), json!({"id": 40, "customer_name": "", "rate": null, "comment": null}));
    let mut last = 0;
    for read in events.iter().filter(|read| read.value.is_some()) {
        let lsn = lab.change(read).await?.position.lsn.unwrap();
        assert!(lsn >= last, "positions of one key never go back");
        last = lsn;
    }
    assert_eq!(lab.capture.unexpected_log_lines(&["old name of"])?, Vec::<String>::new());
    Ok(())
}

const TYPES: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
    CREATE DOMAIN price AS numeric(8,2);
    CREATE TABLE everything (
        id int PRIMARY KEY, b boolean, i2 smallint, i4 int, i8 bigint, f4 real, f8 double precision,
        n numeric, n2 numeric(10,2), m money, t text, v varchar(20), c char(4), u uuid, j json, jb jsonb, x xml,
        d date, t3 time(3), t6 time, ts3 timestamp(3), ts timestamp, tz timestamptz, ttz timetz, iv interval,
        by bytea, e mood, p price, bi bit(3), b1 bit(1), vb bit varying(12), pt point, ip inet,
        ai int[], at text[], ae mood[], an numeric(6,1)[], r int4range);
    ALTER TABLE everything REPLICA IDENTITY FULL;";

const ROW: &str = "(true, -7, 70000, 9007199254740993, 1.5, 2.25, 0.001, -12.50, 1234.5, 'grüße', 'vv', 'ab',
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a\": 1}', '{\"a\": 1}', '<a/>', '2024-02-29', '01:02:03.004',
    '01:02:03.000004', '2024-02-29 01:02:03.004', '2024-02-29 01:02:03.000004', '2024-02-29 01:02:03.5+02',
    '13:00:00+02', '1 mon 1 day 00:00:01', '\\x00ff', 'happy', 9.95, B'101', B'1', B'1000000001', '(1.5,-2)',
    '10.0.0.1', '{1,NULL,3}', '{\"a b\",NULL,\"c\"\"d\"}', '{ok}', '{1.5}', '[1,5)')";

#[tokio::test]
async fn every_type_in_snapshot_and_stream() -> Result<()> {
    let lab = Lab::start("types").await?;
    lab.sql(TYPES).await?;
    let columns = "b, i2, i4, i8, f4, f8, n, n2, m, t, v, c, u, j, jb, x, d, t3, t6, ts3, ts, tz, ttz, iv, by, e, p, bi, b1, vb, pt, ip, ai, at, ae, an, r";
    let direct = |id: u32| {
        format!("INSERT INTO everything (id, {columns}) VALUES ({id}, {}", &ROW.replace("c\"\"d", "c\\\"d")[1..])
    };
    lab.sql(&direct(1)).await?;
    lab.post("types", lab.connector(&[("table.include.list", "public.everything")])).await?;
    lab.wait_status("types", "streaming").await?;
    lab.sql(&direct(2)).await?;
    lab.sql("INSERT INTO everything (id) VALUES (3)").await?;
    lab.sql("UPDATE everything SET ts = 'infinity', tz = '-infinity', f8 = 'NaN' WHERE id = 3").await?;
    let reads = lab.read_until("ratingserver.public.everything", |found| found.len() >= 4)?;
    let expected = json!({
        "b": true, "i2": -7, "i4": 70000, "i8": 9_007_199_254_740_993_i64, "f4": 1.5, "f8": 2.25, "n": "0.001", "n2": "-12.50",
        "m": "1234.50", "t": "grüße", "v": "vv", "c": "ab  ", "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "j": "{\"a\": 1}", "jb": "{\"a\": 1}", "x": "<a/>", "d": "2024-02-29", "t3": "01:02:03.004", "t6": "01:02:03.000004",
        "ts3": "2024-02-29T01:02:03.004000Z", "ts": "2024-02-29T01:02:03.000004Z", "tz": "2024-02-28T23:02:03.500000Z",
        "ttz": "11:00:00", "iv": 2_716_201_000_000_i64, "by": "AP8=", "e": "happy", "p": "9.95", "bi": "BQ==", "b1": true,
        "vb": "AQI=", "ip": "10.0.0.1", "ai": [1, null, 3], "at": ["a b", null, "c\"d"], "ae": ["ok"], "an": ["1.5"], "r": "[1,5)",
    });
    for (id, read) in reads[..2].iter().enumerate() {
        let mut row = json!(lab.change(read).await?.after.unwrap().to_json());
        let point = row["pt"].take();
        assert_eq!((&point["x"], &point["y"]), (&json!(1.5), &json!(-2.0)));
        row.as_object_mut().unwrap().remove("pt");
        assert_eq!(row["id"], json!(id + 1));
        row.as_object_mut().unwrap().remove("id");
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&row[name], value, "column {name} of row {}", id + 1);
        }
        assert_eq!(row.as_object().unwrap().len(), expected.as_object().unwrap().len());
    }
    let nulls = lab.change(&reads[2]).await?.after.unwrap();
    assert_eq!(nulls.iter().filter(|(_, value)| !value.is_null()).count(), 1);
    let update = lab.change(&reads[3]).await?;
    assert!(update.before.is_some(), "REPLICA IDENTITY FULL");
    let after = update.after.unwrap();
    assert_eq!(after.get("ts"), Some(&Value::Timestamp(9_223_372_036_825_200_000)));
    assert_eq!(after.get("tz"), Some(&Value::from("-infinity")));
    assert!(matches!(after.get("f8"), Some(Value::Double(n)) if n.is_nan()));
    Ok(())
}

fn ids(found: &[Read]) -> Vec<i64> {
    let id = |read: &Read| {
        let key = text(&read.key);
        key.trim_start_matches("Struct{id=").trim_end_matches('}').parse().unwrap_or(-1)
    };
    found.iter().map(id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_resumed_without_loss_or_duplicate() -> Result<()> {
    let mut lab = Lab::start("kill").await?;
    lab.sql("CREATE TABLE t (id bigint PRIMARY KEY, body text)").await?;
    let config = lab.connector(&[
        ("table.include.list", "public.t"),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
    ]);
    lab.post("kill", config).await?;
    lab.wait_status("kill", "streaming").await?;
    let url = lab.database.url();
    let writer = tokio::spawn(async move {
        use sqlx::Connection;
        let mut connection = sqlx::PgConnection::connect(&url).await?;
        for first in (0..40_000i64).step_by(50) {
            let statement =
                format!("INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series({first}, {}) g", first + 49);
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await?;
        }
        anyhow::Ok(())
    });
    for kill in 1..=4 {
        lab.read_until("ratingserver.public.t", |found| found.len() >= kill * 2000)?;
        lab.capture.kill_9();
        lab.capture.restart().await?;
    }
    writer.await??;
    let found = lab.read_until("ratingserver.public.t", |found| found.len() >= 40_000)?;
    assert_eq!(ids(&found), (0..40_000).collect::<Vec<_>>(), "every id once, in order");
    // a further row is the only further record
    lab.sql("INSERT INTO t VALUES (40000, 'last')").await?;
    let found = lab.read_until("ratingserver.public.t", |found| found.len() >= 40_001)?;
    assert_eq!(ids(&found).last(), Some(&40_000));
    Ok(())
}

#[tokio::test]
async fn a_lost_slot_stops_the_connector_with_the_repair() -> Result<()> {
    let mut lab = Lab::start("gap").await?;
    lab.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await?;
    lab.post("gap", lab.connector(&[("table.include.list", "public.t")])).await?;
    lab.read_until("ratingserver.public.t", |found| found.len() == 1)?;
    lab.wait_status("gap", "streaming").await?;
    lab.capture.kill_9();
    let slot = lab.database.name.clone();
    let drop_slot = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}' AND NOT active"
    );
    let gone = format!("SELECT 1 / (SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{slot}')");
    while lab.sql(&gone).await.is_ok() {
        lab.sql(&drop_slot).await?;
    }
    lab.sql("INSERT INTO t VALUES (2)").await?;
    lab.capture.restart().await?;
    let status = lab.wait_status("gap", "FAILED").await?;
    assert!(status.contains("PGS013") && status.contains("is gone"), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_snapshot_every_row_and_change_arrives() -> Result<()> {
    let mut lab = Lab::start("snap").await?;
    lab.sql("CREATE TABLE t (id bigint PRIMARY KEY, n int, body text); INSERT INTO t SELECT g, 0, repeat('x', 200) FROM generate_series(0, 199999) g")
        .await?;
    let config = lab.connector(&[
        ("table.include.list", "public.t"),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
    ]);
    lab.post("snap", config).await?;
    lab.read_until("ratingserver.public.t", |found| found.len() >= 20_000)?;
    lab.capture.kill_9();
    lab.sql("UPDATE t SET n = 1 WHERE id % 1000 = 0; DELETE FROM t WHERE id % 1000 = 1").await?;
    lab.capture.restart().await?;
    lab.wait_status("snap", "streaming").await?;
    lab.sql("UPDATE t SET n = 2 WHERE id % 1000 = 2; INSERT INTO t VALUES (200000, 3, 'end')").await?;
    let ended = |found: &[Read]| found.last().is_some_and(|read| text(&read.key) == "Struct{id=200000}");
    let found = lab.read_until("ratingserver.public.t", ended)?;
    let mut newest = std::collections::BTreeMap::new();
    for (read, id) in found.iter().zip(ids(&found)) {
        newest.insert(id, read);
    }
    // rows that were published and then deleted before the second snapshot: their deletes arrive from the slot that was kept
    let gone: Vec<i64> = newest.iter().filter(|(_, read)| read.value.is_none()).map(|(id, _)| *id).collect();
    assert_eq!(gone, (0..200).map(|n| n * 1000 + 1).collect::<Vec<_>>());
    assert_eq!(newest.len(), 200_001);
    for id in [0, 2, 3, 199_000, 199_002, 200_000] {
        let change = lab.change(newest[&id]).await?;
        let expected = match id {
            200_000 => 3,
            id if id % 1000 == 0 => 1,
            id if id % 1000 == 2 => 2,
            _ => 0,
        };
        assert_eq!(change.after.unwrap().get("n"), Some(&Value::Int(expected)), "row {id}");
    }
    Ok(())
}

use ratestream_avro::{Value, codec, envelope, wire};

use super::super::encoder::{KeyFormat, Rows, TableEncoder};
use super::super::pgoutput::Scratch;
use super::super::source::{Event, Mark, SourceBlock};
use super::*;

fn plan() -> TablePlan {
    let column = |name: &str, type_oid, is_key| RelationColumn { is_key, name: name.into(), type_oid, type_mod: -1 };
    let relation = [
        column("id", 20, true),
        column("customer-name", 25, false),
        column("rate", 23, false),
        column("comment", 25, false),
    ];
    let info = |name: &str, nullable, default: Option<&str>| ColumnInfo {
        name: name.into(),
        nullable,
        default: default.map(str::to_owned),
    };
    let table = TableInfo {
        columns: vec![
            info("id", false, Some("nextval('s'::regclass)")),
            info("customer-name", false, None),
            info("rate", true, Some("3")),
            info("comment", true, None),
        ],
        key: vec!["id".into()],
    };
    let naming = Naming { prefix: "ratingserver".into(), modes: Modes::default(), placeholder: "__ph".into() };
    TablePlan::compile(("rating", "rates"), &relation, &table, &naming, &|_| None, &|_| true).unwrap()
}

fn encoder(format: KeyFormat) -> TableEncoder {
    TableEncoder::new(plan(), format, 5, SourceBlock::new("ratingserver", "db", ("rating", "rates")))
}

fn event() -> Event<'static> {
    Event {
        commit_micros: 1_700_000_000_000_123,
        processed_micros: 1_700_000_000_100_000,
        mark: Mark::False,
        xid: 700,
        lsn: 4242,
        last_commit: 4000,
        origin: None,
    }
}

#[test]
fn the_schema_is_debeziums() {
    let plan = plan();
    assert_eq!(&*plan.topic, "ratingserver.rating.rates");
    let text = plan.value_schema.canonical();
    assert!(text.starts_with(concat!(
        r#"{"type":"record","name":"Envelope","namespace":"ratingserver.rating.rates","fields":["#,
        r#"{"name":"before","type":["null",{"type":"record","name":"Value","fields":["#,
        r#"{"name":"id","type":{"type":"long","connect.default":0},"default":0},"#,
        r#"{"name":"customer_name","type":"string"},"#,
        r#"{"name":"rate","type":[{"type":"int","connect.default":3},"null"],"default":3},"#,
        r#"{"name":"comment","type":["null","string"],"default":null}],"#,
        r#""connect.name":"ratingserver.rating.rates.Value"}],"default":null},"#,
        r#"{"name":"after","type":["null","Value"],"default":null},"#,
        r#"{"name":"source","type":{"type":"record","name":"Source","namespace":"io.debezium.connector.postgresql","fields":["#
    )), "{text}");
    assert!(text.ends_with(concat!(
        r#"{"name":"op","type":"string"},{"name":"ts_ms","type":["null","long"],"default":null},"#,
        r#"{"name":"ts_us","type":["null","long"],"default":null},{"name":"ts_ns","type":["null","long"],"default":null}],"#,
        r#""connect.version":2,"connect.name":"ratingserver.rating.rates.Envelope"}"#
    )), "{text}");
    assert_eq!(
        plan.key_schema.unwrap().canonical(),
        concat!(
            r#"{"type":"record","name":"Key","namespace":"ratingserver.rating.rates","fields":["#,
            r#"{"name":"id","type":{"type":"long","connect.default":0},"default":0}],"#,
            r#""connect.name":"ratingserver.rating.rates.Key"}"#
        )
    );
}

#[test]
fn what_is_encoded_decodes_as_a_change() {
    let encoder = encoder(KeyFormat::Avro(4));
    let (mut scratch, mut plain) = (Scratch::default(), Vec::new());
    scratch.copy_line(b"7\tAnn\t\\N\tgood", &mut plain);
    let row = scratch.new_row(&plain);
    let mut out = Vec::new();
    assert!(encoder.key(row, &mut out).unwrap());
    assert_eq!(out, [0, 0, 0, 0, 4, 14]);
    out.clear();
    let rows = Rows { after: Some(row), ..Rows::default() };
    encoder.envelope("c", &rows, &event(), &mut out).unwrap();
    let (id, datum) = wire::split(&out).unwrap();
    assert_eq!(id, 5);
    let schema = &encoder.plan.value_schema;
    assert!(envelope::is_envelope(schema));
    let value = codec::decode(schema, datum).unwrap();
    let change = envelope::change(value, None).unwrap();
    let after = change.after.unwrap();
    assert_eq!(after.get("id"), Some(&Value::Long(7)));
    assert_eq!(after.get("customer_name"), Some(&Value::from("Ann")));
    assert_eq!(after.get("rate"), Some(&Value::Null));
    assert_eq!(after.get("comment"), Some(&Value::from("good")));
    assert_eq!(change.position.lsn, Some(4242));
    assert_eq!(change.position.tx_id, Some(700));
    assert_eq!(change.position.ts_ms, Some(1_700_000_000_000));
    assert!(!change.position.snapshot);
}

#[test]
fn a_key_is_written_as_connects_other_converters_do() {
    let (mut scratch, mut plain) = (Scratch::default(), Vec::new());
    scratch.copy_line(b"7\tAnn\t1\tgood", &mut plain);
    let row = scratch.new_row(&plain);
    let text = |format| {
        let mut out = Vec::new();
        encoder(format).key(row, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(text(KeyFormat::Text), "Struct{id=7}");
    assert_eq!(text(KeyFormat::Json { schemas: false }), r#"{"id":7}"#);
    assert_eq!(
        text(KeyFormat::Json { schemas: true }),
        r#"{"schema":{"type":"struct","fields":[{"type":"int64","optional":false,"field":"id"}],"optional":false,"name":"ratingserver.rating.rates.Key"},"payload":{"id":7}}"#
    );
}

#[test]
fn unsent_values_come_from_the_old_row_or_are_named() {
    let encoder = encoder(KeyFormat::Text);
    let mut message = vec![b'U', 0, 0, 0, 1, b'O', 0, 4];
    let cell = |out: &mut Vec<u8>, text: &str| {
        out.push(b't');
        out.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    for text in ["7", "Ann", "1", "long ago"] {
        cell(&mut message, text);
    }
    message.extend_from_slice(&[b'N', 0, 4]);
    cell(&mut message, "7");
    cell(&mut message, "Ann");
    cell(&mut message, "2");
    message.push(b'u');
    let mut scratch = Scratch::default();
    super::super::pgoutput::decode(&message, &mut scratch).unwrap();
    let (old, new) = (scratch.old(&message), scratch.new_row(&message));
    let comment = |rows: &Rows<'_>| {
        let mut out = Vec::new();
        encoder.envelope("u", rows, &event(), &mut out).unwrap();
        let value = codec::decode(&encoder.plan.value_schema, wire::split(&out).unwrap().1).unwrap();
        envelope::change(value, None).unwrap().after.unwrap().get("comment").cloned().unwrap()
    };
    let full = Rows { before: Some(old), after: Some(new), fill: Some(old) };
    assert!(encoder.unchanged(&full).is_empty());
    assert_eq!(comment(&full), Value::from("long ago"));
    let partial = Rows { after: Some(new), ..Rows::default() };
    assert_eq!(encoder.unchanged(&partial), [Arc::from("comment")]);
    assert_eq!(comment(&partial), Value::from("__ph"));
    assert!(!encoder.key_changed(old, new));
}

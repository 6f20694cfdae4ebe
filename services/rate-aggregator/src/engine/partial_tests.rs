//! Random histories of a table through both stages, against the same table in a map.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use ratestream_avro::envelope::{UNCHANGED_HEADER, encode_unchanged};
use ratestream_avro::{Field, RegistryClient, Schema, Type, codec, wire};

use super::*;
use crate::engine::decode::Registry;
use crate::engine::plan::{Plan, plan};
use crate::sql::{Statement, parse};

/// A registry that nobody asks: schemas are taught to the decoder.
static REGISTRY: LazyLock<(tokio::runtime::Runtime, Registry)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let registry = Registry::new(RegistryClient::at("http://localhost:1"), runtime.handle().clone());
    (runtime, registry)
});

const ENVELOPE: i32 = 1;
const FLAT: i32 = 2;

fn envelope() -> Arc<Schema> {
    let source = Type::record("Source").field(Field::optional("lsn", Type::long())).build();
    let envelope = Type::record("t.Envelope")
        .field(Field::optional("before", row_type()))
        .field(Field::optional("after", row_type()))
        .field(Field::new("source", source))
        .field(Field::new("op", Type::string()));
    Schema::new(envelope.build()).unwrap()
}

fn row_type() -> Type {
    Type::record("t.Value").field(Field::optional("c", Type::string())).field(Field::optional("n", Type::int())).build()
}

fn row(group: &str, n: i32) -> Value {
    Record::from_pairs("t.Value", [("c", group.into()), ("n", n.into())]).into()
}

fn change(op: &str, lsn: i64, after: Option<Value>) -> Vec<u8> {
    let source = Record::from_pairs("Source", [("lsn", lsn.into())]);
    let after = after.unwrap_or(Value::Null);
    let value = Record::from_pairs(
        "t.Envelope",
        [("before", Value::Null), ("after", after), ("source", source.into()), ("op", op.into())],
    );
    encoded(ENVELOPE, &envelope(), value.into())
}

fn encoded(id: i32, schema: &Schema, value: Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::frame(id, &mut bytes);
    codec::encode(schema, &value, &mut bytes).unwrap();
    bytes
}

/// Both stages without Kafka: deltas go straight into the sums, state goes through its changelog bytes at every crash.
struct World {
    partial: Partial,
    changelog: BTreeMap<Vec<u8>, Vec<u8>>,
    sums: BTreeMap<String, Delta>,
}

impl World {
    fn new(sql: &str) -> World {
        let Statement::Select(select) = parse(sql, false).unwrap().remove(0).statement else { panic!() };
        let Plan::Aggregate(plan) = plan(&select, &|_| None).unwrap() else { panic!() };
        let partial = World::task(Arc::from(plan));
        World { partial, changelog: BTreeMap::new(), sums: BTreeMap::new() }
    }

    fn task(plan: Arc<Aggregation>) -> Partial {
        let mut decoder = Decoder::new(REGISTRY.1.clone());
        decoder.learn(ENVELOPE, envelope());
        decoder.learn(FLAT, Schema::new(row_type()).unwrap());
        Partial::new(plan, decoder, "deltas".into(), Arc::default())
    }

    fn feed(&mut self, key: Option<&str>, value: Option<&[u8]>, headers: Vec<(&str, &[u8])>) {
        let record = Incoming { key: key.map(str::as_bytes), value, headers, ..Incoming::default() };
        let mut output = Output::default();
        self.partial.process(&record, &mut output).unwrap();
        self.commit(output);
    }

    fn commit(&mut self, mut output: Output) {
        self.partial.flush(&mut output).unwrap();
        for (key, value) in output.changes() {
            match value {
                Some(value) => self.changelog.insert(key.clone(), value.clone()),
                None => self.changelog.remove(key),
            };
        }
        for record in output.records() {
            let delta: Delta = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
            self.sums.entry(key).or_default().add(&delta);
        }
        self.sums.retain(|_, sum| !sum.is_empty());
    }

    fn crash(&mut self) {
        self.partial = World::task(self.partial.plan.clone());
        for (key, value) in &self.changelog {
            self.partial.restore(key, Some(value)).unwrap();
        }
    }

    fn rows(&self) -> BTreeMap<String, (i64, i64)> {
        let sum = |delta: &Delta| (delta.rows, delta.sums[1].whole);
        self.sums.iter().map(|(key, delta)| (key.clone(), sum(delta))).collect()
    }
}

const SQL: &str = "SELECT c, COUNT(*), SUM(n) FROM t WHERE n > 0 GROUP BY c;";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn counts_are_those_of_the_table(steps in prop::collection::vec((0u8..8, 0i64..6, 0usize..3, 0i32..4), 1..80)) {
        let mut world = World::new(SQL);
        let mut table: BTreeMap<i64, (&str, i32)> = BTreeMap::new();
        let mut sent: Vec<(String, Vec<u8>)> = Vec::new();
        for (lsn, (what, id, group, n)) in steps.into_iter().enumerate() {
            let (key, group, lsn) = (id.to_string(), ["a", "b", "c"][group], lsn as i64);
            match what {
                0..4 => {
                    let op = if table.insert(id, (group, n)).is_some() { "u" } else { "c" };
                    let bytes = change(op, lsn, Some(row(group, n)));
                    world.feed(Some(&key), Some(&bytes), Vec::new());
                    sent.push((key, bytes));
                }
                4 => {
                    table.remove(&id);
                    world.feed(Some(&key), Some(&change("d", lsn, None)), Vec::new());
                    world.feed(Some(&key), None, Vec::new());
                    sent.retain(|(other, _)| *other != key);
                }
                // Read again by a snapshot.
                5 => if let Some((group, n)) = table.get(&id) {
                    world.feed(Some(&key), Some(&change("r", lsn, Some(row(group, *n)))), Vec::new());
                },
                // Delivered again, late.
                6 => if let Some((key, bytes)) = sent.first() {
                    world.feed(Some(key), Some(bytes), Vec::new());
                },
                _ => world.crash(),
            }
        }
        let mut wanted: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for (group, n) in table.values().filter(|(_, n)| *n > 0) {
            let entry = wanted.entry(format!("[\"{group}\"]")).or_default();
            *entry = (entry.0 + 1, entry.1 + i64::from(*n));
        }
        prop_assert_eq!(world.rows(), wanted);
    }
}

#[test]
fn plain_rows_count_once_each_and_bad_ones_are_shown() {
    let mut world = World::new(SQL);
    let flat = encoded(FLAT, &Schema::new(row_type()).unwrap(), row("a", 2));
    world.feed(None, Some(&flat), Vec::new());
    world.feed(Some("k"), Some(&flat), Vec::new());
    world.feed(Some("k"), Some(b"not avro"), Vec::new());
    assert_eq!(world.rows()["[\"a\"]"], (2, 4));
    assert_eq!(world.partial.skips.snapshot().count, 1);
}

#[test]
fn a_column_that_was_not_sent_stays_what_it_was() {
    let mut world = World::new(SQL);
    world.feed(Some("k"), Some(&change("c", 1, Some(row("a", 2)))), Vec::new());
    let header = encode_unchanged(&["c"]);
    let headers = vec![(UNCHANGED_HEADER, header.as_slice())];
    world.feed(Some("k"), Some(&change("u", 2, Some(row("placeholder", 3)))), headers);
    assert_eq!(world.rows(), BTreeMap::from([("[\"a\"]".to_owned(), (1, 3))]));
}

#[test]
fn a_truncated_table_counts_nothing() {
    let mut world = World::new(SQL);
    world.feed(Some("k"), Some(&change("c", 1, Some(row("a", 2)))), Vec::new());
    world.feed(Some("l"), Some(&change("c", 2, Some(row("b", 2)))), Vec::new());
    world.feed(None, Some(&change("t", 3, None)), Vec::new());
    assert!(world.rows().is_empty() && world.changelog.is_empty());
}

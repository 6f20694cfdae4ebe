//! The loop against a real Kafka: counts stay right when tasks fail in the middle and when members come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ratestream_kafka::{Kafka, LogReader, Outgoing, TopicSpec, TransactionalProducer};
use ratestream_runtime::{KafkaSettings, Shutdown, Supervisor};
use ratestream_streams::{Incoming, Output, Produced, Stage, Streams, Task, TaskError, supervise};

/// Counts by key; its state is the count; fails now and then after it has already written something.
struct Counting {
    counts: BTreeMap<Vec<u8>, u64>,
    seen: Arc<AtomicU64>,
}

impl Task for Counting {
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TaskError> {
        let text = value.and_then(|value| std::str::from_utf8(value).ok());
        self.counts.insert(key.to_vec(), text.and_then(|text| text.parse().ok()).unwrap_or(0));
        Ok(())
    }

    fn process(&mut self, record: &Incoming<'_>, output: &mut Output) -> Result<(), TaskError> {
        let key = record.key.unwrap_or_default().to_vec();
        let count = self.counts.entry(key.clone()).or_default();
        *count += 1;
        let text = count.to_string().into_bytes();
        output.remember(key.clone(), Some(text.clone()));
        output.send(Produced { topic: "eo-out".into(), key: Some(key), value: Some(text), ..Produced::default() });
        // A few failures only: a transaction may hold more records than lie between two of them.
        let seen = self.seen.fetch_add(1, Relaxed);
        if seen < 4_000 && seen % 701 == 700 {
            return Err(TaskError::Transient("a planned failure".into()));
        }
        Ok(())
    }
}

async fn kafka() -> Result<Kafka> {
    let brokers = ratestream_testkit::kafka().await?.bootstrap();
    Ok(Kafka::new(&KafkaSettings { brokers, replication_factor: 1, ..KafkaSettings::default() }, "streams-test"))
}

fn produce(kafka: &Kafka, topic: &str, records: usize, keys: usize) -> Result<()> {
    let mut producer = TransactionalProducer::new(kafka, &format!("{topic}-feed"))?;
    producer.begin()?;
    for n in 0..records {
        let key = format!("k{}", n % keys);
        let (key, payload) = (Some(key.as_bytes()), Some(&b"x"[..]));
        producer.send(Outgoing { topic, key, payload, ..Outgoing::default() })?;
    }
    Ok(producer.commit()?)
}

/// All values of a topic by key, as numbers, in order.
fn numbers(kafka: &Kafka, topic: &str) -> Result<BTreeMap<String, Vec<u64>>> {
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    LogReader::open(kafka, topic)?.read_to_end(|record| {
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default();
        found.entry(text(record.key)).or_default().push(text(record.value).parse().unwrap_or(0));
    })?;
    Ok(found)
}

#[actix::test]
async fn failures_and_rebalances_neither_lose_nor_repeat() -> Result<()> {
    let kafka = kafka().await?;
    kafka.ensure_topics(&[TopicSpec::plain("eo-in", 4), TopicSpec::plain("eo-out", 2)]).await?;
    let seen = Arc::new(AtomicU64::new(0));
    let stage = Stage {
        application: "eo".into(),
        inputs: vec!["eo-in".into()],
        changelog: Some("eo-changelog".into()),
        from_beginning: true,
        commit_interval: Duration::from_millis(20),
        task: Arc::new(move |_| Box::new(Counting { counts: BTreeMap::new(), seen: seen.clone() })),
    };
    let supervisor = Supervisor::new(Shutdown::new());
    let first = supervise(&supervisor, &kafka, stage.clone(), Arc::default());
    produce(&kafka, "eo-in", 2_000, 20)?;
    let second = supervise(&supervisor, &kafka, stage.clone(), Arc::default());
    produce(&kafka, "eo-in", 2_000, 20)?;
    first.stop().await;
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let found = numbers(&kafka, "eo-out")?;
        if found.len() == 20 && found.values().all(|values| values.len() >= 200) {
            // Every count from 1 to 200, once, in order.
            let wanted: Vec<u64> = (1..=200).collect();
            for (key, values) in found {
                assert_eq!(values, wanted, "{key}");
            }
            break;
        }
        ensure!(Instant::now() < deadline, "{:?}", found.iter().map(|(k, v)| (k, v.len())).collect::<Vec<_>>());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    second.stop().await;
    Ok(())
}

#[actix::test]
async fn operators_count_by_group() -> Result<()> {
    let kafka = kafka().await?;
    kafka.ensure_topics(&[TopicSpec::plain("ops-in", 3), TopicSpec::compacted("ops-out", 1)]).await?;
    let mut streams = Streams::new("ops");
    streams
        .stream("ops-in", |bytes| Some(bytes.to_vec()))
        .filter(|key, _| key != b"k0")
        .group_by(|key, _| key[..1].to_vec(), |_| Vec::new(), |_| Some(()))
        .count()
        .to("ops-out", |count| Some(count.to_string().into_bytes()));
    let shutdown = Shutdown::new();
    let supervisor = Supervisor::new(shutdown.clone());
    streams.start(&supervisor, &kafka, 2).await?;
    produce(&kafka, "ops-in", 1_000, 10)?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while numbers(&kafka, "ops-out")?.get("k").and_then(|counts| counts.last()) != Some(&900) {
        ensure!(Instant::now() < deadline, "{:?}", numbers(&kafka, "ops-out")?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    shutdown.trigger();
    supervisor.drained().await;
    Ok(())
}

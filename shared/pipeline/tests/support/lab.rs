//! What the sinks' integration tests share (included by `#[path]`): a Kafka of their own, the real schema registry, the real
//! service under test, records in Avro, and the Connect REST calls of a user.
//!
//! One Kafka for each lab, because every service of a class on one Kafka takes part in every connector of that class: a lab is a
//! fabric of its own, and what a test kills is nobody else's.
#![allow(dead_code, unreachable_pub)]

use anyhow::{Result, bail};
use ratestream_avro::{Record, RegistryClient, Schema, Value, codec, wire};
use ratestream_testkit::{Kafka, Service, ServiceOptions, StartOptions};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long anything may take before the test fails: machines are slow when they are busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that runs. Dropped, it stops.
pub struct Lab {
    pub service: Service,
    pub registry: Service,
    pub kafka: Kafka,
    pub http: reqwest::Client,
    pub client: RegistryClient,
    producer: BaseProducer,
}

/// A record to be sent.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub header: Option<(&'static str, Vec<u8>)>,
}

/// A record that was read.
#[derive(Clone, Debug)]
pub struct Read {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: BTreeMap<String, String>,
}

/// A name of this test alone.
pub fn unique(prefix: &str) -> String {
    let port = ratestream_testkit::free_port().expect("a free port");
    format!("{prefix}-{}-{port}", std::process::id())
}

impl Lab {
    pub async fn start(service: &str, env: &[(&str, &str)]) -> Result<Lab> {
        let kafka = Kafka::start(StartOptions::default()).await?;
        let options = ServiceOptions { kafka: kafka.bootstrap(), ..ServiceOptions::default() };
        let registry = ratestream_testkit::service("schema-registry", options.clone()).await?;
        let env = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let options = ServiceOptions { schema_registry: registry.url(), env, ..options };
        let service = ratestream_testkit::service(service, options).await?;
        let http = ratestream_testkit::install::http_client()?;
        let producer = ClientConfig::new()
            .set("bootstrap.servers", kafka.bootstrap())
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .create()?;
        let client = RegistryClient::at(&registry.url());
        Ok(Lab { service, registry, kafka, http, client, producer })
    }

    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", self.kafka.bootstrap()).create()?;
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for outcome in admin.create_topics([&topic], &AdminOptions::new()).await? {
            outcome.map_err(|(name, code)| anyhow::anyhow!("{name}: {code}"))?;
        }
        Ok(())
    }

    /// Registers `schema` for the values of `topic` and tells how to frame them.
    pub async fn writer(&self, subject: &str, schema: &str) -> Result<Writer> {
        let schema = Schema::parse(schema)?;
        let id = self.client.register(subject, &schema).await?;
        Ok(Writer { id, schema })
    }

    /// Sends records in order and waits until Kafka has them all; a key's hash decides the partition.
    pub fn send(&self, topic: &str, records: impl IntoIterator<Item = Outgoing>) -> Result<()> {
        for record in records {
            let mut base = BaseRecord::<[u8], [u8]>::to(topic);
            base.key = record.key.as_deref();
            base.payload = record.value.as_deref();
            if let Some((key, value)) = &record.header {
                base = base.headers(OwnedHeaders::new().insert(Header { key, value: Some(value) }));
            }
            let mut waiting = Some(base);
            while let Some(base) = waiting.take() {
                if let Err((error, base)) = self.producer.send(base) {
                    let full = error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull);
                    anyhow::ensure!(full, "{topic}: {error}");
                    self.producer.poll(Duration::from_millis(20));
                    waiting = Some(base);
                }
            }
            self.producer.poll(Duration::ZERO);
        }
        self.producer.flush(Duration::from_secs(30))?;
        Ok(())
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<&Json>) -> Result<(u16, Json)> {
        let url = format!("{}{path}", self.service.url());
        let mut request = self.http.request(method.parse()?, url);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Json::String(text))))
    }

    /// `POST /connectors`, and waits until it runs.
    pub async fn connector(&self, name: &str, config: &Json) -> Result<()> {
        let (status, answer) = self.call("POST", "/connectors", Some(&json!({"name": name, "config": config}))).await?;
        anyhow::ensure!(status == 201, "POST /connectors answered {status}: {answer}");
        Ok(())
    }

    /// Waits until the first task of a connector has this state; the task's status.
    pub async fn wait_status(&self, name: &str, wanted: &str) -> Result<Json> {
        let path = format!("/connectors/{name}/status");
        let mut last = Json::Null;
        let reached = eventually(async || {
            last = self.call("GET", &path, None).await?.1;
            Ok(last["tasks"][0]["state"] == wanted)
        });
        if let Err(error) = reached.await {
            bail!("{error}: {name} is not {wanted}: {last}\n{}", self.service.last_log_lines());
        }
        Ok(last["tasks"][0].clone())
    }

    /// Waits until the connector has committed everything that its topic holds now.
    pub async fn wait_consumed(&self, connector: &str, topic: &str) -> Result<()> {
        if let Err(error) = self.wait_group(&format!("connect-{connector}"), topic).await {
            let status = self.call("GET", &format!("/connectors/{connector}/status"), None).await?.1;
            bail!("{error}: {status}");
        }
        Ok(())
    }

    /// Waits until a group has committed everything that a topic holds now.
    pub async fn wait_group(&self, group: &str, topic: &str) -> Result<()> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.bootstrap())
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .create()?;
        let timeout = Duration::from_secs(10);
        let metadata = consumer.fetch_metadata(Some(topic), timeout)?;
        let partitions = metadata.topics().first().map_or(0, |t| t.partitions().len()) as i32;
        let mut list = TopicPartitionList::new();
        let mut ends = Vec::new();
        for partition in 0..partitions {
            list.add_partition(topic, partition);
            ends.push(consumer.fetch_watermarks(topic, partition, timeout)?.1);
        }
        let mut seen = Vec::new();
        let consumed = eventually(async || {
            let committed = consumer.committed_offsets(list.clone(), timeout)?;
            seen =
                committed.elements().iter().map(|e| if let Offset::Offset(n) = e.offset() { n } else { 0 }).collect();
            Ok(seen.iter().zip(&ends).all(|(at, end)| at >= end))
        });
        if let Err(error) = consumed.await {
            bail!("{error}: {group} stands at {seen:?} of {ends:?} in {topic}\n{}", self.service.last_log_lines());
        }
        Ok(())
    }

    /// The first `count` records of a topic's partition 0.
    pub fn read(&self, topic: &str, count: usize) -> Result<Vec<Read>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.bootstrap())
            .set("group.id", "reader-of-the-test")
            .set("enable.auto.commit", "false")
            .create()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning)?;
        consumer.assign(&list)?;
        let start = Instant::now();
        let mut found = Vec::new();
        while found.len() < count {
            if start.elapsed() > PATIENCE {
                bail!("{topic} has {} records instead of {count}\n{}", found.len(), self.service.last_log_lines());
            }
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
            let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
            let headers = message.headers().map(|h| h.iter().map(|h| (h.key.to_owned(), text(h.value))).collect());
            found.push(Read {
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
                headers: headers.unwrap_or_default(),
            });
        }
        Ok(found)
    }

    /// How many records a topic's partition 0 has; 0 when there is no such topic.
    pub fn count(&self, topic: &str) -> Result<i64> {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", self.kafka.bootstrap()).create()?;
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(10))?;
        if !metadata.topics().iter().any(|t| t.name() == topic) {
            return Ok(0);
        }
        let (low, high) = consumer.fetch_watermarks(topic, 0, Duration::from_secs(10))?;
        Ok(high - low)
    }

    /// Fails when the service's log says more than it should.
    pub fn check_log(&self, expected: &[&str]) -> Result<()> {
        let lines = self.service.unexpected_log_lines(expected)?;
        anyhow::ensure!(lines.is_empty(), "the log says:\n{}", lines.join("\n"));
        Ok(())
    }

    /// A counter of the service, summed over its labels that contain `part`.
    pub async fn metric(&self, name: &str, part: &str) -> Result<f64> {
        let text = self.call("GET", "/metrics", None).await?.1;
        let text = text.as_str().unwrap_or_default().to_owned();
        let of_name = text.lines().filter(|line| line.starts_with(name) && line.contains(part));
        Ok(of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

/// Asks until the answer is yes.
pub async fn eventually(mut ask: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !ask().await? {
        anyhow::ensure!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok(())
}

/// Frames values of one schema.
#[derive(Clone)]
pub struct Writer {
    pub id: i32,
    pub schema: Arc<Schema>,
}

impl Writer {
    pub fn bytes(&self, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        wire::frame(self.id, &mut out);
        codec::encode(&self.schema, value, &mut out).expect("the value fits its schema");
        out
    }

    /// A record of the schema's root from names and values.
    pub fn record(&self, pairs: &[(&str, Value)]) -> Vec<u8> {
        self.bytes(&Value::Record(Record::from_pairs("row", pairs.iter().map(|(k, v)| (*k, v.clone())))))
    }
}

/// Schema of Debezium's envelope around a row with these fields (JSON texts of Avro fields).
pub fn envelope_schema(fields: &str) -> String {
    format!(
        r#"{{"type":"record","name":"Envelope","namespace":"shop.rating.rates","fields":[
          {{"name":"before","type":["null",{{"type":"record","name":"Value","fields":[{fields}]}}],"default":null}},
          {{"name":"after","type":["null","Value"],"default":null}},
          {{"name":"source","type":{{"type":"record","name":"Source","namespace":"io.debezium.connector.postgresql","fields":[
            {{"name":"ts_ms","type":"long"}},{{"name":"snapshot","type":["null","string"],"default":null}},
            {{"name":"schema","type":"string"}},{{"name":"table","type":"string"}},{{"name":"lsn","type":["null","long"],"default":null}}]}}}},
          {{"name":"op","type":"string"}},{{"name":"ts_ms","type":["null","long"],"default":null}}],
          "connect.name":"shop.rating.rates.Envelope"}}"#
    )
}

/// A change as Debezium's envelope.
pub fn envelope(writer: &Writer, op: &str, lsn: i64, before: Option<Record>, after: Option<Record>) -> Vec<u8> {
    let row = |row: Option<Record>| row.map_or(Value::Null, Value::Record);
    let snapshot = if op == "r" { Value::from("true") } else { Value::Null };
    let source = Record::from_pairs(
        "source",
        [
            ("ts_ms", now_ms().into()),
            ("snapshot", snapshot),
            ("schema", "rating".into()),
            ("table", "rates".into()),
            ("lsn", lsn.into()),
        ],
    );
    writer.record(&[
        ("before", row(before)),
        ("after", row(after)),
        ("source", Value::Record(source)),
        ("op", op.into()),
        ("ts_ms", Value::Null),
    ])
}

/// The key as the article's StringConverter writes it.
pub fn text_key(id: i64) -> Vec<u8> {
    format!("Struct{{id={id}}}").into_bytes()
}

pub fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_millis() as i64
}

/// Keys of a map as a set, for comparisons.
pub fn keys<V>(map: &BTreeMap<String, V>) -> BTreeSet<&str> {
    map.keys().map(String::as_str).collect()
}

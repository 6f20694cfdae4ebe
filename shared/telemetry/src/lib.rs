//! The streams that each service produces about itself: `ratestream.metrics` and `ratestream.logs`, in Avro
//! (`proto/ratestream.metrics.avsc`, `proto/ratestream.logs.avsc`). They are best effort: when Kafka or the registry is away,
//! samples are left out and log lines are dropped and counted; nothing waits for them.

use prometheus::proto::MetricType;
use ratestream_avro::{Record, RegistryClient, Schema, Value, codec, wire};
use ratestream_kafka::rdkafka::producer::DefaultProducerContext;
use ratestream_kafka::rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use ratestream_kafka::{Kafka, TopicSpec};
use ratestream_runtime::telemetry::LogEvent;
use ratestream_runtime::{ChildContext, Context, metrics, telemetry};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// Topic of metrics.
pub const METRICS_TOPIC: &str = "ratestream.metrics";
/// Topic of log lines.
pub const LOGS_TOPIC: &str = "ratestream.logs";
const METRICS_SCHEMA: &str = include_str!("../../../proto/ratestream.metrics.avsc");
const LOGS_SCHEMA: &str = include_str!("../../../proto/ratestream.logs.avsc");
/// How long the streams are kept.
const RETENTION_MS: &str = "86400000";
/// A text of a log line is cut to this many bytes.
const TEXT_MAX: usize = 4096;
/// Log lines of one batch, at most one batch in 200 ms.
const LINES_MAX: usize = 500;

/// Starts both streams, unless `telemetry.streams` is false. Call once in a service's start.
pub fn start<C>(context: &Context<C>) {
    start_with(context, &RegistryClient::new(&context.settings.schema_registry));
}

/// As [`start`], for the registry itself, which registers its schemas at its own address.
pub fn start_with<C>(context: &Context<C>, registry: &RegistryClient) {
    if !context.settings.telemetry.streams {
        return;
    }
    let Some(lines) = telemetry::tap() else { return };
    let lines = Arc::new(tokio::sync::Mutex::new(lines));
    let (settings, registry) = (context.settings.clone(), registry.clone());
    context.supervisor.spawn_loop("telemetry", move |child| {
        let (settings, registry, lines) = (settings.clone(), registry.clone(), lines.clone());
        async move {
            let mut lines = lines.lock().await;
            let client = format!("{}-telemetry", settings.service);
            let stream = Stream {
                kafka: Kafka::new(&settings.kafka, &client),
                registry,
                service: settings.service,
                instance: settings.http.advertised(),
                interval: Duration::from_secs(settings.telemetry.interval_seconds.max(1)),
            };
            stream.run(&child, &mut lines).await;
        }
    });
}

struct Stream {
    kafka: Kafka,
    registry: RegistryClient,
    service: &'static str,
    instance: String,
    interval: Duration,
}

/// A schema with its id, ready to frame records.
struct Format {
    schema: Arc<Schema>,
    id: i32,
}

impl Format {
    fn bytes(&self, record: Record) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(256);
        wire::frame(self.id, &mut bytes);
        codec::encode(&self.schema, &Value::Record(record), &mut bytes).ok()?;
        Some(bytes)
    }
}

impl Stream {
    async fn run(&self, child: &ChildContext, lines: &mut mpsc::Receiver<LogEvent>) {
        let Some((producer, metric, line)) = self.open(child).await else { return };
        let mut tick = tokio::time::interval(self.interval);
        let mut batch = Vec::new();
        while !child.shutdown.is_triggered() {
            child.progress.tick();
            tokio::select! {
                () = child.shutdown.triggered() => {}
                _ = tick.tick() => self.sample(&producer, &metric),
                count = lines.recv_many(&mut batch, LINES_MAX) => {
                    for event in batch.drain(..) {
                        self.send(&producer, LOGS_TOPIC, line.bytes(self.line(event)));
                    }
                    if count == LINES_MAX {
                        child.shutdown.sleep(Duration::from_millis(200)).await;
                    }
                }
            }
        }
        // The last lines are worth a moment of the time that a stop has.
        if let Err(error) = producer.flush(Duration::from_secs(1)) {
            tracing::debug!(%error, "last telemetry was not delivered");
        }
    }

    /// Waits until topics and schemas are there; none when stopped before.
    async fn open(&self, child: &ChildContext) -> Option<(ThreadedProducer<DefaultProducerContext>, Format, Format)> {
        let retention = |name| TopicSpec::plain(name, 1).with("retention.ms", RETENTION_MS);
        loop {
            let opened = async {
                self.kafka
                    .ensure_topics(&[retention(METRICS_TOPIC), retention(LOGS_TOPIC)])
                    .await
                    .map_err(|e| e.to_string())?;
                let metric = self.format(METRICS_TOPIC, METRICS_SCHEMA).await?;
                let line = self.format(LOGS_TOPIC, LOGS_SCHEMA).await?;
                let mut config = self.kafka.producer_config();
                config
                    .set("message.timeout.ms", "10000")
                    .set("queue.buffering.max.kbytes", "4096")
                    .set("linger.ms", "100");
                let producer = config.create().map_err(|e| e.to_string())?;
                Ok::<_, String>((producer, metric, line))
            };
            match opened.await {
                Ok(opened) => return Some(opened),
                Err(cause) => tracing::debug!(cause, "telemetry streams wait"),
            }
            if !child.shutdown.sleep(Duration::from_secs(2)).await {
                return None;
            }
        }
    }

    async fn format(&self, topic: &str, text: &str) -> Result<Format, String> {
        let schema = Schema::parse(text).map_err(|e| e.to_string())?;
        let id = self.registry.register(&format!("{topic}-value"), &schema).await.map_err(|e| e.to_string())?;
        Ok(Format { schema, id })
    }

    fn send(&self, producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, payload: Option<Vec<u8>>) {
        let Some(payload) = payload else { return };
        let record = BaseRecord::to(topic).key(self.service).payload(&payload);
        if let Err((error, _)) = producer.send(record) {
            tracing::trace!(%error, "telemetry was left out");
        }
    }

    fn line(&self, event: LogEvent) -> Record {
        let fields: Vec<String> = event.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Record::from_pairs(
            "io.ratestream.LogLine",
            [
                ("ts", Value::Timestamp(event.ts_ms * 1000)),
                ("service", self.service.into()),
                ("instance", self.instance.as_str().into()),
                ("level", event.level.into()),
                ("target", event.target.into()),
                ("message", cut(event.message).into()),
                ("fields", cut(fields.join(" ")).into()),
            ],
        )
    }

    fn sample(&self, producer: &ThreadedProducer<DefaultProducerContext>, format: &Format) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let mut samples =
            vec![("ratestream_resident_bytes".to_owned(), String::new(), metrics::resident_bytes() as f64)];
        for family in metrics::registry().gather() {
            for metric in family.get_metric() {
                samples.extend(values(family.name(), family.get_field_type(), metric));
            }
        }
        for (name, labels, value) in samples {
            let record = Record::from_pairs(
                "io.ratestream.Metric",
                [
                    ("ts", Value::Timestamp(now * 1000)),
                    ("service", self.service.into()),
                    ("instance", self.instance.as_str().into()),
                    ("name", name.into()),
                    ("labels", labels.into()),
                    ("value", value.into()),
                ],
            );
            self.send(producer, METRICS_TOPIC, format.bytes(record));
        }
    }
}

/// The samples of one metric as (name, labels, value).
fn values(name: &str, kind: MetricType, metric: &prometheus::proto::Metric) -> Vec<(String, String, f64)> {
    let labels: Vec<String> = metric.get_label().iter().map(|l| format!("{}={}", l.name(), l.value())).collect();
    let labels = labels.join(",");
    match kind {
        MetricType::COUNTER => vec![(name.to_owned(), labels, metric.get_counter().get_value())],
        MetricType::GAUGE => vec![(name.to_owned(), labels, metric.get_gauge().get_value())],
        _ => {
            let histogram = metric.get_histogram();
            vec![
                (format!("{name}_sum"), labels.clone(), histogram.get_sample_sum()),
                (format!("{name}_count"), labels, histogram.get_sample_count() as f64),
            ]
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Golden: the contracts in proto/ are what the code writes; a change of either must be meant.
    #[test]
    fn records_fit_their_contracts() {
        let stream = Stream {
            kafka: Kafka::new(&ratestream_runtime::KafkaSettings::default(), "test"),
            registry: {
                let _set = rustls_provider();
                RegistryClient::at("http://127.0.0.1:9")
            },
            service: "notification",
            instance: "127.0.0.1:8090".into(),
            interval: Duration::from_secs(10),
        };
        let schema = Schema::parse(LOGS_SCHEMA).unwrap();
        let event = LogEvent {
            ts_ms: 1,
            level: "INFO",
            target: "t".into(),
            message: "ä".repeat(5000),
            fields: vec![("a".into(), "1".into()), ("b".into(), "2".into())],
        };
        let format = Format { schema: schema.clone(), id: 7 };
        let bytes = format.bytes(stream.line(event)).unwrap();
        let (id, datum) = wire::split(&bytes).unwrap();
        let Value::Record(line) = codec::decode(&schema, datum).unwrap() else { panic!("a record") };
        assert_eq!((id, line.get("fields").unwrap().as_str()), (7, Some("a=1 b=2")));
        assert_eq!(line.get("message").unwrap().as_str().unwrap().len(), TEXT_MAX);
        assert!(Schema::parse(METRICS_SCHEMA).is_ok());
    }

    fn rustls_provider() -> bool {
        rustls::crypto::ring::default_provider().install_default().is_ok()
    }
}

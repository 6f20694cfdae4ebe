//! The fabric's topics: created when missing, followed, and written with read-your-writes.

use crate::state::{Fabric, Status};
use ratestream_kafka::rdkafka::error::KafkaError as Cause;
use ratestream_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use ratestream_kafka::{Kafka, KafkaError, LogReader, TopicSpec};
use ratestream_runtime::{ChildContext, Dependency};
use serde_json::Value;
use std::sync::{Arc, OnceLock, RwLock};
use std::time::Duration;
use tokio::sync::watch;

pub(crate) const CONFIGS: &str = "connect-configs";
pub(crate) const STATUS: &str = "connect-status";
pub(crate) const OFFSETS: &str = "connect-offsets";
pub(crate) const OFFSET_PARTITIONS: i32 = 25;
const STATUS_PARTITIONS: i32 = 5;
const WRITE: Duration = Duration::from_secs(20);

/// Shared by everything in the fabric.
pub(crate) struct Store {
    pub(crate) kafka: Kafka,
    fabric: RwLock<Fabric>,
    /// Offset after the last applied record of `connect-configs`; none until its end was reached once.
    applied: watch::Sender<Option<i64>>,
    producer: OnceLock<FutureProducer>,
}

impl Store {
    pub(crate) fn new(kafka: Kafka) -> Arc<Store> {
        Arc::new(Store {
            kafka,
            fabric: RwLock::default(),
            applied: watch::Sender::new(None),
            producer: OnceLock::new(),
        })
    }

    /// Looks at the present state.
    pub(crate) fn read<T>(&self, f: impl FnOnce(&Fabric) -> T) -> T {
        f(&self.fabric.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn change(&self, f: impl FnOnce(&mut Fabric)) {
        f(&mut self.fabric.write().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// Fires on every applied configuration record.
    pub(crate) fn changes(&self) -> watch::Receiver<Option<i64>> {
        self.applied.subscribe()
    }

    /// Whether the state is complete.
    pub(crate) fn is_loaded(&self) -> bool {
        self.applied.borrow().is_some()
    }

    fn producer(&self) -> Result<&FutureProducer, KafkaError> {
        if let Some(producer) = self.producer.get() {
            return Ok(producer);
        }
        let mut config = self.kafka.producer_config();
        config.set("partitioner", "murmur2_random").set("message.timeout.ms", "15000").set("linger.ms", "0");
        let created =
            config.create().map_err(|cause| KafkaError::new("the producer of the connector fabric", cause))?;
        Ok(self.producer.get_or_init(|| created))
    }

    async fn write(&self, topic: &str, key: &str, value: Option<&Value>) -> Result<i64, KafkaError> {
        let payload = value.map(Value::to_string);
        let mut record = FutureRecord::<str, str>::to(topic).key(key);
        record.payload = payload.as_deref();
        let sent = self.producer()?.send(record, WRITE).await;
        sent.map(|delivery| delivery.offset)
            .map_err(|(cause, _)| KafkaError::new(format!("the record {key} in topic {topic}"), cause))
    }

    /// Writes a configuration record and returns when this process has applied it.
    pub(crate) async fn write_config(&self, key: &str, value: Option<&Value>) -> Result<(), KafkaError> {
        let offset = self.write(CONFIGS, key, value).await?;
        let mut applied = self.applied.subscribe();
        let seen = applied.wait_for(|next| next.is_some_and(|next| next > offset));
        match tokio::time::timeout(WRITE, seen).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(KafkaError::new(format!("reading back the record {key} in topic {CONFIGS}"), Cause::Canceled)),
        }
    }

    /// Writes the status of a connector, or of one of its tasks.
    pub(crate) async fn write_status(
        &self,
        connector: &str,
        task: Option<u32>,
        status: Option<&Status>,
    ) -> Result<(), KafkaError> {
        let key = match task {
            None => format!("status-connector-{connector}"),
            Some(task) => format!("status-task-{connector}-{task}"),
        };
        let value = status.and_then(|status| serde_json::to_value(status).ok());
        self.write(STATUS, &key, value.as_ref()).await.map(|_| ())
    }

    /// Publishes what a class's owner knows about it.
    pub(crate) async fn write_plugin(&self, class: &str, plugin: &Value) -> Result<(), KafkaError> {
        self.write(STATUS, &format!("ratestream-plugin-{class}"), Some(plugin)).await.map(|_| ())
    }

    /// Creates what is missing of the three topics.
    pub(crate) async fn ensure_topics(&self) -> Result<(), KafkaError> {
        let topics = [
            TopicSpec::compacted(CONFIGS, 1),
            TopicSpec::compacted(STATUS, STATUS_PARTITIONS),
            TopicSpec::compacted(OFFSETS, OFFSET_PARTITIONS),
        ];
        self.kafka.ensure_topics(&topics).await
    }

    /// Follows `connect-configs`; blocks until the child shall stop.
    pub(crate) fn follow_configs(&self, child: &ChildContext, kafka: &Dependency) -> Result<(), KafkaError> {
        let mut reader = LogReader::open(&self.kafka, CONFIGS)?;
        let mut next = 0;
        let mut fresh = Fabric::default();
        reader.read_to_end(|record| {
            next = record.offset + 1;
            fresh.apply_config(record.offset, &text(record.key.as_deref()), record.value.as_deref());
        })?;
        // Statuses are kept: only the part that this log tells is replaced.
        self.change(|fabric| fabric.replace_configs(fresh));
        self.applied.send_replace(Some(next));
        kafka.up();
        while !child.shutdown.is_triggered() {
            child.progress.tick();
            if let Some(record) = reader.poll(Duration::from_millis(200))? {
                self.change(|f| f.apply_config(record.offset, &text(record.key.as_deref()), record.value.as_deref()));
                self.applied.send_replace(Some(record.offset + 1));
            }
        }
        Ok(())
    }

    /// Follows `connect-status`; blocks until the child shall stop.
    pub(crate) fn follow_status(&self, child: &ChildContext) -> Result<(), KafkaError> {
        let mut reader = LogReader::open(&self.kafka, STATUS)?;
        while !child.shutdown.is_triggered() {
            child.progress.tick();
            if let Some(record) = reader.poll(Duration::from_millis(200))? {
                self.change(|f| f.apply_status(&text(record.key.as_deref()), record.value.as_deref()));
            }
        }
        Ok(())
    }
}

fn text(key: Option<&[u8]>) -> String {
    String::from_utf8_lossy(key.unwrap_or_default()).into_owned()
}

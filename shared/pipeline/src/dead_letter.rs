//! Records that a sink cannot take, kept with cause and coordinates so that they can be replayed.
//!
//! Headers are Kafka Connect's: `__connect.errors.topic`, `.partition`, `.offset`, `.connector.name`, `.task.id`, `.stage`,
//! `.exception.class.name`, `.exception.message`. The record's own key, value and headers are kept as they were.

use ratestream_connect::{TaskContext, TaskError};
use ratestream_kafka::rdkafka::message::{Header, OwnedHeaders};
use ratestream_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use ratestream_kafka::{Batch, Kafka, KafkaError, Record, TopicSpec};
use std::time::Duration;

const WRITE: Duration = Duration::from_secs(30);
/// A cause is cut to this many characters: it may quote the record.
const CAUSE_MAX: usize = 1000;

/// Where the dead letters of one connector go.
pub(crate) struct DeadLetters {
    topic: String,
    connector: String,
    task: u32,
    kafka: Kafka,
    producer: FutureProducer,
}

impl DeadLetters {
    /// The topic of `errors.deadletterqueue.topic.name`, else `dlq-<connector>`.
    pub(crate) fn open(task: &TaskContext) -> Result<DeadLetters, TaskError> {
        let topic = task.config.get("errors.deadletterqueue.topic.name").filter(|name| !name.is_empty());
        let producer = task
            .kafka
            .producer_config()
            .create()
            .map_err(|cause| KafkaError::new("the producer of dead letters", cause))?;
        Ok(DeadLetters {
            topic: topic.map_or_else(|| format!("dlq-{}", task.connector), str::to_owned),
            connector: task.connector.clone(),
            task: task.task,
            kafka: task.kafka.clone(),
            producer,
        })
    }

    /// Writes one dead letter; returns when it is durable.
    pub(crate) async fn write(
        &self,
        batch: &Batch,
        record: &Record,
        stage: &str,
        cause: &str,
    ) -> Result<(), KafkaError> {
        self.kafka.ensure_topics(&[TopicSpec::plain(&self.topic, 1)]).await?;
        let cause: String = cause.chars().take(CAUSE_MAX).collect();
        let own = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_ref() }));
        let texts = [
            ("topic", batch.topic.to_string()),
            ("partition", batch.partition.to_string()),
            ("offset", record.offset.to_string()),
            ("connector.name", self.connector.clone()),
            ("task.id", self.task.to_string()),
            ("stage", stage.to_owned()),
            ("exception.class.name", "ratestream.Reject".to_owned()),
            ("exception.message", cause),
        ];
        let headers = texts.iter().fold(own, |headers, (name, value)| {
            headers.insert(Header { key: &format!("__connect.errors.{name}"), value: Some(value) })
        });
        let mut letter = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(headers);
        letter.key = record.key.as_deref();
        letter.payload = record.value.as_deref();
        letter.timestamp = Some(record.timestamp_ms);
        let sent = self.producer.send(letter, WRITE).await;
        sent.map(|_| ()).map_err(|(cause, _)| KafkaError::new(format!("a dead letter in topic {}", self.topic), cause))
    }
}

//! A producer whose records appear all together or not at all.

use crate::client::Kafka;
use crate::error::KafkaError;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, TopicPartitionList};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const OPERATION: Duration = Duration::from_secs(30);
/// A record that finds no room in the queue for so long means that the broker is away.
const ENQUEUE: Duration = Duration::from_secs(60);
/// Bounds the largest unit that is produced as one, for example a transaction of the source. Brokers allow up to 15 minutes.
const TRANSACTION_MS: &str = "300000";
const SERVE: Duration = Duration::from_micros(200);

/// First delivery error of the running transaction.
#[derive(Clone, Default)]
struct Deliveries(Arc<Mutex<Option<Cause>>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((cause, _)) = result
            && let Ok(mut first) = self.0.lock()
        {
            first.get_or_insert_with(|| cause.clone());
        }
    }
}

/// One record to be produced.
#[derive(Clone, Debug, Default)]
pub struct Outgoing<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition; by the hash of the key (murmur2, as Java clients do) when none.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none = tombstone.
    pub payload: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Option<OwnedHeaders>,
    /// Milliseconds since the epoch; now when none.
    pub timestamp_ms: Option<i64>,
}

/// A transactional producer; every call blocks, so it lives on a thread of its caller's own.
pub struct TransactionalProducer {
    id: String,
    producer: BaseProducer<Deliveries>,
    deliveries: Deliveries,
}

impl TransactionalProducer {
    /// Opens the producer and fences every older holder of `transactional_id`.
    pub fn new(kafka: &Kafka, transactional_id: &str) -> Result<TransactionalProducer, KafkaError> {
        let deliveries = Deliveries::default();
        let mut config = kafka.producer_config();
        config
            .set("transactional.id", transactional_id)
            .set("linger.ms", "0")
            // Java's default partitioner, so that keys keep their partitions when a producer is replaced by ours.
            .set("partitioner", "murmur2_random")
            .set("retry.backoff.ms", "5");
        if config.get("transaction.timeout.ms").is_none() {
            config.set("transaction.timeout.ms", TRANSACTION_MS);
        }
        let producer: BaseProducer<Deliveries> = config
            .create_with_context(deliveries.clone())
            .map_err(|cause| KafkaError::new(format!("the transactional producer {transactional_id}"), cause))?;
        producer
            .init_transactions(OPERATION)
            .map_err(|cause| KafkaError::new(format!("the start of transactional id {transactional_id}"), cause))?;
        Ok(TransactionalProducer { id: transactional_id.to_owned(), producer, deliveries })
    }

    /// Begins a transaction.
    pub fn begin(&mut self) -> Result<(), KafkaError> {
        if let Ok(mut first) = self.deliveries.0.lock() {
            *first = None;
        }
        self.producer.begin_transaction().map_err(|cause| self.error("the begin of a transaction", cause))
    }

    /// Queues a record; waits while the queue is full. What goes wrong later is told by [`TransactionalProducer::commit`].
    pub fn send(&mut self, outgoing: Outgoing<'_>) -> Result<(), KafkaError> {
        let mut record = BaseRecord::<[u8], [u8]>::to(outgoing.topic);
        record.partition = outgoing.partition;
        record.key = outgoing.key;
        record.payload = outgoing.payload;
        record.headers = outgoing.headers;
        record.timestamp = outgoing.timestamp_ms;
        let deadline = Instant::now() + ENQUEUE;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((Cause::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) if Instant::now() < deadline => {
                    record = refused;
                    self.producer.poll(Duration::from_millis(5));
                }
                Err((cause, _)) => return Err(self.error(&format!("a record for topic {}", outgoing.topic), cause)),
            }
        }
    }

    /// Makes consumed offsets part of the transaction.
    pub fn send_offsets(
        &mut self,
        offsets: &TopicPartitionList,
        group: &ConsumerGroupMetadata,
    ) -> Result<(), KafkaError> {
        self.producer
            .send_offsets_to_transaction(offsets, group, OPERATION)
            .map_err(|cause| self.error("offsets in a transaction", cause))
    }

    /// Ends the transaction: all of its records become visible, or an error says that none did.
    pub fn commit(&mut self) -> Result<(), KafkaError> {
        // librdkafka's own flush waits in slices of 100 ms: serve the queue here first, then there is nothing to wait for.
        let deadline = Instant::now() + ENQUEUE;
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            self.producer.poll(SERVE);
        }
        let failed = self.deliveries.0.lock().ok().and_then(|mut first| first.take());
        if let Some(cause) = failed {
            return Err(self.error("a record of the transaction", cause));
        }
        self.producer.commit_transaction(OPERATION).map_err(|cause| self.error("the commit of a transaction", cause))
    }

    /// Drops the transaction with all of its records.
    pub fn abort(&mut self) -> Result<(), KafkaError> {
        self.producer.abort_transaction(OPERATION).map_err(|cause| self.error("the abort of a transaction", cause))
    }

    /// Lets librdkafka do its housekeeping; call now and then while idle.
    pub fn serve(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// A fenced producer fails in many ways (purged queues among them); librdkafka's fatal error tells which they are.
    fn error(&self, action: &str, cause: Cause) -> KafkaError {
        let action = format!("{action} ({})", self.id);
        match self.producer.client().fatal_error() {
            Some((code, _)) => KafkaError::new(action, Cause::Global(code)),
            None => KafkaError::new(action, cause),
        }
    }
}

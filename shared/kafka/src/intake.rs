//! Intake of a consumer group, by partition: one batch of each partition is in flight at a time, what is durable is committed,
//! and a partition whose writer is slow is paused instead of buffered.

mod worker;

use crate::client::Kafka;
use crate::error::KafkaError;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError as Cause;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use worker::{Assignment, Worker};

/// One consumed record, owned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; none = tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// Bytes that it holds.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(k, v)| k.len() + v.as_ref().map_or(0, Vec::len)).sum();
        self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + headers + 64
    }

    /// Copies a message of librdkafka's.
    pub fn copy(message: &BorrowedMessage<'_>) -> Record {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
        });
        Record {
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        }
    }

    /// The text of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.as_deref());
        value.and_then(|bytes| std::str::from_utf8(bytes).ok())
    }
}

/// Records of one partition, in order, not empty.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Their topic.
    pub topic: Arc<str>,
    /// Their partition.
    pub partition: i32,
    /// Number of the assignment during which they were read.
    pub assignment: u64,
    /// The records.
    pub records: Vec<Record>,
}

impl Batch {
    fn first(&self) -> i64 {
        self.records.first().map_or(0, |record| record.offset)
    }

    fn next(&self) -> i64 {
        self.records.last().map_or(0, |record| record.offset + 1)
    }
}

/// What the intake tells its owner.
#[derive(Debug)]
pub enum IntakeEvent {
    /// Records to be written. Answer with [`Intake::done`].
    Batch(Batch),
    /// Partitions that are no longer ours; answers for them are ignored.
    Revoked(Vec<(String, i32)>),
    /// Kafka does not answer as it should; the intake goes on trying.
    Trouble(String),
    /// Kafka answers again.
    Recovered,
}

/// Bounds of an intake.
#[derive(Clone, Copy, Debug)]
pub struct IntakeLimits {
    /// Records of one batch.
    pub records_max: usize,
    /// Bytes of one batch.
    pub bytes_max: usize,
    /// How long a batch that is not full may wait for more.
    pub linger: Duration,
}

impl Default for IntakeLimits {
    fn default() -> Self {
        IntakeLimits { records_max: 2000, bytes_max: 4 * 1024 * 1024, linger: Duration::from_millis(5) }
    }
}

/// A running intake. Dropping it stops it without a last commit of what is not answered.
pub struct Intake {
    answers: std::sync::mpsc::Sender<Answer>,
    thread: Option<std::thread::JoinHandle<()>>,
}

enum Answer {
    Done { topic: Arc<str>, partition: i32, assignment: u64, first: i64 },
    Stop,
}

impl Intake {
    /// Subscribes `group` to `topics` on a thread of its own and returns where its events arrive.
    pub fn start(
        kafka: &Kafka,
        group: &str,
        topics: &[String],
        limits: IntakeLimits,
    ) -> Result<(Intake, mpsc::Receiver<IntakeEvent>), KafkaError> {
        let (events, receiver) = mpsc::channel(256);
        let (answers, inbox) = std::sync::mpsc::channel();
        let context = Assignment::default();
        let consumer: BaseConsumer<Assignment> = kafka
            .consumer_config(group)
            .create_with_context(context.clone())
            .map_err(|cause| KafkaError::new(format!("the consumer of group {group}"), cause))?;
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer
            .subscribe(&names)
            .map_err(|cause| KafkaError::new(format!("the subscription of group {group}"), cause))?;
        let mut worker = Worker::new(consumer, context, limits, events, inbox);
        let thread = std::thread::Builder::new()
            .name(format!("intake-{group}"))
            .spawn(move || worker.run())
            .map_err(|error| KafkaError::new(format!("a thread: {error}"), Cause::Canceled))?;
        Ok((Intake { answers, thread: Some(thread) }, receiver))
    }

    /// Says that every record of `batch` is durable (written, filtered or dead-lettered).
    pub fn done(&self, batch: &Batch) {
        let answer = Answer::Done {
            topic: batch.topic.clone(),
            partition: batch.partition,
            assignment: batch.assignment,
            first: batch.first(),
        };
        // Fails only when the thread has ended, and then nobody waits for the answer.
        let _ended = self.answers.send(answer);
    }

    /// Commits what is durable, leaves the group and waits for the thread.
    pub fn stop(mut self) {
        let _ended = self.answers.send(Answer::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the intake thread panicked");
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        let _ended = self.answers.send(Answer::Stop);
    }
}

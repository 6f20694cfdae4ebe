//! A compacted topic as a log: read from its start to its end, then followed.

use crate::client::Kafka;
use crate::error::KafkaError;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

const REQUEST: Duration = Duration::from_secs(15);
const PROPAGATION: Duration = Duration::from_secs(5);
/// A log that gives neither a record nor its end for so long cannot be reached.
const SILENCE: Duration = Duration::from_secs(30);

/// One record of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; none = tombstone.
    pub value: Option<Vec<u8>>,
}

/// Reader of all partitions of one topic, or of some. Calls block.
pub struct LogReader {
    topic: String,
    consumer: BaseConsumer,
    /// Partition → next offset to read.
    next: BTreeMap<i32, i64>,
    /// Partitions whose end was reached since the last assignment.
    ended: BTreeSet<i32>,
    buffered: VecDeque<LogRecord>,
}

impl LogReader {
    /// Opens all partitions of `topic` at their beginning. The topic must exist.
    pub fn open(kafka: &Kafka, topic: &str) -> Result<LogReader, KafkaError> {
        let consumer = consumer(kafka)?;
        // A topic that was just created is known to every broker only a moment later.
        let deadline = Instant::now() + PROPAGATION;
        loop {
            let partitions = partitions(&consumer, topic)?;
            if !partitions.is_empty() {
                return LogReader::start(consumer, topic, &partitions);
            }
            if Instant::now() > deadline {
                let cause = Cause::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
                return Err(KafkaError::new(format!("the log in topic {topic}"), cause));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Opens some partitions of `topic` at their beginning.
    pub fn open_partitions(kafka: &Kafka, topic: &str, partitions: &[i32]) -> Result<LogReader, KafkaError> {
        LogReader::start(consumer(kafka)?, topic, partitions)
    }

    fn start(consumer: BaseConsumer, topic: &str, partitions: &[i32]) -> Result<LogReader, KafkaError> {
        let mut reader = LogReader {
            topic: topic.to_owned(),
            consumer,
            next: partitions.iter().map(|p| (*p, 0)).collect(),
            ended: BTreeSet::new(),
            buffered: VecDeque::new(),
        };
        reader.assign()?;
        Ok(reader)
    }

    /// (Re)starts fetching at the next offsets. What was fetched before and not returned is fetched again.
    fn assign(&mut self) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, next) in &self.next {
            let offset = if *next == 0 { Offset::Beginning } else { Offset::Offset(*next) };
            list.add_partition_offset(&self.topic, *partition, offset).map_err(|cause| self.error(cause))?;
        }
        self.ended.clear();
        self.consumer.assign(&list).map_err(|cause| self.error(cause))
    }

    /// The next record, or none after `timeout`.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<LogRecord>, KafkaError> {
        if let Some(record) = self.buffered.pop_front() {
            return Ok(Some(record));
        }
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.fetch(left)? {
                Fetched::Record(record) => return Ok(Some(record)),
                Fetched::End => {}
                Fetched::Nothing => return Ok(None),
            }
        }
    }

    /// Whether everything committed before this call has been returned by [`LogReader::poll`].
    ///
    /// With transactions the last offsets of a partition are control records, which no consumer ever sees; so the end is
    /// not found by comparing offsets but by an end-of-partition event of a fetch that was issued after this call.
    pub fn at_end(&mut self) -> Result<bool, KafkaError> {
        if !self.buffered.is_empty() {
            return Ok(false);
        }
        self.assign()?;
        let deadline = Instant::now() + REQUEST;
        while self.ended.len() < self.next.len() {
            match self.fetch(Duration::from_millis(100))? {
                Fetched::Record(record) => {
                    self.buffered.push_back(record);
                    return Ok(false);
                }
                Fetched::End => {}
                Fetched::Nothing if Instant::now() > deadline => {
                    return Err(self.error(Cause::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)));
                }
                Fetched::Nothing => {}
            }
        }
        Ok(true)
    }

    /// Hands every record up to the present end to `apply`.
    pub fn read_to_end(&mut self, mut apply: impl FnMut(LogRecord)) -> Result<(), KafkaError> {
        let mut last = Instant::now();
        loop {
            while self.ended.len() < self.next.len() || !self.buffered.is_empty() {
                if let Some(record) = self.poll(Duration::from_millis(50))? {
                    apply(record);
                    last = Instant::now();
                } else if last.elapsed() > SILENCE {
                    return Err(self.error(Cause::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)));
                }
            }
            if self.at_end()? {
                return Ok(());
            }
        }
    }

    fn fetch(&mut self, timeout: Duration) -> Result<Fetched, KafkaError> {
        match self.consumer.poll(timeout) {
            None => Ok(Fetched::Nothing),
            Some(Ok(message)) => {
                self.next.insert(message.partition(), message.offset() + 1);
                self.ended.remove(&message.partition());
                Ok(Fetched::Record(LogRecord {
                    partition: message.partition(),
                    offset: message.offset(),
                    timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                }))
            }
            Some(Err(Cause::PartitionEOF(partition))) => {
                self.ended.insert(partition);
                Ok(Fetched::End)
            }
            // Brokers that are away come back: the client goes on by itself, and callers see that nothing arrives.
            Some(Err(Cause::MessageConsumption(
                RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve,
            ))) => Ok(Fetched::Nothing),
            Some(Err(cause)) => Err(self.error(cause)),
        }
    }

    fn error(&self, cause: Cause) -> KafkaError {
        KafkaError::new(format!("the log in topic {}", self.topic), cause)
    }
}

enum Fetched {
    Record(LogRecord),
    End,
    Nothing,
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>, KafkaError> {
    let metadata = consumer
        .fetch_metadata(Some(topic), REQUEST)
        .map_err(|cause| KafkaError::new(format!("the metadata of topic {topic}"), cause))?;
    let found = metadata.topics().iter().filter(|t| t.name() == topic);
    Ok(found.flat_map(|t| t.partitions().iter().map(|p| p.id())).collect())
}

fn consumer(kafka: &Kafka) -> Result<BaseConsumer, KafkaError> {
    kafka.reader_config().create().map_err(|cause| KafkaError::new("a log reader", cause))
}

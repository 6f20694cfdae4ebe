//! One partition number of a stage: its task, its fenced producer, its running transaction.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ratestream_kafka::rdkafka::TopicPartitionList;
use ratestream_kafka::rdkafka::consumer::ConsumerGroupMetadata;
use ratestream_kafka::rdkafka::message::{Header, OwnedHeaders};
use ratestream_kafka::rdkafka::topic_partition_list::Offset;
use ratestream_kafka::{Kafka, KafkaError, LogReader, Outgoing, TransactionalProducer};

use crate::stage::{Stage, StageError, StageStatus};
use crate::task::{Incoming, Output, Produced, Task};

/// A partition that this process works on.
pub struct Partition {
    number: i32,
    task: Box<dyn Task>,
    producer: TransactionalProducer,
    changelog: Option<String>,
    output: Output,
    /// Next offset by topic, of records handled since the last commit.
    offsets: BTreeMap<String, i64>,
    /// Since when a transaction runs, and what is in it.
    open: Option<Instant>,
    handled: usize,
}

impl Partition {
    /// Fences the former owner, then restores the task's state from the changelog.
    ///
    /// # Errors
    /// When Kafka is away or the state cannot be read.
    pub fn take(kafka: &Kafka, stage: &Stage, number: i32, status: &StageStatus) -> Result<Partition, StageError> {
        // First the fence: after it nobody else can add to the changelog that is read next.
        let producer = TransactionalProducer::new(kafka, &format!("{}-{number}", stage.application))?;
        let mut task = (stage.task)(number);
        if let Some(changelog) = &stage.changelog {
            let mut reader = LogReader::open_partitions(kafka, changelog, &[number])?;
            let mut failure = None;
            reader.read_to_end(|record| {
                let (Some(key), None) = (record.key, &failure) else { return };
                failure = task.restore(&key, record.value.as_deref()).err();
                status.restored();
            })?;
            if let Some(error) = failure {
                return Err(error.into());
            }
        }
        Ok(Partition {
            number,
            task,
            producer,
            changelog: stage.changelog.clone(),
            output: Output::default(),
            offsets: BTreeMap::new(),
            open: None,
            handled: 0,
        })
    }

    /// Handles one record.
    ///
    /// # Errors
    /// After an error the partition must be dropped: the next owner rolls its transaction back.
    pub fn process(&mut self, record: &Incoming<'_>) -> Result<(), StageError> {
        if self.open.is_none() {
            self.producer.begin()?;
            self.open = Some(Instant::now());
        }
        self.task.process(record, &mut self.output)?;
        match self.offsets.get_mut(record.topic) {
            Some(next) => *next = record.offset + 1,
            None => {
                self.offsets.insert(record.topic.to_owned(), record.offset + 1);
            }
        }
        self.handled += 1;
        self.send()?;
        Ok(())
    }

    /// For how long the running transaction has been open, and how many records it handled.
    pub fn pending(&self) -> Option<(Duration, usize)> {
        self.open.map(|since| (since.elapsed(), self.handled))
    }

    /// Ends the running transaction, if there is one: outputs, state changes and offsets appear together.
    ///
    /// # Errors
    /// As [`Partition::process`].
    pub fn commit(&mut self, group: &ConsumerGroupMetadata) -> Result<usize, StageError> {
        if self.open.is_none() {
            return Ok(0);
        }
        self.task.flush(&mut self.output)?;
        self.send()?;
        let mut list = TopicPartitionList::new();
        for (topic, next) in &self.offsets {
            list.add_partition_offset(topic, self.number, Offset::Offset(*next))
                .map_err(|cause| KafkaError::new(format!("the offset of topic {topic}"), cause))?;
        }
        self.producer.send_offsets(&list, group)?;
        self.producer.commit()?;
        self.open = None;
        self.offsets.clear();
        self.task.committed();
        Ok(std::mem::take(&mut self.handled))
    }

    fn send(&mut self) -> Result<(), KafkaError> {
        for record in self.output.records.drain(..) {
            self.producer.send(outgoing(&record))?;
        }
        let Some(changelog) = &self.changelog else {
            self.output.changes.clear();
            return Ok(());
        };
        for (key, value) in self.output.changes.drain(..) {
            self.producer.send(Outgoing {
                topic: changelog,
                partition: Some(self.number),
                key: Some(&key),
                payload: value.as_deref(),
                ..Outgoing::default()
            })?;
        }
        Ok(())
    }
}

fn outgoing(record: &Produced) -> Outgoing<'_> {
    let headers = (!record.headers.is_empty()).then(|| {
        record.headers.iter().fold(OwnedHeaders::new_with_capacity(record.headers.len()), |all, (key, value)| {
            all.insert(Header { key, value: Some(value) })
        })
    });
    Outgoing {
        topic: &record.topic,
        partition: record.partition,
        key: record.key.as_deref(),
        payload: record.value.as_deref(),
        headers,
        timestamp_ms: record.timestamp_ms,
    }
}

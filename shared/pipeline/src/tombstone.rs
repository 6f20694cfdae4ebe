//! At which position a tombstone deletes. It carries none itself: in a topic of changes it follows its delete event, at that
//! event's position; in a topic of flat records it is a change of its own, at its own offset. Were it taken for the latter in a
//! topic of changes, it would outrank every later change of its key, because offsets and WAL positions are different numbers.

use ratestream_kafka::rdkafka::consumer::{BaseConsumer, Consumer};
use ratestream_kafka::rdkafka::error::KafkaError as Cause;
use ratestream_kafka::rdkafka::message::Message;
use ratestream_kafka::rdkafka::{Offset, TopicPartitionList};
use ratestream_kafka::{Kafka, KafkaError, Record};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Offsets before a tombstone that are looked at when nothing is known of its partition yet.
const LOOK_BACK: i64 = 256;
const REQUEST: Duration = Duration::from_secs(10);

/// What the last record with a value in a partition was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// Not a change with a position.
    Flat,
    /// A change of a source with positions.
    Change { version: i64, deleted_key: Option<Vec<u8>> },
}

/// What a tombstone means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It repeats the delete event before it.
    Repeats,
    /// It deletes at this position of the source.
    DeletesAt(i64),
    /// It deletes at the position made of its own coordinates.
    Deletes,
}

impl Last {
    /// The meaning of a tombstone for `key` that comes after this.
    pub(crate) fn meaning(&self, key: Option<&[u8]>) -> Meaning {
        match self {
            Last::Flat => Meaning::Deletes,
            Last::Change { deleted_key: Some(deleted), .. } if Some(deleted.as_slice()) == key => Meaning::Repeats,
            Last::Change { version, .. } => Meaning::DeletesAt(*version),
        }
    }
}

/// The last records of the partitions of this task, each with the number of its assignment.
#[derive(Debug, Default)]
pub(crate) struct Partitions(HashMap<(Arc<str>, i32), (u64, Last)>);

impl Partitions {
    pub(crate) fn remember(&mut self, topic: &Arc<str>, partition: i32, assignment: u64, last: Last) {
        self.0.insert((topic.clone(), partition), (assignment, last));
    }

    /// What is known; nothing from before a rebalance, because others may have read the partition since.
    pub(crate) fn last(&self, topic: &Arc<str>, partition: i32, assignment: u64) -> Option<&Last> {
        self.0.get(&(topic.clone(), partition)).filter(|(of, _)| *of == assignment).map(|(_, last)| last)
    }
}

/// The newest record with a value among those just before `offset`. Blocking.
pub(crate) fn record_before(
    kafka: &Kafka,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<Option<Record>, KafkaError> {
    let failed = |cause: Cause| KafkaError::new(format!("partition {partition} of topic {topic}"), cause);
    let consumer: BaseConsumer = kafka.reader_config().create().map_err(failed)?;
    let (low, _) = consumer.fetch_watermarks(topic, partition, REQUEST).map_err(failed)?;
    let from = (offset - LOOK_BACK).max(low);
    if from >= offset {
        return Ok(None);
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(from)).map_err(failed)?;
    consumer.assign(&list).map_err(failed)?;
    let (mut found, deadline) = (None, Instant::now() + REQUEST);
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) if message.offset() >= offset => return Ok(found),
            Some(Ok(message)) if message.payload().is_some() => found = Some(Record::copy(&message)),
            Some(Ok(_)) => {}
            Some(Err(Cause::PartitionEOF(_))) => return Ok(found),
            Some(Err(cause)) => return Err(failed(cause)),
        }
    }
    Err(failed(Cause::ConsumerQueueClose(ratestream_kafka::rdkafka::types::RDKafkaErrorCode::OperationTimedOut)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_has_the_position_of_the_change_before_it() {
        let deleted = Last::Change { version: 77, deleted_key: Some(b"1".to_vec()) };
        assert_eq!(deleted.meaning(Some(b"1")), Meaning::Repeats);
        assert_eq!(deleted.meaning(Some(b"2")), Meaning::DeletesAt(77));
        assert_eq!(Last::Flat.meaning(Some(b"1")), Meaning::Deletes);
    }

    #[test]
    fn what_was_known_before_a_rebalance_is_forgotten() {
        let (mut partitions, topic) = (Partitions::default(), Arc::from("t"));
        partitions.remember(&topic, 0, 1, Last::Flat);
        assert_eq!(partitions.last(&topic, 0, 1), Some(&Last::Flat));
        assert_eq!((partitions.last(&topic, 0, 2), partitions.last(&topic, 1, 1)), (None, None));
    }
}

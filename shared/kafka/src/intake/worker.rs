//! The thread of an intake: polls, buffers by partition, hands out batches, commits what is durable.

use super::{Answer, Batch, IntakeEvent, IntakeLimits, Record};
use crate::offsets::OffsetTracker;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const POLL: Duration = Duration::from_millis(20);
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// Messages taken from librdkafka before batches are looked at again.
const DRAIN_MAX: usize = 2000;

/// Rebalances seen by librdkafka's callback, which runs inside `poll` on the worker's thread.
#[derive(Clone, Default)]
pub(super) struct Assignment {
    revoked: Arc<Mutex<Vec<(String, i32)>>>,
    number: Arc<std::sync::atomic::AtomicU64>,
    /// Offsets that may be committed now, kept current by the worker for the callback.
    committable: Arc<Mutex<TopicPartitionListBox>>,
}

#[derive(Default)]
struct TopicPartitionListBox(BTreeMap<(String, i32), i64>);

impl ClientContext for Assignment {
    fn error(&self, error: Cause, reason: &str) {
        tracing::debug!(%error, reason, "client error");
    }
}

impl ConsumerContext for Assignment {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            let offsets = self.committable.lock().map(|mut c| std::mem::take(&mut c.0)).unwrap_or_default();
            if !offsets.is_empty()
                && !consumer.assignment_lost()
                && let Some(list) = offset_list(offsets.iter())
                && let Err(error) = consumer.commit(&list, CommitMode::Sync)
            {
                tracing::debug!(%error, "commit before a rebalance was refused; the records are read again");
            }
            if let Ok(mut revoked) = self.revoked.lock() {
                revoked.extend(list.elements().iter().map(|e| (e.topic().to_owned(), e.partition())));
            }
        }
        self.number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

fn offset_list<'a>(offsets: impl Iterator<Item = (&'a (String, i32), &'a i64)>) -> Option<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), next) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*next)).ok()?;
    }
    Some(list)
}

/// Buffer and progress of one assigned partition.
#[derive(Default)]
struct Partition {
    buffer: VecDeque<Record>,
    bytes: usize,
    waiting_since: Option<Instant>,
    tracker: OffsetTracker,
    paused: bool,
    committed: Option<i64>,
}

pub(super) struct Worker {
    consumer: BaseConsumer<Assignment>,
    context: Assignment,
    limits: IntakeLimits,
    events: mpsc::Sender<IntakeEvent>,
    inbox: std::sync::mpsc::Receiver<Answer>,
    partitions: BTreeMap<(Arc<str>, i32), Partition>,
    last_commit: Instant,
    troubled: bool,
}

impl Worker {
    pub(super) fn new(
        consumer: BaseConsumer<Assignment>,
        context: Assignment,
        limits: IntakeLimits,
        events: mpsc::Sender<IntakeEvent>,
        inbox: std::sync::mpsc::Receiver<Answer>,
    ) -> Worker {
        let (partitions, last_commit) = (BTreeMap::new(), Instant::now());
        Worker { consumer, context, limits, events, inbox, partitions, last_commit, troubled: false }
    }

    pub(super) fn run(&mut self) {
        loop {
            self.poll();
            self.forget_revoked();
            loop {
                match self.inbox.try_recv() {
                    Ok(Answer::Done { topic, partition, assignment, first }) => {
                        self.finish(topic, partition, assignment, first)
                    }
                    Ok(Answer::Stop) | Err(std::sync::mpsc::TryRecvError::Disconnected) => return self.leave(),
                    Err(std::sync::mpsc::TryRecvError::Empty) => break,
                }
            }
            self.hand_out();
            if self.last_commit.elapsed() >= COMMIT_INTERVAL {
                self.commit(CommitMode::Async);
            }
        }
    }

    fn poll(&mut self) {
        let mut timeout = if self.has_waiting() { self.limits.linger.min(POLL) } else { POLL };
        for _ in 0..DRAIN_MAX {
            let copied = match self.consumer.poll(timeout) {
                None => return,
                Some(Ok(message)) => {
                    Ok((Arc::<str>::from(message.topic()), message.partition(), Record::copy(&message)))
                }
                Some(Err(cause)) => Err(cause),
            };
            // A rebalance may have happened inside that poll: what was buffered before it must go first.
            self.forget_revoked();
            match copied {
                Ok((topic, partition, record)) => self.take(topic, partition, record),
                Err(Cause::PartitionEOF(_)) => {}
                Err(cause) => return self.trouble(&cause),
            }
            timeout = Duration::ZERO;
        }
    }

    fn has_waiting(&self) -> bool {
        self.partitions.values().any(|p| !p.buffer.is_empty() && p.tracker.in_flight() == 0)
    }

    fn take(&mut self, topic: Arc<str>, number: i32, record: Record) {
        if std::mem::take(&mut self.troubled) {
            self.tell(IntakeEvent::Recovered);
        }
        let key = (topic, number);
        let partition = self.partitions.entry(key.clone()).or_default();
        partition.bytes += record.size();
        partition.waiting_since.get_or_insert_with(Instant::now);
        partition.buffer.push_back(record);
        if !partition.paused
            && (partition.bytes > self.limits.bytes_max || partition.buffer.len() > 2 * self.limits.records_max)
        {
            partition.paused = true;
            self.set_paused(&key, true);
        }
    }

    fn set_paused(&mut self, (topic, partition): &(Arc<str>, i32), paused: bool) {
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, *partition);
        let result = if paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        if let Err(error) = result {
            tracing::debug!(%error, "pause or resume of a partition that is no longer ours");
        }
    }

    fn trouble(&mut self, cause: &Cause) {
        let again = matches!(
            cause,
            Cause::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)
        );
        if !std::mem::replace(&mut self.troubled, !again) && !again {
            self.tell(IntakeEvent::Trouble(cause.to_string()));
        }
    }

    fn tell(&self, event: IntakeEvent) {
        // Full only when the owner is far behind; these events are hints, so they may be missed.
        if let Err(error) = self.events.try_send(event) {
            tracing::debug!(%error, "intake event was not delivered");
        }
    }

    fn forget_revoked(&mut self) {
        let revoked = self.context.revoked.lock().map(|mut list| std::mem::take(&mut *list)).unwrap_or_default();
        if revoked.is_empty() {
            return;
        }
        for (topic, partition) in &revoked {
            let key = (Arc::from(topic.as_str()), *partition);
            if self.partitions.remove(&key).is_some_and(|partition| partition.paused) {
                self.set_paused(&key, false);
            }
        }
        self.tell(IntakeEvent::Revoked(revoked));
    }

    fn assignment(&self) -> u64 {
        self.context.number.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn finish(&mut self, topic: Arc<str>, number: i32, assignment: u64, first: i64) {
        if assignment != self.assignment() {
            return;
        }
        let name = topic.to_string();
        let Some(partition) = self.partitions.get_mut(&(topic, number)) else { return };
        partition.tracker.finished(first);
        if let (Some(next), Ok(mut committable)) = (partition.tracker.committable(), self.context.committable.lock())
            && partition.committed != Some(next)
        {
            committable.0.insert((name, number), next);
        }
    }

    fn hand_out(&mut self) {
        let assignment = self.assignment();
        let mut resumed = Vec::new();
        for (key, partition) in &mut self.partitions {
            let full = partition.buffer.len() >= self.limits.records_max || partition.bytes >= self.limits.bytes_max;
            let waited = partition.waiting_since.is_some_and(|since| since.elapsed() >= self.limits.linger);
            if partition.buffer.is_empty() || partition.tracker.in_flight() > 0 || !(full || waited) {
                continue;
            }
            let Ok(permit) = self.events.try_reserve() else { break };
            let batch =
                Batch { topic: key.0.clone(), partition: key.1, assignment, records: cut(partition, self.limits) };
            partition.tracker.started(batch.first(), batch.next());
            permit.send(IntakeEvent::Batch(batch));
            if partition.paused && partition.bytes < self.limits.bytes_max / 2 {
                partition.paused = false;
                resumed.push(key.clone());
            }
        }
        for key in resumed {
            self.set_paused(&key, false);
        }
    }

    fn commit(&mut self, mode: CommitMode) {
        self.last_commit = Instant::now();
        let offsets = self.context.committable.lock().map(|mut c| std::mem::take(&mut c.0)).unwrap_or_default();
        if offsets.is_empty() {
            return;
        }
        let Some(list) = offset_list(offsets.iter()) else { return };
        match self.consumer.commit(&list, mode) {
            Ok(()) => {
                for ((topic, number), next) in offsets {
                    if let Some(partition) = self.partitions.get_mut(&(Arc::from(topic.as_str()), number)) {
                        partition.committed = Some(next);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "commit was refused; the records are read again"),
        }
    }

    fn leave(&mut self) {
        self.commit(CommitMode::Sync);
        self.consumer.unsubscribe();
    }
}

/// Takes one batch from the front of a partition's buffer.
fn cut(partition: &mut Partition, limits: IntakeLimits) -> Vec<Record> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    while let Some(record) = partition.buffer.front() {
        let size = record.size();
        if records.len() >= limits.records_max || (!records.is_empty() && bytes + size > limits.bytes_max) {
            break;
        }
        bytes += size;
        records.extend(partition.buffer.pop_front());
    }
    partition.bytes = partition.bytes.saturating_sub(bytes);
    partition.waiting_since = (!partition.buffer.is_empty()).then(Instant::now);
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, bytes: usize) -> Record {
        Record { offset, value: Some(vec![0; bytes]), ..Record::default() }
    }

    #[test]
    fn batches_are_bounded_by_count_and_bytes_but_never_empty() {
        let limits = IntakeLimits { records_max: 3, bytes_max: 1000, linger: Duration::ZERO };
        let mut partition = Partition::default();
        for r in [record(0, 10), record(1, 10), record(2, 10), record(3, 10), record(4, 5000), record(5, 10)] {
            partition.bytes += r.size();
            partition.buffer.push_back(r);
        }
        let mut cuts = Vec::new();
        while !partition.buffer.is_empty() {
            cuts.push(cut(&mut partition, limits).iter().map(|r| r.offset).collect::<Vec<_>>());
        }
        assert_eq!(cuts, [vec![0, 1, 2], vec![3], vec![4], vec![5]]);
        assert_eq!(partition.bytes, 0);
    }
}

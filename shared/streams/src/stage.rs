//! The exactly-once loop of one consumer-group member.
//!
//! Partitions come and go with the group's rebalances: a partition that comes is fenced and restored before its first record
//! is handled, one that goes is committed before it is given up. A failure of any kind drops everything in memory; the next
//! generation starts from the last commit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ratestream_kafka::rdkafka::ClientContext;
use ratestream_kafka::rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use ratestream_kafka::rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode};
use ratestream_kafka::rdkafka::message::{BorrowedMessage, Headers, Message};
use ratestream_kafka::{Kafka, KafkaError, TopicSpec};
use ratestream_runtime::backoff::Backoff;
use ratestream_runtime::{Child, ChildContext, Supervisor};

use crate::partition::Partition;
use crate::task::{Incoming, Task, TaskError};

/// A transaction ends when nothing more waits and it is this old …
const COMMIT_AFTER_IDLE: Duration = Duration::from_millis(5);
/// … or when it handled so many records.
const COMMIT_RECORDS_MAX: usize = 20_000;

/// Makes the task of one partition, with empty state.
pub type TaskFactory = Arc<dyn Fn(i32) -> Box<dyn Task> + Send + Sync>;

/// What one stage of a program reads, keeps and does.
#[derive(Clone)]
pub struct Stage {
    /// Consumer group, and prefix of the transactional ids.
    pub application: String,
    /// Topics read; partition n of each goes to task n.
    pub inputs: Vec<String>,
    /// Compacted topic of the state; created with the inputs' partitions when missing. None = stateless.
    pub changelog: Option<String>,
    /// Where a group without offsets begins: `true` = at the oldest record.
    pub from_beginning: bool,
    /// A transaction never stays open longer than this.
    pub commit_interval: Duration,
    /// The tasks.
    pub task: TaskFactory,
}

/// Why a stage ended.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Kafka's side.
    #[error("{0}")]
    Kafka(#[from] KafkaError),
    /// The task's side.
    #[error("{0}")]
    Task(#[from] TaskError),
    /// An input is not there yet.
    #[error("topic {0} does not exist yet")]
    Missing(String),
}

impl StageError {
    /// Whether starting again can help.
    pub fn is_transient(&self) -> bool {
        match self {
            StageError::Kafka(error) => error.is_transient() || error.is_fenced(),
            StageError::Task(error) => matches!(error, TaskError::Transient(_)),
            StageError::Missing(_) => true,
        }
    }
}

/// What a stage is doing, for status pages and tests.
#[derive(Debug, Default)]
pub struct StageStatus {
    records: AtomicU64,
    commits: AtomicU64,
    restored: AtomicU64,
    detail: Mutex<Detail>,
}

#[derive(Clone, Debug, Default)]
struct Detail {
    state: String,
    problem: Option<String>,
    partitions: Vec<i32>,
}

impl StageStatus {
    /// Records handled and committed.
    pub fn records(&self) -> u64 {
        self.records.load(Relaxed)
    }

    /// Transactions committed.
    pub fn commits(&self) -> u64 {
        self.commits.load(Relaxed)
    }

    /// One of `WAITING`, `STARTING`, `RUNNING`, `ERROR`.
    pub fn state(&self) -> String {
        self.detail().state.clone()
    }

    /// What it waits for or why it failed.
    pub fn problem(&self) -> Option<String> {
        self.detail().problem.clone()
    }

    /// The partitions it owns.
    pub fn partitions(&self) -> Vec<i32> {
        self.detail().partitions.clone()
    }

    /// Pieces of state restored since the start of the process.
    pub fn restored_records(&self) -> u64 {
        self.restored.load(Relaxed)
    }

    pub(crate) fn restored(&self) {
        self.restored.fetch_add(1, Relaxed);
    }

    fn detail(&self) -> MutexGuard<'_, Detail> {
        self.detail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: &str, problem: Option<String>) {
        let mut detail = self.detail();
        state.clone_into(&mut detail.state);
        detail.problem = problem;
    }
}

/// Runs a stage as a supervised child: waits for its topics, rides out everything transient, stops at what is not.
pub fn supervise(
    supervisor: &Supervisor,
    kafka: &Kafka,
    stage: Stage,
    status: Arc<StageStatus>,
) -> Child<ratestream_runtime::Loop> {
    let kafka = kafka.clone();
    let name = stage.application.clone();
    supervisor.spawn_loop(&name, move |child| {
        let (kafka, stage, status) = (kafka.clone(), stage.clone(), status.clone());
        async move { run(&kafka, &stage, &status, &child).await }
    })
}

/// Runs a stage until the child is asked to stop or a failure is not transient. Blocks the child's thread.
pub async fn run(kafka: &Kafka, stage: &Stage, status: &Arc<StageStatus>, child: &ChildContext) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    while !child.shutdown.is_triggered() {
        let before = status.commits();
        let error = match generation(kafka, stage, status, child).await {
            Ok(()) => return,
            Err(error) => error,
        };
        if status.commits() > before {
            backoff.reset();
        }
        child.progress.state(&error.to_string());
        match &error {
            StageError::Missing(_) => status.set("WAITING", Some(error.to_string())),
            _ if error.is_transient() => {
                tracing::warn!(application = stage.application, %error, "a stage starts again from its last commit");
                status.set("STARTING", Some(error.to_string()));
            }
            _ => {
                tracing::error!(application = stage.application, %error, "a stage stopped");
                status.set("ERROR", Some(error.to_string()));
                child.shutdown.triggered().await;
                return;
            }
        }
        let wait = if matches!(error, StageError::Missing(_)) { Duration::from_millis(300) } else { backoff.next() };
        child.shutdown.sleep(wait).await;
    }
}

async fn generation(
    kafka: &Kafka,
    stage: &Stage,
    status: &Arc<StageStatus>,
    child: &ChildContext,
) -> Result<(), StageError> {
    let mut partitions = 0;
    for input in &stage.inputs {
        let count = kafka.partition_count(input).await?.ok_or_else(|| StageError::Missing(input.clone()))?;
        partitions = partitions.max(count);
    }
    if let Some(changelog) = &stage.changelog {
        kafka.ensure_topics(&[TopicSpec::compacted(changelog, partitions)]).await?;
    }
    status.set("STARTING", None);
    let member = Member {
        kafka: kafka.clone(),
        stage: stage.clone(),
        status: status.clone(),
        child: child.clone(),
        held: Mutex::default(),
    };
    let mut config = kafka.consumer_config(&stage.application);
    config.set("auto.offset.reset", if stage.from_beginning { "earliest" } else { "latest" });
    let consumer: BaseConsumer<Member> = config
        .create_with_context(member)
        .map_err(|cause| KafkaError::new(format!("a member of group {}", stage.application), cause))?;
    let topics: Vec<&str> = stage.inputs.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(|cause| KafkaError::new(format!("a subscription to {topics:?}"), cause))?;
    let result = consume(&consumer, stage, child);
    // Whether it ended well or not: what is in memory must not outlive this generation.
    let result = result.and_then(|()| consumer.context().commit_all(&consumer, Duration::ZERO));
    consumer.context().held().partitions.clear();
    result
}

fn consume(consumer: &BaseConsumer<Member>, stage: &Stage, child: &ChildContext) -> Result<(), StageError> {
    let member = consumer.context();
    while !child.shutdown.is_triggered() {
        child.progress.tick();
        let wait = if member.held().is_pending() { COMMIT_AFTER_IDLE } else { Duration::from_millis(50) };
        let polled = consumer.poll(wait);
        if let Some(error) = member.held().failure.take() {
            return Err(error);
        }
        let quiet = match polled {
            Some(Ok(message)) => {
                member.process(&message)?;
                false
            }
            None | Some(Err(Cause::PartitionEOF(_))) => true,
            Some(Err(cause)) if passes_by_itself(&cause) => true,
            Some(Err(cause)) => return Err(KafkaError::new("reading a stage's input", cause).into()),
        };
        let age = if quiet { COMMIT_AFTER_IDLE } else { stage.commit_interval };
        member.commit_all(consumer, age)?;
    }
    Ok(())
}

fn passes_by_itself(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::MessageConsumption(
            RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve
        )
    )
}

/// What belongs to one membership of the group.
struct Member {
    kafka: Kafka,
    stage: Stage,
    status: Arc<StageStatus>,
    child: ChildContext,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    partitions: BTreeMap<i32, Partition>,
    /// What went wrong inside of a rebalance.
    failure: Option<StageError>,
}

impl Held {
    fn is_pending(&self) -> bool {
        self.partitions.values().any(|partition| partition.pending().is_some())
    }
}

impl Member {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process(&self, message: &BorrowedMessage<'_>) -> Result<(), StageError> {
        let mut held = self.held();
        // A record of a partition that was just given up: its next owner reads it again.
        let Some(partition) = held.partitions.get_mut(&message.partition()) else { return Ok(()) };
        let headers = message.headers().map(|headers| {
            headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect::<Vec<_>>()
        });
        partition.process(&Incoming {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
            key: message.key(),
            value: message.payload(),
            headers: headers.unwrap_or_default(),
        })
    }

    fn commit_all(&self, consumer: &BaseConsumer<Member>, age: Duration) -> Result<(), StageError> {
        let mut held = self.held();
        let due = |partition: &Partition| {
            partition.pending().is_some_and(|(open, handled)| open >= age || handled >= COMMIT_RECORDS_MAX)
        };
        if !held.partitions.values().any(due) {
            return Ok(());
        }
        let Some(group) = consumer.group_metadata() else { return Ok(()) };
        for partition in held.partitions.values_mut().filter(|partition| due(partition)) {
            let handled = partition.commit(&group)?;
            self.status.records.fetch_add(handled as u64, Relaxed);
            self.status.commits.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    fn assigned(&self, numbers: Vec<i32>) {
        for number in numbers {
            if self.held().partitions.contains_key(&number) {
                continue;
            }
            let _busy = self.child.progress.busy();
            self.child.progress.state(&format!("restoring partition {number}"));
            match Partition::take(&self.kafka, &self.stage, number, &self.status) {
                Ok(partition) => {
                    self.held().partitions.insert(number, partition);
                }
                Err(error) => {
                    self.held().failure.get_or_insert(error);
                    return;
                }
            }
        }
        let owned: Vec<i32> = self.held().partitions.keys().copied().collect();
        tracing::debug!(application = self.stage.application, partitions = ?owned, "partitions taken");
        self.child.progress.state("running");
        let mut detail = self.status.detail();
        detail.partitions = owned;
        "RUNNING".clone_into(&mut detail.state);
        detail.problem = None;
    }

    fn revoked(&self, consumer: &BaseConsumer<Member>) {
        let result = self.commit_all(consumer, Duration::ZERO);
        let mut held = self.held();
        held.partitions.clear();
        if let Err(error) = result {
            held.failure.get_or_insert(error);
        }
        self.status.detail().partitions.clear();
    }
}

impl ClientContext for Member {}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                let mut numbers: Vec<i32> = list.elements().iter().map(|element| element.partition()).collect();
                numbers.sort_unstable();
                numbers.dedup();
                self.assigned(numbers);
            }
            Rebalance::Revoke(_) => self.revoked(consumer),
            Rebalance::Error(cause) => {
                let error = KafkaError::new("a rebalance", cause.clone());
                self.held().failure.get_or_insert(error.into());
            }
        }
    }
}

//! The loop. One batch of each partition is in flight; batches of several partitions are written side by side.

use crate::dead_letter::DeadLetters;
use crate::decode::{DecodeError, Decoder, own_version};
use crate::metrics::METRICS;
use crate::record::{Payload, SinkRecord};
use crate::sink::{Sink, Written};
use crate::tombstone::{self, Last, Meaning, Partitions};
use ratestream_connect::{TaskContext, TaskError};
use ratestream_kafka::{Batch, Intake, IntakeEvent, IntakeLimits, Record};
use ratestream_runtime::Dependency;
use ratestream_runtime::backoff::Backoff;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinSet;

/// Batches written side by side.
const WRITES_MAX: usize = 8;
/// After the stop signal, what is in flight may take so long; the rest is read again at the next start.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs a sink's task until it is stopped.
pub async fn run<S: Sink>(sink: S, task: TaskContext) -> Result<(), TaskError> {
    let target = task.health.dependency(&format!("target of {}", task.connector));
    let outcome = run_with(sink, &task, &target).await;
    if outcome.is_ok() {
        target.remove();
    }
    outcome
}

async fn run_with<S: Sink>(sink: S, task: &TaskContext, target: &Dependency) -> Result<(), TaskError> {
    refuse_transforms(task)?;
    if !reach(&sink, task, target).await? {
        return Ok(());
    }
    let worker = Rc::new(Worker {
        sink,
        decoder: Decoder::new(task.registry.clone()),
        dead_letters: DeadLetters::open(task)?,
        target: target.clone(),
        task: task.clone(),
        partitions: RefCell::default(),
    });
    let group = format!("connect-{}", task.connector);
    let topics = topics(task)?;
    let (intake, mut events) = Intake::start(&task.kafka, &group, &topics, limits(task)?)?;
    let mut writes: JoinSet<Result<Batch, TaskError>> = JoinSet::new();
    let outcome = loop {
        tokio::select! {
            () = task.stop.triggered() => break Ok(()),
            event = events.recv(), if writes.len() < WRITES_MAX => match event {
                None => break Err(TaskError::transient("the intake ended")),
                Some(IntakeEvent::Batch(batch)) => {
                    writes.spawn_local(worker.clone().process(batch));
                }
                Some(IntakeEvent::Revoked(partitions)) => tracing::debug!(?partitions, "partitions revoked"),
                Some(IntakeEvent::Trouble(cause)) => task.health.dependency("kafka").down(cause),
                Some(IntakeEvent::Recovered) => task.health.dependency("kafka").up(),
            },
            Some(written) = writes.join_next() => match settled(written) {
                Ok(batch) => intake.done(&batch),
                Err(error) => break Err(error),
            },
        }
    };
    drain(&intake, &mut writes).await;
    intake.stop();
    outcome
}

/// What is in flight may still end and be committed.
async fn drain(intake: &Intake, writes: &mut JoinSet<Result<Batch, TaskError>>) {
    let ended = async {
        while let Some(written) = writes.join_next().await {
            if let Ok(batch) = settled(written) {
                intake.done(&batch);
            }
        }
    };
    if tokio::time::timeout(DRAIN, ended).await.is_err() {
        tracing::info!("batches in flight are written again after the next start");
    }
}

/// A panic inside a write becomes this task's panic, which the supervisor sees.
fn settled(written: Result<Result<Batch, TaskError>, tokio::task::JoinError>) -> Result<Batch, TaskError> {
    match written {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(TaskError::transient(error)),
    }
}

/// Records that are not what their user ordered must not arrive: better none.
fn refuse_transforms(task: &TaskContext) -> Result<(), TaskError> {
    if task.config.list("transforms").is_empty() {
        return Ok(());
    }
    Err(TaskError::Config {
        code: "CON002",
        cause: format!("The connector {} orders transformations, which sinks do not apply.", task.connector),
        fix: "Remove 'transforms' with PUT /connectors/<name>/config; mappings of fields are properties of the sink itself.".into(),
    })
}

fn topics(task: &TaskContext) -> Result<Vec<String>, TaskError> {
    let mut topics = task.config.list("topics");
    if let Some(pattern) = task.config.get("topics.regex") {
        // librdkafka takes names that begin with ^ as regular expressions.
        topics.push(if pattern.starts_with('^') { pattern.to_owned() } else { format!("^{pattern}$") });
    }
    if topics.is_empty() {
        task.config.required("topics")?;
    }
    Ok(topics)
}

fn limits(task: &TaskContext) -> Result<IntakeLimits, TaskError> {
    let default = IntakeLimits::default();
    let linger =
        task.config.int("linger.ms")?.map_or(default.linger, |ms| Duration::from_millis(ms.clamp(1, 10_000) as u64));
    let records_max = task.config.int("batch.size")?.map_or(default.records_max, |n| n.clamp(1, 20_000) as usize);
    Ok(IntakeLimits { linger, records_max, ..default })
}

/// Waits until the target is there; `false` when stopped before.
async fn reach<S: Sink>(sink: &S, task: &TaskContext, target: &Dependency) -> Result<bool, TaskError> {
    let mut backoff = backoff();
    loop {
        match sink.check().await {
            Ok(()) => {
                target.up();
                return Ok(true);
            }
            Err(TaskError::Transient { cause }) => {
                target.down(&cause);
                task.status.note(format!("waiting for the target: {cause}"));
            }
            Err(error) => {
                target.down(&error);
                return Err(error);
            }
        }
        if !task.stop.sleep(backoff.next()).await {
            return Ok(false);
        }
    }
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(5))
}

struct Worker<S> {
    sink: S,
    decoder: Decoder,
    dead_letters: DeadLetters,
    target: Dependency,
    task: TaskContext,
    partitions: RefCell<Partitions>,
}

/// An item on its way, with the index of its record in the batch.
struct Pending<I> {
    index: usize,
    item: I,
    source_ms: i64,
}

impl<S: Sink> Worker<S> {
    /// Brings a batch to its end: every record is written, filtered or dead-lettered.
    async fn process(self: Rc<Self>, batch: Batch) -> Result<Batch, TaskError> {
        let count = |metric: &prometheus::IntCounterVec, n: usize| {
            metric.with_label_values(&[self.task.connector.as_str(), &batch.topic]).inc_by(n as u64);
        };
        count(&METRICS.consumed, batch.records.len());
        let (mut pending, mut filtered) = (Vec::new(), 0);
        for (index, consumed) in batch.records.iter().enumerate() {
            match self.read(&batch, consumed).await? {
                Ok(None) => filtered += 1,
                Ok(Some(record)) => match self.sink.plan(&record) {
                    Ok(None) => filtered += 1,
                    Ok(Some(item)) => pending.push(Pending { index, item, source_ms: record.source_ms }),
                    Err(reject) => self.reject(&batch, index, "TASK_PUT", &reject.0).await?,
                },
                Err(cause) => self.reject(&batch, index, "VALUE_CONVERTER", &cause).await?,
            }
            if consumed.offset % 256 == 0 {
                self.task.progress.tick();
            }
        }
        count(&METRICS.filtered, filtered);
        self.write(&batch, pending).await?;
        Ok(batch)
    }

    /// Decodes one record and gives it its position, which for a tombstone is that of what came before it.
    async fn read(&self, batch: &Batch, consumed: &Record) -> Result<Result<Option<SinkRecord>, String>, TaskError> {
        let mut decoded = self.decoded(batch, consumed).await?;
        if let Ok(Some(record)) = &mut decoded {
            if consumed.value.is_some() {
                self.remember(batch, last(record, consumed));
            } else {
                match self.meaning(batch, consumed).await? {
                    Meaning::Repeats => return Ok(Ok(None)),
                    Meaning::DeletesAt(version) => record.version = version,
                    Meaning::Deletes => {}
                }
            }
        }
        Ok(decoded)
    }

    async fn meaning(&self, batch: &Batch, tombstone: &Record) -> Result<Meaning, TaskError> {
        let key = tombstone.key.as_deref();
        if let Some(last) = self.partitions.borrow().last(&batch.topic, batch.partition, batch.assignment) {
            return Ok(last.meaning(key));
        }
        // The first record of this assignment is a tombstone: Kafka still has what came before it, unless it was compacted.
        let mut backoff = backoff();
        let before = loop {
            let (kafka, topic, partition, offset) =
                (self.task.kafka.clone(), batch.topic.clone(), batch.partition, tombstone.offset);
            let read = move || tombstone::record_before(&kafka, &topic, partition, offset);
            match tokio::task::spawn_blocking(read).await.map_err(TaskError::transient)? {
                Ok(before) => break before,
                Err(error) if error.is_transient() => self.wait(&mut backoff, &error.to_string()).await?,
                Err(error) => return Err(error.into()),
            }
        };
        let known = match &before {
            Some(before) => self.decoded(batch, before).await?.ok().flatten().map(|record| last(&record, before)),
            None => self.first_after(batch, tombstone.offset).await?,
        };
        let last = known.unwrap_or(Last::Flat);
        let meaning = last.meaning(key);
        self.remember(batch, last);
        Ok(meaning)
    }

    /// For a tombstone before which nothing is left: the position just before the first change after it in its batch.
    async fn first_after(&self, batch: &Batch, offset: i64) -> Result<Option<Last>, TaskError> {
        let Some(next) = batch.records.iter().find(|record| record.offset > offset && record.value.is_some()) else {
            return Ok(None);
        };
        let decoded = self.decoded(batch, next).await?.ok().flatten();
        Ok(decoded.map(|record| match last(&record, next) {
            Last::Change { version, .. } => Last::Change { version: version - 1, deleted_key: None },
            Last::Flat => Last::Flat,
        }))
    }

    fn remember(&self, batch: &Batch, last: Last) {
        self.partitions.borrow_mut().remember(&batch.topic, batch.partition, batch.assignment, last);
    }

    /// Decodes one record, waiting out a registry that is away. The inner error is the cause of a poison record.
    async fn decoded(&self, batch: &Batch, consumed: &Record) -> Result<Result<Option<SinkRecord>, String>, TaskError> {
        let registry = self.task.health.dependency("schema-registry");
        let mut backoff = backoff();
        loop {
            match self.decoder.decode(batch, consumed).await {
                Ok(record) => {
                    registry.up();
                    return Ok(Ok(record));
                }
                Err(DecodeError::Poison(cause)) => return Ok(Err(cause)),
                Err(DecodeError::Unavailable(cause)) => {
                    registry.down(&cause);
                    self.wait(&mut backoff, &cause).await?;
                }
            }
        }
    }

    async fn write(&self, batch: &Batch, mut pending: Vec<Pending<S::Item>>) -> Result<(), TaskError> {
        let labels = [self.task.connector.as_str(), &*batch.topic];
        let mut backoff = backoff();
        while !pending.is_empty() {
            let started = Instant::now();
            let items: Vec<&S::Item> = pending.iter().map(|p| &p.item).collect();
            let written = self.sink.write(&items).await;
            METRICS.write_seconds.with_label_values(&labels).observe(started.elapsed().as_secs_f64());
            self.task.progress.tick();
            let cause = match written {
                Written::Durable => {
                    self.target.up();
                    durable(&labels, pending.drain(..));
                    continue;
                }
                Written::Retry(cause) => cause,
                Written::Partial { rejected, retry, cause } => {
                    let mut left = Vec::with_capacity(retry.len());
                    let mut done = Vec::new();
                    for (position, item) in pending.drain(..).enumerate() {
                        if let Some((_, reason)) = rejected.iter().find(|(at, _)| *at == position) {
                            self.reject(batch, item.index, "TASK_PUT", reason).await?;
                        } else if retry.contains(&position) {
                            left.push(item);
                        } else {
                            done.push(item);
                        }
                    }
                    durable(&labels, done.into_iter());
                    pending = left;
                    cause
                }
                Written::Failed(error) => return Err(error),
            };
            if !pending.is_empty() {
                METRICS.retries.with_label_values(&labels).inc();
                self.target.down(&cause);
                self.wait(&mut backoff, &cause).await?;
            }
        }
        Ok(())
    }

    async fn wait(&self, backoff: &mut Backoff, cause: &str) -> Result<(), TaskError> {
        self.task.status.note(format!("waiting: {cause}"));
        self.task.progress.tick();
        if self.task.stop.sleep(backoff.next()).await {
            Ok(())
        } else {
            Err(TaskError::transient("stopped while the target was away"))
        }
    }

    async fn reject(&self, batch: &Batch, index: usize, stage: &str, cause: &str) -> Result<(), TaskError> {
        let Some(record) = batch.records.get(index) else { return Ok(()) };
        tracing::warn!(
            connector = self.task.connector, topic = %batch.topic, partition = batch.partition, offset = record.offset, cause,
            "record goes to the dead letters"
        );
        let mut backoff = backoff();
        loop {
            match self.dead_letters.write(batch, record, stage, cause).await {
                Ok(()) => break,
                Err(error) if error.is_transient() => self.wait(&mut backoff, &error.to_string()).await?,
                Err(error) => return Err(error.into()),
            }
        }
        METRICS.rejected.with_label_values(&[self.task.connector.as_str(), &batch.topic]).inc();
        Ok(())
    }
}

/// What a record with a value says about the tombstones after it.
fn last(record: &SinkRecord, consumed: &Record) -> Last {
    if record.version == own_version(consumed) {
        return Last::Flat;
    }
    let is_delete = matches!(record.payload, Payload::Deleted { .. });
    Last::Change { version: record.version, deleted_key: if is_delete { consumed.key.clone() } else { None } }
}

fn durable<I>(labels: &[&str; 2], items: impl Iterator<Item = Pending<I>>) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let (written, latency) =
        (METRICS.written.with_label_values(labels), METRICS.end_to_end_seconds.with_label_values(labels));
    for item in items {
        written.inc();
        latency.observe((now - item.source_ms).max(0) as f64 / 1000.0);
    }
}

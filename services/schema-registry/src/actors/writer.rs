//! The only one who writes `_schemas`.
//!
//! It takes all requests that wait, decides them one after the other on a draft of the state, and commits what they write in
//! one Kafka transaction. The transactional id is the fence: whoever opened it last may write, an older holder's commit fails.
//! So two copies of the service never write at once, and whichever gets a request takes the fence, reads to the end, decides.

use std::sync::Arc;
use std::time::Duration;

use ratestream_kafka::{Kafka, KafkaError, Outgoing, TransactionalProducer};
use ratestream_runtime::ChildContext;
use serde_json::Value;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::config::RegistryConfig;
use crate::error::ApiError;
use crate::store::decide::{Command, decide};
use crate::store::index::Index;
use crate::store::log::Log;
use crate::store::record::Record;

/// Requests in one transaction.
const BATCH_REQUESTS_MAX: usize = 256;
/// How often a batch is decided before its callers are sent away: another copy may take the fence in between.
const ATTEMPTS: usize = 3;
/// How long reading to the log's end may take when the fence is taken.
const CATCH_UP: Duration = Duration::from_secs(10);
/// How long a committed record may take to come back.
const ECHO: Duration = Duration::from_secs(10);

/// A request and where its answer goes.
pub struct Job {
    /// What is asked.
    pub command: Command,
    /// The answer, sent when the write is visible to every reader of this copy.
    pub reply: oneshot::Sender<Result<Value, ApiError>>,
}

/// What the writer needs in each generation.
#[derive(Clone)]
pub struct Writer {
    /// The cluster.
    pub kafka: Kafka,
    /// Topic name and transactional id.
    pub config: RegistryConfig,
    /// The shared state.
    pub log: Arc<Log>,
    /// Waiting requests; outlives a generation.
    pub jobs: Arc<Mutex<mpsc::Receiver<Job>>>,
}

/// The right to write: held until another copy takes it.
struct Fence {
    producer: TransactionalProducer,
    /// The state with everything this holder wrote.
    draft: Index,
    /// The draft is right as long as nobody else wrote.
    mark: u64,
}

type Answers = Vec<Result<Value, ApiError>>;
type Bytes = (Vec<u8>, Option<Vec<u8>>);

impl Writer {
    /// Serves requests until the child is asked to stop.
    pub async fn run(self, child: ChildContext) {
        let jobs = self.jobs.clone();
        let mut jobs = jobs.lock().await;
        let mut fence = None;
        let mut batch = Vec::new();
        loop {
            child.progress.state("waiting for requests");
            tokio::select! {
                biased;
                taken = jobs.recv_many(&mut batch, BATCH_REQUESTS_MAX) => if taken == 0 { return },
                () = child.shutdown.triggered() => return,
            }
            child.progress.state("writing");
            let busy = child.progress.busy();
            let commands: Vec<&Command> = batch.iter().map(|job: &Job| &job.command).collect();
            let answers = self.serve(&mut fence, &commands);
            drop(busy);
            for (job, answer) in batch.drain(..).zip(answers) {
                // A caller that hung up has no interest in the answer; its write stands.
                let _gone = job.reply.send(answer);
            }
        }
    }

    fn serve(&self, fence: &mut Option<Fence>, commands: &[&Command]) -> Answers {
        let mut failure = ApiError::unavailable("another copy of the registry writes");
        for _ in 0..ATTEMPTS {
            match self.attempt(fence, commands) {
                Ok(answers) => return answers,
                // Either nothing of the transaction is in the log or all of it is. Taking the fence anew settles which, and
                // the requests are decided again on what is there: a schema that got in is found with its id.
                Err(WriteError::Commit(error)) => {
                    tracing::info!(%error, "the right to write was lost; taking it back for the requests in hand");
                    *fence = None;
                    self.log.expect_nothing();
                    failure = ApiError::unavailable(error);
                }
                Err(error) => {
                    tracing::warn!(%error, requests = commands.len(), "a write to the log failed");
                    *fence = None;
                    failure = error.answer();
                    break;
                }
            }
        }
        self.log.expect_nothing();
        commands.iter().map(|_| Err(failure.clone())).collect()
    }

    fn attempt(&self, slot: &mut Option<Fence>, commands: &[&Command]) -> Result<Answers, WriteError> {
        let mark = self.log.foreign_mark();
        if slot.as_ref().is_some_and(|fence| fence.mark != mark) {
            *slot = None;
        }
        let fence = match slot {
            Some(fence) => fence,
            None => slot.insert(self.take_fence()?),
        };
        let (answers, records) = decide_all(&mut fence.draft, commands);
        if !records.is_empty() {
            self.commit(&mut fence.producer, &records).map_err(WriteError::Commit)?;
            if !self.log.wait_for_echo(ECHO) {
                return Err(WriteError::Echo);
            }
        }
        Ok(answers)
    }

    fn take_fence(&self) -> Result<Fence, WriteError> {
        // Before the first read to the end there is nothing to decide on.
        drop(self.log.read().map_err(WriteError::NotReady)?);
        let producer =
            TransactionalProducer::new(&self.kafka, &self.config.transactional_id()).map_err(WriteError::Fence)?;
        if !self.log.wait_for_end(CATCH_UP) {
            return Err(WriteError::CatchUp);
        }
        let mark = self.log.foreign_mark();
        Ok(Fence { producer, draft: self.log.draft(), mark })
    }

    fn commit(&self, producer: &mut TransactionalProducer, records: &[Bytes]) -> Result<(), KafkaError> {
        producer.begin()?;
        for (key, value) in records {
            producer.send(Outgoing {
                topic: &self.config.topic,
                partition: Some(0),
                key: Some(key),
                payload: value.as_deref(),
                ..Outgoing::default()
            })?;
        }
        self.log.expect(records);
        producer.commit()
    }
}

/// Decides in order; each decision sees what the ones before it write.
fn decide_all(draft: &mut Index, commands: &[&Command]) -> (Answers, Vec<Bytes>) {
    let mut records: Vec<Bytes> = Vec::new();
    let mut answers = Vec::with_capacity(commands.len());
    for command in commands {
        let decision = decide(draft, command);
        answers.push(decision.map(|decision| {
            for record in &decision.records {
                draft.apply(record);
                records.push(bytes(record));
            }
            decision.answer
        }));
    }
    (answers, records)
}

fn bytes(record: &Record) -> Bytes {
    (record.key(), record.value())
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("{0}")]
    Fence(KafkaError),
    #[error("{0}")]
    Commit(KafkaError),
    #[error("{0}")]
    NotReady(ApiError),
    #[error("the log was not read to its end within {CATCH_UP:?}")]
    CatchUp,
    #[error("a committed write did not come back within {ECHO:?}")]
    Echo,
}

impl WriteError {
    fn answer(&self) -> ApiError {
        match self {
            WriteError::Fence(error) | WriteError::Commit(error) => ApiError::unavailable(error),
            WriteError::NotReady(error) => error.clone(),
            WriteError::CatchUp => ApiError::unavailable(self),
            WriteError::Echo => ApiError::timed_out(),
        }
    }
}

//! The way into Kafka: batches of events and the source position they end at, committed together by a thread of its own.
//!
//! A Kafka transaction ends only where a batch ends at a boundary of the source. While more input waits, several source
//! transactions share one Kafka transaction; without more input it is committed at once.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratestream_connect::{OffsetRecord, TaskError};
use ratestream_kafka::{Kafka, KafkaError, Outgoing, TransactionalProducer};
use rdkafka::message::OwnedHeaders;
use tokio::sync::{mpsc, oneshot, watch};

/// Batches on their way to the thread: with their size this bounds the memory between source and producer.
const QUEUE: usize = 4;
/// A batch of about this many bytes is handed over even in the middle of a source transaction.
pub const BATCH_BYTES: usize = 512 * 1024;
/// A Kafka transaction takes in no further source transaction after this many records …
const MAX_RECORDS: usize = 50_000;
/// … or this time.
const MAX_AGE: Duration = Duration::from_millis(100);

/// One record of a batch; key and value lie in its arena.
#[derive(Debug)]
struct Entry {
    topic: Arc<str>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Option<OwnedHeaders>,
}

/// Where the source can be resumed.
#[derive(Debug, Clone)]
pub struct Boundary {
    /// Goes into the same Kafka transaction as the events before it.
    pub offset: OffsetRecord,
    /// Source position that may be confirmed once it is durable; 0 = none.
    pub lsn: u64,
}

/// Events in one piece of memory.
#[derive(Debug, Default)]
pub struct Batch {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    boundary: Option<Boundary>,
    sequence: u64,
}

impl Batch {
    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// Records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Without records.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends a record whose key and value are written by closures; one that answers `false` leaves its side out.
    ///
    /// # Errors
    /// Those of the closures; the record is then not there.
    pub fn push<E>(
        &mut self,
        topic: &Arc<str>,
        headers: Option<OwnedHeaders>,
        key: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
        value: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let start = self.arena.len();
        let arena = &mut self.arena;
        let written = key(arena).and_then(|has_key| {
            let middle = arena.len();
            let has_value = value(arena)?;
            Ok((has_key.then_some(start..middle), has_value.then_some(middle..arena.len())))
        });
        match written {
            Ok((key, value)) => {
                self.entries.push(Entry { topic: Arc::clone(topic), key, value, headers });
                Ok(())
            }
            Err(error) => {
                self.arena.truncate(start);
                Err(error)
            }
        }
    }
}

/// What is durable in Kafka.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Durable {
    /// Number of the last durable boundary.
    pub sequence: u64,
    /// Its source position.
    pub lsn: u64,
}

/// Handle of the producing thread.
pub struct Output {
    sender: Option<mpsc::Sender<Batch>>,
    durable: watch::Receiver<Durable>,
    ended: Option<oneshot::Receiver<Result<(), TaskError>>>,
    sequence: u64,
}

impl Output {
    /// Starts the thread and waits until every older holder of the transactional id is fenced.
    ///
    /// # Errors
    /// When Kafka cannot be reached or refuses.
    pub async fn start(kafka: &Kafka, transactional_id: &str) -> Result<Self, TaskError> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (durable_sender, durable) = watch::channel(Durable::default());
        let (ready_sender, ready) = oneshot::channel();
        let (ended_sender, ended) = oneshot::channel();
        let (kafka, id) = (kafka.clone(), transactional_id.to_owned());
        let body = move || match TransactionalProducer::new(&kafka, &id) {
            Err(error) => drop(ready_sender.send(Err(TaskError::from(error)))),
            Ok(producer) => {
                let _ = ready_sender.send(Ok(()));
                let result = Worker { producer, receiver, durable: durable_sender, newest: Durable::default() }.run();
                let _ = ended_sender.send(result);
            }
        };
        let thread = std::thread::Builder::new().name(format!("producer {transactional_id}"));
        thread.spawn(body).map_err(|error| TaskError::transient(format!("No thread for the producer: {error}.")))?;
        ready.await.map_err(|_| TaskError::transient("The producer's thread ended at once."))??;
        Ok(Self { sender: Some(sender), durable, ended: Some(ended), sequence: 0 })
    }

    /// Hands a batch over, waiting while the queue is full. With a boundary, returns its number.
    ///
    /// # Errors
    /// What ended the producing thread.
    pub async fn send(&mut self, mut batch: Batch, boundary: Option<Boundary>) -> Result<u64, TaskError> {
        self.sequence += u64::from(boundary.is_some());
        batch.sequence = self.sequence;
        batch.boundary = boundary;
        let sent = match &self.sender {
            Some(sender) => sender.send(batch).await.is_ok(),
            None => false,
        };
        if sent { Ok(self.sequence) } else { Err(self.failure().await) }
    }

    /// The newest durable boundary.
    pub fn durable(&self) -> Durable {
        *self.durable.borrow()
    }

    /// True when every boundary handed over is durable.
    pub fn is_settled(&self) -> bool {
        self.durable().sequence == self.sequence
    }

    /// Waits for a newer durable boundary. Cancel-safe.
    ///
    /// # Errors
    /// What ended the producing thread.
    pub async fn progressed(&mut self) -> Result<Durable, TaskError> {
        if self.durable.changed().await.is_err() {
            return Err(self.failure().await);
        }
        Ok(*self.durable.borrow_and_update())
    }

    /// Waits until everything handed over is durable.
    ///
    /// # Errors
    /// What ended the producing thread.
    pub async fn settle(&mut self) -> Result<Durable, TaskError> {
        while !self.is_settled() {
            self.progressed().await?;
        }
        Ok(self.durable())
    }

    /// Lets the thread finish what it has and end; an open source transaction is dropped.
    ///
    /// # Errors
    /// What ended the producing thread before.
    pub async fn close(mut self) -> Result<(), TaskError> {
        self.sender = None;
        match self.ended.take() {
            Some(ended) => ended.await.unwrap_or_else(|_| Err(TaskError::transient("The producer's thread panicked."))),
            None => Ok(()),
        }
    }

    async fn failure(&mut self) -> TaskError {
        self.sender = None;
        match self.ended.take() {
            Some(ended) => match ended.await {
                Ok(Err(error)) => error,
                _ => TaskError::transient("The producer's thread ended unexpectedly."),
            },
            None => TaskError::transient("The producer's thread has ended."),
        }
    }
}

/// How a Kafka transaction ended.
enum Ended {
    /// With the batch that begins the next one, if it was taken already.
    Committed(Option<Batch>),
    /// The input ended in the middle of a source transaction.
    Dropped,
}

struct Worker {
    producer: TransactionalProducer,
    receiver: mpsc::Receiver<Batch>,
    durable: watch::Sender<Durable>,
    newest: Durable,
}

impl Worker {
    fn run(mut self) -> Result<(), TaskError> {
        let mut first = None;
        while let Some(batch) = first.take().or_else(|| self.receiver.blocking_recv()) {
            match self.transaction(batch) {
                Ok(Ended::Committed(next)) => first = next,
                Ok(Ended::Dropped) => return Ok(()),
                Err(error) => {
                    // the next generation fences this one; the abort only frees the broker earlier
                    if !error.is_fenced()
                        && let Err(abort) = self.producer.abort()
                    {
                        tracing::debug!(error = %abort, "the failed transaction was not aborted");
                    }
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// One Kafka transaction.
    fn transaction(&mut self, mut batch: Batch) -> Result<Ended, KafkaError> {
        self.producer.begin()?;
        let started = Instant::now();
        let mut records = 0;
        loop {
            records += batch.len();
            self.produce(&batch)?;
            batch = match batch.boundary.take() {
                None => match self.receiver.blocking_recv() {
                    Some(next) => next,
                    None => {
                        self.producer.abort()?;
                        return Ok(Ended::Dropped);
                    }
                },
                Some(boundary) => {
                    let room = records < MAX_RECORDS && started.elapsed() < MAX_AGE;
                    match self.receiver.try_recv().ok() {
                        Some(next) if room => next,
                        next => {
                            self.commit(&boundary, batch.sequence)?;
                            return Ok(Ended::Committed(next));
                        }
                    }
                }
            };
        }
    }

    fn produce(&mut self, batch: &Batch) -> Result<(), KafkaError> {
        for entry in &batch.entries {
            let side = |range: &Option<Range<usize>>| range.clone().and_then(|range| batch.arena.get(range));
            self.producer.send(Outgoing {
                topic: &entry.topic,
                key: side(&entry.key),
                payload: side(&entry.value),
                headers: entry.headers.clone(),
                ..Outgoing::default()
            })?;
        }
        Ok(())
    }

    fn commit(&mut self, boundary: &Boundary, sequence: u64) -> Result<(), KafkaError> {
        let offset = &boundary.offset;
        self.producer.send(Outgoing {
            topic: offset.topic,
            key: Some(&offset.key),
            payload: Some(&offset.value),
            ..Outgoing::default()
        })?;
        self.producer.commit()?;
        self.newest = Durable { sequence, lsn: self.newest.lsn.max(boundary.lsn) };
        self.durable.send_replace(self.newest);
        Ok(())
    }
}

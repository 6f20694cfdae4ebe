//! The mailer: follows the ledger, hands queued alerts of its partitions to the SMTP server, records each outcome.
//!
//! It owns the outbox and the connections. It never decides what is an alert, and never mails before it has read the ledger to
//! its end. A slow server holds up nothing but mails.

use crate::LEDGER;
use crate::ledger::{Entry, Outbox, State};
use crate::mail::Composer;
use crate::transport::{Transport, Tried};
use futures_util::stream::{FuturesUnordered, StreamExt};
use ratestream_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use ratestream_kafka::{Kafka, KafkaError, LogReader, TopicSpec};
use ratestream_runtime::backoff::Backoff;
use ratestream_runtime::{ChildContext, Dependency, metrics};
use ratestream_streams::StageStatus;
use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

const RECORD: Duration = Duration::from_secs(30);
/// How often the partitions and the outbox are looked at without news.
const LOOK: Duration = Duration::from_millis(100);

static SENT: LazyLock<prometheus::IntCounterVec> =
    LazyLock::new(|| metrics::counters("ratestream_mails_total", "Mails by outcome.", &["outcome"]));
static LATENCY: LazyLock<prometheus::HistogramVec> = LazyLock::new(|| {
    metrics::histograms(
        "ratestream_mail_end_to_end_seconds",
        "From the rating's record until the server accepted the mail.",
        &["outcome"],
    )
});
static QUEUED: LazyLock<prometheus::IntGaugeVec> =
    LazyLock::new(|| metrics::gauges("ratestream_mails_queued", "Alerts that wait for their mail.", &["state"]));

/// See the module.
#[derive(Clone)]
pub(crate) struct Mailer {
    pub(crate) kafka: Kafka,
    pub(crate) outbox: Arc<Mutex<Outbox>>,
    pub(crate) status: Arc<StageStatus>,
    pub(crate) mail: Arc<Composer>,
    pub(crate) transport: Transport,
    /// Mails in flight, and connections.
    pub(crate) in_flight_max: usize,
    pub(crate) smtp: Dependency,
    pub(crate) log: Dependency,
}

impl Mailer {
    /// Works until the child is stopped; Kafka being away is waited out.
    pub(crate) async fn run(self, child: ChildContext) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        while !child.shutdown.is_triggered() {
            let started = std::time::Instant::now();
            if let Err(error) = self.work(&child).await {
                self.log.down(&error);
            }
            if started.elapsed() > Duration::from_secs(30) {
                backoff.reset();
            }
            child.shutdown.sleep(backoff.next()).await;
        }
    }

    fn outbox(&self) -> std::sync::MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(&self, child: &ChildContext) -> Result<(), KafkaError> {
        let ledger = TopicSpec::compacted(LEDGER, 1);
        self.kafka.ensure_topics(&[ledger]).await?;
        *self.outbox() = Outbox::default();
        let mut news = self.follow(child)?;
        let producer: FutureProducer = self
            .kafka
            .producer_config()
            .create()
            .map_err(|cause| KafkaError::new("the producer of the ledger", cause))?;
        if !self.reach(child).await {
            return Ok(());
        }
        let (mut tries, mut busy) = (FuturesUnordered::new(), HashSet::new());
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let mut pause_until = tokio::time::Instant::now();
        let mut is_complete = false;
        while !child.shutdown.is_triggered() {
            child.progress.tick();
            if is_complete && tokio::time::Instant::now() >= pause_until {
                let free = self.in_flight_max.saturating_sub(tries.len());
                let due = self.outbox().due(&self.status.partitions(), |id| busy.contains(id), free);
                for (id, queued) in due {
                    busy.insert(id.clone());
                    tries.push(self.attempt(id, queued));
                }
            }
            tokio::select! {
                () = child.shutdown.triggered() => {}
                () = tokio::time::sleep(LOOK) => {}
                told = news.recv() => match told {
                    Some(Told::Complete) => is_complete = true,
                    Some(Told::Changed) => {}
                    Some(Told::Failed(error)) => return Err(error),
                    None => return Ok(()),
                },
                Some((id, queued, tried)) = tries.next() => {
                    match self.settle(&producer, &id, queued, tried).await? {
                        None => backoff.reset(),
                        Some(cause) => {
                            self.smtp.down(&cause);
                            pause_until = tokio::time::Instant::now() + backoff.next();
                        }
                    }
                    busy.remove(&id);
                }
            }
            QUEUED.with_label_values(&["queued"]).set(self.outbox().len() as i64);
        }
        // Mails that are with the server now may still be recorded: the less is repeated.
        while let Some((id, queued, tried)) = tries.next().await {
            self.settle(&producer, &id, queued, tried).await?;
        }
        Ok(())
    }

    /// Asks the server for its greeting until it answers; `false` when stopped before.
    async fn reach(&self, child: &ChildContext) -> bool {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        loop {
            child.progress.tick();
            match self.transport.test().await {
                Ok(()) => {
                    self.smtp.up();
                    return true;
                }
                Err(cause) => self.smtp.down(cause),
            }
            if !child.shutdown.sleep(backoff.next()).await {
                return false;
            }
        }
    }

    /// Reads the ledger on a thread of its own into the outbox.
    fn follow(&self, child: &ChildContext) -> Result<mpsc::Receiver<Told>, KafkaError> {
        let mut reader = LogReader::open(&self.kafka, LEDGER)?;
        let (news, receiver) = mpsc::channel(16);
        let (outbox, child, log) = (self.outbox.clone(), child.clone(), self.log.clone());
        let read = move || {
            let apply = |record: ratestream_kafka::LogRecord| {
                let id = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
                outbox.lock().unwrap_or_else(PoisonError::into_inner).apply(&id, record.value.as_deref());
            };
            let outcome = reader.read_to_end(apply).and_then(|()| {
                log.up();
                let mut told = news.blocking_send(Told::Complete);
                while told.is_ok() && !child.shutdown.is_triggered() {
                    if let Some(record) = reader.poll(LOOK)? {
                        apply(record);
                        // Full = news is on its way already.
                        told = match news.try_send(Told::Changed) {
                            Err(mpsc::error::TrySendError::Closed(gone)) => Err(mpsc::error::SendError(gone)),
                            _ => Ok(()),
                        };
                    } else if news.is_closed() {
                        break;
                    }
                }
                Ok(())
            });
            if let Err(error) = outcome {
                // The mailer may have gone on without us; then nobody has to hear it.
                let _unheard = news.blocking_send(Told::Failed(error));
            }
        };
        tokio::task::spawn_blocking(read);
        Ok(receiver)
    }

    async fn attempt(&self, id: String, queued: Entry) -> (String, Entry, Tried) {
        let mail = match self.mail.compose(&id, &queued.alert) {
            Ok(mail) => mail,
            Err(cause) => return (id, queued, Tried::Refused(format!("the mail could not be composed: {cause}"))),
        };
        let tried = self.transport.send(&mail).await;
        (id, queued, tried)
    }

    /// Records what a try came to. `Some(cause)` when the alert stays queued.
    async fn settle(
        &self,
        producer: &FutureProducer,
        id: &str,
        queued: Entry,
        tried: Tried,
    ) -> Result<Option<String>, KafkaError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let (state, detail, outcome) = match tried {
            Tried::Again(cause) => {
                SENT.with_label_values(&["retried"]).inc();
                tracing::warn!(id, cause, "mail is tried again");
                return Ok(Some(cause));
            }
            Tried::Sent(reply) => (State::Sent, reply, "sent"),
            Tried::Refused(reply) => {
                tracing::error!(id, reply, "mail was refused for good; see GET /failed");
                (State::Failed, reply, "failed")
            }
        };
        self.smtp.up();
        let waited = now - queued.at_ms;
        let entry = Entry { state, at_ms: now, detail, attempts: queued.attempts + 1, ..queued };
        let bytes = entry.to_bytes();
        let record = FutureRecord::<str, [u8]>::to(LEDGER).key(id).payload(&bytes);
        let recorded = producer.send(record, RECORD).await;
        recorded
            .map_err(|(cause, _)| KafkaError::new(format!("the outcome of alert {id} in topic {LEDGER}"), cause))?;
        self.outbox().apply(id, Some(&bytes));
        SENT.with_label_values(&[outcome]).inc();
        LATENCY.with_label_values(&[outcome]).observe(waited.max(0) as f64 / 1000.0);
        Ok(None)
    }
}

/// News of the ledger.
enum Told {
    /// Its end was reached.
    Complete,
    Changed,
    Failed(KafkaError),
}

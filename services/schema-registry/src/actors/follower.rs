//! Reads `_schemas` from its start to its end, then follows it, and applies every record to the shared state.
//!
//! It owns the Kafka consumer and never writes. Its calls block, on the thread that its supervisor gave it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ratestream_kafka::{Kafka, KafkaError, LogReader, TopicSpec};
use ratestream_runtime::backoff::Backoff;
use ratestream_runtime::{ChildContext, Dependency};

use crate::config::RegistryConfig;
use crate::store::index::Index;
use crate::store::log::{Log, Skipped, replay};

/// Records of the log that could not be used, for `GET /metrics`.
static SKIPPED: LazyLock<prometheus::IntGauge> = LazyLock::new(|| {
    let help = "Records of the schema log that were skipped because this version cannot use them";
    ratestream_runtime::metrics::gauges("ratestream_registry_skipped_records", help, &[]).with_label_values::<&str>(&[])
});

/// How long one look at the log waits; bounds how late a wish to read to the end is seen.
const LOOK: Duration = Duration::from_millis(20);

/// What the follower needs in each generation.
#[derive(Clone)]
pub struct Follower {
    /// The cluster.
    pub kafka: Kafka,
    /// Topic name and default level.
    pub config: RegistryConfig,
    /// The state it keeps.
    pub log: Arc<Log>,
    /// Where it reports whether the log is there.
    pub health: Dependency,
}

impl Follower {
    /// Follows until the child is asked to stop; comes back by itself from everything Kafka does.
    pub async fn run(self, child: ChildContext) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !child.shutdown.is_triggered() {
            child.progress.state("opening the log");
            match self.follow(&child, &mut backoff).await {
                Ok(()) => return,
                Err(error) => self.health.down(&error),
            }
            child.shutdown.sleep(backoff.next()).await;
        }
    }

    async fn follow(&self, child: &ChildContext, backoff: &mut Backoff) -> Result<(), KafkaError> {
        let topic = TopicSpec::compacted(&self.config.topic, 1);
        self.kafka.ensure_topics(&[topic]).await?;
        let mut reader = LogReader::open(&self.kafka, &self.config.topic)?;
        let mut index = Index::new(self.config.level());
        let mut skipped = Skipped::default();
        let mut count = 0_u64;
        child.progress.state("reading the log to its end");
        reader.read_to_end(|record| {
            count += 1;
            replay(&mut index, &record, &mut skipped);
            child.progress.tick();
        })?;
        tracing::info!(
            topic = self.config.topic,
            records = count,
            skipped = skipped.count,
            "the log is read to its end"
        );
        SKIPPED.set(i64::try_from(skipped.count).unwrap_or(i64::MAX));
        self.log.publish(index, skipped);
        self.health.up();
        backoff.reset();
        child.progress.state("following the log");
        while !child.shutdown.is_triggered() {
            self.look(&mut reader)?;
            child.progress.tick();
        }
        Ok(())
    }

    fn look(&self, reader: &mut LogReader) -> Result<(), KafkaError> {
        if let Some(barrier) = self.log.barrier()
            && reader.at_end()?
        {
            self.log.passed(barrier);
        }
        let mut wait = LOOK;
        while let Some(record) = reader.poll(wait)? {
            self.log.apply(&record);
            SKIPPED.set(i64::try_from(self.log.skipped().count).unwrap_or(i64::MAX));
            wait = Duration::ZERO;
        }
        Ok(())
    }
}

//! Keeps the rows of one table at hand by following its topic. Its calls block, on the thread that its supervisor gave it.

use std::sync::Arc;
use std::time::Duration;

use ratestream_avro::Value;
use ratestream_kafka::{KafkaError, LogReader, LogRecord};
use ratestream_runtime::ChildContext;
use ratestream_runtime::backoff::Backoff;

use crate::engine::decode::{DecodeError, Decoder};
use crate::state::State;
use crate::view::View;

/// How long one look at the topic waits.
const LOOK: Duration = Duration::from_millis(50);
/// How often it looks whether the topic is there.
const TOPIC_LOOK: Duration = Duration::from_millis(300);

/// What a watcher needs in each generation.
#[derive(Clone)]
pub struct Watcher {
    /// The shared parts.
    pub state: Arc<State>,
    /// The table's topic.
    pub topic: String,
    /// Where the rows go.
    pub view: Arc<View>,
}

impl Watcher {
    /// Follows until the child is asked to stop.
    pub async fn run(self, child: ChildContext) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !child.shutdown.is_triggered() {
            child.progress.state(&format!("waiting for topic {}", self.topic));
            let wait = match self.state.kafka.partition_count(&self.topic).await {
                Ok(None) => TOPIC_LOOK,
                Ok(Some(_)) => match self.follow(&child) {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(topic = self.topic, %error, "a table is read anew");
                        backoff.next()
                    }
                },
                Err(error) => {
                    child.progress.state(&error.to_string());
                    backoff.next()
                }
            };
            child.shutdown.sleep(wait).await;
        }
    }

    fn follow(&self, child: &ChildContext) -> Result<(), KafkaError> {
        let mut reader = LogReader::open(&self.state.kafka, &self.topic)?;
        let mut decoder = Decoder::new(self.state.registry.clone());
        reader.read_to_end(|record| self.take(&mut decoder, &record, child))?;
        self.view.caught_up();
        child.progress.state("following");
        while !child.shutdown.is_triggered() {
            child.progress.tick();
            if let Some(record) = reader.poll(LOOK)? {
                self.take(&mut decoder, &record, child);
            }
        }
        Ok(())
    }

    fn take(&self, decoder: &mut Decoder, record: &LogRecord, child: &ChildContext) {
        let Some(key) = &record.key else { return };
        while !child.shutdown.is_triggered() {
            child.progress.tick();
            match decoder.value(record.value.as_deref()) {
                Ok(None) => return self.view.apply(key, None),
                Ok(Some((_, Value::Record(row)))) => {
                    let columns = row.iter().map(|(name, value)| (name.to_string(), value.clone()));
                    return self.view.apply(key, Some(columns.collect()));
                }
                Ok(Some(_)) => return,
                Err(DecodeError::Bad(cause)) => {
                    tracing::warn!(
                        topic = self.topic,
                        partition = record.partition,
                        offset = record.offset,
                        cause,
                        "a row was skipped"
                    );
                    return;
                }
                // The registry is away: the call itself waited, the row is tried again.
                Err(DecodeError::Away(error)) => child.progress.state(&error.to_string()),
            }
        }
    }
}

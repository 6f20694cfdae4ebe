//! Follows the command topic and brings the catalog up to date with it.
//!
//! Every statement that makes or ends something goes through that topic, so all copies of the service, and the same copy after
//! a restart, have the same catalog. Its calls block, on the thread that its supervisor gave it.

use std::sync::Arc;
use std::time::Duration;

use ratestream_kafka::{Kafka, KafkaError, LogReader, LogRecord, TopicSpec};
use ratestream_runtime::backoff::Backoff;
use ratestream_runtime::{ChildContext, Dependency};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::catalog::{Catalog, Effect};
use crate::sql;
use crate::state::State;

/// How long one look at the topic waits.
const LOOK: Duration = Duration::from_millis(50);

/// A statement in the command topic.
#[derive(Debug, Serialize, Deserialize)]
pub struct Command {
    /// Who sent it can wait for this.
    pub id: String,
    /// One statement.
    pub statement: String,
}

/// What the follower needs in each generation.
#[derive(Clone)]
pub struct Commands {
    /// The shared parts.
    pub state: Arc<State>,
    /// Where effects go.
    pub effects: mpsc::Sender<Vec<Effect>>,
    /// Where it reports whether the topic is there.
    pub health: Dependency,
}

impl Commands {
    /// Follows until the child is asked to stop.
    pub async fn run(self, child: ChildContext) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !child.shutdown.is_triggered() {
            child.progress.state("opening the command topic");
            match self.follow(&child, &mut backoff).await {
                Ok(()) => return,
                Err(error) => self.health.down(&error),
            }
            child.shutdown.sleep(backoff.next()).await;
        }
    }

    async fn follow(&self, child: &ChildContext, backoff: &mut Backoff) -> Result<(), KafkaError> {
        let kafka: &Kafka = &self.state.kafka;
        let topic = self.state.config.command_topic();
        let spec = TopicSpec::plain(&topic, 1).with("retention.ms", "-1").with("retention.bytes", "-1");
        kafka.ensure_topics(&[spec]).await?;
        let mut reader = LogReader::open(kafka, &topic)?;
        let mut catalog = Catalog::default();
        reader.read_to_end(|record| {
            if let Some((_, Err(error))) = apply(&mut catalog, &record) {
                tracing::info!(offset = record.offset, error, "an earlier statement has no effect");
            }
        })?;
        let standing = catalog.standing();
        *self.state.catalog_mut() = catalog;
        self.send(standing).await;
        self.state.set_ready();
        self.health.up();
        backoff.reset();
        child.progress.state("following the command topic");
        while !child.shutdown.is_triggered() {
            child.progress.tick();
            let Some(record) = reader.poll(LOOK)? else { continue };
            let applied = apply(&mut self.state.catalog_mut(), &record);
            let Some((id, outcome)) = applied else { continue };
            if let Ok(outcome) = &outcome {
                self.send(outcome.effects.clone()).await;
            }
            self.state.settle(&id, &outcome);
        }
        Ok(())
    }

    async fn send(&self, effects: Vec<Effect>) {
        if self.effects.send(effects).await.is_err() {
            tracing::debug!("the runner is gone: the service stops");
        }
    }
}

/// Applies one record; none for what is not a statement.
fn apply(catalog: &mut Catalog, record: &LogRecord) -> Option<(String, Result<crate::catalog::Outcome, String>)> {
    let command: Command = match serde_json::from_slice(record.value.as_deref()?) {
        Ok(command) => command,
        Err(error) => {
            tracing::warn!(offset = record.offset, %error, "a record of the command topic is not a statement");
            return None;
        }
    };
    let outcome = sql::parse(&command.statement, false).map_err(|error| error.to_string()).and_then(|parsed| {
        let parsed = parsed.first().ok_or("the statement is empty")?;
        catalog.apply(&parsed.statement, &parsed.text, record.offset)
    });
    Some((command.id, outcome))
}

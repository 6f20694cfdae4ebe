//! Which source connectors this copy of a service owns.
//!
//! The copies form a consumer group over the partitions of `connect-offsets`, whose records none of them fetches: a connector
//! belongs to the copy that holds the partition of its name. A dead copy loses its partitions after the session time-out (6 s).

use crate::store::{OFFSET_PARTITIONS, OFFSETS};
use ratestream_kafka::rdkafka::ClientContext;
use ratestream_kafka::rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use ratestream_kafka::{Kafka, KafkaError};
use ratestream_runtime::ChildContext;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Partitions of `connect-offsets` held by this copy. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ownership(Arc<watch::Sender<BTreeSet<i32>>>);

impl Default for Ownership {
    fn default() -> Self {
        Ownership(Arc::new(watch::Sender::new(BTreeSet::new())))
    }
}

impl Ownership {
    /// Whether this copy owns the connector.
    pub(crate) fn owns(&self, connector: &str) -> bool {
        self.0.borrow().contains(&partition_of(connector))
    }

    /// Fires when partitions come or go.
    pub(crate) fn changes(&self) -> watch::Receiver<BTreeSet<i32>> {
        self.0.subscribe()
    }

    /// Keeps membership; blocks until the child shall stop.
    pub(crate) fn keep(&self, kafka: &Kafka, group: &str, child: &ChildContext) -> Result<(), KafkaError> {
        let consumer: BaseConsumer<Ownership> = kafka
            .consumer_config(group)
            .create_with_context(self.clone())
            .map_err(|cause| KafkaError::new(format!("the consumer of group {group}"), cause))?;
        consumer
            .subscribe(&[OFFSETS])
            .map_err(|cause| KafkaError::new(format!("the subscription of group {group}"), cause))?;
        while !child.shutdown.is_triggered() {
            child.progress.tick();
            // Partitions are paused, so this only serves rebalances; errors of the connection mend themselves.
            if let Some(Err(error)) = consumer.poll(Duration::from_millis(100)) {
                tracing::debug!(%error, "ownership");
            }
        }
        // Leaving first makes the successor wait for no time-out; our tasks have stopped by then or are fenced.
        consumer.unsubscribe();
        Ok(())
    }
}

impl ClientContext for Ownership {}

impl ConsumerContext for Ownership {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(_) = rebalance {
            self.0.send_replace(BTreeSet::new());
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            if let Err(error) = consumer.pause(list) {
                tracing::warn!(%error, "the partitions of {OFFSETS} could not be paused");
            }
            self.0.send_replace(list.elements().iter().map(|e| e.partition()).collect());
        }
    }
}

/// A stable hash (FNV-1a) of the name: every copy, of every version, must agree on it.
fn partition_of(connector: &str) -> i32 {
    let hash = connector.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash % OFFSET_PARTITIONS.unsigned_abs()) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(partition_of(""), 11);
        assert_eq!(partition_of("rating-system-connector"), partition_of("rating-system-connector"));
        let spread: BTreeSet<i32> = (0..200).map(|i| partition_of(&format!("connector-{i}"))).collect();
        assert!(spread.len() > 20);
    }
}

//! What a sink brings: how a change becomes an item, how a batch of items is written, and a check of its target.

use crate::record::SinkRecord;
use ratestream_connect::TaskError;

/// One record that this sink cannot take: it goes to the dead letters with this cause, and the partition goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Reject(pub String);

/// What became of a written batch.
#[derive(Debug)]
pub enum Written {
    /// All items are durable.
    Durable,
    /// None or some are; the target is busy or away. The same items are written again after a back-off.
    Retry(String),
    /// Some items will never be taken, some are to be written again; all others are durable. Indexes are those of the batch.
    Partial {
        /// Items that the target refuses for good, with its reasons.
        rejected: Vec<(usize, String)>,
        /// Items to be written again.
        retry: Vec<usize>,
        /// Why they are to be written again.
        cause: String,
    },
    /// The target needs a human.
    Failed(TaskError),
}

/// A target of records. Writes must be idempotent by source position: the same item may be written again at any time.
#[async_trait::async_trait(?Send)]
pub trait Sink: 'static {
    /// What one change becomes at the target.
    type Item;

    /// Turns a record into an item; `None` = filtered on purpose. Pure.
    fn plan(&self, record: &SinkRecord) -> Result<Option<Self::Item>, Reject>;

    /// Writes items of one partition, in order. Batches of several partitions may be in flight at once.
    async fn write(&self, items: &[&Self::Item]) -> Written;

    /// Whether the target can be reached and is what it should be; creates what the sink is allowed to create.
    async fn check(&self) -> Result<(), TaskError>;
}

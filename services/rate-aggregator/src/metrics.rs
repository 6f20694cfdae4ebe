//! What was passed over, counted and shown with coordinates.

use std::sync::{Mutex, PoisonError};

use ratestream_streams::Incoming;
use serde::Serialize;

/// Records of one query that could not be used.
#[derive(Debug, Default)]
pub struct Skips(Mutex<Skipped>);

/// A copy of what [`Skips`] knows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Skipped {
    /// How many.
    pub count: u64,
    /// Where the newest one is: topic, partition, offset.
    pub last: Option<(String, i32, i64)>,
    /// Why it could not be used.
    pub cause: Option<String>,
}

impl Skips {
    /// Counts a record.
    pub fn add(&self, record: &Incoming<'_>, cause: &str) {
        tracing::warn!(
            topic = record.topic,
            partition = record.partition,
            offset = record.offset,
            cause,
            "a record was skipped"
        );
        let mut skipped = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.count += 1;
        skipped.last = Some((record.topic.to_owned(), record.partition, record.offset));
        skipped.cause = Some(cause.to_owned());
    }

    /// What is known now.
    pub fn snapshot(&self) -> Skipped {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

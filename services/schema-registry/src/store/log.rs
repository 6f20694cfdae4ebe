//! The state as the log has it, shared between the follower (who applies records), the writer and all readers.
//!
//! A write is answered when its records came back through the follower: whoever gets an answer can read what it wrote, and
//! nobody reads what may still be rolled back.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use ratestream_kafka::LogRecord;
use serde::Serialize;

use super::index::Index;
use super::record::Record;
use crate::error::ApiError;

/// How much of the log could not be used, and where it was seen last.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Skipped {
    /// Records that were skipped since the start.
    pub count: u64,
    /// Partition offset of the newest one.
    pub last_offset: Option<i64>,
    /// Why it was skipped.
    pub last_cause: Option<String>,
}

#[derive(Default)]
struct Progress {
    ready: bool,
    /// Digests of the records that the writer produced and that did not come back yet.
    awaited: VecDeque<u64>,
    /// Counts records that were not awaited: another copy wrote.
    foreign: u64,
    /// Wishes to read to the log's end, and how many of them came true.
    barriers_wanted: u64,
    barriers_done: u64,
    skipped: Skipped,
}

/// The shared state. All methods are short; those that wait have a limit.
pub struct Log {
    index: RwLock<Index>,
    progress: Mutex<Progress>,
    changed: Condvar,
}

impl Log {
    /// An empty state that is not ready until [`Log::publish`].
    pub fn new(index: Index) -> Log {
        Log { index: RwLock::new(index), progress: Mutex::default(), changed: Condvar::new() }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state for a reader.
    ///
    /// # Errors
    /// 503 until the log has been read to its end once.
    pub fn read(&self) -> Result<RwLockReadGuard<'_, Index>, ApiError> {
        if !self.progress().ready {
            return Err(ApiError::unavailable("the log has not been read to its end yet"));
        }
        Ok(self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was skipped so far.
    pub fn skipped(&self) -> Skipped {
        self.progress().skipped.clone()
    }

    /// Replaces the state by one that was read from the log's start to its end.
    pub fn publish(&self, index: Index, skipped: Skipped) {
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = index;
        let mut progress = self.progress();
        progress.ready = true;
        progress.skipped = skipped;
        progress.foreign += 1;
        self.changed.notify_all();
    }

    /// Applies a record that was read, and tells a writer who waits for it.
    pub fn apply(&self, record: &LogRecord) {
        let mut skipped = Skipped::default();
        {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            replay(&mut index, record, &mut skipped);
        }
        let digest = digest(record.key.as_deref(), record.value.as_deref());
        let mut progress = self.progress();
        if skipped.count > 0 {
            progress.skipped = Skipped { count: progress.skipped.count + 1, ..skipped };
        }
        if progress.awaited.front() == Some(&digest) {
            progress.awaited.pop_front();
        } else {
            progress.foreign += 1;
        }
        self.changed.notify_all();
    }

    /// A mark that changes when somebody else wrote; compare it before trusting a draft.
    pub fn foreign_mark(&self) -> u64 {
        self.progress().foreign
    }

    /// Announces the records that are about to be committed.
    pub fn expect(&self, records: &[(Vec<u8>, Option<Vec<u8>>)]) {
        let digests = records.iter().map(|(key, value)| digest(Some(key), value.as_deref()));
        self.progress().awaited = digests.collect();
    }

    /// Gives up on announced records: their transaction failed.
    pub fn expect_nothing(&self) {
        self.progress().awaited.clear();
    }

    /// Waits until all announced records came back. `false` after `limit`.
    pub fn wait_for_echo(&self, limit: Duration) -> bool {
        self.wait(limit, |progress| progress.awaited.is_empty())
    }

    /// Waits until the follower has read everything that was committed before this call. `false` after `limit`.
    pub fn wait_for_end(&self, limit: Duration) -> bool {
        let wanted = {
            let mut progress = self.progress();
            progress.barriers_wanted += 1;
            progress.barriers_wanted
        };
        self.wait(limit, |progress| progress.barriers_done >= wanted)
    }

    fn wait(&self, limit: Duration, met: impl Fn(&Progress) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        let mut progress = self.progress();
        while !met(&progress) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let (guard, _) = self.changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner);
            progress = guard;
        }
        true
    }

    /// For the follower: the newest wish to read to the end, if one is open.
    pub fn barrier(&self) -> Option<u64> {
        let progress = self.progress();
        (progress.barriers_wanted > progress.barriers_done).then_some(progress.barriers_wanted)
    }

    /// For the follower: all wishes up to `barrier` came true.
    pub fn passed(&self, barrier: u64) {
        self.progress().barriers_done = barrier;
        self.changed.notify_all();
    }

    /// A copy of the state to draft on.
    pub fn draft(&self) -> Index {
        self.index.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Applies one record of the log to a state; what cannot be used is counted, never fatal.
pub fn replay(index: &mut Index, record: &LogRecord, skipped: &mut Skipped) {
    let cause = match Record::parse(record.key.as_deref(), record.value.as_deref()) {
        Ok(parsed) if index.apply(&parsed) => return,
        Ok(_) => "its id names another schema".to_owned(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(partition = record.partition, offset = record.offset, cause, "a record of the log was skipped");
    *skipped = Skipped { count: skipped.count + 1, last_offset: Some(record.offset), last_cause: Some(cause) };
}

fn digest(key: Option<&[u8]>, value: Option<&[u8]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, key: &str, value: Option<&str>) -> LogRecord {
        LogRecord {
            partition: 0,
            offset,
            timestamp_ms: 0,
            key: Some(key.into()),
            value: value.map(|value| value.as_bytes().to_vec()),
        }
    }

    const KEY: &str = r#"{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}"#;
    const VALUE: &str = r#"{"subject":"s","version":1,"id":1,"schema":"\"int\"","deleted":false}"#;

    #[test]
    fn nothing_is_read_before_the_log_was() {
        let log = Log::new(Index::default());
        assert_eq!(log.read().err().map(|error| error.status), Some(503));
        log.publish(Index::default(), Skipped::default());
        assert!(log.read().is_ok());
    }

    #[test]
    fn an_awaited_record_ends_the_wait_and_a_foreign_one_is_noticed() {
        let log = Log::new(Index::default());
        let mark = log.foreign_mark();
        log.expect(&[(KEY.into(), Some(VALUE.into()))]);
        assert!(!log.wait_for_echo(Duration::from_millis(1)));
        log.apply(&record(0, KEY, Some(VALUE)));
        assert!(log.wait_for_echo(Duration::from_millis(1)));
        assert_eq!(log.foreign_mark(), mark);
        log.apply(&record(1, r#"{"keytype":"NOOP","magic":0}"#, None));
        assert_ne!(log.foreign_mark(), mark);
    }

    #[test]
    fn broken_records_are_counted_with_their_place() {
        let log = Log::new(Index::default());
        log.apply(&record(7, "garbage", None));
        log.apply(&record(8, r#"{"keytype":"ASSOC"}"#, None));
        let skipped = log.skipped();
        assert_eq!((skipped.count, skipped.last_offset), (2, Some(8)));
        assert!(skipped.last_cause.unwrap().contains("ASSOC"));
    }
}

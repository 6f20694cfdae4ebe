//! What a program brings: a plain, synchronous task for one partition.

/// A record that was read.
#[derive(Clone, Debug, Default)]
pub struct Incoming<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none = tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers in order.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Incoming<'a> {
    /// The newest header of a name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

/// A record to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Produced {
    /// Its topic.
    pub topic: String,
    /// Its partition; by the key's hash when none.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; none = tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Milliseconds since the epoch; now when none.
    pub timestamp_ms: Option<i64>,
}

/// What a task writes while it handles a record. It appears when the transaction commits, or never.
#[derive(Debug, Default)]
pub struct Output {
    pub(crate) records: Vec<Produced>,
    pub(crate) changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Output {
    /// Writes a record.
    pub fn send(&mut self, record: Produced) {
        self.records.push(record);
    }

    /// Remembers a piece of state: the newest value by key comes back through [`Task::restore`], none forgets the key.
    pub fn remember(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.changes.push((key, value));
    }

    /// The records written so far, for tests of tasks.
    pub fn records(&self) -> &[Produced] {
        &self.records
    }

    /// The state changes so far, for tests of tasks.
    pub fn changes(&self) -> &[(Vec<u8>, Option<Vec<u8>>)] {
        &self.changes
    }

    /// Forgets what was written, for tests of tasks.
    pub fn clear(&mut self) {
        self.records.clear();
        self.changes.clear();
    }
}

/// Why a task cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// Comes back by itself (a registry that is away): the transaction is dropped, the record is read again after a wait.
    #[error("{0}")]
    Transient(String),
    /// Will not go away: the stage stops and says so.
    #[error("{0}")]
    Fatal(String),
}

/// The work on one partition. Bad records are the task's own business: count them, set them aside, return `Ok`.
///
/// A task that returned an error is dropped; a new one gets the state as of the last commit.
pub trait Task: Send {
    /// Takes a piece of state that was remembered and committed.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TaskError>;

    /// Handles one record.
    ///
    /// # Errors
    /// See [`TaskError`].
    fn process(&mut self, record: &Incoming<'_>, output: &mut Output) -> Result<(), TaskError>;

    /// Called before each commit: the place to write what was collected since the last one.
    ///
    /// # Errors
    /// See [`TaskError`].
    fn flush(&mut self, _output: &mut Output) -> Result<(), TaskError> {
        Ok(())
    }

    /// Called after each commit: effects that must not happen for what is rolled back.
    fn committed(&mut self) {}
}

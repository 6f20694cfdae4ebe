//! Bytes in topics to rows and changes, by the schema id that each record carries.

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use ratestream_avro::envelope::{Change, UNCHANGED_HEADER, change, is_envelope};
use ratestream_avro::{Record, RegistryClient, RegistryError, Schema, Value, codec, wire};
use ratestream_streams::{Incoming, TaskError};
use tokio::runtime::Handle;

/// How long a registry call may take in all; the client retries inside of it.
const REGISTRY: Duration = Duration::from_secs(25);

/// The registry for threads that may block.
#[derive(Clone)]
pub struct Registry {
    client: RegistryClient,
    handle: Handle,
}

impl Registry {
    /// Calls go through the runtime behind `handle`, which must not be the calling thread's.
    pub fn new(client: RegistryClient, handle: Handle) -> Registry {
        Registry { client, handle }
    }

    /// The asynchronous client.
    pub fn client(&self) -> &RegistryClient {
        &self.client
    }

    fn wait<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, RegistryError>> + Send + 'static,
    ) -> Result<T, RegistryFailure> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.handle.spawn(async move {
            // Nobody waits any more: nothing to do.
            let _late = sender.send(call.await);
        });
        match receiver.recv_timeout(REGISTRY) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(RegistryFailure { transient: error.is_transient(), text: error.to_string() }),
            Err(_) => {
                let text = format!("the schema registry did not answer within {REGISTRY:?}");
                Err(RegistryFailure { transient: true, text })
            }
        }
    }

    /// The schema of an id. Blocks.
    ///
    /// # Errors
    /// See [`RegistryFailure`].
    pub fn schema(&self, id: i32) -> Result<Arc<Schema>, RegistryFailure> {
        let client = self.client.clone();
        self.wait(async move { client.schema(id).await })
    }

    /// Registers a schema. Blocks.
    ///
    /// # Errors
    /// See [`RegistryFailure`].
    pub fn register(&self, subject: &str, schema: &Arc<Schema>) -> Result<i32, RegistryFailure> {
        let (client, subject, schema) = (self.client.clone(), subject.to_owned(), schema.clone());
        self.wait(async move { client.register(&subject, &schema).await })
    }
}

/// A registry that did not give what was asked for.
#[derive(Clone, Debug)]
pub struct RegistryFailure {
    /// It may, later.
    pub transient: bool,
    /// A sentence.
    pub text: String,
}

impl RegistryFailure {
    /// As the end of a task.
    pub fn task(self) -> TaskError {
        if self.transient { TaskError::Transient(self.text) } else { TaskError::Fatal(self.text) }
    }
}

/// A record's value.
#[derive(Debug)]
pub enum Decoded {
    /// A change of a row.
    Change(Box<Change>),
    /// A row by itself.
    Flat(Record),
    /// None: the key is gone.
    Tombstone,
}

/// A schema that was met, and what it is.
#[derive(Clone)]
pub struct Known {
    /// Its id.
    pub id: i32,
    /// The schema.
    pub schema: Arc<Schema>,
    /// It describes changes.
    pub envelope: bool,
}

/// Why one record cannot be used. The record is counted and passed over.
#[derive(Debug)]
pub enum DecodeError {
    /// This record is bad.
    Bad(String),
    /// The registry is away: not the record's fault.
    Away(TaskError),
}

/// Decodes the values of one task.
pub struct Decoder {
    registry: Registry,
    known: AHashMap<i32, Known>,
}

impl Decoder {
    /// With an empty cache.
    pub fn new(registry: Registry) -> Decoder {
        Decoder { registry, known: AHashMap::new() }
    }

    /// Knows a schema without asking.
    #[cfg(test)]
    pub(crate) fn learn(&mut self, id: i32, schema: Arc<Schema>) {
        self.known.insert(id, Known { id, envelope: is_envelope(&schema), schema });
    }

    /// The registry behind it.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The schema of an id.
    ///
    /// # Errors
    /// `Bad` when there is no such schema.
    pub fn schema(&mut self, id: i32) -> Result<Known, DecodeError> {
        if let Some(known) = self.known.get(&id) {
            return Ok(known.clone());
        }
        let schema = self.registry.schema(id).map_err(|failure| match failure.transient {
            true => DecodeError::Away(failure.task()),
            false => DecodeError::Bad(failure.text),
        })?;
        let known = Known { id, envelope: is_envelope(&schema), schema };
        self.known.insert(id, known.clone());
        Ok(known)
    }

    /// A value with its schema; none for a tombstone.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn value(&mut self, bytes: Option<&[u8]>) -> Result<Option<(Known, Value)>, DecodeError> {
        let Some(bytes) = bytes else { return Ok(None) };
        let (id, datum) = wire::split(bytes).map_err(|error| DecodeError::Bad(error.to_string()))?;
        let known = self.schema(id)?;
        let value = codec::decode(&known.schema, datum).map_err(|error| DecodeError::Bad(error.to_string()))?;
        Ok(Some((known, value)))
    }

    /// A record as change, row or tombstone.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(&mut self, record: &Incoming<'_>) -> Result<Decoded, DecodeError> {
        let Some((known, value)) = self.value(record.value)? else { return Ok(Decoded::Tombstone) };
        if known.envelope {
            let change =
                change(value, record.header(UNCHANGED_HEADER)).map_err(|error| DecodeError::Bad(error.to_string()))?;
            return Ok(Decoded::Change(Box::new(change)));
        }
        match value {
            Value::Record(row) => Ok(Decoded::Flat(row)),
            other => Err(DecodeError::Bad(format!("the value is a {}, not a record", other.kind()))),
        }
    }
}

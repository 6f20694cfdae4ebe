//! The registry for synchronous callers on threads of their own, such as stream tasks.

use super::{RegistryClient, RegistryError};
use crate::Schema;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A registry client whose calls block. Schemas that it has are answered without leaving the caller's thread.
///
/// It may be used on a thread that drives an async runtime: the calls themselves run on a thread of this value's own.
#[derive(Debug)]
pub struct BlockingRegistry {
    client: RegistryClient,
    jobs: mpsc::Sender<Job>,
    by_id: HashMap<i32, Arc<Schema>>,
    registered: HashMap<(String, String), i32>,
}

impl BlockingRegistry {
    /// Wraps a client; its thread ends with this value.
    pub fn new(client: RegistryClient) -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let work = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => inbox.into_iter().for_each(|job| runtime.block_on(job)),
            Err(error) => tracing::error!(%error, "the registry client has no runtime"),
        };
        if let Err(error) = std::thread::Builder::new().name("registry-client".to_owned()).spawn(work) {
            tracing::error!(%error, "the registry client has no thread");
        }
        Self { client, jobs, by_id: HashMap::new(), registered: HashMap::new() }
    }

    /// As [`RegistryClient::schema`].
    ///
    /// # Errors
    /// [`RegistryError`]
    pub fn schema(&mut self, id: i32) -> Result<Arc<Schema>, RegistryError> {
        if let Some(schema) = self.by_id.get(&id) {
            return Ok(schema.clone());
        }
        let client = self.client.clone();
        let schema = self.call(async move { client.schema(id).await })?;
        self.by_id.insert(id, schema.clone());
        Ok(schema)
    }

    /// As [`RegistryClient::register`].
    ///
    /// # Errors
    /// [`RegistryError`]
    pub fn register(&mut self, subject: &str, schema: &Arc<Schema>) -> Result<i32, RegistryError> {
        let key = (subject.to_owned(), schema.canonical().to_owned());
        if let Some(id) = self.registered.get(&key) {
            return Ok(*id);
        }
        let (client, subject, schema) = (self.client.clone(), subject.to_owned(), schema.clone());
        let id = self.call(async move { client.register(&subject, &schema).await })?;
        self.registered.insert(key, id);
        Ok(id)
    }

    fn call<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, RegistryError>> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let gone = || RegistryError::Unavailable {
            url: self.client.url().to_owned(),
            cause: "the client's thread has ended".to_owned(),
        };
        let (answer, result) = mpsc::sync_channel(1);
        let job = async move {
            // Fails only when the caller is gone.
            let _unheard = answer.send(work.await);
        };
        self.jobs.send(Box::pin(job)).map_err(|_| gone())?;
        result.recv().map_err(|_| gone())?
    }
}

//! What the parts of the service share: the catalog, running queries, tables at hand, and who waits for a statement.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ratestream_kafka::Kafka;
use ratestream_runtime::{Child, Loop, Shutdown};
use ratestream_streams::StageStatus;
use tokio::sync::oneshot;

use crate::catalog::{Catalog, Outcome};
use crate::config::AggregatorConfig;
use crate::engine::decode::Registry;
use crate::metrics::Skips;
use crate::view::View;

/// A query that runs.
pub struct Running {
    /// Its stages in order.
    pub stages: Vec<(Child<Loop>, Arc<StageStatus>)>,
    /// What it passed over.
    pub skips: Arc<Skips>,
}

impl Running {
    /// `RUNNING`, or the state of the first stage that does not, with its problem.
    pub fn state(&self) -> (String, Option<String>) {
        let other = self.stages.iter().map(|(_, status)| status).find(|status| status.state() != "RUNNING");
        match other {
            None => ("RUNNING".to_owned(), None),
            Some(status) if status.state().is_empty() => ("WAITING".to_owned(), None),
            Some(status) => (status.state(), status.problem()),
        }
    }
}

/// A table at hand.
pub struct Watched {
    /// Its rows.
    pub view: Arc<View>,
    /// Who keeps them.
    pub child: Child<Loop>,
}

/// Who waits for which statement.
type Waiting = HashMap<String, oneshot::Sender<Result<Outcome, String>>>;

/// The shared parts.
pub struct State {
    /// The cluster.
    pub kafka: Kafka,
    /// Schemas.
    pub registry: Registry,
    /// The service's section.
    pub config: AggregatorConfig,
    catalog: RwLock<Catalog>,
    running: RwLock<HashMap<String, Running>>,
    watched: RwLock<HashMap<String, Watched>>,
    waiting: Mutex<Waiting>,
    pushes: Mutex<HashMap<String, Shutdown>>,
    ready: AtomicBool,
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Nothing yet.
    pub fn new(kafka: Kafka, registry: Registry, config: AggregatorConfig) -> State {
        State {
            kafka,
            registry,
            config,
            catalog: RwLock::default(),
            running: RwLock::default(),
            watched: RwLock::default(),
            waiting: Mutex::default(),
            pushes: Mutex::default(),
            ready: AtomicBool::new(false),
        }
    }

    /// The catalog.
    pub fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        read(&self.catalog)
    }

    /// The catalog, to be changed by the follower of the command topic only.
    pub fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        write(&self.catalog)
    }

    /// Running queries by id.
    pub fn running(&self) -> RwLockReadGuard<'_, HashMap<String, Running>> {
        read(&self.running)
    }

    /// As [`State::running`], to be changed.
    pub fn running_mut(&self) -> RwLockWriteGuard<'_, HashMap<String, Running>> {
        write(&self.running)
    }

    /// Tables at hand by name.
    pub fn watched(&self) -> RwLockReadGuard<'_, HashMap<String, Watched>> {
        read(&self.watched)
    }

    /// As [`State::watched`], to be changed.
    pub fn watched_mut(&self) -> RwLockWriteGuard<'_, HashMap<String, Watched>> {
        write(&self.watched)
    }

    /// Whether the command topic was read to its end once.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    /// It was.
    pub fn set_ready(&self) {
        self.ready.store(true, Relaxed);
    }

    /// Waits for the outcome of a statement by its id.
    pub fn wait_for(&self, id: &str) -> oneshot::Receiver<Result<Outcome, String>> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), sender);
        receiver
    }

    /// Nobody waits any more.
    pub fn forget(&self, id: &str) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Tells whoever waits.
    pub fn settle(&self, id: &str, outcome: &Result<Outcome, String>) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(sender) = waiting {
            let _gave_up = sender.send(outcome.clone());
        }
    }

    /// Registers a push query; none when there are too many.
    pub fn open_push(&self, id: &str) -> Option<Shutdown> {
        let mut pushes = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        if pushes.len() >= self.config.push_queries_max {
            return None;
        }
        let stop = Shutdown::new();
        pushes.insert(id.to_owned(), stop.clone());
        Some(stop)
    }

    /// Ends a push query; `false` when there is none of that id.
    pub fn close_push(&self, id: &str) -> bool {
        let found = self.pushes.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        found.inspect(Shutdown::trigger).is_some()
    }
}

//! One running task of a connector: a supervised actor that runs it, restarts it after transient errors and reports its status.

use crate::config::ConnectorConfig;
use crate::connector::{Connector, TaskContext, TaskError, TaskStatus};
use crate::offsets::SourceOffsets;
use crate::state::Status;
use crate::store::Store;
use ratestream_avro::RegistryClient;
use ratestream_runtime::backoff::Backoff;
use ratestream_runtime::{Child, ChildContext, Health, Supervisor};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A task that ran so long before it failed starts its back-off anew.
const HEALTHY: Duration = Duration::from_secs(30);

/// Everything that a task of any connector needs from its worker.
#[derive(Clone)]
pub(crate) struct Workshop {
    pub(crate) store: Arc<Store>,
    pub(crate) registry: RegistryClient,
    pub(crate) health: Health,
    pub(crate) supervisor: Supervisor,
    pub(crate) worker_id: String,
}

/// A task in the making.
#[derive(Clone)]
pub(crate) struct Assignment {
    pub(crate) connector: String,
    pub(crate) task: u32,
    pub(crate) revision: i64,
    pub(crate) class: Arc<dyn Connector>,
    pub(crate) config: BTreeMap<String, String>,
}

/// A started task.
pub(crate) struct Running {
    pub(crate) revision: i64,
    pub(crate) child: Child<ratestream_runtime::Loop>,
    pub(crate) status: TaskStatus,
}

/// Starts a task under supervision.
pub(crate) fn start(workshop: &Workshop, assignment: Assignment) -> Running {
    let status = TaskStatus::default();
    let (workshop, name) = (workshop.clone(), format!("connector/{}/{}", assignment.connector, assignment.task));
    let (revision, note, supervisor) = (assignment.revision, status.clone(), workshop.supervisor.clone());
    let child = supervisor.spawn_loop(&name, move |child| {
        let task = Task { workshop: workshop.clone(), assignment: assignment.clone(), child, status: note.clone() };
        async move { task.run().await }
    });
    Running { revision, child, status }
}

struct Task {
    workshop: Workshop,
    assignment: Assignment,
    child: ChildContext,
    status: TaskStatus,
}

impl Task {
    /// Runs the connector's task until it is stopped; ends FAILED when only a human can help.
    async fn run(self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        while !self.child.shutdown.is_triggered() {
            let started = Instant::now();
            self.report("RUNNING", None).await;
            let outcome = match self.context() {
                Ok(context) => self.assignment.class.run(context).await,
                Err(error) => Err(error),
            };
            if started.elapsed() > HEALTHY {
                backoff.reset();
            }
            match outcome {
                Ok(()) => {}
                Err(TaskError::Fenced) => {
                    tracing::info!(connector = self.assignment.connector, "another worker took over");
                    self.child.shutdown.triggered().await;
                }
                Err(error @ TaskError::Transient { .. }) => {
                    let wait = backoff.next();
                    tracing::warn!(connector = self.assignment.connector, %error, retry_in_ms = wait.as_millis() as u64, "task restarts");
                    self.report("RESTARTING", Some(error.to_string())).await;
                    self.child.shutdown.sleep(wait).await;
                }
                Err(error @ TaskError::Config { .. }) => {
                    tracing::error!(connector = self.assignment.connector, %error, "task failed");
                    self.report("FAILED", Some(error.to_string())).await;
                    self.child.shutdown.triggered().await;
                }
            }
        }
        self.workshop.health.forget(&self.assignment.connector);
    }

    fn context(&self) -> Result<TaskContext, TaskError> {
        let keys = self.assignment.class.descriptor().keys;
        let kafka = self.workshop.store.kafka.clone();
        Ok(TaskContext {
            connector: self.assignment.connector.clone(),
            task: self.assignment.task,
            config: ConnectorConfig::new(self.assignment.config.clone(), keys).resolved()?,
            offsets: SourceOffsets::new(kafka.clone(), &self.assignment.connector),
            kafka,
            registry: self.workshop.registry.clone(),
            stop: self.child.shutdown.clone(),
            progress: self.child.progress.clone(),
            status: self.status.clone(),
            health: self.workshop.health.clone(),
        })
    }

    async fn report(&self, state: &str, trace: Option<String>) {
        self.child.progress.state(trace.as_deref().unwrap_or(state));
        let status = Status {
            state: state.to_owned(),
            trace,
            worker_id: self.workshop.worker_id.clone(),
            generation: self.assignment.revision,
            note: None,
        };
        let Assignment { connector, task, .. } = &self.assignment;
        // A connector is as well as its task says; FAILED of one task of several still shows in that task alone.
        let of_connector =
            Status { state: if state == "FAILED" { "FAILED" } else { "RUNNING" }.to_owned(), ..status.clone() };
        for (task, status) in [(Some(*task), status), (None, of_connector)] {
            if let Err(error) = self.workshop.store.write_status(connector, task, Some(&status)).await {
                tracing::warn!(connector, %error, "status was not recorded");
            }
        }
    }
}

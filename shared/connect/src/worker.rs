//! The worker of one service: follows the fabric's topics and runs the tasks of the classes that the service owns.

use crate::connector::{Connector, Kind};
use crate::ownership::Ownership;
use crate::reconcile::{Action, Desired, TaskId, plan};
use crate::state::{Entry, Plugin, Status, Target};
use crate::store::Store;
use crate::task::{self, Assignment, Running, Workshop};
use ratestream_avro::RegistryClient;
use ratestream_kafka::{Kafka, KafkaError};
use ratestream_runtime::backoff::Backoff;
use ratestream_runtime::{ChildContext, Context, Dependency, Routes};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Tasks of one sink connector in one process.
const TASKS_MAX: i64 = 16;
/// How often the plan is looked at without a change.
const RECONCILE: Duration = Duration::from_secs(5);

/// The connector fabric in one service.
pub struct Worker {
    routes: Routes,
}

/// What the runner and the REST handlers share.
pub(crate) struct Shared {
    pub(crate) workshop: Workshop,
    pub(crate) classes: Vec<Arc<dyn Connector>>,
    pub(crate) ownership: Ownership,
    pub(crate) running: Mutex<BTreeMap<TaskId, Running>>,
    service: &'static str,
}

impl Shared {
    /// The class that this service owns under a full or simple name.
    pub(crate) fn class(&self, name: &str) -> Option<&Arc<dyn Connector>> {
        self.classes.iter().find(|class| Plugin::new(&class.descriptor(), self.service).is_named(name))
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<TaskId, Running>> {
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The note of a task that runs here.
    pub(crate) fn note(&self, connector: &str, task: u32) -> Option<String> {
        self.running().get(&(connector.to_owned(), task)).and_then(|running| running.status.read())
    }
}

impl Worker {
    /// Starts the fabric with the connector classes that this service owns.
    pub fn start<C>(context: &Context<C>, classes: Vec<Arc<dyn Connector>>) -> Worker {
        let service = context.settings.service;
        let store = Store::new(Kafka::new(&context.settings.kafka, service));
        let workshop = Workshop {
            store,
            registry: RegistryClient::new(&context.settings.schema_registry),
            health: context.health.clone(),
            supervisor: context.supervisor.clone(),
            worker_id: context.settings.http.advertised(),
        };
        let shared =
            Arc::new(Shared { workshop, classes, ownership: Ownership::default(), running: Mutex::default(), service });
        let kafka = context.health.dependency("kafka");
        let supervisor = &context.supervisor;
        let this = shared.clone();
        supervisor
            .spawn_loop("connect-configs", move |child| follow(this.clone(), child, kafka.clone(), Follow::Configs));
        let (this, kafka) = (shared.clone(), context.health.dependency("kafka"));
        supervisor
            .spawn_loop("connect-status", move |child| follow(this.clone(), child, kafka.clone(), Follow::Status));
        if shared.classes.iter().any(|class| class.descriptor().kind == Kind::Source) {
            let (this, kafka) = (shared.clone(), context.health.dependency("kafka"));
            supervisor.spawn_loop("connect-ownership", move |child| {
                follow(this.clone(), child, kafka.clone(), Follow::Ownership)
            });
        }
        let this = shared.clone();
        supervisor.spawn_loop("connect-runner", move |child| run(this.clone(), child));
        let routes: Routes = Arc::new(move |config| crate::rest::routes(config, &shared));
        Worker { routes }
    }

    /// The Connect REST API.
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }
}

#[derive(Clone, Copy)]
enum Follow {
    Configs,
    Status,
    Ownership,
}

/// Keeps one of the fabric's blocking loops going; Kafka being away is waited out.
async fn follow(shared: Arc<Shared>, child: ChildContext, kafka: Dependency, what: Follow) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let store = &shared.workshop.store;
    while !child.shutdown.is_triggered() {
        let outcome = match store.ensure_topics().await {
            Ok(()) => match what {
                Follow::Configs => store.follow_configs(&child, &kafka),
                Follow::Status => store.follow_status(&child),
                Follow::Ownership => {
                    shared.ownership.keep(&store.kafka, &format!("ratestream-{}-owners", shared.service), &child)
                }
            },
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            kafka.down(&error);
            child.shutdown.sleep(backoff.next()).await;
        }
    }
}

/// Makes what runs equal to what shall run, on every change.
async fn run(shared: Arc<Shared>, child: ChildContext) {
    let (mut configs, mut owners) = (shared.workshop.store.changes(), shared.ownership.changes());
    let mut published = false;
    let mut resting = BTreeMap::new();
    while !child.shutdown.is_triggered() {
        child.progress.tick();
        if shared.workshop.store.is_loaded() {
            published =
                published || publish(&shared).await.inspect_err(|error| tracing::warn!(%error, "plugins")).is_ok();
            reconcile(&shared, &mut resting).await;
        }
        tokio::select! {
            _ = configs.changed() => {}
            _ = owners.changed() => {}
            () = tokio::time::sleep(RECONCILE) => {}
            () = child.shutdown.triggered() => {}
        }
    }
    // Tasks are children of the supervisor and drain by its signal; nothing is started any more.
}

async fn publish(shared: &Shared) -> Result<(), KafkaError> {
    for class in &shared.classes {
        let plugin = Plugin::new(&class.descriptor(), shared.service);
        if shared.workshop.store.read(|fabric| fabric.plugins.get(&plugin.class) == Some(&plugin)) {
            continue;
        }
        let value = serde_json::to_value(&plugin).unwrap_or_default();
        shared.workshop.store.write_plugin(&plugin.class, &value).await?;
    }
    Ok(())
}

async fn reconcile(shared: &Shared, resting: &mut BTreeMap<String, Target>) {
    let entries: BTreeMap<String, (Entry, Arc<dyn Connector>)> = shared.workshop.store.read(|fabric| {
        let ours = |(name, entry): (&String, &Entry)| {
            let class = shared.class(entry.config.get("connector.class")?)?.clone();
            let here = class.descriptor().kind == Kind::Sink || shared.ownership.owns(name);
            here.then(|| (name.clone(), (entry.clone(), class)))
        };
        fabric.connectors.iter().filter_map(ours).collect()
    });
    let desired: BTreeMap<String, Desired> = entries
        .iter()
        .map(|(name, (entry, class))| {
            let tasks = tasks(class.as_ref(), &entry.config);
            (name.clone(), Desired { target: entry.target, revision: entry.revision, tasks })
        })
        .collect();
    let running: BTreeMap<TaskId, i64> = shared.running().iter().map(|(id, r)| (id.clone(), r.revision)).collect();
    let known: BTreeSet<String> = running.keys().map(|id| id.0.clone()).chain(resting.keys().cloned()).collect();
    let exists = |name: &str| shared.workshop.store.read(|fabric| fabric.connectors.contains_key(name));
    for action in plan(&desired, &running, resting, &known, exists) {
        act(shared, &entries, resting, action).await;
    }
}

/// How many tasks a connector has in this process.
pub(crate) fn tasks(class: &dyn Connector, config: &BTreeMap<String, String>) -> u32 {
    let wanted = config.get("tasks.max").and_then(|text| text.trim().parse().ok()).unwrap_or(1);
    if class.descriptor().kind == Kind::Sink { i64::clamp(wanted, 1, TASKS_MAX) as u32 } else { 1 }
}

async fn act(
    shared: &Shared,
    entries: &BTreeMap<String, (Entry, Arc<dyn Connector>)>,
    resting: &mut BTreeMap<String, Target>,
    action: Action,
) {
    match action {
        Action::Stop(id) => {
            let stopped = shared.running().remove(&id);
            if let Some(running) = stopped {
                running.child.stop().await;
            }
        }
        Action::Start(id, revision) => {
            let Some((entry, class)) = entries.get(&id.0) else { return };
            resting.remove(&id.0);
            let assignment = Assignment {
                connector: id.0.clone(),
                task: id.1,
                revision,
                class: class.clone(),
                config: entry.config.clone(),
            };
            let running = task::start(&shared.workshop, assignment);
            shared.running().insert(id, running);
        }
        Action::Rest(name, target) => {
            let task = (target != Target::Stopped).then_some(target);
            record(shared, &name, Some(target), task).await;
            resting.insert(name, target);
        }
        Action::Forget(name) => {
            record(shared, &name, None, None).await;
            resting.remove(&name);
        }
    }
}

/// Records the statuses of a connector and its tasks; none = tombstone.
async fn record(shared: &Shared, name: &str, connector: Option<Target>, task: Option<Target>) {
    let status = |target: Target| Status {
        state: target.name().to_owned(),
        trace: None,
        worker_id: shared.workshop.worker_id.clone(),
        generation: 0,
        note: None,
    };
    let tasks: Vec<u32> = shared
        .workshop
        .store
        .read(|fabric| fabric.task_status.keys().filter(|id| id.0 == name).map(|id| id.1).collect());
    let store = &shared.workshop.store;
    let mut outcome = store.write_status(name, None, connector.map(status).as_ref()).await;
    for number in tasks {
        outcome = outcome.and(store.write_status(name, Some(number), task.map(status).as_ref()).await);
    }
    if let Err(error) = outcome {
        tracing::warn!(connector = name, %error, "status was not recorded");
    }
}

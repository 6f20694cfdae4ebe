//! Starts and stops what the catalog asks for. Decides nothing.

use std::sync::Arc;
use std::time::Duration;

use ratestream_kafka::{KafkaError, TopicSpec};
use ratestream_runtime::{Child, ChildContext, Loop, Supervisor};
use ratestream_streams::stage::{TaskFactory, run};
use ratestream_streams::{Stage, StageStatus};
use tokio::sync::{Mutex, mpsc};

use super::watcher::Watcher;
use crate::catalog::{Effect, Query, Source, Work};
use crate::engine::decode::Decoder;
use crate::engine::merge::Merge;
use crate::engine::partial::Partial;
use crate::engine::project::Project;
use crate::metrics::Skips;
use crate::state::{Running, State, Watched};
use crate::view::View;

/// How often a query looks whether its source topic is there.
const SOURCE_LOOK: Duration = Duration::from_millis(300);

/// Effects to be carried out; the lock is held by the living generation of the runner.
pub type Effects = Arc<Mutex<mpsc::Receiver<Vec<Effect>>>>;

/// Carries out effects in order until the child is stopped.
pub async fn carry_out(state: Arc<State>, supervisor: Supervisor, effects: Effects, child: ChildContext) {
    let mut effects = effects.lock().await;
    loop {
        let batch = tokio::select! {
            () = child.shutdown.triggered() => return,
            batch = effects.recv() => batch,
        };
        child.progress.tick();
        let Some(batch) = batch else { return child.shutdown.triggered().await };
        for effect in batch {
            match effect {
                Effect::Start(query) => start(&state, &supervisor, &query),
                Effect::Stop(id) => stop(&state, &id).await,
                Effect::Watch(source) => watch(&state, &supervisor, &source),
                Effect::Unwatch(name) => {
                    let watched = state.watched_mut().remove(&name);
                    if let Some(watched) = watched {
                        watched.child.stop().await;
                    }
                }
                Effect::DeleteTopic(topic) => delete_topic(&state, &topic).await,
            }
        }
    }
}

async fn stop(state: &State, id: &str) {
    let running = state.running_mut().remove(id);
    for (child, _) in running.into_iter().flat_map(|running| running.stages) {
        child.stop().await;
    }
}

async fn delete_topic(state: &State, topic: &str) {
    use ratestream_kafka::rdkafka::admin::{AdminClient, AdminOptions};
    use ratestream_kafka::rdkafka::client::DefaultClientContext;
    let admin: Result<AdminClient<DefaultClientContext>, _> = state.kafka.reader_config().create();
    let deleted = match admin {
        Ok(admin) => admin.delete_topics(&[topic], &AdminOptions::new()).await.map(drop),
        Err(error) => Err(error),
    };
    if let Err(error) = deleted {
        tracing::warn!(topic, %error, "a topic could not be deleted; delete it by hand");
    }
}

fn watch(state: &Arc<State>, supervisor: &Supervisor, source: &Source) {
    if state.watched().contains_key(&source.name) {
        return;
    }
    let view = Arc::new(View::new(source.columns.clone()));
    let watcher = Watcher { state: state.clone(), topic: source.topic.clone(), view: view.clone() };
    let child = supervisor.spawn_loop(&format!("table-{}", source.name), move |child| watcher.clone().run(child));
    state.watched_mut().insert(source.name.clone(), Watched { view, child });
}

fn start(state: &Arc<State>, supervisor: &Supervisor, query: &Query) {
    if state.running().contains_key(&query.id) {
        return;
    }
    let prefix = state.config.query_prefix(&query.id);
    let skips = Arc::<Skips>::default();
    let stages = match &query.work {
        Work::Project(plan) => {
            let (registry, plan, sink, skips) =
                (state.registry.clone(), plan.clone(), query.sink_topic.clone(), skips.clone());
            let task: TaskFactory = Arc::new(move |_| {
                Box::new(Project::new(plan.clone(), Decoder::new(registry.clone()), sink.clone(), skips.clone()))
            });
            vec![stage(state, &prefix, &query.source_topic, false, task)]
        }
        Work::Aggregate(plan) => {
            let repartition = repartition_topic(&prefix);
            let (registry, first, target, seen) =
                (state.registry.clone(), plan.clone(), repartition.clone(), skips.clone());
            let partial: TaskFactory = Arc::new(move |_| {
                Box::new(Partial::new(first.clone(), Decoder::new(registry.clone()), target.clone(), seen.clone()))
            });
            let (registry, plan, sink, seen) =
                (state.registry.clone(), plan.clone(), query.sink_topic.clone(), skips.clone());
            let merge: TaskFactory =
                Arc::new(move |_| Box::new(Merge::new(plan.clone(), registry.clone(), sink.clone(), seen.clone())));
            vec![
                stage(state, &format!("{prefix}-rows"), &query.source_topic, true, partial),
                stage(state, &format!("{prefix}-groups"), &repartition, true, merge),
            ]
        }
    };
    let stages = stages.into_iter().map(|stage| supervise(state, supervisor, query, stage)).collect();
    state.running_mut().insert(query.id.clone(), Running { stages, skips });
}

fn repartition_topic(prefix: &str) -> String {
    format!("{prefix}-Aggregate-GroupBy-repartition")
}

fn stage(state: &State, application: &str, input: &str, stateful: bool, task: TaskFactory) -> Stage {
    Stage {
        application: application.to_owned(),
        inputs: vec![input.to_owned()],
        changelog: stateful.then(|| format!("{application}-changelog")),
        from_beginning: true,
        commit_interval: Duration::from_millis(state.config.commit_interval_ms),
        task,
    }
}

fn supervise(
    state: &Arc<State>,
    supervisor: &Supervisor,
    query: &Query,
    stage: Stage,
) -> (Child<Loop>, Arc<StageStatus>) {
    let status = Arc::<StageStatus>::default();
    let (state, query, shown) = (state.clone(), query.clone(), status.clone());
    let name = stage.application.clone();
    let child = supervisor.spawn_loop(&name, move |child| {
        let (state, query, stage, status) = (state.clone(), query.clone(), stage.clone(), shown.clone());
        async move {
            if topics(&state, &query, &child).await {
                run(&state.kafka, &stage, &status, &child).await;
            }
        }
    });
    (child, status)
}

/// Creates the query's topics as soon as its source is there. `false` when the child shall stop before.
async fn topics(state: &State, query: &Query, child: &ChildContext) -> bool {
    child.progress.state(&format!("waiting for topic {}", query.source_topic));
    loop {
        match create_topics(state, query).await {
            Ok(true) => return true,
            Ok(false) => {}
            Err(error) => child.progress.state(&error.to_string()),
        }
        if !child.shutdown.sleep(SOURCE_LOOK).await {
            return false;
        }
    }
}

async fn create_topics(state: &State, query: &Query) -> Result<bool, KafkaError> {
    let Some(source) = state.kafka.partition_count(&query.source_topic).await? else { return Ok(false) };
    let sink = match &query.work {
        // A changelog that is projected keeps its keys' partitions.
        Work::Project(_) => vec![TopicSpec::plain(&query.sink_topic, source)],
        Work::Aggregate(_) => {
            let partitions = query.partitions.unwrap_or(source);
            let repartition = repartition_topic(&state.config.query_prefix(&query.id));
            vec![
                TopicSpec::compacted(&query.sink_topic, partitions),
                TopicSpec::plain(repartition, source).with("retention.ms", "-1"),
            ]
        }
    };
    state.kafka.ensure_topics(&sink).await?;
    Ok(true)
}

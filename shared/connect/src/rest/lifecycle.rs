//! Status, restart, pause, resume, stop, offsets of a connector.

use super::{Fabric, error, kafka_error, loading, not_found};
use crate::connector::Kind;
use crate::offsets::SourceOffsets;
use crate::state::{Status, Target};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/connectors/{name}/status", web::get().to(status))
        .route("/connectors/{name}/tasks/{task}/status", web::get().to(task_status))
        .route("/connectors/{name}/restart", web::post().to(restart))
        .route("/connectors/{name}/tasks/{task}/restart", web::post().to(restart_task))
        .route("/connectors/{name}/pause", web::put().to(pause))
        .route("/connectors/{name}/resume", web::put().to(resume))
        .route("/connectors/{name}/stop", web::put().to(stop))
        .route("/connectors/{name}/offsets", web::get().to(offsets));
}

/// `{state, worker_id, trace?}`, with the note of a task that runs here.
fn shown(status: Option<&Status>, target: Target, note: Option<String>) -> Map<String, Value> {
    let mut body = Map::new();
    let (state, worker) = match status {
        Some(status) => (status.state.as_str(), status.worker_id.as_str()),
        None if target == Target::Running => ("UNASSIGNED", ""),
        None => (target.name(), ""),
    };
    body.insert("state".into(), state.into());
    body.insert("worker_id".into(), worker.into());
    if let Some(trace) = status.and_then(|status| status.trace.clone()) {
        body.insert("trace".into(), trace.into());
    }
    if let Some(note) = note {
        body.insert("note".into(), note.into());
    }
    body
}

/// The body of `GET /connectors/{name}/status`; `state` at the top is the honest roll-up of connector and tasks.
pub(super) fn status_of(fabric: &Fabric, name: &str) -> Value {
    let (entry, own, tasks) = fabric.workshop.store.read(|state| {
        let tasks: Vec<(u32, Status)> = state
            .task_status
            .iter()
            .filter(|(id, _)| id.0 == name)
            .map(|(id, status)| (id.1, status.clone()))
            .collect();
        (state.connectors.get(name).cloned(), state.connector_status.get(name).cloned(), tasks)
    });
    let Some(entry) = entry else { return Value::Null };
    let (kind, count) = super::connectors::shape(fabric, &entry);
    let known = |task: u32| tasks.iter().find(|(id, _)| *id == task).map(|(_, status)| status);
    let mut states = Vec::new();
    let list: Vec<Value> = (0..count)
        .map(|task| {
            let mut body = Map::from_iter([("id".to_owned(), json!(task))]);
            let status = known(task);
            states.push(status.map_or("UNASSIGNED", |status| status.state.as_str()).to_owned());
            body.extend(shown(status, entry.target, fabric.note(name, task)));
            Value::Object(body)
        })
        .collect();
    let rolled_up = ["FAILED", "RESTARTING", "UNASSIGNED"].iter().find(|bad| states.iter().any(|state| state == *bad));
    json!({
        "name": name,
        "connector": shown(own.as_ref(), entry.target, None),
        "tasks": list,
        "type": kind,
        "state": rolled_up.copied().unwrap_or(entry.target.name()),
    })
}

fn exists(fabric: &Fabric, name: &str) -> bool {
    fabric.workshop.store.read(|state| state.connectors.contains_key(name))
}

async fn status(fabric: Fabric, name: web::Path<String>) -> HttpResponse {
    if let Some(answer) = loading(&fabric) {
        return answer;
    }
    if !exists(&fabric, &name) {
        return error(404, format!("No status found for connector {name}"));
    }
    HttpResponse::Ok().json(status_of(&fabric, &name))
}

async fn task_status(fabric: Fabric, path: web::Path<(String, u32)>) -> HttpResponse {
    let (name, task) = path.into_inner();
    let all = status_of(&fabric, &name);
    let found = all["tasks"].as_array().and_then(|tasks| tasks.iter().find(|t| t["id"] == json!(task)));
    found.map_or_else(
        || error(404, format!("No status found for task {name}-{task}")),
        |task| HttpResponse::Ok().json(task),
    )
}

async fn restart(fabric: Fabric, name: web::Path<String>, request: HttpRequest) -> HttpResponse {
    if !exists(&fabric, &name) {
        return error(404, format!("Unknown connector: {name}"));
    }
    let flag = |name: &str| request.query_string().to_ascii_lowercase().contains(&format!("{name}=true"));
    let (tasks, failed) = (flag("includetasks"), flag("onlyfailed"));
    let before = status_of(&fabric, &name);
    if failed && before["state"] != "FAILED" {
        return HttpResponse::Accepted().json(before);
    }
    let record = json!({"only-failed": failed, "include-tasks": tasks});
    match fabric.workshop.store.write_config(&format!("restart-connector-{name}"), Some(&record)).await {
        Ok(()) if tasks || failed => HttpResponse::Accepted().json(status_of(&fabric, &name)),
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(cause) => kafka_error(&cause),
    }
}

async fn restart_task(fabric: Fabric, path: web::Path<(String, u32)>) -> HttpResponse {
    let (name, task) = path.into_inner();
    let entry = fabric.workshop.store.read(|state| state.connectors.get(&name).cloned());
    if entry.is_none_or(|entry| task >= super::connectors::shape(&fabric, &entry).1) {
        return error(404, format!("Unknown task: {name}-{task}"));
    }
    // A task is a part of its connector here: the connector's tasks start anew together.
    let record = json!({"only-failed": false, "include-tasks": true});
    match fabric.workshop.store.write_config(&format!("restart-connector-{name}"), Some(&record)).await {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(cause) => kafka_error(&cause),
    }
}

async fn pause(fabric: Fabric, name: web::Path<String>) -> HttpResponse {
    retarget(&fabric, &name, Target::Paused, HttpResponse::Accepted().finish()).await
}

async fn resume(fabric: Fabric, name: web::Path<String>) -> HttpResponse {
    retarget(&fabric, &name, Target::Running, HttpResponse::Accepted().finish()).await
}

async fn stop(fabric: Fabric, name: web::Path<String>) -> HttpResponse {
    retarget(&fabric, &name, Target::Stopped, HttpResponse::NoContent().finish()).await
}

async fn retarget(fabric: &Fabric, name: &str, target: Target, done: HttpResponse) -> HttpResponse {
    if !exists(fabric, name) {
        return not_found(name);
    }
    match fabric.workshop.store.write_config(&format!("target-state-{name}"), Some(&target.record())).await {
        Ok(()) => done,
        Err(cause) => kafka_error(&cause),
    }
}

async fn offsets(fabric: Fabric, name: web::Path<String>) -> HttpResponse {
    let entry = fabric.workshop.store.read(|state| state.connectors.get(name.as_str()).cloned());
    let Some(entry) = entry else { return not_found(&name) };
    if super::connectors::shape(&fabric, &entry).0 == Some(Kind::Sink) {
        return error(
            501,
            format!(
                "Offsets of the sink {name} are those of its consumer group connect-{name}; read them with Kafka's tools."
            ),
        );
    }
    match SourceOffsets::new(fabric.workshop.store.kafka.clone(), &name).load_all().await {
        Ok(all) => {
            let list: Vec<Value> =
                all.into_iter().map(|(partition, offset)| json!({"partition": partition, "offset": offset})).collect();
            HttpResponse::Ok().json(json!({"offsets": list}))
        }
        Err(cause) => error(503, cause.to_string()),
    }
}

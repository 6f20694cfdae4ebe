//! `/connectors`: list, create, read, change, delete.

use super::{Fabric, error, kafka_error, loading, not_found};
use crate::catalogue;
use crate::config::{mask, unmask};
use crate::connector::Kind;
use crate::state::{Entry, Target};
use crate::validate::{check, refusal};
use crate::{ConnectorConfig, worker};
use actix_web::{HttpRequest, HttpResponse, web};
use ratestream_kafka::KafkaError;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/connectors", web::get().to(list))
        .route("/connectors", web::post().to(create))
        .route("/connectors/{name}", web::get().to(info))
        .route("/connectors/{name}", web::delete().to(delete))
        .route("/connectors/{name}/config", web::get().to(read_config))
        .route("/connectors/{name}/config", web::put().to(put_config))
        .route("/connectors/{name}/config", web::patch().to(patch_config))
        .route("/connectors/{name}/tasks", web::get().to(tasks));
}

type Config = BTreeMap<String, String>;

/// Connector values may come as JSON numbers and booleans.
fn flat(map: Map<String, Value>) -> Result<Config, HttpResponse> {
    map.into_iter()
        .map(|(key, value)| match value {
            Value::String(text) => Ok((key, text)),
            Value::Number(_) | Value::Bool(_) => Ok((key, value.to_string())),
            _ => Err(error(400, format!("The configuration value of '{key}' must be a string."))),
        })
        .collect()
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, HttpResponse> {
    serde_json::from_slice(body).map_err(|cause| error(400, format!("The body is not what this call takes: {cause}")))
}

#[derive(Deserialize)]
struct Creation {
    name: Option<String>,
    config: Option<Map<String, Value>>,
    initial_state: Option<String>,
    /// The flat form: the configuration itself, with its `name`.
    #[serde(flatten)]
    flat: Map<String, Value>,
}

async fn list(fabric: Fabric, request: HttpRequest) -> HttpResponse {
    if let Some(answer) = loading(&fabric) {
        return answer;
    }
    let query = request.query_string();
    let (status, expand) = (query.contains("expand=status"), query.contains("expand=info"));
    let names: Vec<String> = fabric.workshop.store.read(|state| state.connectors.keys().cloned().collect());
    if !status && !expand {
        return HttpResponse::Ok().json(names);
    }
    let mut all = Map::new();
    for name in names {
        let mut entry = Map::new();
        if status {
            entry.insert("status".into(), super::lifecycle::status_of(&fabric, &name));
        }
        if expand {
            entry.insert("info".into(), info_of(&fabric, &name).unwrap_or_default());
        }
        all.insert(name, Value::Object(entry));
    }
    HttpResponse::Ok().json(all)
}

/// `{name, config, tasks, type}` with secrets masked.
fn info_of(fabric: &Fabric, name: &str) -> Option<Value> {
    let entry = fabric.workshop.store.read(|state| state.connectors.get(name).cloned())?;
    let (kind, count) = shape(fabric, &entry);
    let tasks: Vec<Value> = (0..count).map(|task| json!({"connector": name, "task": task})).collect();
    Some(json!({"name": name, "config": mask(&entry.config), "tasks": tasks, "type": kind}))
}

/// Direction and number of tasks.
pub(super) fn shape(fabric: &Fabric, entry: &Entry) -> (Option<Kind>, u32) {
    let class = entry.config.get("connector.class").map_or("", String::as_str);
    let stopped = entry.target == Target::Stopped;
    let recorded = fabric.workshop.store.read(|state| state.plugin(class).map(|plugin| plugin.kind));
    let kind = recorded.or_else(|| catalogue::full_name(class).map(|known| known.kind));
    let count = match fabric.class(class) {
        _ if stopped => 0,
        Some(class) => worker::tasks(class.as_ref(), &entry.config),
        None => 1,
    };
    (kind, count)
}

async fn create(fabric: Fabric, body: web::Bytes) -> HttpResponse {
    if let Some(answer) = loading(&fabric) {
        return answer;
    }
    created(&fabric, &body).await.unwrap_or_else(|refused| refused)
}

async fn created(fabric: &Fabric, body: &[u8]) -> Result<HttpResponse, HttpResponse> {
    let Creation { name, config, initial_state, flat: rest } = parse(body)?;
    let mut config = flat(config.unwrap_or(rest))?;
    let name = name.or_else(|| config.get("name").cloned()).unwrap_or_default();
    check_name(&name)?;
    let target = match initial_state.as_deref() {
        None => Target::Running,
        Some(text) => Target::parse(text)
            .ok_or_else(|| error(400, format!("initial_state is {text}; use RUNNING, PAUSED or STOPPED.")))?,
    };
    if fabric.workshop.store.read(|state| state.connectors.contains_key(&name)) {
        return Err(error(409, format!("Connector {name} already exists")));
    }
    name_of_body(&name, &mut config)?;
    validated(fabric, &config)?;
    store(fabric, &name, &config, (target != Target::Running).then_some(target))
        .await
        .map_err(|cause| kafka_error(&cause))?;
    tracing::info!(connector = name, "connector created");
    let location = format!("/connectors/{name}");
    Ok(HttpResponse::Created().insert_header(("Location", location)).json(info_of(fabric, &name)))
}

fn check_name(name: &str) -> Result<(), HttpResponse> {
    let bad = name.trim().is_empty() || name.len() > 249 || name.chars().any(|c| c.is_control() || c == '/');
    if bad {
        Err(error(400, "Connector name must be 1 to 249 characters, without '/' and control characters."))
    } else {
        Ok(())
    }
}

fn name_of_body(name: &str, config: &mut Config) -> Result<(), HttpResponse> {
    match config.get("name") {
        Some(other) if other != name => Err(error(
            400,
            format!("Connector name configuration ({other}) doesn't match connector name in the URL ({name})"),
        )),
        _ => {
            config.insert("name".into(), name.to_owned());
            Ok(())
        }
    }
}

/// Refuses what the class's owner would refuse. An owner that has not run yet checks when it does.
fn validated(fabric: &Fabric, config: &Config) -> Result<(), HttpResponse> {
    let class = config.get("connector.class").map_or("", String::as_str);
    let plugin = fabric.workshop.store.read(|state| state.plugin(class).cloned());
    let own = fabric.class(class);
    let plugin = plugin.or_else(|| own.map(|own| crate::state::Plugin::new(&own.descriptor(), "")));
    let Some(plugin) = plugin else {
        return if catalogue::full_name(class).is_some() { Ok(()) } else { Err(unknown_class(fabric, class)) };
    };
    let further =
        own.map_or_else(Vec::new, |own| own.validate(&ConnectorConfig::new(config.clone(), own.descriptor().keys)));
    refusal(&check(&plugin, config, &further)).map_or(Ok(()), |message| Err(error(400, message)))
}

fn unknown_class(fabric: &Fabric, class: &str) -> HttpResponse {
    let known: Vec<String> = fabric.workshop.store.read(|state| state.plugins.keys().cloned().collect());
    if class.is_empty() {
        return error(400, "Connector config {} contains no connector type: set \"connector.class\".");
    }
    error(
        400,
        format!(
            "Failed to find any class that implements Connector and which name matches {class}, available connectors are: {}",
            known.join(", ")
        ),
    )
}

async fn store(fabric: &Fabric, name: &str, config: &Config, target: Option<Target>) -> Result<(), KafkaError> {
    let store = &fabric.workshop.store;
    if let Some(target) = target {
        store.write_config(&format!("target-state-{name}"), Some(&target.record())).await?;
    }
    store.write_config(&format!("connector-{name}"), Some(&json!({"properties": config}))).await
}

async fn info(fabric: Fabric, name: web::Path<String>) -> HttpResponse {
    if let Some(answer) = loading(&fabric) {
        return answer;
    }
    info_of(&fabric, &name).map_or_else(|| not_found(&name), |info| HttpResponse::Ok().json(info))
}

async fn tasks(fabric: Fabric, name: web::Path<String>) -> HttpResponse {
    let Some(entry) = fabric.workshop.store.read(|state| state.connectors.get(name.as_str()).cloned()) else {
        return not_found(&name);
    };
    let config = mask(&entry.config);
    let task = |task| json!({"id": {"connector": name.as_str(), "task": task}, "config": config});
    HttpResponse::Ok().json((0..shape(&fabric, &entry).1).map(task).collect::<Vec<_>>())
}

async fn read_config(fabric: Fabric, name: web::Path<String>) -> HttpResponse {
    let config =
        fabric.workshop.store.read(|state| state.connectors.get(name.as_str()).map(|entry| mask(&entry.config)));
    config.map_or_else(|| not_found(&name), |config| HttpResponse::Ok().json(config))
}

async fn put_config(fabric: Fabric, name: web::Path<String>, body: web::Bytes) -> HttpResponse {
    if let Some(answer) = loading(&fabric) {
        return answer;
    }
    let changed = async {
        let mut config = flat(parse(&body)?)?;
        check_name(&name)?;
        name_of_body(&name, &mut config)?;
        let old =
            fabric.workshop.store.read(|state| state.connectors.get(name.as_str()).map(|entry| entry.config.clone()));
        unmask(&mut config, old.as_ref().unwrap_or(&Config::new()));
        replace(&fabric, &name, &config, old.is_some()).await
    };
    changed.await.unwrap_or_else(|refused| refused)
}

async fn patch_config(fabric: Fabric, name: web::Path<String>, body: web::Bytes) -> HttpResponse {
    let changed = async {
        let patch: Map<String, Value> = parse(&body)?;
        let old =
            fabric.workshop.store.read(|state| state.connectors.get(name.as_str()).map(|entry| entry.config.clone()));
        let old = old.ok_or_else(|| not_found(&name))?;
        let (removed, set): (Map<_, _>, Map<_, _>) = patch.into_iter().partition(|(_, value)| value.is_null());
        let mut set = flat(set)?;
        unmask(&mut set, &old);
        let mut config = old;
        config.extend(set);
        config.retain(|key, _| !removed.contains_key(key));
        name_of_body(&name, &mut config)?;
        replace(&fabric, &name, &config, true).await
    };
    changed.await.unwrap_or_else(|refused: HttpResponse| refused)
}

async fn replace(fabric: &Fabric, name: &str, config: &Config, existed: bool) -> Result<HttpResponse, HttpResponse> {
    validated(fabric, config)?;
    store(fabric, name, config, None).await.map_err(|cause| kafka_error(&cause))?;
    let mut response = if existed { HttpResponse::Ok() } else { HttpResponse::Created() };
    Ok(response.insert_header(("Location", format!("/connectors/{name}"))).json(info_of(fabric, name)))
}

async fn delete(fabric: Fabric, name: web::Path<String>) -> HttpResponse {
    if !fabric.workshop.store.read(|state| state.connectors.contains_key(name.as_str())) {
        return not_found(&name);
    }
    let store = &fabric.workshop.store;
    let mut outcome = store.write_config(&format!("connector-{name}"), None).await;
    if outcome.is_ok() {
        outcome = store.write_config(&format!("target-state-{name}"), None).await;
    }
    match outcome {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(cause) => kafka_error(&cause),
    }
}

//! `/connector-plugins`: the classes of all services, their properties, and validation.

use super::{Fabric, error};
use crate::ConnectorConfig;
use crate::state::Plugin;
use crate::validate::{check, definition, keys, report};
use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/connector-plugins", web::get().to(list))
        .route("/connector-plugins/{plugin}/config", web::get().to(describe))
        .route("/connector-plugins/{plugin}/config/validate", web::put().to(validate));
}

async fn list(fabric: Fabric) -> HttpResponse {
    let all: Vec<Value> = fabric.workshop.store.read(|state| {
        state.plugins.values().map(|p| json!({"class": p.class, "type": p.kind, "version": p.version})).collect()
    });
    HttpResponse::Ok().json(all)
}

fn find(fabric: &Fabric, name: &str) -> Result<Plugin, HttpResponse> {
    let found = fabric.workshop.store.read(|state| state.plugin(name).cloned());
    found.ok_or_else(|| error(404, format!("Unknown plugin {name}.")))
}

async fn describe(fabric: Fabric, name: web::Path<String>) -> HttpResponse {
    match find(&fabric, &name) {
        Ok(plugin) => {
            let list: Vec<Value> =
                keys(&plugin).iter().enumerate().map(|(order, key)| definition(key, order)).collect();
            HttpResponse::Ok().json(list)
        }
        Err(refused) => refused,
    }
}

async fn validate(fabric: Fabric, name: web::Path<String>, body: web::Json<Map<String, Value>>) -> HttpResponse {
    let plugin = match find(&fabric, &name) {
        Ok(plugin) => plugin,
        Err(refused) => return refused,
    };
    let given: BTreeMap<String, String> = body
        .into_inner()
        .into_iter()
        .map(|(key, value)| (key, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    if let Some(class) = given.get("connector.class")
        && !plugin.is_named(class)
    {
        let message = format!("Included connector type {class} does not match request type {}", name.as_str());
        return error(400, message);
    }
    let further = fabric
        .class(&plugin.class)
        .map_or_else(Vec::new, |own| own.validate(&ConnectorConfig::new(given.clone(), own.descriptor().keys)));
    HttpResponse::Ok().json(report(&plugin, &check(&plugin, &given, &further)))
}

//! `/config`: compatibility levels and their companions, global and by subject.

use std::sync::Arc;

use actix_web::{HttpRequest, web};
use serde_json::{Map, Value};

use super::query::Query;
use super::{Answer, Registry, answer, body, subject_name};
use crate::error::ApiError;
use crate::store::decide::{Command, config_view};
use crate::store::model::{Config, Level};

/// The paths below `/config`.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/config")
                .route(web::get().to(global))
                .route(web::put().to(put_global))
                .route(web::delete().to(delete_global)),
        )
        .service(
            web::resource("/config/{subject}")
                .route(web::get().to(of_subject))
                .route(web::put().to(put_subject))
                .route(web::delete().to(delete_subject)),
        );
}

async fn global(request: HttpRequest, registry: web::Data<Registry>) -> Answer {
    let index = registry.read()?;
    let config = index.config(None).cloned().unwrap_or_default();
    answer(&request, &config_view(&config, Some(index.level(None))))
}

async fn of_subject(request: HttpRequest, registry: web::Data<Registry>, path: web::Path<String>) -> Answer {
    let subject = subject_name(&path)?;
    let index = registry.read()?;
    let to_global = Query::of(&request).flag("defaultToGlobal");
    let view = match index.config(Some(&subject)) {
        Some(config) => config_view(config, config.level.or_else(|| to_global.then(|| index.level(None)))),
        None if to_global => config_view(index.config(None).unwrap_or(&Config::default()), Some(index.level(None))),
        None => return Err(ApiError::no_subject_config(&subject)),
    };
    answer(&request, &view)
}

/// Reads the body of a `PUT`: the level is called `compatibility` there, any case.
fn read(mut fields: Map<String, Value>) -> Result<Config, ApiError> {
    let level = match fields.shift_remove("compatibility") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(Level::from_name(&name).ok_or_else(ApiError::invalid_level)?),
        Some(_) => return Err(ApiError::invalid_level()),
    };
    let mut config = Config { level, other: Map::new() };
    config.other.extend(fields.into_iter().filter(|(name, value)| KNOWN.contains(&name.as_str()) && !value.is_null()));
    Ok(config)
}

/// What a configuration may hold beside its level; other keys are ignored, as the original does.
const KNOWN: [&str; 11] = [
    "alias",
    "normalize",
    "validateFields",
    "validateNewSchemas",
    "validateRules",
    "compatibilityGroup",
    "compatibilityPolicy",
    "defaultMetadata",
    "overrideMetadata",
    "defaultRuleSet",
    "overrideRuleSet",
];

async fn put(request: HttpRequest, registry: &Registry, subject: Option<Arc<str>>, bytes: &[u8]) -> Answer {
    let config = read(body(&request, registry, bytes)?)?;
    let echo = registry.write(Command::PutConfig { subject, config }).await?;
    answer(&request, &echo)
}

async fn put_global(request: HttpRequest, registry: web::Data<Registry>, bytes: web::Bytes) -> Answer {
    put(request, &registry, None, &bytes).await
}

async fn put_subject(
    request: HttpRequest,
    registry: web::Data<Registry>,
    path: web::Path<String>,
    bytes: web::Bytes,
) -> Answer {
    put(request, &registry, Some(subject_name(&path)?), &bytes).await
}

async fn delete_global(request: HttpRequest, registry: web::Data<Registry>) -> Answer {
    let old = registry.write(Command::DeleteConfig { subject: None }).await?;
    answer(&request, &old)
}

async fn delete_subject(request: HttpRequest, registry: web::Data<Registry>, path: web::Path<String>) -> Answer {
    let old = registry.write(Command::DeleteConfig { subject: Some(subject_name(&path)?) }).await?;
    answer(&request, &old)
}

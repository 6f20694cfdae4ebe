//! `/mode`: what the registry or a subject accepts.

use std::sync::Arc;

use actix_web::{HttpRequest, web};
use serde::Deserialize;
use serde_json::json;

use super::query::Query;
use super::{Answer, Registry, answer, body, subject_name};
use crate::error::ApiError;
use crate::store::decide::Command;
use crate::store::model::Mode;

/// The paths below `/mode`.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/mode").route(web::get().to(global)).route(web::put().to(put_global))).service(
        web::resource("/mode/{subject}")
            .route(web::get().to(of_subject))
            .route(web::put().to(put_subject))
            .route(web::delete().to(delete_subject)),
    );
}

#[derive(Deserialize)]
struct ModeBody {
    mode: String,
}

async fn global(request: HttpRequest, registry: web::Data<Registry>) -> Answer {
    let mode = registry.read()?.mode(None);
    answer(&request, &json!({"mode": mode.name()}))
}

async fn of_subject(request: HttpRequest, registry: web::Data<Registry>, path: web::Path<String>) -> Answer {
    let subject = subject_name(&path)?;
    let index = registry.read()?;
    let own = index.own_mode(Some(&subject));
    let mode = match own {
        Some(mode) => mode,
        None if Query::of(&request).flag("defaultToGlobal") => index.mode(None),
        None => return Err(ApiError::no_subject_mode(&subject)),
    };
    answer(&request, &json!({"mode": mode.name()}))
}

async fn put(request: HttpRequest, registry: &Registry, subject: Option<Arc<str>>, bytes: &[u8]) -> Answer {
    let wanted: ModeBody = body(&request, registry, bytes)?;
    let mode = Mode::from_name(&wanted.mode).ok_or_else(ApiError::invalid_mode)?;
    let force = Query::of(&request).flag("force");
    let echo = registry.write(Command::PutMode { subject, mode, force }).await?;
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

async fn delete_subject(request: HttpRequest, registry: web::Data<Registry>, path: web::Path<String>) -> Answer {
    let old = registry.write(Command::DeleteMode { subject: Some(subject_name(&path)?) }).await?;
    answer(&request, &old)
}

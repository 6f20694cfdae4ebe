//! `/schemas`: by id, and over all subjects.

use actix_web::{HttpRequest, web};
use serde_json::{Map, Value, json};

use super::query::Query;
use super::{Answer, Registry, answer, raw_answer, show_content, show_version};
use crate::error::ApiError;
use crate::store::ids::{Named, Use};
use crate::store::index::Index;
use crate::store::model::context_of;

/// Most schemas in one answer of `GET /schemas`.
const LIST_MAX: usize = 1000;

/// The paths below `/schemas`.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/schemas", web::get().to(list))
        .route("/schemas/types", web::get().to(types))
        .route("/schemas/ids/{id}", web::get().to(by_id))
        .route("/schemas/ids/{id}/schema", web::get().to(text))
        .route("/schemas/ids/{id}/subjects", web::get().to(subjects))
        .route("/schemas/ids/{id}/versions", web::get().to(versions));
}

fn named<'a>(index: &'a Index, id: &str, query: &Query) -> Result<(i32, &'a Named), ApiError> {
    let id: i32 = id.parse().map_err(|_| ApiError::not_found())?;
    index.named(id, query.text("subject")).map(|named| (id, named)).ok_or_else(|| ApiError::id_not_found(id))
}

async fn types(request: HttpRequest) -> Answer {
    answer(&request, &json!(["AVRO"]))
}

async fn by_id(request: HttpRequest, registry: web::Data<Registry>, path: web::Path<String>) -> Answer {
    let query = Query::of(&request);
    let index = registry.read()?;
    let (_, found) = named(&index, &path, &query)?;
    let mut body = Map::new();
    show_content(&mut body, &found.content);
    if query.flag("fetchMaxId") {
        let context = query.text("subject").map_or(".", context_of);
        body.insert("maxId".into(), index.ids(context).map_or(0, |ids| ids.highest()).into());
    }
    answer(&request, &Value::Object(body))
}

async fn text(request: HttpRequest, registry: web::Data<Registry>, path: web::Path<String>) -> Answer {
    let query = Query::of(&request);
    let index = registry.read()?;
    let (_, found) = named(&index, &path, &query)?;
    raw_answer(&request, found.content.schema.to_string())
}

/// The places where an id is used, as far as the caller wants to see them.
fn uses<'a>(index: &'a Index, named: &'a Named, query: &Query) -> Vec<&'a Use> {
    let (show, only) = (query.show(), query.text("subject").map(str::to_owned));
    named
        .uses
        .iter()
        .filter(|(subject, number)| index.version(subject, *number).is_some_and(|version| show.wants(version)))
        .filter(|(subject, _)| only.as_deref().is_none_or(|only| only == &**subject))
        .collect()
}

async fn subjects(request: HttpRequest, registry: web::Data<Registry>, path: web::Path<String>) -> Answer {
    let query = Query::of(&request);
    let index = registry.read()?;
    let (_, found) = named(&index, &path, &query)?;
    let mut names: Vec<_> = uses(&index, found, &query).into_iter().map(|(subject, _)| subject).collect();
    names.dedup();
    answer(&request, &json!(query.page(names.into_iter())?))
}

async fn versions(request: HttpRequest, registry: web::Data<Registry>, path: web::Path<String>) -> Answer {
    let query = Query::of(&request);
    let index = registry.read()?;
    let (_, found) = named(&index, &path, &query)?;
    let pairs = uses(&index, found, &query)
        .into_iter()
        .map(|(subject, version)| json!({"subject": subject, "version": version}));
    answer(&request, &json!(query.page(pairs)?))
}

async fn list(request: HttpRequest, registry: web::Data<Registry>) -> Answer {
    let query = Query::of(&request);
    let index = registry.read()?;
    let prefix = match query.text("subjectPrefix") {
        None | Some(":*:") => "",
        Some(prefix) => prefix,
    };
    let (show, latest_only) = (query.show(), query.flag("latestOnly"));
    let found = index.subjects(show).filter(|name| name.starts_with(prefix)).flat_map(|subject| {
        let mut versions: Vec<_> = index.versions(subject, show).collect();
        if latest_only {
            versions.drain(..versions.len().saturating_sub(1));
        }
        versions.into_iter().map(|version| show_version(subject, version))
    });
    answer(&request, &json!(query.page(found.take(LIST_MAX))?))
}

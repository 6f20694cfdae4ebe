//! `/compatibility`: would this schema be accepted?

use actix_web::{HttpRequest, web};
use serde_json::{Value, json};

use super::query::Query;
use super::subjects::SchemaBody;
use super::{Answer, Registry, Wanted, answer, body, subject_name};
use crate::compat;
use crate::error::ApiError;
use crate::store::index::{Index, Show, Version};
use crate::store::model::Level;

/// The paths below `/compatibility`.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/compatibility/subjects/{subject}/versions", web::post().to(with_history))
        .route("/compatibility/subjects/{subject}/versions/{version}", web::post().to(with_version));
}

async fn with_history(
    request: HttpRequest,
    registry: web::Data<Registry>,
    path: web::Path<String>,
    bytes: web::Bytes,
) -> Answer {
    let subject = subject_name(&path)?;
    let draft: SchemaBody = body(&request, &registry, &bytes)?;
    let index = registry.read()?;
    let earlier: Vec<&Version> = index.versions(&subject, Show::Live).collect();
    verdict(&request, &index, &subject, &draft, &earlier, index.level(Some(&subject)))
}

async fn with_version(
    request: HttpRequest,
    registry: web::Data<Registry>,
    path: web::Path<(String, String)>,
    bytes: web::Bytes,
) -> Answer {
    let (subject, wanted) = (subject_name(&path.0)?, Wanted::parse(&path.1)?);
    let draft: SchemaBody = body(&request, &registry, &bytes)?;
    let index = registry.read()?;
    let found = match (wanted.find(&index, &subject, Show::Live), wanted) {
        (Ok(version), _) => Some(version),
        // Against the latest of nothing everything is compatible.
        (Err(_), Wanted::Latest) => None,
        (Err(_), Wanted::Number(number)) => return Err(ApiError::version_not_found(number)),
    };
    let earlier: Vec<&Version> = found.iter().collect();
    verdict(&request, &index, &subject, &draft, &earlier, index.level(Some(&subject)))
}

fn verdict(
    request: &HttpRequest,
    index: &Index,
    subject: &str,
    draft: &SchemaBody,
    earlier: &[&Version],
    level: Level,
) -> Answer {
    let query = Query::of(request);
    let verbose = query.flag("verbose");
    let faults = match draft.content(index, query.flag("normalize")) {
        Ok(Some(content)) => compat::check(index, subject, level, &content, earlier)?,
        Ok(None) => refuse(verbose, ApiError::invalid_schema("Empty schema"))?,
        Err(error) => refuse(verbose, error)?,
    };
    let mut body = json!({"is_compatible": faults.is_empty()});
    if verbose && let Value::Object(body) = &mut body {
        body.insert("messages".into(), json!(faults));
    }
    answer(request, &body)
}

/// With `verbose` an unreadable schema is an answer, without it a refusal.
fn refuse(verbose: bool, error: ApiError) -> Result<Vec<String>, ApiError> {
    if verbose { Ok(vec![error.message]) } else { Err(error) }
}

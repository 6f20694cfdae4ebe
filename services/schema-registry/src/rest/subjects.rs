//! `/subjects`: list, look up, register, read and delete versions.

use std::sync::Arc;

use actix_web::{HttpRequest, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::query::Query;
use super::{Answer, Registry, Wanted, answer, body, raw_answer, show_version, subject_name};
use crate::compat;
use crate::error::ApiError;
use crate::store::decide::{Command, Registration, already_registered, find};
use crate::store::index::{Index, Show};
use crate::store::model::{Config, Content, Reference, SchemaType};

/// The paths below `/subjects`.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/subjects", web::get().to(list))
        .service(
            web::resource("/subjects/{subject}").route(web::post().to(look_up)).route(web::delete().to(delete_subject)),
        )
        .service(
            web::resource("/subjects/{subject}/versions")
                .route(web::get().to(versions))
                .route(web::post().to(register)),
        )
        .service(
            web::resource("/subjects/{subject}/versions/{version}")
                .route(web::get().to(version))
                .route(web::delete().to(delete_version)),
        )
        .route("/subjects/{subject}/versions/{version}/schema", web::get().to(version_text))
        .route("/subjects/{subject}/versions/{version}/referencedby", web::get().to(referenced_by));
}

/// The body of a registration, a lookup and a compatibility check. Unknown fields are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SchemaBody {
    schema: Option<String>,
    schema_type: Option<String>,
    references: Option<Vec<Reference>>,
    metadata: Option<Value>,
    rule_set: Option<Value>,
    id: Option<i32>,
    version: Option<i32>,
}

impl SchemaBody {
    /// The content in canonical form; `None` for an empty schema.
    ///
    /// # Errors
    /// 42201 when the schema cannot be read.
    pub fn content(&self, index: &Index, normalize: bool) -> Result<Option<Content>, ApiError> {
        let Some(text) = self.schema.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let name = self.schema_type.as_deref().filter(|name| !name.is_empty()).unwrap_or("AVRO");
        let schema_type = SchemaType::from_name(name)
            .ok_or_else(|| ApiError::invalid_schema(format_args!("{name} is not a schema type; use AVRO")))?;
        if schema_type != SchemaType::Avro {
            let text = format_args!("schemas of type {name} cannot be registered with this version; use AVRO");
            return Err(ApiError::invalid_schema(text));
        }
        let json_text = |value: &Option<Value>| -> Option<Arc<str>> {
            value.as_ref().filter(|value| !value.is_null()).map(|value| value.to_string().into())
        };
        let mut content = Content {
            schema_type,
            schema: text.into(),
            references: self.references.clone().unwrap_or_default(),
            metadata: json_text(&self.metadata),
            rule_set: json_text(&self.rule_set),
        };
        let parsed = compat::parse(index, &content).map_err(ApiError::invalid_schema)?;
        content.schema = if normalize { parsed.normalized().into() } else { parsed.canonical().into() };
        if normalize {
            content.references.sort_by(|a, b| a.name.cmp(&b.name));
            content.references.dedup();
        }
        Ok(Some(content))
    }
}

fn normalize(query: &Query, index: &Index, subject: &str) -> bool {
    query.flag("normalize") || index.setting(subject, |config: &Config| config.normalize().then_some(true)).is_some()
}

async fn list(request: HttpRequest, registry: web::Data<Registry>) -> Answer {
    let query = Query::of(&request);
    let index = registry.read()?;
    let prefix = match query.text("subjectPrefix") {
        None | Some(":*:") => "",
        Some(prefix) => prefix,
    };
    let names = query.page(index.subjects(query.show()).filter(|name| name.starts_with(prefix)))?;
    answer(&request, &json!(names))
}

async fn look_up(
    request: HttpRequest,
    registry: web::Data<Registry>,
    path: web::Path<String>,
    bytes: web::Bytes,
) -> Answer {
    let subject = subject_name(&path)?;
    let query = Query::of(&request);
    let wanted: SchemaBody = body(&request, &registry, &bytes)?;
    let index = registry.read()?;
    let show = query.show();
    if index.versions(&subject, show).next().is_none() {
        return Err(ApiError::subject_not_found(&subject));
    }
    let found = match wanted.content(&index, normalize(&query, &index, &subject))? {
        Some(content) => find(&index, &subject, &content, show),
        None => index.versions(&subject, show).next_back(),
    };
    let found = found.ok_or_else(ApiError::schema_not_found)?;
    answer(&request, &show_version(&subject, found))
}

async fn register(
    request: HttpRequest,
    registry: web::Data<Registry>,
    path: web::Path<String>,
    bytes: web::Bytes,
) -> Answer {
    let subject = subject_name(&path)?;
    let query = Query::of(&request);
    let wanted: SchemaBody = body(&request, &registry, &bytes)?;
    let registration = {
        let index = registry.read()?;
        let content = wanted.content(&index, normalize(&query, &index, &subject))?.map(Arc::new);
        // -1 is how clients say "not given".
        let given = |number: Option<i32>| number.filter(|number| *number > 0);
        let registration = Registration { subject, content, id: given(wanted.id), version: given(wanted.version) };
        // Most registrations are of schemas long known: those never bother the writer.
        if let Some(known) = already_registered(&index, &registration) {
            return answer(&request, &known);
        }
        registration
    };
    let written = registry.write(Command::Register(registration)).await?;
    answer(&request, &written)
}

async fn versions(request: HttpRequest, registry: web::Data<Registry>, path: web::Path<String>) -> Answer {
    let subject = subject_name(&path)?;
    let query = Query::of(&request);
    let index = registry.read()?;
    let all: Vec<i32> = index.versions(&subject, query.show()).map(|version| version.number).collect();
    if all.is_empty() {
        return Err(ApiError::subject_not_found(&subject));
    }
    answer(&request, &json!(query.page(all.into_iter())?))
}

async fn version(request: HttpRequest, registry: web::Data<Registry>, path: web::Path<(String, String)>) -> Answer {
    let (subject, wanted) = (subject_name(&path.0)?, Wanted::parse(&path.1)?);
    let found = wanted.find(&*registry.read()?, &subject, Query::of(&request).show())?;
    answer(&request, &show_version(&subject, &found))
}

async fn version_text(
    request: HttpRequest,
    registry: web::Data<Registry>,
    path: web::Path<(String, String)>,
) -> Answer {
    let (subject, wanted) = (subject_name(&path.0)?, Wanted::parse(&path.1)?);
    let found = wanted.find(&*registry.read()?, &subject, Query::of(&request).show())?;
    raw_answer(&request, found.content.schema.to_string())
}

async fn referenced_by(
    request: HttpRequest,
    registry: web::Data<Registry>,
    path: web::Path<(String, String)>,
) -> Answer {
    let (subject, wanted) = (subject_name(&path.0)?, Wanted::parse(&path.1)?);
    let query = Query::of(&request);
    let index = registry.read()?;
    let found = wanted.find(&index, &subject, Show::All)?;
    let show = query.show();
    let mut ids: Vec<i32> =
        index.referrers(&subject, found.number).filter(|user| show.wants(user)).map(|user| user.id).collect();
    ids.sort_unstable();
    ids.dedup();
    answer(&request, &json!(query.page(ids.into_iter())?))
}

async fn delete_subject(request: HttpRequest, registry: web::Data<Registry>, path: web::Path<String>) -> Answer {
    let subject = subject_name(&path)?;
    let permanent = Query::of(&request).flag("permanent");
    let deleted = registry.write(Command::DeleteSubject { subject, permanent }).await?;
    answer(&request, &deleted)
}

async fn delete_version(
    request: HttpRequest,
    registry: web::Data<Registry>,
    path: web::Path<(String, String)>,
) -> Answer {
    let subject = subject_name(&path.0)?;
    let version = match Wanted::parse(&path.1)? {
        Wanted::Latest => None,
        Wanted::Number(number) => Some(number),
    };
    let permanent = Query::of(&request).flag("permanent");
    let deleted = registry.write(Command::DeleteVersion { subject, version, permanent }).await?;
    answer(&request, &deleted)
}

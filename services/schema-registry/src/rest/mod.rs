//! The API: paths, parameters, bodies. Decisions are made in [`crate::store`].

pub mod compatibility;
pub mod config;
pub mod media;
pub mod mode;
pub mod query;
pub mod schemas;
pub mod subjects;

use std::sync::{Arc, RwLockReadGuard};
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::actors::writer::Job;
use crate::error::ApiError;
use crate::store::decide::Command;
use crate::store::index::{Index, Show, Version};
use crate::store::log::Log;
use crate::store::model::{Content, SchemaType};

/// How long a request waits for its write.
const WRITE: Duration = Duration::from_secs(30);

/// An answer or a refusal.
pub type Answer = Result<HttpResponse, ApiError>;

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    /// The state.
    pub log: Arc<Log>,
    /// The way to the writer.
    pub jobs: mpsc::Sender<Job>,
    /// Longest body taken.
    pub body_bytes_max: usize,
}

impl Registry {
    /// The state for reading.
    ///
    /// # Errors
    /// 503 while the log has not been read to its end.
    pub fn read(&self) -> Result<RwLockReadGuard<'_, Index>, ApiError> {
        self.log.read()
    }

    /// Has a command decided and written, and waits until it is visible.
    ///
    /// # Errors
    /// The refusal, or 503 when the log is out of reach or too many requests wait.
    pub async fn write(&self, command: Command) -> Result<Value, ApiError> {
        drop(self.read()?);
        let (reply, answer) = oneshot::channel();
        self.jobs
            .try_send(Job { command, reply })
            .map_err(|_| ApiError::unavailable("too many requests wait to be written"))?;
        match tokio::time::timeout(WRITE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ApiError::unavailable("the writer was restarted")),
            Err(_) => Err(ApiError::timed_out()),
        }
    }
}

/// Adds the routes of the API.
pub fn routes(config: &mut web::ServiceConfig, registry: &web::Data<Registry>) {
    config
        .app_data(registry.clone())
        .route("/", web::get().to(root))
        .route("/", web::post().to(root))
        .route("/contexts", web::get().to(contexts))
        .route("/v1/metadata/version", web::get().to(metadata_version))
        .configure(subjects::routes)
        .configure(schemas::routes)
        .configure(self::config::routes)
        .configure(mode::routes)
        .configure(compatibility::routes)
        .default_service(web::to(unknown_path));
}

async fn root(request: HttpRequest) -> Answer {
    answer(&request, &json!({}))
}

async fn unknown_path() -> Answer {
    Err(ApiError::not_found())
}

async fn contexts(request: HttpRequest, registry: web::Data<Registry>) -> Answer {
    let index = registry.read()?;
    answer(&request, &json!(index.contexts()))
}

async fn metadata_version(request: HttpRequest) -> Answer {
    answer(&request, &json!({"version": env!("CARGO_PKG_VERSION"), "commitId": ""}))
}

/// 200 with a JSON body of the type the caller likes.
///
/// # Errors
/// 406.
pub fn answer(request: &HttpRequest, body: &Value) -> Answer {
    raw_answer(request, body.to_string())
}

/// 200 with a text that is JSON already.
///
/// # Errors
/// 406.
pub fn raw_answer(request: &HttpRequest, body: String) -> Answer {
    Ok(HttpResponse::Ok().insert_header(("Content-Type", media::answer_type(request)?)).body(body))
}

/// Reads a JSON body.
///
/// # Errors
/// 400, 413, 415.
pub fn body<T: DeserializeOwned>(request: &HttpRequest, registry: &Registry, bytes: &[u8]) -> Result<T, ApiError> {
    media::check_body(request)?;
    if bytes.len() > registry.body_bytes_max {
        return Err(ApiError::too_large(registry.body_bytes_max));
    }
    serde_json::from_slice(bytes).map_err(ApiError::bad_request)
}

/// Checks a subject's name: any character but control ones, and not one of the reserved names.
///
/// # Errors
/// 42208.
pub fn subject_name(name: &str) -> Result<Arc<str>, ApiError> {
    let reserved = name.is_empty() || name == "__GLOBAL" || name == "__EMPTY" || name.chars().any(char::is_control);
    if reserved { Err(ApiError::invalid_subject(name)) } else { Ok(name.into()) }
}

/// A version in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// `latest` or -1.
    Latest,
    /// A number from 1.
    Number(i32),
}

impl Wanted {
    /// Reads `latest`, `-1` or a number.
    ///
    /// # Errors
    /// 42202.
    pub fn parse(text: &str) -> Result<Wanted, ApiError> {
        match text {
            "latest" | "-1" => Ok(Wanted::Latest),
            _ => match text.parse::<i32>() {
                Ok(number) if number > 0 => Ok(Wanted::Number(number)),
                _ => Err(ApiError::invalid_version(text)),
            },
        }
    }

    /// Finds the version. `latest` means the latest live one even when deleted ones are shown.
    ///
    /// # Errors
    /// 40401, 40402.
    pub fn find(self, index: &Index, subject: &str, show: Show) -> Result<Version, ApiError> {
        let known = index.versions(subject, show).next().is_some();
        let found = match self {
            Wanted::Latest => index.versions(subject, Show::Live).next_back(),
            Wanted::Number(number) => index.version(subject, number).filter(|version| show.wants(version)),
        };
        match (found, self) {
            (Some(version), _) => Ok(version.clone()),
            (None, _) if !known => Err(ApiError::subject_not_found(subject)),
            (None, Wanted::Latest) => Err(ApiError::version_not_found("latest")),
            (None, Wanted::Number(number)) => Err(ApiError::version_not_found(number)),
        }
    }
}

/// The fields of a schema that are shown beside its text: type (unless Avro), references, contract.
pub fn show_content(body: &mut serde_json::Map<String, Value>, content: &Content) {
    if content.schema_type != SchemaType::Avro {
        body.insert("schemaType".into(), content.schema_type.name().into());
    }
    if !content.references.is_empty() {
        body.insert("references".into(), json!(content.references));
    }
    for (name, text) in [("metadata", &content.metadata), ("ruleSet", &content.rule_set)] {
        if let Some(value) = text.as_deref().and_then(|text| serde_json::from_str(text).ok()) {
            body.insert(name.into(), value);
        }
    }
    body.insert("schema".into(), (*content.schema).into());
}

/// A version as `/subjects` shows it.
pub fn show_version(subject: &str, version: &Version) -> Value {
    let mut body = serde_json::Map::new();
    body.insert("subject".into(), subject.into());
    body.insert("version".into(), version.number.into());
    body.insert("id".into(), version.id.into());
    show_content(&mut body, &version.content);
    Value::Object(body)
}

//! `POST /ksql`: every statement but SELECT.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use ratestream_kafka::rdkafka::producer::FutureRecord;
use serde_json::{Value, json};

use super::error::ApiError;
use super::{Api, KSQL_V1, Request, entities};
use crate::actors::commands::Command;
use crate::sql::ast::{Kind, Show, Statement};
use crate::sql::{Parsed, parse};

/// How long a statement may take to come back from the command topic.
const EXECUTION: Duration = Duration::from_secs(15);

/// Answers with one entity for each statement.
pub async fn handle(api: web::Data<Api>, bytes: web::Bytes) -> Result<HttpResponse, ApiError> {
    let request = Request::read(&bytes)?;
    let text = request.text()?;
    if !api.state.is_ready() {
        return Err(ApiError::not_ready());
    }
    let statements =
        parse(text, request.strict(&api)).map_err(|error| ApiError::statement(error.to_string(), text.trim()))?;
    let mut done = Vec::new();
    for parsed in &statements {
        match execute(&api, parsed).await {
            Ok(Some(entity)) => done.push(entity),
            Ok(None) => {}
            Err(error) => return Err(error.after(done)),
        }
    }
    Ok(HttpResponse::Ok().content_type(KSQL_V1).body(Value::Array(done).to_string()))
}

async fn execute(api: &Api, parsed: &Parsed) -> Result<Option<Value>, ApiError> {
    let text = format!("{};", parsed.text);
    let state = &api.state;
    let mut entity = match &parsed.statement {
        Statement::Select(_) => {
            let message = "SELECT is not answered here: send it to /query or /query-stream";
            return Err(ApiError::endpoint(message, &text));
        }
        Statement::Set => return Ok(None),
        Statement::Show(Show::Streams) => entities::sources(state, Kind::Stream, &text),
        Statement::Show(Show::Tables) => entities::sources(state, Kind::Table, &text),
        Statement::Show(Show::Queries) => entities::queries(state, &text),
        Statement::Show(Show::Properties) => {
            let property = json!({"name": "ksql.service.id", "scope": "KSQL", "value": state.config.service_id, "editable": false});
            json!({"@type": "properties", "statementText": text, "properties": [property], "overwrittenProperties": [], "defaultProperties": [], "warnings": []})
        }
        Statement::Show(Show::Topics) => {
            let kafka = state.kafka.clone();
            let names = web::block(move || kafka.topics_blocking()).await;
            let names = names.map_err(|error| ApiError::new(50000, error.to_string()))?;
            let mut names = names.map_err(|error| ApiError::new(50000, error.to_string()))?;
            names.sort();
            entities::topics(&names, &text)
        }
        Statement::Describe(name) => {
            let source = state.catalog().source(name).cloned().map_err(|error| ApiError::statement(error, &text))?;
            entities::description(state, &source, &text)
        }
        _ => return change(api, parsed, &text).await.map(Some),
    };
    if !parsed.warnings.is_empty() {
        entity["warnings"] = parsed.warnings.iter().map(|warning| json!({"message": warning})).collect();
    }
    Ok(Some(entity))
}

/// Tries a statement on a copy of the catalog, writes it to the command topic, and waits until it took effect.
async fn change(api: &Api, parsed: &Parsed, text: &str) -> Result<Value, ApiError> {
    let state = &api.state;
    let mut draft = state.catalog().clone();
    let tried =
        draft.apply(&parsed.statement, &parsed.text, i64::MAX).map_err(|error| ApiError::statement(error, text))?;
    let mut warnings = parsed.warnings.clone();
    warnings.extend(tried.warnings);
    if let Some(missing) = missing_topic(api, &parsed.statement).await? {
        warnings.push(missing);
    }
    let command = Command { id: uuid::Uuid::new_v4().to_string(), statement: text.to_owned() };
    let value = serde_json::to_string(&command).map_err(|error| ApiError::new(50000, error.to_string()))?;
    let outcome = state.wait_for(&command.id);
    let topic = state.config.command_topic();
    let record = FutureRecord::to(&topic).partition(0).key(&command.id).payload(&value);
    let sent = api.producer.send(record, EXECUTION).await;
    let offset = match sent {
        Ok(delivery) => delivery.offset,
        Err((error, _)) => {
            state.forget(&command.id);
            return Err(ApiError::new(50301, format!("the command topic {topic} cannot be written: {error}")));
        }
    };
    match tokio::time::timeout(EXECUTION, outcome).await {
        Ok(Ok(Ok(outcome))) => {
            Ok(entities::status(text, &outcome.command, &outcome.message, outcome.query.as_deref(), offset, &warnings))
        }
        Ok(Ok(Err(error))) => Err(ApiError::statement(error, text)),
        Ok(Err(_)) | Err(_) => {
            state.forget(&command.id);
            Err(ApiError::new(
                50301,
                "the statement was written but has not taken effect yet; SHOW QUERIES tells when it has",
            ))
        }
    }
}

/// A warning when what a statement reads is not there yet: it is kept and waits.
async fn missing_topic(api: &Api, statement: &Statement) -> Result<Option<String>, ApiError> {
    let (name, topic) = match statement {
        Statement::CreateSource { name, with, .. } => {
            (name, crate::catalog::property(with, "KAFKA_TOPIC").unwrap_or_default().to_owned())
        }
        Statement::CreateAs { name, select, .. } => match api.state.catalog().readable(&select.from) {
            Ok(source) => (name, source.topic),
            Err(_) => return Ok(None),
        },
        _ => return Ok(None),
    };
    let found = api.state.kafka.partition_count(&topic).await;
    let found = found.map_err(|error| ApiError::new(50000, error.to_string()))?;
    Ok(found.is_none().then(|| format!("Topic {topic} does not exist yet; {name} waits for it.")))
}

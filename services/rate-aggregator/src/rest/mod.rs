//! ksqlDB's HTTP interface.

pub mod entities;
pub mod error;
pub mod ksql;
pub mod query;
pub mod stream;

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use ratestream_kafka::rdkafka::producer::FutureProducer;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::state::State;
use error::ApiError;

/// ksqlDB's own media type.
pub const KSQL_V1: &str = "application/vnd.ksql.v1+json";

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// The shared parts.
    pub state: Arc<State>,
    /// Writes statements.
    pub producer: FutureProducer,
}

/// Adds the routes.
pub fn routes(config: &mut web::ServiceConfig, api: &web::Data<Api>) {
    config
        .app_data(api.clone())
        .route("/", web::get().to(to_info))
        .route("/info", web::get().to(info))
        .route("/healthcheck", web::get().to(health))
        .route("/ksql", web::post().to(ksql::handle))
        .route("/query", web::post().to(query::old))
        .route("/query-stream", web::post().to(query::new))
        .route("/close-query", web::post().to(query::close))
        .default_service(web::to(unknown));
}

async fn unknown() -> Result<HttpResponse, ApiError> {
    Err(ApiError::not_found())
}

async fn to_info() -> HttpResponse {
    HttpResponse::TemporaryRedirect().insert_header(("Location", "/info")).finish()
}

async fn info(api: web::Data<Api>) -> HttpResponse {
    let kafka = api.state.kafka.clone();
    let cluster = web::block(move || kafka.cluster_id_blocking()).await.ok().flatten().unwrap_or_default();
    let status = if api.state.is_ready() { "RUNNING" } else { "INITIALIZING" };
    HttpResponse::Ok().content_type(KSQL_V1).body(
        json!({"KsqlServerInfo": {
            "version": env!("CARGO_PKG_VERSION"),
            "kafkaClusterId": cluster,
            "ksqlServiceId": api.state.config.service_id,
            "serverStatus": status,
        }})
        .to_string(),
    )
}

/// Always 200: whoever asks must read `isHealthy`.
async fn health(api: web::Data<Api>) -> HttpResponse {
    let failed = api.state.running().values().any(|running| running.state().0 == "ERROR");
    let ready = api.state.is_ready();
    let healthy = |ok: bool| json!({"isHealthy": ok});
    let body = json!({
        "isHealthy": ready && !failed,
        "details": {"metastore": healthy(ready), "kafka": healthy(ready), "commandRunner": healthy(ready && !failed)},
        "serverState": if ready { "READY" } else { "NOT_READY" },
    });
    HttpResponse::Ok().content_type(KSQL_V1).body(body.to_string())
}

/// The body of `/ksql`, `/query` (`ksql`, `streamsProperties`) and `/query-stream` (`sql`, `properties`).
#[derive(Debug, Deserialize)]
pub struct Request {
    #[serde(alias = "ksql")]
    sql: Option<String>,
    #[serde(default, alias = "streamsProperties")]
    properties: Option<Map<String, Value>>,
}

impl Request {
    /// Reads a body.
    ///
    /// # Errors
    /// 40000.
    pub fn read(bytes: &[u8]) -> Result<Request, ApiError> {
        serde_json::from_slice(bytes)
            .map_err(|error| ApiError::bad_request(format!("the body cannot be read as JSON: {error}")))
    }

    /// The text of the statements.
    ///
    /// # Errors
    /// 40000.
    pub fn text(&self) -> Result<&str, ApiError> {
        let text = self.sql.as_deref().filter(|text| !text.trim().is_empty());
        text.ok_or_else(|| {
            ApiError::bad_request(
                "the body has no statement: send {\"ksql\": \"…\"}, or {\"sql\": \"…\"} to /query-stream",
            )
        })
    }

    /// A property, as text.
    pub fn property(&self, name: &str) -> Option<String> {
        let value = self.properties.as_ref()?.get(name).or_else(|| {
            let prefixed = format!("ksql.streams.{name}");
            self.properties.as_ref()?.get(&prefixed)
        })?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// Whether what would be a warning is refused.
    pub fn strict(&self, api: &Api) -> bool {
        match self.property("strict").or_else(|| self.property("ksql.strict")) {
            Some(value) => value.eq_ignore_ascii_case("true"),
            None => api.state.config.strict,
        }
    }
}

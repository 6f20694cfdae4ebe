//! The Connect REST API. Error bodies are always `{"error_code":<http>,"message":"…"}`.

mod connectors;
mod lifecycle;
mod plugins;

use crate::worker::Shared;
use actix_web::{HttpResponse, web};
use ratestream_kafka::KafkaError;
use serde_json::json;
use std::sync::Arc;

type Fabric = web::Data<Shared>;

/// Adds the routes.
pub(crate) fn routes(config: &mut web::ServiceConfig, shared: &Arc<Shared>) {
    config.app_data(web::Data::from(shared.clone()));
    config.route("/", web::get().to(root)).route("/health", web::get().to(health));
    connectors::routes(config);
    lifecycle::routes(config);
    plugins::routes(config);
}

/// Version that the API is compatible with.
const CONNECT_VERSION: &str = "4.0.0";

async fn root(fabric: Fabric) -> HttpResponse {
    let kafka = fabric.workshop.store.kafka.clone();
    let id = web::block(move || kafka.cluster_id_blocking()).await.ok().flatten();
    HttpResponse::Ok().json(json!({"version": CONNECT_VERSION, "commit": "ratestream", "kafka_cluster_id": id}))
}

async fn health(fabric: Fabric) -> HttpResponse {
    let dependencies = fabric.workshop.health.report();
    if fabric.workshop.store.is_loaded() {
        let message = "Worker has completed startup and is ready to handle requests.";
        HttpResponse::Ok().json(json!({"status": "healthy", "message": message, "dependencies": dependencies}))
    } else {
        let message = "Worker is still starting up.";
        HttpResponse::ServiceUnavailable()
            .json(json!({"status": "starting", "message": message, "dependencies": dependencies}))
    }
}

fn error(code: u16, message: impl Into<String>) -> HttpResponse {
    let status =
        actix_web::http::StatusCode::from_u16(code).unwrap_or(actix_web::http::StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if code == 503 {
        response.insert_header(("Retry-After", "2"));
    }
    response.json(json!({"error_code": code, "message": message.into()}))
}

fn not_found(name: &str) -> HttpResponse {
    error(404, format!("Connector {name} not found"))
}

fn kafka_error(cause: &KafkaError) -> HttpResponse {
    error(if cause.is_transient() { 503 } else { 500 }, cause.to_string())
}

/// `None` when the state is complete; else the answer to any question about it.
fn loading(fabric: &Fabric) -> Option<HttpResponse> {
    (!fabric.workshop.store.is_loaded()).then(|| {
        error(503, "The worker has not read its configuration topic yet; GET /health/ready says what it waits for.")
    })
}

//! The HTTP surface that every service has beside its own API.
//!
//! `GET /health/live` · `GET /health/ready` · `GET /health` · `GET /metrics` · `GET /version` · `GET /admin/actors` ·
//! `GET /admin/config` · `PUT /admin/log-level`. `/healthz`, `/livez`, `/readyz` are aliases. Live never checks dependencies.

use crate::health::Health;
use crate::supervise::Supervisor;
use crate::{Secret, Settings, metrics, telemetry};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// What the admin routes show.
#[derive(Clone)]
pub struct Admin {
    pub(crate) settings: Arc<Settings>,
    pub(crate) health: Health,
    pub(crate) supervisor: Supervisor,
    pub(crate) started: Instant,
}

/// Adds the admin routes.
pub fn routes(config: &mut web::ServiceConfig, admin: &Admin) {
    config
        .app_data(web::Data::new(admin.clone()))
        .route("/health/live", web::get().to(live))
        .route("/livez", web::get().to(live))
        .route("/health/ready", web::get().to(ready))
        .route("/readyz", web::get().to(ready))
        .route("/healthz", web::get().to(summary))
        .route("/metrics", web::get().to(metrics_text))
        .route("/version", web::get().to(version))
        .route("/admin/actors", web::get().to(actors))
        .route("/admin/config", web::get().to(effective_config))
        .route("/admin/log-level", web::put().to(log_level));
}

/// Adds `GET /health` as the summary, for services whose compatible API has no such path.
pub fn health_route(config: &mut web::ServiceConfig) {
    config.route("/health", web::get().to(summary));
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "UP"}))
}

async fn ready(admin: web::Data<Admin>) -> HttpResponse {
    let ready = admin.health.is_ready();
    let body = json!({"status": if ready { "UP" } else { "DOWN" }, "dependencies": admin.health.report()});
    if ready { HttpResponse::Ok().json(body) } else { HttpResponse::ServiceUnavailable().json(body) }
}

async fn summary(admin: web::Data<Admin>) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "service": admin.settings.service,
        "status": if admin.health.is_ready() { "UP" } else { "DEGRADED" },
        "uptime_seconds": admin.started.elapsed().as_secs(),
        "resident_bytes": metrics::resident_bytes(),
        "dependencies": admin.health.report(),
    }))
}

async fn metrics_text() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(metrics::render())
}

async fn version(admin: web::Data<Admin>) -> HttpResponse {
    HttpResponse::Ok().json(json!({"service": admin.settings.service, "version": env!("CARGO_PKG_VERSION")}))
}

async fn actors(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    allowed(&request, &admin).unwrap_or_else(|| HttpResponse::Ok().json(admin.supervisor.report()))
}

async fn effective_config(request: HttpRequest, admin: web::Data<Admin>) -> HttpResponse {
    allowed(&request, &admin).unwrap_or_else(|| HttpResponse::Ok().json(&admin.settings.origins))
}

async fn log_level(request: HttpRequest, admin: web::Data<Admin>, body: String) -> HttpResponse {
    allowed(&request, &admin).unwrap_or_else(|| match telemetry::set_level(body.trim().trim_matches('"')) {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(message) => HttpResponse::BadRequest().json(json!({"error_code": 400, "message": message})),
    })
}

/// `None` when the request may go on; else the refusal.
fn allowed(request: &HttpRequest, admin: &Admin) -> Option<HttpResponse> {
    let token = admin.settings.admin.token.as_ref()?;
    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if matches(token, given.strip_prefix("Bearer ").unwrap_or_default()) {
        return None;
    }
    let message = "this path needs the header 'Authorization: Bearer <admin.token>'";
    Some(HttpResponse::Unauthorized().json(json!({"error_code": 401, "message": message})))
}

/// Comparison whose time does not depend on where the texts differ.
fn matches(token: &Secret, given: &str) -> bool {
    let (a, b) = (token.expose().as_bytes(), given.as_bytes());
    a.len() == b.len() && a.iter().zip(b).fold(0u8, |acc, (x, y)| acc | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_whole() {
        let token = Secret::new("abc");
        assert!(matches(&token, "abc"));
        assert!(!matches(&token, "abd") && !matches(&token, "ab") && !matches(&token, ""));
    }
}

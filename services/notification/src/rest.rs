//! `GET /queue`, `GET /sent`, `GET /failed`: alerts by state as `{id, state, at_ms, alert, detail, attempts}`.

use crate::ledger::{Entry, Outbox, State};
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Alerts of one answer.
const SHOWN_MAX: usize = 500;

pub(crate) fn routes(config: &mut web::ServiceConfig, outbox: &web::Data<Mutex<Outbox>>) {
    config
        .app_data(outbox.clone())
        .route("/queue", web::get().to(queue))
        .route("/sent", web::get().to(sent))
        .route("/failed", web::get().to(failed));
}

fn open(outbox: &web::Data<Mutex<Outbox>>) -> MutexGuard<'_, Outbox> {
    outbox.lock().unwrap_or_else(PoisonError::into_inner)
}

fn list<'a>(entries: impl Iterator<Item = (&'a String, &'a Entry)>) -> HttpResponse {
    let shown = entries.take(SHOWN_MAX).map(|(id, entry)| {
        let mut value = serde_json::to_value(entry).unwrap_or_default();
        value["id"] = json!(id);
        value
    });
    HttpResponse::Ok().json(shown.collect::<Vec<Value>>())
}

async fn queue(outbox: web::Data<Mutex<Outbox>>) -> HttpResponse {
    list(open(&outbox).queued())
}

async fn sent(outbox: web::Data<Mutex<Outbox>>) -> HttpResponse {
    list(open(&outbox).outcomes(State::Sent))
}

async fn failed(outbox: web::Data<Mutex<Outbox>>) -> HttpResponse {
    list(open(&outbox).outcomes(State::Failed))
}

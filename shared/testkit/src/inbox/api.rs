//! Page and JSON interface of the inbox.
//!
//! - `GET /api/email?to=&from=&subject=&since=`: messages whose fields contain the words; `since` = only later ids
//! - `GET /api/email/{id}` and `GET /api/email/{id}/source` (as it came)
//! - `DELETE /api/email/all`
//! - `POST /api/fault` `{"times":2,"code":451,"message":"later","delay_ms":500}`: the next deliveries fail or lag
//! - `GET /` a page, `GET /health/ready`

use super::store::{Fault, Message, Store};
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

/// The running HTTP server.
#[derive(Debug)]
pub(super) struct Page {
    handle: ServerHandle,
    ended: watch::Receiver<bool>,
}

impl Page {
    /// Serves on a thread of its own, so that it needs no actix runtime around it.
    pub(super) async fn serve(port: u16, store: Arc<Store>) -> Result<Self> {
        let (started, start) = oneshot::channel();
        let (ending, ended) = watch::channel(false);
        let run = move || {
            actix_web::rt::System::new().block_on(async move {
                let data = web::Data::from(store);
                let server = HttpServer::new(move || App::new().app_data(data.clone()).configure(routes));
                match server.workers(1).disable_signals().bind(("127.0.0.1", port)) {
                    Ok(server) => {
                        let server = server.run();
                        let _ = started.send(Ok(server.handle()));
                        let _ = server.await;
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
                let _ = ending.send(true);
            });
        };
        std::thread::Builder::new().name("inbox-page".into()).spawn(run).context("cannot start the inbox's thread")?;
        let handle = start.await.context("the inbox's page ended at its start")?;
        let handle = handle.with_context(|| format!("the inbox's page cannot listen on port {port}"))?;
        Ok(Self { handle, ended })
    }

    pub(super) async fn ended(&self) {
        let mut ended = self.ended.clone();
        let _ = ended.wait_for(|ended| *ended).await;
    }

    pub(super) fn stop(&self) {
        drop(self.handle.stop(false)); // the command is sent at the call; the future only waits for its end
    }
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(page))
        .route("/health/ready", web::get().to(HttpResponse::Ok))
        .route("/api/email", web::get().to(list))
        .route("/api/email/all", web::delete().to(clear))
        .route("/api/email/{id}", web::get().to(one))
        .route("/api/email/{id}/source", web::get().to(source))
        .route("/api/fault", web::post().to(fault));
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Filter {
    to: String,
    from: String,
    subject: String,
    since: u64,
}

impl Filter {
    fn fits(&self, message: &Message) -> bool {
        message.id > self.since
            && message.to.iter().any(|to| to.contains(&self.to))
            && message.from.contains(&self.from)
            && message.subject.contains(&self.subject)
    }
}

async fn list(store: web::Data<Store>, filter: web::Query<Filter>) -> HttpResponse {
    let found: Vec<Arc<Message>> = store.messages().into_iter().filter(|message| filter.fits(message)).collect();
    let found: Vec<&Message> = found.iter().map(AsRef::as_ref).collect();
    HttpResponse::Ok().json(found)
}

fn find(store: &Store, id: u64) -> Option<Arc<Message>> {
    store.messages().into_iter().find(|message| message.id == id)
}

async fn one(store: web::Data<Store>, id: web::Path<u64>) -> HttpResponse {
    find(&store, *id).map_or_else(|| missing(*id), |message| HttpResponse::Ok().json(message.as_ref()))
}

async fn source(store: web::Data<Store>, id: web::Path<u64>) -> HttpResponse {
    let answer = |message: Arc<Message>| HttpResponse::Ok().content_type("message/rfc822").body(message.raw.clone());
    find(&store, *id).map_or_else(|| missing(*id), answer)
}

fn missing(id: u64) -> HttpResponse {
    HttpResponse::NotFound().json(serde_json::json!({"error": format!("no message {id}")}))
}

async fn clear(store: web::Data<Store>) -> HttpResponse {
    store.clear();
    HttpResponse::Ok().json(true)
}

async fn fault(store: web::Data<Store>, fault: web::Json<Fault>) -> HttpResponse {
    store.set_fault(fault.0.clone());
    HttpResponse::Ok().json(fault.0)
}

async fn page(store: web::Data<Store>) -> HttpResponse {
    let messages = store.messages();
    let newest = messages.iter().rev().take(500);
    let rows: String = newest
        .map(|message| {
            let (id, to) = (message.id, escape(&message.to.join(", ")));
            let (subject, text) = (escape(&message.subject), escape(message.text.as_deref().unwrap_or_default()));
            format!("<details><summary><b>{id}</b> {subject} <small>to {to}</small></summary><pre>{text}</pre><a href=/api/email/{id}/source>source</a></details>")
        })
        .collect();
    let count = messages.len();
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(format!(
        "<!doctype html><meta charset=utf-8><title>inbox ({count})</title><style>body{{font:15px sans-serif;margin:2em}}</style>\
         <h1>Inbox: {count} messages</h1>{rows}"
    ))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

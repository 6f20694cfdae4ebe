//! The HTTP calls that this sink makes.

use ratestream_connect::{ConnectorConfig, TaskError};
use ratestream_runtime::Secret;
use reqwest::{Client, Method, RequestBuilder, StatusCode, header};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// A client of one cluster.
pub(crate) struct Elasticsearch {
    http: Client,
    urls: Vec<String>,
    current: AtomicUsize,
    login: Option<Login>,
    shards: i64,
    replicas: i64,
}

enum Login {
    Basic(String, Secret),
    ApiKey(Secret),
}

/// How a call ended that did not end well.
#[derive(Debug)]
pub(crate) enum CallError {
    /// Network, 429, 5xx: again later.
    Again(String),
    /// The body is too large: smaller pieces.
    TooLarge,
    /// Refused; the text says why.
    Refused(String),
    /// Needs a human.
    Denied(TaskError),
}

impl Elasticsearch {
    pub(crate) fn new(config: &ConnectorConfig) -> Result<Elasticsearch, TaskError> {
        let millis =
            |key: &str| Ok::<_, TaskError>(Duration::from_millis(config.int(key)?.unwrap_or(5000).max(1) as u64));
        let http = Client::builder()
            .connect_timeout(millis("connection.timeout.ms")?)
            .timeout(millis("read.timeout.ms")?)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(TaskError::transient)?;
        let login = match (config.get("connection.api.key"), config.get("connection.username")) {
            (Some(key), _) => Some(Login::ApiKey(Secret::new(key))),
            (None, Some(user)) => {
                Some(Login::Basic(user.to_owned(), Secret::new(config.get("connection.password").unwrap_or_default())))
            }
            (None, None) => None,
        };
        let urls = config.list("connection.url").iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        Ok(Elasticsearch {
            http,
            urls,
            current: AtomicUsize::new(0),
            login,
            shards: config.int("number.of.shards")?.unwrap_or(1),
            replicas: config.int("number.of.replicas")?.unwrap_or(0),
        })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = self.urls.get(self.current.load(Relaxed) % self.urls.len().max(1)).map_or("", String::as_str);
        let request = self.http.request(method, format!("{url}{path}"));
        match &self.login {
            None => request,
            Some(Login::Basic(user, password)) => request.basic_auth(user, Some(password.expose())),
            Some(Login::ApiKey(key)) => request.header(header::AUTHORIZATION, format!("ApiKey {}", key.expose())),
        }
    }

    async fn call(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), CallError> {
        let failed = |error: reqwest::Error| {
            // The next attempt goes to the next address.
            self.current.fetch_add(1, Relaxed);
            CallError::Again(cause(&error))
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let body = response.bytes().await.map_err(failed)?;
        match status.as_u16() {
            401 | 403 => Err(CallError::Denied(TaskError::Config {
                code: "SEA001",
                cause: format!("Elasticsearch refused the request with status {status}: {}.", excerpt(&body)),
                fix: "Check connection.username and connection.password (or connection.api.key) and the role of that user.".into(),
            })),
            413 => Err(CallError::TooLarge),
            429 | 500..=599 => Err(CallError::Again(format!("status {status}: {}", excerpt(&body)))),
            _ => Ok((status, body.to_vec())),
        }
    }

    /// Whether the cluster answers.
    pub(crate) async fn ping(&self) -> Result<(), CallError> {
        // Any answer of the cluster will do; minimal builds have no `GET /`.
        self.call(self.request(Method::GET, "/_cluster/health?timeout=1s")).await.map(|_| ())
    }

    /// Creates an index with typed mappings unless it exists.
    pub(crate) async fn ensure_index(&self, index: &str) -> Result<(), CallError> {
        let settings = json!({
            "settings": {
                "number_of_shards": self.shards,
                "number_of_replicas": self.replicas,
                // Versions of deleted documents are kept for a day: a replay within it cannot revive them.
                "index.gc_deletes": "24h",
            },
            "mappings": {"dynamic_templates": [{"texts": {"match_mapping_type": "string", "mapping": {
                "type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}},
            }}}]},
        });
        let (status, body) = self.call(self.request(Method::PUT, &format!("/{}", path(index))).json(&settings)).await?;
        let exists = String::from_utf8_lossy(&body).contains("resource_already_exists_exception");
        if status.is_success() || exists {
            return Ok(());
        }
        Err(CallError::Refused(format!("index {index} could not be created: {}", excerpt(&body))))
    }

    /// Sends a bulk and returns the answer.
    pub(crate) async fn bulk(&self, body: Vec<u8>) -> Result<Vec<u8>, CallError> {
        let request =
            self.request(Method::POST, "/_bulk").header(header::CONTENT_TYPE, "application/x-ndjson").body(body);
        match self.call(request).await? {
            (status, body) if status.is_success() => Ok(body),
            (status, body) => Err(CallError::Refused(format!("status {status}: {}", excerpt(&body)))),
        }
    }

    /// The present sources of documents, by (index, id); those that do not exist are left out.
    pub(crate) async fn sources(&self, ids: &[(&str, &str)]) -> Result<HashMap<(String, String), Value>, CallError> {
        let docs: Vec<Value> = ids.iter().map(|(index, id)| json!({"_index": index, "_id": id})).collect();
        let (_, body) = self.call(self.request(Method::POST, "/_mget").json(&json!({"docs": docs}))).await?;
        let mut answer: Value = serde_json::from_slice(&body).map_err(|error| CallError::Again(error.to_string()))?;
        let found = answer["docs"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let text = |doc: &Value, name: &str| doc[name].as_str().unwrap_or_default().to_owned();
        Ok(found
            .into_iter()
            .filter(|doc| doc["found"] == true)
            .map(|mut doc| ((text(&doc, "_index"), text(&doc, "_id")), doc["_source"].take()))
            .collect())
    }
}

/// A name inside a path: everything but unreserved characters is escaped.
fn path(name: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(escape).collect()
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(300).collect()
}

/// An error with its causes; reqwest's own text hides them.
fn cause(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

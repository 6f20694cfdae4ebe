//! Schema registry client: each id and each registration is asked for once, by one request at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ratestream_runtime::RegistrySettings;
use ratestream_runtime::backoff::Backoff;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::Schema;

mod blocking;

pub use blocking::BlockingRegistry;

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// One attempt.
const TIMEOUT: Duration = Duration::from_secs(5);
/// All attempts of one call; afterwards the caller hears about it and decides.
const PATIENCE: Duration = Duration::from_secs(10);
/// References nest at most this deep.
const MAX_REFERENCES: usize = 8;

/// Why the registry gave no answer, or a refusal.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// Network trouble or 5xx/429: worth another try later.
    #[error("the schema registry at {url} does not answer: {cause}")]
    Unavailable {
        /// Its address.
        url: String,
        /// Last failure.
        cause: String,
    },
    /// A refusal: an unknown id (40403), an incompatible schema (409), bad credentials (401).
    #[error("the schema registry at {url} refuses {what}: {message} (code {code})")]
    Refused {
        /// Its address.
        url: String,
        /// What was asked.
        what: String,
        /// The registry's error code, or the HTTP status.
        code: u32,
        /// Its message.
        message: String,
    },
    /// An answer that cannot be used.
    #[error("the schema registry at {url} answered {what} with something unusable: {cause}")]
    Answer {
        /// Its address.
        url: String,
        /// What was asked.
        what: String,
        /// What is wrong with it.
        cause: String,
    },
}

impl RegistryError {
    /// True when the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// The registry's code of a refusal, such as 40403 or 409.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// A handle, cheap to clone; clones share one cache.
#[derive(Clone)]
pub struct RegistryClient {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    url: String,
    login: Option<(String, Option<String>)>,
    by_id: Cells<i32, Arc<Schema>>,
    registered: Cells<(String, String), i32>,
}

impl std::fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RegistryClient({})", self.inner.url)
    }
}

#[derive(Deserialize)]
struct SchemaAnswer {
    schema: String,
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    subject: String,
    version: i32,
}

#[derive(Deserialize)]
struct IdAnswer {
    id: i32,
}

#[derive(Deserialize)]
struct Refusal {
    error_code: u32,
    message: String,
}

impl RegistryClient {
    /// A client for the configured registry. Nothing is asked yet.
    pub fn new(settings: &RegistrySettings) -> Self {
        let password = settings.password.as_ref().map(|secret| secret.expose().to_owned());
        let login = settings.username.clone().map(|user| (user, password));
        Self::with_login(&settings.url, login)
    }

    /// A client for a registry at `url`, without credentials.
    pub fn at(url: &str) -> Self {
        Self::with_login(url, None)
    }

    /// A client with basic authentication (user, password).
    pub fn with_login(url: &str, login: Option<(String, Option<String>)>) -> Self {
        // the HTTP client needs a default TLS provider even for plain addresses; a second installation is refused, which is fine
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap_or_default();
        let inner = Inner {
            http,
            url: url.trim_end_matches('/').to_owned(),
            login,
            by_id: Cells::default(),
            registered: Cells::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// The schema of an id: asked once, kept for ever (ids never change their meaning).
    ///
    /// # Errors
    /// [`RegistryError`]; transient ones only after about ten seconds of tries.
    pub async fn schema(&self, id: i32) -> Result<Arc<Schema>, RegistryError> {
        self.inner.by_id.get(id, || self.fetch(id)).await
    }

    /// The id of a schema under a subject; registers it when the registry does not know it.
    ///
    /// # Errors
    /// [`RegistryError`]; code 409 when it is incompatible with the subject's versions.
    pub async fn register(&self, subject: &str, schema: &Schema) -> Result<i32, RegistryError> {
        let key = (subject.to_owned(), schema.canonical().to_owned());
        let path = format!("/subjects/{}/versions", percent(subject));
        let body = json!({ "schema": schema.canonical() });
        let call = || async {
            let what = format!("to register a schema under {subject}");
            Ok(self.call::<IdAnswer>(reqwest::Method::POST, &path, Some(&body), &what).await?.id)
        };
        self.inner.registered.get(key, call).await
    }

    async fn fetch(&self, id: i32) -> Result<Arc<Schema>, RegistryError> {
        let what = format!("schema {id}");
        let answer = self.call(reqwest::Method::GET, &format!("/schemas/ids/{id}?deleted=true"), None, &what).await?;
        self.parse(answer, &what, 0).await
    }

    async fn parse(&self, answer: SchemaAnswer, what: &str, depth: usize) -> Result<Arc<Schema>, RegistryError> {
        let unusable = |cause: String| RegistryError::Answer { url: self.inner.url.clone(), what: what.into(), cause };
        if let Some(other) = answer.schema_type.filter(|t| t != "AVRO") {
            return Err(unusable(format!("its type is {other}, only AVRO can be read")));
        }
        if depth > MAX_REFERENCES {
            return Err(unusable(format!("references nest deeper than {MAX_REFERENCES}")));
        }
        let mut references = Vec::new();
        for reference in &answer.references {
            let path = format!("/subjects/{}/versions/{}", percent(&reference.subject), reference.version);
            let answer = self.call(reqwest::Method::GET, &path, None, what).await?;
            references.push(Box::pin(self.parse(answer, what, depth + 1)).await?);
        }
        Schema::parse_with(&answer.schema, &references).map_err(|e| unusable(e.to_string()))
    }

    /// One call with retries.
    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&serde_json::Value>,
        what: &str,
    ) -> Result<T, RegistryError> {
        let deadline = Instant::now() + PATIENCE;
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            match self.attempt(method.clone(), path, body, what).await {
                Err(e) if e.is_transient() => {
                    let wait = backoff.next();
                    if Instant::now() + wait >= deadline {
                        return Err(e);
                    }
                    tracing::debug!(error = %e, ?wait, "asking the schema registry again");
                    tokio::time::sleep(wait).await;
                }
                other => return other,
            }
        }
    }

    async fn attempt<T: serde::de::DeserializeOwned>(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&serde_json::Value>,
        what: &str,
    ) -> Result<T, RegistryError> {
        let url = || self.inner.url.clone();
        let unavailable = |cause: String| RegistryError::Unavailable { url: url(), cause };
        let mut request =
            self.inner.http.request(method, format!("{}{path}", self.inner.url)).header("accept", CONTENT_TYPE);
        if let Some((user, password)) = &self.inner.login {
            request = request.basic_auth(user, password.as_ref());
        }
        if let Some(body) = body {
            request = request.header("content-type", CONTENT_TYPE).body(body.to_string());
        }
        let response = request.send().await.map_err(|e| unavailable(causes(&e)))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|e| unavailable(causes(&e)))?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|e| RegistryError::Answer {
                url: url(),
                what: what.to_owned(),
                cause: e.to_string(),
            });
        }
        let refusal = serde_json::from_slice::<Refusal>(&bytes)
            .unwrap_or_else(|_| Refusal { error_code: u32::from(status.as_u16()), message: status.to_string() });
        if status.is_server_error() || status.as_u16() == 429 || status.as_u16() == 408 {
            return Err(unavailable(format!("{} (code {})", refusal.message, refusal.error_code)));
        }
        let Refusal { error_code: code, message } = refusal;
        Err(RegistryError::Refused { url: url(), what: what.to_owned(), code, message })
    }
}

/// Values that are made once per key; callers of one key wait for the one that makes it.
struct Cells<K, V>(Mutex<HashMap<K, Arc<OnceCell<V>>>>);

impl<K, V> Default for Cells<K, V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Hash + Eq, V: Clone> Cells<K, V> {
    async fn get<F, E>(&self, key: K, make: impl FnOnce() -> F) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>>,
    {
        let cell = {
            let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(cells.entry(key).or_default())
        };
        cell.get_or_try_init(make).await.cloned()
    }
}

/// A subject name as one path segment.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// An error with its sources: the outermost alone ("error sending request") says nothing.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;

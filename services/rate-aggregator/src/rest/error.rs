//! Refusals as ksqlDB words them: `{"@type":"generic_error","error_code":40000,"message":"…"}`, statements with their text.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Value, json};

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// HTTP status × 100 + n.
    pub code: u32,
    /// A sentence.
    pub message: String,
    /// The statement that was refused, and what those before it did.
    pub statement: Option<(String, Vec<Value>)>,
}

impl ApiError {
    /// Any code.
    pub fn new(code: u32, message: impl Into<String>) -> ApiError {
        ApiError { code, message: message.into(), statement: None }
    }

    /// 40000
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(40000, message)
    }

    /// 40001: the statement is wrong.
    pub fn statement(message: impl Into<String>, text: &str) -> ApiError {
        ApiError { statement: Some((text.to_owned(), Vec::new())), ..ApiError::new(40001, message) }
    }

    /// 40002: the statement belongs to another path.
    pub fn endpoint(message: impl Into<String>, text: &str) -> ApiError {
        ApiError { statement: Some((text.to_owned(), Vec::new())), ..ApiError::new(40002, message) }
    }

    /// 40400
    pub fn not_found() -> ApiError {
        ApiError::new(40400, "this path does not exist")
    }

    /// 50302: not ready.
    pub fn not_ready() -> ApiError {
        ApiError::new(50302, "the command topic has not been read to its end yet; try again in a second")
    }

    /// Adds what the statements before it did.
    #[must_use]
    pub fn after(mut self, entities: Vec<Value>) -> ApiError {
        if let Some((_, slot)) = &mut self.statement {
            *slot = entities;
        }
        self
    }

    /// The body.
    pub fn body(&self) -> Value {
        match &self.statement {
            None => json!({"@type": "generic_error", "error_code": self.code, "message": self.message}),
            Some((text, entities)) => json!({
                "@type": "statement_error",
                "error_code": self.code,
                "message": self.message,
                "statementText": text,
                "entities": entities,
            }),
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} ({})", self.message, self.code)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        let status = u16::try_from(self.code / 100).unwrap_or(500);
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if self.status_code() == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header(("Retry-After", "1"));
        }
        response.content_type(super::KSQL_V1).body(self.body().to_string())
    }
}

//! What a caller is told when something is refused: `{"error_code": n, "message": "…"}`.
//!
//! The code is the HTTP status, or status × 100 + k; clients decide by it, so codes and texts follow the Java registry.

use std::fmt::{self, Display};

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

use crate::rest::media;

/// Seconds after which a caller may try again while the log is out of reach.
const RETRY_AFTER_SECONDS: &str = "1";

/// A refusal with its status, code and sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// `error_code` of the body.
    pub code: u32,
    /// `message` of the body.
    pub message: String,
}

impl ApiError {
    fn new(code: u32, message: impl Into<String>) -> ApiError {
        let status = if code >= 1000 { code / 100 } else { code };
        ApiError { status: u16::try_from(status).unwrap_or(500), code, message: message.into() }
    }

    /// 400: the body is not JSON.
    pub fn bad_request(why: impl Display) -> ApiError {
        ApiError::new(400, format!("The request body cannot be read as JSON: {why}"))
    }

    /// 404: a parameter is not of its type, or the path is unknown.
    pub fn not_found() -> ApiError {
        ApiError::new(404, "HTTP 404 Not Found")
    }

    /// 406: none of the wanted answer types can be produced.
    pub fn not_acceptable() -> ApiError {
        ApiError::new(406, "HTTP 406 Not Acceptable")
    }

    /// 415: the body's type is not understood.
    pub fn unsupported_media_type() -> ApiError {
        ApiError::new(415, "HTTP 415 Unsupported Media Type")
    }

    /// 413: the body is longer than the registry takes.
    pub fn too_large(bytes_max: usize) -> ApiError {
        ApiError::new(413, format!("The request body is longer than {bytes_max} bytes"))
    }

    /// 40401.
    pub fn subject_not_found(subject: &str) -> ApiError {
        ApiError::new(40401, format!("Subject '{subject}' not found."))
    }

    /// 40402.
    pub fn version_not_found(version: impl Display) -> ApiError {
        ApiError::new(40402, format!("Version {version} not found."))
    }

    /// 40403 of a lookup.
    pub fn schema_not_found() -> ApiError {
        ApiError::new(40403, "Schema not found")
    }

    /// 40403 of an id.
    pub fn id_not_found(id: i32) -> ApiError {
        ApiError::new(40403, format!("Schema {id} not found"))
    }

    /// 40404.
    pub fn subject_soft_deleted(subject: &str) -> ApiError {
        ApiError::new(40404, format!("Subject '{subject}' was soft deleted.Set permanent=true to delete permanently"))
    }

    /// 40405.
    pub fn subject_not_soft_deleted(subject: &str) -> ApiError {
        let text = format!("Subject '{subject}' was not deleted first before being permanently deleted");
        ApiError::new(40405, text)
    }

    /// 40406.
    pub fn version_soft_deleted(subject: &str, version: i32) -> ApiError {
        let text =
            format!("Subject '{subject}' Version {version} was soft deleted.Set permanent=true to delete permanently");
        ApiError::new(40406, text)
    }

    /// 40407.
    pub fn version_not_soft_deleted(subject: &str, version: i32) -> ApiError {
        let text =
            format!("Subject '{subject}' Version {version} was not deleted first before being permanently deleted");
        ApiError::new(40407, text)
    }

    /// 40408.
    pub fn no_subject_config(subject: &str) -> ApiError {
        let text = format!("Subject '{subject}' does not have subject-level compatibility configured");
        ApiError::new(40408, text)
    }

    /// 40409.
    pub fn no_subject_mode(subject: &str) -> ApiError {
        ApiError::new(40409, format!("Subject '{subject}' does not have subject-level mode configured"))
    }

    /// 409.
    pub fn incompatible(subject: &str, details: &[String]) -> ApiError {
        let text = format!(
            "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: [{}]",
            details.join(", ")
        );
        ApiError::new(409, text)
    }

    /// 42201.
    pub fn invalid_schema(why: impl Display) -> ApiError {
        ApiError::new(42201, format!("Invalid schema: {why}"))
    }

    /// 42202.
    pub fn invalid_version(given: &str) -> ApiError {
        let text = format!(
            "The specified version '{given}' is not a valid version id. \
             Allowed values are between [1, 2^31-1] and the string \"latest\""
        );
        ApiError::new(42202, text)
    }

    /// 42203.
    pub fn invalid_level() -> ApiError {
        let text = "Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, \
                    forward_transitive, and full_transitive";
        ApiError::new(42203, text)
    }

    /// 42204.
    pub fn invalid_mode() -> ApiError {
        ApiError::new(
            42204,
            "Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, IMPORT and FORWARD",
        )
    }

    /// 42205.
    pub fn not_permitted(why: impl Into<String>) -> ApiError {
        ApiError::new(42205, why)
    }

    /// 42205 of a subject that takes no writes.
    pub fn read_only(subject: Option<&str>) -> ApiError {
        match subject {
            Some(subject) => ApiError::not_permitted(format!("Subject {subject} is in read-only mode")),
            None => ApiError::not_permitted("Subject null is in read-only mode"),
        }
    }

    /// 42206.
    pub fn referenced(subject: &str, version: i32) -> ApiError {
        let key = format!("{{magic=1,keytype=SCHEMA,subject={subject},version={version}}}");
        ApiError::new(42206, format!("One or more references exist to the schema {key}."))
    }

    /// 42208.
    pub fn invalid_subject(subject: &str) -> ApiError {
        ApiError::new(42208, format!("The specified subject '{subject}' is not a valid subject."))
    }

    /// 50001 with status 503: the log is out of reach or not read to its end yet. Clients try again on 503 and give up on 500.
    pub fn unavailable(why: impl Display) -> ApiError {
        ApiError { status: 503, ..ApiError::new(50001, format!("Error in the backend data store: {why}")) }
    }

    /// 50002 with status 503: the write was not acknowledged in time; repeating it is safe.
    pub fn timed_out() -> ApiError {
        let why = "The log did not acknowledge the write in time; it is safe to send the request again";
        ApiError { status: 503, ..ApiError::new(50002, why) }
    }
}

impl Display for ApiError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for ApiError {}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if self.status == 503 {
            response.insert_header(("Retry-After", RETRY_AFTER_SECONDS));
        }
        response
            .insert_header(("Content-Type", media::V1))
            .body(json!({"error_code": self.code, "message": self.message}).to_string())
    }
}

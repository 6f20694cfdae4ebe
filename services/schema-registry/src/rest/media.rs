//! Content types: which bodies are taken, which answers are given.

use actix_web::HttpRequest;
use actix_web::http::header;

use crate::error::ApiError;

/// The API's own type, and the default of answers.
pub const V1: &str = "application/vnd.schemaregistry.v1+json";
const PLAIN: &str = "application/vnd.schemaregistry+json";
const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

fn header_text(request: &HttpRequest, name: header::HeaderName) -> Option<&str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

fn essence(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

/// Refuses a body of a type that the API does not take; none given is fine.
///
/// # Errors
/// 415.
pub fn check_body(request: &HttpRequest) -> Result<(), ApiError> {
    let Some(given) = header_text(request, header::CONTENT_TYPE) else { return Ok(()) };
    let known = [V1, PLAIN, JSON, BYTES].iter().any(|known| known.eq_ignore_ascii_case(essence(given)));
    if known { Ok(()) } else { Err(ApiError::unsupported_media_type()) }
}

/// The type of the answer that the caller likes best.
///
/// # Errors
/// 406 when it likes none.
pub fn answer_type(request: &HttpRequest) -> Result<&'static str, ApiError> {
    let Some(accept) = header_text(request, header::ACCEPT) else { return Ok(V1) };
    choose(accept).ok_or_else(ApiError::not_acceptable)
}

fn choose(accept: &str) -> Option<&'static str> {
    let mut best: Option<(f32, &'static str)> = None;
    for wish in accept.split(',').filter(|wish| !wish.trim().is_empty()) {
        let weight = wish
            .split(';')
            .filter_map(|part| part.trim().strip_prefix("q="))
            .find_map(|weight| weight.parse::<f32>().ok())
            .unwrap_or(1.0);
        let offer = match essence(wish).to_ascii_lowercase().as_str() {
            "*/*" | "application/*" | V1 => V1,
            PLAIN => PLAIN,
            JSON => JSON,
            _ => continue,
        };
        if weight > 0.0 && best.is_none_or(|(held, _)| weight > held) {
            best = Some((weight, offer));
        }
    }
    best.map(|(_, offer)| offer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_liked_type_that_exists_is_chosen() {
        assert_eq!(choose("*/*"), Some(V1));
        assert_eq!(choose("application/json; charset=utf-8"), Some(JSON));
        assert_eq!(choose("application/vnd.schemaregistry.v1+json; qs=0.9, application/json; q=0.5"), Some(V1));
        assert_eq!(choose("text/html;q=1, application/json;q=0.4, */*;q=0.1"), Some(JSON));
        assert_eq!(choose("text/html"), None);
    }
}

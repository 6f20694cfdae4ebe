//! Query parameters as clients send them: booleans in any case, unknown names ignored, the last value wins.

use actix_web::HttpRequest;
use actix_web::web;

use crate::error::ApiError;
use crate::store::index::Show;

/// The parameters of one request.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the query string; what cannot be read as pairs counts as absent.
    pub fn of(request: &HttpRequest) -> Query {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
        Query(pairs.map(web::Query::into_inner).unwrap_or_default())
    }

    /// A parameter's text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is true in any case (`true`, `True`); anything else is false.
    pub fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A whole number.
    ///
    /// # Errors
    /// 404, as the original answers.
    pub fn number(&self, name: &str, default: i64) -> Result<i64, ApiError> {
        match self.text(name) {
            None | Some("") => Ok(default),
            Some(text) => text.parse().map_err(|_| ApiError::not_found()),
        }
    }

    /// `deleted` and `deletedOnly`.
    pub fn show(&self) -> Show {
        Show::from_flags(self.flag("deleted"), self.flag("deletedOnly"))
    }

    /// Cuts a list by `offset` and `limit` (-1 = all).
    ///
    /// # Errors
    /// 404 for a number that is none.
    pub fn page<T>(&self, items: impl Iterator<Item = T>) -> Result<Vec<T>, ApiError> {
        let offset = usize::try_from(self.number("offset", 0)?).unwrap_or(0);
        let limit = usize::try_from(self.number("limit", -1)?).unwrap_or(usize::MAX);
        Ok(items.skip(offset).take(limit).collect())
    }
}

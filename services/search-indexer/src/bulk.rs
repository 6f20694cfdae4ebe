//! The bulk format and its verdicts, item by item. Pure.

use crate::document::{Action, Document};
use serde::Deserialize;
use serde_json::{Value, json};

/// Verdict on one item of a bulk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Stored, or something newer is there already.
    Done,
    /// The target is busy: again later.
    Again(String),
    /// Never.
    Refused(String),
}

/// Appends a document to a bulk body.
pub(crate) fn append(body: &mut Vec<u8>, document: &Document) {
    let mut meta = json!({"_index": document.index, "_id": document.id});
    if let Some(version) = document.version {
        meta["version"] = version.into();
        meta["version_type"] = "external".into();
    }
    let name = if document.action == Action::Delete { "delete" } else { "index" };
    line(body, &json!({name: meta}));
    if let Action::Index { source, .. } = &document.action {
        line(body, source);
    }
}

fn line(body: &mut Vec<u8>, value: &impl serde::Serialize) {
    // Values of serde_json always serialise, and a Vec takes every byte.
    let _infallible = serde_json::to_writer(&mut *body, value);
    body.push(b'\n');
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<serde_json::Map<String, Value>>,
}

#[derive(Deserialize)]
struct Item {
    status: u16,
    #[serde(default)]
    error: Value,
}

/// Reads the verdicts of a bulk answer; `None` when it is not one.
pub(crate) fn verdicts(answer: &[u8], items: usize) -> Option<Vec<Verdict>> {
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let read = |item: serde_json::Map<String, Value>| {
        let (name, body) = item.into_iter().next()?;
        Some(verdict(&name, &serde_json::from_value(body).ok()?))
    };
    let verdicts: Option<Vec<Verdict>> = answer.items.into_iter().map(read).collect();
    verdicts.filter(|verdicts| verdicts.len() == items)
}

fn verdict(action: &str, item: &Item) -> Verdict {
    let text = |name: &str| item.error[name].as_str().unwrap_or_default();
    match item.status {
        200..=299 => Verdict::Done,
        // A version conflict says that this position, or a newer one, is stored.
        409 => Verdict::Done,
        404 if action == "delete" => Verdict::Done,
        429 | 500..=599 => Verdict::Again(format!("status {}: {}", item.status, text("reason"))),
        // An index in read-only mode after a full disk is released by itself.
        403 if text("type") == "cluster_block_exception" => Verdict::Again(text("reason").to_owned()),
        status => {
            let cause =
                item.error["caused_by"]["reason"].as_str().map(|cause| format!(" ({cause})")).unwrap_or_default();
            Verdict::Refused(format!("status {status}: {}: {}{cause}", text("type"), text("reason")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_body_has_a_line_for_each_part() {
        let mut body = Vec::new();
        let source = json!({"id": 1}).as_object().unwrap().clone();
        let action = Action::Index { source, unchanged: vec![] };
        append(&mut body, &Document { index: "i".into(), id: "a\"b".into(), version: Some(7), action });
        append(&mut body, &Document { index: "i".into(), id: "2".into(), version: None, action: Action::Delete });
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "{\"index\":{\"_index\":\"i\",\"_id\":\"a\\\"b\",\"version\":7,\"version_type\":\"external\"}}\n{\"id\":1}\n{\"delete\":{\"_index\":\"i\",\"_id\":\"2\"}}\n"
        );
    }

    #[test]
    fn each_item_has_its_own_verdict() {
        let answer = json!({"errors": true, "items": [
            {"index": {"status": 201}},
            {"index": {"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "…"}}},
            {"delete": {"status": 404}},
            {"index": {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "queue full"}}},
            {"index": {"status": 400, "error": {"type": "document_parsing_exception", "reason": "failed to parse", "caused_by": {"reason": "not a date"}}}},
        ]});
        let verdicts = verdicts(answer.to_string().as_bytes(), 5).unwrap();
        assert_eq!(verdicts[..3], [Verdict::Done, Verdict::Done, Verdict::Done]);
        assert_eq!(verdicts[3], Verdict::Again("status 429: queue full".into()));
        let refused = Verdict::Refused("status 400: document_parsing_exception: failed to parse (not a date)".into());
        assert_eq!(verdicts[4], refused);
        assert_eq!(super::verdicts(b"<html>", 1), None);
    }
}

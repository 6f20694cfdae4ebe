//! The sink: documents in bulks, verdicts by item.

use crate::bulk::{self, Verdict};
use crate::document::{Action, Document, Rules};
use crate::elasticsearch::{CallError, Elasticsearch};
use ratestream_connect::{ConnectorConfig, TaskError};
use ratestream_pipeline::{Reject, Sink, SinkRecord, Written};
use std::cell::RefCell;
use std::collections::HashSet;

/// One Elasticsearch cluster as the target of one connector.
pub(crate) struct ElasticsearchTarget {
    rules: Rules,
    client: Elasticsearch,
    bulk_bytes_max: usize,
    /// Indexes known to exist.
    indexes: RefCell<HashSet<String>>,
}

/// Verdicts of a batch, by its indexes.
#[derive(Default)]
struct Outcome {
    rejected: Vec<(usize, String)>,
    retry: Vec<usize>,
    cause: String,
}

impl ElasticsearchTarget {
    pub(crate) fn new(config: &ConnectorConfig) -> Result<ElasticsearchTarget, TaskError> {
        Ok(ElasticsearchTarget {
            rules: Rules::new(config)?,
            client: Elasticsearch::new(config)?,
            bulk_bytes_max: config.int("bulk.size.bytes")?.unwrap_or(5 << 20).max(1) as usize,
            indexes: RefCell::default(),
        })
    }

    /// Creates the indexes of a batch that are not known yet.
    async fn ensure_indexes(&self, items: &[&Document]) -> Result<(), CallError> {
        let missing: HashSet<&str> =
            items.iter().map(|d| d.index.as_str()).filter(|index| !self.indexes.borrow().contains(*index)).collect();
        for index in missing {
            self.client.ensure_index(index).await?;
            self.indexes.borrow_mut().insert(index.to_owned());
        }
        Ok(())
    }

    /// Writes `items`, whose first has index `first` in the batch.
    async fn bulk(&self, items: &[&Document], first: usize, outcome: &mut Outcome) -> Result<(), CallError> {
        let whole = self.completed(items).await?;
        let mut body = Vec::new();
        for (item, whole) in items.iter().zip(&whole) {
            bulk::append(&mut body, whole.as_ref().unwrap_or(item));
        }
        let answer = match self.client.bulk(body).await {
            Err(CallError::TooLarge) if items.len() > 1 => {
                let (left, right) = items.split_at(items.len() / 2);
                Box::pin(self.bulk(left, first, outcome)).await?;
                return Box::pin(self.bulk(right, first + left.len(), outcome)).await;
            }
            Err(CallError::TooLarge) => {
                outcome.rejected.push((first, "Elasticsearch refuses a document of this size (status 413)".into()));
                return Ok(());
            }
            other => other?,
        };
        let verdicts = bulk::verdicts(&answer, items.len())
            .ok_or_else(|| CallError::Again("the answer to a bulk could not be read".into()))?;
        for (position, verdict) in verdicts.into_iter().enumerate() {
            match verdict {
                Verdict::Done => {}
                Verdict::Refused(reason) => outcome.rejected.push((first + position, reason)),
                Verdict::Again(cause) => {
                    outcome.retry.push(first + position);
                    outcome.cause = cause;
                }
            }
        }
        Ok(())
    }

    /// For documents with fields that the source did not send: the document with those fields as they are stored now.
    async fn completed(&self, items: &[&Document]) -> Result<Vec<Option<Document>>, CallError> {
        let partial: Vec<(&str, &str)> =
            items.iter().filter(|d| is_partial(d)).map(|d| (d.index.as_str(), d.id.as_str())).collect();
        if partial.is_empty() {
            return Ok(vec![None; items.len()]);
        }
        let stored = self.client.sources(&partial).await?;
        let complete = |document: &&Document| {
            let Action::Index { source, unchanged } = &document.action else { return None };
            let old = stored.get(&(document.index.clone(), document.id.clone()));
            let mut source = source.clone();
            for field in unchanged {
                match old.and_then(|old| old.get(field)) {
                    Some(value) => source.insert(field.clone(), value.clone()),
                    None => source.remove(field),
                };
            }
            Some(Document { action: Action::Index { source, unchanged: Vec::new() }, ..(*document).clone() })
        };
        Ok(items.iter().map(complete).collect())
    }

    /// Where a batch is cut: by bytes, and before a document that depends on what is stored of it.
    fn pieces<'a>(&self, items: &'a [&'a Document]) -> Vec<(usize, &'a [&'a Document])> {
        let (mut pieces, mut start, mut bytes, mut seen) = (Vec::new(), 0, 0, HashSet::new());
        for (at, item) in items.iter().enumerate() {
            let size = size(item);
            let depends = is_partial(item) && seen.contains(&(&item.index, &item.id));
            if at > start && (bytes + size > self.bulk_bytes_max || depends) {
                pieces.push((start, items.get(start..at).unwrap_or_default()));
                (start, bytes) = (at, 0);
                seen.clear();
            }
            bytes += size;
            seen.insert((&item.index, &item.id));
        }
        pieces.push((start, items.get(start..).unwrap_or_default()));
        pieces
    }
}

fn is_partial(document: &Document) -> bool {
    matches!(&document.action, Action::Index { unchanged, .. } if !unchanged.is_empty())
}

/// Bytes of a document, roughly: enough to cut bulks.
fn size(document: &Document) -> usize {
    let source = match &document.action {
        Action::Index { source, .. } => source.iter().map(|(name, value)| name.len() + 8 + json_size(value)).sum(),
        Action::Delete => 0,
    };
    source + document.id.len() + document.index.len() + 80
}

fn json_size(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::String(text) => text.len(),
        serde_json::Value::Array(items) => items.iter().map(json_size).sum(),
        serde_json::Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + 4 + json_size(value)).sum(),
        _ => 8,
    }
}

#[async_trait::async_trait(?Send)]
impl Sink for ElasticsearchTarget {
    type Item = Document;

    fn plan(&self, record: &SinkRecord) -> Result<Option<Document>, Reject> {
        self.rules.document(record)
    }

    async fn write(&self, items: &[&Document]) -> Written {
        let mut outcome = Outcome::default();
        if let Err(error) = self.ensure_indexes(items).await {
            return failed(error);
        }
        for (first, piece) in self.pieces(items) {
            match self.bulk(piece, first, &mut outcome).await {
                Ok(()) => {}
                Err(CallError::Again(cause)) => {
                    // What is written stays; this piece and those after it, in their order, come again.
                    outcome.retry.extend(first..items.len());
                    outcome.cause = cause;
                    break;
                }
                Err(CallError::Refused(reason)) => {
                    outcome.rejected.extend((first..first + piece.len()).map(|at| (at, reason.clone())));
                }
                Err(error) => return failed(error),
            }
        }
        if outcome.rejected.is_empty() && outcome.retry.is_empty() {
            return Written::Durable;
        }
        Written::Partial { rejected: outcome.rejected, retry: outcome.retry, cause: outcome.cause }
    }

    async fn check(&self) -> Result<(), TaskError> {
        match self.client.ping().await {
            Ok(()) => Ok(()),
            Err(CallError::Denied(error)) => Err(error),
            Err(CallError::Again(cause) | CallError::Refused(cause)) => Err(TaskError::Transient { cause }),
            Err(CallError::TooLarge) => Err(TaskError::transient("status 413")),
        }
    }
}

fn failed(error: CallError) -> Written {
    match error {
        CallError::Again(cause) | CallError::Refused(cause) => Written::Retry(cause),
        CallError::TooLarge => Written::Retry("status 413".into()),
        CallError::Denied(error) => Written::Failed(error),
    }
}

//! The rows of a table, at hand for pull queries and shared by all push queries on it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use ratestream_avro::Value;
use tokio::sync::broadcast;

use crate::sql::ast::Column;

/// Changes that a slow reader may be behind before it starts over with the present rows.
const BEHIND_MAX: usize = 4096;

/// A row by column name.
pub type ViewRow = Arc<Vec<(String, Value)>>;

/// A row that came or, without values, went.
#[derive(Clone, Debug)]
pub struct ViewChange {
    /// All columns; of a row that went only its key ones are not null.
    pub row: ViewRow,
    /// It went.
    pub gone: bool,
}

/// One table's rows.
pub struct View {
    /// The table's columns, key first.
    pub columns: Vec<Column>,
    rows: RwLock<BTreeMap<Vec<u8>, ViewRow>>,
    changes: broadcast::Sender<ViewChange>,
    ready: AtomicBool,
}

impl View {
    /// Empty.
    pub fn new(columns: Vec<Column>) -> View {
        View {
            columns,
            rows: RwLock::default(),
            changes: broadcast::channel(BEHIND_MAX).0,
            ready: AtomicBool::new(false),
        }
    }

    /// Takes a record of the table's topic: key bytes and, unless it is a tombstone, the value's columns.
    pub fn apply(&self, key: &[u8], value: Option<Vec<(String, Value)>>) {
        let keys: Vec<&Column> = self.columns.iter().filter(|column| column.key).collect();
        let mut row = read_key(key, &keys);
        let gone = value.is_none();
        match value {
            Some(columns) => row.extend(columns),
            None => row.extend(self.columns.iter().filter(|column| !column.key).map(|c| (c.name.clone(), Value::Null))),
        }
        let row: ViewRow = Arc::new(row);
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let known = if gone { rows.remove(key).is_some() } else { rows.insert(key.to_vec(), row.clone()).is_none() };
        if gone && !known {
            return;
        }
        // Under the lock, so that nobody who takes rows and subscription together misses or doubles a change.
        let _nobody_listens = self.changes.send(ViewChange { row, gone });
    }

    /// The topic was read to its end.
    pub fn caught_up(&self) {
        self.ready.store(true, Relaxed);
    }

    /// Whether the rows are complete.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    /// The present rows, by key.
    pub fn rows(&self) -> Vec<ViewRow> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The present rows and every change after them.
    pub fn subscribe(&self) -> (Vec<ViewRow>, broadcast::Receiver<ViewChange>) {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        (rows.values().cloned().collect(), self.changes.subscribe())
    }
}

fn read_key(key: &[u8], columns: &[&Column]) -> Vec<(String, Value)> {
    use crate::engine::{accumulate::from_json, plan::fit};
    let text = String::from_utf8_lossy(key);
    match columns {
        [] => Vec::new(),
        [single] => {
            let cast = match (&single.ty, text.parse::<i64>()) {
                (crate::sql::SqlType::Integer | crate::sql::SqlType::Bigint, Ok(whole)) => Value::Long(whole),
                _ => Value::String(text.as_ref().into()),
            };
            vec![(single.name.clone(), cast)]
        }
        many => {
            let object: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let value = |column: &&Column| {
                let value = object.get(&column.name).and_then(from_json).unwrap_or(Value::Null);
                (column.name.clone(), fit(value, &column.ty))
            };
            many.iter().map(value).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::SqlType;

    #[test]
    fn present_rows_then_changes_and_tombstones_once() {
        let column = |name: &str, ty, key| Column { name: name.into(), ty, key };
        let view = View::new(vec![column("C", SqlType::Text, true), column("N", SqlType::Bigint, false)]);
        view.apply(b"EG", Some(vec![("N".into(), Value::Long(1))]));
        let (rows, mut changes) = view.subscribe();
        assert_eq!(*rows[0], vec![("C".to_owned(), "EG".into()), ("N".to_owned(), Value::Long(1))]);
        view.apply(b"EG", None);
        view.apply(b"EG", None);
        assert!(changes.try_recv().unwrap().gone);
        assert!(changes.try_recv().is_err());
        assert!(view.rows().is_empty());
    }
}

//! Debezium's change model: a record with `before`, `after`, `source` and `op`.

use std::sync::Arc;

use crate::{AvroError, Record, Schema, Value};

/// Header that lists, as a JSON array of names, the columns whose values PostgreSQL did not send because they were not
/// changed (out-of-line TOAST). In the record they hold a placeholder or null, never their value.
pub const UNCHANGED_HEADER: &str = "ratestream.unchanged";

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `c`
    Create,
    /// `r`: read by a snapshot.
    Read,
    /// `u`
    Update,
    /// `d`
    Delete,
    /// `t`
    Truncate,
    /// `m`: a logical decoding message.
    Message,
}

impl Op {
    /// The letter in the field `op`.
    pub fn letter(self) -> &'static str {
        match self {
            Self::Create => "c",
            Self::Read => "r",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Truncate => "t",
            Self::Message => "m",
        }
    }

    /// From the letter.
    pub fn of(letter: &str) -> Option<Self> {
        Some(match letter {
            "c" => Self::Create,
            "r" => Self::Read,
            "u" => Self::Update,
            "d" => Self::Delete,
            "t" => Self::Truncate,
            "m" => Self::Message,
            _ => return None,
        })
    }
}

/// Where a change came from, as far as its source said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Position {
    /// WAL position: orders the changes of one key. `None` for sources without one.
    pub lsn: Option<i64>,
    /// Commit time, milliseconds since the epoch.
    pub ts_ms: Option<i64>,
    /// Read by a snapshot, not from the log.
    pub snapshot: bool,
    /// Transaction id.
    pub tx_id: Option<i64>,
    /// Database.
    pub db: Option<Arc<str>>,
    /// Schema of the table.
    pub schema: Option<Arc<str>>,
    /// Table.
    pub table: Option<Arc<str>>,
}

/// One change of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What happened.
    pub op: Op,
    /// The row before, as far as the replica identity lets it be known.
    pub before: Option<Record>,
    /// The row after.
    pub after: Option<Record>,
    /// Where it came from.
    pub position: Position,
    /// Columns whose values were not sent; see [`UNCHANGED_HEADER`].
    pub unchanged: Vec<Arc<str>>,
}

/// True for a record whose `connect.name` (or name) ends in `.Envelope`, or that has the fields `before`, `after`,
/// `source` and `op`.
pub fn is_envelope(schema: &Schema) -> bool {
    let Some(record) = schema.record() else { return false };
    let has = |name| record.field(name).is_some();
    let named = record.props.text("connect.name").unwrap_or(record.name.full()).ends_with(".Envelope");
    (named && has("op") && has("after")) || ["before", "after", "source", "op"].into_iter().all(has)
}

/// Reads a decoded envelope. `unchanged` is the value of the header [`UNCHANGED_HEADER`], if there is one.
///
/// # Errors
/// [`AvroError::Envelope`] when the value is no record, its `op` is missing or unknown, or the header is not a list.
pub fn change(value: Value, unchanged: Option<&[u8]>) -> Result<Change, AvroError> {
    let fail = |cause: String| AvroError::Envelope(cause);
    let Value::Record(mut envelope) = value else {
        return Err(fail(format!("a {} instead of a record", value.kind())));
    };
    let op = match envelope.get("op").and_then(Value::as_str) {
        Some(letter) => Op::of(letter).ok_or_else(|| fail(format!("unknown operation \"{letter}\"")))?,
        None => return Err(fail("the field op is missing".to_owned())),
    };
    let mut row = |name| match envelope.take(name) {
        Some(Value::Record(record)) => Some(record),
        _ => None,
    };
    let (before, after, source) = (row("before"), row("after"), row("source"));
    let unchanged = match unchanged {
        Some(bytes) => decode_unchanged(bytes)?,
        None => Vec::new(),
    };
    Ok(Change { op, before, after, position: position(source), unchanged })
}

fn position(source: Option<Record>) -> Position {
    let Some(source) = source else { return Position::default() };
    let number = |name| source.get(name).and_then(Value::as_i64);
    let text = |name| source.get(name).and_then(Value::as_str).map(Arc::from);
    let snapshot = match source.get("snapshot") {
        Some(Value::Boolean(b)) => *b,
        Some(value) => value.as_str().is_some_and(|word| word != "false"),
        None => false,
    };
    // a source timestamp is a plain number in Debezium's schema, a timestamp when a registry user retyped it
    let ts_ms = match source.get("ts_ms") {
        Some(Value::Timestamp(micros)) => Some(micros.div_euclid(1000)),
        other => other.and_then(Value::as_i64),
    };
    Position {
        lsn: number("lsn"),
        ts_ms,
        snapshot,
        tx_id: number("txId"),
        db: text("db"),
        schema: text("schema"),
        table: text("table"),
    }
}

/// The header's value for a list of columns.
pub fn encode_unchanged<S: AsRef<str>>(columns: &[S]) -> Vec<u8> {
    serde_json::Value::from(columns.iter().map(AsRef::as_ref).collect::<Vec<&str>>()).to_string().into_bytes()
}

/// The columns of the header's value.
///
/// # Errors
/// [`AvroError::Envelope`] when it is not a JSON array of names.
pub fn decode_unchanged(header: &[u8]) -> Result<Vec<Arc<str>>, AvroError> {
    serde_json::from_slice::<Vec<Arc<str>>>(header)
        .map_err(|e| AvroError::Envelope(format!("the header {UNCHANGED_HEADER} is not a JSON array of names: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Field, Type};

    fn schema() -> Arc<Schema> {
        let row = Type::record("s.t.Value").field(Field::new("id", Type::long())).build();
        let source = Type::record("Source")
            .field(Field::new("lsn", Type::long().optional()))
            .field(Field::new("snapshot", Type::string().optional()))
            .field(Field::new("table", Type::string()))
            .build();
        let envelope = Type::record("s.t.Envelope")
            .field(Field::optional("before", row.clone()))
            .field(Field::optional("after", row))
            .field(Field::new("source", source))
            .field(Field::new("op", Type::string()))
            .with("connect.name", "s.t.Envelope");
        Schema::new(envelope.build()).unwrap()
    }

    #[test]
    fn an_envelope_becomes_a_change() {
        let schema = schema();
        assert!(is_envelope(&schema));
        let row = Record::from_pairs("s.t.Value", [("id", 7i64.into())]);
        let source =
            Record::from_pairs("Source", [("lsn", 42i64.into()), ("snapshot", "last".into()), ("table", "t".into())]);
        let value = Record::from_pairs(
            "s.t.Envelope",
            [("before", Value::Null), ("after", row.clone().into()), ("source", source.into()), ("op", "r".into())],
        );
        let mut bytes = Vec::new();
        crate::codec::encode(&schema, &value.into(), &mut bytes).unwrap();
        let decoded = crate::codec::decode(&schema, &bytes).unwrap();
        let change = change(decoded, Some(&encode_unchanged(&["body"]))).unwrap();
        assert_eq!(change.op, Op::Read);
        assert_eq!(change.before, None);
        assert_eq!(change.after.unwrap().get("id"), Some(&Value::Long(7)));
        assert_eq!(change.position.lsn, Some(42));
        assert!(change.position.snapshot);
        assert_eq!(change.unchanged, [Arc::from("body")]);
    }

    #[test]
    fn other_records_are_no_envelopes() {
        let flat = Type::record("s.Row").field(Field::new("op", Type::string())).build();
        assert!(!is_envelope(&Schema::new(flat).unwrap()));
        assert!(change(Value::Int(1), None).is_err());
        assert!(decode_unchanged(b"body").is_err());
    }
}

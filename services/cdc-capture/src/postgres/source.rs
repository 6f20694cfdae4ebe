//! The `source` block: where an event came from. Its constant parts are encoded once per table.

use ratestream_avro::codec::raw;
use ratestream_avro::{Field, Type};
use serde_json::json;

/// Snapshot marks as Debezium names them; `false` in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Not a snapshot.
    False,
    /// A row in between.
    True,
    /// The very first row.
    First,
    /// First of its table.
    FirstInTable,
    /// Last of its table.
    LastInTable,
    /// The very last row.
    Last,
}

impl Mark {
    fn word(self) -> &'static str {
        match self {
            Self::False => "false",
            Self::True => "true",
            Self::First => "first",
            Self::FirstInTable => "first_in_data_collection",
            Self::LastInTable => "last_in_data_collection",
            Self::Last => "last",
        }
    }
}

/// What differs from event to event.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Commit time, microseconds since the epoch.
    pub commit_micros: i64,
    /// When we handled it, microseconds since the epoch.
    pub processed_micros: i64,
    /// Snapshot mark.
    pub mark: Mark,
    /// Transaction id.
    pub xid: u32,
    /// Position of the change.
    pub lsn: u64,
    /// End of the transaction before; 0 when there is none.
    pub last_commit: u64,
    /// Replication origin and its position.
    pub origin: Option<(&'a str, u64)>,
}

/// Encoded constants of one table.
#[derive(Debug, Clone)]
pub struct SourceBlock {
    head: Vec<u8>,
    database: Vec<u8>,
    table: Vec<u8>,
}

impl SourceBlock {
    /// For events of `prefix`'s `database` and a table.
    pub fn new(prefix: &str, database: &str, (schema, table): (&str, &str)) -> Self {
        let strings = |texts: &[&str]| {
            let mut out = Vec::new();
            texts.iter().for_each(|text| raw::bytes(text.as_bytes(), &mut out));
            out
        };
        Self {
            head: strings(&[env!("CARGO_PKG_VERSION"), "postgresql", prefix]),
            database: strings(&[database]),
            table: strings(&[schema, table]),
        }
    }

    /// Appends the block; the order of [`source_type`].
    pub fn write(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        let optional = |value: i64, out: &mut Vec<u8>| {
            out.push(2);
            raw::long(value, out);
        };
        out.extend_from_slice(&self.head);
        raw::long(event.commit_micros.div_euclid(1000), out);
        out.push(0);
        raw::bytes(event.mark.word().as_bytes(), out);
        out.extend_from_slice(&self.database);
        out.push(2);
        let last = if event.last_commit == 0 { "null".to_owned() } else { format!("\"{}\"", event.last_commit) };
        raw::bytes(format!("[{last},\"{}\"]", event.lsn).as_bytes(), out);
        optional(event.commit_micros, out);
        optional(event.commit_micros.saturating_mul(1000), out);
        out.extend_from_slice(&self.table);
        optional(i64::from(event.xid), out);
        optional(i64::try_from(event.lsn).unwrap_or(i64::MAX), out);
        out.push(0);
        match event.origin {
            None => out.extend_from_slice(&[0, 0]),
            Some((name, lsn)) => {
                out.push(2);
                raw::bytes(name.as_bytes(), out);
                optional(i64::try_from(lsn).unwrap_or(i64::MAX), out);
            }
        }
    }
}

/// The block's schema in Debezium 3.
pub fn source_type() -> Type {
    const NAME: &str = "io.debezium.connector.postgresql.Source";
    let allowed = "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental";
    let snapshot = Type::string()
        .with("connect.version", 1)
        .with("connect.parameters", json!({ "allowed": allowed }))
        .with("connect.default", "false")
        .with("connect.name", "io.debezium.data.Enum");
    let snapshot = Type::union(vec![snapshot, Type::primitive(ratestream_avro::Kind::Null)]);
    Type::record(NAME)
        .field(Field::new("version", Type::string()))
        .field(Field::new("connector", Type::string()))
        .field(Field::new("name", Type::string()))
        .field(Field::new("ts_ms", Type::long()))
        .field(Field::new("snapshot", snapshot).default_to("false"))
        .field(Field::new("db", Type::string()))
        .field(Field::optional("sequence", Type::string()))
        .field(Field::optional("ts_us", Type::long()))
        .field(Field::optional("ts_ns", Type::long()))
        .field(Field::new("schema", Type::string()))
        .field(Field::new("table", Type::string()))
        .field(Field::optional("txId", Type::long()))
        .field(Field::optional("lsn", Type::long()))
        .field(Field::optional("xmin", Type::long()))
        .field(Field::optional("origin", Type::string()))
        .field(Field::optional("origin_lsn", Type::long()))
        .with("connect.version", 1)
        .with("connect.name", NAME)
        .build()
}

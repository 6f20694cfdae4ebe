//! Configuration properties of the polling connector: Confluent's.

use ratestream_connect::{ConfigKey, ValueKind};

use crate::postgres::keys::{any, set};
use ValueKind::{Boolean, Int, List, Long, Password, String};

/// All properties of the class.
pub const KEYS: &[ConfigKey] = &[
    ConfigKey::required(
        "connection.url",
        String,
        "jdbc:postgresql://host:port/database (jdbc:postgres:// is understood).",
    ),
    any("connection.user", String, "User."),
    any("connection.password", Password, "Password."),
    any("connection.attempts", Int, "Accepted: connecting is retried for ever."),
    any("connection.backoff.ms", Long, "Accepted without an effect yet."),
    any("connection.*", String, "Accepted without an effect yet."),
    set("mode", "bulk", String, "bulk: every poll publishes every row."),
    any("incrementing.column.name", String, "For modes that are not supported yet."),
    any("timestamp.column.name", List, "For modes that are not supported yet."),
    any("timestamp.*", String, "For modes that are not supported yet."),
    set("poll.interval.ms", "5000", Long, "Time between the starts of two polls; kept across restarts."),
    any("table.poll.interval.ms", Long, "Accepted: tables are looked up at every poll."),
    any("batch.max.rows", Int, "Accepted: batches are bounded by bytes."),
    any("table.whitelist", List, "Tables, with or without schema, separated by commas."),
    any("table.blacklist", List, "Tables that are left out."),
    any("table.include.list", List, "Regular expressions on schema.table."),
    any("table.exclude.list", List, "Regular expressions on schema.table."),
    any("schema.pattern", String, "Schema of the tables."),
    any("catalog.pattern", String, "Accepted without an effect yet."),
    any("table.types", List, "Accepted: tables only."),
    any("query*", String, "Not supported yet."),
    ConfigKey::required("topic.prefix", String, "Topics are this and the table's name."),
    set("numeric.mapping", "none", String, "none, or best_fit: numbers as integers and doubles where they fit."),
    any("numeric.precision.mapping", Boolean, "Old form of numeric.mapping."),
    any("validate.non.null", Boolean, "Accepted without an effect yet."),
    any("db.timezone", String, "Accepted: timestamps without zone are taken as UTC."),
    any("quote.sql.identifiers", String, "Accepted: names are always quoted."),
    any("transaction.isolation.mode", String, "Accepted: a table is read by one statement."),
    any("dialect.name", String, "Accepted: PostgreSQL."),
];

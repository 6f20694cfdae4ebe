//! Errors of PostgreSQL in the classes that decide what happens next, with the SQL that repairs them.

use ratestream_connect::TaskError;

use super::settings::Database;

/// An error that needs a human.
pub fn config(code: &'static str, cause: impl Into<String>, fix: impl Into<String>) -> TaskError {
    TaskError::Config { code, cause: cause.into(), fix: fix.into() }
}

/// Classifies a failed statement. `action` says what was tried, as in "reading the table rating.rates".
pub fn sql(database: &Database, action: &str, error: &sqlx::Error) -> TaskError {
    let state = error.as_database_error().and_then(|e| e.code()).unwrap_or_default().into_owned();
    let text = error.as_database_error().map_or_else(|| error.to_string(), |e| e.message().to_owned());
    classify(database, action, &state, &text)
}

/// Classifies a failure of the replication connection, whose message carries the SQLSTATE in its text.
pub fn replication(database: &Database, action: &str, error: &pgwire_replication::PgWireError) -> TaskError {
    let text = error.to_string();
    let states = ["28P01", "28000", "3D000", "42501", "42704", "55006", "55000", "53400", "57P01"];
    let state = states.into_iter().find(|state| text.contains(state)).unwrap_or_default();
    if error.is_auth() && state.is_empty() {
        return classify(database, action, "28P01", &text);
    }
    classify(database, action, state, &text)
}

fn classify(database: &Database, action: &str, state: &str, text: &str) -> TaskError {
    let Database { host, port, user, name, .. } = database;
    let place = format!("PostgreSQL at {host}:{port}");
    match state {
        "28P01" | "28000" => config(
            "PGA001",
            format!("{place} does not let {user} in: {text}."),
            format!(
                "Correct database.user and database.password, or run: ALTER ROLE {} PASSWORD '...'; and allow the host in pg_hba.conf.",
                quote(user)
            ),
        ),
        "3D000" => config(
            "PGA002",
            format!("{place} has no database {name}: {text}."),
            "Correct database.dbname, or create the database.",
        ),
        "42501" => {
            config("PGA003", format!("{place} refuses {user} the right for {action}: {text}."), privileges(user))
        }
        "53400" => config(
            "PGS004",
            format!("{place} has no replication slot or sender left for {action}: {text}."),
            "Raise max_replication_slots and max_wal_senders (ALTER SYSTEM SET max_replication_slots = 20; restart), or drop slots that nobody uses.",
        ),
        _ => TaskError::transient(format!("{place} failed at {action}: {text}.")),
    }
}

fn privileges(user: &str) -> String {
    let user = quote(user);
    format!(
        "As a superuser run: ALTER ROLE {user} REPLICATION; GRANT CREATE ON DATABASE current_database TO {user}; \
         GRANT USAGE ON SCHEMA the_schema TO {user}; GRANT SELECT ON the_table TO {user}; ALTER TABLE the_table OWNER TO {user} \
         (or create the publication yourself and set publication.autocreate.mode=disabled)."
    )
}

/// An SQL identifier.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An SQL string.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

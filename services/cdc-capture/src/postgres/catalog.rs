//! What the database's catalogue says: settings, tables, types, publication and slot. One ordinary connection.

use std::collections::HashMap;
use std::str::FromStr;

use ratestream_connect::TaskError;
use sqlx::postgres::{PgConnectOptions, PgRow, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};

use super::error::{config, literal, quote, sql};
use super::offset::{SlotState, parse_lsn};
use super::pgoutput::RelationColumn;
use super::settings::{Database, PublicationMode, Settings};
use super::table::{ColumnInfo, TableInfo};
use super::types::TypeInfo;

/// A captured table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Partitioned: its rows live in its partitions.
    pub partitioned: bool,
}

impl Table {
    /// Quoted, for SQL.
    pub fn sql(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }
}

/// An open connection.
pub struct Catalog {
    /// To be used for statements of the caller's own.
    pub connection: PgConnection,
    database: Database,
}

impl Catalog {
    /// Connects.
    ///
    /// # Errors
    /// Classified: a wrong password needs a human, a refused connection only time.
    pub async fn connect(database: &Database) -> Result<Self, TaskError> {
        let mode = PgSslMode::from_str(&database.sslmode).unwrap_or(PgSslMode::Prefer);
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&database.host)
            .port(database.port)
            .username(&database.user)
            .password(database.password.expose())
            .database(&database.name)
            .application_name(&database.application)
            .ssl_mode(mode)
            .options([
                ("DateStyle", "ISO,YMD"),
                ("IntervalStyle", "postgres"),
                ("bytea_output", "hex"),
                ("extra_float_digits", "1"),
                ("TimeZone", "UTC"),
                ("statement_timeout", "0"),
                ("idle_in_transaction_session_timeout", "0"),
            ])
            .disable_statement_logging();
        if let Some(file) = &database.root_certificate {
            options = options.ssl_root_cert(file);
        }
        if let Some((certificate, key)) = &database.client {
            options = options.ssl_client_cert(certificate).ssl_client_key(key);
        }
        let connection = PgConnection::connect_with(&options).await.map_err(|e| sql(database, "connecting", &e))?;
        Ok(Self { connection, database: database.clone() })
    }

    async fn rows(&mut self, action: &str, statement: String) -> Result<Vec<PgRow>, TaskError> {
        let query = sqlx::query(AssertSqlSafe(statement));
        query.fetch_all(&mut self.connection).await.map_err(|e| sql(&self.database, action, &e))
    }

    /// Runs statements without rows.
    ///
    /// # Errors
    /// Classified.
    pub async fn run(&mut self, action: &str, statement: String) -> Result<(), TaskError> {
        let query = sqlx::raw_sql(AssertSqlSafe(statement));
        query.execute(&mut self.connection).await.map(|_| ()).map_err(|e| sql(&self.database, action, &e))
    }

    /// Checks `wal_level` and the role.
    ///
    /// # Errors
    /// With the SQL to run.
    pub async fn preflight(&mut self) -> Result<(), TaskError> {
        let statement = "SELECT current_setting('wal_level'), \
             COALESCE((SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user), false)";
        let rows = self.rows("reading its settings", statement.to_owned()).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        let level: String = get(row, 0)?;
        if level != "logical" {
            return Err(config(
                "PGS001",
                format!("Postgres server wal_level property must be 'logical' but is: '{level}'."),
                "Run: ALTER SYSTEM SET wal_level = 'logical'; and restart PostgreSQL.",
            ));
        }
        if !get::<bool>(row, 1)? {
            let user = &self.database.user;
            return Err(config(
                "PGA004",
                format!("The role {user} may not replicate."),
                format!("As a superuser run: ALTER ROLE {} REPLICATION;", quote(user)),
            ));
        }
        Ok(())
    }

    /// The captured tables, by name.
    ///
    /// # Errors
    /// When there is none.
    pub async fn tables(&mut self, settings: &Settings) -> Result<Vec<Table>, TaskError> {
        let mut tables = self.list().await?;
        tables.retain(|table| settings.captures(&table.schema, &table.name));
        if tables.is_empty() {
            return Err(config(
                "PGS002",
                format!("No table of the database {} matches table.include.list.", self.database.name),
                "Create the table, or correct the list: it holds regular expressions on schema.table, for example rating\\.rates.",
            ));
        }
        Ok(tables)
    }

    /// All ordinary and partitioned tables, by name.
    ///
    /// # Errors
    /// Classified.
    pub async fn list(&mut self) -> Result<Vec<Table>, TaskError> {
        let statement = "SELECT n.nspname::text, c.relname::text, c.relkind::text FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' \
             AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' ORDER BY 1, 2";
        let mut tables = Vec::new();
        for row in self.rows("listing the tables", statement.to_owned()).await? {
            let (schema, name, kind): (String, String, String) = (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
            tables.push(Table { schema, name, partitioned: kind == "p" });
        }
        Ok(tables)
    }

    /// A table's columns in `pgoutput`'s order, and what the catalogue knows beyond. `None`: there is no such table.
    ///
    /// # Errors
    /// Classified.
    pub async fn describe(
        &mut self,
        schema: &str,
        table: &str,
    ) -> Result<Option<(Vec<RelationColumn>, TableInfo)>, TaskError> {
        let action = format!("describing the table {schema}.{table}");
        let which = format!(
            "(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = {})",
            literal(schema),
            literal(table)
        );
        let columns = format!(
            "SELECT a.attname::text, a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.atttypid::bigint, a.atttypmod \
             FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = '' \
             WHERE a.attrelid = {which} AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum"
        );
        let mut relation = Vec::new();
        let mut info = TableInfo::default();
        for row in self.rows(&action, columns).await? {
            let name: String = get(&row, 0)?;
            let oid: i64 = get(&row, 3)?;
            let type_oid = u32::try_from(oid).unwrap_or_default();
            relation.push(RelationColumn { is_key: false, name: name.clone(), type_oid, type_mod: get(&row, 4)? });
            info.columns.push(ColumnInfo { name, nullable: !get::<bool>(&row, 1)?, default: get(&row, 2)? });
        }
        let keys = format!(
            "SELECT a.attname::text, i.indisprimary, i.indisreplident AND c.relreplident = 'i' \
             FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
             CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
             WHERE i.indrelid = {which} AND (i.indisprimary OR i.indisreplident) AND k.place <= i.indnkeyatts ORDER BY k.place"
        );
        let (mut primary, mut identity) = (Vec::new(), Vec::new());
        for row in self.rows(&action, keys).await? {
            let name: String = get(&row, 0)?;
            if get(&row, 1)? {
                primary.push(name.clone());
            }
            if get(&row, 2)? {
                identity.push(name);
            }
        }
        // a delete carries the identity's columns only: a primary key outside of them could never be written
        let known = identity.is_empty() || primary.iter().all(|column| identity.contains(column));
        info.key = if !primary.is_empty() && known { primary } else { identity };
        Ok(if relation.is_empty() { None } else { Some((relation, info)) })
    }

    /// All types that are not built in.
    ///
    /// # Errors
    /// Classified.
    pub async fn types(&mut self) -> Result<HashMap<u32, TypeInfo>, TaskError> {
        let statement = "SELECT t.oid::bigint, t.typname::text, t.typtype::text, t.typelem::bigint, t.typbasetype::bigint, \
             t.typtypmod, (SELECT string_agg(e.enumlabel, E'\\x01' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) \
             FROM pg_type t WHERE t.oid >= 16384 AND (t.typtype IN ('e', 'd') OR (t.typtype = 'b' AND (t.typelem = 0 OR t.typlen = -1)))";
        let mut types = HashMap::new();
        for row in self.rows("reading the types", statement.to_owned()).await? {
            let oid = |n| get::<i64>(&row, n).map(|oid| u32::try_from(oid).unwrap_or_default());
            let labels: Option<String> = get(&row, 6)?;
            let class: String = get(&row, 2)?;
            let info = TypeInfo {
                name: get(&row, 1)?,
                class: class.chars().next().unwrap_or('b'),
                element: oid(3)?,
                base: oid(4)?,
                base_mod: get(&row, 5)?,
                labels: labels.map(|text| text.split('\u{1}').map(str::to_owned).collect()).unwrap_or_default(),
            };
            types.insert(oid(0)?, info);
        }
        Ok(types)
    }

    /// Makes sure that the publication covers the tables, as far as its mode allows.
    ///
    /// # Errors
    /// With the SQL to run when the role may not.
    pub async fn publication(&mut self, settings: &Settings, tables: &[Table]) -> Result<(), TaskError> {
        let name = &settings.publication;
        let found = format!("SELECT puballtables FROM pg_publication WHERE pubname = {}", literal(name));
        let found = self.rows("reading the publication", found).await?;
        let all = found.first().map(|row| get::<bool>(row, 0)).transpose()?;
        let quoted = quote(name);
        let list = tables.iter().map(Table::sql).collect::<Vec<_>>().join(", ");
        let operations: Vec<_> = [('c', "insert"), ('u', "update"), ('d', "delete"), ('t', "truncate")]
            .into_iter()
            .filter(|(op, _)| !settings.skips(*op))
            .map(|(_, word)| word)
            .collect();
        let with = format!("WITH (publish = '{}')", operations.join(", "));
        let statement = match (settings.publication_mode, all) {
            (PublicationMode::Disabled, None) => {
                return Err(config(
                    "PGS003",
                    format!("The publication {name} does not exist, and publication.autocreate.mode is disabled."),
                    format!("Run: CREATE PUBLICATION {quoted} FOR TABLE {list};"),
                ));
            }
            (PublicationMode::Filtered, None) => format!("CREATE PUBLICATION {quoted} FOR TABLE {list} {with}"),
            (PublicationMode::AllTables, None) => format!("CREATE PUBLICATION {quoted} FOR ALL TABLES {with}"),
            (PublicationMode::NoTables, None) => format!("CREATE PUBLICATION {quoted} {with}"),
            (PublicationMode::Filtered, Some(false)) => {
                let held = format!(
                    "SELECT schemaname::text, tablename::text FROM pg_publication_tables WHERE pubname = {}",
                    literal(name)
                );
                let mut held_tables = Vec::new();
                for row in self.rows("reading the publication", held).await? {
                    held_tables.push((get::<String>(&row, 0)?, get::<String>(&row, 1)?));
                }
                // partitions are listed instead of their parent
                let covered = |t: &Table| t.partitioned || held_tables.contains(&(t.schema.clone(), t.name.clone()));
                let surplus = held_tables.len() > tables.len() && !tables.iter().any(|t| t.partitioned);
                if tables.iter().all(covered) && !surplus {
                    return Ok(());
                }
                format!("ALTER PUBLICATION {quoted} SET TABLE {list}")
            }
            _ => return Ok(()),
        };
        match self.run("the publication", statement.clone()).await {
            Err(TaskError::Config { code, cause, .. }) => Err(config(
                code,
                cause,
                format!(
                    "As the tables' owner run: {statement}; Or set publication.autocreate.mode=disabled afterwards."
                ),
            )),
            other => other,
        }
    }

    /// The slot, if it exists.
    ///
    /// # Errors
    /// Classified.
    pub async fn slot(&mut self, name: &str) -> Result<Option<SlotState>, TaskError> {
        let statement = format!(
            "SELECT COALESCE(s.plugin::text, ''), COALESCE(s.database::text, ''), s.active_pid, s.confirmed_flush_lsn::text, \
             COALESCE(s.wal_status, ''), a.application_name, \
             CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint END, s.restart_lsn::text \
             FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid WHERE s.slot_name = {}",
            literal(name)
        );
        let rows = self.rows("reading the replication slot", statement).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let confirmed: Option<String> = get(row, 3)?;
        Ok(Some(SlotState {
            plugin: get(row, 0)?,
            database: get(row, 1)?,
            active_pid: get(row, 2)?,
            confirmed: confirmed.as_deref().and_then(parse_lsn).unwrap_or_default(),
            lost: get::<String>(row, 4)? == "lost",
            holder: get(row, 5)?,
            retained: get::<Option<i64>>(row, 6)?.unwrap_or_default(),
            restart: get::<Option<String>>(row, 7)?.as_deref().and_then(parse_lsn).unwrap_or_default(),
        }))
    }

    /// The end of the WAL.
    ///
    /// # Errors
    /// Classified.
    pub async fn wal_end(&mut self) -> Result<u64, TaskError> {
        let statement =
            "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)::text";
        let rows = self.rows("reading the WAL position", statement.to_owned()).await?;
        let text: Option<String> = rows.first().map(|row| get(row, 0)).transpose()?;
        Ok(text.as_deref().and_then(parse_lsn).unwrap_or_default())
    }

    /// The transaction that a slot's creation waits for, as a sentence.
    ///
    /// # Errors
    /// Classified.
    pub async fn oldest_transaction(&mut self) -> Result<Option<String>, TaskError> {
        let statement = "SELECT pid, extract(epoch FROM now() - xact_start)::bigint, COALESCE(usename::text, ''), COALESCE(application_name, '') \
             FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 1";
        let rows = self.rows("looking for open transactions", statement.to_owned()).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (pid, age, user, application): (i32, i64, String, String) =
            (get(row, 0)?, get(row, 1)?, get(row, 2)?, get(row, 3)?);
        Ok(Some(format!(
            "pid {pid} ({user}, {application}) has a transaction open for {age} s; SELECT pg_terminate_backend({pid}) ends it"
        )))
    }
}

fn get<'r, T>(row: &'r PgRow, column: usize) -> Result<T, TaskError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column)
        .map_err(|error| TaskError::transient(format!("PostgreSQL answered a catalogue query unexpectedly: {error}.")))
}

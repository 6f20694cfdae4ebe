//! The sink: prepared statements, many in flight, each with the source position as its write timestamp.

use crate::convert::convert;
use crate::mapping::{Mapping, Mappings, Row};
use crate::statement;
use futures_util::StreamExt;
use ratestream_avro::Value;
use ratestream_connect::{ConnectorConfig, TaskError};
use ratestream_pipeline::{Reject, Sink, SinkRecord, Written};
use ratestream_runtime::Secret;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlValue, MaybeUnset};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// One cluster as the target of one connector.
pub(crate) struct CassandraTarget {
    mappings: Mappings,
    nodes: Vec<String>,
    login: Option<(String, Secret)>,
    replication: String,
    timeout: Duration,
    concurrency: usize,
    open: RefCell<Option<Rc<Open>>>,
}

/// A session with the statements of each mapping.
struct Open {
    session: Session,
    tables: Vec<Table>,
}

struct Table {
    insert: PreparedStatement,
    delete: PreparedStatement,
    /// Positions of the primary key's columns in the mapping, in the order of the delete's conditions.
    key: Vec<usize>,
}

/// How a statement ended that did not end well.
enum StatementError {
    Again(String),
    Refused(String),
    Denied(TaskError),
}

impl CassandraTarget {
    pub(crate) fn new(config: &ConnectorConfig) -> Result<CassandraTarget, TaskError> {
        let mappings = Mappings::new(config).map_err(|(key, message)| invalid(&key, &message))?;
        let port = config.int("port")?.unwrap_or(9042);
        let address = |host: &String| if host.contains(':') { host.clone() } else { format!("{host}:{port}") };
        let user = config.get("auth.username").filter(|user| !user.is_empty());
        Ok(CassandraTarget {
            mappings,
            nodes: config.list("contactPoints").iter().map(address).collect(),
            login: user.map(|user| (user.to_owned(), Secret::new(config.get("auth.password").unwrap_or_default()))),
            replication: config.required("keyspace.replication")?.to_owned(),
            timeout: Duration::from_secs(config.int("queryExecutionTimeout")?.unwrap_or(30).clamp(1, 3600) as u64),
            concurrency: config.int("maxConcurrentRequests")?.unwrap_or(128).clamp(1, 4096) as usize,
            open: RefCell::default(),
        })
    }

    async fn connect(&self) -> Result<Open, TaskError> {
        let mut builder = SessionBuilder::new().known_nodes(&self.nodes).connection_timeout(Duration::from_secs(5));
        if let Some((user, password)) = &self.login {
            builder = builder.user(user, password.expose());
        }
        let session = builder.build().await.map_err(|error| {
            TaskError::transient(format!("Cassandra at {} cannot be reached: {error}", self.nodes.join(", ")))
        })?;
        for mapping in &self.mappings.0 {
            self.create(&session, mapping).await?;
        }
        session.refresh_metadata().await.map_err(TaskError::transient)?;
        let mut tables = Vec::new();
        for mapping in &self.mappings.0 {
            tables.push(self.table(&session, mapping).await?);
        }
        Ok(Open { session, tables })
    }

    async fn create(&self, session: &Session, mapping: &Mapping) -> Result<(), TaskError> {
        let Some(definition) = &mapping.create else { return Ok(()) };
        let keyspace = statement::name(&mapping.keyspace);
        let statements = [
            format!("CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {}", self.replication),
            format!("CREATE TABLE IF NOT EXISTS {} {definition}", statement::table(mapping)),
        ];
        for text in statements {
            session.query_unpaged(text.clone(), ()).await.map_err(|error| match classify(error, &text) {
                StatementError::Again(cause) => TaskError::Transient { cause },
                StatementError::Denied(error) => error,
                StatementError::Refused(cause) => invalid(&format!("topic.{}.….create", mapping.topic), &cause),
            })?;
        }
        Ok(())
    }

    async fn table(&self, session: &Session, mapping: &Mapping) -> Result<Table, TaskError> {
        let state = session.get_cluster_state();
        let table = state.get_keyspace(&mapping.keyspace).and_then(|keyspace| keyspace.tables.get(&mapping.table));
        let Some(table) = table else {
            return Err(TaskError::Config {
                code: "CAS001",
                cause: format!("Cassandra has no table {}.", statement::table(mapping)),
                fix: format!(
                    "Create it, or set topic.{}.{}.{}.create.",
                    mapping.topic, mapping.keyspace, mapping.table
                ),
            });
        };
        let primary_key: Vec<String> = table.partition_key.iter().chain(&table.clustering_key).cloned().collect();
        let position = |column: &String| {
            mapping.columns.iter().position(|mapped| mapped == column).ok_or_else(|| {
                invalid(
                    &format!("topic.{}.….mapping", mapping.topic),
                    &format!("the column {column} of the primary key is not mapped"),
                )
            })
        };
        let key = primary_key.iter().map(position).collect::<Result<_, _>>()?;
        Ok(Table {
            insert: self.prepare(session, &statement::insert(mapping), mapping).await?,
            delete: self.prepare(session, &statement::delete(mapping, &primary_key), mapping).await?,
            key,
        })
    }

    async fn prepare(&self, session: &Session, text: &str, mapping: &Mapping) -> Result<PreparedStatement, TaskError> {
        let mut prepared = session.prepare(text).await.map_err(|error| match error {
            PrepareError::AllAttemptsFailed {
                first_attempt: RequestAttemptError::DbError(DbError::Invalid | DbError::SyntaxError, cause),
            } => invalid(&format!("topic.{}.….mapping", mapping.topic), &format!("{cause} ({text})")),
            error => TaskError::transient(error),
        })?;
        prepared.set_consistency(consistency(&mapping.consistency)?);
        prepared.set_request_timeout(Some(self.timeout));
        prepared.set_is_idempotent(true);
        Ok(prepared)
    }

    /// The session, opened anew when it was lost.
    async fn opened(&self) -> Result<Rc<Open>, TaskError> {
        if let Some(open) = self.open.borrow().clone() {
            return Ok(open);
        }
        let open = Rc::new(self.connect().await?);
        *self.open.borrow_mut() = Some(open.clone());
        Ok(open)
    }
}

impl Open {
    async fn execute(&self, row: &Row) -> Result<(), StatementError> {
        let Some(table) = self.tables.get(row.mapping) else { return Ok(()) };
        let (statement, values) = if row.is_delete {
            (&table.delete, table.delete_values(row))
        } else {
            (&table.insert, table.insert_values(row))
        };
        let values = values.map_err(StatementError::Refused)?;
        match self.session.execute_unpaged(statement, values).await {
            Ok(_) => Ok(()),
            Err(error) => Err(classify(error, statement.get_statement())),
        }
    }
}

type Bound = MaybeUnset<Option<CqlValue>>;

impl Table {
    fn insert_values(&self, row: &Row) -> Result<Vec<Bound>, String> {
        let specs = self.insert.get_variable_col_specs();
        let mut values = Vec::with_capacity(row.values.len() + 1);
        for (value, spec) in row.values.iter().zip(specs.iter()) {
            values.push(match value {
                None => MaybeUnset::Unset,
                Some(value) => MaybeUnset::Set(
                    convert(value, spec.typ()).map_err(|cause| format!("column {}: {cause}", spec.name()))?,
                ),
            });
        }
        for position in &self.key {
            if !matches!(values.get(*position), Some(MaybeUnset::Set(Some(_)))) {
                let column = specs.get_by_index(*position).map_or("", |spec| spec.name());
                return Err(format!("the column {column} of the primary key is null"));
            }
        }
        values.push(MaybeUnset::Set(Some(CqlValue::BigInt(row.timestamp))));
        Ok(values)
    }

    fn delete_values(&self, row: &Row) -> Result<Vec<Bound>, String> {
        let mut values = vec![MaybeUnset::Set(Some(CqlValue::BigInt(row.timestamp)))];
        let specs = self.delete.get_variable_col_specs();
        for (position, spec) in self.key.iter().zip(specs.iter().skip(1)) {
            let value = row.values.get(*position).and_then(Option::as_ref).unwrap_or(&Value::Null);
            let bound = convert(value, spec.typ()).map_err(|cause| format!("column {}: {cause}", spec.name()))?;
            let bound = bound.ok_or_else(|| {
                format!(
                    "the deleted record does not tell the column {} of the primary key; REPLICA IDENTITY FULL would",
                    spec.name()
                )
            })?;
            values.push(MaybeUnset::Set(Some(bound)));
        }
        Ok(values)
    }
}

fn classify(error: ExecutionError, statement: &str) -> StatementError {
    match error {
        ExecutionError::BadQuery(error) => StatementError::Refused(error.to_string()),
        ExecutionError::LastAttemptError(RequestAttemptError::SerializationError(error)) => {
            StatementError::Refused(error.to_string())
        }
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(kind, cause)) => match kind {
            DbError::Invalid | DbError::SyntaxError | DbError::FunctionFailure { .. } => StatementError::Refused(cause),
            DbError::Unauthorized | DbError::AuthenticationError => StatementError::Denied(TaskError::Config {
                code: "CAS002",
                cause: format!("Cassandra refused: {cause} ({statement})."),
                fix: "Grant the permission to the user in auth.username.".into(),
            }),
            kind => StatementError::Again(format!("{kind}: {cause}")),
        },
        error => StatementError::Again(error.to_string()),
    }
}

fn consistency(text: &str) -> Result<Consistency, TaskError> {
    Ok(match text {
        "ANY" => Consistency::Any,
        "ONE" => Consistency::One,
        "TWO" => Consistency::Two,
        "THREE" => Consistency::Three,
        "QUORUM" => Consistency::Quorum,
        "ALL" => Consistency::All,
        "LOCAL_ONE" => Consistency::LocalOne,
        "LOCAL_QUORUM" => Consistency::LocalQuorum,
        "EACH_QUORUM" => Consistency::EachQuorum,
        _ => return Err(invalid("consistencyLevel", &format!("{text} is not a consistency level"))),
    })
}

fn invalid(key: &str, message: &str) -> TaskError {
    TaskError::Config {
        code: "CON001",
        cause: format!("'{key}': {message}."),
        fix: "Change it with PUT /connectors/<name>/config.".into(),
    }
}

#[async_trait::async_trait(?Send)]
impl Sink for CassandraTarget {
    type Item = Vec<Row>;

    fn plan(&self, record: &SinkRecord) -> Result<Option<Vec<Row>>, Reject> {
        Ok(Some(self.mappings.rows(record)?).filter(|rows| !rows.is_empty()))
    }

    async fn write(&self, items: &[&Vec<Row>]) -> Written {
        let open = match self.opened().await {
            Ok(open) => open,
            Err(TaskError::Transient { cause }) => return Written::Retry(cause),
            Err(error) => return Written::Failed(error),
        };
        let (mut rejected, mut retry, mut cause) = (Vec::new(), Vec::new(), String::new());
        let rows = items.iter().enumerate().flat_map(|(at, rows)| rows.iter().map(move |row| (at, row)));
        // Order among them does not matter: each carries the time of its source position.
        let mut results = futures_util::stream::iter(rows)
            .map(|(at, row)| {
                let open = &open;
                async move { (at, open.execute(row).await) }
            })
            .buffer_unordered(self.concurrency);
        while let Some((at, result)) = results.next().await {
            match result {
                Ok(()) => {}
                Err(StatementError::Refused(reason)) => rejected.push((at, reason)),
                Err(StatementError::Denied(error)) => return Written::Failed(error),
                Err(StatementError::Again(why)) => {
                    retry.push(at);
                    cause = why;
                }
            }
        }
        if rejected.is_empty() && retry.is_empty() {
            return Written::Durable;
        }
        // A record of several tables that one of them refuses is a dead letter, whatever the others say.
        retry.retain(|at| !rejected.iter().any(|(other, _)| other == at));
        Written::Partial { rejected, retry, cause }
    }

    async fn check(&self) -> Result<(), TaskError> {
        self.opened().await.map(|_| ())
    }
}

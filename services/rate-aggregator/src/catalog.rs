//! Streams, tables and queries that exist, and what a statement does to them. Plain and synchronous: every copy of the service
//! replays the same statements in the same order and comes to the same catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::plan::{Aggregation, Plan, Projection, plan};
use crate::sql::ast::{Column, Kind, Name, Properties, Select, SqlType, Statement};

/// A stream or a table.
#[derive(Clone, Debug)]
pub struct Source {
    /// Which of both.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The topic that holds it.
    pub topic: String,
    /// Key columns first, then the others. Empty = as the schema registry has them.
    pub columns: Vec<Column>,
    /// The statement that made it.
    pub statement: String,
    /// The query that writes it.
    pub query: Option<String>,
}

/// A continuous query.
#[derive(Clone, Debug)]
pub struct Query {
    /// `CTAS_<name>_<n>` or `CSAS_<name>_<n>`.
    pub id: String,
    /// The stream or table it writes.
    pub sink: String,
    /// Its topic.
    pub sink_topic: String,
    /// Partitions that WITH asks for.
    pub partitions: Option<i32>,
    /// The topic it reads.
    pub source_topic: String,
    /// The source's name.
    pub source: String,
    /// Its text.
    pub statement: String,
    /// How it runs.
    pub work: Work,
}

/// How a query runs.
#[derive(Clone, Debug)]
pub enum Work {
    /// Row by row.
    Project(Arc<Projection>),
    /// By group.
    Aggregate(Arc<Aggregation>),
}

/// What must happen outside of the catalog.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A query begins to run.
    Start(Box<Query>),
    /// A query ends.
    Stop(String),
    /// The rows of a table are to be kept at hand.
    Watch(Box<Source>),
    /// They are not needed any more.
    Unwatch(String),
    /// A topic is to be deleted.
    DeleteTopic(String),
}

/// What a statement did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The entity of a status: `stream/NAME/create`.
    pub command: String,
    /// A sentence.
    pub message: String,
    /// The query that was made.
    pub query: Option<String>,
    /// To be carried out.
    pub effects: Vec<Effect>,
    /// What the person should know.
    pub warnings: Vec<String>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// By name.
    pub sources: BTreeMap<String, Source>,
    /// By id.
    pub queries: BTreeMap<String, Query>,
}

impl Catalog {
    /// A stream or table by name.
    ///
    /// # Errors
    /// A sentence with the nearest name.
    pub fn source(&self, name: &Name) -> Result<&Source, String> {
        self.sources.get(&name.text).ok_or_else(|| {
            let near = self.sources.keys().find(|known| known.eq_ignore_ascii_case(&name.text));
            let hint = near.map_or_else(String::new, |near| format!(" Did you mean {near}?"));
            format!("{name} does not exist.{hint}")
        })
    }

    /// The source a query reads: a known one, or, back-ticked, a topic by its name.
    ///
    /// # Errors
    /// As [`Catalog::source`].
    pub fn readable(&self, name: &Name) -> Result<Source, String> {
        match self.source(name) {
            Ok(source) => Ok(source.clone()),
            Err(_) if name.quoted => Ok(Source {
                kind: Kind::Stream,
                name: name.text.clone(),
                topic: name.text.clone(),
                columns: Vec::new(),
                statement: String::new(),
                query: None,
            }),
            Err(text) => Err(text),
        }
    }

    /// Carries out a statement of the command topic. `sequence` is its place there.
    ///
    /// # Errors
    /// A sentence; nothing has changed then.
    pub fn apply(&mut self, statement: &Statement, text: &str, sequence: i64) -> Result<Outcome, String> {
        match statement {
            Statement::CreateSource { kind, name, columns, with, if_not_exists } => {
                if let Some(done) = self.exists(*kind, name, *if_not_exists)? {
                    return Ok(done);
                }
                self.create_source(*kind, name, columns, with, text)
            }
            Statement::CreateAs { kind, name, with, select, if_not_exists } => {
                if let Some(done) = self.exists(*kind, name, *if_not_exists)? {
                    return Ok(done);
                }
                self.create_as(*kind, name, with, select, text, sequence)
            }
            Statement::Drop { kind, name, if_exists, delete_topic } => {
                self.drop(*kind, name, *if_exists, *delete_topic)
            }
            Statement::Terminate(id) => self.terminate(id.as_ref()),
            _ => Err("this statement is not kept".to_owned()),
        }
    }

    fn exists(&self, kind: Kind, name: &Name, if_not_exists: bool) -> Result<Option<Outcome>, String> {
        let Some(known) = self.sources.get(&name.text) else { return Ok(None) };
        let message =
            format!("Cannot add {} {name}: a {} with the same name already exists", word(kind), word(known.kind));
        if !if_not_exists {
            return Err(message);
        }
        Ok(Some(outcome(kind, name, "create", message)))
    }

    fn create_source(
        &mut self,
        kind: Kind,
        name: &Name,
        columns: &[Column],
        with: &Properties,
        text: &str,
    ) -> Result<Outcome, String> {
        check_formats(with)?;
        let topic = property(with, "KAFKA_TOPIC").unwrap_or(&name.text).to_owned();
        if kind == Kind::Table && !columns.iter().any(|column| column.key) {
            return Err(format!("table {name} needs a column marked PRIMARY KEY"));
        }
        let mut columns = columns.to_vec();
        columns.sort_by_key(|column| !column.key);
        let source = Source { kind, name: name.text.clone(), topic, columns, statement: text.to_owned(), query: None };
        let mut done = outcome(kind, name, "create", format!("{} created", title(kind)));
        if kind == Kind::Table {
            done.effects.push(Effect::Watch(Box::new(source.clone())));
        }
        self.sources.insert(name.text.clone(), source);
        Ok(done)
    }

    fn create_as(
        &mut self,
        kind: Kind,
        name: &Name,
        with: &Properties,
        select: &Select,
        text: &str,
        sequence: i64,
    ) -> Result<Outcome, String> {
        check_formats(with)?;
        let source = self.readable(&select.from)?;
        let planned = plan(select, &|column| type_of(&source, column))?;
        let topic = property(with, "KAFKA_TOPIC").map_or_else(|| name.text.to_uppercase(), str::to_owned);
        if topic == source.topic {
            return Err(format!("{name} would write topic {topic}, which it reads: choose another with KAFKA_TOPIC"));
        }
        let partitions = property(with, "PARTITIONS")
            .map(|count| count.parse::<i32>().ok().filter(|count| *count > 0).ok_or("PARTITIONS is a number from 1"))
            .transpose()?;
        let (work, columns, prefix) = work_of(planned, kind, name, &source)?;
        let id = format!("{prefix}_{}_{sequence}", name.text);
        let query = Query {
            id: id.clone(),
            sink: name.text.clone(),
            sink_topic: topic.clone(),
            partitions,
            source_topic: source.topic,
            source: source.name,
            statement: text.to_owned(),
            work,
        };
        let made = Source {
            kind,
            name: name.text.clone(),
            topic,
            columns,
            statement: text.to_owned(),
            query: Some(id.clone()),
        };
        let mut done = outcome(kind, name, "create", format!("Created query with ID {id}"));
        done.query = Some(id.clone());
        if kind == Kind::Table {
            done.effects.push(Effect::Watch(Box::new(made.clone())));
        }
        let unnamed = made.columns.iter().filter(|column| column.name.starts_with("KSQL_COL_"));
        done.warnings.extend(unnamed.map(|column| {
            format!("Column {} has a generated name; name it with AS, for example COUNT(*) AS TOTAL.", column.name)
        }));
        done.effects.push(Effect::Start(Box::new(query.clone())));
        self.queries.insert(id, query);
        self.sources.insert(name.text.clone(), made);
        Ok(done)
    }

    fn drop(&mut self, kind: Kind, name: &Name, if_exists: bool, delete_topic: bool) -> Result<Outcome, String> {
        let Some(source) = self.sources.get(&name.text) else {
            let message = format!("{} {name} does not exist.", title(kind));
            return if if_exists { Ok(outcome(kind, name, "drop", message)) } else { Err(message) };
        };
        if source.kind != kind {
            return Err(format!("{name} is a {}: use DROP {} {name}", word(source.kind), source.kind.word()));
        }
        let readers: Vec<&str> =
            self.queries.values().filter(|query| query.source == name.text).map(|query| query.id.as_str()).collect();
        if !readers.is_empty() {
            let readers = readers.join(", ");
            return Err(format!("Cannot drop {name}: these queries read it: [{readers}]. TERMINATE them first."));
        }
        let mut done =
            outcome(kind, name, "drop", format!("Source `{}` (topic: {}) was dropped.", name.text, source.topic));
        let (topic, query) = (source.topic.clone(), source.query.clone());
        if let Some(id) = query.filter(|id| self.queries.remove(id).is_some()) {
            done.effects.push(Effect::Stop(id));
        }
        done.effects.push(Effect::Unwatch(name.text.clone()));
        if delete_topic {
            done.effects.push(Effect::DeleteTopic(topic));
        }
        self.sources.remove(&name.text);
        Ok(done)
    }

    fn terminate(&mut self, id: Option<&Name>) -> Result<Outcome, String> {
        let ids: Vec<String> = match id {
            None => self.queries.keys().cloned().collect(),
            Some(id) if self.queries.contains_key(&id.text) => vec![id.text.clone()],
            Some(id) => return Err(format!("Unknown queryId: {id}")),
        };
        let effects = ids.iter().map(|id| Effect::Stop(id.clone())).collect();
        ids.iter().for_each(|id| drop(self.queries.remove(id)));
        let label = id.map_or_else(|| "ALL".to_owned(), |id| id.text.clone());
        Ok(Outcome {
            command: format!("terminate/`{label}`/execute"),
            message: "Query terminated.".to_owned(),
            query: None,
            effects,
            warnings: Vec::new(),
        })
    }

    /// What runs and what is watched, for a copy of the service that has just read all statements.
    pub fn standing(&self) -> Vec<Effect> {
        let tables = self.sources.values().filter(|source| source.kind == Kind::Table);
        let watch = tables.map(|source| Effect::Watch(Box::new(source.clone())));
        watch.chain(self.queries.values().map(|query| Effect::Start(Box::new(query.clone())))).collect()
    }
}

/// The declared type of a column.
pub fn type_of(source: &Source, name: &Name) -> Option<SqlType> {
    let same =
        |column: &&Column| column.name == name.text || (!name.quoted && column.name.eq_ignore_ascii_case(&name.text));
    source.columns.iter().find(same).map(|column| column.ty.clone())
}

/// A property of WITH.
pub fn property<'a>(with: &'a Properties, key: &str) -> Option<&'a str> {
    with.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
}

fn check_formats(with: &Properties) -> Result<(), String> {
    for key in ["VALUE_FORMAT", "FORMAT"] {
        if let Some(format) = property(with, key).filter(|format| !format.eq_ignore_ascii_case("AVRO")) {
            return Err(format!("{key}='{format}' is not there yet in this version: use AVRO"));
        }
    }
    Ok(())
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Stream => "stream",
        Kind::Table => "table",
    }
}

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Stream => "Stream",
        Kind::Table => "Table",
    }
}

fn outcome(kind: Kind, name: &Name, action: &str, message: String) -> Outcome {
    let command = format!("{}/`{}`/{action}", word(kind), name.text);
    Outcome { command, message, query: None, effects: Vec::new(), warnings: Vec::new() }
}

/// What a planned query does, the columns of its result and the prefix of its id.
fn work_of(
    planned: Plan,
    kind: Kind,
    name: &Name,
    source: &Source,
) -> Result<(Work, Vec<Column>, &'static str), String> {
    match planned {
        Plan::Aggregate(plan) => {
            let key = plan.key.iter().map(|column| (column, true));
            let columns = key.chain(plan.columns.iter().map(|column| (column, false)));
            let columns: Vec<Column> =
                columns.map(|(column, key)| Column { name: column.name.clone(), ty: column.ty.clone(), key }).collect();
            Ok((Work::Aggregate(Arc::from(plan)), columns, "CTAS"))
        }
        Plan::Project(_) if kind == Kind::Table => {
            Err(format!("CREATE TABLE {name} AS SELECT needs GROUP BY in this version; use CREATE STREAM"))
        }
        Plan::Project(plan) => {
            let columns: Vec<Column> = plan
                .columns
                .iter()
                .flatten()
                .map(|column| Column { name: column.name.clone(), ty: column.ty.clone(), key: false })
                .collect();
            let columns = if columns.is_empty() { source.columns.clone() } else { columns };
            Ok((Work::Project(Arc::new(plan)), columns, "CSAS"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse;

    fn run(catalog: &mut Catalog, text: &str) -> Result<Outcome, String> {
        let parsed = parse(text, false).unwrap().remove(0);
        let sequence = catalog.sources.len() as i64;
        catalog.apply(&parsed.statement, &parsed.text, sequence)
    }

    fn demo() -> Catalog {
        let mut catalog = Catalog::default();
        let first = "CREATE STREAM RATES WITH (KAFKA_TOPIC='RATES', VALUE_FORMAT='AVRO') AS SELECT id, customer_name, country_name, rate FROM `ratingserver.rating.rates`;";
        run(&mut catalog, first).unwrap();
        run(&mut catalog, "CREATE STREAM RATES_STREAM (id BIGINT, customer_name VARCHAR, Country_name VARCHAR rate INT) WITH (KAFKA_TOPIC='RATES', VALUE_FORMAT='AVRO') EMIT CHANGES;").unwrap();
        run(&mut catalog, "CREATE STREAM RATES_COUNT AS SELECT COUNT(*), Country_name FROM RATES_STREAM GROUP BY Country_name EMIT CHANGES;").unwrap();
        catalog
    }

    #[test]
    fn the_articles_statements_make_a_table_of_counts() {
        let catalog = demo();
        let counts = &catalog.sources["RATES_COUNT"];
        assert_eq!((counts.kind, counts.topic.as_str()), (Kind::Table, "RATES_COUNT"));
        let columns: Vec<String> =
            counts.columns.iter().map(|column| format!("{} {}", column.name, column.ty)).collect();
        assert_eq!(columns, ["COUNTRY_NAME STRING", "KSQL_COL_0 BIGINT"]);
        assert_eq!(catalog.queries.len(), 2);
        assert_eq!(catalog.queries["CTAS_RATES_COUNT_2"].source_topic, "RATES");
        assert_eq!(catalog.standing().len(), 3);
    }

    #[test]
    fn what_is_read_is_not_dropped() {
        let mut catalog = demo();
        assert!(run(&mut catalog, "DROP STREAM RATES_STREAM;").unwrap_err().contains("CTAS_RATES_COUNT_2"));
        assert!(run(&mut catalog, "DROP STREAM RATES_COUNT;").unwrap_err().contains("DROP TABLE"));
        assert_eq!(run(&mut catalog, "DROP TABLE RATES_COUNT DELETE TOPIC;").unwrap().effects.len(), 3);
        run(&mut catalog, "DROP STREAM RATES_STREAM;").unwrap();
        assert!(run(&mut catalog, "DROP STREAM RATES_STREAM;").is_err());
        run(&mut catalog, "DROP STREAM IF EXISTS RATES_STREAM;").unwrap();
    }

    #[test]
    fn names_are_taken_once() {
        let mut catalog = demo();
        let again = "CREATE STREAM RATES_STREAM (id BIGINT) WITH (KAFKA_TOPIC='x');";
        assert!(run(&mut catalog, again).unwrap_err().contains("already exists"));
        run(&mut catalog, &again.replace("STREAM RATES_STREAM", "STREAM IF NOT EXISTS RATES_STREAM")).unwrap();
        assert!(run(&mut catalog, "CREATE TABLE t AS SELECT COUNT(*) FROM nowhere;").unwrap_err().contains("NOWHERE"));
    }
}

//! `io.confluent.connect.jdbc.JdbcSourceConnector`: tables read again and again.

pub mod keys;
pub mod rows;
pub mod settings;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use ratestream_avro::{RegistryClient, Schema, Value, codec, wire};
use ratestream_connect::transforms::{Chain, Datum, SourceRecord};
use ratestream_connect::{ConfigError, Connector, ConnectorConfig, Descriptor, Kind, TaskContext, TaskError};
use ratestream_kafka::TopicSpec;
use serde_json::json;

use crate::metrics::metrics;
use crate::output::{BATCH_BYTES, Batch, Boundary, Output};
use crate::postgres::catalog::Catalog;
use crate::postgres::error::{config, quote, sql};
use crate::postgres::pgoutput::{Scratch, Tuple};
use crate::postgres::snapshot::{Lines, now_micros};
use crate::postgres::table::topic_name;
use crate::postgres::tables::register;
use rows::RowPlan;
use settings::Settings;

/// The class.
#[derive(Debug, Default)]
pub struct JdbcConnector;

#[async_trait::async_trait(?Send)]
impl Connector for JdbcConnector {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            class: "io.confluent.connect.jdbc.JdbcSourceConnector",
            aliases: &["JdbcSourceConnector", "JdbcSource"],
            kind: Kind::Source,
            version: "10.8.0",
            keys: keys::KEYS,
        }
    }

    fn validate(&self, config: &ConnectorConfig) -> Vec<ConfigError> {
        let name = config.get("name").unwrap_or("connector");
        let mut errors: Vec<_> = Settings::parse(config, name).err().into_iter().collect();
        if let Err(error) = Chain::compile(config) {
            errors.push(ConfigError { key: "transforms".into(), message: error.to_string() });
        }
        errors
    }

    async fn run(&self, task: TaskContext) -> Result<(), TaskError> {
        let settings = Settings::for_task(&task.config, &task.connector)?;
        let health = task.health.dependency(&format!("postgresql/{}", task.connector));
        let registry = match &settings.registry {
            Some(url) if *url != task.registry.url() => RegistryClient::at(url),
            _ => task.registry.clone(),
        };
        let result = async {
            let output = Output::start(&task.kafka, &task.offsets.transactional_id()).await?;
            let chain = Chain::compile(&task.config)?;
            let mut poller = Poller { task: &task, settings, registry, output, chain, topics: HashMap::new() };
            poller.run(&health).await?;
            poller.output.close().await
        };
        let result = result.await;
        crate::report(&health, &result, task.stop.is_triggered());
        result
    }
}

/// Ids of the schemas that records of one topic were last written with.
#[derive(Default)]
struct Topic {
    key: Option<(Arc<Schema>, i32)>,
    value: Option<(Arc<Schema>, i32)>,
}

struct Poller<'a> {
    task: &'a TaskContext,
    settings: Settings,
    registry: RegistryClient,
    output: Output,
    chain: Chain,
    topics: HashMap<Arc<str>, Topic>,
}

impl Poller<'_> {
    async fn run(&mut self, health: &ratestream_runtime::Dependency) -> Result<(), TaskError> {
        let partition = json!({ "protocol": "1", "database": self.settings.database.name });
        // the period is kept across restarts: what counts is when the last complete poll began
        let stored = self.task.offsets.load(&partition).await?;
        let mut last =
            stored.as_ref().and_then(|offset| offset.get("polled_at_ms")).and_then(serde_json::Value::as_i64);
        let interval = i64::try_from(self.settings.interval.as_millis()).unwrap_or(i64::MAX);
        while !self.task.stop.is_triggered() {
            let now = now_micros() / 1000;
            let due = last.map_or(now, |last| last.saturating_add(interval).min(now.saturating_add(interval)));
            if due > now {
                health.up();
                let wait = u64::try_from(due - now).unwrap_or(0).min(1000);
                self.task.progress.tick();
                self.task.stop.sleep(std::time::Duration::from_millis(wait)).await;
                continue;
            }
            let rows = self.poll(&partition, now).await?;
            health.up();
            last = Some(now);
            self.task.status.note(format!("{rows} rows in the last poll; the next in {interval} ms"));
        }
        Ok(())
    }

    /// All tables once, each in a Kafka transaction of its own.
    async fn poll(&mut self, partition: &serde_json::Value, now: i64) -> Result<u64, TaskError> {
        let mut catalog = Catalog::connect(&self.settings.database).await?;
        let all = catalog.list().await?;
        let tables: Vec<_> =
            all.into_iter().filter(|t| !t.partitioned && self.settings.takes(&t.schema, &t.name)).collect();
        if tables.is_empty() {
            return Err(config(
                "JDC002",
                format!("No table of the database {} matches table.whitelist.", self.settings.database.name),
                "Create the table, or correct table.whitelist: it holds names of tables, with or without schema.",
            ));
        }
        let types = catalog.types().await?;
        let mut total = 0;
        let count = tables.len();
        for (number, table) in tables.into_iter().enumerate() {
            let Some((relation, info)) = catalog.describe(&table.schema, &table.name).await? else { continue };
            let plan = RowPlan::compile(&table.name, &relation, &info, self.settings.best_fit, &|oid| {
                types.get(&oid).cloned()
            })
            .map_err(|error| {
                config(
                    "JDC003",
                    format!("The table {} makes no Avro schema: {error}.", table.name),
                    "Leave it out with table.blacklist.",
                )
            })?;
            let names: Vec<_> = relation.iter().map(|column| quote(&column.name)).collect();
            let statement = format!("COPY (SELECT {} FROM {}) TO STDOUT", names.join(", "), table.sql());
            let topic: Arc<str> = topic_name(&format!("{}{}", self.settings.prefix, table.name)).into();
            let (mut batch, rows) = self.read(&mut catalog, &statement, &plan, &topic).await?;
            total += rows;
            let labels = &[self.task.connector.as_str()];
            metrics().transactions.with_label_values(labels).inc();
            // the poll counts as done with its last table
            let done = if number + 1 == count { now } else { 0 };
            let offset = json!({ "polled_at_ms": done, "table": format!("{}.{}", table.schema, table.name) });
            let offset = self.task.offsets.record(partition, &offset);
            self.output.send(std::mem::take(&mut batch), Some(Boundary { offset, lsn: 0 })).await?;
            self.output.settle().await?;
        }
        Ok(total)
    }

    /// Streams a table; returns what was not handed over yet.
    async fn read(
        &mut self,
        catalog: &mut Catalog,
        statement: &str,
        plan: &RowPlan,
        topic: &Arc<str>,
    ) -> Result<(Batch, u64), TaskError> {
        let database = self.settings.database.clone();
        let failed = |error: sqlx::Error| sql(&database, &format!("reading {topic}"), &error);
        let mut stream = catalog.connection.copy_out_raw(statement).await.map_err(failed)?;
        let (mut batch, mut lines, mut rows) = (Batch::default(), Lines::default(), 0);
        let (mut scratch, mut plain) = (Scratch::default(), Vec::new());
        while let Some(chunk) = stream.next().await {
            lines.feed(chunk.map_err(failed)?);
            while let Some(line) = lines.next() {
                scratch.copy_line(&line, &mut plain);
                self.row(&mut batch, plan, topic, scratch.new_row(&plain)).await?;
                rows += 1;
            }
            if batch.bytes() > BATCH_BYTES {
                self.task.progress.tick();
                self.output.send(std::mem::take(&mut batch), None).await?;
                if self.task.stop.is_triggered() {
                    return Err(TaskError::transient(
                        "The task was stopped in the middle of a table; the poll is dropped.",
                    ));
                }
            }
        }
        metrics().events.with_label_values(&[&self.task.connector]).inc_by(rows);
        Ok((batch, rows))
    }

    async fn row(
        &mut self,
        batch: &mut Batch,
        plan: &RowPlan,
        topic: &Arc<str>,
        row: Tuple<'_>,
    ) -> Result<(), TaskError> {
        let bad = |cause: String| {
            config(
                "JDC004",
                format!("A row for the topic {topic} cannot be written: {cause}."),
                "Correct the transformations or the table.",
            )
        };
        if self.chain.is_empty() {
            let id = self.id(topic, &plan.schema, false).await?;
            let value = |out: &mut Vec<u8>| {
                wire::frame(id, out);
                plan.encode(row, out).map(|()| true)
            };
            return batch
                .push(topic, None, |_| Ok(false), value)
                .map_err(|column| bad(format!("the column {column} has no Avro form")));
        }
        let record = SourceRecord { topic: Arc::clone(topic), key: None, value: Some(plan.value(row).map_err(bad)?) };
        let record = self.chain.apply(record).map_err(bad)?;
        let key_id = match &record.key {
            Some((schema, _)) if !self.settings.text_keys => self.id(&record.topic, schema, true).await?,
            _ => 0,
        };
        let value_id = match &record.value {
            Some((schema, _)) => self.id(&record.topic, schema, false).await?,
            None => 0,
        };
        let text = self.settings.text_keys;
        let key = |out: &mut Vec<u8>| match &record.key {
            None => Ok(false),
            Some((_, value)) if text => {
                out.extend_from_slice(plain_text(value).as_bytes());
                Ok(true)
            }
            Some(datum) => framed(datum, key_id, out),
        };
        let value = |out: &mut Vec<u8>| match &record.value {
            None => Ok(false),
            Some(datum) => framed(datum, value_id, out),
        };
        batch.push(&record.topic, None, key, value).map_err(bad)
    }

    /// Id of a topic's schema; registers it, and creates the topic, when it is new.
    async fn id(&mut self, topic: &Arc<str>, schema: &Arc<Schema>, is_key: bool) -> Result<i32, TaskError> {
        if !self.topics.contains_key(topic) {
            self.task.kafka.ensure_topics(&[TopicSpec::plain(&**topic, self.settings.partitions)]).await?;
        }
        let entry = self.topics.entry(Arc::clone(topic)).or_default();
        let known = if is_key { &mut entry.key } else { &mut entry.value };
        if let Some((last, id)) = known
            && (Arc::ptr_eq(last, schema) || last == schema)
        {
            *last = Arc::clone(schema);
            return Ok(*id);
        }
        let subject = format!("{topic}-{}", if is_key { "key" } else { "value" });
        let id = register(&self.registry, &subject, schema).await?;
        *known = Some((Arc::clone(schema), id));
        Ok(id)
    }
}

fn framed((schema, value): &Datum, id: i32, out: &mut Vec<u8>) -> Result<bool, String> {
    wire::frame(id, out);
    codec::encode(schema, value, out).map(|()| true).map_err(|error| error.to_string())
}

/// A value as Connect's string converter writes it.
fn plain_text(value: &Value) -> String {
    match value {
        Value::Record(record) => {
            let fields: Vec<_> = record.iter().map(|(name, value)| format!("{name}={}", plain_text(value))).collect();
            format!("Struct{{{}}}", fields.join(","))
        }
        other => match other.to_json() {
            serde_json::Value::String(text) => text,
            json => json.to_string(),
        },
    }
}

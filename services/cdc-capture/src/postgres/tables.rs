//! Compiles tables when they are first seen, registers their schemas and creates their topics.

use std::collections::HashMap;
use std::sync::Arc;

use ratestream_avro::{RegistryClient, RegistryError, Schema};
use ratestream_connect::TaskError;
use ratestream_kafka::{Kafka, TopicSpec};

use super::catalog::Catalog;
use super::encoder::{KeyFormat, TableEncoder};
use super::error::config;
use super::pgoutput::{Relation, RelationColumn};
use super::settings::{KeyConverter, Settings};
use super::source::SourceBlock;
use super::table::{Naming, TableInfo, TablePlan};
use super::types::TypeInfo;

/// Encoders by relation.
pub struct Tables {
    settings: Arc<Settings>,
    registry: RegistryClient,
    kafka: Kafka,
    types: HashMap<u32, TypeInfo>,
    by_relation: HashMap<u32, Option<Arc<TableEncoder>>>,
    /// Keys of tables that may be gone when a relation message is read.
    keys: HashMap<(String, String), TableInfo>,
}

impl Tables {
    /// Nothing compiled yet.
    pub fn new(settings: Arc<Settings>, registry: RegistryClient, kafka: Kafka) -> Self {
        Self { settings, registry, kafka, types: HashMap::new(), by_relation: HashMap::new(), keys: HashMap::new() }
    }

    /// The encoder of a relation: `None` = never announced, `Some(None)` = not captured.
    pub fn get(&self, relation: u32) -> Option<Option<&Arc<TableEncoder>>> {
        self.by_relation.get(&relation).map(Option::as_ref)
    }

    /// A relation message: compiles the table as it is announced. Nullability, defaults and keys come from the
    /// catalogue as it is now.
    ///
    /// # Errors
    /// Registry or catalogue.
    pub async fn announce(&mut self, relation: Relation) -> Result<(), TaskError> {
        let schema = if relation.schema.is_empty() { "pg_catalog" } else { relation.schema.as_str() };
        if !self.settings.captures(schema, &relation.table) {
            self.by_relation.insert(relation.id, None);
            return Ok(());
        }
        let mut catalog = Catalog::connect(&self.settings.database).await?;
        let place = (schema.to_owned(), relation.table.clone());
        let known = |oid: u32| oid < 16_384 || self.types.contains_key(&oid);
        if !relation.columns.iter().all(|column| known(column.type_oid)) {
            self.types = catalog.types().await?;
        }
        let info = match catalog.describe(schema, &relation.table).await? {
            Some((_, info)) => info,
            // renamed or dropped since: what was known of it, else its identity
            None => self.keys.get(&place).cloned().unwrap_or_else(|| identity_of(&relation)),
        };
        self.keys.insert(place, info.clone());
        let encoder = self.compile((schema, &relation.table), &relation.columns, &info).await?;
        self.by_relation.insert(relation.id, Some(encoder));
        Ok(())
    }

    /// The encoder of a table as the snapshot's connection sees it, with the columns to select in order.
    ///
    /// # Errors
    /// Registry or catalogue.
    pub async fn for_snapshot(
        &mut self,
        catalog: &mut Catalog,
        (schema, table): (&str, &str),
    ) -> Result<Option<(Arc<TableEncoder>, Vec<String>)>, TaskError> {
        let Some((columns, info)) = catalog.describe(schema, table).await? else { return Ok(None) };
        if columns.iter().any(|column| column.type_oid >= 16_384 && !self.types.contains_key(&column.type_oid)) {
            self.types = catalog.types().await?;
        }
        let names = columns.iter().map(|column| column.name.clone()).collect();
        let encoder = self.compile((schema, table), &columns, &info).await?;
        Ok(Some((encoder, names)))
    }

    async fn compile(
        &self,
        (schema, table): (&str, &str),
        columns: &[RelationColumn],
        info: &TableInfo,
    ) -> Result<Arc<TableEncoder>, TaskError> {
        let settings = &self.settings;
        let naming = Naming {
            prefix: settings.prefix.clone(),
            modes: settings.modes,
            placeholder: settings.placeholder.clone(),
        };
        let taken = |name: &str| {
            info.key.iter().any(|key| key == name) || settings.columns.takes(&format!("{schema}.{table}.{name}"))
        };
        let plan =
            TablePlan::compile((schema, table), columns, info, &naming, &|oid| self.types.get(&oid).cloned(), &taken)
                .map_err(|error| {
                config(
                    "PGT001",
                    format!("The table {schema}.{table} makes no Avro schema: {error}."),
                    "Leave columns out with column.exclude.list.",
                )
            })?;
        let value_id = self.register(&format!("{}-value", plan.topic), &plan.value_schema).await?;
        let key_format = match (settings.key, &plan.key_schema) {
            (KeyConverter::Avro, Some(schema)) => {
                KeyFormat::Avro(self.register(&format!("{}-key", plan.topic), schema).await?)
            }
            (KeyConverter::Json { schemas }, _) => KeyFormat::Json { schemas },
            _ => KeyFormat::Text,
        };
        self.kafka.ensure_topics(&[TopicSpec::plain(&*plan.topic, settings.partitions)]).await?;
        let source = SourceBlock::new(&settings.prefix, &settings.database.name, (schema, table));
        tracing::info!(topic = &*plan.topic, value_id, columns = plan.columns.len(), "table compiled");
        Ok(Arc::new(TableEncoder::new(plan, key_format, value_id, source)))
    }

    async fn register(&self, subject: &str, schema: &Schema) -> Result<i32, TaskError> {
        register(&self.registry, subject, schema).await
    }
}

/// Registers, with the registry's refusals as configuration errors.
///
/// # Errors
/// Classified.
pub async fn register(registry: &RegistryClient, subject: &str, schema: &Schema) -> Result<i32, TaskError> {
    registry.register(subject, schema).await.map_err(|error| match &error {
        RegistryError::Refused { code: 409 | 40901, .. } => config(
            "REG001",
            format!("{error}."),
            format!("Allow the change with PUT /config/{subject} {{\"compatibility\":\"NONE\"}} on the registry, or undo it in the table."),
        ),
        RegistryError::Refused { .. } => config("REG002", format!("{error}."), "Check the registry's address and credentials."),
        _ => TaskError::transient(format!("{error}.")),
    })
}

fn identity_of(relation: &Relation) -> TableInfo {
    // with REPLICA IDENTITY FULL every column is marked, which says nothing about a key
    let marked = relation.columns.iter().filter(|column| column.is_key && relation.identity != b'f');
    TableInfo { columns: Vec::new(), key: marked.map(|column| column.name.clone()).collect() }
}

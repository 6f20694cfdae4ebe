//! Single message transformations, by Kafka Connect's class names and properties.
//!
//! `transforms` lists aliases; `transforms.<alias>.type` names the class. A chain is compiled once per task; schemas that a
//! transformation derives are derived once per schema, not per record.

use crate::config::ConnectorConfig;
use crate::connector::TaskError;
use ratestream_avro::{Field, Record, Schema, Type, Value};
use regex::Regex;
use std::sync::Arc;

/// Key or value of a record: its schema and the datum.
pub type Datum = (Arc<Schema>, Value);

/// A record on its way from a source to Kafka.
#[derive(Clone, Debug)]
pub struct SourceRecord {
    /// Where it goes.
    pub topic: Arc<str>,
    /// Its key, if it has one.
    pub key: Option<Datum>,
    /// Its value; none = tombstone.
    pub value: Option<Datum>,
}

/// The compiled transformations of one task, in order.
#[derive(Debug, Default)]
pub struct Chain(Vec<Transform>);

#[derive(Debug)]
enum Transform {
    ValueToKey { fields: Vec<String>, derived: Derived },
    ExtractField { side: Side, field: String, derived: Derived },
    RegexRouter { regex: Regex, replacement: String },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Key,
    Value,
}

/// The schema that a transformation made from the last schema it saw.
#[derive(Debug, Default)]
struct Derived(Option<(Arc<Schema>, Arc<Schema>)>);

impl Derived {
    fn from(
        &mut self,
        input: &Arc<Schema>,
        derive: impl FnOnce() -> Result<Arc<Schema>, String>,
    ) -> Result<Arc<Schema>, String> {
        if let Some((known, derived)) = &self.0
            && Arc::ptr_eq(known, input)
        {
            return Ok(derived.clone());
        }
        let derived = derive()?;
        self.0 = Some((input.clone(), derived.clone()));
        Ok(derived)
    }
}

impl Chain {
    /// Compiles the transformations of a configuration.
    pub fn compile(config: &ConnectorConfig) -> Result<Chain, TaskError> {
        config
            .list("transforms")
            .iter()
            .map(|alias| Transform::compile(config, alias))
            .collect::<Result<_, _>>()
            .map(Chain)
    }

    /// Applies all transformations; an error is a sentence about this record.
    pub fn apply(&mut self, mut record: SourceRecord) -> Result<SourceRecord, String> {
        for transform in &mut self.0 {
            transform.apply(&mut record)?;
        }
        Ok(record)
    }

    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Transform {
    fn compile(config: &ConnectorConfig, alias: &str) -> Result<Transform, TaskError> {
        let property = |name: &str| format!("transforms.{alias}.{name}");
        let class = config.required(&property("type"))?;
        let (class, side) = match class.rsplit_once('$') {
            Some((class, "Key")) => (class, Side::Key),
            Some((class, "Value")) => (class, Side::Value),
            _ => (class, Side::Value),
        };
        match class.rsplit('.').next().unwrap_or(class) {
            "ValueToKey" => {
                Ok(Transform::ValueToKey { fields: config.list(&property("fields")), derived: Derived::default() })
            }
            "ExtractField" => Ok(Transform::ExtractField {
                side,
                field: config.required(&property("field"))?.to_owned(),
                derived: Derived::default(),
            }),
            "RegexRouter" => {
                let pattern = config.required(&property("regex"))?;
                let regex = Regex::new(&format!("^(?:{pattern})$"))
                    .map_err(|error| unusable(&property("regex"), &format!("is not a regular expression: {error}")))?;
                // Java writes groups as $1, this library reads $1x as the group "1x".
                let replacement = Regex::new(r"\$(\d)").map_err(TaskError::transient)?;
                let replacement =
                    replacement.replace_all(config.required(&property("replacement"))?, "$${$1}").into_owned();
                Ok(Transform::RegexRouter { regex, replacement })
            }
            _ => Err(unusable(
                &property("type"),
                &format!(
                    "is {class}, which is not supported yet; supported are ValueToKey, ExtractField$Key, ExtractField$Value and RegexRouter"
                ),
            )),
        }
    }

    fn apply(&mut self, record: &mut SourceRecord) -> Result<(), String> {
        match self {
            Transform::ValueToKey { fields, derived } => {
                let (schema, value) = record.value.as_ref().ok_or("ValueToKey found a record without a value")?;
                let row = value.as_record().ok_or("ValueToKey needs a record as value")?;
                let key_schema = derived.from(schema, || key_schema(schema, fields))?;
                let values = fields.iter().map(|field| row.get(field).cloned().unwrap_or(Value::Null)).collect();
                let shape = key_schema.record().ok_or("the derived key is no record")?.shape().clone();
                record.key = Some((key_schema, Value::Record(Record::new(shape, values))));
            }
            Transform::ExtractField { side, field, derived } => {
                let datum = if *side == Side::Key { &mut record.key } else { &mut record.value };
                let Some((schema, value)) = datum else { return Ok(()) };
                let extracted = derived.from(schema, || field_schema(schema, field))?;
                let inner = value.as_record().and_then(|row| row.get(field)).cloned();
                *datum = Some((extracted, inner.ok_or_else(|| format!("ExtractField found no field {field}"))?));
            }
            Transform::RegexRouter { regex, replacement } => {
                if regex.is_match(&record.topic) {
                    record.topic = regex.replace(&record.topic, replacement.as_str()).into();
                }
            }
        }
        Ok(())
    }
}

fn key_schema(value: &Schema, fields: &[String]) -> Result<Arc<Schema>, String> {
    let row = value.record().ok_or("ValueToKey needs a record as value")?;
    let fields: Vec<Field> = fields
        .iter()
        .map(|name| row.field(name).cloned().ok_or_else(|| format!("ValueToKey found no field {name} in the value")))
        .collect::<Result<_, _>>()?;
    // The name that Connect's Avro converter gives to a struct without one.
    let ty = Type::record("io.confluent.connect.avro.ConnectDefault").fields(fields).build();
    Schema::new(ty).map_err(|error| error.to_string())
}

fn field_schema(datum: &Schema, field: &str) -> Result<Arc<Schema>, String> {
    let row = datum.record().ok_or_else(|| format!("ExtractField found no record around the field {field}"))?;
    let found = row.field(field).ok_or_else(|| format!("ExtractField found no field {field}"))?;
    Ok(datum.of_type(&found.ty))
}

fn unusable(key: &str, what: &str) -> TaskError {
    TaskError::Config {
        code: "CON002",
        cause: format!("The transformation property '{key}' {what}."),
        fix: "Change the connector's transformations.".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn chain(properties: &[(&str, &str)]) -> Result<Chain, TaskError> {
        let given: BTreeMap<String, String> = properties.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Chain::compile(&ConnectorConfig::new(given, &[]))
    }

    fn record() -> SourceRecord {
        let ty = Type::record("customer_events")
            .field(Field::new("id", Type::long()))
            .field(Field::optional("event", Type::string()))
            .build();
        let row = Record::from_pairs("customer_events", [("id", 42i64.into()), ("event", "login".into())]);
        let value = Some((Schema::new(ty).unwrap(), Value::Record(row)));
        SourceRecord { topic: "customer-events-customer_events".into(), key: None, value }
    }

    #[test]
    fn the_articles_transformations_make_the_id_the_key() {
        let mut chain = chain(&[
            ("transforms", "createKey,extractInt"),
            ("transforms.createKey.type", "org.apache.kafka.connect.transforms.ValueToKey"),
            ("transforms.createKey.fields", "id"),
            ("transforms.extractInt.type", "org.apache.kafka.connect.transforms.ExtractField$Key"),
            ("transforms.extractInt.field", "id"),
        ])
        .unwrap();
        let (schema, key) = chain.apply(record()).unwrap().key.unwrap();
        assert_eq!((schema.canonical(), key), ("\"long\"", Value::Long(42)));
    }

    #[test]
    fn topics_are_routed_by_java_style_groups() {
        let mut chain = chain(&[
            ("transforms", "r"),
            ("transforms.r.type", "org.apache.kafka.connect.transforms.RegexRouter"),
            ("transforms.r.regex", "customer-(.*)-(.*)"),
            ("transforms.r.replacement", "$2_of_$1x"),
        ])
        .unwrap();
        assert_eq!(&*chain.apply(record()).unwrap().topic, "customer_events_of_eventsx");
    }

    #[test]
    fn mistakes_are_told() {
        let unknown = chain(&[("transforms", "a"), ("transforms.a.type", "com.example.Odd")]).unwrap_err();
        assert!(unknown.to_string().contains("com.example.Odd, which is not supported yet"));
        let mut missing =
            chain(&[("transforms", "a"), ("transforms.a.type", "ValueToKey"), ("transforms.a.fields", "nr")]).unwrap();
        assert_eq!(missing.apply(record()).unwrap_err(), "ValueToKey found no field nr in the value");
    }
}

//! Validation of a connector's configuration against what its class tells about its properties. Plain and synchronous.

use crate::config::type_error;
use crate::connector::{ConfigError, ConfigKey, Kind, ValueKind};
use crate::state::{Plugin, PluginKey};
use ratestream_runtime::config::nearest;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const fn any(name: &'static str, kind: ValueKind, doc: &'static str) -> ConfigKey {
    ConfigKey::optional(name, kind, doc)
}

/// Properties that every connector has.
const COMMON: [ConfigKey; 19] = [
    ConfigKey::required("name", ValueKind::String, "Globally unique name of this connector."),
    ConfigKey::required("connector.class", ValueKind::Class, "Full or simple name of the connector's class."),
    ConfigKey::with_default(
        "tasks.max",
        "1",
        ValueKind::Int,
        "Maximum number of tasks of this connector in one process.",
    ),
    any("key.converter*", ValueKind::String, "Converter of keys, and its properties."),
    any("value.converter*", ValueKind::String, "Converter of values, and its properties."),
    any("header.converter*", ValueKind::String, "Converter of headers; headers are passed as bytes."),
    any("transforms*", ValueKind::String, "Aliases of the transformations, and their properties."),
    any("predicates*", ValueKind::String, "Aliases of the predicates, and their properties."),
    any("errors.*", ValueKind::String, "Retries, logging and dead letters; ours are always on, and these adjust them."),
    any("config.action.reload", ValueKind::String, "Accepted."),
    any("topic.creation.*", ValueKind::String, "Properties of topics that a source connector creates."),
    any("exactly.once.support", ValueKind::String, "Accepted: exactly once is always on."),
    any("transaction.boundary*", ValueKind::String, "Accepted: transactions end at the source's own."),
    any("offsets.storage.topic", ValueKind::String, "Accepted: one topic for all."),
    any("producer.override.*", ValueKind::String, "Properties of the producer."),
    any("consumer.override.*", ValueKind::String, "Properties of the consumer."),
    any("admin.override.*", ValueKind::String, "Accepted."),
    any("tasks.max.enforce", ValueKind::Boolean, "Accepted."),
    ConfigKey::with_default("strict", "true", ValueKind::Boolean, "Whether unknown properties are refused."),
];
const SINK: [ConfigKey; 2] = [
    any("topics", ValueKind::List, "Topics to consume, separated by commas."),
    any("topics.regex", ValueKind::String, "A regular expression for the topics to consume."),
];

/// One property with its value and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) key: PluginKey,
    pub(crate) value: Option<String>,
    pub(crate) errors: Vec<String>,
}

/// All properties of a class, common ones first.
pub(crate) fn keys(plugin: &Plugin) -> Vec<PluginKey> {
    let common = COMMON.iter().chain(if plugin.kind == Kind::Sink { SINK.iter() } else { [].iter() });
    let own = |key: &PluginKey| !COMMON.iter().any(|common| common.name == key.name);
    let common = common.map(|key| PluginKey {
        name: key.name.to_owned(),
        required: key.required,
        default: key.default.map(str::to_owned),
        kind: key.kind,
        doc: key.doc.to_owned(),
    });
    common.chain(plugin.keys.iter().filter(|key| own(key)).cloned()).collect()
}

/// Checks every property of a class and every given property.
pub(crate) fn check(plugin: &Plugin, given: &BTreeMap<String, String>, further: &[ConfigError]) -> Vec<Checked> {
    let keys = keys(plugin);
    let strict = given.get("strict").is_none_or(|text| !text.trim().eq_ignore_ascii_case("false"));
    let mut checked: Vec<Checked> = keys
        .iter()
        .map(|key| {
            let value = given.get(&key.name).cloned().or_else(|| key.default.clone());
            let mut errors = Vec::new();
            match &value {
                None if key.required => {
                    errors.push(format!("Missing required configuration \"{}\" which has no default value.", key.name));
                }
                Some(text) => errors.extend(type_error(&key.name, key.kind, text)),
                None => {}
            }
            Checked { key: key.clone(), value, errors }
        })
        .collect();
    for (name, value) in given.iter().filter(|(name, _)| !keys.iter().any(|key| covers(&key.name, name))) {
        let key = PluginKey {
            name: name.clone(),
            required: false,
            default: None,
            kind: ValueKind::String,
            doc: String::new(),
        };
        let errors = if strict { vec![unknown(name, &keys)] } else { Vec::new() };
        checked.push(Checked { key, value: Some(value.clone()), errors });
    }
    if plugin.kind == Kind::Sink && !given.contains_key("topics") && !given.contains_key("topics.regex") {
        add(&mut checked, "topics", "Must configure one of topics or topics.regex");
    }
    if plugin.kind == Kind::Sink && given.get("transforms").is_some_and(|aliases| !aliases.trim().is_empty()) {
        add(&mut checked, "transforms", "Transformations of sinks are not supported yet: remove 'transforms'");
    }
    for error in further {
        add(&mut checked, &error.key, &error.message);
    }
    checked
}

fn covers(pattern: &str, name: &str) -> bool {
    pattern == name || pattern.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix))
}

fn unknown(name: &str, keys: &[PluginKey]) -> String {
    let hint = nearest(name, keys.iter().map(|key| key.name.as_str())).map(|near| format!(" Did you mean '{near}'?"));
    format!(
        "Unknown configuration '{name}'.{} Set 'strict' to false to accept unknown properties.",
        hint.unwrap_or_default()
    )
}

fn add(checked: &mut Vec<Checked>, name: &str, message: &str) {
    match checked.iter_mut().find(|c| c.key.name == name) {
        Some(found) => found.errors.push(message.to_owned()),
        None => checked.push(Checked {
            key: PluginKey {
                name: name.to_owned(),
                required: false,
                default: None,
                kind: ValueKind::String,
                doc: String::new(),
            },
            value: None,
            errors: vec![message.to_owned()],
        }),
    }
}

/// Connect's text for a refused configuration; none when it is good.
pub(crate) fn refusal(checked: &[Checked]) -> Option<String> {
    let errors: Vec<&str> = checked.iter().flat_map(|c| c.errors.iter().map(String::as_str)).collect();
    (!errors.is_empty()).then(|| {
        format!(
            "Connector configuration is invalid and contains the following {} error(s):\n{}\nYou can also find the above list of errors at the endpoint \
             `/connector-plugins/{{connectorType}}/config/validate`",
            errors.len(),
            errors.join("\n")
        )
    })
}

/// The body of `PUT /connector-plugins/{plugin}/config/validate`.
pub(crate) fn report(plugin: &Plugin, checked: &[Checked]) -> Value {
    let configs: Vec<Value> = checked
        .iter()
        .enumerate()
        .map(|(order, c)| {
            json!({
                "definition": definition(&c.key, order),
                "value": {
                    "name": c.key.name,
                    "value": if c.key.kind == ValueKind::Password { c.value.as_ref().map(|_| ratestream_runtime::MASK) } else { c.value.as_deref() },
                    "recommended_values": [], "errors": c.errors, "visible": true,
                },
            })
        })
        .collect();
    let count: usize = checked.iter().map(|c| usize::from(!c.errors.is_empty())).sum();
    json!({"name": plugin.class, "error_count": count, "groups": ["Common", "Connector"], "configs": configs})
}

/// A key description as `GET /connector-plugins/{plugin}/config` shows it.
pub(crate) fn definition(key: &PluginKey, order: usize) -> Value {
    let common = COMMON.iter().chain(&SINK).any(|c| c.name == key.name);
    json!({
        "name": key.name, "type": key.kind, "required": key.required, "default_value": key.default,
        "importance": if key.required { "HIGH" } else { "MEDIUM" }, "documentation": key.doc,
        "group": if common { "Common" } else { "Connector" }, "order": order + 1, "width": "MEDIUM",
        "display_name": key.name, "dependents": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin() -> Plugin {
        let key = |name: &str, required| PluginKey {
            name: name.into(),
            required,
            default: None,
            kind: if name.ends_with("size") { ValueKind::Int } else { ValueKind::String },
            doc: String::new(),
        };
        Plugin {
            class: "io.confluent.connect.elasticsearch.ElasticsearchSinkConnector".into(),
            aliases: vec![],
            kind: Kind::Sink,
            version: "1".into(),
            service: "search-indexer".into(),
            keys: vec![key("connection.url", true), key("type.name", false), key("batch.size", false)],
        }
    }

    fn errors(given: &[(&str, &str)]) -> Vec<String> {
        let given = given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        check(&plugin(), &given, &[]).into_iter().flat_map(|c| c.errors).collect()
    }

    #[test]
    fn the_articles_configuration_is_good() {
        let article = [
            ("connector.class", "io.confluent.connect.elasticsearch.ElasticsearchSinkConnector"),
            ("tasks.max", "1"),
            ("topics", "example.elasticsearch.data"),
            ("name", "example-elasticsearch-connector"),
            ("connection.url", "http://elasticsearch:9200"),
            ("type.name", "_doc"),
        ];
        assert!(errors(&article).is_empty());
        assert!(errors(&[article.as_slice(), &[("value.converter.schemas.enable", "true")]].concat()).is_empty());
    }

    #[test]
    fn mistakes_are_named_with_their_keys() {
        let found = errors(&[("name", "x"), ("connector.class", "y"), ("conection.url", "z"), ("batch.size", "many")]);
        let text = found.join("\n");
        assert!(
            text.contains("Missing required configuration \"connection.url\" which has no default value."),
            "{text}"
        );
        assert!(text.contains("Unknown configuration 'conection.url'. Did you mean 'connection.url'?"), "{text}");
        assert!(text.contains("Invalid value many for configuration batch.size: Not a number of type INT"), "{text}");
        assert!(text.contains("Must configure one of topics or topics.regex"), "{text}");
        assert!(errors(&[("transforms", "a")]).join("\n").contains("Transformations of sinks are not supported yet"));
    }
}

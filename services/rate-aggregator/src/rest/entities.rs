//! The entities of `/ksql`: what exists, in ksqlDB's words.

use serde_json::{Value, json};

use crate::catalog::{Query, Source};
use crate::sql::ast::{Column, Kind, SqlType};
use crate::state::State;

/// `streams` or `tables`.
pub fn sources(state: &State, kind: Kind, text: &str) -> Value {
    let catalog = state.catalog();
    let list: Vec<Value> = catalog
        .sources
        .values()
        .filter(|source| source.kind == kind)
        .map(|source| {
            let mut item = json!({
                "type": kind.word(),
                "name": source.name,
                "topic": source.topic,
                "keyFormat": "KAFKA",
                "valueFormat": "AVRO",
                "isSource": false,
            });
            if kind == Kind::Table {
                item["isWindowed"] = json!(false);
            }
            item
        })
        .collect();
    let (tag, field) = if kind == Kind::Stream { ("streams", "streams") } else { ("tables", "tables") };
    json!({"@type": tag, "statementText": text, field: list, "warnings": []})
}

/// `queries`.
pub fn queries(state: &State, text: &str) -> Value {
    let catalog = state.catalog();
    let list: Vec<Value> = catalog.queries.values().map(|query| one_query(state, query)).collect();
    json!({"@type": "queries", "statementText": text, "queries": list, "warnings": []})
}

fn one_query(state: &State, query: &Query) -> Value {
    let running = state.running();
    let running = running.get(&query.id);
    let (status, problem) = running.map_or_else(|| ("STARTING".to_owned(), None), |running| running.state());
    // ksqlDB knows RUNNING, ERROR and UNRESPONSIVE; what waits for its source is not an error.
    let state = if status == "ERROR" { "ERROR" } else { "RUNNING" };
    json!({
        "queryString": query.statement,
        "sinks": [query.sink],
        "sinkKafkaTopics": [query.sink_topic],
        "id": query.id,
        "statusCount": {state: 1},
        "queryType": "PERSISTENT",
        "state": state,
        "detail": status,
        "problem": problem,
        "records": running.map_or(0, |running| running.stages.first().map_or(0, |(_, status)| status.records())),
        "skipped": running.map(|running| running.skips.snapshot()),
    })
}

/// `sourceDescription`.
pub fn description(state: &State, source: &Source, text: &str) -> Value {
    let catalog = state.catalog();
    let fields: Vec<Value> = source.columns.iter().map(field).collect();
    let of = |wanted: &dyn Fn(&Query) -> bool| -> Vec<Value> {
        catalog.queries.values().filter(|query| wanted(query)).map(|query| one_query(state, query)).collect()
    };
    let reads = of(&|query| query.source == source.name);
    let writes = of(&|query| query.sink == source.name);
    json!({
        "@type": "sourceDescription",
        "statementText": text,
        "sourceDescription": {
            "name": source.name,
            "windowType": null,
            "readQueries": reads,
            "writeQueries": writes,
            "fields": fields,
            "type": source.kind.word(),
            "timestamp": "",
            "statistics": "",
            "errorStats": "",
            "extended": false,
            "keyFormat": "KAFKA",
            "valueFormat": "AVRO",
            "topic": source.topic,
            "partitions": 0,
            "replication": 0,
            "statement": source.statement,
            "queryOffsetSummaries": [],
            "sourceConstraints": [],
        },
        "warnings": [],
    })
}

fn field(column: &Column) -> Value {
    let mut field = json!({
        "name": column.name,
        "schema": {"type": base_type(&column.ty), "fields": null, "memberSchema": null},
    });
    if column.key {
        field["type"] = json!("KEY");
    }
    field
}

/// The type's word in entities and headers. A type that is not known before the first record is text.
pub fn base_type(ty: &SqlType) -> String {
    match ty {
        SqlType::Other(word) if word == "UNKNOWN" => "STRING".to_owned(),
        other => other.to_string(),
    }
}

/// `kafka_topics`.
pub fn topics(names: &[String], text: &str) -> Value {
    let topics: Vec<Value> = names
        .iter()
        .filter(|name| !name.starts_with('_'))
        .map(|name| json!({"name": name, "replicaInfo": []}))
        .collect();
    json!({"@type": "kafka_topics", "statementText": text, "topics": topics, "warnings": []})
}

/// `currentStatus`.
pub fn status(
    text: &str,
    command: &str,
    message: &str,
    query: Option<&str>,
    sequence: i64,
    warnings: &[String],
) -> Value {
    let warnings: Vec<Value> = warnings.iter().map(|warning| json!({"message": warning})).collect();
    json!({
        "@type": "currentStatus",
        "statementText": text,
        "commandId": command,
        "commandStatus": {"status": "SUCCESS", "message": message, "queryId": query},
        "commandSequenceNumber": sequence,
        "warnings": warnings,
    })
}

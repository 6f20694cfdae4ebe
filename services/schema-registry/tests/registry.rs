//! The service as a process, against a real Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use ratestream_testkit::{Service, ServiceOptions};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use reqwest::{Client, Method};
use serde_json::{Value, json};

struct Api {
    client: Client,
    url: String,
}

impl Api {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<(u16, Value)> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.header("Content-Type", "application/vnd.schemaregistry.v1+json").body(body.to_string());
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))?))
    }

    async fn get(&self, path: &str) -> Result<(u16, Value)> {
        self.call(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Result<(u16, Value)> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn delete(&self, path: &str) -> Result<(u16, Value)> {
        self.call(Method::DELETE, path, None).await
    }

    async fn register(&self, subject: &str, schema: &str) -> Result<(u16, Value)> {
        self.post(&format!("/subjects/{subject}/versions"), json!({"schema": schema})).await
    }
}

fn record(fields: &str) -> String {
    format!(r#"{{"type": "record", "name": "Rate", "namespace": "rating", "fields": [{fields}]}}"#)
}

fn numbered(n: usize) -> String {
    record(&format!(r#"{{"name": "id", "type": "long"}}, {{"name": "f{n}", "type": "int", "default": 0}}"#))
}

async fn start(topic: &str) -> Result<(Service, Api)> {
    let kafka = ratestream_testkit::kafka().await?.bootstrap();
    let options = ServiceOptions {
        kafka,
        env: vec![
            ("RATESTREAM__REGISTRY__TOPIC".into(), topic.into()),
            // Its schemas would take ids that the tests count.
            ("RATESTREAM__TELEMETRY__STREAMS".into(), "false".into()),
        ],
        ..ServiceOptions::default()
    };
    let service = ratestream_testkit::service("schema-registry", options).await?;
    let api = Api { client: ratestream_testkit::install::http_client()?, url: service.url() };
    Ok((service, api))
}

const ID: &str = r#"{"name": "id", "type": "long"}"#;

#[tokio::test]
async fn registers_compares_deletes_and_remembers_after_a_restart() -> Result<()> {
    let (mut service, api) = start("_schemas-life").await?;
    let one = record(ID);
    assert_eq!(api.register("rates-value", &one).await?, (200, json!({"id": 1})));
    // The same schema in another layout and in another subject has the same id.
    let layout = r#"{"fields":[{"type":{"type":"long"},"name":"id"}],"name":"rating.Rate","type":"record"}"#;
    assert_eq!(api.register("rates-value", layout).await?, (200, json!({"id": 1})));
    assert_eq!(api.register("other-value", layout).await?, (200, json!({"id": 1})));

    let two = record(&format!(r#"{ID}, {{"name": "country", "type": "string", "default": ""}}"#));
    assert_eq!(api.register("rates-value", &two).await?, (200, json!({"id": 2})));
    let (status, refused) =
        api.register("rates-value", &record(&format!(r#"{ID}, {{"name":"x","type":"int"}}"#))).await?;
    assert_eq!((status, &refused["error_code"]), (409, &json!(409)));
    assert!(
        refused["message"].as_str().unwrap_or_default().contains("READER_FIELD_MISSING_DEFAULT_VALUE"),
        "{refused}"
    );

    assert_eq!(api.get("/subjects").await?.1, json!(["other-value", "rates-value"]));
    assert_eq!(api.get("/subjects/rates-value/versions").await?.1, json!([1, 2]));
    assert_eq!(api.get("/schemas/ids/1/versions").await?.1.as_array().map(Vec::len), Some(2));
    assert_eq!(
        api.get("/schemas/ids/77").await?,
        (404, json!({"error_code": 40403, "message": "Schema 77 not found"}))
    );

    // Softly deleted: hidden, readable by id, back under a new number.
    assert_eq!(api.delete("/subjects/rates-value/versions/latest").await?, (200, json!(2)));
    assert_eq!(api.get("/subjects/rates-value/versions?deleted=True").await?.1, json!([1, 2]));
    assert_eq!(api.get("/schemas/ids/2").await?.0, 200);
    assert_eq!(api.register("rates-value", &two).await?, (200, json!({"id": 2})));
    assert_eq!(api.get("/subjects/rates-value/versions?deleted=true").await?.1, json!([1, 3]));
    assert_eq!(api.delete("/subjects/other-value").await?, (200, json!([1])));
    assert_eq!(api.delete("/subjects/other-value").await?.1["error_code"], json!(40404));
    assert_eq!(api.delete("/subjects/other-value?permanent=true").await?, (200, json!([1])));
    let put = api.call(Method::PUT, "/config/rates-value", Some(json!({"compatibility": "none"}))).await?;
    assert_eq!(put, (200, json!({"compatibility": "NONE"})));

    let before = api.get("/schemas?deleted=true").await?;
    service.restart().await?;
    assert_eq!(api.get("/schemas?deleted=true").await?, before);
    assert_eq!(api.get("/config/rates-value").await?.1, json!({"compatibilityLevel": "NONE"}));
    assert_eq!(api.register("rates-value", r#""string""#).await?, (200, json!({"id": 3})));
    assert_eq!(service.unexpected_log_lines(&[])?, [] as [String; 0]);
    service.stop();
    Ok(())
}

/// Sixty-four callers, half of them with a schema that another one sends too, while the service is killed and comes back.
#[tokio::test]
async fn an_id_never_names_two_schemas_whatever_is_killed() -> Result<()> {
    let (mut service, api) = start("_schemas-race").await?;
    let mut known: BTreeMap<i64, Value> = BTreeMap::new();
    for round in 0..3 {
        let calls = (0..64).map(|n| {
            let schema = numbered(round * 1000 + n / 2);
            let api = &api;
            async move {
                api.register(&format!("s{}", n % 16 + round * 16), &schema).await.ok().map(|answer| (schema, answer))
            }
        });
        let kill = async {
            tokio::time::sleep(Duration::from_millis(3 * round as u64)).await;
            service.kill_9();
            service.restart().await
        };
        let (answers, restarted) = tokio::join!(join_all(calls), kill);
        restarted?;
        for (schema, (status, body)) in answers.into_iter().flatten() {
            ensure!(matches!(status, 200 | 409 | 503), "{status} {body}");
            if let (200, Some(id)) = (status, body["id"].as_i64()) {
                let (_, stored) = api.get(&format!("/schemas/ids/{id}")).await?;
                let text = stored["schema"].as_str().with_context(|| format!("id {id} was lost: {stored}"))?;
                let field = schema.split('"').find(|word| word.starts_with('f') && word[1..].parse::<usize>().is_ok());
                assert!(
                    field.is_some_and(|field| text.contains(&format!("\"{field}\""))),
                    "{id}: {text} is not {schema}"
                );
            }
        }
        for schema in api.get("/schemas").await?.1.as_array().context("a list")? {
            let id = schema["id"].as_i64().context("an id")?;
            let first = known.entry(id).or_insert_with(|| schema["schema"].clone());
            assert_eq!(*first, schema["schema"], "id {id} names two schemas");
        }
    }
    let texts: BTreeSet<String> = known.values().map(Value::to_string).collect();
    assert_eq!(texts.len(), known.len(), "one schema has two ids");
    service.stop();
    Ok(())
}

/// Two copies on one log: any of them takes writes, and both agree.
#[tokio::test]
async fn two_copies_take_the_fence_from_each_other_and_agree() -> Result<()> {
    let (mut first, one) = start("_schemas-pair").await?;
    let (mut second, two) = start("_schemas-pair").await?;
    for n in 0..6 {
        let api = if n % 2 == 0 { &one } else { &two };
        assert_eq!(api.register("s", &numbered(n)).await?, (200, json!({"id": n + 1})), "round {n}");
    }
    let schema = numbered(99);
    let ((_, a), (_, b)) = tokio::try_join!(one.register("x", &schema), two.register("y", &schema))?;
    assert_eq!(a["id"], json!(7));
    assert_eq!(b["id"], json!(7));
    // Each copy shows its own writes at once and the other's as soon as its follower has read them: a write proves that.
    for (api, subject) in [(&one, "z"), (&two, "w"), (&one, "v")] {
        assert_eq!(api.register(subject, &schema).await?, (200, json!({"id": 7})), "{subject}");
    }
    assert_eq!(one.get("/schemas/ids/7/subjects").await?.1, json!(["v", "w", "x", "y", "z"]));
    first.stop();
    second.stop();
    Ok(())
}

/// Group commit: callers that wait together are written together.
#[tokio::test]
async fn many_registrations_share_a_transaction() -> Result<()> {
    let (mut service, api) = start("_schemas-many").await?;
    for round in 0..4 {
        let calls = (0..64).map(|n| {
            let api = &api;
            async move { api.register(&format!("s{n}"), &numbered(round * 64 + n)).await }
        });
        for answer in join_all(calls).await {
            assert_eq!(answer?.0, 200);
        }
    }
    // Each transaction ends in one control record, which counts as an offset but is no record.
    let brokers = ratestream_testkit::kafka().await?.bootstrap();
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let (_, end) = consumer.fetch_watermarks("_schemas-many", 0, Duration::from_secs(10))?;
    let transactions = end - 256;
    assert!((1..=128).contains(&transactions), "{transactions} transactions for 256 schemas");
    service.stop();
    Ok(())
}

//! The polling connector on real servers, with the article's configuration.

mod support;

use anyhow::Result;
use ratestream_avro::Value;
use serde_json::json;
use support::Lab;

#[tokio::test]
async fn the_articles_connector_publishes_the_table_at_every_poll() -> Result<()> {
    let lab = Lab::start("jdbc").await?;
    lab.sql(
        "CREATE TABLE customer_events (id bigint PRIMARY KEY, event text NOT NULL, amount numeric(8,2), created_on timestamp NOT NULL);
         INSERT INTO customer_events VALUES (1, 'login', 1.50, '2024-02-29 01:02:03.004'), (2, 'logout', NULL, '2024-03-01 00:00:00');",
    )
    .await?;
    let server = &lab.database.server;
    let config = json!({
        "connector.class": "io.confluent.connect.jdbc.JdbcSourceConnector",
        "connection.url": format!("jdbc:postgres://{}:{}/{}", server.host(), server.port(), lab.database.name),
        "value.converter.schema.registry.url": lab.registry.url(),
        "connection.user": server.user(),
        "connection.password": server.password(),
        "topic.prefix": "customer-events-",
        "table.whitelist": "customer_events",
        "timestamp.column.name": "created_on",
        "transforms": "createKey,extractInt",
        "transforms.createKey.type": "org.apache.kafka.connect.transforms.ValueToKey",
        "transforms.createKey.fields": "id",
        "transforms.extractInt.type": "org.apache.kafka.connect.transforms.ExtractField$Key",
        "transforms.extractInt.field": "id",
        "mode": "bulk",
        "poll.interval.ms": "500",
    });
    lab.post("jdbc_source_mysql_01", config).await?;
    let reads = lab.read_until("customer-events-customer_events", |found| found.len() >= 4)?;
    for (at, read) in reads[..4].iter().enumerate() {
        let id = i64::try_from(at % 2 + 1)?;
        assert_eq!(lab.decode(read.key.as_deref().unwrap()).await?, Value::Long(id), "the key is the extracted number");
        let Value::Record(row) = lab.decode(read.value.as_deref().unwrap()).await? else { panic!("no record") };
        assert_eq!(row.shape().name(), "customer_events");
        let expected = if id == 1 {
            json!({"id": 1, "event": "login", "amount": "1.50", "created_on": "2024-02-29T01:02:03.004000Z"})
        } else {
            json!({"id": 2, "event": "logout", "amount": null, "created_on": "2024-03-01T00:00:00.000000Z"})
        };
        assert_eq!(json!(row.to_json()), expected);
    }
    lab.sql("INSERT INTO customer_events VALUES (3, 'buy', 2, now())").await?;
    let sees =
        |found: &[support::Read]| found.iter().any(|read| read.key.as_deref().is_some_and(|key| key.ends_with(&[6])));
    lab.read_until("customer-events-customer_events", sees)?;
    assert_eq!(lab.capture.unexpected_log_lines(&[])?, Vec::<String>::new());
    Ok(())
}

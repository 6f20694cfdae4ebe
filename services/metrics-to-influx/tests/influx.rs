//! The service as a process, against real Kafka, schema registry and InfluxDB. What is true is what Flux reads back.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a test program fails loudly and tells what it measured")]

#[path = "../../../shared/pipeline/tests/support/lab.rs"]
mod lab;

use anyhow::{Context, Result, ensure};
use lab::{Lab, Outgoing, eventually, unique};
use ratestream_testkit::InfluxAddress;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

const COUNT: &str = r#"{"type":"record","name":"KsqlDataSourceSchema","fields":[{"name":"KSQL_COL_0","type":["null","long"],"default":null}]}"#;

struct Influx {
    at: InfluxAddress,
    http: reqwest::Client,
}

/// A row of a Flux answer, by column.
type Row = BTreeMap<String, String>;

impl Influx {
    async fn start(lab: &Lab) -> Result<Influx> {
        Ok(Influx { at: ratestream_testkit::influxdb().await?, http: lab.http.clone() })
    }

    async fn query(&self, measurement: &str, then: &str) -> Result<Vec<Row>> {
        let flux = format!(
            "from(bucket: \"{}\") |> range(start: 0, stop: 2100-01-01T00:00:00Z) |> filter(fn: (r) => r._measurement == \"{measurement}\") {then}",
            self.at.bucket
        );
        let request = self.http.post(format!("{}/api/v2/query?org={}", self.at.url, self.at.org));
        let request = request
            .header("authorization", format!("Token {}", self.at.token))
            .header("content-type", "application/vnd.flux");
        let answer = request.header("accept", "application/csv").body(flux).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{status}: {text}");
        let (mut rows, mut header) = (Vec::new(), Vec::new());
        for line in text.lines().map(str::trim_end) {
            let cells: Vec<&str> = line.split(',').collect();
            if line.is_empty() {
                header.clear();
            } else if header.is_empty() {
                header = cells.iter().map(ToString::to_string).collect();
            } else {
                rows.push(header.iter().cloned().zip(cells.iter().map(ToString::to_string)).collect());
            }
        }
        Ok(rows)
    }

    fn config(&self, topic: &str, extra: &[(&str, &str)]) -> Json {
        let mut config = json!({
            "connector.class": "io.ratestream.influxdb.InfluxDBSinkConnector",
            "tasks.max": "1",
            "topics": topic,
            "influxdb.url": self.at.url,
            "influxdb.org": self.at.org,
            "influxdb.bucket": self.at.bucket,
            "influxdb.token": self.at.token,
            "measurement.name.format": topic,
            "tags": "country=key",
            "fields": "count=value.KSQL_COL_0",
        });
        for (key, value) in extra {
            config[*key] = json!(value);
        }
        config
    }
}

#[tokio::test]
async fn records_are_points() -> Result<()> {
    let lab = Lab::start("metrics-to-influx", &[("RATESTREAM__TELEMETRY__INTERVAL_SECONDS", "1")]).await?;
    let influx = Influx::start(&lab).await?;
    counts_per_country(&lab, &influx).await.context("counts per country")?;
    a_field_of_another_type(&lab, &influx).await.context("a field of another type")?;
    metrics_of_a_service(&lab, &influx).await.context("metrics of a service")?;
    a_wrong_token_is_told(&lab, &influx).await.context("a wrong token is told")?;
    transformations_are_refused(&lab, &influx).await.context("transformations are refused")?;
    lab.check_log(&["record goes to the dead letters", "INF001"])
}

fn count(writer: &lab::Writer, country: &str, n: i64) -> Outgoing {
    Outgoing {
        key: Some(country.into()),
        value: Some(writer.record(&[("KSQL_COL_0", n.into())])),
        ..Outgoing::default()
    }
}

async fn counts_per_country(lab: &Lab, influx: &Influx) -> Result<()> {
    let topic = unique("RATES_COUNT");
    lab.create_topic(&topic, 3).await?;
    let writer = lab.writer(&format!("{topic}-value"), COUNT).await?;
    lab.connector(&topic, &influx.config(&topic, &[])).await?;
    lab.wait_status(&topic, "RUNNING").await?;
    let (_, shown) = lab.call("GET", &format!("/connectors/{topic}/config"), None).await?;
    ensure!(shown["influxdb.token"] == "********", "{shown}");
    let mut records = Vec::new();
    for n in 1..=100 {
        records.extend(["Germany", "Côte d'Ivoire", "Korea, South = x"].map(|country| count(&writer, country, n)));
    }
    records.push(count(&writer, "Peru", 1));
    records.push(Outgoing { key: Some("Peru".into()), ..Outgoing::default() });
    lab.send(&topic, records)?;
    lab.wait_consumed(&topic, &topic).await?;
    // Every record is a point of its own, although many have the same millisecond.
    let points: BTreeMap<String, String> = told(&influx.query(&topic, "|> count()").await?);
    let newest: BTreeMap<String, String> = told(&influx.query(&topic, "|> last()").await?);
    let expected = |a: &str, b: &str, peru: &str| {
        BTreeMap::from([
            ("Germany".to_owned(), a.to_owned()),
            ("Côte d'Ivoire".to_owned(), b.to_owned()),
            // The answer's cell is quoted; its comma cuts it in this reader, so it is looked for apart.
            ("Peru".to_owned(), peru.to_owned()),
        ])
    };
    ensure!(points == expected("100", "100", "2"), "{points:?}");
    ensure!(newest == expected("100", "100", "0"), "{newest:?}");
    let quoted = influx
        .query(
            &topic,
            "|> filter(fn: (r) => r.country == \"Korea, South = x\") |> count() |> drop(columns: [\"country\"])",
        )
        .await?;
    ensure!(quoted.len() == 1 && quoted[0]["_value"] == "100", "{quoted:?}");
    Ok(())
}

/// Country and value of each row whose country is one cell.
fn told(rows: &[Row]) -> BTreeMap<String, String> {
    let plain = rows.iter().filter(|row| row.get("country").is_some_and(|c| !c.starts_with('"')));
    plain.map(|row| (row["country"].clone(), row["_value"].clone())).collect()
}

async fn a_field_of_another_type(lab: &Lab, influx: &Influx) -> Result<()> {
    let topic = unique("conflict");
    lab.create_topic(&topic, 1).await?;
    lab.connector(&topic, &influx.config(&topic, &[("fields", "x=value.x"), ("tags", "id=key")])).await?;
    let schema = |ty: &str| format!(r#"{{"type":"record","name":"X","fields":[{{"name":"x","type":"{ty}"}}]}}"#);
    let long = lab.writer(&format!("{topic}-long"), &schema("long")).await?;
    let text = lab.writer(&format!("{topic}-text"), &schema("string")).await?;
    let number = |n: i64| Outgoing {
        key: Some(n.to_string().into()),
        value: Some(long.record(&[("x", n.into())])),
        ..Outgoing::default()
    };
    lab.send(&topic, [number(0)])?;
    lab.wait_consumed(&topic, &topic).await?;
    let mut records: Vec<Outgoing> = (1..300).map(number).collect();
    records.insert(
        100,
        Outgoing { key: Some("odd".into()), value: Some(text.record(&[("x", "many".into())])), ..Outgoing::default() },
    );
    lab.send(&topic, records)?;
    lab.wait_consumed(&topic, &topic).await?;
    let all = influx.query(&topic, "|> group() |> count()").await?;
    ensure!(all.len() == 1 && all[0]["_value"] == "300", "{all:?}");
    let letters = lab.read(&format!("dlq-{topic}"), 1)?;
    ensure!(letters[0].key.as_deref() == Some(b"odd"), "{letters:?}");
    ensure!(letters[0].headers["__connect.errors.exception.message"].contains("field type conflict"), "{letters:?}");
    ensure!(lab.count(&format!("dlq-{topic}"))? == 1);
    Ok(())
}

async fn metrics_of_a_service(lab: &Lab, influx: &Influx) -> Result<()> {
    let measurement = unique("service_metrics");
    let config = influx.config(
        "ratestream.metrics",
        &[
            ("measurement.name.format", &measurement),
            ("tags", "service=value.service,instance=value.instance,name=value.name,labels=value.labels"),
            ("fields", "value=value.value"),
            ("timestamp", "value.ts"),
        ],
    );
    lab.connector(&measurement, &config).await?;
    let names = "|> group(columns: [\"service\"]) |> distinct(column: \"name\")";
    let mut seen = Vec::new();
    eventually(async || {
        seen = influx.query(&measurement, names).await?;
        let has = |service: &str| seen.iter().any(|row| row.get("service").is_some_and(|s| s == service));
        Ok(has("metrics-to-influx") && has("schema-registry"))
    })
    .await
    .with_context(|| format!("{seen:?}"))?;
    ensure!(lab.count(&format!("dlq-{measurement}"))? == 0);
    Ok(())
}

async fn a_wrong_token_is_told(lab: &Lab, influx: &Influx) -> Result<()> {
    let topic = unique("denied");
    lab.create_topic(&topic, 1).await?;
    lab.connector(&topic, &influx.config(&topic, &[("influxdb.token", "not-the-token")])).await?;
    let status = lab.wait_status(&topic, "FAILED").await?;
    let trace = status["trace"].as_str().unwrap_or_default();
    ensure!(
        trace.contains("INF001") && trace.contains("influxdb.token") && !trace.contains("not-the-token"),
        "{trace}"
    );
    Ok(())
}

async fn transformations_are_refused(lab: &Lab, influx: &Influx) -> Result<()> {
    let topic = unique("transformed");
    lab.create_topic(&topic, 1).await?;
    let route = [
        ("transforms", "route"),
        ("transforms.route.type", "org.apache.kafka.connect.transforms.RegexRouter"),
        ("transforms.route.regex", "(.*)"),
        ("transforms.route.replacement", "x"),
    ];
    let body = serde_json::json!({"name": topic, "config": influx.config(&topic, &route)});
    let (status, answer) = lab.call("POST", "/connectors", Some(&body)).await?;
    let told =
        answer["message"].as_str().is_some_and(|text| text.contains("Transformations of sinks are not supported yet"));
    ensure!(status == 400 && told, "{status}: {answer}");
    Ok(())
}

#[tokio::test]
async fn killed_in_mid_flow_nothing_is_missing() -> Result<()> {
    let mut lab = Lab::start("metrics-to-influx", &[]).await?;
    let influx = Influx::start(&lab).await?;
    let topic = unique("flow");
    lab.create_topic(&topic, 4).await?;
    let writer = lab.writer(&format!("{topic}-value"), COUNT).await?;
    lab.connector(&topic, &influx.config(&topic, &[("batch.size", "500")])).await?;
    let started = std::time::Instant::now();
    let records =
        |from: i64, to: i64| (from..=to).map(|n| count(&writer, &format!("country{}", n % 40), n)).collect::<Vec<_>>();
    lab.send(&topic, records(1, 12_000))?;
    let part = format!("connector=\"{topic}\"");
    eventually(async || Ok(lab.metric("ratestream_records_written_total", &part).await? > 3000.0)).await?;
    lab.service.kill_9();
    lab.send(&topic, records(12_001, 16_000))?;
    lab.service.restart().await?;
    lab.send(&topic, records(16_001, 20_000))?;
    lab.wait_consumed(&topic, &topic).await?;
    println!("20,000 counts with a kill -9 and a restart: {:?}", started.elapsed());
    // 1 + 2 + … + 20,000: nothing is missing, and what was written twice is there once.
    let sum = influx.query(&topic, "|> group() |> sum()").await?;
    let count = influx.query(&topic, "|> group() |> count()").await?;
    ensure!(sum[0]["_value"] == "200010000" && count[0]["_value"] == "20000", "{sum:?} {count:?}");
    ensure!(lab.count(&format!("dlq-{topic}"))? == 0);
    lab.check_log(&[])
}

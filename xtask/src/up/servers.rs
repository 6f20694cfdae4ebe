//! Starting the servers on their fixed ports.

use super::own_process;
use crate::home::Home;
use crate::parts::{
    CASSANDRA_PORT, ELASTICSEARCH_PORT, INBOX_PORT, INFLUXDB_PORT, KAFKA_PORT, POSTGRES_PORT, Parts, SMTP_PORT,
};
use crate::progress::step;
use anyhow::{Context, Result, bail};
use ratestream_testkit::demo;
use ratestream_testkit::process::StopSignal;
use ratestream_testkit::{
    Cassandra, Elasticsearch, InfluxDb, Kafka, Postgres, PostgresOptions, ProcessId, StartOptions, install, probe,
};
use std::path::PathBuf;

/// PostgreSQL, Kafka and the inbox, at the same time.
pub(super) async fn light(home: &Home, parts: &Parts) -> Result<()> {
    let wanted = |name: &str| parts.has(name) && home.runs(name).is_none();
    tokio::try_join!(
        when(wanted("postgres"), step("PostgreSQL", "its package and first start", postgres(home))),
        when(wanted("kafka"), step("Kafka", "its download and start", kafka(home))),
        when(wanted("inbox"), step("mail inbox", "its ports", inbox(home))),
    )?;
    Ok(())
}

async fn when(wanted: bool, work: impl Future<Output = Result<()>>) -> Result<()> {
    if wanted { work.await } else { Ok(()) }
}

/// Downloads of the sinks' servers go on while the light services compile. A failure is told when the server is due.
pub(super) fn fetch(parts: &Parts) {
    if parts.has("elasticsearch") {
        tokio::task::spawn_blocking(Elasticsearch::install);
    }
    if parts.has("cassandra") {
        tokio::task::spawn_blocking(Cassandra::install);
    }
}

/// The long compile of InfluxDB begins when the light part is live. A failure is told when the server is due.
pub(super) fn compile(parts: &Parts) {
    if parts.has("influxdb") {
        tokio::task::spawn_blocking(InfluxDb::install);
    }
}

/// One of the sinks' servers; false when this machine cannot have it, which is said.
pub(super) async fn heavy(home: &Home, name: &str) -> Result<bool> {
    if home.runs(name).is_some() {
        return Ok(true);
    }
    match name {
        "elasticsearch" => step("Elasticsearch", "its download and start", elasticsearch(home)).await?,
        "cassandra" => step("Cassandra", "its download and start", cassandra(home)).await?,
        "influxdb" => {
            if let Some(obstacle) = install::influxdb_obstacle()? {
                println!("            skip {obstacle}");
                return Ok(false);
            }
            step("InfluxDB", "its compile (once, minutes, at low priority) and start", influxdb(home)).await?;
        }
        other => bail!("there is no server {other}"),
    }
    Ok(true)
}

fn options(home: &Home, name: &str, port: u16) -> StartOptions {
    StartOptions { port: Some(port), data_dir: Some(home.data(name)), detached: true }
}

fn record(
    home: &Home,
    name: &str,
    id: Option<ProcessId>,
    address: &str,
    log: PathBuf,
    signal: StopSignal,
) -> Result<()> {
    home.record(name, id.context("it ended right after its start")?, address, &log, signal)
}

async fn postgres(home: &Home) -> Result<()> {
    let (cluster_sql, databases) = demo::databases();
    let server = options(home, "postgres", POSTGRES_PORT);
    let started =
        Postgres::start(PostgresOptions { server, password: demo::PASSWORD.into(), databases, cluster_sql }).await?;
    let address = format!("127.0.0.1:{POSTGRES_PORT}");
    record(home, "postgres", started.process(), &address, started.log(), StopSignal::Int)
}

async fn kafka(home: &Home) -> Result<()> {
    let started = Kafka::start(options(home, "kafka", KAFKA_PORT)).await?;
    record(home, "kafka", started.process(), &started.bootstrap(), started.log(), StopSignal::Term)
}

async fn inbox(home: &Home) -> Result<()> {
    let arguments = ["inbox".to_owned(), SMTP_PORT.to_string(), INBOX_PORT.to_string()];
    let address = format!("http://127.0.0.1:{INBOX_PORT}");
    let mut process = own_process(home, "inbox", &arguments, &address)?;
    let url = format!("{address}/health/ready");
    process.wait_ready(|| probe::http(&url)).await?;
    process.detach();
    Ok(())
}

async fn elasticsearch(home: &Home) -> Result<()> {
    let started = Elasticsearch::start(options(home, "elasticsearch", ELASTICSEARCH_PORT)).await?;
    record(home, "elasticsearch", started.process(), &started.url(), started.log(), StopSignal::Term)
}

async fn cassandra(home: &Home) -> Result<()> {
    let started = Cassandra::start(options(home, "cassandra", CASSANDRA_PORT)).await?;
    record(home, "cassandra", started.process(), &started.contact_point(), started.log(), StopSignal::Term)
}

async fn influxdb(home: &Home) -> Result<()> {
    let started = InfluxDb::start(options(home, "influxdb", INFLUXDB_PORT)).await?;
    record(home, "influxdb", started.process(), &started.url(), started.log(), StopSignal::Term)
}

//! `cargo x test`: all tests against real servers that are started once.

use crate::home::Home;
use crate::progress::{sentence, step};
use crate::{build, down};
use anyhow::{Context, Result, bail};
use clap::Args;
use ratestream_testkit::process::StopSignal;
use ratestream_testkit::{
    Cassandra, CassandraAddress, Elasticsearch, ElasticsearchAddress, InfluxAddress, InfluxDb, Kafka, KafkaAddress,
    Postgres, PostgresAddress, PostgresOptions, ProcessId, StartOptions, install,
};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct Options {
    /// Run the tests whose names contain this
    name: Option<String>,
    /// Leave the servers running for the next run
    #[arg(long)]
    keep_servers: bool,
}

type Variable = (String, String);

pub(crate) async fn run(options: Options) -> Result<()> {
    let home = Home::at(Home::open()?.root().join("test"))?;
    home.check_space()?;
    let work = async {
        let build = async {
            build::tools().await?;
            let args = ["build", "--workspace", "--bins"].map(str::to_owned);
            step("compiled the services", "cargo build", build::cargo(&args, &[])).await
        };
        let ((), environment) = tokio::try_join!(build, servers(&home))?;
        println!(
            "logs: {} and {}",
            home.root().join("data").display(),
            std::env::temp_dir().join("ratestream-*.log").display()
        );
        let mut args = vec!["test".to_owned(), "--workspace".to_owned()];
        args.extend(options.name.clone());
        build::cargo(&args, &environment).await
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    if options.keep_servers {
        println!("the servers stay for the next run; `cargo x test` without --keep-servers stops them");
    } else {
        down::stop(&home)?;
        if outcome.is_ok() {
            wipe(&home)?;
        }
    }
    outcome
}

fn wipe(home: &Home) -> Result<()> {
    for entry in fs::read_dir(home.root().join("data")).into_iter().flatten() {
        ratestream_testkit::servers::remove_data(&entry?.path())?;
    }
    Ok(())
}

/// All servers at the same time; returns the variables that tell the tests where they are.
async fn servers(home: &Home) -> Result<Vec<Variable>> {
    let options = |name: &str| StartOptions { port: None, data_dir: Some(home.data(name)), detached: true };
    let postgres = PostgresOptions { server: options("postgres"), ..PostgresOptions::default() };
    let (kafka, postgres, elasticsearch, cassandra, influxdb) = tokio::join!(
        kept(home, "kafka", async {
            let server = Kafka::start(options("kafka")).await?;
            Ok((server.process(), server.log(), KafkaAddress::of(&server)))
        }),
        kept(home, "postgres", async {
            let server = Postgres::start(postgres).await?;
            Ok((server.process(), server.log(), PostgresAddress::of(&server)))
        }),
        kept(home, "elasticsearch", async {
            let server = Elasticsearch::start(options("elasticsearch")).await?;
            Ok((server.process(), server.log(), ElasticsearchAddress::of(&server)))
        }),
        kept(home, "cassandra", async {
            let server = Cassandra::start(options("cassandra")).await?;
            Ok((server.process(), server.log(), CassandraAddress::of(&server)))
        }),
        kept(home, "influxdb", async {
            let server = InfluxDb::start(options("influxdb")).await?;
            Ok((server.process(), server.log(), InfluxAddress::of(&server)))
        }),
    );
    let mut influxdb = Some(influxdb);
    if let Some(obstacle) = install::influxdb_obstacle()? {
        println!("            skip {obstacle}; its tests will fail with this sentence");
        influxdb = None;
    }
    let outcomes: Vec<Result<Variable>> =
        [kafka, postgres, elasticsearch, cassandra].into_iter().chain(influxdb).collect();
    let failures: Vec<String> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err().map(sentence)).collect();
    if !failures.is_empty() {
        bail!("the tests need all servers: {}", failures.join("; "));
    }
    outcomes.into_iter().collect()
}

/// The address of a server that an earlier run kept, or of one started now.
async fn kept<A: Serialize>(
    home: &Home,
    name: &str,
    start: impl Future<Output = Result<(Option<ProcessId>, PathBuf, A)>>,
) -> Result<Variable> {
    let variable = format!("RATESTREAM_TEST_{}", name.to_uppercase());
    if let Some(entry) = home.runs(name) {
        return Ok((variable, entry.address));
    }
    let start = async {
        let (id, log, address) = start.await?;
        let address = serde_json::to_string(&address)?;
        let signal = if name == "postgres" { StopSignal::Int } else { StopSignal::Term };
        home.record(name, id.context("it ended right after its start")?, &address, Path::new(&log), signal)?;
        Ok((variable, address))
    };
    step(name, "its download and start", start).await
}

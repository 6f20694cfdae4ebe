//! `cargo x up`: the whole pipeline on this machine, in stages.
//!
//! Light stage: PostgreSQL, Kafka and inbox start while the light services compile; then these services, the source
//! connectors, the SQL and the feed. Sink stage: each sink's server and service join as they become ready, each alone, so
//! that one that fails does not hold up the others.

mod servers;

use crate::home::Home;
use crate::parts::{POSTGRES_PORT, Parts, Service};
use crate::progress::{sentence, step};
use crate::{build, docker, down, status};
use anyhow::{Context, Result, bail};
use clap::Args;
use ratestream_testkit::process::{Spec, StopSignal};
use ratestream_testkit::{ServiceOptions, check_free, demo};
use std::path::PathBuf;
use std::time::Instant;

#[derive(Args)]
pub(crate) struct Options {
    /// Servers as processes of this machine (the default)
    #[arg(long, conflicts_with = "docker")]
    native: bool,
    /// Everything in containers (Docker Compose)
    #[arg(long)]
    docker: bool,
    /// Only these parts
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// All but these parts
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// PostgreSQL, Kafka, inbox, registry, capture, aggregator and notification only
    #[arg(long)]
    light: bool,
    /// Return when everything is ready
    #[arg(long)]
    detach: bool,
    /// Ratings per second of the live feed
    #[arg(long, value_parser = parse_rate, default_value = "3/s", conflicts_with = "no_feed")]
    feed: f64,
    /// No live feed
    #[arg(long)]
    no_feed: bool,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse::<f64>();
    number
        .ok()
        .filter(|rate| *rate > 0.0 && *rate <= 10_000.0)
        .ok_or_else(|| format!("{text:?} is no rate: write for example 5/s"))
}

pub(crate) async fn run(options: Options) -> Result<()> {
    if options.docker {
        return docker::up(options.detach).await;
    }
    let home = Home::open()?;
    let work = async {
        Box::pin(start(&home, &options)).await?;
        if !options.detach {
            println!("\nCtrl-C stops everything; the data stays.");
            std::future::pending::<()>().await;
        }
        Ok(())
    };
    tokio::select! {
        outcome = work => outcome,
        _ = tokio::signal::ctrl_c() => {
            println!("\nstopping");
            down::stop(&home)
        }
    }
}

async fn start(home: &Home, options: &Options) -> Result<()> {
    let begin = Instant::now();
    let parts = Parts::choose(&options.only, &options.without, options.light)?;
    home.check_space()?;
    for (name, port) in parts.ports() {
        if home.runs(name).is_none() {
            check_free(name, port)?;
        }
    }
    println!("starting in {}", home.root().display());
    let light = parts.services(true);
    servers::fetch(&parts);
    let compile = async {
        if light.is_empty() {
            return Ok(());
        }
        let names = names(&light);
        step(&format!("compiled {names}"), "cargo build --release", build::services(&light)).await
    };
    tokio::try_join!(servers::light(home, &parts), compile)?;
    services(home, &light).await?;
    sources(home, &parts).await?;
    if !options.no_feed && parts.has("postgres") {
        feed(home, options.feed)?;
    }
    if !light.is_empty() {
        println!("  {:>6.1} s  the light part is live", begin.elapsed().as_secs_f64());
    }
    servers::compile(&parts);
    let failures = sinks(home, &parts).await;
    println!("\nready after {:.1} s", begin.elapsed().as_secs_f64());
    status::summary(home).await;
    if !failures.is_empty() {
        bail!("these parts are missing, the others run: {}", failures.join("; "));
    }
    Ok(())
}

fn names(services: &[Service]) -> String {
    services.iter().map(|service| service.name).collect::<Vec<_>>().join(", ")
}

/// Registry first: the others ask it while they start; then all at once.
async fn services(home: &Home, services: &[Service]) -> Result<()> {
    let (registry, others): (Vec<&Service>, Vec<&Service>) =
        services.iter().partition(|service| service.name == "schema-registry");
    for registry in registry {
        service(home, registry).await?;
    }
    let mut starts: Vec<_> = others.into_iter().map(|other| Box::pin(service(home, other))).collect();
    let mut outcome = Ok(());
    for start in join(&mut starts).await {
        outcome = outcome.and(start);
    }
    outcome
}

/// Polls all futures until each is done.
async fn join<F: Future + Unpin>(futures: &mut [F]) -> Vec<F::Output> {
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(value) = std::pin::Pin::new(future).poll(context)
            {
                *output = Some(value);
            }
        }
        if outputs.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

async fn service(home: &Home, service: &Service) -> Result<()> {
    if home.runs(service.name).is_some() {
        return Ok(());
    }
    let options = ServiceOptions {
        kafka: format!("127.0.0.1:{}", crate::parts::KAFKA_PORT),
        schema_registry: "http://127.0.0.1:8081".into(),
        port: Some(service.port),
        env: service.environment(),
        binaries: Some(build::target().join("release")),
        log: Some(home.log(service.name)),
        detached: true,
    };
    let start = async {
        let started = ratestream_testkit::service(service.name, options).await?;
        let id = started.process().context("it ended")?;
        home.record(service.name, id, &started.url(), started.log(), StopSignal::Term)
    };
    step(service.name, "GET /health/ready", start).await
}

async fn sources(home: &Home, parts: &Parts) -> Result<()> {
    if home.runs("cdc-capture").is_some() && parts.has("cdc-capture") {
        connectors("cdc-capture").await?;
    }
    if home.runs("rate-aggregator").is_some() && parts.has("rate-aggregator") {
        if parts.has("cdc-capture") {
            step("first rating captured", "its schema in the registry", crate::demo::wait_for_rates()).await?;
        }
        for statement in demo::statements() {
            let title = statement.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
            step(&title, "rate-aggregator", demo::execute(crate::demo::KSQL, &statement)).await?;
        }
    }
    Ok(())
}

async fn connectors(owner: &str) -> Result<()> {
    for connector in demo::connectors(&demo::Addresses::default())?.iter().filter(|connector| connector.needs == owner)
    {
        step(
            &format!("connector {}", connector.name),
            "POST /connectors",
            demo::register(crate::demo::CONNECT, connector),
        )
        .await?;
    }
    Ok(())
}

/// Every sink with its server; returns what failed.
async fn sinks(home: &Home, parts: &Parts) -> Vec<String> {
    let heavy = parts.services(false);
    if !heavy.is_empty() {
        let compiled =
            step(&format!("compiled {}", names(&heavy)), "cargo build --release", build::services(&heavy)).await;
        if let Err(error) = compiled {
            return vec![sentence(&error)];
        }
    }
    let mut chains: Vec<_> =
        [("elasticsearch", "search-indexer"), ("cassandra", "events-to-cassandra"), ("influxdb", "metrics-to-influx")]
            .into_iter()
            .map(|(server, service)| Box::pin(sink(home, parts, server, service)))
            .collect();
    let outcomes = join(&mut chains).await;
    outcomes.into_iter().filter_map(|outcome| outcome.err().map(|error| sentence(&error))).collect()
}

async fn sink(home: &Home, parts: &Parts, server: &str, name: &str) -> Result<()> {
    if parts.has(server) && !servers::heavy(home, server).await? {
        return Ok(());
    }
    if let Some(found) = Service::ALL.iter().find(|service| service.name == name && parts.has(name)) {
        service(home, found).await?;
        if home.runs("cdc-capture").is_some() {
            connectors(name).await?;
        }
    }
    Ok(())
}

fn feed(home: &Home, rate: f64) -> Result<()> {
    if home.runs("feed").is_some() {
        return Ok(());
    }
    let url = |database: &str| format!("postgres://postgres:P%40ssw0rd@127.0.0.1:{POSTGRES_PORT}/{database}");
    let arguments = ["feed".to_owned(), url("rating_system_demo"), url("customers"), rate.to_string()];
    own_process(home, "feed", &arguments, &format!("{rate} ratings per second"))?.detach();
    println!("            ok   feed of {rate} ratings per second");
    Ok(())
}

/// Starts this program itself with a hidden subcommand. It is written down before the caller waits for it.
fn own_process(home: &Home, name: &str, arguments: &[String], address: &str) -> Result<ratestream_testkit::Process> {
    let program: PathBuf = std::env::current_exe()?;
    let process = Spec::new(name, program, &home.log(name)).args(arguments).spawn()?;
    home.record(name, process.id(), address, process.log(), StopSignal::Term)?;
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        assert_eq!(parse_rate("2.5/s"), Ok(2.5));
        assert!(parse_rate("0/s").is_err() && parse_rate("many").is_err());
    }

    #[tokio::test]
    async fn join_keeps_order() {
        let mut all: Vec<_> = (0_u64..3)
            .map(|number| {
                Box::pin(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(10 * (3 - number))).await;
                    number
                })
            })
            .collect();
        assert_eq!(join(&mut all).await, [0, 1, 2]);
    }
}

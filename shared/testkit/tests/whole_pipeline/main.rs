//! The whole suite on real servers: a rating inserted into PostgreSQL arrives in every place, also when every service is
//! killed once, and stopped once, while ratings flow.

mod observed;
mod workload;

use anyhow::{Context, Result, ensure};
use observed::Observer;
use ratestream_testkit::demo::{self, Addresses};
use ratestream_testkit::{Inbox, Postgres, PostgresOptions, ServerSet, Service, ServiceOptions, Stack, service};
use std::time::{Duration, Instant};
use workload::Workload;

/// How long everything may take to be equal after the last change.
const QUIET_LIMIT: Duration = Duration::from_secs(120);
/// A service that is asked to stop ends within this time, whatever it has in hand.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Warnings that the start explains, and the article's old property names.
const EXPECTED: [&str; 2] = ["dependency is down", "is the old name of"];

struct Suite {
    _stack: Stack,
    postgres: Postgres,
    inbox: Inbox,
    /// In the order in which they are killed.
    services: Vec<(&'static str, Service)>,
    addresses: Addresses,
}

impl Suite {
    async fn start() -> Result<Suite> {
        let set =
            ServerSet { kafka: true, elasticsearch: true, cassandra: true, influxdb: true, ..ServerSet::default() };
        let (cluster_sql, databases) = demo::databases();
        let options =
            PostgresOptions { password: demo::PASSWORD.into(), databases, cluster_sql, ..PostgresOptions::default() };
        let (stack, postgres, inbox) = tokio::try_join!(Stack::start(set), Postgres::start(options), Inbox::start())?;
        let kafka = stack.kafka.as_ref().context("kafka")?.bootstrap();
        let registry = start("schema-registry", &kafka, "http://127.0.0.1:1", Vec::new()).await?;
        let url = registry.url();
        let smtp = vec![
            ("RATESTREAM__SMTP__HOST".to_owned(), "127.0.0.1".to_owned()),
            ("RATESTREAM__SMTP__PORT".to_owned(), inbox.smtp_port().to_string()),
            ("RATESTREAM__SMTP__TLS".to_owned(), "none".to_owned()),
        ];
        let (capture, aggregator, notification, search, cassandra, influx) = tokio::try_join!(
            start("cdc-capture", &kafka, &url, Vec::new()),
            start("rate-aggregator", &kafka, &url, Vec::new()),
            start("notification", &kafka, &url, smtp),
            start("search-indexer", &kafka, &url, Vec::new()),
            start("events-to-cassandra", &kafka, &url, Vec::new()),
            start("metrics-to-influx", &kafka, &url, Vec::new()),
        )?;
        let bare = |url: &str| url.trim_start_matches("http://").to_owned();
        let addresses = Addresses {
            postgres: format!("127.0.0.1:{}", postgres.port()),
            schema_registry: bare(&url),
            elasticsearch: bare(&stack.elasticsearch.as_ref().context("elasticsearch")?.url()),
            cassandra: stack.cassandra.as_ref().context("cassandra")?.contact_point(),
            influxdb: bare(&stack.influxdb.as_ref().context("influxdb")?.url()),
        };
        let services = vec![
            ("schema-registry", registry),
            ("cdc-capture", capture),
            ("rate-aggregator", aggregator),
            ("notification", notification),
            ("search-indexer", search),
            ("events-to-cassandra", cassandra),
            ("metrics-to-influx", influx),
        ];
        Ok(Suite { _stack: stack, postgres, inbox, services, addresses })
    }

    fn url(&self, name: &str) -> Result<String> {
        let found = self.services.iter().find(|(other, _)| *other == name);
        found.map(|(_, service)| service.url()).with_context(|| format!("no service {name}"))
    }

    /// The article's own calls: all connectors go to one service, whichever runs them.
    async fn register(&self) -> Result<()> {
        let connect = self.url("cdc-capture")?;
        for connector in demo::connectors(&self.addresses)? {
            demo::register(&connect, &connector).await?;
        }
        let ksql = self.url("rate-aggregator")?;
        for statement in demo::statements() {
            demo::execute(&ksql, &statement).await?;
        }
        Ok(())
    }

    fn log_ends(&self) -> String {
        self.services.iter().map(|(name, service)| format!("--- {name}\n{}\n", service.last_log_lines())).collect()
    }
}

async fn start(name: &str, kafka: &str, registry: &str, env: Vec<(String, String)>) -> Result<Service> {
    let options = ServiceOptions {
        kafka: kafka.to_owned(),
        schema_registry: registry.to_owned(),
        env,
        ..ServiceOptions::default()
    };
    service(name, options).await
}

/// Looks until everything agrees with PostgreSQL; then, or when the limit is over, the last look is judged.
async fn agrees(observer: &Observer, suite: &Suite) -> Result<()> {
    let end = Instant::now() + QUIET_LIMIT;
    loop {
        let differences = observer.differences(suite.inbox.messages()).await?;
        if differences.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "not equal after {QUIET_LIMIT:?}:\n{}\n{}",
            differences.join("\n"),
            suite.log_ends()
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Ends each service once, one after the other, while ratings flow.
async fn under_load(suite: &mut Suite, mut workload: Workload, end: impl Fn(&mut Service)) -> Result<Workload> {
    let writer = tokio::spawn(async move {
        workload.run(Duration::from_secs(20)).await?;
        anyhow::Ok(workload)
    });
    for (name, service) in &mut suite.services {
        end(service);
        service.restart().await.with_context(|| format!("{name} does not come back"))?;
    }
    writer.await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rating_arrives_everywhere_also_when_every_service_is_killed_or_stopped() -> Result<()> {
    let mut suite = Box::pin(Suite::start()).await?;
    suite.register().await?;
    let mut workload = Workload::connect(&suite.postgres).await?;
    let observer = Observer::connect(&suite.postgres, &suite.addresses, &suite.url("rate-aggregator")?).await?;

    // What was there before is a snapshot's reading, and nobody is to be mailed for it.
    agrees(&observer, &suite).await?;
    workload.run(Duration::ZERO).await?;
    agrees(&observer, &suite).await?;
    assert_eq!(suite.inbox.messages().len(), workload.low(), "without a crash no mail is repeated");
    let mut lines = Vec::new();
    for (name, service) in &suite.services {
        lines.extend(service.unexpected_log_lines(&EXPECTED)?.into_iter().map(|line| format!("{name}: {line}")));
    }
    assert!(lines.is_empty(), "unexpected log lines:\n{}", lines.join("\n"));
    observer.streams_about_the_services_flow().await?;
    observer.contracts_hold(&suite.url("schema-registry")?).await?;

    let workload = under_load(&mut suite, workload, Service::kill_9).await?;
    agrees(&observer, &suite).await?;
    let repeated = suite.inbox.messages().len() - workload.low();
    println!("{} low ratings, {repeated} mails repeated with the same Message-ID", workload.low());
    // One kill of notification: what was with the server at that moment, at most the mails in flight.
    assert!(repeated <= 4, "{repeated} mails were repeated");

    let workload = under_load(&mut suite, workload, |service| {
        let start = Instant::now();
        service.stop();
        assert!(start.elapsed() < STOP_LIMIT, "{} took {:?} to stop", service.url(), start.elapsed());
    })
    .await?;
    agrees(&observer, &suite).await?;
    assert_eq!(suite.inbox.messages().len() - workload.low(), repeated, "a clean stop repeats no mail");
    Ok(())
}

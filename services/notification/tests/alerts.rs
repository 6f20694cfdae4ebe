//! The service as a process, against real Kafka, schema registry and an SMTP server. What is true is what the inbox holds.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a test program fails loudly and tells what it measured")]

#[path = "../../../shared/pipeline/tests/support/lab.rs"]
mod lab;

use anyhow::{Context, Result, ensure};
use lab::{Lab, Outgoing, Writer, envelope, envelope_schema, eventually, text_key};
use ratestream_avro::{Record, Value};
use ratestream_testkit::{Fault, Inbox, Message};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROW: &str = r#"{"name":"id","type":"long"},{"name":"rate","type":"int"},{"name":"customer_name","type":"string"},
    {"name":"product","type":"string"},{"name":"comment","type":["null","string"],"default":null}"#;
const TOPIC: &str = "shop.rating.rates";

struct Shop {
    lab: Lab,
    inbox: Inbox,
    writer: Writer,
}

impl Shop {
    async fn open() -> Result<Shop> {
        let inbox = Inbox::start().await?;
        let port = inbox.smtp_port().to_string();
        let env = [
            ("RATESTREAM__SMTP__HOST", "127.0.0.1"),
            ("RATESTREAM__SMTP__PORT", port.as_str()),
            ("RATESTREAM__SMTP__TLS", "none"),
            ("RATESTREAM__SMTP__FROM", "Ratings <ratings@shop.example>"),
            ("RATESTREAM__ALERTS__TOPIC", TOPIC),
            ("RATESTREAM__ALERTS__TO", "support@shop.example"),
        ];
        // The topic is created by whoever writes it, which may be later than this service's start.
        let lab = Lab::start("notification", &env).await?;
        lab.create_topic(TOPIC, 3).await?;
        let writer = lab.writer(&format!("{TOPIC}-value"), &envelope_schema(ROW)).await?;
        Ok(Shop { lab, inbox, writer })
    }

    fn send(&self, changes: impl IntoIterator<Item = (&'static str, i64, i32)>) -> Result<()> {
        let record = |(op, id, rate)| Outgoing {
            key: Some(text_key(id)),
            value: Some(envelope(&self.writer, op, id, None, Some(row(id, rate)))),
            ..Outgoing::default()
        };
        self.lab.send(TOPIC, changes.into_iter().map(record))
    }

    async fn mails(&self, count: usize) -> Result<Vec<Arc<Message>>> {
        let there = self.inbox.wait_until(lab::PATIENCE, |mails| mails.len() >= count).await;
        let mails = self.inbox.messages();
        ensure!(there, "{} mails instead of {count}\n{}", mails.len(), self.lab.service.last_log_lines());
        Ok(mails)
    }

    /// Waits until nothing is on its way: what was sent is judged, and the outbox is empty.
    async fn quiet(&self) -> Result<()> {
        self.lab.wait_group("ratestream-notification", TOPIC).await?;
        eventually(async || Ok(self.lab.call("GET", "/queue", None).await?.1 == serde_json::json!([]))).await
    }
}

fn row(id: i64, rate: i32) -> Record {
    Record::from_pairs(
        "v",
        [
            ("id", id.into()),
            ("rate", rate.into()),
            ("customer_name", format!("Zoë {id}").into()),
            ("product", format!("Lamp {id}").into()),
            ("comment", if id % 2 == 0 { format!("Broken <b>{id}</b>").into() } else { Value::Null }),
        ],
    )
}

fn subjects(mails: &[Arc<Message>]) -> BTreeSet<String> {
    mails.iter().map(|mail| mail.subject.clone()).collect()
}

/// How many mails each Message-ID has.
fn ids(mails: &[Arc<Message>]) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    for mail in mails {
        *ids.entry(mail.header("message-id").unwrap_or_default().to_owned()).or_default() += 1;
    }
    ids
}

#[tokio::test]
async fn low_ratings_are_mailed_once() -> Result<()> {
    let mut shop = Shop::open().await?;
    sixty_of_200(&shop).await.context("60 of 200")?;
    only_crossings(&shop).await.context("only crossings")?;
    refusals(&shop).await.context("refusals")?;
    restarted(&mut shop).await.context("restarted")?;
    shop.lab.check_log(&["mail is tried again", "mail was refused for good", "transient error (451): try later"])
}

async fn sixty_of_200(shop: &Shop) -> Result<()> {
    // A snapshot's readings are no news.
    shop.send((1001..=1100).map(|id| ("r", id, 1)))?;
    shop.send((1..=200).map(|id| ("c", id, if id <= 60 { 1 + (id % 2) as i32 } else { 3 + (id % 3) as i32 })))?;
    let started = Instant::now();
    let mails = shop.mails(60).await?;
    shop.quiet().await?;
    println!("60 mails: {:?}", started.elapsed());
    let mails = if mails.len() == 60 { shop.inbox.messages() } else { mails };
    ensure!(mails.len() == 60, "{} mails", mails.len());
    let expected: BTreeSet<String> =
        (1..=60).map(|id| format!("Rating {} for Lamp {id} by Zoë {id}", 1 + id % 2)).collect();
    ensure!(subjects(&mails) == expected, "{:?}", subjects(&mails));
    ensure!(ids(&mails).len() == 60);
    let mail = mails.iter().find(|mail| mail.subject.ends_with("by Zoë 42")).context("the mail of 42")?;
    let text = mail.text.as_deref().unwrap_or_default();
    for part in ["Rating: 1", "Product: Lamp 42", "Customer: Zoë 42", "Row: 42", "Comment: Broken <b>42</b>"] {
        ensure!(text.contains(part), "{part}: {text}");
    }
    ensure!(mail.html.as_deref().unwrap_or_default().contains("Broken &lt;b&gt;42&lt;/b&gt;"), "{:?}", mail.html);
    ensure!(mail.to == ["support@shop.example"] && mail.from == "ratings@shop.example", "{mail:?}");
    ensure!(mail.header("auto-submitted") == Some("auto-generated"));
    shop.inbox.clear();
    Ok(())
}

async fn only_crossings(shop: &Shop) -> Result<()> {
    shop.send([
        ("c", 301, 2),
        ("u", 301, 1),
        ("c", 302, 4),
        ("u", 302, 2),
        ("u", 1001, 2),
        ("u", 1, 1),
        ("u", 2, 5),
        ("u", 2, 1),
    ])?;
    shop.mails(3).await?;
    shop.quiet().await?;
    let mails = shop.inbox.messages();
    let expected =
        ["Rating 2 for Lamp 301 by Zoë 301", "Rating 2 for Lamp 302 by Zoë 302", "Rating 1 for Lamp 2 by Zoë 2"];
    ensure!(mails.len() == 3 && subjects(&mails) == expected.map(str::to_owned).into(), "{:?}", subjects(&mails));
    shop.inbox.clear();
    Ok(())
}

async fn refusals(shop: &Shop) -> Result<()> {
    shop.inbox.fault(Fault { times: 3, code: Some(451), message: "try later".into(), ..Fault::default() });
    shop.send((401..=410).map(|id| ("c", id, 1)))?;
    shop.mails(10).await?;
    shop.quiet().await?;
    ensure!(shop.inbox.messages().len() == 10 && ids(&shop.inbox.messages()).len() == 10);
    shop.inbox.clear();
    shop.inbox.fault(Fault { times: 1, code: Some(550), message: "no such desk".into(), ..Fault::default() });
    shop.send([("c", 501, 2)])?;
    shop.quiet().await?;
    let failed = shop.lab.call("GET", "/failed", None).await?.1;
    let entry = &failed[0];
    ensure!(failed.as_array().map(Vec::len) == Some(1), "{failed}");
    ensure!(
        entry["alert"]["row"] == "501" && entry["detail"].as_str().is_some_and(|reply| reply.contains("no such desk")),
        "{entry}"
    );
    shop.send([("c", 502, 2)])?;
    let mails = shop.mails(1).await?;
    ensure!(subjects(&mails) == ["Rating 2 for Lamp 502 by Zoë 502".to_owned()].into(), "{:?}", subjects(&mails));
    shop.inbox.clear();
    Ok(())
}

async fn restarted(shop: &mut Shop) -> Result<()> {
    shop.quiet().await?;
    shop.lab.service.restart().await?;
    shop.send([("c", 601, 1)])?;
    shop.mails(1).await?;
    shop.quiet().await?;
    let mails = shop.inbox.messages();
    ensure!(mails.len() == 1 && mails[0].subject == "Rating 1 for Lamp 601 by Zoë 601", "{:?}", subjects(&mails));
    let sent = shop.lab.call("GET", "/sent", None).await?.1;
    ensure!(sent.as_array().map(Vec::len) == Some(60 + 3 + 10 + 1 + 1), "{}", sent.as_array().map_or(0, Vec::len));
    Ok(())
}

#[tokio::test]
async fn killed_in_mid_flow_every_alert_is_mailed() -> Result<()> {
    let mut shop = Shop::open().await?;
    let low = |id: i64| id % 3 == 0;
    let rating = |id: i64| ("c", id, if low(id) { 1 } else { 5 });
    let alerts = (1..=3000).filter(|id| low(*id)).count();
    shop.send((1..=2000).map(rating))?;
    shop.mails(100).await?;
    shop.lab.service.kill_9();
    shop.send((2001..=2500).map(rating))?;
    shop.lab.service.restart().await?;
    shop.send((2501..=3000).map(rating))?;
    let enough = |mails: &[Arc<Message>]| ids(mails).len() >= alerts;
    let started = Instant::now();
    let there = shop.inbox.wait_until(Duration::from_secs(60), enough).await;
    shop.quiet().await?;
    let mails = shop.inbox.messages();
    let ids = ids(&mails);
    println!(
        "{alerts} alerts with a kill -9: {} mails, {} repeated; {:?} after the restart",
        mails.len(),
        mails.len() - ids.len(),
        started.elapsed()
    );
    ensure!(there && ids.len() == alerts, "{} of {alerts} alerts", ids.len());
    ensure!(subjects(&mails).len() == alerts, "one Message-ID for each alert");
    ensure!(mails.len() - alerts <= 4, "more mails repeated than may have been in flight");
    shop.lab.check_log(&[])
}

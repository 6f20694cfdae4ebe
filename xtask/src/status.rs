//! What runs, where, and how much memory it takes.

use crate::home::Home;
use crate::parts::Service;
use anyhow::Result;
use ratestream_testkit::probe;
use serde::Serialize;

#[derive(Serialize)]
struct Line {
    name: String,
    pid: u32,
    address: String,
    /// Services only: what `GET /health/ready` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<bool>,
    resident_bytes: u64,
    log: std::path::PathBuf,
}

pub(crate) async fn run(json: bool) -> Result<()> {
    let home = Home::open()?;
    let lines = lines(&home).await;
    if json {
        println!("{}", serde_json::to_string_pretty(&lines)?);
        return Ok(());
    }
    if lines.is_empty() {
        println!("nothing runs; `cargo x up` starts it");
    }
    print(&lines);
    Ok(())
}

/// The table of addresses and memory at the end of `up`.
pub(crate) async fn summary(home: &Home) {
    print(&lines(home).await);
}

async fn lines(home: &Home) -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, entry) in home.running() {
        let service = Service::ALL.iter().any(|service| service.name == name);
        let ready = if service { Some(probe::http(&format!("{}/health/ready", entry.address)).await) } else { None };
        let resident_bytes = entry.id.resident_bytes();
        lines.push(Line { name, pid: entry.id.pid, address: entry.address, ready, resident_bytes, log: entry.log });
    }
    lines
}

fn print(lines: &[Line]) {
    for line in lines {
        let ready = match line.ready {
            Some(true) => "ready",
            Some(false) => "NOT READY",
            None => "runs",
        };
        println!(
            "  {:<20} {:<9} {:>6.0} MB  {:<28} log {}",
            line.name,
            ready,
            line.resident_bytes as f64 / 1e6,
            line.address,
            line.log.display()
        );
    }
}

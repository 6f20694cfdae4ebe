//! Stops what `up` started.

use crate::home::Home;
use anyhow::{Context, Result};
use ratestream_testkit::servers::remove_data;
use std::fs;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn run(wipe: bool) -> Result<()> {
    let home = Home::open()?;
    stop(&home)?;
    if wipe {
        wipe_data(&home)?;
    }
    Ok(())
}

/// Stops all in reverse start order: the feed first, the servers last.
pub(crate) fn stop(home: &Home) -> Result<()> {
    let mut running = home.running();
    running.reverse();
    if running.is_empty() {
        println!("nothing runs");
    }
    for (name, entry) in running {
        let start = Instant::now();
        let clean = entry.id.stop(entry.signal, LIMIT);
        home.forget(&name)?;
        let how = if clean { "stopped" } else { "killed: it did not end within 30 s" };
        println!("  {:>6.1} s  {name} {how}", start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn wipe_data(home: &Home) -> Result<()> {
    let data = home.root().join("data");
    for entry in fs::read_dir(&data).into_iter().flatten() {
        remove_data(&entry?.path())?;
    }
    for folder in ["data", "logs"] {
        remove_data(&home.root().join(folder))?;
    }
    let record = home.root().join("running.json");
    if record.exists() {
        fs::remove_file(&record).with_context(|| format!("cannot remove {}", record.display()))?;
    }
    println!("all data below {} is removed", home.root().display());
    Ok(())
}

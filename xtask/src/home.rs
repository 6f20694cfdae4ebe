//! The folder of data, logs and the record of what runs: `~/.local/share/ratestream`, or `RATESTREAM_HOME`.

use anyhow::{Context, Result, bail};
use ratestream_testkit::ProcessId;
use ratestream_testkit::process::StopSignal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Below this much free space databases fail in odd ways.
const SPACE_NEEDED_KIB: u64 = 2 * 1024 * 1024;

/// A started process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: ProcessId,
    pub(crate) address: String,
    pub(crate) log: PathBuf,
    pub(crate) signal: StopSignal,
    /// Place in the start order; stopping goes backwards.
    pub(crate) order: usize,
}

/// The folder and its record.
pub(crate) struct Home {
    root: PathBuf,
    entries: Mutex<BTreeMap<String, Entry>>,
}

impl Home {
    pub(crate) fn open() -> Result<Self> {
        let root = match std::env::var_os("RATESTREAM_HOME") {
            Some(folder) => PathBuf::from(folder),
            None => Path::new(&std::env::var_os("HOME").context("neither HOME nor RATESTREAM_HOME is set")?)
                .join(".local/share/ratestream"),
        };
        Self::at(root)
    }

    pub(crate) fn at(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root).with_context(|| {
            format!("cannot create {}: set RATESTREAM_HOME to a folder you may write", root.display())
        })?;
        let root = fs::canonicalize(root)?;
        let file = root.join("running.json");
        let entries = match fs::read(&file) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged: remove it", file.display()))?
            }
            Err(_) => BTreeMap::new(),
        };
        Ok(Self { root, entries: Mutex::new(entries) })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.root.join("data").join(name)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// The processes that still run, in start order.
    pub(crate) fn running(&self) -> Vec<(String, Entry)> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut alive: Vec<(String, Entry)> = entries
            .iter()
            .filter(|(_, entry)| entry.id.is_alive())
            .map(|(name, entry)| (name.clone(), entry.clone()))
            .collect();
        alive.sort_by_key(|(_, entry)| entry.order);
        alive
    }

    pub(crate) fn runs(&self, name: &str) -> Option<Entry> {
        self.running().into_iter().find(|(found, _)| found == name).map(|(_, entry)| entry)
    }

    /// Writes a started process down at once, so that it can be stopped whatever happens next.
    pub(crate) fn record(
        &self,
        name: &str,
        id: ProcessId,
        address: &str,
        log: &Path,
        signal: StopSignal,
    ) -> Result<()> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let order = entries.values().map(|entry| entry.order + 1).max().unwrap_or(0);
        let entry = Entry { id, address: address.to_owned(), log: log.to_owned(), signal, order };
        entries.insert(name.to_owned(), entry);
        self.save(&entries)
    }

    pub(crate) fn forget(&self, name: &str) -> Result<()> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.remove(name);
        self.save(&entries)
    }

    fn save(&self, entries: &BTreeMap<String, Entry>) -> Result<()> {
        let (file, fresh) = (self.root.join("running.json"), self.root.join("running.json.new"));
        let context = || format!("cannot write {}: is the disk full?", file.display());
        fs::write(&fresh, serde_json::to_vec_pretty(entries)?).with_context(context)?;
        fs::rename(&fresh, &file).with_context(context)
    }

    /// Refuses with a sentence when the disk is nearly full.
    pub(crate) fn check_space(&self) -> Result<()> {
        let output = Command::new("df").args(["-Pk"]).arg(&self.root).output().context("cannot run df")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let free: Option<u64> = text.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
        if let Some(free) = free.filter(|free| *free < SPACE_NEEDED_KIB) {
            let root = self.root.display();
            bail!(
                "the disk of {root} is nearly full: {} MB are free and 2048 are needed. Free some, or set RATESTREAM_HOME to another disk",
                free / 1024
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_survives_and_forgets_dead_processes() {
        let root = std::env::temp_dir().join(format!("xtask-home-{}", std::process::id()));
        let home = Home::at(root.clone()).unwrap();
        let own = ProcessId::of(std::process::id()).unwrap();
        let dead = ProcessId { pid: own.pid, started: own.started + 1 };
        home.record("b", own, "x", Path::new("/l"), StopSignal::Term).unwrap();
        home.record("a", dead, "y", Path::new("/l"), StopSignal::Int).unwrap();
        let again = Home::at(root.clone()).unwrap();
        assert_eq!(again.running().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["b"]);
        fs::remove_dir_all(root).unwrap();
    }
}

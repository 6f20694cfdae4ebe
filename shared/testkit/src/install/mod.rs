//! What the servers need: system packages, Java, downloaded archives.
//!
//! Downloads live in `~/.cache/ratestream/<name>-<version>` (`RATESTREAM_CACHE` overrides the folder). A lock file beside
//! each makes parallel programs install it once; a finished one carries the file `.complete`.

mod apt;
mod influxdb;
mod java;
mod maven;

pub use apt::{PACKAGES_FOR_BUILDING, ensure_commands};
pub use influxdb::{influxd, influxdb_obstacle};
pub(crate) use java::installed_jdk;
pub use java::{Jdk, jdk};
pub(crate) use maven::{Artifact, archive, class_path};

use crate::privileges::reachable_cache;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Kafka's version.
pub const KAFKA: &str = "4.4.0";
/// Elasticsearch's version on Java 21 and later.
pub const ELASTICSEARCH: &str = "9.5.3";
/// Elasticsearch's version where only Java 17 is at hand.
pub const ELASTICSEARCH_ON_17: &str = "8.19.21";
/// Cassandra's version.
pub const CASSANDRA: &str = "5.0.9";
/// InfluxDB's version.
pub const INFLUXDB: &str = "2.7.12";

/// The folder of downloads.
pub fn cache() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("RATESTREAM_CACHE") {
        return Ok(folder.into());
    }
    let home =
        std::env::var_os("HOME").context("HOME is not set: set it, or RATESTREAM_CACHE, to a folder for downloads")?;
    Ok(Path::new(&home).join(".cache/ratestream"))
}

/// An HTTP client on the workspace's one TLS stack.
pub fn http_client() -> Result<reqwest::Client> {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error means: is installed already
    reqwest::Client::builder().no_proxy().build().context("cannot set up the HTTP client")
}

/// Holds a lock file for as long as it lives.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn take(folder: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let path = folder.join(format!(".{name}.lock"));
        let file =
            File::create(&path).with_context(|| format!("cannot write {}: is the disk full?", path.display()))?;
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(Self { _file: file })
    }
}

/// The folder `<cache>/<name>`, filled by `fill` once. A half-filled folder of an earlier attempt is started anew.
pub(crate) fn cached(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    cached_in(&cache()?, name, fill)
}

/// The same in a folder that a server's unprivileged user can reach.
pub(crate) fn cached_for_all_users(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    cached_in(&reachable_cache(cache()?), name, fill)
}

fn cached_in(cache: &Path, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = cache.join(name);
    let complete = folder.join(".complete");
    if complete.exists() {
        return Ok(folder);
    }
    let _lock = Lock::take(cache, name)?;
    if complete.exists() {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove the half-made {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    fill(&folder)?;
    fs::write(&complete, "").with_context(|| format!("cannot write {}", complete.display()))?;
    Ok(folder)
}

/// Finds a program in the search path.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

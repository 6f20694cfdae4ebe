//! One file per server.

pub mod cassandra;
pub mod elasticsearch;
pub mod influxdb;
pub mod kafka;
pub mod postgres;
mod server;

pub use server::Server;

use crate::ports::{check_free, free_port};
use crate::privileges::make_reachable;
use anyhow::{Context, Result};
use server::Launch;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where a server listens and keeps its data.
#[derive(Clone, Debug, Default)]
pub struct StartOptions {
    /// Port on 127.0.0.1; none = a free one.
    pub port: Option<u16>,
    /// Data folder, kept; none = a temporary one that is removed at the end.
    pub data_dir: Option<PathBuf>,
    /// True: the server outlives this program.
    pub detached: bool,
}

impl StartOptions {
    pub(crate) fn port(&self, server: &str) -> Result<u16> {
        match self.port {
            Some(port) => check_free(server, port).map(|()| port),
            None => free_port(),
        }
    }
}

/// A server's folder.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    temporary: bool,
}

impl DataDir {
    pub(crate) fn of(server: &str, options: &StartOptions) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (path, temporary) = match &options.data_dir {
            Some(path) => (path.clone(), false),
            None => {
                let name =
                    format!("ratestream-{server}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
                (std::env::temp_dir().join(name), true)
            }
        };
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}: is the disk full?", path.display()))?;
        let path = fs::canonicalize(&path)?;
        Ok(Self { path, temporary })
    }

    /// The same for a server that refuses root: a folder that its user can reach.
    pub(crate) fn reachable(server: &str, options: &StartOptions) -> Result<Self> {
        let mut data = Self::of(server, options)?;
        make_reachable(&data.path)?;
        data.path = fs::canonicalize(&data.path)?;
        Ok(data)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder to be removed when this program dies without dropping it.
    pub(crate) fn doomed(&self) -> Option<&Path> {
        self.temporary.then_some(self.path.as_path())
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}: is the disk full?", file.display()))?;
        Ok(file)
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Runs blocking installation work away from the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("the installation thread panicked")?
}

/// Removes a server's data folder; one that had to lie elsewhere (see `make_reachable`) goes with its link.
pub fn remove_data(folder: &Path) -> Result<()> {
    let context = || format!("cannot remove {}", folder.display());
    if folder.is_symlink() {
        let target = fs::read_link(folder).with_context(context)?;
        if target.exists() {
            fs::remove_dir_all(target).with_context(context)?;
        }
        return fs::remove_file(folder).with_context(context);
    }
    if folder.exists() { fs::remove_dir_all(folder).with_context(context) } else { Ok(()) }
}

//! What all servers have in common: a port, a folder and a process that can be stopped and started again.

use super::{DataDir, StartOptions};
use crate::process::{Process, ProcessId};
use crate::running::Running;
use anyhow::Result;
use std::path::PathBuf;

/// A server on 127.0.0.1 that was started here. `K` is what else a server of its kind needs to start.
#[derive(Debug)]
pub struct Server<K> {
    running: Running, // before the folder: fields are dropped in this order
    pub(super) port: u16,
    pub(super) kind: K,
    pub(super) data: DataDir,
}

/// What differs between the kinds of server.
pub trait Launch {
    /// Starts the process, without waiting until it answers.
    fn spawn(&self) -> impl Future<Output = Result<Process>> + Send;

    /// Whether it answers.
    fn answers(&self) -> impl Future<Output = bool> + Send;

    /// What is to be done at every start as soon as it answers.
    fn set_up(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

impl<K> Server<K> {
    pub(super) fn new(options: &StartOptions, port: u16, data: DataDir, kind: K) -> Self {
        Self { running: Running::new(options.detached), port, kind, data }
    }

    /// Log file.
    pub fn log(&self) -> PathBuf {
        self.data.join("server.log")
    }

    /// Its process; none while it is stopped.
    pub fn process(&self) -> Option<ProcessId> {
        self.running.id()
    }

    /// kill -9; [`Self::restart`] recovers what it had written.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// Clean stop.
    pub fn stop(&mut self) {
        self.running.stop();
    }

    /// To be called once it is fully set up: only then it may outlive this program.
    pub(super) fn settle(&mut self) {
        self.running.settle();
    }
}

impl<K> Server<K>
where
    Self: Launch,
{
    /// Starts again on the same port and data (after a clean stop when it still runs).
    pub async fn restart(&mut self) -> Result<()> {
        self.stop();
        self.launch().await?;
        self.settle();
        Ok(())
    }

    /// The same server, running.
    pub(super) async fn started(mut self) -> Result<Self> {
        self.launch().await?;
        self.settle();
        Ok(self)
    }

    pub(super) async fn launch(&mut self) -> Result<()> {
        let mut process = self.spawn().await?;
        if let Some(folder) = self.data.doomed() {
            process.guard(Some(folder))?;
        }
        process.wait_ready(|| self.answers()).await?;
        self.running.hold(process);
        self.set_up().await
    }
}

//! InfluxDB 2.

use super::{DataDir, StartOptions, blocking};
use crate::install;
use crate::probe;
use crate::process::{Process, ProcessId, Spec};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// Organisation that the first start creates.
pub const ORG: &str = "ratestream";
/// Bucket that the first start creates.
pub const BUCKET: &str = "ratestream";
/// Token that the first start creates. The server listens on the loopback address only.
pub const TOKEN: &str = "ratestream-token";

/// An InfluxDB server.
#[derive(Debug)]
pub struct InfluxDb {
    process: Option<Process>,
    port: u16,
    program: PathBuf,
    detached: bool,
    data: DataDir,
}

impl InfluxDb {
    /// Compiles the server when it is missing; a machine without Go gets a sentence.
    pub fn install() -> Result<PathBuf> {
        install::influxd()
    }

    /// Starts a server, waits until it answers and sets up [`ORG`], [`BUCKET`] and [`TOKEN`].
    pub async fn start(options: StartOptions) -> Result<Self> {
        let program = blocking(Self::install).await?;
        let port = options.port("InfluxDB")?;
        let data = DataDir::of("influxdb", &options)?;
        let mut server = Self { process: None, port, program, detached: options.detached, data };
        server.launch().await?;
        server.set_up().await?;
        server.settle();
        Ok(server)
    }

    async fn launch(&mut self) -> Result<()> {
        let mut spec = Spec::new("InfluxDB", &self.program, &self.log());
        for (option, file) in
            [("--bolt-path", "influxd.bolt"), ("--engine-path", "engine"), ("--sqlite-path", "influxd.sqlite")]
        {
            spec = spec.args([option]).args([self.data.join(file)]);
        }
        let bind = format!("127.0.0.1:{}", self.port);
        spec = spec.args(["--http-bind-address", &bind, "--reporting-disabled", "--log-level", "warn"]);
        spec = spec.env("HOME", self.data.path());
        let mut process = spec.spawn()?;
        if let Some(folder) = self.data.doomed() {
            process.guard(Some(folder))?;
        }
        let url = format!("{}/health", self.url());
        process.wait_ready(|| probe::http(&url)).await?;
        self.process = Some(process);
        Ok(())
    }

    async fn set_up(&self) -> Result<()> {
        let client = install::http_client()?;
        let url = format!("{}/api/v2/setup", self.url());
        let allowed: serde_json::Value = client.get(&url).send().await?.json().await?;
        if allowed["allowed"] == false {
            return Ok(()); // an earlier start did it
        }
        let body = serde_json::json!({"username": "admin", "password": "ratestream", "org": ORG, "bucket": BUCKET, "token": TOKEN});
        let answer = client.post(&url).json(&body).send().await.context("InfluxDB's first set-up failed")?;
        if !answer.status().is_success() {
            bail!("InfluxDB's first set-up failed with status {}", answer.status());
        }
        Ok(())
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Log file.
    pub fn log(&self) -> PathBuf {
        self.data.join("server.log")
    }

    /// The server's process; none while it is stopped.
    pub fn process(&self) -> Option<ProcessId> {
        self.process.as_ref().map(Process::id)
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Clean stop.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop();
        }
    }

    /// Starts again on the same port and data (after a clean stop when it still runs).
    pub async fn restart(&mut self) -> Result<()> {
        self.stop();
        self.launch().await?;
        self.settle();
        Ok(())
    }

    /// Only a server that is fully set up may outlive this program.
    fn settle(&mut self) {
        if let Some(process) = self.process.as_mut().filter(|_| self.detached) {
            process.detach();
        }
    }
}

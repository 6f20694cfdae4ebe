//! InfluxDB 2.

use super::{DataDir, Launch, Server, StartOptions, blocking};
use crate::install;
use crate::probe;
use crate::process::{Process, Spec};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// Organisation that the first start creates.
pub const ORG: &str = "ratestream";
/// Bucket that the first start creates.
pub const BUCKET: &str = "ratestream";
/// Token that the first start creates. The server listens on the loopback address only.
pub const TOKEN: &str = "ratestream-token";

/// An InfluxDB server.
pub type InfluxDb = Server<Influxd>;

/// What makes a server an InfluxDB.
#[derive(Debug)]
pub struct Influxd {
    program: PathBuf,
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
        Self::new(&options, port, data, Influxd { program }).started().await
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Launch for InfluxDb {
    async fn spawn(&self) -> Result<Process> {
        let mut spec = Spec::new("InfluxDB", &self.kind.program, &self.log());
        for (option, file) in
            [("--bolt-path", "influxd.bolt"), ("--engine-path", "engine"), ("--sqlite-path", "influxd.sqlite")]
        {
            spec = spec.args([option]).args([self.data.join(file)]);
        }
        let bind = format!("127.0.0.1:{}", self.port);
        spec = spec.args(["--http-bind-address", &bind, "--reporting-disabled", "--log-level", "warn"]);
        spec = spec.env("HOME", self.data.path());
        spec.spawn()
    }

    async fn answers(&self) -> bool {
        probe::http(&format!("{}/health", self.url())).await
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
}

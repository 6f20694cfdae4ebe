//! The write call of InfluxDB 2.

use flate2::{Compression, write::GzEncoder};
use ratestream_connect::{ConnectorConfig, TaskError};
use ratestream_runtime::Secret;
use reqwest::{Client, Method, header};
use std::io::Write;
use std::time::Duration;

/// A client of one bucket.
pub(crate) struct Influx {
    http: Client,
    url: String,
    org: String,
    bucket: String,
    token: Secret,
    gzip: bool,
}

/// How a write ended that did not end well.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// Network, 429, 5xx: again later.
    Again(String),
    /// Some points were refused, the others stored; the text says why.
    Refused(String),
    /// Needs a human.
    Denied(TaskError),
}

impl Influx {
    pub(crate) fn new(config: &ConnectorConfig) -> Result<Influx, TaskError> {
        let timeout = Duration::from_millis(config.int("influxdb.timeout.ms")?.unwrap_or(10_000).max(1) as u64);
        let http = Client::builder()
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(TaskError::transient)?;
        Ok(Influx {
            http,
            url: config.required("influxdb.url")?.trim_end_matches('/').to_owned(),
            org: config.required("influxdb.org")?.to_owned(),
            bucket: config.required("influxdb.bucket")?.to_owned(),
            token: Secret::new(config.required("influxdb.token")?),
            gzip: config.bool("influxdb.gzip")?,
        })
    }

    /// Writes lines with times in nanoseconds.
    pub(crate) async fn write(&self, lines: &str) -> Result<(), WriteError> {
        let mut request = self
            .http
            .request(Method::POST, format!("{}/api/v2/write", self.url))
            .query(&[("org", self.org.as_str()), ("bucket", &self.bucket), ("precision", "ns")])
            .header(header::AUTHORIZATION, format!("Token {}", self.token.expose()))
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8");
        request = if self.gzip {
            let body = compressed(lines).map_err(|error| WriteError::Again(error.to_string()))?;
            request.header(header::CONTENT_ENCODING, "gzip").body(body)
        } else {
            request.body(lines.to_owned())
        };
        let response = request.send().await.map_err(|error| WriteError::Again(error.without_url().to_string()))?;
        let status = response.status().as_u16();
        if status == 204 || status == 200 {
            return Ok(());
        }
        let body = response.text().await.unwrap_or_default();
        Err(self.refusal(status, &body))
    }

    fn refusal(&self, status: u16, body: &str) -> WriteError {
        let reason: String = body.chars().take(400).collect();
        match status {
            400 | 413 | 422 => WriteError::Refused(format!("status {status}: {reason}")),
            401 | 403 => WriteError::Denied(TaskError::Config {
                code: "INF001",
                cause: format!("InfluxDB refused the token with status {status}: {reason}."),
                fix: format!(
                    "Set influxdb.token to a token that may write the bucket {} of {}.",
                    self.bucket, self.org
                ),
            }),
            404 => WriteError::Denied(TaskError::Config {
                code: "INF002",
                cause: format!(
                    "InfluxDB does not know the bucket {} or the organisation {}: {reason}.",
                    self.bucket, self.org
                ),
                fix: format!("Create it: influx bucket create --org {} --name {}.", self.org, self.bucket),
            }),
            _ => WriteError::Again(format!("status {status}: {reason}")),
        }
    }
}

fn compressed(lines: &str) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(lines.len() / 4), Compression::fast());
    encoder.write_all(lines.as_bytes())?;
    encoder.finish()
}

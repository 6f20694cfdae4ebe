//! The suite's own services as processes.

use crate::process::{ProcessId, Spec, last_lines};
use crate::running::Running;
use crate::{free_port, probe};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// How to run a service.
#[derive(Clone, Debug, Default)]
pub struct ServiceOptions {
    /// Kafka's address.
    pub kafka: String,
    /// The schema registry's URL.
    pub schema_registry: String,
    /// HTTP port on 127.0.0.1; none = a free one.
    pub port: Option<u16>,
    /// More environment: `RATESTREAM__SECTION__KEY`.
    pub env: Vec<(String, String)>,
    /// Folder of the binary; none = where `cargo test` builds.
    pub binaries: Option<PathBuf>,
    /// Log file; none = a temporary one.
    pub log: Option<PathBuf>,
    /// True: it outlives this program.
    pub detached: bool,
}

/// A running service. Dropped, it is stopped by its process id.
#[derive(Debug)]
pub struct Service {
    name: String,
    program: PathBuf,
    options: ServiceOptions,
    port: u16,
    log: PathBuf,
    running: Running,
}

/// Starts the built service `name` and waits until `GET /health/ready` says yes.
pub async fn service(name: &str, options: ServiceOptions) -> Result<Service> {
    Service::start(name, options).await
}

impl Service {
    /// See [`service`].
    pub async fn start(name: &str, options: ServiceOptions) -> Result<Self> {
        let mut service = Self::launched(name, options)?;
        service.wait_ready().await?;
        Ok(service)
    }

    /// Starts it and returns at once; see [`Self::wait_ready`].
    pub fn launched(name: &str, options: ServiceOptions) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = match &options.binaries {
            Some(folder) => folder.clone(),
            None => target_folder()?,
        };
        let program = folder.join(name);
        if !program.is_file() {
            bail!(
                "{} does not exist: build it with `cargo build -p {name}`, or run the tests by `cargo x test`",
                program.display()
            );
        }
        let port = match options.port {
            Some(port) => crate::check_free(name, port).map(|()| port)?,
            None => free_port()?,
        };
        let temporary = || {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            std::env::temp_dir().join(format!("ratestream-{name}-{}-{number}.log", std::process::id()))
        };
        let log = options.log.clone().unwrap_or_else(temporary);
        let running = Running::new(options.detached);
        let mut service = Self { name: name.to_owned(), program, options, port, log, running };
        service.spawn()?;
        Ok(service)
    }

    fn spawn(&mut self) -> Result<()> {
        let mut spec = Spec::new(&self.name, &self.program, &self.log);
        spec = spec.env("RATESTREAM__KAFKA__BROKERS", &self.options.kafka);
        spec = spec.env("RATESTREAM__SCHEMA_REGISTRY__URL", &self.options.schema_registry);
        spec = spec.env("RATESTREAM__HTTP__BIND", format!("127.0.0.1:{}", self.port));
        for (key, value) in &self.options.env {
            spec = spec.env(key, value);
        }
        self.running.hold(spec.spawn()?);
        Ok(())
    }

    /// Waits until `GET /health/ready` says yes.
    pub async fn wait_ready(&mut self) -> Result<()> {
        let url = format!("{}/health/ready", self.url());
        let process = self.running.process().with_context(|| format!("{} was stopped", self.name))?;
        process.wait_ready(|| probe::http(&url)).await?;
        self.running.settle();
        Ok(())
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process; none while it is stopped.
    pub fn process(&self) -> Option<ProcessId> {
        self.running.id()
    }

    /// kill -9.
    pub fn kill_9(&mut self) {
        self.running.kill();
    }

    /// Clean stop (TERM), killed after 30 s.
    pub fn stop(&mut self) {
        self.running.stop();
    }

    /// Starts it again on the same port and waits until it is ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop();
        self.spawn()?;
        self.wait_ready().await
    }

    /// Lines of level WARN or ERROR in the log, and panics, without those that contain one of `expected`.
    pub fn unexpected_log_lines(&self, expected: &[&str]) -> Result<Vec<String>> {
        let text = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(unexpected(&String::from_utf8_lossy(&text), expected))
    }

    /// The end of the log, for messages.
    pub fn last_log_lines(&self) -> String {
        last_lines(&self.log, 20)
    }
}

/// Judges both forms of log line: pretty (`… WARN target: text`) and JSON (`"level":"WARN"`).
fn unexpected(text: &str, expected: &[&str]) -> Vec<String> {
    let bad = |line: &&str| {
        let words = line.split_whitespace().take(3).any(|word| matches!(strip_colour(word).as_str(), "WARN" | "ERROR"));
        words
            || line.contains("\"level\":\"WARN\"")
            || line.contains("\"level\":\"ERROR\"")
            || line.contains("panicked at")
    };
    let lines = text.lines().filter(bad);
    lines.filter(|line| !expected.iter().any(|part| line.contains(part))).map(str::to_owned).collect()
}

fn strip_colour(word: &str) -> String {
    let mut plain = String::new();
    let mut inside = false;
    for letter in word.chars() {
        match letter {
            '\u{1b}' => inside = true,
            'm' if inside => inside = false,
            _ if !inside => plain.push(letter),
            _ => {}
        }
    }
    plain
}

/// Test programs lie in `target/<profile>/deps`, services in `target/<profile>`.
fn target_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.parent().context("this program lies in no folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_and_panics_are_found_unless_expected() {
        let text = "2026-01-01T00:00:00Z  INFO x: fine\n2026-01-01T00:00:00Z \u{1b}[33m WARN\u{1b}[0m x: late\n\
                    {\"level\":\"ERROR\",\"message\":\"gone\"}\nthread 'a' panicked at b.rs:1\n";
        assert_eq!(unexpected(text, &[]).len(), 3);
        assert_eq!(unexpected(text, &["late", "gone"]), ["thread 'a' panicked at b.rs:1"]);
    }

    #[tokio::test]
    async fn a_missing_binary_is_named() {
        let options = ServiceOptions { binaries: Some("/nowhere".into()), ..ServiceOptions::default() };
        let error = service("no-such", options).await.unwrap_err().to_string();
        assert!(error.contains("/nowhere/no-such"), "{error}");
    }
}

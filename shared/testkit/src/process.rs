//! Server processes: started in a session of their own with a log file, watched until ready, stopped by process id.

pub use crate::log_file::last_lines;

use crate::log_file::open_log;
use crate::privileges::RunAs;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long any server may take until it answers; a cold build beside it makes starts ten times slower than usual.
pub const READY_LIMIT: Duration = Duration::from_secs(180);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(25);

/// A process id together with the start time that the kernel keeps, so that a recycled id is never mistaken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process id.
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks since boot.
    pub started: u64,
}

/// The signal that asks a server to end cleanly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopSignal {
    /// What most programs take.
    #[default]
    Term,
    /// PostgreSQL's fast shutdown (TERM waits for the clients to leave).
    Int,
}

impl StopSignal {
    fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT",
        }
    }
}

impl ProcessId {
    /// The living process `pid`; none when there is no such process.
    pub fn of(pid: u32) -> Option<Self> {
        let (state, started, _) = stat(pid)?;
        (state != 'Z').then_some(Self { pid, started })
    }

    /// Whether this very process still runs.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Resident memory in bytes; 0 when the process has gone.
    pub fn resident_bytes(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        kib.unwrap_or(0_u64) * 1024
    }

    /// Asks the process to end, waits up to `limit`, then kills it. Returns whether it ended by itself.
    pub fn stop(&self, signal: StopSignal, limit: Duration) -> bool {
        if !self.is_alive() {
            return true;
        }
        send_signal(self.pid, signal.name());
        if self.wait_gone(limit) {
            return true;
        }
        self.kill();
        false
    }

    /// Kills the process at once and waits until it and its children have gone (PostgreSQL's children notice by themselves).
    pub fn kill(&self) {
        let children = children(self.pid);
        if self.is_alive() {
            send_signal(self.pid, "KILL");
        }
        self.wait_gone(STOP_LIMIT);
        for child in children {
            if !child.wait_gone(Duration::from_secs(5)) {
                send_signal(child.pid, "KILL");
                child.wait_gone(STOP_LIMIT);
            }
        }
    }

    fn wait_gone(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }
}

/// State letter, start time and parent of a process.
fn stat(pid: u32) -> Option<(char, u64, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&text)
}

fn parse_stat(text: &str) -> Option<(char, u64, u32)> {
    // the second field is the program's name in parentheses and may hold blanks and parentheses itself
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?, fields.get(1)?.parse().ok()?))
}

fn children(parent: u32) -> Vec<ProcessId> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, _, ppid)| ppid == parent)).filter_map(ProcessId::of).collect()
}

fn send_signal(pid: u32, signal: &str) {
    // the shell's own `kill`: a bare machine may lack the program
    let _ = Command::new("sh").arg("-c").arg(format!("kill -s {signal} {pid} 2>/dev/null")).status();
}

/// What to start and how.
#[derive(Debug)]
pub struct Spec {
    /// Name for messages: "Kafka".
    pub name: String,
    /// Program to run.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Environment on top of this process's own.
    pub env: Vec<(String, OsString)>,
    /// Working folder.
    pub dir: Option<PathBuf>,
    /// Log file; output is appended.
    pub log: PathBuf,
    /// How it is asked to end.
    pub stop_signal: StopSignal,
    pub(crate) run_as: Option<RunAs>,
}

impl Spec {
    /// A process of that name that runs `program` with its output in `log`.
    pub fn new(name: &str, program: impl Into<PathBuf>, log: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
            log: log.to_owned(),
            stop_signal: StopSignal::Term,
            run_as: None,
        }
    }

    /// Appends arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }

    fn command(&self) -> Result<Command> {
        let mut words: Vec<OsString> = Vec::new();
        if Path::new("/usr/bin/setsid").exists() {
            words.push("setsid".into()); // away from the terminal's Ctrl-C
        }
        words.extend(self.run_as.iter().flat_map(RunAs::prefix));
        words.push(self.program.clone().into());
        words.extend(self.args.iter().cloned());
        let log = open_log(&self.log)?;
        let mut command = Command::new(words.remove(0));
        command.args(words).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        Ok(command)
    }

    /// Runs it to its end; an error carries the last lines of its output.
    pub fn run(&self) -> Result<()> {
        let status = self.command()?.status().with_context(|| self.cannot_start())?;
        if !status.success() {
            bail!(
                "{} ended with {status}. Last lines of {}:\n{}",
                self.name,
                self.log.display(),
                last_lines(&self.log, 20)
            );
        }
        Ok(())
    }

    fn cannot_start(&self) -> String {
        format!("cannot start {}: {} does not run", self.name, self.program.display())
    }

    /// Starts it.
    pub fn spawn(self) -> Result<Process> {
        let mut child = self.command()?.spawn().with_context(|| self.cannot_start())?;
        let Some(id) = ProcessId::of(child.id()) else {
            let status = child.wait()?;
            bail!(
                "{} ended at once with {status}. Last lines of {}:\n{}",
                self.name,
                self.log.display(),
                last_lines(&self.log, 20)
            );
        };
        Process::watched(self, id, Some(child))
    }
}

/// A started process. It is stopped when this value is dropped or this program ends in any way, unless it was detached.
#[derive(Debug)]
pub struct Process {
    name: String,
    id: ProcessId,
    log: PathBuf,
    signal: StopSignal,
    detached: bool,
    child: Option<Child>,
    guardian: Option<Child>,
}

/// Waits for the end of its input, which comes when the program that started it ends in any way (also by kill -9), then
/// stops the server. A line "done" releases it.
const GUARDIAN: &str = r#"
trap '' INT TERM HUP
read -r line; [ "$line" = done ] && exit 0
alive() { set -- $1 $2 $(sed 's/.*) //' /proc/$1/stat 2>/dev/null); [ "$3" != Z ] && [ "${22}" = "$2" ]; }
n=0; alive $1 $2 && kill -s $3 $1
while alive $1 $2; do n=$((n+1)); [ $n -gt 100 ] && kill -s KILL $1; [ $n -gt 150 ] && break; sleep 0.1; done
[ -n "$4" ] && rm -rf "$4"
exit 0"#;

impl Process {
    fn watched(spec: Spec, id: ProcessId, child: Option<Child>) -> Result<Self> {
        let mut process = Self {
            name: spec.name,
            id,
            log: spec.log,
            signal: spec.stop_signal,
            detached: false,
            child,
            guardian: None,
        };
        process.guard(None)?;
        Ok(process)
    }

    /// Takes over a process that something else started (a launcher that leaves its server behind).
    pub fn adopt(name: &str, id: ProcessId, log: &Path) -> Result<Self> {
        Self::watched(Spec::new(name, "", log), id, None)
    }

    /// From now on it outlives this program.
    pub fn detach(&mut self) {
        self.detached = true;
        self.release_guardian();
    }

    /// Sets up the watcher that stops the process and removes `folder` when this program dies.
    pub(crate) fn guard(&mut self, folder: Option<&Path>) -> Result<()> {
        self.release_guardian();
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", GUARDIAN, "guardian"]);
        command.arg(self.id.pid.to_string()).arg(self.id.started.to_string()).arg(self.signal.name());
        command.arg(folder.unwrap_or(Path::new("")));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        self.guardian = Some(
            command.spawn().context("cannot start the watcher of a test server: `setsid` (util-linux) is missing")?,
        );
        Ok(())
    }

    fn release_guardian(&mut self) {
        if let Some(mut guardian) = self.guardian.take() {
            if let Some(mut input) = guardian.stdin.take() {
                let _ = input.write_all(b"done\n");
            }
            let _ = guardian.wait();
        }
    }

    /// Process id with start time.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        if let Some(child) = &mut self.child
            && !matches!(child.try_wait(), Ok(None))
        {
            return false;
        }
        self.id.is_alive()
    }

    /// Asks `probe` again and again until it says yes; fails when the process ends or after [`READY_LIMIT`].
    pub async fn wait_ready<F: Future<Output = bool>>(&mut self, mut probe: impl FnMut() -> F) -> Result<()> {
        let end = Instant::now() + READY_LIMIT;
        loop {
            if !self.is_alive() {
                bail!(
                    "{} ended while starting. Last lines of {}:\n{}",
                    self.name,
                    self.log.display(),
                    last_lines(&self.log, 20)
                );
            }
            if probe().await {
                return Ok(());
            }
            if Instant::now() > end {
                let (log, seconds) = (self.log.display(), READY_LIMIT.as_secs());
                bail!(
                    "{} is not ready after {seconds} s. Last lines of {log}:\n{}",
                    self.name,
                    last_lines(&self.log, 20)
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Kills it at once (kill -9) and waits until it has gone.
    pub fn kill(&mut self) {
        self.id.kill();
        self.reap();
    }

    /// Asks it to end and waits; kills it when it does not within 30 s.
    pub fn stop(&mut self) {
        if self.is_alive() {
            self.id.stop(self.signal, STOP_LIMIT);
        }
        self.reap();
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
        self.release_guardian();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.detached {
            self.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_odd_program_names() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 998877 1 2 3";
        assert_eq!(parse_stat(line), Some(('S', 998_877, 7)));
    }

    #[test]
    fn stop_ends_a_process_and_a_recycled_id_is_not_alive() {
        let log = std::env::temp_dir().join(format!("testkit-sleep-{}.log", std::process::id()));
        let mut process = Spec::new("sleeper", "sleep", &log).args(["600"]).spawn().unwrap();
        let id = process.id();
        assert!(process.is_alive());
        assert!(!ProcessId { pid: id.pid, started: id.started + 1 }.is_alive());
        process.stop();
        assert!(!id.is_alive());
        fs::remove_file(log).unwrap();
    }

    #[tokio::test]
    async fn a_process_that_dies_reports_its_last_lines() {
        let log = std::env::temp_dir().join(format!("testkit-dies-{}.log", std::process::id()));
        let script = ["-c", "echo no space left; sleep 0.2; exit 3"];
        let mut process = Spec::new("shell", "sh", &log).args(script).spawn().unwrap();
        let error = process.wait_ready(|| async { false }).await.unwrap_err().to_string();
        assert!(error.contains("no space left"), "{error}");
        fs::remove_file(log).unwrap();
    }
}

//! The process of a server or service between its starts and stops.

use crate::process::{Process, ProcessId};

/// A process, or none while it is stopped.
#[derive(Debug)]
pub(crate) struct Running {
    process: Option<Process>,
    detached: bool,
}

impl Running {
    /// Nothing yet. Detached: what will run here outlives this program once it is settled.
    pub(crate) fn new(detached: bool) -> Self {
        Self { process: None, detached }
    }

    /// From now on `process` is the one.
    pub(crate) fn hold(&mut self, process: Process) {
        self.process = Some(process);
    }

    /// The process while there is one.
    pub(crate) fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    pub(crate) fn id(&self) -> Option<ProcessId> {
        self.process.as_ref().map(Process::id)
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Clean stop.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop();
        }
    }

    /// It is fully set up and may outlive this program when that was wished.
    pub(crate) fn settle(&mut self) {
        if let Some(process) = self.process.as_mut().filter(|_| self.detached) {
            process.detach();
        }
    }
}

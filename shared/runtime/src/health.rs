//! The state of everything a service depends on.

use serde::Serialize;
use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// State of one dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DependencyState {
    /// Not reached yet.
    Starting,
    /// Works.
    Up,
    /// Does not work; the cause says why.
    Down,
}

/// One line of `GET /health/ready`.
#[derive(Clone, Debug, Serialize)]
pub struct DependencyReport {
    /// For example `kafka`.
    pub name: String,
    /// Its state.
    pub state: DependencyState,
    /// Why it is not up; empty when it is.
    pub cause: String,
    /// Since when it is in this state, milliseconds since the epoch.
    pub since_ms: u64,
}

/// All dependencies of a service. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Vec<DependencyReport>>>);

/// The handle by which its user reports one dependency. Dropping it removes nothing: the last state stays.
#[derive(Clone, Debug)]
pub struct Dependency {
    health: Health,
    name: String,
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map(|d| d.as_millis() as u64).unwrap_or(0)
}

impl Health {
    /// Adds a dependency in state `Starting`, or returns the handle of the one with this name.
    pub fn dependency(&self, name: &str) -> Dependency {
        if let Ok(mut all) = self.0.lock()
            && !all.iter().any(|d| d.name == name)
        {
            all.push(DependencyReport {
                name: name.to_owned(),
                state: DependencyState::Starting,
                cause: "not reached yet".to_owned(),
                since_ms: now_ms(),
            });
        }
        Dependency { health: self.clone(), name: name.to_owned() }
    }

    /// Takes out the dependencies whose names end in `of <owner>` or `/<owner>`: the owner is gone.
    pub fn forget(&self, owner: &str) {
        let is_of =
            |name: &str| name.strip_suffix(owner).is_some_and(|rest| rest.ends_with(" of ") || rest.ends_with('/'));
        if let Ok(mut all) = self.0.lock() {
            all.retain(|d| !is_of(&d.name));
        }
    }

    /// All dependencies in the order in which they were added.
    pub fn report(&self) -> Vec<DependencyReport> {
        self.0.lock().map(|all| all.clone()).unwrap_or_default()
    }

    /// Whether all dependencies are up.
    pub fn is_ready(&self) -> bool {
        self.report().iter().all(|d| d.state == DependencyState::Up)
    }
}

impl Dependency {
    fn set(&self, state: DependencyState, cause: String) {
        let Ok(mut all) = self.health.0.lock() else { return };
        let Some(entry) = all.iter_mut().find(|d| d.name == self.name) else { return };
        if entry.state != state {
            match state {
                DependencyState::Down => tracing::warn!(dependency = self.name, cause, "dependency is down"),
                _ => tracing::info!(dependency = self.name, "dependency is up"),
            }
            entry.since_ms = now_ms();
        }
        entry.state = state;
        entry.cause = cause;
    }

    /// It works.
    pub fn up(&self) {
        self.set(DependencyState::Up, String::new());
    }

    /// It does not work.
    pub fn down(&self, cause: impl Display) {
        self.set(DependencyState::Down, cause.to_string());
    }

    /// Takes the dependency out of the report, for example when its connector is deleted.
    pub fn remove(&self) {
        if let Ok(mut all) = self.health.0.lock() {
            all.retain(|d| d.name != self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_every_dependency_is_up() {
        let health = Health::default();
        assert!(health.is_ready());
        let (kafka, registry) = (health.dependency("kafka"), health.dependency("schema-registry"));
        kafka.up();
        assert!(!health.is_ready());
        registry.down("connection refused");
        assert_eq!(health.report()[1].cause, "connection refused");
        registry.up();
        assert!(health.is_ready());
        let target = health.dependency("target of a-b");
        health.dependency("postgresql/b").up();
        target.down("away");
        health.forget("b");
        assert_eq!((health.report().len(), health.is_ready()), (3, false));
        health.forget("a-b");
        assert!(health.is_ready());
    }
}

//! What every ratestream service stands on: boot, configuration, telemetry, the admin HTTP surface, supervision and a clean stop.
//!
//! A service implements [`Service`]; its `main` is `ratestream_runtime::run::<ThatService>()`.

pub mod admin;
pub mod backoff;
mod boot;
pub mod config;
mod health;
pub mod metrics;
mod progress;
mod secret;
mod shutdown;
mod supervise;
pub mod telemetry;

pub use boot::{Context, Routes, Service, StartError, run};
pub use config::{HttpSettings, KafkaSettings, RegistrySettings, Settings};
pub use health::{Dependency, DependencyReport, DependencyState, Health};
pub use progress::{BusyGuard, Progress};
pub use secret::{MASK, Secret, is_secret_key};
pub use shutdown::Shutdown;
pub use supervise::{Child, ChildContext, ChildReport, ChildState, Loop, Supervisor};

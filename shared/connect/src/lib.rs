//! The connector fabric: Kafka Connect's distributed mode over the services of the suite.
//!
//! Configurations live in `connect-configs`, statuses in `connect-status`, source offsets in `connect-offsets`, in Kafka
//! Connect's own record formats. Every service answers the whole Connect REST API; each runs the connector classes it owns.

mod catalogue;
mod config;
mod connector;
mod offsets;
mod ownership;
mod reconcile;
mod rest;
mod state;
mod store;
mod task;
pub mod transforms;
mod validate;
mod worker;

pub use config::{ConnectorConfig, mask};
pub use connector::{
    ConfigError, ConfigKey, Connector, Descriptor, Kind, TaskContext, TaskError, TaskStatus, ValueKind,
};
pub use offsets::{OffsetRecord, SourceOffsets};
pub use worker::Worker;

//! Everything the registry knows, and the one place where it is kept: the topic `_schemas`.
//!
//! * [`record`]: the exact bytes of a log record's key and value;
//! * [`index`]: the state that replaying the log produces;
//! * [`ids`]: which id names which schema;
//! * [`decide`]: which records a request would write, given a state (no I/O);
//! * [`log`]: the Kafka side, reading to the end, group-committed writing under a fence.

pub mod decide;
pub mod ids;
pub mod index;
pub mod log;
pub mod model;
pub mod record;

//! Exactly-once stream processing over Kafka, in two layers.
//!
//! * [`stage`]: the loop. One consumer-group member reads its partitions, feeds each record to that partition's [`Task`], and
//!   commits outputs, changelog and offsets of a partition in **one Kafka transaction**. State lives in memory; a compacted
//!   changelog topic with the input's partitions restores it before anything is processed.
//! * [`topology`]: typed operators (filter, map, group_by, count, …) built on that loop.
//!
//! Each partition has a transactional id of its own (`<application>-<partition>`): who gets a partition fences whoever had it
//! before, also after `kill -9`, without any configured instance name.

pub mod partition;
pub mod stage;
pub mod task;
pub mod topology;

pub use stage::{Stage, StageError, StageStatus, supervise};
pub use task::{Incoming, Output, Produced, Task, TaskError};
pub use topology::{Flow, Grouped, Streams};

//! Kafka as every service uses it: client settings, topics, the transactional producer, compacted logs read to their end,
//! and intake by partition. All calls that block belong on a thread of the caller's own.

mod client;
mod error;
mod intake;
mod log_reader;
mod offsets;
mod transactional;

pub use client::{Kafka, TopicSpec};
pub use error::KafkaError;
pub use intake::{Batch, Intake, IntakeEvent, IntakeLimits, Record};
pub use log_reader::{LogReader, LogRecord};
pub use offsets::OffsetTracker;
pub use rdkafka;
pub use transactional::{Outgoing, TransactionalProducer};

//! The one loop of all sinks: record → decode → plan → write → commit, with retry, dead letters and conservation:
//! consumed = written + filtered + dead-lettered + in flight, and a committed offset is always behind what is durable.

mod dead_letter;
mod decode;
mod metrics;
mod record;
mod run;
mod sink;
mod tombstone;

pub use decode::{Decoder, key_value};
pub use record::{Payload, SinkRecord};
pub use run::run;
pub use sink::{Reject, Sink, Written};

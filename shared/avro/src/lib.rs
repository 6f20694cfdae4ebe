//! Avro as the Confluent ecosystem speaks it: schemas that keep everything a registry must keep, a dynamic value,
//! a binary codec that survives hostile input, the 5-byte wire frame, a registry client and Debezium's change model.
//!
//! | module | what |
//! |---|---|
//! | [`schema`] | parsed model, parser, builder, canonical printer |
//! | [`value`] | [`Value`] and [`Record`]: what a datum means, unions transparent |
//! | [`codec`] | binary encode and decode |
//! | [`wire`] | `0x00` + 4-byte schema id |
//! | [`client`] | schema registry over REST, cached |
//! | [`envelope`] | Debezium's before/after/source/op |
//! | [`json`] | values as JSON for sinks |

pub mod client;
pub mod codec;
pub mod envelope;
mod error;
pub mod json;
pub mod schema;
pub mod time;
pub mod value;
pub mod wire;

pub use client::{BlockingRegistry, RegistryClient, RegistryError};
pub use error::AvroError;
pub use schema::{Field, Kind, Name, Schema, Semantic, Type};
pub use value::{Record, Shape, Value};

//! Binary encoding. Input is untrusted: decoding never panics, and never allocates more than the input can hold.
#![deny(clippy::indexing_slicing)]

mod decode;
mod default;
mod encode;
pub mod raw;

use crate::{AvroError, Schema, Value};

/// Deepest nesting of values that is read or written.
pub const MAX_DEPTH: usize = 64;

/// Appends `value` in the binary form of `schema`.
///
/// # Errors
/// [`AvroError::Encode`] naming the field that does not fit.
pub fn encode(schema: &Schema, value: &Value, out: &mut Vec<u8>) -> Result<(), AvroError> {
    encode::Encoder::new(schema, out).value(schema.root(), value, 0)
}

/// Reads the one datum that `bytes` holds.
///
/// # Errors
/// [`AvroError::Decode`] with the offset where bytes and schema part, also when bytes are left over.
pub fn decode(schema: &Schema, bytes: &[u8]) -> Result<Value, AvroError> {
    let mut decoder = decode::Decoder::new(schema, bytes);
    let value = decoder.value(schema.root(), 0)?;
    decoder.finish()?;
    Ok(value)
}

pub use default::default_value;

#[cfg(test)]
mod tests;

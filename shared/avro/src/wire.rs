//! The frame of Confluent's serializers: one zero byte, the schema id in four bytes big-endian, the datum.

use crate::AvroError;

/// Bytes before the datum.
pub const FRAME: usize = 5;

/// Appends the frame of schema `id`.
pub fn frame(id: i32, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&id.to_be_bytes());
}

/// Splits a message into schema id and datum.
///
/// # Errors
/// [`AvroError::Frame`] when the message is shorter than the frame or starts with another byte.
pub fn split(bytes: &[u8]) -> Result<(i32, &[u8]), AvroError> {
    match bytes {
        [0, a, b, c, d, datum @ ..] => Ok((i32::from_be_bytes([*a, *b, *c, *d]), datum)),
        [0, ..] | [] => Err(AvroError::Frame(format!(
            "the message has {} bytes, fewer than the 5 of the schema registry's frame",
            bytes.len()
        ))),
        [first, ..] => Err(AvroError::Frame(format!(
            "the message starts with byte {first:#04x}, not with the 0x00 of the schema registry's frame"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_splits_into_what_it_was_made_of() {
        let mut bytes = Vec::new();
        frame(100_500, &mut bytes);
        bytes.push(9);
        assert_eq!(split(&bytes).unwrap(), (100_500, &[9u8][..]));
        assert!(split(&[0, 0, 0]).is_err());
        assert!(split(&[]).is_err());
        assert!(split(b"{\"a\":1}").is_err());
    }
}

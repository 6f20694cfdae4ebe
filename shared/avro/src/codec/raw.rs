//! The pieces of the binary form, for encoders that do not go through [`crate::Value`].

/// Appends a variable-length zig-zag integer (Avro `int` and `long`).
#[inline]
pub fn long(value: i64, out: &mut Vec<u8>) {
    #[allow(clippy::cast_sign_loss)]
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        #[allow(clippy::cast_possible_truncation)]
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    #[allow(clippy::cast_possible_truncation)]
    out.push(rest as u8);
}

/// Appends a length and the bytes (Avro `bytes` and `string`).
#[inline]
pub fn bytes(value: &[u8], out: &mut Vec<u8>) {
    #[allow(clippy::cast_possible_wrap)]
    long(value.len() as i64, out);
    out.extend_from_slice(value);
}

/// Appends a boolean.
#[inline]
pub fn boolean(value: bool, out: &mut Vec<u8>) {
    out.push(u8::from(value));
}

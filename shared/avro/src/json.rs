//! Values as JSON, for sinks and people.
//!
//! | value | JSON |
//! |---|---|
//! | decimal | string with every digit (a JSON number would be read as a double and lose some) |
//! | date, time, timestamp | ISO 8601: `2024-02-29`, `13:05:09.5`, `2024-02-29T13:05:09.500000Z` |
//! | bytes, fixed | base64 with padding |
//! | NaN and infinities | the strings `NaN`, `Infinity`, `-Infinity` |

use serde_json::{Map, Number, Value as Json};

use crate::{Record, Value, time};

impl Value {
    /// This value as JSON; see the [module](self).
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Boolean(b) => Json::Bool(*b),
            Self::Int(n) => Json::from(*n),
            Self::Long(n) => Json::from(*n),
            // through its shortest text, so that 0.1 stays 0.1
            Self::Float(n) if n.is_finite() => float(n.to_string().parse().unwrap_or_else(|_| f64::from(*n))),
            Self::Float(n) => float(f64::from(*n)),
            Self::Double(n) => float(*n),
            Self::Bytes(bytes) | Self::Fixed(bytes) => Json::String(base64(bytes)),
            Self::String(text) | Self::Enum(text) => Json::String(text.to_string()),
            Self::Array(values) => Json::Array(values.iter().map(Self::to_json).collect()),
            Self::Map(entries) => {
                Json::Object(entries.iter().map(|(key, value)| (key.to_string(), value.to_json())).collect())
            }
            Self::Record(record) => Json::Object(record.to_json()),
            Self::Decimal { .. } => self.decimal_text().map_or(Json::Null, Json::String),
            Self::Date(days) => Json::String(time::date_text(i64::from(*days))),
            Self::Time(micros) => Json::String(time::time_text(*micros)),
            Self::Timestamp(micros) => Json::String(time::timestamp_text(*micros, 6)),
        }
    }
}

impl Record {
    /// Field names and values in order.
    pub fn to_json(&self) -> Map<String, Json> {
        self.iter().map(|(name, value)| (name.to_string(), value.to_json())).collect()
    }
}

fn float(n: f64) -> Json {
    match Number::from_f64(n) {
        Some(number) => Json::Number(number),
        None if n.is_nan() => Json::from("NaN"),
        None if n > 0.0 => Json::from("Infinity"),
        None => Json::from("-Infinity"),
    }
}

/// Standard alphabet, padded.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |word, (i, byte)| word | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            let digit = ALPHABET.get((word >> (18 - 6 * i) & 63) as usize).copied().unwrap_or(b'=');
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_standard_examples() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        assert_eq!(Value::Float(0.1).to_json().to_string(), "0.1");
        assert_eq!(Value::Double(f64::NAN).to_json(), "NaN");
        assert_eq!(Value::Decimal { unscaled: 1250.into(), scale: 2 }.to_json(), "12.50");
        assert_eq!(Value::Timestamp(1_000).to_json(), "1970-01-01T00:00:00.001000Z");
        let record = Record::from_pairs("r", [("b", 1i64.into()), ("a", Value::Null)]);
        assert_eq!(Value::Record(record).to_json().to_string(), r#"{"b":1,"a":null}"#);
    }
}

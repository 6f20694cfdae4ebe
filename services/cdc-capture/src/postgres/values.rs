//! Values of a [`Kind`]: text form to Avro bytes, zeros and placeholders.
#![deny(clippy::indexing_slicing)]

use ratestream_avro::codec::raw;
use ratestream_avro::time;

use super::text;
use super::types::{Kind, NotRepresentable};

impl Kind {
    /// Appends the Avro form of a value's text form.
    ///
    /// # Errors
    /// [`NotRepresentable`]; `out` may then hold a part.
    pub fn encode(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), NotRepresentable> {
        self.try_encode(value, out).ok_or(NotRepresentable)
    }

    fn try_encode(&self, value: &[u8], out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Bool => raw::boolean(value.first()? == &b't', out),
            Self::Bit => raw::boolean(value.first()? == &b'1', out),
            Self::Int16 | Self::Int32 | Self::Int64 => raw::long(text::integer(value)?, out),
            Self::Float => out.extend_from_slice(&text::utf8(value)?.parse::<f32>().ok()?.to_le_bytes()),
            Self::Double | Self::DecimalDouble => {
                out.extend_from_slice(&text::utf8(value)?.parse::<f64>().ok()?.to_le_bytes());
            }
            Self::Text(_) | Self::Enum(_) | Self::DecimalText => raw::bytes(value, out),
            Self::Decimal { scale, money, .. } => {
                if *money {
                    decimal(&text::money(value), *scale, out)?
                } else {
                    decimal(value, *scale, out)?
                }
            }
            Self::VariableDecimal => {
                let (digits, scale) = text::decimal(value)?;
                raw::long(i64::from(scale), out);
                digits.write(out);
            }
            Self::Date | Self::ConnectDate => raw::long(i64::from(text::date(value)?), out),
            Self::Time { micros: true } => raw::long(text::time_of_day(value)?, out),
            Self::Time { micros: false } | Self::ConnectTime => raw::long(text::time_of_day(value)? / 1000, out),
            Self::Timestamp { micros: true } => raw::long(text::timestamp(value)?, out),
            Self::Timestamp { micros: false } | Self::ConnectTimestamp => {
                raw::long(text::timestamp(value)?.div_euclid(1000), out);
            }
            Self::ZonedTimestamp(digits) => match value {
                b"infinity" | b"-infinity" => raw::bytes(value, out),
                _ => raw::bytes(time::timestamp_text(text::timestamp(value)?, *digits).as_bytes(), out),
            },
            Self::ZonedTime => {
                raw::bytes(format!("{}Z", time::time_text(text::time_with_zone(value)?)).as_bytes(), out);
            }
            Self::Interval => raw::long(text::interval(value)?, out),
            Self::Bytes => {
                raw::long(i64::try_from(value.len().checked_sub(2)? / 2).ok()?, out);
                text::bytea(value, out)?;
            }
            Self::Bits(_) => {
                raw::long(i64::try_from(value.len().div_ceil(8)).ok()?, out);
                text::bits(value, out)?;
            }
            Self::Point => point(value, out)?,
            Self::Array(item) => array(item, value, out)?,
        }
        Some(())
    }

    /// Appends the zero of this kind: what fills a NOT NULL column whose value is not known.
    pub fn zero(&self, out: &mut Vec<u8>) {
        match self {
            Self::Float => out.extend_from_slice(&0f32.to_le_bytes()),
            Self::Double | Self::DecimalDouble => out.extend_from_slice(&0f64.to_le_bytes()),
            Self::Decimal { .. } => raw::bytes(&[0], out),
            Self::VariableDecimal => {
                raw::long(0, out);
                raw::bytes(&[0], out);
            }
            Self::DecimalText => raw::bytes(b"0", out),
            Self::ZonedTimestamp(digits) => raw::bytes(time::timestamp_text(0, *digits).as_bytes(), out),
            Self::ZonedTime => raw::bytes(b"00:00:00Z", out),
            Self::Point => {
                let _ = point(b"(0,0)", out);
            }
            // false, 0, "", no bytes, no items: one zero byte each
            _ => out.push(0),
        }
    }

    /// Appends what stands for a value that PostgreSQL did not send; false when this kind has no placeholder.
    pub fn unavailable(&self, placeholder: &str, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Text(_) | Self::Bytes | Self::DecimalText => raw::bytes(placeholder.as_bytes(), out),
            Self::Array(item) => {
                let items: Vec<i64> = match **item {
                    Self::Text(_) => {
                        raw::long(1, out);
                        raw::long(1, out);
                        raw::bytes(placeholder.as_bytes(), out);
                        out.push(0);
                        return true;
                    }
                    Self::Int16 | Self::Int32 | Self::Int64 => placeholder.bytes().map(i64::from).collect(),
                    _ => return false,
                };
                raw::long(i64::try_from(items.len()).unwrap_or(0), out);
                for item in items {
                    raw::long(1, out);
                    raw::long(item, out);
                }
                out.push(0);
            }
            _ => return false,
        }
        true
    }
}

fn decimal(value: &[u8], scale: i32, out: &mut Vec<u8>) -> Option<()> {
    let (mut digits, found) = text::decimal(value)?;
    // a negative scale rounds to tens and more: PostgreSQL prints the zeros, which the unscaled value does not have
    digits.shift(u32::try_from(scale.max(0) - found).ok()?);
    if scale < 0 {
        let zeros = usize::try_from(-scale).ok()?;
        let short = value.strip_suffix("0".repeat(zeros).as_bytes()).filter(|s| !s.is_empty() && *s != b"-");
        let (digits, _) = text::decimal(short.unwrap_or(b"0"))?;
        digits.write(out);
        return Some(());
    }
    digits.write(out);
    Some(())
}

fn point(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let inner = text::utf8(value)?.strip_prefix('(')?.strip_suffix(')')?;
    let (x, y) = inner.split_once(',')?;
    let (x, y): (f64, f64) = (x.parse().ok()?, y.parse().ok()?);
    out.extend_from_slice(&x.to_le_bytes());
    out.extend_from_slice(&y.to_le_bytes());
    raw::long(1, out);
    // well-known binary: little-endian mark, type 1, coordinates
    raw::long(21, out);
    out.push(1);
    out.extend_from_slice(&1u32.to_le_bytes());
    out.extend_from_slice(&x.to_le_bytes());
    out.extend_from_slice(&y.to_le_bytes());
    raw::long(0, out);
    Some(())
}

fn array(item: &Kind, value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut count = 0i64;
    let mut items = Vec::new();
    text::array(value, b',', |cell| {
        count += 1;
        match cell {
            None => raw::long(0, &mut items),
            Some(cell) => {
                raw::long(1, &mut items);
                item.encode(cell, &mut items).ok()?;
            }
        }
        Some(())
    })?;
    if count > 0 {
        raw::long(count, out);
        out.extend_from_slice(&items);
    }
    out.push(0);
    Some(())
}

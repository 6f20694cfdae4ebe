//! From a decoded value to the type of its column. A value that does not fit is refused with a sentence, never bent. Pure.

use num_bigint::BigInt;
use ratestream_avro::{Value, time};
use scylla::cluster::metadata::{CollectionType, ColumnType, NativeType};
use scylla::value::{CqlDate, CqlDecimal, CqlTime, CqlTimestamp, CqlValue, CqlVarint};
use std::net::IpAddr;

/// CQL's day 0 is in the middle of its range.
const EPOCH_DAY: i64 = 1 << 31;

/// Converts; `Ok(None)` is null.
pub(crate) fn convert(value: &Value, column: &ColumnType<'_>) -> Result<Option<CqlValue>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let converted = match column {
        ColumnType::Native(native) => native_value(value, native),
        ColumnType::Collection { typ, .. } => collection(value, typ)?,
        _ => None,
    };
    converted.map(Some).ok_or_else(|| format!("a {} does not fit a column of type {column:?}", value.kind()))
}

fn native_value(value: &Value, column: &NativeType) -> Option<CqlValue> {
    let integer = || value.as_i64().or_else(|| value.as_str()?.parse().ok());
    Some(match column {
        NativeType::Boolean => CqlValue::Boolean(value.as_bool()?),
        NativeType::TinyInt => CqlValue::TinyInt(integer()?.try_into().ok()?),
        NativeType::SmallInt => CqlValue::SmallInt(integer()?.try_into().ok()?),
        NativeType::Int => CqlValue::Int(integer()?.try_into().ok()?),
        NativeType::BigInt => CqlValue::BigInt(integer()?),
        NativeType::Varint => {
            CqlValue::Varint(CqlVarint::from_signed_bytes_be(BigInt::from(integer()?).to_signed_bytes_be()))
        }
        NativeType::Float => CqlValue::Float(value.as_f64()? as f32),
        NativeType::Double => CqlValue::Double(value.as_f64()?),
        NativeType::Decimal => decimal(value)?,
        NativeType::Ascii => CqlValue::Ascii(text(value).filter(|text| text.is_ascii())?),
        NativeType::Text => CqlValue::Text(text(value)?),
        NativeType::Blob => match value {
            Value::Bytes(bytes) | Value::Fixed(bytes) => CqlValue::Blob(bytes.clone()),
            _ => return None,
        },
        NativeType::Timestamp => CqlValue::Timestamp(CqlTimestamp(micros(value)?.div_euclid(1000))),
        NativeType::Date => CqlValue::Date(CqlDate(u32::try_from(day(value)? + EPOCH_DAY).ok()?)),
        NativeType::Time => match value {
            Value::Time(micros) => CqlValue::Time(CqlTime(micros * 1000)),
            _ => CqlValue::Time(CqlTime(time::parse_time(value.as_str()?)? * 1000)),
        },
        NativeType::Uuid => CqlValue::Uuid(value.as_str()?.parse().ok()?),
        NativeType::Timeuuid => CqlValue::Timeuuid(value.as_str()?.parse().ok()?),
        NativeType::Inet => CqlValue::Inet(value.as_str()?.parse::<IpAddr>().ok()?),
        _ => return None,
    })
}

fn collection(value: &Value, column: &CollectionType<'_>) -> Result<Option<CqlValue>, String> {
    let items = |items: &[Value], inner: &ColumnType<'_>| -> Result<Vec<CqlValue>, String> {
        items.iter().filter_map(|item| convert(item, inner).transpose()).collect()
    };
    Ok(match (column, value) {
        (CollectionType::List(inner), Value::Array(list)) => Some(CqlValue::List(items(list, inner)?)),
        (CollectionType::Set(inner), Value::Array(list)) => Some(CqlValue::Set(items(list, inner)?)),
        (CollectionType::Map(key, inner), Value::Map(pairs)) => {
            let mut map = Vec::with_capacity(pairs.len());
            for (name, value) in pairs {
                if let (Some(key), Some(value)) = (convert(&Value::String(name.clone()), key)?, convert(value, inner)?)
                {
                    map.push((key, value));
                }
            }
            Some(CqlValue::Map(map))
        }
        _ => None,
    })
}

fn text(value: &Value) -> Option<String> {
    match value.to_json() {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Null => None,
        other => Some(other.to_string()),
    }
}

fn decimal(value: &Value) -> Option<CqlValue> {
    let (unscaled, scale) = match value {
        Value::Decimal { unscaled, scale } => (unscaled.clone(), *scale),
        _ => (BigInt::from(value.as_i64()?), 0),
    };
    Some(CqlValue::Decimal(CqlDecimal::from_signed_be_bytes_and_exponent(unscaled.to_signed_bytes_be(), scale)))
}

/// Microseconds since the epoch; a plain number is milliseconds, as CQL reads one.
fn micros(value: &Value) -> Option<i64> {
    match value {
        Value::Timestamp(micros) => Some(*micros),
        Value::Date(day) => Some(i64::from(*day) * 86_400_000_000),
        Value::Int(_) | Value::Long(_) => value.as_i64()?.checked_mul(1000),
        _ => time::parse_timestamp(value.as_str()?),
    }
}

fn day(value: &Value) -> Option<i64> {
    match value {
        Value::Date(day) => Some(i64::from(*day)),
        Value::Timestamp(micros) => Some(micros.div_euclid(86_400_000_000)),
        _ => time::parse_date(value.as_str()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(value: Value, column: NativeType) -> Result<Option<CqlValue>, String> {
        convert(&value, &ColumnType::Native(column))
    }

    #[test]
    fn values_become_the_types_of_their_columns() {
        assert_eq!(native(Value::Long(5), NativeType::BigInt), Ok(Some(CqlValue::BigInt(5))));
        assert_eq!(native(Value::Int(5), NativeType::SmallInt), Ok(Some(CqlValue::SmallInt(5))));
        assert_eq!(
            native("2026-11-23T00:00:00Z".into(), NativeType::Timestamp),
            Ok(Some(CqlValue::Timestamp(CqlTimestamp(1_795_392_000_000))))
        );
        assert_eq!(native(Value::Date(0), NativeType::Date), Ok(Some(CqlValue::Date(CqlDate(1 << 31)))));
        assert_eq!(native(Value::Null, NativeType::Text), Ok(None));
        let list = ColumnType::Collection {
            frozen: false,
            typ: CollectionType::List(Box::new(ColumnType::Native(NativeType::Text))),
        };
        assert_eq!(
            convert(&Value::Array(vec!["a".into()]), &list),
            Ok(Some(CqlValue::List(vec![CqlValue::Text("a".into())])))
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(native(Value::Long(1 << 40), NativeType::Int).unwrap_err().contains("does not fit"));
        assert!(native("soon".into(), NativeType::Timestamp).is_err());
        assert!(native(Value::Bytes(vec![1]), NativeType::Boolean).is_err());
    }
}

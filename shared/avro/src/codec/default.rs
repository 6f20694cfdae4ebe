//! A field's default, from the JSON of the schema to a value.

use std::sync::Arc;

use num_bigint::BigInt;
use serde_json::Value as Json;

use crate::schema::{Kind, Semantic};
use crate::{AvroError, Record, Schema, Type, Value};

/// The value that a default stands for. A union's default belongs to its first branch (newer rules allow any: the first
/// that fits is taken). Bytes are written with one character per byte.
///
/// # Errors
/// [`AvroError::Encode`] when the JSON is no value of the type.
pub fn default_value(schema: &Schema, ty: &Type, json: &Json) -> Result<Value, AvroError> {
    let wrong = || AvroError::Encode(format!("the default {json} is no {}", ty.describe()));
    match (schema.resolve(ty), json) {
        (Type::Union(union), json) => {
            union.branches.iter().find_map(|branch| default_value(schema, branch, json).ok()).ok_or_else(wrong)
        }
        (Type::Primitive(p), json) => primitive(p.kind(), p.semantic(), json).ok_or_else(wrong),
        (Type::Enum(_), Json::String(text)) => Ok(Value::Enum(text.as_str().into())),
        (Type::Fixed(t), Json::String(text)) => match (t.semantic(), latin(text).ok_or_else(wrong)?) {
            (Semantic::Decimal { scale }, bytes) => Ok(decimal(&bytes, scale)),
            (_, bytes) => Ok(Value::Fixed(bytes)),
        },
        (Type::Array(items), Json::Array(list)) => {
            list.iter().map(|item| default_value(schema, &items.ty, item)).collect::<Result<_, _>>().map(Value::Array)
        }
        (Type::Map(items), Json::Object(map)) => map
            .iter()
            .map(|(key, item)| Ok((Arc::from(key.as_str()), default_value(schema, &items.ty, item)?)))
            .collect::<Result<_, AvroError>>()
            .map(Value::Map),
        (Type::Record(record), Json::Object(map)) => {
            let mut values = Vec::with_capacity(record.fields.len());
            for field in &record.fields {
                let json = map.get(&*field.name).or(field.default.as_ref()).ok_or_else(wrong)?;
                values.push(default_value(schema, &field.ty, json)?);
            }
            Ok(Value::Record(Record::new(Arc::clone(record.shape()), values)))
        }
        _ => Err(wrong()),
    }
}

fn primitive(kind: Kind, semantic: Semantic, json: &Json) -> Option<Value> {
    Some(match (kind, json) {
        (Kind::Null, Json::Null) => Value::Null,
        (Kind::Boolean, Json::Bool(b)) => Value::Boolean(*b),
        (Kind::Int, Json::Number(n)) => {
            let n = i32::try_from(n.as_i64()?).ok()?;
            match semantic {
                Semantic::Date => Value::Date(n),
                Semantic::TimeMillis => Value::Time(i64::from(n) * 1000),
                _ => Value::Int(n),
            }
        }
        (Kind::Long, Json::Number(n)) => {
            let n = n.as_i64()?;
            match semantic {
                Semantic::TimestampMillis => Value::Timestamp(n.saturating_mul(1000)),
                Semantic::TimestampMicros => Value::Timestamp(n),
                Semantic::TimestampNanos => Value::Timestamp(n.div_euclid(1000)),
                Semantic::TimeMicros => Value::Time(n),
                Semantic::TimeNanos => Value::Time(n.div_euclid(1000)),
                _ => Value::Long(n),
            }
        }
        #[allow(clippy::cast_possible_truncation)]
        (Kind::Float, Json::Number(n)) => Value::Float(n.as_f64()? as f32),
        (Kind::Double, Json::Number(n)) => Value::Double(n.as_f64()?),
        (Kind::Bytes, Json::String(text)) => match (semantic, latin(text)?) {
            (Semantic::Decimal { scale }, bytes) => decimal(&bytes, scale),
            (_, bytes) => Value::Bytes(bytes),
        },
        (Kind::String, Json::String(text)) => Value::String(text.as_str().into()),
        _ => return None,
    })
}

fn decimal(bytes: &[u8], scale: i32) -> Value {
    Value::Decimal { unscaled: BigInt::from_signed_bytes_be(bytes), scale }
}

fn latin(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

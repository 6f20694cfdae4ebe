//! Values to bytes.

use num_bigint::BigInt;

use super::{MAX_DEPTH, default_value, raw};
use crate::schema::{Kind, Primitive, RecordType, Semantic, Union};
use crate::{AvroError, Record, Schema, Type, Value, time};

/// A decimal is never scaled up by more digits than this.
const MAX_RESCALE: u32 = 2000;

pub(super) struct Encoder<'a> {
    schema: &'a Schema,
    out: &'a mut Vec<u8>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(schema: &'a Schema, out: &'a mut Vec<u8>) -> Self {
        Self { schema, out }
    }

    pub(super) fn value(&mut self, ty: &Type, value: &Value, depth: usize) -> Result<(), AvroError> {
        if depth > MAX_DEPTH {
            return Err(AvroError::Encode(format!("values nest deeper than {MAX_DEPTH}")));
        }
        let schema = self.schema;
        match (schema.resolve(ty), value) {
            (Type::Union(union), value) => self.union(union, value, depth),
            (Type::Primitive(p), value) => self.primitive(p, value),
            (Type::Record(record), Value::Record(value)) => self.record(record, value, depth),
            (Type::Record(record), Value::Decimal { unscaled, scale })
                if record.semantic() == Semantic::VariableScaleDecimal =>
            {
                raw::long(i64::from(*scale), self.out);
                raw::bytes(&unscaled.to_signed_bytes_be(), self.out);
                Ok(())
            }
            (Type::Enum(t), Value::Enum(text) | Value::String(text)) => {
                match t.symbols.iter().position(|symbol| symbol == text) {
                    Some(index) => self.count(index),
                    None => return Err(AvroError::Encode(format!("enum {} has no symbol {text}", t.name))),
                }
                Ok(())
            }
            (Type::Fixed(t), Value::Fixed(bytes) | Value::Bytes(bytes)) if bytes.len() == t.size => {
                self.out.extend_from_slice(bytes);
                Ok(())
            }
            (Type::Fixed(t), Value::Decimal { unscaled, scale }) => match t.semantic() {
                Semantic::Decimal { scale: wanted } => self.fixed_decimal(t.size, &rescale(unscaled, *scale, wanted)?),
                _ => mismatch(ty, value),
            },
            (Type::Array(items), Value::Array(values)) => {
                if !values.is_empty() {
                    self.count(values.len());
                    for value in values {
                        self.value(&items.ty, value, depth + 1)?;
                    }
                }
                self.out.push(0);
                Ok(())
            }
            (Type::Map(items), Value::Map(entries)) => {
                if !entries.is_empty() {
                    self.count(entries.len());
                    for (key, value) in entries {
                        raw::bytes(key.as_bytes(), self.out);
                        self.value(&items.ty, value, depth + 1)?;
                    }
                }
                self.out.push(0);
                Ok(())
            }
            (ty, value) => mismatch(ty, value),
        }
    }

    fn count(&mut self, n: usize) {
        raw::long(i64::try_from(n).unwrap_or(i64::MAX), self.out);
    }

    fn record(&mut self, record: &RecordType, value: &Record, depth: usize) -> Result<(), AvroError> {
        // names in the same order: by position, without a search
        let aligned = value.shape().fields() == record.shape().fields();
        for (i, field) in record.fields.iter().enumerate() {
            let found = if aligned { value.values().get(i) } else { value.get(&field.name) };
            let written = match (found, &field.default) {
                (Some(found), _) => self.value(&field.ty, found, depth + 1),
                (None, Some(json)) => {
                    let default = default_value(self.schema, &field.ty, json)?;
                    self.value(&field.ty, &default, depth + 1)
                }
                (None, None) if field.ty.is_nullable() => self.value(&field.ty, &Value::Null, depth + 1),
                (None, None) => Err(AvroError::Encode("the value is missing and has no default".to_owned())),
            };
            written.map_err(|e| match e {
                AvroError::Encode(cause) => AvroError::Encode(format!("{}: {cause}", field.name)),
                other => other,
            })?;
        }
        Ok(())
    }

    fn union(&mut self, union: &Union, value: &Value, depth: usize) -> Result<(), AvroError> {
        let exact = union.branches.iter().position(|b| fits(self.schema.resolve(b), value, true));
        let loose = || union.branches.iter().position(|b| fits(self.schema.resolve(b), value, false));
        let Some(index) = exact.or_else(loose) else {
            let branches: Vec<_> = union.branches.iter().map(Type::describe).collect();
            return Err(AvroError::Encode(format!("{} fits no branch of [{}]", value.kind(), branches.join(", "))));
        };
        self.count(index);
        match union.branches.get(index) {
            Some(branch) => self.value(branch, value, depth + 1),
            None => Ok(()),
        }
    }

    fn primitive(&mut self, p: &Primitive, value: &Value) -> Result<(), AvroError> {
        match (p.kind(), value) {
            (Kind::Null, Value::Null) => {}
            (Kind::Boolean, Value::Boolean(b)) => raw::boolean(*b, self.out),
            (Kind::Int, Value::Int(n) | Value::Date(n)) => raw::long(i64::from(*n), self.out),
            (Kind::Int, Value::Time(micros)) if p.semantic() == Semantic::TimeMillis => {
                raw::long(micros.div_euclid(1000), self.out);
            }
            (Kind::Long, Value::Int(n)) => raw::long(i64::from(*n), self.out),
            (Kind::Long, Value::Long(n)) => raw::long(*n, self.out),
            (Kind::Long, Value::Time(micros) | Value::Timestamp(micros)) => {
                raw::long(in_unit(p.semantic(), *micros), self.out);
            }
            (Kind::Float, Value::Float(n)) => self.out.extend_from_slice(&n.to_le_bytes()),
            (Kind::Double, Value::Double(n)) => self.out.extend_from_slice(&n.to_le_bytes()),
            (Kind::Double, Value::Float(_) | Value::Int(_) | Value::Long(_)) => {
                let n = value.as_f64().unwrap_or_default();
                self.out.extend_from_slice(&n.to_le_bytes());
            }
            (Kind::Bytes, Value::Bytes(bytes) | Value::Fixed(bytes)) => raw::bytes(bytes, self.out),
            (Kind::Bytes, Value::Decimal { unscaled, scale }) => match p.semantic() {
                Semantic::Decimal { scale: wanted } => {
                    raw::bytes(&rescale(unscaled, *scale, wanted)?.to_signed_bytes_be(), self.out);
                }
                _ => return mismatch(&Type::Primitive(p.clone()), value),
            },
            (Kind::String, Value::String(text) | Value::Enum(text)) => raw::bytes(text.as_bytes(), self.out),
            (Kind::String, Value::Timestamp(micros)) => {
                raw::bytes(time::timestamp_text(*micros, 6).as_bytes(), self.out);
            }
            (Kind::String, Value::Time(micros)) => {
                raw::bytes(format!("{}Z", time::time_text(*micros)).as_bytes(), self.out);
            }
            _ => return mismatch(&Type::Primitive(p.clone()), value),
        }
        Ok(())
    }

    /// Two's complement, sign-extended to the fixed's size.
    fn fixed_decimal(&mut self, size: usize, unscaled: &BigInt) -> Result<(), AvroError> {
        let bytes = unscaled.to_signed_bytes_be();
        let Some(pad) = size.checked_sub(bytes.len()) else {
            return Err(AvroError::Encode(format!("{unscaled} does not fit {size} bytes")));
        };
        let fill = if unscaled.sign() == num_bigint::Sign::Minus { 0xff } else { 0 };
        self.out.extend(std::iter::repeat_n(fill, pad));
        self.out.extend_from_slice(&bytes);
        Ok(())
    }
}

fn in_unit(semantic: Semantic, micros: i64) -> i64 {
    match semantic {
        Semantic::TimestampMillis | Semantic::TimeMillis => micros.div_euclid(1000),
        Semantic::TimestampNanos | Semantic::TimeNanos => micros.saturating_mul(1000),
        _ => micros,
    }
}

fn rescale(unscaled: &BigInt, from: i32, to: i32) -> Result<BigInt, AvroError> {
    let steps = i64::from(to) - i64::from(from);
    let power = u32::try_from(steps.unsigned_abs()).ok().filter(|n| *n <= MAX_RESCALE);
    let Some(power) = power else {
        return Err(AvroError::Encode(format!("a decimal of scale {from} cannot be written with scale {to}")));
    };
    let factor = BigInt::from(10).pow(power);
    if steps >= 0 {
        return Ok(unscaled * factor);
    }
    let whole = unscaled / &factor;
    if &whole * &factor != *unscaled {
        return Err(AvroError::Encode(format!("a decimal of scale {from} would lose digits at scale {to}")));
    }
    Ok(whole)
}

/// Whether a branch can take a value; `exact` asks for the very type, otherwise widening counts too.
fn fits(branch: &Type, value: &Value, exact: bool) -> bool {
    match (branch, value) {
        (Type::Primitive(p), value) => primitive_fits(p, value, exact),
        (Type::Record(t), Value::Record(record)) => !exact || t.name.full() == record.shape().name(),
        (Type::Record(t), Value::Decimal { .. }) => t.semantic() == Semantic::VariableScaleDecimal,
        (Type::Enum(t), Value::Enum(text) | Value::String(text)) => {
            t.symbols.contains(text) && (!exact || matches!(value, Value::Enum(_)))
        }
        (Type::Fixed(t), Value::Fixed(bytes)) => bytes.len() == t.size,
        (Type::Fixed(t), Value::Bytes(bytes)) => !exact && bytes.len() == t.size,
        (Type::Fixed(t), Value::Decimal { .. }) => matches!(t.semantic(), Semantic::Decimal { .. }),
        (Type::Array(_), Value::Array(_)) | (Type::Map(_), Value::Map(_)) => true,
        _ => false,
    }
}

fn primitive_fits(p: &Primitive, value: &Value, exact: bool) -> bool {
    use Semantic as S;
    match (p.kind(), value) {
        (Kind::Null, Value::Null)
        | (Kind::Boolean, Value::Boolean(_))
        | (Kind::Int, Value::Int(_))
        | (Kind::Long, Value::Long(_))
        | (Kind::Float, Value::Float(_))
        | (Kind::Double, Value::Double(_))
        | (Kind::Bytes, Value::Bytes(_))
        | (Kind::String, Value::String(_)) => true,
        (Kind::Int, Value::Date(_)) => !exact || p.semantic() == S::Date,
        (Kind::Int, Value::Time(_)) => p.semantic() == S::TimeMillis,
        (Kind::Long, Value::Time(_)) => !exact || matches!(p.semantic(), S::TimeMicros | S::TimeNanos),
        (Kind::Long, Value::Timestamp(_)) => {
            !exact || matches!(p.semantic(), S::TimestampMillis | S::TimestampMicros | S::TimestampNanos)
        }
        (Kind::Bytes, Value::Decimal { .. }) => matches!(p.semantic(), S::Decimal { .. }),
        (Kind::String, Value::Timestamp(_)) => !exact || p.semantic() == S::ZonedTimestamp,
        (Kind::String, Value::Time(_)) => !exact || p.semantic() == S::ZonedTime,
        (Kind::Long, Value::Int(_))
        | (Kind::Double, Value::Float(_) | Value::Int(_) | Value::Long(_))
        | (Kind::String, Value::Enum(_))
        | (Kind::Bytes, Value::Fixed(_)) => !exact,
        _ => false,
    }
}

fn mismatch<T>(ty: &Type, value: &Value) -> Result<T, AvroError> {
    Err(AvroError::Encode(format!("a {} cannot be written as {}", value.kind(), ty.describe())))
}

//! Bytes to values.

use std::sync::Arc;

use num_bigint::BigInt;

use super::MAX_DEPTH;
use crate::schema::{Items, Kind, RecordType, Semantic};
use crate::{AvroError, Record, Schema, Type, Value, time};

pub(super) struct Decoder<'a> {
    schema: &'a Schema,
    rest: &'a [u8],
    length: usize,
    /// Values that may still be made: bounds arrays of things that take no bytes.
    budget: usize,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(schema: &'a Schema, bytes: &'a [u8]) -> Self {
        Self { schema, rest: bytes, length: bytes.len(), budget: bytes.len().saturating_mul(4).saturating_add(65_536) }
    }

    pub(super) fn finish(&self) -> Result<(), AvroError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        self.fail(format!("{} bytes are left after the datum", self.rest.len()))
    }

    fn fail<T>(&self, cause: impl Into<String>) -> Result<T, AvroError> {
        Err(AvroError::Decode { offset: self.length - self.rest.len(), cause: cause.into() })
    }

    pub(super) fn value(&mut self, ty: &Type, depth: usize) -> Result<Value, AvroError> {
        if depth > MAX_DEPTH {
            return self.fail(format!("values nest deeper than {MAX_DEPTH}"));
        }
        match self.budget.checked_sub(1) {
            Some(left) => self.budget = left,
            None => return self.fail("the datum claims more values than its bytes can hold"),
        }
        let schema = self.schema;
        match schema.resolve(ty) {
            Type::Primitive(p) => self.primitive(p.kind(), p.semantic()),
            Type::Record(record) => self.record(record, depth),
            Type::Enum(t) => {
                let index = self.long()?;
                match usize::try_from(index).ok().and_then(|i| t.symbols.get(i)) {
                    Some(symbol) => Ok(Value::Enum(Arc::clone(symbol))),
                    None => self.fail(format!("enum {} has no symbol {index}", t.name)),
                }
            }
            Type::Fixed(t) => {
                let bytes = self.take(t.size)?;
                Ok(match t.semantic() {
                    Semantic::Decimal { scale } => decimal(bytes, scale),
                    _ => Value::Fixed(bytes.to_vec()),
                })
            }
            Type::Array(items) => self.array(items, depth),
            Type::Map(items) => self.map(items, depth),
            Type::Union(union) => {
                let index = self.long()?;
                match usize::try_from(index).ok().and_then(|i| union.branches.get(i)) {
                    Some(branch) => self.value(branch, depth + 1),
                    None => self.fail(format!("the union has no branch {index}")),
                }
            }
            Type::Ref(name) => self.fail(format!("{name} is not defined")),
        }
    }

    fn primitive(&mut self, kind: Kind, semantic: Semantic) -> Result<Value, AvroError> {
        Ok(match kind {
            Kind::Null => Value::Null,
            Kind::Boolean => match self.take(1)? {
                [0] => Value::Boolean(false),
                [1] => Value::Boolean(true),
                _ => return self.fail("a boolean is 0 or 1"),
            },
            Kind::Int => {
                let wide = self.long()?;
                let Ok(value) = i32::try_from(wide) else { return self.fail(format!("{wide} is not an int")) };
                match semantic {
                    Semantic::Date => Value::Date(value),
                    Semantic::TimeMillis => Value::Time(i64::from(value) * 1000),
                    _ => Value::Int(value),
                }
            }
            Kind::Long => {
                let value = self.long()?;
                match semantic {
                    Semantic::TimeMicros => Value::Time(value),
                    Semantic::TimeNanos => Value::Time(value.div_euclid(1000)),
                    // a millisecond count that no microsecond count can hold (infinity) stays at the end of time
                    Semantic::TimestampMillis => Value::Timestamp(value.saturating_mul(1000)),
                    Semantic::TimestampMicros => Value::Timestamp(value),
                    Semantic::TimestampNanos => Value::Timestamp(value.div_euclid(1000)),
                    _ => Value::Long(value),
                }
            }
            Kind::Float => Value::Float(f32::from_le_bytes(self.array_of()?)),
            Kind::Double => Value::Double(f64::from_le_bytes(self.array_of()?)),
            Kind::Bytes => {
                let bytes = self.sized()?;
                match semantic {
                    Semantic::Decimal { scale } => decimal(bytes, scale),
                    _ => Value::Bytes(bytes.to_vec()),
                }
            }
            Kind::String => {
                let text = self.text()?;
                let micros = match semantic {
                    Semantic::ZonedTimestamp => time::parse_timestamp(text).map(Value::Timestamp),
                    Semantic::ZonedTime => time::parse_zoned_time(text)
                        .filter(|(_, offset)| *offset == 0)
                        .map(|(micros, _)| Value::Time(micros)),
                    _ => None,
                };
                micros.unwrap_or_else(|| Value::String(text.into()))
            }
        })
    }

    fn record(&mut self, record: &RecordType, depth: usize) -> Result<Value, AvroError> {
        let mut values = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            values.push(self.value(&field.ty, depth + 1)?);
        }
        if record.semantic() == Semantic::VariableScaleDecimal
            && let [Value::Int(scale), Value::Bytes(bytes)] = values.as_slice()
        {
            return Ok(decimal(bytes, *scale));
        }
        Ok(Value::Record(Record::new(Arc::clone(record.shape()), values)))
    }

    fn array(&mut self, items: &Items, depth: usize) -> Result<Value, AvroError> {
        let mut values = Vec::new();
        while let Some(count) = self.block()? {
            values.reserve(count.min(self.rest.len()).min(1024));
            for _ in 0..count {
                values.push(self.value(&items.ty, depth + 1)?);
            }
        }
        Ok(Value::Array(values))
    }

    fn map(&mut self, items: &Items, depth: usize) -> Result<Value, AvroError> {
        let mut entries = Vec::new();
        while let Some(count) = self.block()? {
            entries.reserve(count.min(self.rest.len()).min(1024));
            for _ in 0..count {
                let key = Arc::from(self.text()?);
                entries.push((key, self.value(&items.ty, depth + 1)?));
            }
        }
        Ok(Value::Map(entries))
    }

    /// Items in the next block; `None` at the end. A negative count is followed by the block's byte length.
    fn block(&mut self) -> Result<Option<usize>, AvroError> {
        let count = self.long()?;
        if count < 0 {
            let length = self.long()?;
            let fits = usize::try_from(length).is_ok_and(|n| n <= self.rest.len());
            if !fits {
                return self.fail(format!("a block of {length} bytes, but {} are left", self.rest.len()));
            }
        }
        match usize::try_from(count.unsigned_abs()) {
            Ok(0) => Ok(None),
            Ok(count) if count <= self.budget => Ok(Some(count)),
            _ => self.fail(format!("a block of {count} items is more than the bytes can hold")),
        }
    }

    fn long(&mut self) -> Result<i64, AvroError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let Some((byte, rest)) = self.rest.split_first() else { return self.fail("the bytes end in a number") };
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return self.fail("a number is longer than 64 bits");
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                #[allow(clippy::cast_possible_wrap)]
                return Ok(((value >> 1) as i64) ^ -((value & 1) as i64));
            }
        }
        self.fail("a number is longer than 64 bits")
    }

    fn sized(&mut self) -> Result<&'a [u8], AvroError> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => self.fail(format!("a length of {length}")),
        }
    }

    fn text(&mut self) -> Result<&'a str, AvroError> {
        let bytes = self.sized()?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(_) => self.fail("a string that is not UTF-8"),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], AvroError> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => self.fail(format!("{length} bytes are needed, {} are left", self.rest.len())),
        }
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], AvroError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => self.fail(format!("{N} bytes are needed, {} are left", self.rest.len())),
        }
    }
}

fn decimal(bytes: &[u8], scale: i32) -> Value {
    Value::Decimal { unscaled: BigInt::from_signed_bytes_be(bytes), scale }
}

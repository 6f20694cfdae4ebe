//! What a datum is, apart from how it was written.

use std::sync::Arc;

use num_bigint::BigInt;

/// A value. Unions are transparent: a nullable field is its value or [`Value::Null`].
///
/// `logicalType` and the semantic names of Kafka Connect and Debezium arrive here as the last five variants; everything
/// that has no variant of its own (UUID and JSON texts, durations, bit strings) keeps its base form.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// Absent.
    #[default]
    Null,
    /// True or false.
    Boolean(bool),
    /// 32 bits.
    Int(i32),
    /// 64 bits.
    Long(i64),
    /// Single precision.
    Float(f32),
    /// Double precision.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Text.
    String(Arc<str>),
    /// A symbol of an Avro enum.
    Enum(Arc<str>),
    /// Bytes of a fixed length.
    Fixed(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
    /// Text keys in the order of the input.
    Map(Vec<(Arc<str>, Value)>),
    /// Named fields.
    Record(Record),
    /// `unscaled` / 10^`scale`.
    Decimal {
        /// All digits.
        unscaled: BigInt,
        /// Digits behind the point.
        scale: i32,
    },
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970-01-01T00:00:00 UTC. A timestamp without zone is held as if it were UTC.
    Timestamp(i64),
}

/// A record's name and field names, shared by all its values.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    name: Arc<str>,
    fields: Vec<Arc<str>>,
}

impl Shape {
    /// From a full name and field names in order.
    pub fn new(name: &str, fields: Vec<Arc<str>>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), fields })
    }

    /// Full name of the record.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Field names in order.
    pub fn fields(&self) -> &[Arc<str>] {
        &self.fields
    }

    /// Position of a field.
    pub fn position(&self, field: &str) -> Option<usize> {
        self.fields.iter().position(|name| name.as_ref() == field)
    }
}

/// Ordered named values.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    shape: Arc<Shape>,
    values: Vec<Value>,
}

impl Record {
    /// A record of `shape`; missing values are null, surplus ones are dropped.
    pub fn new(shape: Arc<Shape>, mut values: Vec<Value>) -> Self {
        values.resize(shape.fields.len(), Value::Null);
        Self { shape, values }
    }

    /// A record from pairs, without a schema.
    pub fn from_pairs<'a>(name: &str, pairs: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let (fields, values) = pairs.into_iter().map(|(field, value)| (Arc::from(field), value)).unzip();
        Self { shape: Shape::new(name, fields), values }
    }

    /// Name and field names.
    pub fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// A field's value; `None` when there is no such field.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.values.get(self.shape.position(field)?)
    }

    /// A field's value to change.
    pub fn get_mut(&mut self, field: &str) -> Option<&mut Value> {
        let at = self.shape.position(field)?;
        self.values.get_mut(at)
    }

    /// Takes a field out, leaving null.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.get_mut(field).map(std::mem::take)
    }

    /// Values in field order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Value)> {
        self.shape.fields.iter().zip(&self.values)
    }

    /// The values alone.
    pub fn into_values(self) -> Vec<Value> {
        self.values
    }
}

impl Value {
    /// True for [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Integers of both widths, dates, times and timestamps as their number.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(n) | Self::Date(n) => Some(i64::from(*n)),
            Self::Long(n) | Self::Time(n) | Self::Timestamp(n) => Some(*n),
            _ => None,
        }
    }

    /// Any number as a double (decimals rounded).
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(n) => Some(f64::from(*n)),
            #[allow(clippy::cast_precision_loss)]
            Self::Long(n) => Some(*n as f64),
            Self::Float(n) => Some(f64::from(*n)),
            Self::Double(n) => Some(*n),
            Self::Decimal { .. } => self.decimal_text()?.parse().ok(),
            _ => None,
        }
    }

    /// Text and enum symbols.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Enum(text) => Some(text),
            _ => None,
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(b) => Some(*b),
            _ => None,
        }
    }

    /// A record.
    pub fn as_record(&self) -> Option<&Record> {
        match self {
            Self::Record(record) => Some(record),
            _ => None,
        }
    }

    /// A decimal's exact text, such as `-12.50`.
    pub fn decimal_text(&self) -> Option<String> {
        let Self::Decimal { unscaled, scale } = self else { return None };
        let negative = unscaled.sign() == num_bigint::Sign::Minus;
        let mut digits = unscaled.magnitude().to_string();
        if let Ok(places) = usize::try_from(*scale) {
            // scales come from untrusted data: past this, an exponent is the shorter exact text
            if places > 10_000 {
                return Some(format!("{unscaled}E-{places}"));
            }
            if places > 0 {
                if digits.len() <= places {
                    digits.insert_str(0, &"0".repeat(places + 1 - digits.len()));
                }
                digits.insert(digits.len() - places, '.');
            }
        } else {
            digits.push_str(&format!("E{}", i64::from(*scale).abs()));
        }
        Some(if negative { format!("-{digits}") } else { digits })
    }

    /// The variant's name for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "boolean",
            Self::Int(_) => "int",
            Self::Long(_) => "long",
            Self::Float(_) => "float",
            Self::Double(_) => "double",
            Self::Bytes(_) => "bytes",
            Self::String(_) => "string",
            Self::Enum(_) => "enum",
            Self::Fixed(_) => "fixed",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Record(_) => "record",
            Self::Decimal { .. } => "decimal",
            Self::Date(_) => "date",
            Self::Time(_) => "time",
            Self::Timestamp(_) => "timestamp",
        }
    }
}

macro_rules! from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}
from!(bool => Boolean, i32 => Int, i64 => Long, f32 => Float, f64 => Double, &str => String, String => String,
      Arc<str> => String, Vec<u8> => Bytes, Vec<Value> => Array, Record => Record);

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_print_every_digit() {
        let text = |unscaled: i64, scale| Value::Decimal { unscaled: unscaled.into(), scale }.decimal_text().unwrap();
        assert_eq!(text(1250, 2), "12.50");
        assert_eq!(text(-5, 3), "-0.005");
        assert_eq!(text(0, 2), "0.00");
        assert_eq!(text(7, 0), "7");
        assert_eq!(text(7, -3), "7E3");
        assert_eq!(text(7, i32::MAX), "7E-2147483647");
        assert_eq!(text(7, i32::MIN), "7E2147483648");
    }

    #[test]
    fn records_answer_by_name() {
        let mut record = Record::from_pairs("a.B", [("id", 1i64.into()), ("name", "x".into())]);
        assert_eq!(record.get("name"), Some(&Value::from("x")));
        assert_eq!(record.get("none"), None);
        assert_eq!(record.take("id"), Some(Value::Long(1)));
        assert!(record.get("id").is_some_and(Value::is_null));
    }
}

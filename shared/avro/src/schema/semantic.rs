//! What a type means beyond its bytes: Avro's logical types, Connect's and Debezium's semantic names.

use super::{Kind, Props};

/// The meaning of a primitive, fixed or record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Semantic {
    /// Nothing beyond the bytes.
    Plain,
    /// Unscaled big-endian two's complement.
    Decimal {
        /// Digits behind the point.
        scale: i32,
    },
    /// Record of scale and unscaled bytes (`io.debezium.data.VariableScaleDecimal`).
    VariableScaleDecimal,
    /// Days since 1970-01-01.
    Date,
    /// Milliseconds since midnight.
    TimeMillis,
    /// Microseconds since midnight.
    TimeMicros,
    /// Nanoseconds since midnight.
    TimeNanos,
    /// Milliseconds since the epoch.
    TimestampMillis,
    /// Microseconds since the epoch.
    TimestampMicros,
    /// Nanoseconds since the epoch.
    TimestampNanos,
    /// ISO 8601 text with an offset.
    ZonedTimestamp,
    /// ISO 8601 time text with an offset.
    ZonedTime,
    /// Canonical UUID text.
    Uuid,
    /// JSON text.
    Json,
}

impl Semantic {
    /// From `connect.name`, then `logicalType`. A name on a base type that it does not belong to means nothing.
    pub fn of_primitive(kind: Kind, props: &Props) -> Self {
        if props.is_empty() {
            return Self::Plain;
        }
        let named = props.text("connect.name").map_or(Self::Plain, |name| Self::of_name(kind, name, props));
        if named != Self::Plain {
            return named;
        }
        match (kind, props.text("logicalType")) {
            (Kind::Bytes, Some("decimal")) => Self::decimal(props),
            (Kind::Int, Some("date")) => Self::Date,
            (Kind::Int, Some("time-millis")) => Self::TimeMillis,
            (Kind::Long, Some("time-micros")) => Self::TimeMicros,
            (Kind::Long, Some("timestamp-millis" | "local-timestamp-millis")) => Self::TimestampMillis,
            (Kind::Long, Some("timestamp-micros" | "local-timestamp-micros")) => Self::TimestampMicros,
            (Kind::Long, Some("timestamp-nanos" | "local-timestamp-nanos")) => Self::TimestampNanos,
            (Kind::String, Some("uuid")) => Self::Uuid,
            _ => Self::Plain,
        }
    }

    fn of_name(kind: Kind, name: &str, props: &Props) -> Self {
        match (kind, name) {
            (Kind::Bytes, "org.apache.kafka.connect.data.Decimal") => Self::decimal(props),
            (Kind::Int, "org.apache.kafka.connect.data.Date" | "io.debezium.time.Date") => Self::Date,
            (Kind::Int, "org.apache.kafka.connect.data.Time" | "io.debezium.time.Time") => Self::TimeMillis,
            (Kind::Long, "io.debezium.time.MicroTime") => Self::TimeMicros,
            (Kind::Long, "io.debezium.time.NanoTime") => Self::TimeNanos,
            (Kind::Long, "org.apache.kafka.connect.data.Timestamp" | "io.debezium.time.Timestamp") => {
                Self::TimestampMillis
            }
            (Kind::Long, "io.debezium.time.MicroTimestamp") => Self::TimestampMicros,
            (Kind::Long, "io.debezium.time.NanoTimestamp") => Self::TimestampNanos,
            (Kind::String, "io.debezium.time.ZonedTimestamp") => Self::ZonedTimestamp,
            (Kind::String, "io.debezium.time.ZonedTime") => Self::ZonedTime,
            (Kind::String, "io.debezium.data.Uuid") => Self::Uuid,
            (Kind::String, "io.debezium.data.Json") => Self::Json,
            _ => Self::Plain,
        }
    }

    /// A fixed can be a decimal.
    pub fn of_fixed(props: &Props) -> Self {
        match props.text("logicalType") {
            Some("decimal") => Self::decimal(props),
            _ => Self::Plain,
        }
    }

    /// Records: only Debezium's decimal without a fixed scale means something of its own.
    pub fn of_record(props: &Props, fields: &[super::Field]) -> Self {
        let shape = matches!(fields, [a, b] if &*a.name == "scale" && &*b.name == "value");
        match props.text("connect.name") {
            Some("io.debezium.data.VariableScaleDecimal") if shape => Self::VariableScaleDecimal,
            _ => Self::Plain,
        }
    }

    fn decimal(props: &Props) -> Self {
        let own = props.get("scale").and_then(serde_json::Value::as_i64);
        let connect = || props.get("connect.parameters")?.get("scale")?.as_str()?.parse().ok();
        let scale = own.or_else(connect).unwrap_or(0);
        i32::try_from(scale).map_or(Self::Plain, |scale| Self::Decimal { scale })
    }
}

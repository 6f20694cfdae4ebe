//! PostgreSQL types as Debezium maps them: Avro type with `connect.*` properties, and text form to Avro bytes.
#![deny(clippy::indexing_slicing)]

use ratestream_avro::{Field, Type};
use serde_json::{Map, Value as Json, json};

use super::text;

/// `decimal.handling.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DecimalMode {
    /// Exact bytes.
    #[default]
    Precise,
    /// A double.
    Double,
    /// Exact text.
    String,
}

/// `time.precision.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeMode {
    /// Milliseconds where the column has no more, else microseconds; Debezium's names.
    #[default]
    Adaptive,
    /// As `Adaptive`, but times of day always in microseconds.
    AdaptiveTimeMicroseconds,
    /// Connect's own types, milliseconds.
    Connect,
}

/// How values are written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Modes {
    /// Numbers with a decimal point.
    pub decimal: DecimalMode,
    /// Dates and times.
    pub time: TimeMode,
}

/// What the catalogue says about a type that is not built in.
#[derive(Debug, Clone, Default)]
pub struct TypeInfo {
    /// Its name, without schema.
    pub name: String,
    /// `pg_type.typtype`: `b` base, `e` enum, `d` domain, `c` composite, `r` range.
    pub class: char,
    /// Element type of an array, else 0.
    pub element: u32,
    /// Base type of a domain, else 0.
    pub base: u32,
    /// Modifier that a domain gives to its base type.
    pub base_mod: i32,
    /// Labels of an enum in sort order.
    pub labels: Vec<String>,
}

/// A value that a mapping cannot carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotRepresentable;

/// How one column's values are written.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `boolean`
    Bool,
    /// `bit(1)` as boolean
    Bit,
    /// 16 bits, Avro int
    Int16,
    /// 32 bits
    Int32,
    /// 64 bits
    Int64,
    /// single precision
    Float,
    /// double precision
    Double,
    /// text with an optional semantic name
    Text(Option<&'static str>),
    /// enum with its labels
    Enum(Vec<String>),
    /// fixed precision and scale
    Decimal {
        /// Digits in all, when the column says so.
        precision: Option<i32>,
        /// Digits behind the point.
        scale: i32,
        /// Written with a currency sign.
        money: bool,
    },
    /// numeric without scale
    VariableDecimal,
    /// numeric as double
    DecimalDouble,
    /// numeric as text
    DecimalText,
    /// days
    Date,
    /// milliseconds or microseconds since midnight
    Time {
        /// Microseconds.
        micros: bool,
    },
    /// milliseconds or microseconds since the epoch
    Timestamp {
        /// Microseconds.
        micros: bool,
    },
    /// Connect's date
    ConnectDate,
    /// Connect's time
    ConnectTime,
    /// Connect's timestamp
    ConnectTimestamp,
    /// ISO text with this many digits of a second
    ZonedTimestamp(usize),
    /// ISO text
    ZonedTime,
    /// microseconds
    Interval,
    /// bytes
    Bytes,
    /// bit string of a length (2147483647 when open)
    Bits(i32),
    /// `(x,y)`
    Point,
    /// items of one kind
    Array(Box<Kind>),
}

/// Length of a type modifier that counts 4 bytes of header.
fn length(type_mod: i32) -> Option<i32> {
    (type_mod >= 4).then_some(type_mod - 4)
}

impl Kind {
    /// The mapping of a type; `lookup` answers for oids that are not built in. `None`: the column is left out
    /// (composites and types that nobody knows), as Debezium does.
    pub fn of(oid: u32, type_mod: i32, modes: Modes, lookup: &dyn Fn(u32) -> Option<TypeInfo>) -> Option<Self> {
        if let Some(kind) = Self::built_in(oid, type_mod, modes) {
            return Some(kind);
        }
        if let Some(element) = built_in_element(oid) {
            return Self::of(element, type_mod, modes, lookup).and_then(Self::array_of);
        }
        let info = lookup(oid)?;
        match (info.class, info.name.as_str()) {
            ('e', _) => Some(Self::Enum(info.labels)),
            ('d', _) => {
                let inner = if type_mod >= 0 { type_mod } else { info.base_mod };
                Self::of(info.base, inner, modes, lookup)
            }
            (_, "citext") => Some(Self::Text(None)),
            (_, "ltree") => Some(Self::Text(Some("io.debezium.data.Ltree"))),
            (_, _) if info.element != 0 => Self::of(info.element, type_mod, modes, lookup).and_then(Self::array_of),
            _ => None,
        }
    }

    fn array_of(self) -> Option<Self> {
        // the same ones that Debezium leaves out
        let dropped = matches!(self, Self::Interval | Self::Point | Self::Array(_) | Self::Decimal { money: true, .. })
            || self == Self::Text(Some("io.debezium.data.Xml"));
        (!dropped).then(|| Self::Array(Box::new(self)))
    }

    fn built_in(oid: u32, type_mod: i32, modes: Modes) -> Option<Self> {
        let plain = |name| Some(Self::Text(name));
        match oid {
            16 => Some(Self::Bool),
            17 => Some(Self::Bytes),
            20 | 26 => Some(Self::Int64),
            21 => Some(Self::Int16),
            23 => Some(Self::Int32),
            700 => Some(Self::Float),
            701 => Some(Self::Double),
            // char, name, text, bpchar, varchar, inet, cidr, macaddr(8), ranges
            18 | 19 | 25 | 1042 | 1043 | 869 | 650 | 829 | 774 | 3904 | 3926 | 3906 | 3908 | 3910 | 3912 => plain(None),
            114 | 3802 => plain(Some("io.debezium.data.Json")),
            142 => plain(Some("io.debezium.data.Xml")),
            2950 => plain(Some("io.debezium.data.Uuid")),
            3614 => plain(Some("io.debezium.data.Tsvector")),
            1700 => Some(Self::numeric(type_mod, modes.decimal)),
            790 => Some(match modes.decimal {
                DecimalMode::Precise => Self::Decimal { precision: None, scale: 2, money: true },
                _ => Self::DecimalText,
            }),
            1082 if modes.time == TimeMode::Connect => Some(Self::ConnectDate),
            1082 => Some(Self::Date),
            1083 => Some(match modes.time {
                TimeMode::Connect => Self::ConnectTime,
                TimeMode::AdaptiveTimeMicroseconds => Self::Time { micros: true },
                TimeMode::Adaptive => Self::Time { micros: !(0..=3).contains(&type_mod) },
            }),
            1114 if modes.time == TimeMode::Connect => Some(Self::ConnectTimestamp),
            1114 => Some(Self::Timestamp { micros: !(0..=3).contains(&type_mod) }),
            1184 => Some(Self::ZonedTimestamp(usize::try_from(type_mod).unwrap_or(6).min(6))),
            1266 => Some(Self::ZonedTime),
            1186 => Some(Self::Interval),
            1560 if matches!(type_mod, 1 | -1) => Some(Self::Bit),
            1560 => Some(Self::Bits(type_mod)),
            1562 => Some(Self::Bits(if type_mod > 0 { type_mod } else { i32::MAX })),
            600 => Some(Self::Point),
            _ => None,
        }
    }

    fn numeric(type_mod: i32, mode: DecimalMode) -> Self {
        match (mode, length(type_mod)) {
            (DecimalMode::Double, _) => Self::DecimalDouble,
            (DecimalMode::String, _) => Self::DecimalText,
            (DecimalMode::Precise, None) => Self::VariableDecimal,
            (DecimalMode::Precise, Some(packed)) => {
                // 11 bits with a sign since PostgreSQL 15
                let scale = ((packed & 0x7ff) ^ 0x400) - 0x400;
                Self::Decimal { precision: Some(packed >> 16 & 0xffff), scale, money: false }
            }
        }
    }

    /// The Avro type; `default` becomes `connect.default`.
    pub fn avro(&self, default: Option<&Json>) -> Type {
        match self {
            Self::Bool | Self::Bit => connect(Type::boolean(), None, default, None),
            Self::Int16 => connect(Type::int(), None, default, None).with("connect.type", "int16"),
            Self::Int32 => connect(Type::int(), None, default, None),
            Self::Int64 => connect(Type::long(), None, default, None),
            Self::Float => connect(Type::float(), None, default, None),
            Self::Double | Self::DecimalDouble => connect(Type::double(), None, default, None),
            Self::Text(name) => connect(Type::string(), None, default, *name),
            Self::DecimalText => connect(Type::string(), None, default, None),
            Self::Enum(labels) => {
                let parameters = json!({ "allowed": labels.join(",") });
                connect(Type::string(), Some(parameters), default, Some("io.debezium.data.Enum"))
            }
            Self::Decimal { precision, scale, .. } => decimal_type(*precision, *scale, default),
            Self::VariableDecimal => Type::record("io.debezium.data.VariableScaleDecimal")
                .field(Field::new("scale", Type::int()))
                .field(Field::new("value", Type::bytes()))
                .with("connect.doc", "Variable scaled decimal")
                .with("connect.version", 1)
                .with("connect.name", "io.debezium.data.VariableScaleDecimal")
                .build(),
            Self::Date => connect(Type::int(), None, default, Some("io.debezium.time.Date")),
            Self::Time { micros: false } => connect(Type::int(), None, default, Some("io.debezium.time.Time")),
            Self::Time { micros: true } => connect(Type::long(), None, default, Some("io.debezium.time.MicroTime")),
            Self::Timestamp { micros: false } => {
                connect(Type::long(), None, default, Some("io.debezium.time.Timestamp"))
            }
            Self::Timestamp { micros: true } => {
                connect(Type::long(), None, default, Some("io.debezium.time.MicroTimestamp"))
            }
            Self::ConnectDate => logical(Type::int(), default, "Date", "date"),
            Self::ConnectTime => logical(Type::int(), default, "Time", "time-millis"),
            Self::ConnectTimestamp => logical(Type::long(), default, "Timestamp", "timestamp-millis"),
            Self::ZonedTimestamp(_) => connect(Type::string(), None, default, Some("io.debezium.time.ZonedTimestamp")),
            Self::ZonedTime => connect(Type::string(), None, default, Some("io.debezium.time.ZonedTime")),
            Self::Interval => connect(Type::long(), None, default, Some("io.debezium.time.MicroDuration")),
            Self::Bytes => connect(Type::bytes(), None, default, None),
            Self::Bits(n) => {
                let parameters = json!({ "length": n.to_string() });
                connect(Type::bytes(), Some(parameters), default, Some("io.debezium.data.Bits"))
            }
            Self::Point => point_type(),
            Self::Array(item) => Type::array(item.avro(None).optional()),
        }
    }

    /// A column default as the JSON of a schema, from the text form of a constant. `None` when it is no value of the kind.
    pub fn default_json(&self, value: &[u8]) -> Option<Json> {
        let mut bytes = Vec::new();
        self.encode(value, &mut bytes).ok()?;
        self.json_of(&bytes)
    }

    /// The zero as the JSON of a schema: what a default that is a function call is shown as.
    pub fn zero_json(&self) -> Option<Json> {
        let mut bytes = Vec::new();
        self.zero(&mut bytes);
        self.json_of(&bytes)
    }

    fn json_of(&self, bytes: &[u8]) -> Option<Json> {
        use ratestream_avro::{Schema, Value, codec};
        let base = match self.avro(None) {
            Type::Primitive(p) => Type::primitive(p.kind()),
            // records and arrays: Debezium's defaults there are rare and a wrong one makes the schema invalid
            _ => return None,
        };
        let schema = Schema::new(base).ok()?;
        match codec::decode(&schema, bytes).ok()? {
            Value::Bytes(bytes) => Some(Json::String(bytes.iter().copied().map(char::from).collect())),
            Value::Float(n) if !n.is_finite() => None,
            Value::Double(n) if !n.is_finite() => None,
            value => Some(value.to_json()),
        }
    }

    /// The value as Connect holds it: numbers as numbers whatever they mean. For string and JSON keys.
    pub fn plain_json(&self, value: &[u8]) -> Option<Json> {
        match self {
            Self::Decimal { .. } | Self::VariableDecimal => Some(Json::String(text::utf8(value)?.to_owned())),
            _ => self.default_json(value),
        }
    }
}

/// Adds Connect's properties in the order of its Avro converter.
fn connect(base: Type, parameters: Option<Json>, default: Option<&Json>, name: Option<&str>) -> Type {
    let mut ty = base;
    if name.is_some() {
        ty = ty.with("connect.version", 1);
    }
    if let Some(parameters) = parameters {
        ty = ty.with("connect.parameters", parameters);
    }
    if let Some(default) = default {
        ty = ty.with("connect.default", default.clone());
    }
    if let Some(name) = name {
        ty = ty.with("connect.name", name);
    }
    ty
}

fn logical(base: Type, default: Option<&Json>, name: &str, logical: &str) -> Type {
    connect(base, None, default, Some(&format!("org.apache.kafka.connect.data.{name}"))).with("logicalType", logical)
}

/// Connect's decimal.
pub fn decimal_type(precision: Option<i32>, scale: i32, default: Option<&Json>) -> Type {
    let base = Type::bytes().with("scale", scale).with("precision", precision.unwrap_or(64));
    let mut parameters = Map::new();
    parameters.insert("scale".to_owned(), Json::String(scale.to_string()));
    if let Some(precision) = precision {
        parameters.insert("connect.decimal.precision".to_owned(), Json::String(precision.to_string()));
    }
    let name = "org.apache.kafka.connect.data.Decimal";
    connect(base, Some(Json::Object(parameters)), default, Some(name)).with("logicalType", "decimal")
}

fn point_type() -> Type {
    Type::record("io.debezium.data.geometry.Point")
        .field(Field::new("x", Type::double()))
        .field(Field::new("y", Type::double()))
        .field(Field::optional("wkb", Type::bytes()))
        .field(Field::optional("srid", Type::int()))
        .with("connect.doc", "Geometry (POINT)")
        .with("connect.version", 1)
        .with("connect.name", "io.debezium.data.geometry.Point")
        .build()
}

/// Element oid of the built-in array types.
fn built_in_element(oid: u32) -> Option<u32> {
    Some(match oid {
        1000 => 16,
        1001 => 17,
        1002 => 18,
        1003 => 19,
        1005 => 21,
        1007 => 23,
        1009 => 25,
        1014 => 1042,
        1015 => 1043,
        1016 => 20,
        1021 => 700,
        1022 => 701,
        1028 => 26,
        1041 => 869,
        651 => 650,
        1040 => 829,
        775 => 774,
        199 => 114,
        3807 => 3802,
        143 => 142,
        2951 => 2950,
        1231 => 1700,
        791 => 790,
        1182 => 1082,
        1183 => 1083,
        1115 => 1114,
        1185 => 1184,
        1270 => 1266,
        1187 => 1186,
        1561 => 1560,
        1563 => 1562,
        1017 => 600,
        3905 => 3904,
        3927 => 3926,
        3907 => 3906,
        3909 => 3908,
        3911 => 3910,
        3913 => 3912,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use ratestream_avro::{Schema, Value, codec};

    use super::*;

    fn decoded(kind: &Kind, text: &str) -> Value {
        let mut bytes = Vec::new();
        kind.encode(text.as_bytes(), &mut bytes).unwrap();
        codec::decode(&Schema::new(kind.avro(None)).unwrap(), &bytes).unwrap()
    }

    fn kind(oid: u32, type_mod: i32) -> Kind {
        Kind::of(oid, type_mod, Modes::default(), &|_| None).unwrap()
    }

    #[test]
    fn every_text_form_becomes_the_value_it_shows() {
        let numeric_10_2 = (10 << 16 | 2) + 4;
        let cases: [(u32, i32, &str, Value); 20] = [
            (16, -1, "t", true.into()),
            (21, -1, "-7", Value::Int(-7)),
            (20, -1, "9007199254740993", Value::Long(9_007_199_254_740_993)),
            (700, -1, "1.5", Value::Float(1.5)),
            (701, -1, "Infinity", Value::Double(f64::INFINITY)),
            (25, -1, "grüße", "grüße".into()),
            (1700, numeric_10_2, "-12.50", Value::Decimal { unscaled: (-1250).into(), scale: 2 }),
            (1700, -1, "0.001", Value::Decimal { unscaled: 1.into(), scale: 3 }),
            (790, -1, "-$1,234.50", Value::Decimal { unscaled: (-123_450).into(), scale: 2 }),
            (1082, -1, "2024-02-29", Value::Date(19_782)),
            (1083, 3, "01:02:03.004", Value::Time(3_723_004_000)),
            (1083, -1, "01:02:03.000004", Value::Time(3_723_000_004)),
            (1114, 0, "1970-01-01 00:00:01", Value::Timestamp(1_000_000)),
            (1114, -1, "1969-12-31 23:59:59.999999", Value::Timestamp(-1)),
            (1184, -1, "1970-01-01 00:00:01.5+00", Value::Timestamp(1_500_000)),
            (1266, -1, "13:00:00+02", Value::Time(11 * 3_600_000_000)),
            (1186, -1, "1 day 00:00:01", Value::Long(86_401_000_000)),
            (17, -1, "\\x00ff", Value::Bytes(vec![0, 255])),
            (1560, 10, "1000000001", Value::Bytes(vec![1, 2])),
            (1007, -1, "{1,NULL}", Value::Array(vec![Value::Int(1), Value::Null])),
        ];
        for (oid, type_mod, text, expected) in cases {
            assert_eq!(decoded(&kind(oid, type_mod), text), expected, "{oid} {text}");
        }
    }

    #[test]
    fn types_carry_connects_properties_in_its_order() {
        let canonical = |kind: Kind, default: Option<Json>| {
            Schema::new(kind.avro(default.as_ref())).unwrap().canonical().to_owned()
        };
        assert_eq!(canonical(kind(21, -1), None), r#"{"type":"int","connect.type":"int16"}"#);
        assert_eq!(
            canonical(kind(1114, -1), Some(json!(0))),
            r#"{"type":"long","connect.version":1,"connect.default":0,"connect.name":"io.debezium.time.MicroTimestamp"}"#
        );
        assert_eq!(
            canonical(kind(1700, (10 << 16 | 2) + 4), None),
            concat!(
                r#"{"type":"bytes","scale":2,"precision":10,"connect.version":1,"#,
                r#""connect.parameters":{"scale":"2","connect.decimal.precision":"10"},"#,
                r#""connect.name":"org.apache.kafka.connect.data.Decimal","logicalType":"decimal"}"#
            )
        );
        let labels = Kind::Enum(vec!["good".into(), "bad".into()]);
        assert_eq!(
            canonical(labels, None),
            r#"{"type":"string","connect.version":1,"connect.parameters":{"allowed":"good,bad"},"connect.name":"io.debezium.data.Enum"}"#
        );
    }

    #[test]
    fn enums_domains_and_their_arrays_are_looked_up() {
        let lookup = |oid: u32| {
            Some(match oid {
                20_000 => {
                    TypeInfo { name: "mood".into(), class: 'e', labels: vec!["ok".into()], ..TypeInfo::default() }
                }
                20_001 => TypeInfo { name: "_mood".into(), class: 'b', element: 20_000, ..TypeInfo::default() },
                20_002 => TypeInfo {
                    name: "price".into(),
                    class: 'd',
                    base: 1700,
                    base_mod: (6 << 16 | 1) + 4,
                    ..TypeInfo::default()
                },
                20_003 => TypeInfo { name: "pair".into(), class: 'c', ..TypeInfo::default() },
                _ => return None,
            })
        };
        let of = |oid| Kind::of(oid, -1, Modes::default(), &lookup);
        assert_eq!(of(20_000), Some(Kind::Enum(vec!["ok".into()])));
        assert_eq!(of(20_001), Some(Kind::Array(Box::new(Kind::Enum(vec!["ok".into()])))));
        assert_eq!(of(20_002), Some(Kind::Decimal { precision: Some(6), scale: 1, money: false }));
        assert_eq!(of(20_003), None);
        assert_eq!(of(99_999), None);
    }

    #[test]
    fn zeros_and_defaults_are_values_of_their_schema() {
        for oid in
            [16, 17, 20, 21, 23, 25, 114, 700, 701, 790, 1082, 1083, 1114, 1184, 1186, 1266, 1700, 2950, 600, 1007]
        {
            let kind = kind(oid, -1);
            let mut bytes = Vec::new();
            kind.zero(&mut bytes);
            codec::decode(&Schema::new(kind.avro(None)).unwrap(), &bytes).unwrap();
        }
        assert_eq!(kind(23, -1).default_json(b"5"), Some(json!(5)));
        assert_eq!(kind(1184, -1).zero_json(), Some(json!("1970-01-01T00:00:00.000000Z")));
        assert_eq!(kind(1700, (10 << 16 | 2) + 4).default_json(b"1.5"), Some(json!("\u{0}\u{96}")));
    }

    #[test]
    fn nan_is_told_not_guessed() {
        let mut out = Vec::new();
        assert_eq!(kind(1700, -1).encode(b"NaN", &mut out), Err(NotRepresentable));
    }
}

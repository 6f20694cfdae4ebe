#![allow(clippy::indexing_slicing)]

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{Field, Record, Type};

fn bytes(ty: Type, value: Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&Schema::new(ty).unwrap(), &value, &mut out).unwrap();
    out
}

#[test]
fn known_bytes() {
    assert_eq!(bytes(Type::long(), Value::Long(-1)), [1]);
    assert_eq!(bytes(Type::long(), Value::Long(64)), [0x80, 1]);
    assert_eq!(bytes(Type::long(), Value::Long(i64::MIN)), [255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
    assert_eq!(bytes(Type::string(), "foo".into()), [6, b'f', b'o', b'o']);
    assert_eq!(bytes(Type::array(Type::long()), Value::Array(vec![3i64.into(), 27i64.into()])), [4, 6, 54, 0]);
    assert_eq!(bytes(Type::string().optional(), "a".into()), [2, 2, b'a']);
    assert_eq!(bytes(Type::string().optional(), Value::Null), [0]);
}

fn named(ty: Type, name: &str) -> Type {
    ty.with("connect.version", 1).with("connect.name", name)
}

/// Types with a way to make their values.
fn pair() -> impl Strategy<Value = (Type, Value)> {
    let decimal = (any::<i128>(), 0..20i32).prop_map(|(n, scale)| {
        let ty = Type::bytes().with("logicalType", "decimal").with("precision", 60).with("scale", scale);
        (ty, Value::Decimal { unscaled: n.into(), scale })
    });
    let variable = (any::<i64>(), -5..50i32).prop_map(|(n, scale)| {
        let ty = Type::record("io.debezium.data.VariableScaleDecimal")
            .field(Field::new("scale", Type::int()))
            .field(Field::new("value", Type::bytes()))
            .with("connect.name", "io.debezium.data.VariableScaleDecimal")
            .build();
        (ty, Value::Decimal { unscaled: n.into(), scale })
    });
    let leaf = prop_oneof![
        Just((Type::primitive(crate::Kind::Null), Value::Null)),
        any::<bool>().prop_map(|b| (Type::boolean(), b.into())),
        any::<i32>().prop_map(|n| (Type::int(), n.into())),
        any::<i64>().prop_map(|n| (Type::long(), n.into())),
        (-1e30f32..1e30).prop_map(|n| (Type::float(), n.into())),
        (-1e300f64..1e300).prop_map(|n| (Type::double(), n.into())),
        ".{0,12}".prop_map(|s| (Type::string(), s.into())),
        any::<Vec<u8>>().prop_map(|b| (Type::bytes(), b.into())),
        any::<[u8; 6]>().prop_map(|b| (Type::fixed("n.F", 6), Value::Fixed(b.to_vec()))),
        any::<i32>().prop_map(|n| (named(Type::int(), "io.debezium.time.Date"), Value::Date(n))),
        (0..86_400i64).prop_map(|n| (named(Type::int(), "io.debezium.time.Time"), Value::Time(n * 1_000_000))),
        any::<i64>().prop_map(|n| (named(Type::long(), "io.debezium.time.MicroTimestamp"), Value::Timestamp(n))),
        any::<i32>().prop_map(|n| {
            (Type::long().with("logicalType", "timestamp-millis"), Value::Timestamp(i64::from(n) * 1000))
        }),
        (-1i64 << 55..1 << 55)
            .prop_map(|n| { (named(Type::string(), "io.debezium.time.ZonedTimestamp"), Value::Timestamp(n)) }),
        Just((Type::enumeration("n.E", &["A", "B"]), Value::Enum("B".into()))),
        decimal,
        variable,
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            (inner.clone(), 0..4usize).prop_map(|((ty, value), n)| (Type::array(ty), Value::Array(vec![value; n]))),
            (inner.clone(), 0..3usize).prop_map(|((ty, value), n)| {
                let entries = (0..n).map(|i| (Arc::from(format!("k{i}")), value.clone())).collect();
                (Type::map(ty), Value::Map(entries))
            }),
            (inner, any::<bool>()).prop_map(|((ty, value), present)| {
                if ty.is_nullable() { (ty, value) } else { (ty.optional(), if present { value } else { Value::Null }) }
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(pairs in proptest::collection::vec(pair(), 1..5)) {
        let fields = pairs.iter().enumerate().map(|(i, (ty, _))| Field::new(&format!("f{i}"), ty.clone()));
        let root = Type::record("n.R").fields(fields).build();
        // two decimals of one name differ in nothing but their values; other clashes cannot be built
        let Ok(schema) = Schema::new(root) else { return Ok(()) };
        let shape = Arc::clone(schema.record().unwrap().shape());
        let value = Value::Record(Record::new(shape, pairs.into_iter().map(|(_, v)| v).collect()));
        let mut out = Vec::new();
        encode(&schema, &value, &mut out).unwrap();
        prop_assert_eq!(decode(&schema, &out).unwrap(), value.clone());
        let reparsed = Schema::parse(schema.canonical()).unwrap();
        prop_assert_eq!(decode(&reparsed, &out).unwrap(), value);
        for cut in 0..out.len() {
            // a cut datum may still decode (a shorter one), but never panics
            let _ = decode(&schema, &out[..cut]);
        }
    }

    #[test]
    fn hostile_bytes_never_panic((ty, _) in pair(), bytes in any::<Vec<u8>>()) {
        let schema = Schema::new(Type::array(ty)).unwrap();
        let _ = decode(&schema, &bytes);
    }
}

#[test]
fn lengths_beyond_the_input_allocate_nothing() {
    let mut huge = Vec::new();
    raw::long(i64::MAX, &mut huge);
    for ty in [Type::bytes(), Type::string(), Type::array(Type::primitive(crate::Kind::Null)), Type::map(Type::int())] {
        assert!(decode(&Schema::new(ty).unwrap(), &huge).is_err());
    }
    let negative = [1, 1];
    assert!(decode(&Schema::new(Type::bytes()).unwrap(), &negative).is_err());
    assert!(decode(&Schema::new(Type::long()).unwrap(), &[0xff; 11]).is_err());
    assert!(decode(&Schema::new(Type::long()).unwrap(), &[2, 2]).is_err(), "left-over bytes");
}

#[test]
fn data_nests_no_deeper_than_the_bound() {
    let list = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
    let schema = Schema::parse(list).unwrap();
    let mut bytes = vec![2u8; 100_000];
    bytes.push(0);
    assert!(decode(&schema, &bytes).unwrap_err().to_string().contains("deeper"));
}

#[test]
fn decimals_are_rescaled_but_never_rounded() {
    let ty = Type::bytes().with("logicalType", "decimal").with("scale", 2);
    let schema = Schema::new(ty).unwrap();
    let mut out = Vec::new();
    encode(&schema, &Value::Decimal { unscaled: 5.into(), scale: 0 }, &mut out).unwrap();
    assert_eq!(decode(&schema, &out).unwrap(), Value::Decimal { unscaled: 500.into(), scale: 2 });
    assert!(encode(&schema, &Value::Decimal { unscaled: 5.into(), scale: 3 }, &mut out).is_err());
}

#[test]
fn missing_fields_take_their_default_and_errors_name_the_field() {
    let root = Type::record("n.R")
        .field(Field::new("a", Type::long()).default_to(9))
        .field(Field::optional("b", Type::string()))
        .field(Field::new("c", Type::int()))
        .build();
    let schema = Schema::new(root).unwrap();
    let mut out = Vec::new();
    encode(&schema, &Record::from_pairs("x", [("c", 1i32.into())]).into(), &mut out).unwrap();
    let Value::Record(record) = decode(&schema, &out).unwrap() else { panic!("no record") };
    assert_eq!(record.values(), [9i64.into(), Value::Null, 1i32.into()]);
    let error = encode(&schema, &Record::from_pairs("x", [("c", "text".into())]).into(), &mut out).unwrap_err();
    assert!(error.to_string().contains("c: a string cannot be written as int"), "{error}");
}

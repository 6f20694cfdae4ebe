use super::*;

fn faults(writer: &str, reader: &str) -> Vec<(&'static str, String)> {
    let (writer, reader) = (Schema::parse(writer).unwrap(), Schema::parse(reader).unwrap());
    read(&reader, &writer).unwrap().into_iter().map(|fault| (fault.rule.name(), fault.path)).collect()
}

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

#[track_caller]
fn yes(writer: &str, reader: &str) {
    assert_eq!(faults(writer, reader), [], "{writer} -> {reader}");
}

#[track_caller]
fn no(writer: &str, reader: &str) {
    assert_ne!(faults(writer, reader), [], "{writer} -> {reader}");
}

#[test]
fn promotions_go_one_way() {
    let order = [r#""int""#, r#""long""#, r#""float""#, r#""double""#];
    for (i, writer) in order.iter().enumerate() {
        for (j, reader) in order.iter().enumerate() {
            if i <= j { yes(writer, reader) } else { no(writer, reader) }
        }
    }
    yes(r#""string""#, r#""bytes""#);
    yes(r#""bytes""#, r#""string""#);
    no(r#""int""#, r#""string""#);
    no(r#""boolean""#, r#""int""#);
    yes(r#"{"type":"array","items":"int"}"#, r#"{"type":"array","items":"double"}"#);
    yes(r#"{"type":"map","values":"int"}"#, r#"{"type":"map","values":"long"}"#);
    no(r#"{"type":"map","values":"long"}"#, r#"{"type":"map","values":"int"}"#);
    no(r#"{"type":"array","items":"int"}"#, r#"{"type":"map","values":"int"}"#);
}

#[test]
fn logical_types_on_the_same_base_do_not_matter() {
    yes(r#"{"type":"int","logicalType":"date"}"#, r#"{"type":"long","logicalType":"timestamp-millis"}"#);
    yes(
        r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#,
        r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":0}"#,
    );
}

#[test]
fn fields_are_added_with_defaults_removed_reordered_and_renamed_by_alias() {
    let one = record(r#"{"name":"a","type":"int"}"#);
    let two = record(r#"{"name":"b","type":"int","default":0},{"name":"a","type":"int"}"#);
    yes(&one, &two);
    yes(&two, &one);
    let without = record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#);
    assert_eq!(faults(&one, &without), [("READER_FIELD_MISSING_DEFAULT_VALUE", "/fields/1".to_owned())]);
    yes(&one, &record(r#"{"name":"c","type":"int","aliases":["a"]}"#));
    // An alias on the writer's side helps nobody.
    no(&record(r#"{"name":"c","type":"int","aliases":["a"]}"#), &one);
}

#[test]
fn a_null_default_is_a_default() {
    let one = record(r#"{"name":"a","type":"int"}"#);
    yes(&one, &record(r#"{"name":"a","type":"int"},{"name":"b","type":["null","int"],"default":null}"#));
}

#[test]
fn every_fault_is_reported_with_its_path() {
    let one = record(r#"{"name":"a","type":"string"},{"name":"b","type":{"type":"array","items":"string"}}"#);
    let two = record(
        r#"{"name":"a","type":"int"},{"name":"b","type":{"type":"array","items":"int"}},{"name":"c","type":"int"}"#,
    );
    assert_eq!(
        faults(&one, &two),
        [
            ("TYPE_MISMATCH", "/fields/0/type".to_owned()),
            ("TYPE_MISMATCH", "/fields/1/type/items".to_owned()),
            ("READER_FIELD_MISSING_DEFAULT_VALUE", "/fields/2".to_owned()),
        ]
    );
}

#[test]
fn enums_grow_or_have_a_default() {
    let small = r#"{"type":"enum","name":"E","symbols":["A"]}"#;
    let large = r#"{"type":"enum","name":"E","symbols":["A","B"]}"#;
    yes(small, large);
    assert_eq!(faults(large, small), [("MISSING_ENUM_SYMBOLS", "/symbols".to_owned())]);
    yes(large, r#"{"type":"enum","name":"E","symbols":["A"],"default":"A"}"#);
    no(small, r#""string""#);
}

#[test]
fn fixed_keep_size_and_name_but_may_have_an_alias() {
    let fixed = r#"{"type":"fixed","name":"F","size":4}"#;
    assert_eq!(faults(fixed, r#"{"type":"fixed","name":"F","size":8}"#), [("FIXED_SIZE_MISMATCH", "/size".to_owned())]);
    assert_eq!(faults(fixed, r#"{"type":"fixed","name":"G","size":4}"#), [("NAME_MISMATCH", "/name".to_owned())]);
    yes(fixed, r#"{"type":"fixed","name":"G","size":4,"aliases":["F"]}"#);
}

#[test]
fn unions_widen() {
    yes(r#""int""#, r#"["null","int"]"#);
    yes(r#"["null","int"]"#, r#"["null","int","string"]"#);
    assert_eq!(faults(r#"["null","int","string"]"#, r#"["null","int"]"#), [("MISSING_UNION_BRANCH", "/2".to_owned())]);
    yes(r#"["int","long"]"#, r#""double""#);
    yes(r#"["int","float"]"#, r#"["null","double"]"#);
    no(r#"["int","string"]"#, r#""long""#);
    no(r#"["null","int"]"#, r#""int""#);
}

#[test]
fn records_are_known_by_simple_name_or_alias() {
    let one = r#"{"type":"record","name":"R","namespace":"a","fields":[]}"#;
    yes(one, r#"{"type":"record","name":"R","namespace":"b","fields":[]}"#);
    no(one, r#"{"type":"record","name":"S","namespace":"a","fields":[]}"#);
    yes(one, r#"{"type":"record","name":"S","namespace":"a","aliases":["R"],"fields":[]}"#);
}

#[test]
fn recursion_ends_and_faults_inside_are_found() {
    let node = |extra: &str| {
        format!(
            r#"{{"type":"record","name":"N","fields":[{{"name":"next","type":["null","N"],"default":null}}{extra}]}}"#
        )
    };
    yes(&node(""), &node(""));
    yes(&node(""), &node(r#",{"name":"v","type":"int","default":1}"#));
    no(&node(""), &node(r#",{"name":"v","type":"int"}"#));
    let mutual = r#"{"type":"record","name":"A","fields":[{"name":"b","type":["null",{"type":"record","name":"B","fields":[{"name":"a","type":["null","A"]}]}]}]}"#;
    yes(mutual, mutual);
}

#[test]
fn a_named_type_may_be_defined_elsewhere() {
    let inner = r#"{"type":"record","name":"I","fields":[{"name":"x","type":"int"}]}"#;
    let first = record(&format!(r#"{{"name":"a","type":{inner}}},{{"name":"b","type":"I"}}"#));
    let second = record(&format!(r#"{{"name":"b","type":{inner}}},{{"name":"a","type":"I"}}"#));
    yes(&first, &second);
}

#[test]
fn a_nested_missing_default_counts_even_when_the_outer_field_has_one() {
    let inner = |fields: &str| format!(r#"{{"type":"record","name":"I","fields":[{fields}]}}"#);
    let one = record(&format!(r#"{{"name":"a","type":["null",{}],"default":null}}"#, inner("")));
    let two =
        record(&format!(r#"{{"name":"a","type":["null",{}],"default":null}}"#, inner(r#"{"name":"x","type":"int"}"#)));
    no(&one, &two);
}

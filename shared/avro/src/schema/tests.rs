use super::*;

fn canonical(text: &str) -> String {
    Schema::parse(text).unwrap().canonical().to_owned()
}

#[test]
fn layout_vanishes_and_meaning_stays() {
    assert_eq!(canonical(r#"{"type":"int"}"#), "\"int\"");
    assert_eq!(canonical("string"), "\"string\"");
    let text = r#"{"doc":"d","name":"a.b.R","aliases":["Old","x.Y"],"type":"record","connect.name":"n",
        "fields":[{"type":{"logicalType":"date","type":"int"},"name":"f","zz":1,"order":"descending","default":0,
        "aliases":["g"],"doc":"fd"},
        {"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"],"default":"A"}},
        {"name":"again","type":["null","E"],"default":null},
        {"name":"other","type":{"type":"fixed","name":"z.F","size":4}}]}"#;
    assert_eq!(
        canonical(text),
        concat!(
            r#"{"type":"record","name":"R","namespace":"a.b","doc":"d","fields":["#,
            r#"{"name":"f","type":{"type":"int","logicalType":"date"},"doc":"fd","default":0,"order":"descending","aliases":["g"],"zz":1},"#,
            r#"{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"],"default":"A"}},"#,
            r#"{"name":"again","type":["null","E"],"default":null},"#,
            r#"{"name":"other","type":{"type":"fixed","name":"F","namespace":"z","size":4}}],"#,
            r#""connect.name":"n","aliases":["Old","x.Y"]}"#
        )
    );
    assert_eq!(canonical(&canonical(text)), canonical(text));
}

#[test]
fn a_name_without_namespace_inside_one_says_so() {
    let text = r#"{"type":"record","name":"a.R","fields":[{"name":"x","type":{"type":"fixed","name":"F","namespace":"","size":1}}]}"#;
    assert!(canonical(text).contains(r#""name":"F","namespace":"","size":1"#));
}

#[test]
fn the_builder_and_the_parser_agree() {
    let row = Type::record("s.T.Value")
        .field(Field::new("id", Type::int().with("connect.type", "int16")))
        .field(Field::optional("at", Type::long().with("logicalType", "timestamp-millis")))
        .build();
    let root = Type::record("s.T.Envelope")
        .field(Field::optional("before", row.clone()))
        .field(Field::optional("after", row))
        .build();
    let built = Schema::new(root).unwrap();
    let parsed = Schema::parse(built.canonical()).unwrap();
    assert_eq!(parsed.canonical(), built.canonical());
    assert!(built.canonical().contains(r#"{"name":"after","type":["null","Value"],"default":null}"#));
    assert_eq!(parsed.named("s.T.Value"), built.named("s.T.Value"));
}

#[test]
fn recursion_and_references_resolve() {
    let list = Schema::parse(r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#).unwrap();
    let field = &list.record().unwrap().fields[0];
    let Type::Union(union) = &field.ty else { panic!("no union") };
    assert!(matches!(list.resolve(&union.branches[1]), Type::Record(_)));
    let user = Schema::parse_with(r#"{"type":"array","items":"L"}"#, &[list]).unwrap();
    assert_eq!(user.canonical(), r#"{"type":"array","items":"L"}"#);
}

#[test]
fn faults_name_their_place() {
    let cases = [
        (r#"{"type":"record","name":"R","fields":[{"name":"a","type":"nope"}]}"#, "/fields/0/type"),
        (r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#, "twice"),
        (r#"["int","int"]"#, "twice"),
        (r#"["int",["null"]]"#, "union"),
        (r#"{"type":"enum","name":"E","symbols":["a-b"]}"#, "a-b"),
        (r#"{"type":"fixed","name":"F"}"#, "size"),
        ("nonsense", "not JSON"),
        (r#"{"name":"R"}"#, "type"),
    ];
    for (text, expected) in cases {
        let error = Schema::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn bounds_hold() {
    let nested = (0..80).fold("\"int\"".to_owned(), |inner, _| format!(r#"{{"type":"array","items":{inner}}}"#));
    assert!(Schema::parse(&nested).is_err());
    let deep = (0..MAX_DEPTH + 2).fold(Type::int(), |inner, _| Type::array(inner));
    assert!(Schema::new(deep).is_err());
    let wide = Type::record("W").fields((0..=MAX_FIELDS).map(|i| Field::new(&format!("f{i}"), Type::int()))).build();
    assert!(Schema::new(wide.clone()).is_err());
    let Type::Record(record) = wide else { unreachable!() };
    let fields: Vec<_> = record.fields.iter().map(|f| format!(r#"{{"name":"{}","type":"int"}}"#, f.name)).collect();
    assert!(Schema::parse(&format!(r#"{{"type":"record","name":"W","fields":[{}]}}"#, fields.join(","))).is_err());
    assert!(Schema::parse(&" ".repeat(MAX_TEXT + 1)).is_err());
}

#[test]
fn normalizing_sorts_extra_properties_only() {
    let schema = Schema::parse(r#"{"type":"bytes","scale":2,"precision":4,"logicalType":"decimal"}"#).unwrap();
    assert_eq!(schema.normalized(), r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#);
    assert_eq!(schema.canonical(), r#"{"type":"bytes","scale":2,"precision":4,"logicalType":"decimal"}"#);
}

proptest::proptest! {
    #[test]
    fn hostile_text_never_panics(text in r#"[\{\}\[\]",:a-z0-9 ]{0,80}"#) {
        let _ = Schema::parse(&text);
    }
}

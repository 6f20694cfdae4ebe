use super::*;
use crate::store::model::{Reference, SchemaType};

/// A state that takes what its own decisions write, as the log does.
#[derive(Default)]
struct World(Index);

impl World {
    fn run(&mut self, command: Command) -> Result<Value, u32> {
        let decision = decide(&self.0, &command).map_err(|error| error.code)?;
        decision.records.iter().for_each(|record| assert!(self.0.apply(record)));
        Ok(decision.answer)
    }

    fn register(&mut self, subject: &str, text: &str) -> Result<Value, u32> {
        self.run(registration(subject, text, None, None))
    }

    fn delete(&mut self, subject: &str, permanent: bool) -> Result<Value, u32> {
        self.run(Command::DeleteSubject { subject: subject.into(), permanent })
    }

    fn delete_version(&mut self, subject: &str, version: i32, permanent: bool) -> Result<Value, u32> {
        self.run(Command::DeleteVersion { subject: subject.into(), version: Some(version), permanent })
    }

    fn level(&mut self, level: Level) {
        let config = Config { level: Some(level), ..Config::default() };
        self.run(Command::PutConfig { subject: None, config }).unwrap();
    }

    fn mode(&mut self, subject: &str, mode: Mode, force: bool) -> Result<Value, u32> {
        self.run(Command::PutMode { subject: Some(subject.into()), mode, force })
    }
}

fn content(text: &str) -> Content {
    let references = Vec::new();
    Content { schema_type: SchemaType::Avro, schema: text.into(), references, metadata: None, rule_set: None }
}

fn registration(subject: &str, text: &str, id: Option<i32>, version: Option<i32>) -> Command {
    let content = Some(Arc::new(content(text)));
    Command::Register(Registration { subject: subject.into(), content, id, version })
}

fn record(fields: &[&str]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|name| format!(r#"{{"name":"{name}","type":"int","default":0}}"#)).collect();
    format!(r#"{{"type":"record","name":"R","fields":[{}]}}"#, fields.join(","))
}

const REQUIRED: &str = r#"{"type":"record","name":"R","fields":[{"name":"x","type":"int"}]}"#;

#[test]
fn ids_rise_and_a_known_schema_keeps_its_id() {
    let mut world = World::default();
    assert_eq!(world.register("s", &record(&["a"])), Ok(json!({"id": 1})));
    assert_eq!(world.register("s", &record(&["a", "b"])), Ok(json!({"id": 2})));
    assert_eq!(world.register("t", &record(&["a"])), Ok(json!({"id": 1})));
    assert_eq!(world.register("s", &record(&["a"])), Ok(json!({"id": 1})));
    assert_eq!(world.0.versions("s", Show::Live).count(), 2, "an answer without a write");
}

#[test]
fn levels_look_as_far_back_as_they_say() {
    let mut world = World::default();
    world.level(Level::None);
    world.register("s", r#"{"type":"record","name":"R","fields":[]}"#).unwrap();
    world.register("s", REQUIRED).unwrap();
    world.level(Level::BackwardTransitive);
    let optional_too =
        r#"{"type":"record","name":"R","fields":[{"name":"x","type":"int"},{"name":"y","type":"int","default":0}]}"#;
    assert_eq!(world.register("s", optional_too), Err(409), "the first version has no x");
    world.level(Level::Backward);
    assert_eq!(world.register("s", optional_too), Ok(json!({"id": 3})));
    world.level(Level::Forward);
    let without = r#"{"type":"record","name":"R","fields":[{"name":"y","type":"int","default":0}]}"#;
    assert_eq!(world.register("s", without), Err(409), "old readers need x");
    world.level(Level::Full);
    assert_eq!(world.register("s", r#""int""#), Err(409));
}

#[test]
fn soft_deletes_hide_and_permanent_ones_free() {
    let mut world = World::default();
    world.register("s", &record(&["a"])).unwrap();
    world.register("s", &record(&["a", "b"])).unwrap();
    assert_eq!(world.delete("s", true), Err(40405));
    assert_eq!(world.delete_version("s", 1, true), Err(40407));
    assert_eq!(world.delete_version("s", 1, false), Ok(json!(1)));
    assert_eq!(world.delete_version("s", 1, false), Err(40406));
    assert_eq!(world.delete("s", false), Ok(json!([2])));
    assert_eq!(world.delete("s", false), Err(40404));
    // Back under a new number with the old id; the old number is given up.
    assert_eq!(world.register("s", &record(&["a"])), Ok(json!({"id": 1})));
    let numbers: Vec<i32> = world.0.versions("s", Show::All).map(|version| version.number).collect();
    assert_eq!(numbers, [2, 3]);
    world.delete("s", false).unwrap();
    assert_eq!(world.delete("s", true), Ok(json!([2, 3])));
    assert_eq!(world.delete("s", true), Err(40401));
    assert!(world.0.named(1, None).is_none());
    assert_eq!(world.register("s", REQUIRED), Ok(json!({"id": 3})), "freed ids are not given again");
}

#[test]
fn referenced_versions_stay() {
    let mut world = World::default();
    world.register("base", r#"{"type":"fixed","name":"F","size":2}"#).unwrap();
    let mut user = content(r#"{"type":"record","name":"U","fields":[{"name":"f","type":"F"}]}"#);
    user.references.push(Reference { name: "F".into(), subject: "base".into(), version: 1 });
    let command = Registration { subject: "user".into(), content: Some(Arc::new(user)), id: None, version: None };
    world.run(Command::Register(command)).unwrap();
    assert_eq!(world.delete("base", false), Err(42206));
    assert_eq!(world.delete_version("base", 1, false), Err(42206));
    world.delete("user", false).unwrap();
    assert_eq!(world.delete("base", false), Ok(json!([1])));
}

#[test]
fn modes_refuse_writes_and_let_imports_choose_ids() {
    let mut world = World::default();
    world.register("s", &record(&["a"])).unwrap();
    world.mode("s", Mode::ReadOnly, false).unwrap();
    assert_eq!(world.register("s", &record(&["a"])), Ok(json!({"id": 1})), "what is there is answered");
    assert_eq!(world.register("s", &record(&["b"])), Err(42205));
    assert_eq!(world.delete("s", false), Err(42205));
    assert_eq!(world.mode("s", Mode::Import, false), Err(42205));
    assert_eq!(world.run(registration("t", REQUIRED, Some(9), None)), Err(42205), "an id outside of an import");
    world.mode("t", Mode::Import, false).unwrap();
    assert_eq!(world.run(registration("t", REQUIRED, Some(1), None)), Err(42205), "the id names another schema");
    assert_eq!(world.run(registration("t", REQUIRED, Some(100_500), Some(4))), Ok(json!({"id": 100_500})));
    assert_eq!(world.0.highest_version("t"), 4);
    assert_eq!(world.register("u", &record(&["z"])), Ok(json!({"id": 100_501})));
}

#[test]
fn an_empty_schema_asks_for_the_latest() {
    let mut world = World::default();
    let empty = || Command::Register(Registration { subject: "s".into(), content: None, id: None, version: None });
    assert_eq!(world.run(empty()), Err(42201));
    world.register("s", &record(&["a"])).unwrap();
    assert_eq!(world.run(empty()).unwrap()["id"], json!(1));
}

#[test]
fn configurations_and_modes_are_forgotten_with_their_old_value() {
    let mut world = World::default();
    assert_eq!(world.run(Command::DeleteConfig { subject: None }), Ok(json!({"compatibilityLevel": "BACKWARD"})));
    assert_eq!(world.run(Command::DeleteConfig { subject: Some("s".into()) }), Err(40401));
    assert_eq!(world.run(Command::DeleteMode { subject: Some("s".into()) }), Err(40401));
    world.mode("s", Mode::Import, false).unwrap();
    assert_eq!(world.run(Command::DeleteMode { subject: Some("s".into()) }), Ok(json!({"mode": "IMPORT"})));
}

//! Schema text to model. Every message carries a JSON pointer.

use std::sync::Arc;

use ahash::AHashMap;
use serde_json::{Map, Value as Json};

use super::{EnumType, Field, FixedType, Items, Kind, MAX_DEPTH, MAX_FIELDS, MAX_TEXT, Name, Order, Primitive, Props};
use super::{RecordType, Semantic, Type};
use crate::AvroError;
use crate::value::Shape;

type Names = AHashMap<Name, Type>;

/// Root and all named types. `names` holds those that other schemas define.
pub(super) fn parse(text: &str, names: Names) -> Result<(Type, Names), AvroError> {
    if text.len() > MAX_TEXT {
        return Err(AvroError::schema("", format!("the text has {} bytes, more than {MAX_TEXT}", text.len())));
    }
    let json = match serde_json::from_str::<Json>(text) {
        Ok(json) => json,
        // a bare type word, which Avro's own parsers take too
        Err(_) if Kind::of(text.trim()).is_some() => Json::String(text.trim().to_owned()),
        Err(e) => return Err(AvroError::schema("", format!("not JSON: {e}"))),
    };
    let mut parser = Parser { names, open: Vec::new(), fields: 0, at: String::new(), depth: 0 };
    let root = parser.ty(&json, None)?;
    Ok((root, parser.names))
}

struct Parser {
    names: Names,
    /// Records whose definition is being read: they may refer to themselves.
    open: Vec<Name>,
    fields: usize,
    at: String,
    depth: usize,
}

impl Parser {
    fn fail<T>(&self, cause: impl Into<String>) -> Result<T, AvroError> {
        Err(AvroError::schema(&self.at, cause))
    }

    /// Runs `f` with `/part` appended to the pointer.
    fn inside<T>(&mut self, part: &str, f: impl FnOnce(&mut Self) -> Result<T, AvroError>) -> Result<T, AvroError> {
        let length = self.at.len();
        self.at.push('/');
        self.at.push_str(part);
        let result = f(self)?;
        self.at.truncate(length);
        Ok(result)
    }

    fn ty(&mut self, json: &Json, space: Option<&str>) -> Result<Type, AvroError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail(format!("types nest deeper than {MAX_DEPTH}"));
        }
        let ty = match json {
            Json::String(word) => self.word(word, space),
            Json::Array(branches) => self.union(branches, space),
            Json::Object(object) => self.object(object, space),
            _ => self.fail("a type is a name, a list or an object"),
        }?;
        self.depth -= 1;
        Ok(ty)
    }

    fn word(&self, word: &str, space: Option<&str>) -> Result<Type, AvroError> {
        if let Some(kind) = Kind::of(word) {
            return Ok(Type::primitive(kind));
        }
        for name in [Name::new(word, space), Name::new(word, None)] {
            if self.names.contains_key(&name) || self.open.contains(&name) {
                return Ok(Type::Ref(name));
            }
        }
        self.fail(format!("no type is called \"{word}\""))
    }

    fn union(&mut self, branches: &[Json], space: Option<&str>) -> Result<Type, AvroError> {
        let mut types: Vec<Type> = Vec::with_capacity(branches.len().min(64));
        let mut seen: Vec<String> = Vec::new();
        for (i, branch) in branches.iter().enumerate() {
            let ty = self.inside(&i.to_string(), |p| p.ty(branch, space))?;
            if matches!(ty, Type::Union(_)) {
                return self.fail("a union stands directly in a union");
            }
            let key = ty.name().map_or_else(|| ty.describe(), ToString::to_string);
            if seen.contains(&key) {
                return self.fail(format!("the union has {key} twice"));
            }
            seen.push(key);
            types.push(ty);
        }
        Ok(Type::union(types))
    }

    fn object(&mut self, object: &Map<String, Json>, space: Option<&str>) -> Result<Type, AvroError> {
        let word = match object.get("type") {
            Some(Json::String(word)) => word.as_str(),
            Some(nested @ (Json::Object(_) | Json::Array(_))) => return self.inside("type", |p| p.ty(nested, space)),
            _ => return self.fail("the object has no \"type\""),
        };
        match word {
            "record" | "error" => self.record(object, space),
            "enum" => self.enumeration(object, space),
            "fixed" => self.fixed(object, space),
            "array" => self.items(object, "items", space).map(|items| Type::Array(Arc::new(items))),
            "map" => self.items(object, "values", space).map(|items| Type::Map(Arc::new(items))),
            _ => match Kind::of(word) {
                Some(kind) => Ok(Type::Primitive(Primitive::new(kind, props(object, &[])))),
                None => self.word(word, space),
            },
        }
    }

    fn items(&mut self, object: &Map<String, Json>, key: &str, space: Option<&str>) -> Result<Items, AvroError> {
        let Some(json) = object.get(key) else { return self.fail(format!("\"{key}\" is missing")) };
        let ty = self.inside(key, |p| p.ty(json, space))?;
        Ok(Items { ty, props: props(object, &[]) })
    }

    fn record(&mut self, object: &Map<String, Json>, space: Option<&str>) -> Result<Type, AvroError> {
        let head = self.head(object, space)?;
        let Some(Json::Array(list)) = object.get("fields") else { return self.fail("\"fields\" is not a list") };
        self.fields += list.len();
        if self.fields > MAX_FIELDS {
            return self.fail(format!("more than {MAX_FIELDS} fields"));
        }
        self.open.push(head.name.clone());
        let inner = head.name.namespace().map(str::to_owned);
        let mut fields: Vec<Field> = Vec::with_capacity(list.len());
        for (i, json) in list.iter().enumerate() {
            let field = self.inside(&format!("fields/{i}"), |p| p.field(json, inner.as_deref()))?;
            if fields.iter().any(|other| other.name == field.name) {
                return self.fail(format!("field {} stands twice", field.name));
            }
            fields.push(field);
        }
        self.open.pop();
        let is_error = object.get("type").and_then(Json::as_str) == Some("error");
        let mut record = RecordType {
            shape: Shape::new("", Vec::new()),
            name: head.name,
            doc: head.doc,
            aliases: head.aliases,
            fields,
            props: props(object, &[]),
            is_error,
            semantic: Semantic::Plain,
        };
        record.finish();
        self.define(Type::Record(Arc::new(record)))
    }

    fn field(&mut self, json: &Json, space: Option<&str>) -> Result<Field, AvroError> {
        let Json::Object(object) = json else { return self.fail("a field is an object") };
        let Some(name) = object.get("name").and_then(Json::as_str) else { return self.fail("the field has no name") };
        self.check_name(name)?;
        let Some(ty) = object.get("type") else { return self.fail(format!("field {name} has no type")) };
        let ty = self.inside("type", |p| p.ty(ty, space))?;
        let order = match object.get("order").and_then(Json::as_str) {
            None => Order::Ascending,
            Some(word) if word.eq_ignore_ascii_case("ascending") => Order::Ascending,
            Some(word) if word.eq_ignore_ascii_case("descending") => Order::Descending,
            Some(word) if word.eq_ignore_ascii_case("ignore") => Order::Ignore,
            Some(word) => return self.fail(format!("\"{word}\" is not a sort order")),
        };
        let mut rest = object.clone();
        for key in ["default", "doc", "name", "order", "type", "aliases"] {
            rest.shift_remove(key);
        }
        Ok(Field {
            name: name.into(),
            ty,
            doc: object.get("doc").and_then(Json::as_str).map(str::to_owned),
            default: object.get("default").cloned(),
            order,
            aliases: self.words(object, "aliases")?,
            props: rest.into(),
        })
    }

    fn enumeration(&mut self, object: &Map<String, Json>, space: Option<&str>) -> Result<Type, AvroError> {
        let head = self.head(object, space)?;
        if !matches!(object.get("symbols"), Some(Json::Array(_))) {
            return self.fail("\"symbols\" is not a list");
        }
        let symbols = self.words(object, "symbols")?;
        for (i, symbol) in symbols.iter().enumerate() {
            self.check_name(symbol)?;
            if symbols.iter().take(i).any(|other| other == symbol) {
                return self.fail(format!("symbol {symbol} stands twice"));
            }
        }
        let default = object.get("default").and_then(Json::as_str).map(str::to_owned);
        if let Some(default) = default.as_ref().filter(|d| !symbols.contains(d)) {
            return self.fail(format!("the default {default} is not one of the symbols"));
        }
        self.define(Type::Enum(Arc::new(EnumType {
            name: head.name,
            doc: head.doc,
            aliases: head.aliases,
            symbols: symbols.into_iter().map(Arc::from).collect(),
            default,
            props: props(object, &["default"]),
        })))
    }

    fn fixed(&mut self, object: &Map<String, Json>, space: Option<&str>) -> Result<Type, AvroError> {
        let head = self.head(object, space)?;
        let size = object.get("size").and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok());
        let Some(size) = size else { return self.fail("\"size\" is not a whole number") };
        let props = props(object, &[]);
        let semantic = Semantic::of_fixed(&props);
        self.define(Type::Fixed(Arc::new(FixedType {
            name: head.name,
            doc: head.doc,
            aliases: head.aliases,
            size,
            props,
            semantic,
        })))
    }

    fn define(&mut self, ty: Type) -> Result<Type, AvroError> {
        if let Some(name) = ty.name() {
            self.names.insert(name.clone(), ty.clone());
        }
        Ok(ty)
    }

    fn head(&self, object: &Map<String, Json>, space: Option<&str>) -> Result<Head, AvroError> {
        let Some(text) = object.get("name").and_then(Json::as_str) else { return self.fail("the type has no name") };
        let space = object.get("namespace").and_then(Json::as_str).or(space);
        let name = Name::new(text, space);
        for part in name.full().split('.') {
            self.check_name(part)?;
        }
        if self.names.contains_key(&name) || self.open.contains(&name) {
            return self.fail(format!("{name} is defined twice"));
        }
        if name.namespace().is_none() && Kind::of(name.simple()).is_some() {
            return self.fail(format!("a type cannot be called {name}"));
        }
        let own = name.namespace();
        let aliases = self.words(object, "aliases")?.iter().map(|alias| Name::new(alias, own)).collect();
        Ok(Head { aliases, doc: object.get("doc").and_then(Json::as_str).map(str::to_owned), name })
    }

    fn words(&self, object: &Map<String, Json>, key: &str) -> Result<Vec<String>, AvroError> {
        let Some(json) = object.get(key) else { return Ok(Vec::new()) };
        let words = json.as_array().map(|list| list.iter().map(|w| w.as_str().map(str::to_owned)).collect());
        match words {
            Some(Some(words)) => Ok(words),
            _ => self.fail(format!("\"{key}\" is not a list of names")),
        }
    }

    fn check_name(&self, name: &str) -> Result<(), AvroError> {
        let mut chars = name.chars();
        let start = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_');
        if start && chars.all(|c| c.is_alphanumeric() || c == '_') {
            return Ok(());
        }
        self.fail(format!("\"{name}\" is not a name: letters, digits and _ only, no digit first"))
    }
}

struct Head {
    name: Name,
    doc: Option<String>,
    aliases: Vec<Name>,
}

/// What is left when Avro's own attributes are taken away.
fn props(object: &Map<String, Json>, also: &[&str]) -> Props {
    const OWN: [&str; 10] =
        ["doc", "fields", "items", "name", "namespace", "size", "symbols", "values", "type", "aliases"];
    let rest: Map<String, Json> = object
        .iter()
        .filter(|(key, _)| !OWN.contains(&key.as_str()) && !also.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    rest.into()
}

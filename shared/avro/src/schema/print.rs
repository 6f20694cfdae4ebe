//! The canonical text: attribute order and name shortening of Avro's Java library, which Confluent's registry hashes.

use serde_json::Value as Json;

use super::{Field, Name, Order, Props, Type};

/// Prints `root`; types in `external` are always references. `sorted` orders extra properties by name.
pub(super) fn print(root: &Type, external: &[Name], sorted: bool) -> String {
    let mut printer = Printer { out: String::with_capacity(1024), written: external.to_vec(), space: None, sorted };
    printer.ty(root);
    printer.out
}

struct Printer {
    out: String,
    written: Vec<Name>,
    space: Option<String>,
    sorted: bool,
}

impl Printer {
    fn ty(&mut self, ty: &Type) {
        match ty {
            Type::Ref(name) => self.reference(name),
            Type::Primitive(p) if p.props().is_empty() => self.text(p.kind().name()),
            Type::Primitive(p) => {
                self.out.push_str("{\"type\":");
                self.text(p.kind().name());
                self.props(p.props());
                self.out.push('}');
            }
            Type::Array(items) => self.items("array", "items", &items.ty, &items.props),
            Type::Map(items) => self.items("map", "values", &items.ty, &items.props),
            Type::Union(union) => {
                self.out.push('[');
                for (i, branch) in union.branches.iter().enumerate() {
                    if i > 0 {
                        self.out.push(',');
                    }
                    self.ty(branch);
                }
                self.out.push(']');
            }
            Type::Record(_) | Type::Enum(_) | Type::Fixed(_) => self.named(ty),
        }
    }

    fn named(&mut self, ty: &Type) {
        let Some(name) = ty.name() else { return };
        if self.written.contains(name) {
            return self.reference(name);
        }
        self.written.push(name.clone());
        let outer = self.space.clone();
        let word = match ty {
            Type::Record(record) if record.is_error => "error",
            Type::Record(_) => "record",
            Type::Enum(_) => "enum",
            _ => "fixed",
        };
        self.out.push_str("{\"type\":");
        self.text(word);
        self.name(name);
        self.space = name.namespace().map(str::to_owned);
        let aliases = match ty {
            Type::Record(t) => {
                self.doc(t.doc.as_deref());
                self.out.push_str(",\"fields\":[");
                for (i, field) in t.fields.iter().enumerate() {
                    if i > 0 {
                        self.out.push(',');
                    }
                    self.field(field);
                }
                self.out.push(']');
                self.props(&t.props);
                &t.aliases
            }
            Type::Enum(t) => {
                self.doc(t.doc.as_deref());
                self.key("symbols");
                self.list(t.symbols.iter().map(AsRef::as_ref));
                if let Some(default) = &t.default {
                    self.key("default");
                    self.text(default);
                }
                self.props(&t.props);
                &t.aliases
            }
            Type::Fixed(t) => {
                self.doc(t.doc.as_deref());
                self.key("size");
                self.out.push_str(&t.size.to_string());
                self.props(&t.props);
                &t.aliases
            }
            _ => return,
        };
        if !aliases.is_empty() {
            self.key("aliases");
            let space = name.namespace();
            self.list(aliases.iter().map(|alias| qualified(alias, space)));
        }
        self.out.push('}');
        self.space = outer;
    }

    fn field(&mut self, field: &Field) {
        self.out.push_str("{\"name\":");
        self.text(&field.name);
        self.key("type");
        self.ty(&field.ty);
        self.doc(field.doc.as_deref());
        if let Some(default) = &field.default {
            self.key("default");
            self.json(default);
        }
        match field.order {
            Order::Ascending => {}
            Order::Descending => self.out.push_str(",\"order\":\"descending\""),
            Order::Ignore => self.out.push_str(",\"order\":\"ignore\""),
        }
        if !field.aliases.is_empty() {
            self.key("aliases");
            self.list(field.aliases.iter().map(String::as_str));
        }
        self.props(&field.props);
        self.out.push('}');
    }

    fn items(&mut self, word: &str, key: &str, ty: &Type, props: &Props) {
        self.out.push_str("{\"type\":");
        self.text(word);
        self.key(key);
        self.ty(ty);
        self.props(props);
        self.out.push('}');
    }

    fn name(&mut self, name: &Name) {
        self.key("name");
        self.text(name.simple());
        match name.namespace() {
            Some(space) if Some(space) != self.space.as_deref() => {
                self.key("namespace");
                self.text(space);
            }
            None if self.space.is_some() => self.out.push_str(",\"namespace\":\"\""),
            _ => {}
        }
    }

    fn reference(&mut self, name: &Name) {
        let space = self.space.clone();
        self.text(qualified(name, space.as_deref()));
    }

    fn doc(&mut self, doc: Option<&str>) {
        if let Some(doc) = doc {
            self.key("doc");
            self.text(doc);
        }
    }

    fn props(&mut self, props: &Props) {
        let mut pairs: Vec<_> = props.iter().collect();
        if self.sorted {
            pairs.sort_by_key(|(key, _)| *key);
        }
        for (key, value) in pairs {
            self.key(key);
            self.json(value);
        }
    }

    fn list<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        self.out.push('[');
        for (i, word) in words.enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            self.text(word);
        }
        self.out.push(']');
    }

    fn key(&mut self, key: &str) {
        self.out.push(',');
        self.text(key);
        self.out.push(':');
    }

    fn text(&mut self, text: &str) {
        self.json(&Json::String(text.to_owned()));
    }

    fn json(&mut self, value: &Json) {
        self.out.push_str(&value.to_string());
    }
}

/// A name as written inside `space`: short when it lies there and cannot be taken for a type word.
fn qualified<'a>(name: &'a Name, space: Option<&str>) -> &'a str {
    const WORDS: [&str; 14] = [
        "record", "enum", "array", "map", "union", "fixed", "string", "bytes", "int", "long", "float", "double",
        "boolean", "null",
    ];
    match name.namespace() {
        Some(own) if Some(own) == space && !WORDS.contains(&name.simple()) => name.simple(),
        _ => name.full(),
    }
}

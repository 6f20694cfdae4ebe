//! Building schemas in code.

use std::sync::Arc;

use ahash::AHashMap;
use serde_json::Value as Json;

use super::{EnumType, Field, FixedType, Items, Kind, MAX_DEPTH, MAX_FIELDS, Name, Order, Primitive, Props};
use super::{RecordType, Semantic, Type, Union};
use crate::AvroError;
use crate::value::Shape;

impl Type {
    /// A primitive without properties.
    pub fn primitive(kind: Kind) -> Self {
        Self::Primitive(Primitive::new(kind, Props::default()))
    }

    /// `boolean`
    pub fn boolean() -> Self {
        Self::primitive(Kind::Boolean)
    }

    /// `int`
    pub fn int() -> Self {
        Self::primitive(Kind::Int)
    }

    /// `long`
    pub fn long() -> Self {
        Self::primitive(Kind::Long)
    }

    /// `float`
    pub fn float() -> Self {
        Self::primitive(Kind::Float)
    }

    /// `double`
    pub fn double() -> Self {
        Self::primitive(Kind::Double)
    }

    /// `bytes`
    pub fn bytes() -> Self {
        Self::primitive(Kind::Bytes)
    }

    /// `string`
    pub fn string() -> Self {
        Self::primitive(Kind::String)
    }

    /// An array of `item`.
    pub fn array(item: Type) -> Self {
        Self::Array(Arc::new(Items { ty: item, props: Props::default() }))
    }

    /// A map from string to `value`.
    pub fn map(value: Type) -> Self {
        Self::Map(Arc::new(Items { ty: value, props: Props::default() }))
    }

    /// An enum.
    pub fn enumeration(full_name: &str, symbols: &[&str]) -> Self {
        Self::Enum(Arc::new(EnumType {
            name: Name::new(full_name, None),
            doc: None,
            aliases: Vec::new(),
            symbols: symbols.iter().map(|s| Arc::from(*s)).collect(),
            default: None,
            props: Props::default(),
        }))
    }

    /// A fixed of `size` bytes.
    pub fn fixed(full_name: &str, size: usize) -> Self {
        let props = Props::default();
        let name = Name::new(full_name, None);
        Self::Fixed(Arc::new(FixedType {
            name,
            doc: None,
            aliases: Vec::new(),
            size,
            props,
            semantic: Semantic::Plain,
        }))
    }

    /// `["null", self]`; a union stays what it is.
    pub fn optional(self) -> Self {
        match self {
            Self::Union(_) => self,
            other => Self::union(vec![Self::primitive(Kind::Null), other]),
        }
    }

    /// A union of the branches as given.
    pub fn union(branches: Vec<Type>) -> Self {
        Self::Union(Arc::new(Union { branches }))
    }

    /// Adds a property such as `connect.name`; meaning follows. Unions and references carry none and stay as they are.
    #[must_use]
    pub fn with(self, key: &str, value: impl Into<Json>) -> Self {
        let value = value.into();
        let set = |props: &Props| {
            let mut props = props.clone();
            props.set(key, value);
            props
        };
        match self {
            Self::Primitive(p) => Self::Primitive(Primitive::new(p.kind(), set(p.props()))),
            Self::Record(t) => {
                let props = set(&t.props);
                let semantic = Semantic::of_record(&props, &t.fields);
                Self::Record(Arc::new(RecordType { props, semantic, ..(*t).clone() }))
            }
            Self::Enum(t) => Self::Enum(Arc::new(EnumType { props: set(&t.props), ..(*t).clone() })),
            Self::Fixed(t) => {
                let props = set(&t.props);
                let semantic = Semantic::of_fixed(&props);
                Self::Fixed(Arc::new(FixedType { props, semantic, ..(*t).clone() }))
            }
            Self::Array(t) => Self::Array(Arc::new(Items { props: set(&t.props), ty: t.ty.clone() })),
            Self::Map(t) => Self::Map(Arc::new(Items { props: set(&t.props), ty: t.ty.clone() })),
            other => other,
        }
    }

    /// Starts a record: `Type::record("shop.Order").field(Field::new("id", Type::long())).build()`.
    pub fn record(full_name: &str) -> RecordBuilder {
        RecordBuilder {
            record: RecordType {
                name: Name::new(full_name, None),
                doc: None,
                aliases: Vec::new(),
                fields: Vec::new(),
                props: Props::default(),
                is_error: false,
                semantic: Semantic::Plain,
                shape: Shape::new(full_name, Vec::new()),
            },
        }
    }
}

/// Collects a record's parts.
#[derive(Debug)]
pub struct RecordBuilder {
    record: RecordType,
}

impl RecordBuilder {
    /// Appends a field.
    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        self.record.fields.push(field);
        self
    }

    /// Appends fields.
    #[must_use]
    pub fn fields(mut self, fields: impl IntoIterator<Item = Field>) -> Self {
        self.record.fields.extend(fields);
        self
    }

    /// Sets documentation.
    #[must_use]
    pub fn doc(mut self, doc: &str) -> Self {
        self.record.doc = Some(doc.to_owned());
        self
    }

    /// Adds a property.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.record.props.set(key, value.into());
        self
    }

    /// The record as a type.
    pub fn build(mut self) -> Type {
        self.record.finish();
        Type::Record(Arc::new(self.record))
    }
}

impl RecordType {
    pub(crate) fn finish(&mut self) {
        self.semantic = Semantic::of_record(&self.props, &self.fields);
        let names = self.fields.iter().map(|f| Arc::clone(&f.name)).collect();
        self.shape = Shape::new(self.name.full(), names);
    }
}

impl Field {
    /// A field without default.
    pub fn new(name: &str, ty: Type) -> Self {
        Self {
            name: name.into(),
            ty,
            doc: None,
            default: None,
            order: Order::Ascending,
            aliases: Vec::new(),
            props: Props::default(),
        }
    }

    /// `["null", T]` with default null.
    pub fn optional(name: &str, ty: Type) -> Self {
        Self::new(name, ty.optional()).default_to(Json::Null)
    }

    /// Sets the default.
    #[must_use]
    pub fn default_to(mut self, value: impl Into<Json>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Sets documentation.
    #[must_use]
    pub fn doc(mut self, doc: &str) -> Self {
        self.doc = Some(doc.to_owned());
        self
    }
}

/// All named types below `root`, checked.
pub(super) fn collect(root: &Type) -> Result<AHashMap<Name, Type>, AvroError> {
    let mut found = Collector { names: AHashMap::new(), refs: Vec::new(), fields: 0 };
    found.visit(root, 0)?;
    for name in &found.refs {
        if !found.names.contains_key(name) {
            return Err(AvroError::schema("", format!("{name} is used but not defined")));
        }
    }
    Ok(found.names)
}

struct Collector {
    names: AHashMap<Name, Type>,
    refs: Vec<Name>,
    fields: usize,
}

impl Collector {
    fn visit(&mut self, ty: &Type, depth: usize) -> Result<(), AvroError> {
        if depth > MAX_DEPTH {
            return Err(AvroError::schema("", format!("types nest deeper than {MAX_DEPTH}")));
        }
        if let Type::Ref(name) = ty {
            self.refs.push(name.clone());
            return Ok(());
        }
        if let Some(name) = ty.name() {
            match self.names.get(name) {
                Some(known) if known == ty => return Ok(()),
                Some(_) => return Err(AvroError::schema("", format!("{name} is defined twice, differently"))),
                None => self.names.insert(name.clone(), ty.clone()),
            };
        }
        match ty {
            Type::Record(record) => {
                self.fields += record.fields.len();
                if self.fields > MAX_FIELDS {
                    return Err(AvroError::schema("", format!("more than {MAX_FIELDS} fields")));
                }
                record.fields.iter().try_for_each(|field| self.visit(&field.ty, depth + 1))
            }
            Type::Array(items) | Type::Map(items) => self.visit(&items.ty, depth + 1),
            Type::Union(union) => union.branches.iter().try_for_each(|branch| self.visit(branch, depth + 1)),
            _ => Ok(()),
        }
    }
}

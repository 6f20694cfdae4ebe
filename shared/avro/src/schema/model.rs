//! Types and fields.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Name, Props, Semantic};
use crate::value::Shape;

/// The eight primitive kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `null`
    Null,
    /// `boolean`
    Boolean,
    /// `int`, 32 bits
    Int,
    /// `long`, 64 bits
    Long,
    /// `float`
    Float,
    /// `double`
    Double,
    /// `bytes`
    Bytes,
    /// `string`
    String,
}

impl Kind {
    /// The word in schema texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
        }
    }

    /// The kind of a word, if it is one.
    pub fn of(word: &str) -> Option<Self> {
        Some(match word {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "int" => Self::Int,
            "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            "bytes" => Self::Bytes,
            "string" => Self::String,
            _ => return None,
        })
    }
}

/// A type, cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// One of the eight kinds with its properties.
    Primitive(Primitive),
    /// A record's definition.
    Record(Arc<RecordType>),
    /// An enum's definition.
    Enum(Arc<EnumType>),
    /// A fixed's definition.
    Fixed(Arc<FixedType>),
    /// An array.
    Array(Arc<Items>),
    /// A map with string keys.
    Map(Arc<Items>),
    /// A union.
    Union(Arc<Union>),
    /// A type that is defined elsewhere in the schema; [`super::Schema::resolve`] follows it.
    Ref(Name),
}

/// A primitive type.
#[derive(Debug, Clone, PartialEq)]
pub struct Primitive {
    kind: Kind,
    props: Props,
    semantic: Semantic,
}

impl Primitive {
    /// With its properties; what they mean is derived here, once.
    pub fn new(kind: Kind, props: Props) -> Self {
        let semantic = Semantic::of_primitive(kind, &props);
        Self { kind, props, semantic }
    }

    /// Which of the eight.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Extra properties.
    pub fn props(&self) -> &Props {
        &self.props
    }

    /// What `logicalType` and `connect.name` say.
    pub fn semantic(&self) -> Semantic {
        self.semantic
    }
}

/// A record. Build one with [`Type::record`].
#[derive(Debug, Clone)]
pub struct RecordType {
    /// Full name.
    pub name: Name,
    /// Documentation.
    pub doc: Option<String>,
    /// Other names that readers accept.
    pub aliases: Vec<Name>,
    /// In order.
    pub fields: Vec<Field>,
    /// Extra properties.
    pub props: Props,
    /// `error` instead of `record` in the text.
    pub is_error: bool,
    pub(crate) semantic: Semantic,
    pub(crate) shape: Arc<Shape>,
}

impl PartialEq for RecordType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.doc == other.doc
            && self.aliases == other.aliases
            && self.fields == other.fields
            && self.props == other.props
    }
}

impl RecordType {
    /// A field by name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name.as_ref() == name)
    }

    /// Name and field names, shared with every value of this record.
    pub fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// What `connect.name` says.
    pub fn semantic(&self) -> Semantic {
        self.semantic
    }
}

/// Sort order of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The default.
    #[default]
    Ascending,
    /// `descending`
    Descending,
    /// `ignore`
    Ignore,
}

/// A record's field.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Simple name.
    pub name: Arc<str>,
    /// Its type.
    pub ty: Type,
    /// Documentation.
    pub doc: Option<String>,
    /// Default as in the text.
    pub default: Option<Json>,
    /// Sort order.
    pub order: Order,
    /// Other names that readers accept.
    pub aliases: Vec<String>,
    /// Extra properties.
    pub props: Props,
}

/// An enum.
#[derive(Debug, Clone, PartialEq)]
pub struct EnumType {
    /// Full name.
    pub name: Name,
    /// Documentation.
    pub doc: Option<String>,
    /// Other names that readers accept.
    pub aliases: Vec<Name>,
    /// In order.
    pub symbols: Vec<Arc<str>>,
    /// For symbols that a reader does not know.
    pub default: Option<String>,
    /// Extra properties.
    pub props: Props,
}

/// A fixed.
#[derive(Debug, Clone, PartialEq)]
pub struct FixedType {
    /// Full name.
    pub name: Name,
    /// Documentation.
    pub doc: Option<String>,
    /// Other names that readers accept.
    pub aliases: Vec<Name>,
    /// Bytes.
    pub size: usize,
    /// Extra properties.
    pub props: Props,
    pub(crate) semantic: Semantic,
}

impl FixedType {
    /// What `logicalType` says.
    pub fn semantic(&self) -> Semantic {
        self.semantic
    }
}

/// What an array or map holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Items {
    /// Type of each.
    pub ty: Type,
    /// Extra properties.
    pub props: Props,
}

/// A union's branches.
#[derive(Debug, Clone, PartialEq)]
pub struct Union {
    /// In order.
    pub branches: Vec<Type>,
}

impl Union {
    /// Position of the null branch.
    pub fn null(&self) -> Option<usize> {
        self.branches.iter().position(Type::is_null)
    }
}

impl Type {
    /// True for the primitive `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Primitive(p) if p.kind == Kind::Null)
    }

    /// The full name of a record, enum, fixed or reference.
    pub fn name(&self) -> Option<&Name> {
        match self {
            Self::Record(t) => Some(&t.name),
            Self::Enum(t) => Some(&t.name),
            Self::Fixed(t) => Some(&t.name),
            Self::Ref(name) => Some(name),
            _ => None,
        }
    }

    /// Extra properties; a union and a reference have none.
    pub fn props(&self) -> Option<&Props> {
        match self {
            Self::Primitive(t) => Some(&t.props),
            Self::Record(t) => Some(&t.props),
            Self::Enum(t) => Some(&t.props),
            Self::Fixed(t) => Some(&t.props),
            Self::Array(t) | Self::Map(t) => Some(&t.props),
            Self::Union(_) | Self::Ref(_) => None,
        }
    }

    /// For `["null", T]` and `[T, "null"]`: T. Any other type is itself.
    pub fn non_null(&self) -> &Type {
        match self {
            Self::Union(union) => match union.branches.as_slice() {
                [a, b] if a.is_null() => b,
                [a, b] if b.is_null() => a,
                _ => self,
            },
            other => other,
        }
    }

    /// True when a null can be written.
    pub fn is_nullable(&self) -> bool {
        self.is_null() || matches!(self, Self::Union(union) if union.null().is_some())
    }

    /// The word for messages: `int`, `record ns.Name`, `union`.
    pub fn describe(&self) -> String {
        match self {
            Self::Primitive(p) => p.kind.name().to_owned(),
            Self::Record(t) => format!("record {}", t.name),
            Self::Enum(t) => format!("enum {}", t.name),
            Self::Fixed(t) => format!("fixed {}", t.name),
            Self::Array(_) => "array".to_owned(),
            Self::Map(_) => "map".to_owned(),
            Self::Union(_) => "union".to_owned(),
            Self::Ref(name) => name.to_string(),
        }
    }
}

//! The schema model: everything the text said, resolved by name, plus what it means.
//!
//! A schema is built once and shared as `Arc<Schema>`. Named types are held by `Arc`; a later use of a name is a
//! [`Type::Ref`] that [`Schema::resolve`] follows.

mod build;
mod model;
mod names;
mod parse;
mod print;
mod semantic;

use std::fmt;
use std::sync::Arc;

use ahash::AHashMap;

pub use build::RecordBuilder;
pub use model::{EnumType, Field, FixedType, Items, Kind, Order, Primitive, RecordType, Type, Union};
pub use names::{Name, Props};
pub use semantic::Semantic;

use crate::AvroError;

/// Most bytes a schema text may have.
pub const MAX_TEXT: usize = 1 << 20;
/// Deepest nesting of types.
pub const MAX_DEPTH: usize = 64;
/// Most fields of all records of one schema together.
pub const MAX_FIELDS: usize = 2000;

/// A complete schema: root type, all named types, and the canonical text.
#[derive(Clone)]
pub struct Schema {
    root: Type,
    names: AHashMap<Name, Type>,
    external: Vec<Name>,
    canonical: String,
}

impl Schema {
    /// Parses a schema's JSON text, at most [`MAX_TEXT`] bytes.
    ///
    /// # Errors
    /// [`AvroError::Schema`] with a JSON pointer to the first fault.
    pub fn parse(text: &str) -> Result<Arc<Self>, AvroError> {
        Self::parse_with(text, &[])
    }

    /// Parses a text that may use the named types of `references` without defining them.
    ///
    /// # Errors
    /// As [`Schema::parse`].
    pub fn parse_with(text: &str, references: &[Arc<Schema>]) -> Result<Arc<Self>, AvroError> {
        let mut names = AHashMap::new();
        for schema in references {
            for (name, ty) in &schema.names {
                names.insert(name.clone(), ty.clone());
            }
        }
        let external: Vec<Name> = names.keys().cloned().collect();
        let (root, names) = parse::parse(text, names)?;
        Ok(Arc::new(Self::assemble(root, names, external)))
    }

    /// Makes a schema from types built in code.
    ///
    /// # Errors
    /// When two different types share a name, a reference has no definition, or a bound is passed.
    pub fn new(root: Type) -> Result<Arc<Self>, AvroError> {
        let names = build::collect(&root)?;
        Ok(Arc::new(Self::assemble(root, names, Vec::new())))
    }

    fn assemble(root: Type, names: AHashMap<Name, Type>, external: Vec<Name>) -> Self {
        let canonical = print::print(&root, &external, false);
        Self { root, names, external, canonical }
    }

    /// The outermost type.
    pub fn root(&self) -> &Type {
        &self.root
    }

    /// The root when it is a record.
    pub fn record(&self) -> Option<&Arc<RecordType>> {
        match self.resolve(&self.root) {
            Type::Record(record) => Some(record),
            _ => None,
        }
    }

    /// The schema as Confluent's registry prints and hashes it: one id for all layouts of one schema. Documentation,
    /// defaults, aliases and extra properties stay (this is not Avro's "parsing canonical form").
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The canonical text with extra properties in name order: the registry's `normalize=true`.
    pub fn normalized(&self) -> String {
        print::print(&self.root, &self.external, true)
    }

    /// Follows a reference to its definition; any other type is returned as it is.
    pub fn resolve<'a>(&'a self, ty: &'a Type) -> &'a Type {
        match ty {
            Type::Ref(name) => self.names.get(name).unwrap_or(ty),
            other => other,
        }
    }

    /// A named type by its full name.
    pub fn named(&self, full_name: &str) -> Option<&Type> {
        self.names.get(full_name)
    }

    /// A schema whose root is one of this schema's types (the row of an envelope, for example). Names that the type
    /// uses stay resolvable; its text is complete when the type defines them itself.
    pub fn of_type(&self, ty: &Type) -> Arc<Schema> {
        Arc::new(Self::assemble(self.resolve(ty).clone(), self.names.clone(), self.external.clone()))
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", self.canonical)
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

#[cfg(test)]
mod tests;

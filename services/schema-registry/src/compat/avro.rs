//! Whether data written with one Avro schema can be read with another, by the rules of Avro's resolution as the Java checker
//! applies them: simple names are compared, logical types are ignored, reader aliases count, writer aliases do not.
//!
//! Every fault is reported with a JSON pointer into the reader's schema, not only the first.

use std::collections::HashSet;
use std::sync::Arc;

use ratestream_avro::schema::{EnumType, Field, FixedType, Name, RecordType, Type, Union};
use ratestream_avro::{Kind, Schema};

/// Type pairs looked at in one comparison; hostile schemas reach it, honest ones (2,000 fields) do not.
const STEPS_MAX: usize = 200_000;

/// Which rule of resolution is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Named types have different names.
    NameMismatch,
    /// The reader's type cannot take the writer's.
    TypeMismatch,
    /// Fixed types have different sizes.
    FixedSizeMismatch,
    /// The writer's enum has symbols that the reader lacks, and the reader has no default.
    MissingEnumSymbols,
    /// The writer may write a type that no branch of the reader takes.
    MissingUnionBranch,
    /// The reader has a field that the writer does not write, without a default.
    ReaderFieldMissingDefault,
}

impl Rule {
    /// The name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Rule::NameMismatch => "NAME_MISMATCH",
            Rule::TypeMismatch => "TYPE_MISMATCH",
            Rule::FixedSizeMismatch => "FIXED_SIZE_MISMATCH",
            Rule::MissingEnumSymbols => "MISSING_ENUM_SYMBOLS",
            Rule::MissingUnionBranch => "MISSING_UNION_BRANCH",
            Rule::ReaderFieldMissingDefault => "READER_FIELD_MISSING_DEFAULT_VALUE",
        }
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatibility {
    /// The broken rule.
    pub rule: Rule,
    /// Where in the reader's schema, as a JSON pointer.
    pub path: String,
    /// What was found: a field's name, missing symbols, the two types.
    pub detail: String,
}

/// Every reason why `reader` cannot read what `writer` writes.
///
/// # Errors
/// A sentence when the comparison is larger than the registry is willing to do.
pub fn read(reader: &Schema, writer: &Schema) -> Result<Vec<Incompatibility>, String> {
    let mut check = Check { reader, writer, faults: Vec::new(), path: Vec::new(), records: HashSet::new(), steps: 0 };
    check.types(reader.root(), writer.root());
    if check.steps > STEPS_MAX {
        return Err(format!("the comparison needs more than {STEPS_MAX} steps: the schema is too entangled"));
    }
    Ok(check.faults)
}

struct Check<'a> {
    reader: &'a Schema,
    writer: &'a Schema,
    faults: Vec<Incompatibility>,
    path: Vec<String>,
    /// Pairs of record definitions that are compatible or still being compared, which ends recursion.
    records: HashSet<(*const RecordType, *const RecordType)>,
    steps: usize,
}

impl<'a> Check<'a> {
    fn fault(&mut self, rule: Rule, detail: impl Into<String>) {
        let path = if self.path.is_empty() { "/".to_owned() } else { format!("/{}", self.path.join("/")) };
        self.faults.push(Incompatibility { rule, path, detail: detail.into() });
    }

    fn within<T>(&mut self, step: impl Into<String>, body: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step.into());
        let result = body(self);
        self.path.pop();
        result
    }

    /// Compares two types; `true` when the writer's can be read.
    fn types(&mut self, reader: &'a Type, writer: &'a Type) -> bool {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return true;
        }
        let (reader, writer) = (self.reader.resolve(reader), self.writer.resolve(writer));
        match (reader, writer) {
            (Type::Union(_), Type::Union(branches)) => self.writer_union(reader, branches, true),
            (_, Type::Union(branches)) => self.writer_union(reader, branches, false),
            (Type::Union(branches), _) => self.reader_union(branches, writer),
            (Type::Record(reader), Type::Record(writer)) => self.records(reader, writer),
            (Type::Enum(reader), Type::Enum(writer)) => self.enums(reader, writer),
            (Type::Fixed(reader), Type::Fixed(writer)) => self.fixed(reader, writer),
            (Type::Array(reader), Type::Array(writer)) => self.within("items", |c| c.types(&reader.ty, &writer.ty)),
            (Type::Map(reader), Type::Map(writer)) => self.within("values", |c| c.types(&reader.ty, &writer.ty)),
            (Type::Primitive(to), Type::Primitive(from)) if promotes(from.kind(), to.kind()) => true,
            _ => self.mismatch(reader, writer),
        }
    }

    fn mismatch(&mut self, reader: &Type, writer: &Type) -> bool {
        let text = format!("reader type: {} not compatible with writer type: {}", word(reader), word(writer));
        self.fault(Rule::TypeMismatch, text);
        false
    }

    /// Everything that the writer may write must be readable.
    fn writer_union(&mut self, reader: &'a Type, branches: &'a Arc<Union>, named: bool) -> bool {
        let mut all = true;
        for (position, branch) in branches.branches.iter().enumerate() {
            // Between two unions the missing branch is named by its place in the writer's.
            all &= match named {
                true => self.within(position.to_string(), |check| check.types(reader, branch)),
                false => self.types(reader, branch),
            };
        }
        all
    }

    fn reader_union(&mut self, branches: &'a Arc<Union>, writer: &'a Type) -> bool {
        let before = self.faults.len();
        let taken = branches.branches.iter().any(|branch| self.types(branch, writer));
        // Faults of branches that were only tried say nothing; one fault says that none fits.
        self.faults.truncate(before);
        if !taken {
            self.fault(Rule::MissingUnionBranch, format!("reader union lacking writer type: {}", word(writer)));
        }
        taken
    }

    fn records(&mut self, reader: &'a Arc<RecordType>, writer: &'a Arc<RecordType>) -> bool {
        let pair = (Arc::as_ptr(reader), Arc::as_ptr(writer));
        if !self.records.insert(pair) {
            return true;
        }
        let mut all = self.names(&reader.name, &reader.aliases, &writer.name);
        self.path.push("fields".to_owned());
        for (position, field) in reader.fields.iter().enumerate() {
            self.path.push(position.to_string());
            all &= match written(field, writer) {
                Some(source) => self.within("type", |check| check.types(&field.ty, &source.ty)),
                None if field.default.is_some() => true,
                None => {
                    self.fault(Rule::ReaderFieldMissingDefault, &*field.name);
                    false
                }
            };
            self.path.pop();
        }
        self.path.pop();
        if !all {
            // Not remembered: met again outside of a union's trial, the pair must report its faults there.
            self.records.remove(&pair);
        }
        all
    }

    fn names(&mut self, reader: &Name, aliases: &[Name], writer: &Name) -> bool {
        if reader.simple() == writer.simple() || aliases.iter().any(|alias| alias == writer) {
            return true;
        }
        self.within("name", |check| check.fault(Rule::NameMismatch, format!("expected: {writer}")));
        false
    }

    fn enums(&mut self, reader: &EnumType, writer: &EnumType) -> bool {
        let named = self.names(&reader.name, &reader.aliases, &writer.name);
        let missing: Vec<&str> =
            writer.symbols.iter().filter(|symbol| !reader.symbols.contains(symbol)).map(AsRef::as_ref).collect();
        if missing.is_empty() || reader.default.is_some() {
            return named;
        }
        self.within("symbols", |check| check.fault(Rule::MissingEnumSymbols, format!("[{}]", missing.join(", "))));
        false
    }

    fn fixed(&mut self, reader: &FixedType, writer: &FixedType) -> bool {
        let named = self.names(&reader.name, &reader.aliases, &writer.name);
        if reader.size == writer.size {
            return named;
        }
        let text = format!("expected: {}, found: {}", writer.size, reader.size);
        self.within("size", |check| check.fault(Rule::FixedSizeMismatch, text));
        false
    }
}

/// The writer's field that a reader's field is filled from: by name, else by one of the reader's aliases.
fn written<'w>(field: &Field, writer: &'w RecordType) -> Option<&'w Field> {
    writer.field(&field.name).or_else(|| field.aliases.iter().find_map(|alias| writer.field(alias)))
}

/// Avro's promotions.
fn promotes(from: Kind, to: Kind) -> bool {
    from == to
        || matches!(
            (from, to),
            (Kind::Int, Kind::Long | Kind::Float | Kind::Double)
                | (Kind::Long, Kind::Float | Kind::Double)
                | (Kind::Float, Kind::Double)
                | (Kind::String, Kind::Bytes)
                | (Kind::Bytes, Kind::String)
        )
}

fn word(ty: &Type) -> String {
    match ty {
        Type::Primitive(primitive) => primitive.kind().name().to_uppercase(),
        Type::Record(_) => "RECORD".to_owned(),
        Type::Enum(_) => "ENUM".to_owned(),
        Type::Fixed(_) => "FIXED".to_owned(),
        Type::Array(_) => "ARRAY".to_owned(),
        Type::Map(_) => "MAP".to_owned(),
        Type::Union(_) => "UNION".to_owned(),
        Type::Ref(name) => name.full().to_owned(),
    }
}

#[cfg(test)]
#[path = "avro_tests.rs"]
mod tests;

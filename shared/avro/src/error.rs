//! The one error of schemas and codecs.

/// What was wrong with a schema or a datum. Every variant is about one input; none is worth a retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AvroError {
    /// The schema text or the assembled schema is not valid Avro.
    #[error("the Avro schema is not valid at {at}: {cause}")]
    Schema {
        /// JSON pointer into the schema text.
        at: String,
        /// What is wrong there.
        cause: String,
    },
    /// The bytes are not a datum of the schema.
    #[error("the Avro bytes do not fit the schema at byte {offset}: {cause}")]
    Decode {
        /// Offset from the start of the datum.
        offset: usize,
        /// What was expected.
        cause: String,
    },
    /// The value cannot be written with the schema.
    #[error("the value does not fit the Avro schema: {0}")]
    Encode(String),
    /// Not the wire format of the registry's serializers.
    #[error("{0}")]
    Frame(String),
    /// A datum that should be a change envelope is not one.
    #[error("not a change envelope: {0}")]
    Envelope(String),
}

impl AvroError {
    pub(crate) fn schema(at: &str, cause: impl Into<String>) -> Self {
        let at = if at.is_empty() { "the top" } else { at };
        Self::Schema { at: at.to_owned(), cause: cause.into() }
    }
}

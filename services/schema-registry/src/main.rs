//! `schema-registry`: schemas by id, and the promise that none of them breaks a reader.

use std::process::ExitCode;

fn main() -> ExitCode {
    ratestream_runtime::run::<schema_registry::SchemaRegistry>()
}

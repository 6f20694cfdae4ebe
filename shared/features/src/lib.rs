//! Nothing: see Cargo.toml for what this crate is for.

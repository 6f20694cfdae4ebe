//! The text of continuous queries: statements and expressions as ksqlDB spells them.
//!
//! Tokens come from `sqlparser`; statements are parsed here, because clause order (WINDOW before WHERE, EMIT), statements
//! (`CREATE STREAM`, `TERMINATE`) and forgiveness differ from every SQL dialect.

pub mod ast;
pub mod expression;
pub mod statement;
pub mod tokens;

pub use ast::{Column, Expr, Item, Kind, Name, Select, Show, SqlType, Statement};
pub use statement::{Parsed, parse};

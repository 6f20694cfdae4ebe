//! Who does what: one follows the statements, one starts and stops what they ask for, one keeps each table's rows at hand.

pub mod commands;
pub mod runner;
pub mod watcher;

//! The two actors of the registry: one reads the log, one writes it.

pub mod follower;
pub mod writer;

//! What queries do with records: plain, synchronous structs that `ratestream-streams` drives.
//!
//! * [`evaluate`]: expressions over rows;
//! * [`decode`]: bytes to rows or changes;
//! * [`plan`]: a SELECT as something that can run;
//! * [`project`]: row by row, a changelog stays a changelog;
//! * [`partial`] and [`merge`]: the two stages of an aggregation.

pub mod accumulate;
pub mod decode;
pub mod evaluate;
pub mod merge;
pub mod partial;
pub mod plan;
pub mod project;

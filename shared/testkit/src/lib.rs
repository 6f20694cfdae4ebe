//! Real servers for tests and for `cargo x up`.
//!
//! Every server is the real one, started natively from the distribution's packages or from public package registries,
//! on free ports, in a folder of its own. Nothing here imitates a server except the mail inbox, which is one.
//!
//! Tests ask for a shared server and get either the one that `cargo x test` started (its address is in the environment)
//! or one that lives as long as the test program:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let brokers = ratestream_testkit::kafka().await?.bootstrap();
//! let database = ratestream_testkit::postgres_database("rates").await?; // fresh and empty
//! # Ok(()) }
//! ```

pub mod demo;
pub mod inbox;
pub mod install;
mod log_file;
mod ports;
mod privileges;
pub mod probe;
pub mod process;
mod running;
pub mod servers;
mod service;
mod shared;
mod stack;

pub use inbox::{Fault, Inbox, InboxOptions, Message};
pub use ports::{check_free, free_port};
pub use process::{Process, ProcessId};
pub use servers::StartOptions;
pub use servers::cassandra::Cassandra;
pub use servers::elasticsearch::Elasticsearch;
pub use servers::influxdb::InfluxDb;
pub use servers::kafka::Kafka;
pub use servers::postgres::{Postgres, PostgresOptions};
pub use service::{Service, ServiceOptions, service};
pub use shared::{
    CassandraAddress, Database, ElasticsearchAddress, InfluxAddress, KafkaAddress, PostgresAddress, cassandra,
    elasticsearch, influxdb, kafka, postgres, postgres_database,
};
pub use stack::{ServerSet, Stack};

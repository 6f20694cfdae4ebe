//! Cassandra sink connectors of the ratestream suite.

fn main() -> std::process::ExitCode {
    ratestream_runtime::run::<events_to_cassandra::EventsToCassandra>()
}

//! `rate-aggregator`: continuous SQL over Kafka topics.

use std::process::ExitCode;

fn main() -> ExitCode {
    ratestream_runtime::run::<rate_aggregator::RateAggregator>()
}

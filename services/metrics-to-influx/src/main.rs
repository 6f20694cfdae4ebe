//! InfluxDB sink connectors of the ratestream suite.

fn main() -> std::process::ExitCode {
    ratestream_runtime::run::<metrics_to_influx::MetricsToInflux>()
}

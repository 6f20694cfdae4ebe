//! Change capture: PostgreSQL into Kafka.

fn main() -> std::process::ExitCode {
    ratestream_runtime::run::<cdc_capture::CdcCapture>()
}

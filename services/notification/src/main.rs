//! Low-rating mails of the ratestream suite.

fn main() -> std::process::ExitCode {
    ratestream_runtime::run::<notification::Notification>()
}

//! Prometheus metrics of the process.

use prometheus::{Encoder, Registry, TextEncoder};
use std::sync::LazyLock;

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

/// The registry whose contents `GET /metrics` shows. Names follow `ratestream_<noun>_<base unit>[_total]`.
pub fn registry() -> &'static Registry {
    &REGISTRY
}

/// A counter family registered once; a second registration of the same name is a programming error and is logged.
pub fn counters(name: &str, help: &str, labels: &[&str]) -> prometheus::IntCounterVec {
    registered(prometheus::IntCounterVec::new(prometheus::Opts::new(name, help), labels), name)
}

/// A gauge family, see [`counters`].
pub fn gauges(name: &str, help: &str, labels: &[&str]) -> prometheus::IntGaugeVec {
    registered(prometheus::IntGaugeVec::new(prometheus::Opts::new(name, help), labels), name)
}

/// A histogram family in seconds, see [`counters`].
pub fn histograms(name: &str, help: &str, labels: &[&str]) -> prometheus::HistogramVec {
    let buckets = vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
    registered(prometheus::HistogramVec::new(prometheus::HistogramOpts::new(name, help).buckets(buckets), labels), name)
}

#[expect(clippy::panic, reason = "metric names are constants: a wrong one fails the first test that touches it")]
fn registered<M: prometheus::core::Collector + Clone + 'static>(metric: prometheus::Result<M>, name: &str) -> M {
    let metric = metric.unwrap_or_else(|error| panic!("metric {name} is not well formed: {error}"));
    if let Err(error) = REGISTRY.register(Box::new(metric.clone())) {
        tracing::error!(metric = name, %error, "metric was not registered");
    }
    metric
}

/// The text form that `GET /metrics` returns.
pub fn render() -> String {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&REGISTRY.gather(), &mut text) {
        tracing::error!(%error, "metrics could not be rendered");
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Resident memory of this process in bytes, from the kernel; 0 where it does not say.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

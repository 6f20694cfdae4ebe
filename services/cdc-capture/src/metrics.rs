//! Figures of the source connectors, labelled by connector.

use std::sync::OnceLock;

use prometheus::{IntCounterVec, IntGaugeVec, Opts};

/// All figures.
pub struct Metrics {
    /// Events produced.
    pub events: IntCounterVec,
    /// Source transactions, or polls, completed.
    pub transactions: IntCounterVec,
    /// Age of the newest event when it was handled, milliseconds.
    pub lag_ms: IntGaugeVec,
    /// Bytes of WAL between the server's end and the confirmed position.
    pub lag_bytes: IntGaugeVec,
    /// Bytes of WAL that the slot keeps.
    pub retained: IntGaugeVec,
}

/// The figures of this process, registered once.
pub fn metrics() -> &'static Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(|| Metrics {
        events: counter("cdc_events_total", "Events produced"),
        transactions: counter("cdc_transactions_total", "Source transactions or polls completed"),
        lag_ms: gauge("cdc_lag_milliseconds", "Age of the newest event when it was handled"),
        lag_bytes: gauge("cdc_lag_bytes", "Bytes of WAL not confirmed yet"),
        retained: gauge("cdc_slot_retained_bytes", "Bytes of WAL that the replication slot keeps"),
    })
}

#[allow(clippy::expect_used)]
fn counter(name: &str, help: &str) -> IntCounterVec {
    let vec = IntCounterVec::new(Opts::new(name, help), &["connector"]).expect("a constant name is valid");
    register(Box::new(vec.clone()));
    vec
}

#[allow(clippy::expect_used)]
fn gauge(name: &str, help: &str) -> IntGaugeVec {
    let vec = IntGaugeVec::new(Opts::new(name, help), &["connector"]).expect("a constant name is valid");
    register(Box::new(vec.clone()));
    vec
}

fn register(collector: Box<dyn prometheus::core::Collector>) {
    if let Err(error) = ratestream_runtime::metrics::registry().register(collector) {
        tracing::warn!(%error, "a figure is not shown in /metrics");
    }
}

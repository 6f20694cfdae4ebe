//! Metrics of the loop. The law: consumed = written + filtered + rejected + in flight.

use prometheus::{HistogramVec, IntCounterVec};
use ratestream_runtime::metrics::{counters, histograms};
use std::sync::LazyLock;

const LABELS: [&str; 2] = ["connector", "topic"];

/// Counters of one process.
pub(crate) struct Metrics {
    pub(crate) consumed: IntCounterVec,
    pub(crate) written: IntCounterVec,
    pub(crate) filtered: IntCounterVec,
    pub(crate) rejected: IntCounterVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) write_seconds: HistogramVec,
    pub(crate) end_to_end_seconds: HistogramVec,
}

pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    consumed: counters("ratestream_records_consumed_total", "Records taken from Kafka.", &LABELS),
    written: counters("ratestream_records_written_total", "Records that are durable at the target.", &LABELS),
    filtered: counters("ratestream_records_filtered_total", "Records left out on purpose.", &LABELS),
    rejected: counters("ratestream_records_rejected_total", "Records in the dead letters.", &LABELS),
    retries: counters("ratestream_sink_retries_total", "Writes repeated because the target was busy or away.", &LABELS),
    write_seconds: histograms("ratestream_sink_write_seconds", "Time of one write to the target.", &LABELS),
    end_to_end_seconds: histograms(
        "ratestream_end_to_end_seconds",
        "From the change at the source until it is durable.",
        &LABELS,
    ),
});

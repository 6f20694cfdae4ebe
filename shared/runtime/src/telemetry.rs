//! Logging: JSON or pretty on standard error, a level that can be changed while running, and a tap for the log stream.

use crate::config::LogSettings;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// librdkafka reports through callbacks of ours; its own lines are noise below WARN.
const DEFAULT_FILTER: &str =
    "info,librdkafka=error,rdkafka=warn,actix_server=warn,scylla=warn,pgwire_replication=warn,sqlx=warn";
/// Log events that wait for the log stream; more are dropped and counted, never waited for.
const TAP_CAPACITY: usize = 4096;

static RELOAD: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();
static TAP: OnceLock<mpsc::Sender<LogEvent>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// One log line, for the stream `ratestream.logs`.
#[derive(Clone, Debug)]
pub struct LogEvent {
    /// Milliseconds since the epoch.
    pub ts_ms: i64,
    /// `INFO`, `WARN` …
    pub level: &'static str,
    /// Module path.
    pub target: String,
    /// The fixed text.
    pub message: String,
    /// `name=value` pairs, in order.
    pub fields: Vec<(String, String)>,
}

/// Installs logging and a panic hook that logs. Call once, first thing.
pub fn install(settings: &LogSettings) -> Result<(), String> {
    let text = settings.level.clone().map_or_else(|| DEFAULT_FILTER.to_owned(), |level| with_defaults(&level));
    let filter = EnvFilter::try_new(&text).map_err(|error| format!("log.level {text:?} is not a filter: {error}"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let pretty = match settings.format.as_deref() {
        Some("json") => false,
        Some("pretty") => true,
        None => std::io::stderr().is_terminal(),
        Some(other) => return Err(format!("log.format is {other:?}; use \"json\" or \"pretty\"")),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if pretty { layer.boxed() } else { layer.json().flatten_event(true).boxed() };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(Tap)
        .try_init()
        .map_err(|error| format!("logging is installed already: {error}"))?;
    let _already_set = RELOAD.set(handle);
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(thread, panic = %info, "panic");
    }));
    Ok(())
}

/// A bare level keeps the quieter defaults for noisy libraries.
fn with_defaults(level: &str) -> String {
    match level.contains([',', '=']) {
        true => level.to_owned(),
        false => DEFAULT_FILTER.replacen("info", level, 1),
    }
}

/// Changes the filter of a running process.
pub fn set_level(level: &str) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(with_defaults(level)).map_err(|error| format!("{level:?} is not a log filter: {error}"))?;
    let handle = RELOAD.get().ok_or("logging is not installed")?;
    handle.reload(filter).map_err(|error| error.to_string())
}

/// Opens the tap: events from now on are copied to the returned receiver. Only the first caller gets one.
pub fn tap() -> Option<mpsc::Receiver<LogEvent>> {
    let (sender, receiver) = mpsc::channel(TAP_CAPACITY);
    TAP.set(sender).ok().map(|()| receiver)
}

/// Log events that the stream missed because its queue was full.
pub fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

struct Tap;

impl<S: tracing::Subscriber> Layer<S> for Tap {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let Some(sender) = TAP.get() else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let event = LogEvent {
            ts_ms: now.as_millis() as i64,
            level: event.metadata().level().as_str(),
            target: event.metadata().target().to_owned(),
            message: fields.message,
            fields: fields.rest,
        };
        if sender.try_send(event).is_err() {
            DROPPED.fetch_add(1, Relaxed);
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(String, String)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{value:?}");
        self.push(field, text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.to_owned());
    }
}

impl Fields {
    fn push(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.message = text;
        } else {
            self.rest.push((field.name().to_owned(), text));
        }
    }
}

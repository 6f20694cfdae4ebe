//! What a supervised child tells about itself without being asked: progress, not presence.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Shared {
    started: Instant,
    ticks: AtomicU64,
    last_tick_ms: AtomicU64,
    busy: AtomicUsize,
    state: Mutex<String>,
}

/// The progress of one generation of a child. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Shared>);

impl Default for Progress {
    fn default() -> Self {
        Progress(Arc::new(Shared {
            started: Instant::now(),
            ticks: AtomicU64::new(0),
            last_tick_ms: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            state: Mutex::new(String::from("starting")),
        }))
    }
}

impl Progress {
    /// Says that work went on.
    pub fn tick(&self) {
        self.0.ticks.fetch_add(1, Relaxed);
        self.0.last_tick_ms.store(self.0.started.elapsed().as_millis() as u64, Relaxed);
    }

    /// Marks work that must end: while the guard lives, silence counts as a hang.
    pub fn busy(&self) -> BusyGuard {
        self.tick();
        self.0.busy.fetch_add(1, Relaxed);
        BusyGuard(self.clone())
    }

    /// A short text for `GET /admin/actors`.
    pub fn state(&self, text: &str) {
        if let Ok(mut state) = self.0.state.lock()
            && *state != text
        {
            text.clone_into(&mut state);
        }
    }

    /// The text set last.
    pub fn state_text(&self) -> String {
        self.0.state.lock().map(|state| state.clone()).unwrap_or_default()
    }

    /// How often work went on.
    pub fn ticks(&self) -> u64 {
        self.0.ticks.load(Relaxed)
    }

    /// Time since work last went on.
    pub fn silence(&self) -> Duration {
        self.0.started.elapsed().saturating_sub(Duration::from_millis(self.0.last_tick_ms.load(Relaxed)))
    }

    /// Whether a [`BusyGuard`] lives.
    pub fn is_busy(&self) -> bool {
        self.0.busy.load(Relaxed) > 0
    }
}

/// Work in hand, see [`Progress::busy`].
#[derive(Debug)]
pub struct BusyGuard(Progress);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.tick();
        self.0.0.busy.fetch_sub(1, Relaxed);
    }
}

//! The messages held, and the faults to come.

use super::mime;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// Messages held at most; the oldest go first.
pub const MAX_MESSAGES: usize = 20_000;
/// Raw bytes held at most.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// A message as it arrived.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    /// 1, 2, 3, … in order of arrival.
    pub id: u64,
    /// Milliseconds since 1970.
    pub received_ms: u64,
    /// Sender of the envelope.
    pub from: String,
    /// Recipients of the envelope.
    pub to: Vec<String>,
    /// Decoded subject.
    pub subject: String,
    /// All headers in order, decoded; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Decoded plain text part.
    pub text: Option<String>,
    /// Decoded HTML part.
    pub html: Option<String>,
    /// Bytes on the wire.
    pub size: usize,
    /// As it came.
    #[serde(skip)]
    pub raw: Vec<u8>,
}

impl Message {
    /// The first header of that name (any case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What happens to the next deliveries.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// How many deliveries it meets.
    pub times: u32,
    /// SMTP code to answer after the data, e.g. 451 or 550; none = accept.
    pub code: Option<u16>,
    /// Text beside the code.
    pub message: String,
    /// Milliseconds to wait before the answer.
    pub delay_ms: u64,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
    last_id: u64,
    fault: Fault,
    closed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    state: Mutex<State>,
    changed: Notify,
}

impl Store {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, from: String, to: Vec<String>, raw: Vec<u8>) -> u64 {
        let parsed = mime::parse(&raw);
        let received_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let mut state = self.state();
        state.last_id += 1;
        state.bytes += raw.len();
        let id = state.last_id;
        let subject = parsed.header("subject").unwrap_or_default().to_owned();
        let (headers, text, html, size) = (parsed.headers, parsed.text, parsed.html, raw.len());
        state.messages.push_back(Arc::new(Message {
            id,
            received_ms,
            from,
            to,
            subject,
            headers,
            text,
            html,
            size,
            raw,
        }));
        while state.messages.len() > MAX_MESSAGES || state.bytes > MAX_BYTES {
            let Some(oldest) = state.messages.pop_front() else { break };
            state.bytes -= oldest.size;
        }
        drop(state);
        self.changed.notify_waiters();
        id
    }

    pub(super) fn messages(&self) -> Vec<Arc<Message>> {
        self.state().messages.iter().cloned().collect()
    }

    pub(super) fn clear(&self) {
        let mut state = self.state();
        state.messages.clear();
        state.bytes = 0;
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// The fault that meets the delivery at hand.
    pub(super) fn next_fault(&self) -> Option<Fault> {
        let mut state = self.state();
        state.fault.times = state.fault.times.checked_sub(1)?;
        Some(state.fault.clone())
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    pub(super) async fn wait_until(&self, limit: Duration, enough: impl Fn(&[Arc<Message>]) -> bool) -> bool {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable(); // before looking, so that no arrival in between is missed
                if enough(&self.messages()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok()
    }
}

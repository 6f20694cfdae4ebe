//! The ledger of alerts: one compacted record for each, and the outbox that follows from reading it. Plain and synchronous.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet, VecDeque};

/// Outcomes kept for `GET /sent` and `GET /failed`.
const SHOWN_MAX: usize = 500;

/// What is told in a mail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Alert {
    /// The rating.
    pub(crate) rate: i64,
    /// Name of the customer.
    pub(crate) customer: String,
    /// Address of the customer.
    pub(crate) email: String,
    /// The product.
    pub(crate) product: String,
    /// The country.
    pub(crate) country: String,
    /// The comment.
    pub(crate) comment: String,
    /// When it was given, milliseconds since the epoch; 0 = unknown.
    pub(crate) rated_ms: i64,
    /// Primary key of the row.
    pub(crate) row: String,
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// To be mailed.
    Queued,
    /// Accepted by the server; the detail is its reply.
    Sent,
    /// Refused for good; the detail is the server's reply.
    Failed,
}

/// A record of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Where it stands.
    pub(crate) state: State,
    /// Since when, milliseconds since the epoch.
    pub(crate) at_ms: i64,
    /// Partition of the rating's record: whoever reads that partition mails the alert.
    pub(crate) partition: i32,
    /// What is told.
    pub(crate) alert: Alert,
    /// The server's reply.
    #[serde(default)]
    pub(crate) detail: String,
    /// Tries so far.
    #[serde(default)]
    pub(crate) attempts: u32,
}

impl Entry {
    /// Its JSON.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What the ledger says now.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queued: BTreeMap<String, Entry>,
    outcomes: VecDeque<(String, Entry)>,
    /// Ids among the outcomes.
    shown: HashSet<String>,
    /// Records that could not be read.
    pub(crate) skipped: u64,
}

impl Outbox {
    /// Applies a record of the ledger.
    pub(crate) fn apply(&mut self, id: &str, value: Option<&[u8]>) {
        let Some(value) = value else {
            self.queued.remove(id);
            return;
        };
        match serde_json::from_slice::<Entry>(value) {
            Ok(entry) if entry.state == State::Queued => {
                self.queued.insert(id.to_owned(), entry);
            }
            Ok(entry) => {
                self.queued.remove(id);
                // The mailer applies an outcome when it has recorded it, and reads it again from the ledger.
                if !self.shown.insert(id.to_owned()) {
                    return;
                }
                self.outcomes.push_back((id.to_owned(), entry));
                if self.outcomes.len() > SHOWN_MAX
                    && let Some((oldest, _)) = self.outcomes.pop_front()
                {
                    self.shown.remove(&oldest);
                }
            }
            Err(error) => {
                tracing::warn!(id, %error, "a record of the ledger is skipped");
                self.skipped += 1;
            }
        }
    }

    /// Queued alerts of these partitions, oldest first, without those that `busy` names.
    pub(crate) fn due(&self, partitions: &[i32], busy: impl Fn(&str) -> bool, max: usize) -> Vec<(String, Entry)> {
        let mut due: Vec<(&String, &Entry)> =
            self.queued.iter().filter(|(id, entry)| partitions.contains(&entry.partition) && !busy(id)).collect();
        due.sort_by_key(|(_, entry)| entry.at_ms);
        due.into_iter().take(max).map(|(id, entry)| (id.clone(), entry.clone())).collect()
    }

    /// All queued alerts.
    pub(crate) fn queued(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.queued.iter()
    }

    /// Newest outcomes of this kind, newest first.
    pub(crate) fn outcomes(&self, state: State) -> impl Iterator<Item = (&String, &Entry)> {
        self.outcomes.iter().rev().filter(move |(_, entry)| entry.state == state).map(|(id, entry)| (id, entry))
    }

    /// How many are queued.
    pub(crate) fn len(&self) -> usize {
        self.queued.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: State, at_ms: i64, partition: i32) -> Vec<u8> {
        Entry { state, at_ms, partition, alert: Alert::default(), detail: "250 OK".into(), attempts: 1 }.to_bytes()
    }

    #[test]
    fn what_is_queued_and_not_sent_is_due_once_oldest_first() {
        let mut outbox = Outbox::default();
        outbox.apply("t.0.1", Some(&entry(State::Queued, 20, 0)));
        outbox.apply("t.0.2", Some(&entry(State::Queued, 10, 0)));
        outbox.apply("t.1.1", Some(&entry(State::Queued, 5, 1)));
        outbox.apply("t.0.3", Some(&entry(State::Queued, 30, 0)));
        outbox.apply("t.0.3", Some(&entry(State::Sent, 31, 0)));
        outbox.apply("t.0.3", Some(&entry(State::Sent, 31, 0)));
        outbox.apply("broken", Some(b"{"));
        let ids = |partitions: &[i32], busy: &str| -> Vec<String> {
            outbox.due(partitions, |id| id == busy, 10).into_iter().map(|(id, _)| id).collect()
        };
        assert_eq!(ids(&[0], ""), ["t.0.2", "t.0.1"]);
        assert_eq!(ids(&[0, 1], "t.0.2"), ["t.1.1", "t.0.1"]);
        assert_eq!((outbox.outcomes(State::Sent).count(), outbox.skipped, outbox.len()), (1, 1, 3));
    }
}

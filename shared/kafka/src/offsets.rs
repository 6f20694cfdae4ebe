//! Which offset may be committed: only the contiguous prefix of what is durable.

use std::collections::BTreeMap;

/// Offsets of one partition that were handed out and finished, in any order. Plain and synchronous.
#[derive(Clone, Debug, Default)]
pub struct OffsetTracker {
    /// Ranges handed out and not yet part of the prefix: first offset → (offset after the last, finished).
    open: BTreeMap<i64, (i64, bool)>,
    committable: Option<i64>,
}

impl OffsetTracker {
    /// Records that `first..next` was handed out. Ranges are handed out in rising order and do not overlap.
    pub fn started(&mut self, first: i64, next: i64) {
        self.open.insert(first, (next, false));
    }

    /// Records that the range which began at `first` is durable.
    pub fn finished(&mut self, first: i64) {
        if let Some((_, done)) = self.open.get_mut(&first) {
            *done = true;
        }
        while let Some(entry) = self.open.first_entry()
            && entry.get().1
        {
            self.committable = Some(entry.remove().0);
        }
    }

    /// The offset to commit: everything below it is durable. None before the first range is.
    pub fn committable(&self) -> Option<i64> {
        self.committable
    }

    /// Ranges not yet below the committable offset.
    pub fn in_flight(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Model: the set of finished offsets; the committable one ends its longest prefix of handed-out ranges.
        #[test]
        fn commits_only_the_contiguous_prefix(
            lengths in prop::collection::vec((1i64..5, 0i64..3), 1..40),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let (mut tracker, mut ranges, mut next) = (OffsetTracker::default(), Vec::new(), 10);
            for (length, gap) in lengths {
                tracker.started(next, next + length);
                ranges.push((next, next + length, false));
                next += length + gap; // compacted or control records leave gaps
            }
            for index in order {
                let at = index.index(ranges.len());
                ranges[at].2 = true;
                tracker.finished(ranges[at].0);
                let prefix = ranges.iter().take_while(|r| r.2).last().map(|r| r.1);
                prop_assert_eq!(tracker.committable(), prefix);
                prop_assert!(ranges.iter().all(|r| r.2 || tracker.committable().is_none_or(|c| c <= r.0)));
            }
        }
    }
}

//! Waiting longer after each failure, with jitter so that many waiters do not come back at once.

use std::time::Duration;

/// Exponential back-off with full jitter between half of the step and the step.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// Steps `base`, 2·`base`, 4·`base` … up to `cap`.
    pub fn new(base: Duration, cap: Duration) -> Backoff {
        Backoff { base, cap, attempt: 0 }
    }

    /// The wait before the next attempt.
    #[expect(clippy::should_implement_trait, reason = "it never ends, and it is not iterated over")]
    pub fn next(&mut self) -> Duration {
        let step = self.base.saturating_mul(2u32.saturating_pow(self.attempt.min(20))).min(self.cap);
        self.attempt = self.attempt.saturating_add(1);
        step.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Attempts since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempt
    }

    /// After a success the next failure starts with `base` again.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_cap_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<_> = (0..30).map(|_| backoff.next()).collect();
        assert!(waits.iter().all(|w| *w >= Duration::from_millis(50) && *w <= Duration::from_secs(1)));
        assert!(waits[29] >= Duration::from_millis(500));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}

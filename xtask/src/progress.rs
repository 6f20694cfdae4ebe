//! One line per step, with its seconds.

use anyhow::{Error, Result};
use std::time::{Duration, Instant};

/// A step that takes longer says so, again and again.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs one step and prints its line. `waits_for` is shown while it takes long.
pub(crate) async fn step<T>(name: &str, waits_for: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let start = Instant::now();
    tokio::pin!(work);
    let outcome = loop {
        match tokio::time::timeout(PATIENCE, &mut work).await {
            Ok(outcome) => break outcome,
            Err(_) => println!("  {:>6.1} s  …    {name}: waits for {waits_for}", start.elapsed().as_secs_f64()),
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    match &outcome {
        Ok(_) => println!("  {seconds:>6.1} s  ok   {name}"),
        Err(error) => println!("  {seconds:>6.1} s  FAIL {name}: {}", sentence(error)),
    }
    outcome
}

/// An error with its causes in one sentence.
pub(crate) fn sentence(error: &Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.join(": ")
}

//! Waiting for a state, with an end.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Interval between two checks.
const LOOK: Duration = Duration::from_millis(10);

/// Checks repeatedly until there is a value.
///
/// # Panics
/// After `limit`, with `what` is missing.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    let begun = Instant::now();
    async move {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
            sleep(LOOK).await;
        }
    }
}

/// `Some` when a condition holds: for [`eventually`].
pub fn holds(condition: bool) -> Option<()> {
    condition.then_some(())
}

//! A store that fails is said when it begins, every few seconds while it goes on, and when it is over: not with each call.

use std::time::Duration;

use forerunner_core::PoolName;
use forerunner_store::StoreError;
use tokio::time::Instant;

/// Least time between two lines about failures.
const PAUSE: Duration = Duration::from_secs(5);

/// What is to be said of a failure, or of its end.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// Calls that failed since the last line, this one included.
    Failing(u64),
    /// How long it lasted, and calls that failed in all.
    Over(Duration, u64),
}

/// Watches the calls of one queue to its store.
#[derive(Debug, Default)]
pub(super) struct StoreHealth {
    /// The first failure that was said and is not over.
    since: Option<Instant>,
    said_at: Option<Instant>,
    unsaid: u64,
    failed: u64,
}

impl StoreHealth {
    /// A call failed: `what` came to nothing, which was to be done for so many tasks.
    pub(super) fn note_failure(&mut self, pool: &PoolName, what: &str, tasks: usize, error: &StoreError) {
        if let Some(Line::Failing(calls)) = self.failed(Instant::now()) {
            tracing::error!(%pool, tasks, calls, %error, "{what}");
        }
    }

    /// A call succeeded.
    pub(super) fn note_success(&mut self, pool: &PoolName) {
        if self.since.is_some()
            && let Some(Line::Over(lasted, calls)) = self.succeeded(Instant::now())
        {
            tracing::info!(%pool, ?lasted, calls, "the store works again");
        }
    }

    fn failed(&mut self, now: Instant) -> Option<Line> {
        self.unsaid += 1;
        self.failed += 1;
        if self.said_at.is_some_and(|said_at| now.duration_since(said_at) < PAUSE) {
            return None;
        }
        self.since.get_or_insert(now);
        self.said_at = Some(now);
        Some(Line::Failing(std::mem::take(&mut self.unsaid)))
    }

    fn succeeded(&mut self, now: Instant) -> Option<Line> {
        let since = self.since.take()?;
        Some(Line::Over(now.duration_since(since), std::mem::take(&mut self.failed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_gone_is_said_once_then_every_few_seconds_and_when_it_is_back() {
        let mut outage = StoreHealth::default();
        let begun = Instant::now();
        let mut lines = Vec::new();
        for step in 0..1_200 {
            let now = begun + Duration::from_millis(10 * step);
            lines.extend(outage.failed(now));
        }
        assert_eq!(lines, [Line::Failing(1), Line::Failing(500), Line::Failing(500)]);
        let now = begun + Duration::from_secs(12);
        assert_eq!(outage.succeeded(now), Some(Line::Over(Duration::from_secs(12), 1_200)));
        assert_eq!(outage.succeeded(now), None, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_fail_now_and_then_are_counted_in_the_next_line() {
        let mut outage = StoreHealth::default();
        let begun = Instant::now();
        let mut lines = 0;
        for step in 0..1_000 {
            let now = begun + Duration::from_millis(10 * step);
            lines += outage.failed(now).iter().len() + outage.succeeded(now).iter().len();
        }
        assert_eq!(lines, 4, "two lines each time");
    }
}

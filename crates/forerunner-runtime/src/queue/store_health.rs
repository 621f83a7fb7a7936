//! Logs a failing store at its first failure, every few seconds while it lasts, and at its end, instead of at each
//! call.

use std::time::Duration;

use forerunner_core::PoolName;
use forerunner_store::StoreError;
use tokio::time::Instant;

/// Least time between two lines about failures.
const PAUSE: Duration = Duration::from_secs(5);

/// A log line about a failing store.
#[derive(Debug, PartialEq, Eq)]
enum LogLine {
    /// Number of calls that failed since the last line, with this one.
    Failing(u64),
    /// How long the failure lasted, and the number of calls that failed.
    Over(Duration, u64),
}

/// Observes the store calls of one queue.
#[derive(Debug, Default)]
pub(super) struct StoreHealth {
    /// The first logged failure, until a call succeeds.
    since: Option<Instant>,
    logged_at: Option<Instant>,
    unlogged: u64,
    failed: u64,
}

impl StoreHealth {
    /// Notes a failed call. `what` names the failure; `tasks` is the number of tasks that the call was about.
    pub(super) fn note_failure(&mut self, pool: &PoolName, what: &str, tasks: usize, error: &StoreError) {
        if let Some(LogLine::Failing(calls)) = self.failed(Instant::now()) {
            tracing::error!(%pool, tasks, calls, %error, "{what}");
        }
    }

    /// Notes a successful call.
    pub(super) fn note_success(&mut self, pool: &PoolName) {
        if self.since.is_some()
            && let Some(LogLine::Over(lasted, calls)) = self.succeeded(Instant::now())
        {
            tracing::info!(%pool, ?lasted, calls, "the store works again");
        }
    }

    fn failed(&mut self, now: Instant) -> Option<LogLine> {
        self.unlogged += 1;
        self.failed += 1;
        if self.logged_at.is_some_and(|logged_at| now.duration_since(logged_at) < PAUSE) {
            return None;
        }
        self.since.get_or_insert(now);
        self.logged_at = Some(now);
        Some(LogLine::Failing(std::mem::take(&mut self.unlogged)))
    }

    fn succeeded(&mut self, now: Instant) -> Option<LogLine> {
        let since = self.since.take()?;
        Some(LogLine::Over(now.duration_since(since), std::mem::take(&mut self.failed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_gone_is_said_once_then_every_few_seconds_and_when_it_is_back() {
        let mut store_health = StoreHealth::default();
        let begun = Instant::now();
        let mut lines = Vec::new();
        for step in 0..1_200 {
            let now = begun + Duration::from_millis(10 * step);
            lines.extend(store_health.failed(now));
        }
        assert_eq!(lines, [LogLine::Failing(1), LogLine::Failing(500), LogLine::Failing(500)]);
        let now = begun + Duration::from_secs(12);
        assert_eq!(store_health.succeeded(now), Some(LogLine::Over(Duration::from_secs(12), 1_200)));
        assert_eq!(store_health.succeeded(now), None, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_fail_now_and_then_are_counted_in_the_next_line() {
        let mut store_health = StoreHealth::default();
        let begun = Instant::now();
        let mut lines = 0;
        for step in 0..1_000 {
            let now = begun + Duration::from_millis(10 * step);
            lines += store_health.failed(now).iter().len() + store_health.succeeded(now).iter().len();
        }
        assert_eq!(lines, 4, "two lines each time");
    }
}

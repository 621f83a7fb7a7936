//! When a task is tried again, and what an attempt's end makes of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{AgentRequest, ErrorKind, Outcome, Payload, Task, TaskError, TaskState, Timestamp};

/// Delay before the first retry after a crash, unless the delay after an error is shorter. The agent is at fault, so no
/// other system needs to be spared. With jitter the next attempt starts after 100 to 200 ms.
pub const CRASH_RETRY: Duration = Duration::from_millis(200);

/// How often and how soon a task is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, at least 1.
    pub max_attempts: u32,
    /// Attempts that may crash an agent or a node before the task is quarantined as dead.
    pub max_crashes: u32,
    /// Delay before the second attempt.
    pub initial: Duration,
    /// Longest delay.
    pub max: Duration,
}

impl Default for RetryPolicy {
    /// The 14 delays between 15 attempts last 17 to 34 minutes: longer than a bad quarter of an hour.
    fn default() -> Self {
        Self { max_attempts: 15, max_crashes: 3, initial: Duration::from_secs(1), max: Duration::from_secs(300) }
    }
}

impl RetryPolicy {
    /// Delay after `attempt` attempts: doubling from `initial` up to `max`, then scaled by `jitter`.
    ///
    /// `jitter` is uniform in [0, 1) and maps to a factor in [0.5, 1): "equal jitter", so that tasks which failed
    /// together do not come back together (Brooker 2015, "Exponential Backoff And Jitter").
    pub fn backoff(&self, attempt: u32, jitter: f64) -> Duration {
        self.doubled(self.initial, attempt, jitter)
    }

    /// Delay after `crashes` crashes: as [`RetryPolicy::backoff`], from [`CRASH_RETRY`] or `initial` if that is shorter.
    pub fn backoff_of_crash(&self, crashes: u32, jitter: f64) -> Duration {
        self.doubled(self.initial.min(CRASH_RETRY), crashes, jitter)
    }

    fn doubled(&self, initial: Duration, times: u32, jitter: f64) -> Duration {
        let doublings = times.saturating_sub(1).min(63);
        let full = initial.saturating_mul(2u32.saturating_pow(doublings)).min(self.max);
        let share = 0.5 + 0.5 * jitter.clamp(0.0, 1.0);
        Duration::try_from_secs_f64(full.as_secs_f64() * share).unwrap_or(full)
    }
}

/// What an attempt's end makes of its task.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// The task is over.
    Finish {
        /// A terminal state.
        state: TaskState,
        /// The result of a task that succeeded.
        output: Option<Payload>,
        /// Why it did not succeed.
        error: Option<TaskError>,
    },
    /// The task is tried again.
    Retry {
        /// Not before this time.
        run_at: Timestamp,
        /// Why the attempt failed.
        error: TaskError,
        /// Whether the attempt counts as a crash.
        crash: bool,
        /// Whether the attempt counts against those that the task may have. If it does not, the task goes to the end of
        /// its queue, so that others are tried before it; in a conversation it stays where it is.
        counts: bool,
    },
    /// The agent asked something: the task waits for the answer without an agent, and the attempt does not count.
    Wait {
        /// What it asked: a JSON list.
        requests: Payload,
        /// The deadline of the task while it waits.
        until: Option<Timestamp>,
    },
    /// The task returns to the front of its queue, and the attempt does not count.
    Release,
}

/// Decides what becomes of `task` after an attempt that ended with `outcome` at `now`.
///
/// `jitter` is uniform in [0, 1). A task past its deadline expires instead of a retry. A task that crashed its agent
/// `max_crashes` times is dead whatever its attempts.
pub fn after_attempt(task: &Task, outcome: Outcome, now: Timestamp, jitter: f64) -> Next {
    match outcome {
        Outcome::Succeeded(output) => finish(TaskState::Succeeded, Some(output), None),
        Outcome::Rejected(error) => finish(TaskState::Failed, None, Some(error)),
        Outcome::Cancelled => finish(TaskState::Cancelled, None, Some(cancelled())),
        Outcome::Released => Next::Release,
        Outcome::Asked(_) if task.is_past_deadline(now) => {
            let error = TaskError::new(ErrorKind::DeadlineExceeded, "the deadline passed while the agent asked");
            finish(TaskState::Expired, None, Some(error))
        }
        Outcome::Asked(requests) => {
            let until = AgentRequest::open(&AgentRequest::list(Some(&requests))).map(|open| open.expires_at);
            Next::Wait { requests, until }
        }
        Outcome::Failed(error) => after_failure(task, error, now, jitter),
    }
}

impl Next {
    /// Makes a failure of `task` at `now` one that does not count against its attempts: the task waits again for at least
    /// `delay`, also after its last attempt. What ended for another reason, and what crashed an agent, stays as it is.
    pub fn excuse(&mut self, delay: Duration, now: Timestamp) {
        let error = match self {
            Self::Retry { error, crash: false, .. } => error,
            Self::Finish { state: TaskState::Dead, error: Some(error), .. } if !error.kind.is_crash() => error,
            _ => return,
        };
        let error = std::mem::replace(error, TaskError::new(ErrorKind::AgentError, ""));
        *self = Self::Retry { run_at: now + delay, error, crash: false, counts: false };
    }
}

fn after_failure(task: &Task, error: TaskError, now: Timestamp, jitter: f64) -> Next {
    if error.kind == ErrorKind::DeadlineExceeded || task.is_past_deadline(now) {
        return finish(TaskState::Expired, None, Some(error));
    }
    let crash = error.kind.is_crash();
    let crashes = task.crashes + u32::from(crash);
    if crashes >= task.retry.max_crashes || task.attempt >= task.retry.max_attempts {
        return finish(TaskState::Dead, None, Some(error));
    }
    let delay = match crash {
        true => task.retry.backoff_of_crash(crashes, jitter),
        false => task.retry.backoff(task.attempt, jitter),
    };
    Next::Retry { run_at: now + delay, error, crash, counts: true }
}

fn finish(state: TaskState, output: Option<Payload>, error: Option<TaskError>) -> Next {
    Next::Finish { state, output, error }
}

fn cancelled() -> TaskError {
    TaskError::new(ErrorKind::Cancelled, "the task was cancelled by request")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_are_scattered() {
        let policy = RetryPolicy::default();
        let full: Vec<_> = (1..=12).map(|attempt| policy.backoff(attempt, 1.0).as_secs()).collect();
        assert_eq!(full, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(policy.backoff(1, 0.0), Duration::from_millis(500));
        assert_eq!(policy.backoff(u32::MAX, 1.0), policy.max);
    }

    #[test]
    fn the_default_outlasts_a_bad_quarter_of_an_hour() {
        let policy = RetryPolicy::default();
        let shortest: Duration = (1..policy.max_attempts).map(|attempt| policy.backoff(attempt, 0.0)).sum();
        assert!(shortest > Duration::from_secs(900), "{shortest:?}");
    }

    #[test]
    fn a_crash_is_tried_again_sooner_than_an_error() {
        let policy = RetryPolicy::default();
        let full: Vec<_> = (1..=4).map(|crashes| policy.backoff_of_crash(crashes, 1.0).as_millis()).collect();
        assert_eq!(full, [200, 400, 800, 1_600]);
        let quick = RetryPolicy { initial: Duration::from_millis(10), ..policy };
        assert_eq!(quick.backoff_of_crash(1, 1.0), Duration::from_millis(10), "never later than an error");
    }
}

//! The last day of a pool as a trace.

use std::cmp::Reverse;

use forerunner_core::Timestamp;
use forerunner_sim::{Trace, TraceTask};

/// Most tasks of a history; of a busier day it has the newest.
pub const MOST_TASKS: usize = 100_000;

/// The last day of a pool.
#[derive(Debug)]
pub struct History {
    /// What ran, with arrivals counted from `from`.
    pub trace: Trace,
    /// When the first of it was due.
    pub from: Timestamp,
    /// When the last of it was due.
    pub to: Timestamp,
    /// Whether the day had more tasks.
    pub truncated: bool,
}

/// One run of a task on an agent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// When it was due.
    pub due: Timestamp,
    /// Seconds from the start to the end of its newest attempt.
    pub service_s: f64,
    /// The number of its context: runs of one context came one after another.
    pub session: Option<u32>,
}

impl History {
    /// Makes a history of runs in any order; `None` of no runs. `truncated` is set if the day had more.
    pub fn of(mut runs: Vec<Run>, truncated: bool) -> Option<Self> {
        let truncated = truncated || runs.len() > MOST_TASKS;
        runs.sort_by_key(|run| Reverse(run.due));
        runs.truncate(MOST_TASKS);
        let (to, from) = (runs.first()?.due, runs.last()?.due);
        let task = |run: Run| TraceTask {
            arrival_s: run.due.since(from).as_secs_f64(),
            service_s: run.service_s,
            session: run.session,
            ..TraceTask::default()
        };
        let trace = Trace::new("history", runs.into_iter().map(task).collect()).ok()?;
        Some(Self { trace, from, to, truncated })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + 1_000_000 * second)
    }

    fn run(second: i64, service_s: f64) -> Run {
        Run { due: at(second), service_s, session: None }
    }

    #[test]
    fn arrivals_count_from_the_first_task_and_the_newest_are_kept() {
        let history = History::of(vec![run(9, 1.0), run(2, 3.0)], false).unwrap();
        let arrivals: Vec<f64> = history.trace.tasks().iter().map(|task| task.arrival_s).collect();
        assert_eq!((arrivals, history.from, history.to, history.truncated), (vec![0.0, 7.0], at(2), at(9), false));
        let many = (0..=MOST_TASKS as i64).map(|second| run(second, 0.1)).collect();
        let history = History::of(many, false).unwrap();
        assert_eq!((history.trace.tasks().len(), history.from, history.truncated), (MOST_TASKS, at(1), true));
        assert!(History::of(Vec::new(), false).is_none());
    }
}

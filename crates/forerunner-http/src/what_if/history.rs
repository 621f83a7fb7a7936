//! The last day of a pool as a trace.

use std::time::Duration;

use forerunner_core::{PoolName, Task, TaskState, Timestamp};
use forerunner_runtime::Handle;
use forerunner_sim::{Trace, TraceTask};
use forerunner_store::{TaskFilter, TaskPage};
use tokio::time::Instant;

use crate::{error::Problem, page::TaskReader};

/// How far the history reaches back from the newest task.
const DAY: Duration = Duration::from_secs(86_400);
/// Most tasks of a history, and most of one state that are read; of a busier day the newest are taken.
const MOST_TASKS: usize = 100_000;
/// Longest time to read a history. What was read by then is replayed.
const MOST_TIME: Duration = Duration::from_secs(5);

/// The last day of a pool.
pub(crate) struct History {
    /// What ran, with arrivals counted from `from`.
    pub(crate) trace: Trace,
    /// When the first of it was due.
    pub(crate) from: Timestamp,
    /// When the last of it was due.
    pub(crate) to: Timestamp,
    /// Whether the day had more tasks.
    pub(crate) truncated: bool,
}

/// When a task was due, and how long an agent worked on it.
type Ran = (Timestamp, f64);

/// States of tasks that an agent may have worked on. Those that wait are not read at all: there may be millions.
const ENDED: [TaskState; 4] = [TaskState::Succeeded, TaskState::Failed, TaskState::Cancelled, TaskState::Dead];

impl History {
    /// Reads the tasks that were submitted in the day before the newest one and have run; `None` if there are none.
    ///
    /// At most [`MOST_TASKS`] are read, and for [`MOST_TIME`]. Each state is read newest first: what is older than the oldest
    /// task of a state that was not read to its end is left out, so that no state is missing in any part of what is left.
    pub(crate) async fn read(handle: &Handle, pool: &PoolName) -> Result<Option<Self>, Problem> {
        let until = Instant::now() + MOST_TIME;
        let mut states = Vec::new();
        for state in ENDED {
            let filter = TaskFilter { pool: Some(pool.clone()), states: vec![state], ..TaskFilter::default() };
            states.push(OfState::begin(TaskReader::new(filter), handle).await?);
        }
        let Some(since) = states.iter().filter_map(|state| state.newest).max().map(|newest| newest - DAY) else {
            return Ok(None);
        };
        let mut truncated = false;
        // The one that was read least far back is read on.
        while let Some(behind) =
            states.iter_mut().filter(|state| state.has_more(since)).max_by_key(|state| state.oldest)
        {
            if Instant::now() >= until || behind.read >= MOST_TASKS {
                truncated = true;
                break;
            }
            behind.read_on(handle).await?;
        }
        let whole_from = states.iter().filter(|state| state.has_more(since)).filter_map(|state| state.oldest).max();
        let from = whole_from.unwrap_or(since).max(since);
        let ran = states.into_iter().flat_map(|state| state.ran).filter(|ran| ran.submitted_at >= from);
        Ok(Self::of(ran.map(|ran| (ran.due, ran.service_s)).collect(), truncated))
    }

    fn of(mut ran: Vec<Ran>, truncated: bool) -> Option<Self> {
        let truncated = truncated || ran.len() > MOST_TASKS;
        ran.sort_by_key(|(due, _)| std::cmp::Reverse(*due));
        ran.truncate(MOST_TASKS);
        let (to, from) = (ran.first()?.0, ran.last()?.0);
        let task = |(due, service_s): Ran| TraceTask {
            arrival_s: due.since(from).as_secs_f64(),
            service_s,
            context_tokens: None,
            output_tokens: None,
            session: None,
        };
        let trace = Trace::new("history", ran.into_iter().map(task).collect()).ok()?;
        Some(Self { trace, from, to, truncated })
    }
}

/// The tasks of one state, as far back as they were read.
struct OfState {
    reader: TaskReader,
    ran: Vec<RanOnce>,
    /// Tasks read.
    read: usize,
    newest: Option<Timestamp>,
    oldest: Option<Timestamp>,
    more: bool,
}

/// A task that an agent worked on.
struct RanOnce {
    submitted_at: Timestamp,
    due: Timestamp,
    service_s: f64,
}

impl OfState {
    async fn begin(reader: TaskReader, handle: &Handle) -> Result<Self, Problem> {
        let mut this = Self { reader, ran: Vec::new(), read: 0, newest: None, oldest: None, more: true };
        this.read_on(handle).await?;
        Ok(this)
    }

    async fn read_on(&mut self, handle: &Handle) -> Result<(), Problem> {
        let TaskPage { tasks, more } = self.reader.next(handle, usize::MAX).await?;
        self.more = more;
        self.read += tasks.len();
        self.newest = self.newest.or(tasks.first().map(|task| task.submitted_at));
        self.oldest = tasks.last().map(|task| task.submitted_at).or(self.oldest);
        self.ran.extend(tasks.iter().filter_map(RanOnce::of));
        Ok(())
    }

    fn has_more(&self, since: Timestamp) -> bool {
        self.more && self.oldest.is_some_and(|oldest| oldest >= since)
    }
}

impl RanOnce {
    /// Takes the newest attempt of a task that has ended on an agent.
    fn of(task: &Task) -> Option<Self> {
        let (started, finished) = task.started_at.zip(task.finished_at)?;
        let due = task.run_at.max(task.submitted_at);
        Some(Self { submitted_at: task.submitted_at, due, service_s: finished.since(started).as_secs_f64() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_count_from_the_first_task_and_the_newest_are_kept() {
        let at = |second: i64| Timestamp::from_micros(1_700_000_000_000_000 + 1_000_000 * second);
        let history = History::of(vec![(at(9), 1.0), (at(2), 3.0)], false).unwrap();
        let arrivals: Vec<f64> = history.trace.tasks().iter().map(|task| task.arrival_s).collect();
        assert_eq!((arrivals, history.from, history.to, history.truncated), (vec![0.0, 7.0], at(2), at(9), false));
        let many = (0..=MOST_TASKS as i64).map(|second| (at(second), 0.1)).collect();
        let history = History::of(many, false).unwrap();
        assert_eq!((history.trace.tasks().len(), history.from, history.truncated), (MOST_TASKS, at(1), true));
        assert!(History::of(Vec::new(), false).is_none());
    }
}

//! The last day of a pool as a trace.

use std::time::Duration;

use forerunner_core::{PoolName, Task, TaskState, Timestamp};
use forerunner_runtime::Handle;
use forerunner_sim::{Trace, TraceTask};
use forerunner_store::{TaskFilter, TaskPage};

use crate::error::Problem;

/// How far the history reaches back from the newest task.
const DAY: Duration = Duration::from_secs(86_400);
/// Tasks read at once.
const PAGE: usize = 1_000;
/// Most tasks of a history; of a busier day the newest are taken.
const MOST_TASKS: usize = 250_000;

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

impl History {
    /// Reads the tasks that were submitted in the day before the newest one and have run; `None` if there are none.
    pub(crate) async fn read(handle: &Handle, pool: &PoolName) -> Result<Option<Self>, Problem> {
        let (mut ran, mut since, mut before): (Vec<Ran>, Option<Timestamp>, _) = (Vec::new(), None, None);
        loop {
            let filter = TaskFilter { pool: Some(pool.clone()), before, limit: PAGE, ..TaskFilter::default() };
            let TaskPage { tasks, more } = handle.tasks(filter).await?;
            let Some(last) = tasks.last() else { break };
            before = Some(last.id);
            let since = *since.get_or_insert(tasks[0].submitted_at - DAY);
            let oldest = last.submitted_at;
            ran.extend(tasks.iter().filter(|task| task.submitted_at >= since).filter_map(ran_once));
            if !more || oldest < since || ran.len() >= MOST_TASKS {
                break;
            }
        }
        Ok(Self::of(ran))
    }

    fn of(mut ran: Vec<Ran>) -> Option<Self> {
        let truncated = ran.len() > MOST_TASKS;
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

/// The newest attempt of a task that has ended on an agent.
fn ran_once(task: &Task) -> Option<Ran> {
    let ended = task.state.is_terminal() && task.state != TaskState::Expired;
    let (started, finished) = task.started_at.zip(task.finished_at).filter(|_| ended)?;
    Some((task.run_at.max(task.submitted_at), finished.since(started).as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_count_from_the_first_task_and_the_newest_are_kept() {
        let at = |second: i64| Timestamp::from_micros(1_700_000_000_000_000 + 1_000_000 * second);
        let history = History::of(vec![(at(9), 1.0), (at(2), 3.0)]).unwrap();
        let arrivals: Vec<f64> = history.trace.tasks().iter().map(|task| task.arrival_s).collect();
        assert_eq!((arrivals, history.from, history.to, history.truncated), (vec![0.0, 7.0], at(2), at(9), false));
        let many = (0..=MOST_TASKS as i64).map(|second| (at(second), 0.1)).collect();
        let history = History::of(many).unwrap();
        assert_eq!((history.trace.tasks().len(), history.from, history.truncated), (MOST_TASKS, at(1), true));
        assert!(History::of(Vec::new()).is_none());
    }
}

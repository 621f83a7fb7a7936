//! Reading the last day of a pool.

use std::time::Duration;

use forerunner_core::{PoolName, Task, TaskState, TenantName, Timestamp};
use forerunner_forecast::Arrival;
use forerunner_lab::what_if::{History, MOST_TASKS, Run};
use forerunner_runtime::{Error, Handle};
use forerunner_store::{TaskFilter, TaskPage};
use tokio::time::Instant;

use crate::list::TaskReader;

/// How far the history reaches back from the newest task.
const DAY: Duration = Duration::from_secs(86_400);
/// Longest time to read a history. What was read by then is replayed.
const MOST_TIME: Duration = Duration::from_secs(5);

/// States of tasks that an agent may have worked on. Those that wait are not read at all: there may be millions.
const ENDED: [TaskState; 4] = [TaskState::Succeeded, TaskState::Failed, TaskState::Cancelled, TaskState::Dead];

/// Reads the tasks that were submitted in the day before the newest one and have run; `None` if there are none.
///
/// Reads at most [`MOST_TASKS`] of a state, for at most [`MOST_TIME`], newest first. Tasks older than the oldest one of
/// an incompletely read state are omitted, so that every part of the result has all states.
pub(super) async fn read(
    handle: &Handle,
    pool: &PoolName,
    tenant: Option<&TenantName>,
) -> Result<Option<History>, Error> {
    let until = Instant::now() + MOST_TIME;
    let mut states = Vec::new();
    for state in ENDED {
        let (tenant, pool) = (tenant.cloned(), Some(pool.clone()));
        let filter = TaskFilter { tenant, pool, states: vec![state], ..TaskFilter::default() };
        states.push(StateHistory::begin(TaskReader::new(filter), handle).await?);
    }
    let Some(since) = states.iter().filter_map(|state| state.newest).max().map(|newest| newest - DAY) else {
        return Ok(None);
    };
    let mut truncated = false;
    // Continues with the state that was read least far back.
    while let Some(behind) = states.iter_mut().filter(|state| state.has_more(since)).max_by_key(|state| state.oldest) {
        if Instant::now() >= until || behind.read >= MOST_TASKS {
            truncated = true;
            break;
        }
        behind.read_on(handle).await?;
    }
    let whole_from = states.iter().filter(|state| state.has_more(since)).filter_map(|state| state.oldest).max();
    let from = whole_from.unwrap_or(since).max(since);
    let ran = states.into_iter().flat_map(|state| state.ran).filter(|ran| ran.submitted_at >= from);
    Ok(History::of(ran.map(|ran| ran.run).collect(), truncated))
}

/// The tasks of one state, as far back as they were read.
struct StateHistory {
    reader: TaskReader,
    ran: Vec<DatedRun>,
    /// Tasks read.
    read: usize,
    newest: Option<Timestamp>,
    oldest: Option<Timestamp>,
    more: bool,
}

/// The newest run of a task, and when the task was submitted.
struct DatedRun {
    submitted_at: Timestamp,
    run: Run,
}

impl StateHistory {
    async fn begin(reader: TaskReader, handle: &Handle) -> Result<Self, Error> {
        let mut this = Self { reader, ran: Vec::new(), read: 0, newest: None, oldest: None, more: true };
        this.read_on(handle).await?;
        Ok(this)
    }

    async fn read_on(&mut self, handle: &Handle) -> Result<(), Error> {
        let TaskPage { tasks, more } = self.reader.next(handle, usize::MAX).await?;
        self.more = more;
        self.read += tasks.len();
        self.newest = self.newest.or(tasks.first().map(|task| task.submitted_at));
        self.oldest = tasks.last().map(|task| task.submitted_at).or(self.oldest);
        self.ran.extend(tasks.iter().filter_map(DatedRun::of));
        Ok(())
    }

    fn has_more(&self, since: Timestamp) -> bool {
        self.more && self.oldest.is_some_and(|oldest| oldest >= since)
    }
}

impl DatedRun {
    /// Adds the newest attempt of a task that has ended on an agent.
    fn of(task: &Task) -> Option<Self> {
        let (started, finished) = task.started_at.zip(task.finished_at)?;
        let due = task.run_at.max(task.submitted_at);
        let session = task.context.as_ref().map(|context| Arrival::session_named(context.as_str()) as u32);
        let run = Run { due, service_s: finished.since(started).as_secs_f64(), session };
        Some(Self { submitted_at: task.submitted_at, run })
    }
}

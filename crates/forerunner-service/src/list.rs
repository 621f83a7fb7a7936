//! List tasks, bounded in bytes as well as in entries.

use forerunner_core::{Task, Timestamp};
use forerunner_runtime::{Error as RuntimeError, Handle};
use forerunner_store::{TaskFilter, TaskPage, TimeWindow};

use crate::{cursor, error::Error, problem_kind::ProblemKind, service::Service};

/// Target size of one read of tasks: it includes inputs and outputs.
const READ_BYTES: usize = 4 << 20;
/// Number of tasks in the first read, while their size is unknown.
const FIRST_TASKS: usize = 16;
/// Most tasks that are read at once.
const MOST_TASKS: usize = 256;

/// What a front writes a page of tasks to, in its own form.
pub trait PageWriter {
    /// Adds a task; returns whether there was room for it. The first one always has room.
    fn push(&mut self, task: &Task) -> bool;

    /// Returns whether there is no more room.
    fn is_full(&self) -> bool;
}

impl Service {
    /// Writes the tasks that meet a filter, newest first and at most `filter.limit`, to a page. Returns the cursor of the page
    /// that follows, if one does.
    ///
    /// # Errors
    /// The memory of the node is in use, or the store does not answer.
    pub async fn list(&self, filter: TaskFilter, page: &mut impl PageWriter) -> Result<Option<String>, Error> {
        let _reservation = self.budget().reserve(READ_BYTES).ok_or_else(|| self.limits().no_memory())?;
        let filter = self.own_filter(filter)?;
        let mut left = filter.limit;
        let mut reader = TaskReader::new(filter);
        loop {
            let TaskPage { tasks, more } = reader.next(self.handle(), left).await?;
            let tasks: Vec<_> = tasks.into_iter().map(|task| self.shown(task)).collect();
            let taken = tasks.iter().take_while(|task| page.push(task)).count();
            left -= taken;
            let last = taken.checked_sub(1).map(|index| tasks[index].id);
            let is_over = taken < tasks.len() || left == 0 || page.is_full();
            if is_over || !more {
                let follows = more || taken < tasks.len();
                return Ok(last.filter(|_| follows).map(cursor::after_task));
            }
        }
    }
}

/// Checks a window of time, from `after`, which belongs to it, to `before`, which does not.
///
/// # Errors
/// The window is empty.
pub fn time_window(after: Option<Timestamp>, before: Option<Timestamp>) -> Result<TimeWindow, Error> {
    if after.zip(before).is_some_and(|(after, before)| after >= before) {
        let detail = "the window of time is empty: its `after` is not earlier than its `before`; swap them";
        return Err(Error::new(ProblemKind::InvalidValue, detail));
    }
    Ok(TimeWindow { after, before })
}

/// Reads tasks newest first, few at once if they are large.
pub(crate) struct TaskReader {
    filter: TaskFilter,
    at_once: usize,
}

impl TaskReader {
    /// Begins behind `filter.before`; how many there are to be is the caller's business.
    pub(crate) const fn new(filter: TaskFilter) -> Self {
        Self { filter, at_once: FIRST_TASKS }
    }

    /// Reads the next tasks, `most` at most.
    pub(crate) async fn next(&mut self, handle: &Handle, most: usize) -> Result<TaskPage, RuntimeError> {
        let page = handle.tasks(TaskFilter { limit: self.at_once.min(most), ..self.filter.clone() }).await?;
        self.filter.before = page.tasks.last().map(|task| task.id).or(self.filter.before);
        self.adapt(&page.tasks);
        Ok(page)
    }

    fn adapt(&mut self, tasks: &[Task]) {
        let bytes: usize = tasks.iter().map(size).sum();
        let wanted = READ_BYTES.saturating_mul(tasks.len()).checked_div(bytes);
        self.at_once = wanted.unwrap_or(MOST_TASKS).clamp(1, MOST_TASKS);
    }
}

fn size(task: &Task) -> usize {
    const REST_BYTES: usize = 512;
    let labels: usize = task.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    let output = task.output.as_ref().map_or(0, |output| output.as_str().len());
    REST_BYTES + task.input.as_str().len() + output + labels
}

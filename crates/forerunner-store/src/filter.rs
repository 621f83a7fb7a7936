//! Which tasks a listing shows, and which tasks an operation on many of them changes.

use std::time::Duration;

use forerunner_core::{ContextId, PoolName, Task, TaskId, TaskState, TenantName, Timestamp};

/// Which tasks to list or to change. A task must meet every condition that is set; an empty filter matches all tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Of this tenant.
    pub tenant: Option<TenantName>,
    /// Of this pool.
    pub pool: Option<PoolName>,
    /// In one of these states; in any state if there are none.
    pub states: Vec<TaskState>,
    /// Of this context.
    pub context: Option<ContextId>,
    /// With all of these labels (key, value).
    pub labels: Vec<(String, String)>,
    /// Submitted in this window.
    pub created: TimeWindow,
    /// Ended in this window; a task that has not ended is in no such window.
    pub ended: TimeWindow,
    /// With a `run_at` in this window.
    pub due: TimeWindow,
    /// Older than this task: the last one of the page before, newest first.
    pub before: Option<TaskId>,
    /// Newer than this task: the last one of the page before, oldest first.
    pub after: Option<TaskId>,
    /// From the oldest task to the newest, rather than from the newest to the oldest.
    pub oldest_first: bool,
    /// At most this many: 1 to 1,000 of a page, 1 to 10,000 of a selection.
    pub limit: usize,
}

/// A span of time: from `after`, which belongs to it, to `before`, which does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeWindow {
    /// At this time or later.
    pub after: Option<Timestamp>,
    /// Before this time.
    pub before: Option<Timestamp>,
}

/// How far the time in a task's id may be ahead of its submission: ids continue to grow when a clock is set back.
const ID_AHEAD: Duration = Duration::from_secs(3_600);

impl TimeWindow {
    /// Returns whether the window contains every time.
    pub const fn is_open(&self) -> bool {
        self.after.is_none() && self.before.is_none()
    }

    /// Returns whether a time is in the window.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.after.is_none_or(|after| at >= after) && self.before.is_none_or(|before| at < before)
    }
}

impl TaskFilter {
    /// Returns whether the filter has no condition, so that it matches every task.
    pub fn matches_all(&self) -> bool {
        let windows = [&self.created, &self.ended, &self.due];
        self.tenant.is_none()
            && self.pool.is_none()
            && self.states.is_empty()
            && self.context.is_none()
            && self.labels.is_empty()
            && windows.into_iter().all(TimeWindow::is_open)
    }

    /// Returns whether a task meets every condition. The place in a listing (`before`, `after`) is not one of them.
    pub(crate) fn matches(&self, task: &Task) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| task.tenant == *tenant)
            && self.pool.as_ref().is_none_or(|pool| task.pool == *pool)
            && (self.states.is_empty() || self.states.contains(&task.state))
            && self.context.as_ref().is_none_or(|context| task.context.as_ref() == Some(context))
            && self.labels.iter().all(|(key, value)| task.labels.get(key) == Some(value))
            && self.created.holds(task.submitted_at)
            && (self.ended.is_open() || task.finished_at.is_some_and(|at| self.ended.holds(at)))
            && self.due.holds(task.run_at)
    }

    /// Returns the ids between which all matching tasks are, both excluded.
    ///
    /// An id contains the time of the submission, or a later one, so an index of ids serves the window of creation.
    pub fn id_bounds(&self) -> (Option<TaskId>, Option<TaskId>) {
        let first = self.created.after.map(|after| id_at(after - Duration::from_millis(1)));
        let last = self.created.before.map(|before| id_at(before + ID_AHEAD));
        (self.after.into_iter().chain(first).max(), self.before.into_iter().chain(last).min())
    }
}

/// An id that is less than those of all tasks that are submitted in the millisecond behind `at`.
fn id_at(at: Timestamp) -> TaskId {
    TaskId::from_parts(at.max(Timestamp::default()), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + micros)
    }

    #[test]
    fn a_window_has_its_beginning_and_not_its_end() {
        let window = TimeWindow { after: Some(at(5)), before: Some(at(7)) };
        assert_eq!([4, 5, 6, 7].map(|micros| window.holds(at(micros))), [false, true, true, false]);
        assert!(TimeWindow::default().holds(at(0)) && TimeWindow::default().is_open());
    }

    #[test]
    fn the_bounds_of_ids_leave_out_no_task_of_the_window() {
        let created = TimeWindow { after: Some(at(1_500)), before: Some(at(2_500)) };
        let filter = TaskFilter { created, ..TaskFilter::default() };
        let (first, last) = filter.id_bounds();
        for submitted in [1_500, 2_499] {
            let id = TaskId::from_parts(at(submitted), 0);
            assert!(first < Some(id) && Some(id) < last, "{submitted}");
        }
        let ahead = TaskId::from_parts(at(2_000) + Duration::from_secs(60), 9);
        assert!(Some(ahead) < last, "the clock was set back by a minute");
        let narrow = TaskFilter { after: last, before: first, ..filter };
        assert_eq!(narrow.id_bounds(), (last, first), "the narrower bound counts");
    }

    #[test]
    fn a_filter_without_conditions_matches_all() {
        let place = TaskFilter { limit: 7, oldest_first: true, ..TaskFilter::default() };
        assert!(place.matches_all());
        assert!(!TaskFilter { states: vec![TaskState::Dead], ..place.clone() }.matches_all());
        let due = TimeWindow { after: Some(at(0)), before: None };
        assert!(!TaskFilter { due, ..place }.matches_all());
    }
}

//! Changing a task that waits.

use forerunner_core::{ApiKeyName, ContextId, TaskId, TaskReport, TaskState, Timestamp};
use rusqlite::{Error, params};

use super::{
    failure::Sql,
    rows::{run, value},
    tx::{Rank, Spot, Tx},
};
use crate::{StateConflict, TaskChange, Updated, rules};

impl Tx<'_> {
    pub fn update(&mut self, id: TaskId, change: TaskChange, now: Timestamp) -> Sql<Result<Updated, StateConflict>> {
        let Some(found) = self.find(id)? else { return Ok(Err(StateConflict::NoTask { task: id })) };
        let (old, mut task) = (found.spot(), Box::new(found.task));
        let (from, context) = (task.state, task.context.clone());
        if !matches!(from, TaskState::Scheduled | TaskState::Queued) {
            return Ok(Err(StateConflict::WrongState { task: id, state: from, wish: "changed" }));
        }
        let claimable_before = self.claimable(old.pool)?;
        let head = context.as_ref().map(|context| self.head(old.pool, context)).transpose()?.flatten();
        let has_place = context.as_ref().map_or(Ok(false), |context| self.has_place(&old, context))?;
        let mut spot = old;
        if let Some(priority) = change.priority {
            (task.priority, spot.priority) = (priority, priority.get());
        }
        if let Some(run_at) = change.run_at {
            let moved = rules::moved(&task, old.due, has_place, run_at, now);
            (task.state, task.run_at, spot.due) = (moved.state, moved.run_at, moved.due);
        }
        self.make_unready(&old)?;
        if let Some(context) = &context {
            self.leave_line(&old, context)?;
            if !has_place && task.state == TaskState::Queued {
                spot.due = self.last_due(old.pool, context)?.map_or(spot.due, |last| last.max(spot.due));
            }
        }
        let sql = "UPDATE tasks SET state = ?1, priority = ?2, due = ?3, run_at = ?4 WHERE task = ?5";
        let (due, run_at) = (spot.due.as_micros(), task.run_at.as_micros());
        run(self.connection, sql, params![task.state.code(), spot.priority, due, run_at, spot.row])?;
        self.cache.count(spot.pool, Some(from), Some(task.state))?;
        match &context {
            Some(context) => {
                let is_joined = has_place || task.state == TaskState::Queued;
                self.enter_line(&spot, context, if is_joined { Rank::Joined } else { Rank::Delayed })?;
                self.advance(spot.pool, context, head.filter(|head| head.row != spot.row))?;
            }
            None if task.state == TaskState::Queued => self.make_ready(&spot)?,
            None => {}
        }
        Ok(Ok(Updated { task, claimable: self.claimable(spot.pool)? - claimable_before }))
    }

    pub fn note_cancellation(&self, tasks: &[TaskId], by: Option<&ApiKeyName>) -> Sql<()> {
        for task in tasks {
            let sql = "SELECT task FROM tasks WHERE id = ?1 AND state < 3";
            let Some(row) = value::<i64>(self.connection, sql, params![task.as_uuid().as_bytes()])? else { continue };
            let report = rules::cancellation_by(self.report(row)?, by);
            self.write_report(row, report.as_ref())?;
        }
        Ok(())
    }

    /// What a task reported; `None` also when nobody can read it.
    pub(super) fn report(&self, row: i64) -> Sql<Option<TaskReport>> {
        let sql = "SELECT report FROM tasks WHERE task = ?1";
        let stored = value::<Option<String>>(self.connection, sql, params![row])?.flatten();
        Ok(stored.and_then(|text| serde_json::from_str(&text).ok()))
    }

    pub(super) fn write_report(&self, row: i64, report: Option<&TaskReport>) -> Sql<()> {
        let text = report.map(serde_json::to_string).transpose();
        let text = text.map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))?;
        run(self.connection, "UPDATE tasks SET report = ?1 WHERE task = ?2", params![text, row]).map(drop)
    }

    /// Whether a waiting task has its place in its context's line, or is yet to become due for the first time.
    pub(super) fn has_place(&self, spot: &Spot, context: &ContextId) -> Sql<bool> {
        let sql =
            "SELECT 1 FROM context_queue WHERE pool = ?1 AND context = ?2 AND rank = ?3 AND due = ?4 AND task = ?5";
        let rank = Rank::Joined as i64;
        let params = params![spot.pool, context.as_str(), rank, spot.due.as_micros(), spot.row];
        Ok(value::<i64>(self.connection, sql, params)?.is_some())
    }
}

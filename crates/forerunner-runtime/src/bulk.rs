//! Bulk operations: one action for many tasks, in batches.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use forerunner_core::{ApiKeyName, AttemptRecord, PoolName, Task, TaskId, TaskState, Timestamp};
use forerunner_store::{
    BulkAction, BulkOutcome, BulkRefusal, Obstacle, PoolOutcome, StateConflict, TaskChange, TaskFilter,
};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    Error, Handle,
    admission::CountedPlaces,
    queue::messages::{BulkDone, StopCancelled, Update},
};

/// Tasks that are changed in one transaction: few enough that other work waits only briefly.
const BATCH: usize = 500;
/// Tasks that are selected in one read.
const SELECT_BATCH: usize = 10_000;
/// Most tasks of one call.
pub const MOST_BULK: usize = 10_000;
/// The time of one call. The next call continues with the remaining tasks.
const BUDGET: Duration = Duration::from_secs(5);

/// An action for many tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkRequest {
    /// The action.
    pub action: BulkAction,
    /// The tasks. Without states the action has its own: cancel applies to tasks that have not ended, retry to failed
    /// and dead ones, delete to ended ones, move to waiting ones.
    pub filter: TaskFilter,
    /// Whether to report only what would be done.
    pub dry_run: bool,
    /// By which key tasks are cancelled, if keys are in use: the inner value is none for a caller without one.
    pub by: Option<Option<ApiKeyName>>,
}

/// The result of a bulk operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BulkReport {
    /// Tasks that match the filter.
    pub matched: usize,
    /// Tasks that were changed, or would be.
    pub done: usize,
    /// Running tasks that were asked to stop. They are included in `done`.
    pub stopping: usize,
    /// Tasks that were not changed, by state and obstacle: how many, and one of them.
    pub refused: BTreeMap<(TaskState, Obstacle), (usize, TaskId)>,
    /// Tasks that were deleted meanwhile.
    pub gone: usize,
    /// The last task that was processed, if there may be more.
    pub next: Option<TaskId>,
}

impl BulkRequest {
    /// Completes the filter with the states and the order of the action.
    fn completed(&self) -> TaskFilter {
        let mut filter = self.filter.clone();
        if filter.states.is_empty() {
            let is_meant = |state: &TaskState| match &self.action {
                BulkAction::Retry => matches!(state, TaskState::Failed | TaskState::Dead),
                action => action.applies_to(*state),
            };
            filter.states = TaskState::ALL.into_iter().filter(is_meant).collect();
        }
        filter.oldest_first = self.action.is_oldest_first();
        filter.limit = filter.limit.clamp(1, MOST_BULK);
        filter
    }
}

impl BulkReport {
    pub(crate) fn note_refused(&mut self, BulkRefusal { task, state, obstacle }: BulkRefusal) {
        self.refused.entry((state, obstacle)).or_insert((0, task)).0 += 1;
    }

    pub(crate) fn add(&mut self, outcome: &BulkOutcome) {
        for changed in outcome.pools.values() {
            self.done += changed.done.len() + changed.stopping.len();
            self.stopping += changed.stopping.len();
        }
        outcome.refused.iter().for_each(|refusal| self.note_refused(*refusal));
        self.gone += outcome.gone.len();
    }

    fn add_dry(&mut self, action: &BulkAction, found: &[(TaskId, TaskState)]) {
        for (task, state) in found {
            match action.applies_to(*state) {
                true => self.done += 1,
                false => self.note_refused(BulkRefusal::of_state(*task, *state)),
            }
            self.stopping += usize::from(*action == BulkAction::Cancel && *state == TaskState::Running);
        }
    }
}

impl Handle {
    /// Returns the current time of this node.
    pub fn time(&self) -> Timestamp {
        self.shared.deps.now()
    }

    /// Applies an action to all tasks that match a filter: at most `filter.limit` tasks, and for a few seconds. The
    /// report has the task to continue after ([`BulkReport::next`]), as `filter.before`, or as `filter.after` for
    /// retries and moves.
    ///
    /// Each batch of tasks is one transaction, with other work in between. Completed batches remain if the caller stops
    /// waiting.
    ///
    /// # Errors
    /// [`Error::NoPool`] for a move to a pool that does not exist; [`Error::Store`].
    pub async fn bulk(&self, request: BulkRequest) -> Result<BulkReport, Error> {
        // Also if no task matches: a mistyped pool is an error.
        if let BulkAction::Move { to, .. } = &request.action {
            self.entry(to.as_str())?;
        }
        let (mut filter, begun) = (request.completed(), Instant::now());
        let is_preview = request.dry_run && !matches!(request.action, BulkAction::Move { .. });
        let (mut left, batch) = (filter.limit, if is_preview { SELECT_BATCH } else { BATCH });
        let (mut report, mut places) = (BulkReport::default(), CountedPlaces::default());
        while left > 0 && begun.elapsed() < BUDGET {
            // Many tasks are selected in one read: without an index for the filter each read scans all tasks.
            filter.limit = left.min(SELECT_BATCH);
            let found = self.shared.deps.store.select(filter.clone()).await?;
            let is_all = found.len() < filter.limit;
            let Some(end) = found.last().map(|(task, _)| *task) else {
                report.next = None;
                break;
            };
            for some in found.chunks(batch) {
                left -= some.len();
                self.bulk_batch(&request, some.to_vec(), &mut places, &mut report).await?;
                report.next = some.last().map(|(task, _)| *task);
                if begun.elapsed() >= BUDGET {
                    break;
                }
            }
            if is_all && report.next == Some(end) {
                report.next = None;
                break;
            }
            let place = if filter.oldest_first { &mut filter.after } else { &mut filter.before };
            *place = report.next;
        }
        Ok(report)
    }

    async fn bulk_batch(
        &self,
        request: &BulkRequest,
        found: Vec<(TaskId, TaskState)>,
        places: &mut CountedPlaces,
        report: &mut BulkReport,
    ) -> Result<(), Error> {
        report.matched += found.len();
        match (&request.action, request.dry_run) {
            (BulkAction::Move { to, .. }, dry_run) => {
                return self.move_batch(to, found, dry_run.then_some(places), report).await;
            }
            (action, true) => report.add_dry(action, &found),
            (action, false) => {
                let ids: Vec<_> = found.into_iter().map(|(task, _)| task).collect();
                if let (BulkAction::Cancel, Some(by)) = (action, &request.by) {
                    self.note_cancellation(ids.clone(), by.clone()).await?;
                }
                report.add(&self.change(action.clone(), ids).await?);
            }
        }
        Ok(())
    }

    /// Notes by which key a caller is about to cancel tasks: none, if it needs no key.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn note_cancellation(&self, tasks: Vec<TaskId>, by: Option<ApiKeyName>) -> Result<(), Error> {
        Ok(self.shared.deps.store.note_cancellation(tasks, by).await?)
    }

    /// Deletes an ended task with everything stored for it.
    ///
    /// # Errors
    /// [`StateConflict::NoTask`]; [`StateConflict::WrongState`] for a task that has not ended; [`Error::Store`].
    pub async fn delete(&self, id: TaskId) -> Result<(), Error> {
        let outcome = self.change(BulkAction::Delete, vec![id]).await?;
        match (outcome.gone.first(), outcome.refused.first()) {
            (Some(_), _) => Err(StateConflict::NoTask { task: id }.into()),
            (_, Some(BulkRefusal { task, state, .. })) => {
                Err(StateConflict::WrongState { task: *task, state: *state, wish: "deleted; cancel it first" }.into())
            }
            _ => Ok(()),
        }
    }

    /// Returns the attempts of a task: the newest 10 that did not succeed, and the one that runs or succeeded.
    ///
    /// # Errors
    /// As [`Handle::task`].
    pub async fn attempts(&self, id: TaskId) -> Result<Vec<AttemptRecord>, Error> {
        let task = self.task(id).await?;
        let mut attempts = self.shared.deps.store.attempts(id).await?.unwrap_or_default();
        if let (TaskState::Running | TaskState::Succeeded, Some(started_at)) = (task.state, task.started_at) {
            let Task { attempt, agent, node, .. } = task;
            let (outcome, ended_at) = (task.state.into(), task.finished_at);
            attempts.push(AttemptRecord {
                attempt,
                outcome,
                started_at,
                ended_at,
                agent,
                node,
                error: None,
                log: None,
            });
        }
        Ok(attempts)
    }

    /// Changes the priority or the due time of a waiting task.
    ///
    /// # Errors
    /// As [`Handle::task`]; [`StateConflict::WrongState`] for a task that runs or has ended.
    pub async fn update(&self, id: TaskId, change: TaskChange) -> Result<Task, Error> {
        let task = self.task(id).await?;
        let entry = self.entry(task.pool.as_str())?;
        let (reply, answer) = oneshot::channel();
        entry.queue.do_send(Update { task: id, change, reply });
        answer.await.map_err(|_| Error::OutcomeUnknown { pool: task.pool })?
    }

    /// Changes one batch and informs the queues. The work completes even if the caller stops waiting.
    pub(crate) async fn change(&self, action: BulkAction, tasks: Vec<TaskId>) -> Result<BulkOutcome, Error> {
        let handle = self.clone();
        let work = tokio::spawn(async move {
            let (now, asked) = (handle.time(), tasks.len());
            let outcome = handle.shared.deps.store.bulk(action.clone(), tasks, now).await;
            if let BulkAction::Move { to, .. } = &action {
                handle.note_moved(to, asked, outcome.as_ref().ok());
            }
            let outcome = outcome?;
            handle.notify_queues(&action, &outcome);
            Ok::<_, Error>(outcome)
        });
        work.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    fn notify_queues(&self, action: &BulkAction, outcome: &BulkOutcome) {
        for (pool, changed) in &outcome.pools {
            match action {
                BulkAction::Delete => changed.done.iter().for_each(|task| self.shared.deps.watch.remove_events(*task)),
                _ => self.notify_queue(action, pool, changed),
            }
        }
    }

    fn notify_queue(&self, action: &BulkAction, pool: &PoolName, changed: &PoolOutcome) {
        // A pool that is not configured has no queue here.
        let Some(entry) = self.shared.pools.get(pool) else { return self.shared.unconfigured.rescan() };
        entry.queue.do_send(BulkDone {
            action: action.clone(),
            tasks: changed.done.clone(),
            arrived: changed.arrived.clone(),
            bytes: (changed.done_bytes, changed.arrived_bytes),
            claimable: changed.claimable,
        });
        if !changed.stopping.is_empty() {
            entry.queue.do_send(StopCancelled(Arc::new(changed.stopping.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(action: BulkAction, states: &[TaskState]) -> TaskFilter {
        let filter = TaskFilter { states: states.to_vec(), limit: 99_999, ..TaskFilter::default() };
        BulkRequest { action, filter, dry_run: false, by: None }.completed()
    }

    #[test]
    fn an_action_is_for_the_tasks_it_is_meant_for_unless_states_are_named() {
        use TaskState::{Cancelled, Dead, Failed, Queued, Running, Scheduled, Waiting};
        assert_eq!(request(BulkAction::Cancel, &[]).states, [Scheduled, Queued, Running, Waiting]);
        assert_eq!(request(BulkAction::Retry, &[]).states, [Failed, Dead]);
        assert_eq!(request(BulkAction::Delete, &[]).states.len(), 5);
        assert_eq!(request(moving(), &[]).states, [Scheduled, Queued]);
        assert_eq!(request(BulkAction::Retry, &[Cancelled]).states, [Cancelled]);
    }

    fn moving() -> BulkAction {
        BulkAction::Move { to: PoolName::new("writer").unwrap(), dry_run: false }
    }

    #[test]
    fn retries_and_moves_go_from_the_oldest_task_on_and_a_call_is_bounded() {
        assert!(request(BulkAction::Retry, &[]).oldest_first && request(moving(), &[]).oldest_first);
        assert!(!request(BulkAction::Cancel, &[]).oldest_first);
        assert_eq!(request(BulkAction::Delete, &[]).limit, MOST_BULK);
    }
}

//! Giving tasks that wait to another pool: one, or a batch of many.

use std::collections::HashMap;

use forerunner_core::{PoolName, Task, TaskId, TaskState};
use forerunner_store::{BulkAction, BulkOutcome, BulkRefusal, Obstacle, StateConflict};

use crate::{BulkReport, Error, Handle, admission::ReservedBytes, handle::PoolEntry};

/// Tasks of a bulk move that are read at once, to learn the sizes of their inputs.
const READ_AT_ONCE: usize = 64;

impl Handle {
    /// Gives a task that waits to another pool of this node. It keeps its id, priority, times, attempts and idempotency key.
    /// A task that is in that pool already is answered unchanged.
    ///
    /// # Errors
    /// As [`Handle::task`]; [`Error::NoPool`]; [`StateConflict::WrongState`] for a task that runs or has ended; [`Error::NotMovable`]
    /// for a task of a context, and where the other pool has a task with its key; [`Error::QueueFull`],
    /// [`Error::BytesFull`], [`Error::TooLarge`].
    pub async fn move_task(&self, id: TaskId, to: &str) -> Result<Task, Error> {
        let entry = self.entry(to)?;
        let task = self.task(id).await?;
        let action = BulkAction::Move { to: entry.deps.name.clone(), dry_run: false };
        if !action.applies_to(task.state) {
            return Err(not_waiting(id, task.state));
        }
        if task.pool == entry.deps.name {
            return Ok(task);
        }
        entry.check_size(&task.input)?;
        entry.take_place(&task.input)?;
        let reserved = ReservedBytes::of(&entry.admission, task.input.len() as u64);
        let outcome = self.change(action, vec![id]).await;
        drop(reserved);
        let outcome = outcome?;
        match (outcome.gone.first(), outcome.refused.first()) {
            (Some(_), _) => Err(StateConflict::NoTask { task: id }.into()),
            (_, Some(refusal)) => Err(refused(&task, entry, *refusal)),
            _ => self.task(id).await,
        }
    }

    /// Gives one batch of an operation on many tasks to another pool, as far as that has room.
    pub(crate) async fn move_batch(
        &self,
        to: &PoolName,
        found: Vec<(TaskId, TaskState)>,
        dry_run: bool,
        report: &mut BulkReport,
    ) -> Result<(), Error> {
        let entry = self.entry(to.as_str())?;
        let ids = |found: Vec<(TaskId, TaskState)>| found.into_iter().map(|(task, _)| task).collect::<Vec<_>>();
        let action = BulkAction::Move { to: to.clone(), dry_run };
        if dry_run {
            report.add(&self.shared.deps.store.bulk(action, ids(found), self.time()).await?);
            return Ok(());
        }
        for some in found.chunks(READ_AT_ONCE) {
            let mut reserved = ReservedBytes::of(&entry.admission, 0);
            let (mut movable, mut refused) = (Vec::with_capacity(some.len()), Vec::new());
            let sizes = self.input_sizes(&ids(some.to_vec())).await?;
            for &(task, state) in some {
                let size = sizes.get(&task).copied().unwrap_or(0);
                let obstacle = match () {
                    () if size > entry.deps.settings.queue.max_input_bytes as u64 => Obstacle::TooLarge,
                    () if reserved.enter(size).is_err() => Obstacle::Room,
                    () => {
                        movable.push(task);
                        continue;
                    }
                };
                refused.push(BulkRefusal { task, state, obstacle });
            }
            if !movable.is_empty() {
                report.add(&self.change(action.clone(), movable).await?);
            }
            refused.into_iter().for_each(|refusal| report.note_refused(refusal));
        }
        Ok(())
    }

    /// Bytes of the inputs of those of the tasks that there are.
    async fn input_sizes(&self, tasks: &[TaskId]) -> Result<HashMap<TaskId, u64>, Error> {
        let tasks = self.shared.deps.store.tasks_of(tasks.to_vec()).await?;
        Ok(tasks.into_iter().map(|task| (task.id, task.input.len() as u64)).collect())
    }

    /// Gives back the places of tasks that did not come, and logs what did.
    pub(crate) fn note_moved(&self, to: &PoolName, asked: usize, outcome: Option<&BulkOutcome>) {
        let arrived = outcome.and_then(|outcome| outcome.pools.get(to)).map_or(0, |changed| changed.arrived.len());
        if let Some(entry) = self.shared.pools.get(to) {
            entry.admission.leave(asked - arrived);
        }
        for (from, changed) in outcome.iter().flat_map(|outcome| &outcome.pools) {
            if !changed.done.is_empty() {
                tracing::info!(%from, %to, tasks = changed.done.len(), "moved tasks to another pool");
            }
        }
    }
}

fn not_waiting(task: TaskId, state: TaskState) -> Error {
    StateConflict::WrongState { task, state, wish: "moved to another pool; only a task that waits can be" }.into()
}

fn refused(task: &Task, entry: &PoolEntry, refusal: BulkRefusal) -> Error {
    let pool = entry.deps.name.clone();
    let reason = match refusal.obstacle {
        Obstacle::Context => {
            let context = task.context.as_ref().map(ToString::to_string).unwrap_or_default();
            format!(
                "it belongs to context `{context}` of pool `{}`, and a context stays in its pool; configure that pool again, or \
                 cancel the task and submit it to the other pool",
                task.pool
            )
        }
        Obstacle::Key => {
            let key = task.idempotency_key.as_ref().map(ToString::to_string).unwrap_or_default();
            format!(
                "that pool has a task with the idempotency key `{key}`; delete one of the two, or submit this one under a new key"
            )
        }
        _ => return not_waiting(task.id, refusal.state),
    };
    Error::NotMovable { task: task.id, pool, reason }
}

//! Moves of waiting tasks to another pool: one task, or a batch.

use std::collections::{HashMap, HashSet};

use forerunner_core::{PoolName, Task, TaskId, TaskState};
use forerunner_store::{BulkAction, BulkOutcome, BulkRefusal, Obstacle, StateConflict};

use crate::{
    BulkReport, Error, Handle,
    admission::{CountedPlaces, ReservedBytes},
    handle::PoolEntry,
};

/// Tasks that only their size or the other pool's room may prevent from moving, in the order of the move.
struct Movable {
    tasks: Vec<(TaskId, TaskState)>,
    sizes: HashMap<TaskId, u64>,
}

impl Handle {
    /// Moves a waiting task to another pool of this node. It keeps its id, priority, times, attempts and idempotency
    /// key. A task that is already in that pool is returned unchanged.
    ///
    /// # Errors
    /// As [`Handle::task`]; [`Error::NoPool`]; [`StateConflict::WrongState`] for a task that runs or has ended;
    /// [`Error::NotMovable`] for a task with a context, and if the other pool has a task with the same key;
    /// [`Error::TooLarge`]; [`Error::QueueFull`], [`Error::BytesFull`].
    pub async fn move_task(&self, id: TaskId, to: &str) -> Result<Task, Error> {
        let entry = self.entry(to)?;
        let task = self.task(id).await?;
        let action = |dry_run| BulkAction::Move { to: entry.deps.name.clone(), dry_run };
        let judge = |outcome: &BulkOutcome| match (outcome.gone.first(), outcome.refused.first()) {
            (Some(_), _) => Err(Error::from(StateConflict::NoTask { task: id })),
            (_, Some(refusal)) if refusal.obstacle != Obstacle::SamePool => Err(refused(&task, entry, *refusal)),
            _ => Ok(()),
        };
        let preview = self.shared.deps.store.bulk(action(true), vec![id], self.time()).await?;
        judge(&preview)?;
        if !preview.pools.is_empty() {
            entry.check_size(&task.input)?;
            entry.reserve_place(&task.input)?;
            let reserved = ReservedBytes::of(&entry.admission, task.input.len() as u64);
            let outcome = self.change(action(false), vec![id]).await;
            drop(reserved);
            judge(&outcome?)?;
        }
        self.task(id).await
    }

    /// Moves one batch of a bulk operation to another pool, as far as that has room. As for one task, obstacles of the
    /// task are checked first, then its size, then the room.
    ///
    /// A dry run changes nothing, and counts the places that the tasks would need.
    pub(crate) async fn move_batch(
        &self,
        to: &PoolName,
        found: Vec<(TaskId, TaskState)>,
        preview: Option<&mut CountedPlaces>,
        report: &mut BulkReport,
    ) -> Result<(), Error> {
        let entry = self.entry(to.as_str())?;
        let (admission, most) = (&entry.admission, entry.deps.settings.queue.max_input_bytes as u64);
        let movable = self.movable(to, found, report).await?;
        if let Some(counted) = preview {
            let (admitted, refused) = movable.admitted(most, |size| counted.enter(admission, size).is_ok());
            report.done += admitted.len();
            refused.into_iter().for_each(|refusal| report.note_refused(refusal));
            return Ok(());
        }
        let mut reserved = ReservedBytes::of(admission, 0);
        let (admitted, refused) = movable.admitted(most, |size| reserved.enter(size).is_ok());
        refused.into_iter().for_each(|refusal| report.note_refused(refusal));
        if !admitted.is_empty() {
            let action = BulkAction::Move { to: to.clone(), dry_run: false };
            report.add(&self.change(action, admitted).await?);
        }
        Ok(())
    }

    /// Returns the tasks that could move to the other pool. The report gets the others.
    async fn movable(
        &self,
        to: &PoolName,
        found: Vec<(TaskId, TaskState)>,
        report: &mut BulkReport,
    ) -> Result<Movable, Error> {
        let (store, action) = (&self.shared.deps.store, BulkAction::Move { to: to.clone(), dry_run: true });
        let ids = found.iter().map(|(task, _)| *task).collect();
        let would = store.bulk(action, ids, self.time()).await?;
        would.refused.iter().for_each(|refusal| report.note_refused(*refusal));
        report.gone += would.gone.len();
        let named: HashSet<TaskId> = would.pools.into_values().flat_map(|changed| changed.done).collect();
        let sizes = store.input_sizes(named.iter().copied().collect()).await?.into_iter().collect();
        Ok(Movable { tasks: found.into_iter().filter(|(task, _)| named.contains(task)).collect(), sizes })
    }

    /// Releases the places of tasks that were not moved, and logs the moves.
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

impl Movable {
    /// Separates the tasks that the pool admits from those that it rejects: too large, or without a place.
    fn admitted(self, most_bytes: u64, mut enter: impl FnMut(u64) -> bool) -> (Vec<TaskId>, Vec<BulkRefusal>) {
        let (mut admitted, mut refused) = (Vec::with_capacity(self.tasks.len()), Vec::new());
        for (task, state) in self.tasks {
            let size = self.sizes.get(&task).copied().unwrap_or(0);
            let obstacle = match () {
                () if size > most_bytes => Obstacle::TooLarge,
                () if !enter(size) => Obstacle::Room,
                () => {
                    admitted.push(task);
                    continue;
                }
            };
            refused.push(BulkRefusal { task, state, obstacle });
        }
        (admitted, refused)
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

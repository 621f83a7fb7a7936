//! Where the tasks are stored, and how they are found.

use std::sync::Arc;

use forerunner_core::{AttemptRecord, IdMap, Task, TaskId, Timestamp};

use super::lane::QueueKey;
use crate::EndWaiter;

/// A task, and the store's own data about it.
#[derive(Debug)]
pub(super) struct Entry {
    /// Shared with those who run it.
    pub task: Arc<Task>,
    /// Counts submissions; breaks ties between tasks that became due together.
    pub seq: u64,
    /// When it became due for the first time; its place in every order.
    pub due: Timestamp,
    pub pool: u32,
    /// Whether it is claimable.
    pub ready: bool,
    /// Whether it was cancelled while it ran.
    pub stop: bool,
    /// Counts up with each task that ends, so that the ring of ended tasks finds its own.
    pub end: u64,
    /// Gets the row when the task ends.
    pub waiter: Option<EndWaiter>,
    /// How attempts went that did not succeed.
    pub attempts: Vec<AttemptRecord>,
}

impl Entry {
    /// The task, to be changed: in place, unless somebody else refers to it.
    pub fn task_mut(&mut self) -> &mut Task {
        Arc::make_mut(&mut self.task)
    }
}

/// All tasks, in a slab with an index by id.
#[derive(Debug, Default)]
pub(super) struct Slots {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_id: IdMap<TaskId, u32>,
    /// Ids in the order of arrival, for listings; those of removed tasks stay for a while.
    ids: Vec<TaskId>,
    sorted: bool,
}

impl Slots {
    pub fn find(&self, task: TaskId) -> Option<u32> {
        self.by_id.get(&task).copied()
    }

    pub fn get(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.entries.get_mut(slot as usize)?.as_mut()
    }

    /// Returns the entry of a slot that an index points to.
    pub fn at(&self, slot: u32) -> &Entry {
        self.get(slot).expect("an index points only to stored tasks")
    }

    /// Returns the entry of a slot that an index points to.
    pub fn at_mut(&mut self, slot: u32) -> &mut Entry {
        self.get_mut(slot).expect("an index points only to stored tasks")
    }

    pub fn insert(&mut self, entry: Entry) -> u32 {
        let id = entry.task.id;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = Some(entry);
                slot
            }
            None => {
                self.entries.push(Some(entry));
                u32::try_from(self.entries.len() - 1).expect("memory ends before four billion tasks")
            }
        };
        self.by_id.insert(id, slot);
        self.sorted = self.ids.last().is_none_or(|last| self.sorted && *last < id);
        self.ids.push(id);
        slot
    }

    pub fn remove(&mut self, slot: u32) -> Option<Entry> {
        /// Below this many, removed ids cost less than clearing them out.
        const WORTHWHILE: usize = 4_096;
        let entry = self.entries.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        self.by_id.remove(&entry.task.id);
        if self.ids.len() > WORTHWHILE.max(2 * self.by_id.len()) {
            self.ids.retain(|id| self.by_id.contains_key(id));
        }
        Some(entry)
    }

    /// Returns whether a spot still speaks of a claimable task.
    pub fn is_ready(&self, spot: &QueueKey) -> bool {
        self.get(spot.slot).is_some_and(|entry| entry.ready && entry.seq == spot.seq && entry.due == spot.due)
    }

    /// Visits all tasks.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        self.entries.iter().enumerate().filter_map(|(slot, entry)| Some((slot as u32, entry.as_ref()?)))
    }

    /// Visits the tasks with ids between two others, from the newest to the oldest or the other way.
    pub fn between(
        &mut self,
        (after, before): (Option<TaskId>, Option<TaskId>),
        oldest_first: bool,
    ) -> impl Iterator<Item = &Entry> {
        if !self.sorted {
            self.ids.sort_unstable();
            self.ids.dedup();
            self.sorted = true;
        }
        let begin = after.map_or(0, |after| self.ids.partition_point(|id| *id <= after));
        let end = before.map_or(self.ids.len(), |before| self.ids.partition_point(|id| *id < before));
        let ids = &self.ids[begin.min(end)..end];
        let (up, down) = if oldest_first { (Some(ids.iter()), None) } else { (None, Some(ids.iter().rev())) };
        let ids = up.into_iter().flatten().chain(down.into_iter().flatten());
        ids.filter_map(|id| self.get(self.find(*id)?))
    }
}

//! Changing a task that waits.

use forerunner_core::{ApiKeyName, Task, TaskId, TaskState, Timestamp};

use super::{
    lane::QueueKey,
    state::{State, lane_of},
};
use crate::{StateConflict, TaskChange, Updated, rules};

impl State {
    pub fn update(&mut self, task: TaskId, change: TaskChange, now: Timestamp) -> Result<Updated, StateConflict> {
        let slot = self.slots.find(task).ok_or(StateConflict::NoTask { task })?;
        let entry = self.slots.at(slot);
        let (pool, state) = (entry.pool as usize, entry.task.state);
        if !matches!(state, TaskState::Scheduled | TaskState::Queued) {
            return Err(StateConflict::WrongState { task, state, wish: "changed" });
        }
        let before = self.pools[pool].claimable as i64;
        let has_place = self.take_out(slot);
        let entry = self.slots.at_mut(slot);
        if let Some(priority) = change.priority {
            entry.task_mut().priority = priority;
        }
        if let Some(run_at) = change.run_at {
            let moved = rules::moved(&entry.task, entry.due, has_place, run_at, now);
            (entry.due, entry.task_mut().run_at) = (moved.due, moved.run_at);
            self.set_state(slot, moved.state);
        }
        self.put_back(slot, has_place);
        let task = Box::new(Task::clone(&self.slots.at(slot).task));
        Ok(Updated { task, claimable: self.pools[pool].claimable as i64 - before })
    }

    pub fn note_cancellation(&mut self, tasks: &[TaskId], by: Option<&ApiKeyName>) {
        for task in tasks {
            let Some(slot) = self.slots.find(*task) else { continue };
            let entry = self.slots.at_mut(slot);
            if !entry.task.state.is_terminal() {
                let task = entry.task_mut();
                let stored = task.report.take().map(|report| *report);
                task.report = rules::cancellation_by(stored, by).map(Box::new);
            }
        }
    }

    /// Removes a waiting task from every order; returns whether it had a place in its context's queue.
    pub(super) fn take_out(&mut self, slot: u32) -> bool {
        self.forget_wait(slot);
        self.make_unready(slot);
        let entry = self.slots.at(slot);
        let spot = QueueKey { due: entry.due, seq: entry.seq, slot };
        let pool = &mut self.pools[entry.pool as usize];
        pool.lanes[lane_of(&entry.task)].remove(&spot);
        let line = entry.task.context.as_ref().and_then(|context| pool.lines.get_mut(context));
        let Some(line) = line else { return false };
        let has_place = !line.delayed.contains(&slot);
        line.leave(&spot);
        line.head = line.head.filter(|head| *head != slot);
        has_place
    }

    /// Lets it wait again where it belongs now.
    pub(super) fn put_back(&mut self, slot: u32, has_place: bool) {
        self.note_deadline(slot);
        let entry = self.slots.at(slot);
        let is_delayed = entry.task.state == TaskState::Scheduled;
        match (&entry.task.context, is_delayed) {
            (Some(_), true) if has_place => {
                let spot = QueueKey { due: entry.task.run_at, seq: entry.seq, slot };
                self.pools[entry.pool as usize].scheduled.insert(spot);
                self.enter(slot);
            }
            (Some(_), false) if has_place => self.enter(slot),
            (_, true) => self.delay(slot),
            (_, false) => self.join(slot),
        }
    }
}

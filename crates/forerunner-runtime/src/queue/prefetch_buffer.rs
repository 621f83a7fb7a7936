//! Tasks that were claimed ahead: leased to this node, and begun by nobody yet.

use std::collections::VecDeque;

use forerunner_core::{LeaseEpoch, Priority, Task, TaskId};

/// Held tasks, in the order in which they go to agents: by priority, then as they were claimed.
#[derive(Debug, Default)]
pub(super) struct PrefetchBuffer {
    tasks: VecDeque<Task>,
}

impl PrefetchBuffer {
    pub(super) fn add(&mut self, tasks: impl IntoIterator<Item = Task>) {
        for task in tasks {
            let place = self.tasks.partition_point(|held| held.priority >= task.priority);
            self.tasks.insert(place, task);
        }
    }

    /// The first ones, at most so many.
    pub(super) fn take(&mut self, count: usize) -> Vec<Task> {
        self.tasks.drain(..count.min(self.tasks.len())).collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<Task> {
        self.tasks.drain(..).collect()
    }

    /// Those that fulfil a condition.
    pub(super) fn take_if(&mut self, condition: impl Fn(&Task) -> bool) -> Vec<Task> {
        if !self.tasks.iter().any(&condition) {
            return Vec::new();
        }
        let (taken, left): (Vec<_>, Vec<_>) = self.tasks.drain(..).partition(condition);
        self.tasks = left.into();
        taken
    }

    /// The priority of the last one.
    pub(super) fn least_priority(&self) -> Option<Priority> {
        self.tasks.back().map(|task| task.priority)
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = (TaskId, LeaseEpoch)> {
        self.tasks.iter().map(|task| (task.id, task.epoch))
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use forerunner_core::{NewTask, Payload, PoolName, RetryPolicy, Timestamp};

    use super::*;

    fn task(number: u128, priority: u64) -> Task {
        let (now, pool) = (Timestamp::from_micros(1), PoolName::new("coder").unwrap());
        let new = NewTask::new(pool, Payload::null());
        let task =
            Task::accepted(TaskId::from_parts(now, number), new, now, Duration::from_secs(1), RetryPolicy::default());
        Task { priority: Priority::new(priority).unwrap(), ..task }
    }

    #[test]
    fn the_urgent_go_first_and_equals_as_they_were_claimed() {
        let mut held = PrefetchBuffer::default();
        held.add([task(1, 4), task(2, 4), task(3, 2)]);
        held.add([task(4, 9), task(5, 4)]);
        assert_eq!(held.least_priority(), Some(Priority::new(2).unwrap()));
        let order: Vec<_> = held.take(9).into_iter().map(|task| task.id).collect();
        assert_eq!(order, [4, 1, 2, 5, 3].map(|number| TaskId::from_parts(Timestamp::from_micros(1), number)));
        held.add([task(1, 4), task(2, 5)]);
        assert_eq!(held.take_if(|task| task.priority == Priority::new(5).unwrap()).len(), 1);
        assert_eq!(held.len(), 1);
    }
}

//! Tasks that were claimed ahead of demand: leased to this node, and not begun.

use std::{collections::VecDeque, sync::Arc};

use forerunner_core::{LeaseEpoch, Priority, Task, TaskId};

/// Prefetched tasks in the order in which they are dispatched: by priority, then by claim.
#[derive(Debug, Default)]
pub(super) struct PrefetchBuffer {
    tasks: VecDeque<Arc<Task>>,
}

impl PrefetchBuffer {
    pub(super) fn add(&mut self, tasks: impl IntoIterator<Item = Arc<Task>>) {
        for task in tasks {
            let place = self.tasks.partition_point(|prefetched| prefetched.priority >= task.priority);
            self.tasks.insert(place, task);
        }
    }

    /// Removes the first `count` tasks.
    pub(super) fn take(&mut self, count: usize) -> Vec<Arc<Task>> {
        self.tasks.drain(..count.min(self.tasks.len())).collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<Arc<Task>> {
        self.tasks.drain(..).collect()
    }

    /// Removes the tasks that match a condition.
    pub(super) fn take_if(&mut self, condition: impl Fn(&Task) -> bool) -> Vec<Arc<Task>> {
        if !self.tasks.iter().any(|task| condition(task)) {
            return Vec::new();
        }
        let (taken, left): (Vec<_>, Vec<_>) = self.tasks.drain(..).partition(|task| condition(task));
        self.tasks = left.into();
        taken
    }

    /// The lowest priority in the buffer.
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

    fn task(number: u128, priority: u64) -> Arc<Task> {
        let (now, pool) = (Timestamp::from_micros(1), PoolName::new("coder").unwrap());
        let new = NewTask::new(pool, Payload::null());
        let task =
            Task::accepted(TaskId::from_parts(now, number), new, now, Duration::from_secs(1), RetryPolicy::default());
        Arc::new(Task { priority: Priority::new(priority).unwrap(), ..task })
    }

    #[test]
    fn the_urgent_go_first_and_equals_as_they_were_claimed() {
        let mut prefetched = PrefetchBuffer::default();
        prefetched.add([task(1, 4), task(2, 4), task(3, 2)]);
        prefetched.add([task(4, 9), task(5, 4)]);
        assert_eq!(prefetched.least_priority(), Some(Priority::new(2).unwrap()));
        let order: Vec<_> = prefetched.take(9).into_iter().map(|task| task.id).collect();
        assert_eq!(order, [4, 1, 2, 5, 3].map(|number| TaskId::from_parts(Timestamp::from_micros(1), number)));
        prefetched.add([task(1, 4), task(2, 5)]);
        assert_eq!(prefetched.take_if(|task| task.priority == Priority::new(5).unwrap()).len(), 1);
        assert_eq!(prefetched.len(), 1);
    }
}

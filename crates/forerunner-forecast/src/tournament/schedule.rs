//! When tasks come, and when they end if they start as they come: what is the same for all shadow pools.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    ops::Range,
};

use super::shadow::{ShadowTask, slot_of};

/// Slots ahead in which ends are counted; ends further ahead, beyond a quarter of an hour, wait in a heap.
const AHEAD: u64 = 8192;

/// Tasks that come in one slot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// The slot.
    pub slot: u64,
    /// Which of the tasks they are.
    tasks: Range<usize>,
}

/// The tasks of one tick by slot, and how many tasks end in each slot if none ever waits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schedule {
    tasks: Vec<ShadowTask>,
    groups: Vec<Group>,
    /// Ends by slot, the first those of the slot `first`.
    ends: VecDeque<u32>,
    first: u64,
    /// Ends beyond `AHEAD`.
    far: BinaryHeap<Reverse<u64>>,
}

impl Schedule {
    /// Puts in the tasks of one tick in order of time, by `fill`. `from` is the first slot that has not been lived through;
    /// before any was, it is that of the first task.
    pub fn put(&mut self, from: Option<u64>, fill: impl FnOnce(&mut Vec<ShadowTask>)) {
        self.tasks.clear();
        fill(&mut self.tasks);
        let first_task = || self.tasks.first().map_or(self.first, |task| slot_of(task.at));
        self.forget_before(from.unwrap_or_else(first_task));
        self.groups.clear();
        for (index, task) in self.tasks.iter().enumerate() {
            let slot = slot_of(task.at);
            match self.groups.last_mut() {
                Some(group) if group.slot == slot => group.tasks.end = index + 1,
                _ => self.groups.push(Group { slot, tasks: index..index + 1 }),
            }
        }
        for index in 0..self.tasks.len() {
            self.count(self.tasks[index].end());
        }
    }

    /// The tasks of this tick by slot, in order of time.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The tasks of a group.
    pub fn tasks(&self, group: &Group) -> &[ShadowTask] {
        &self.tasks[group.tasks.clone()]
    }

    /// Tasks of this tick.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Tasks that end in a slot if none ever waits.
    pub fn ends_in(&self, slot: u64) -> u32 {
        slot.checked_sub(self.first).and_then(|at| self.ends.get(at as usize)).copied().unwrap_or(0)
    }

    fn forget_before(&mut self, from: u64) {
        while self.first < from && self.ends.pop_front().is_some() {
            self.first += 1;
        }
        self.first = self.first.max(from);
        while let Some(Reverse(end)) = self.far.peek().copied().filter(|&Reverse(end)| end < self.first + AHEAD) {
            self.far.pop();
            self.count(end);
        }
    }

    fn count(&mut self, end: u64) {
        if end >= self.first + AHEAD {
            return self.far.push(Reverse(end));
        }
        let at = end.saturating_sub(self.first) as usize;
        if self.ends.len() <= at {
            self.ends.resize(at + 1, 0);
        }
        self.ends[at] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_grouped_by_slot_and_their_ends_counted_near_and_far() {
        let task = |at, service_s| ShadowTask { at, service_s };
        let mut schedule = Schedule::default();
        let tasks = [task(10.0, 1.0), task(10.1, 0.9), task(10.2, 0.0), task(10.2, 2000.0)];
        schedule.put(None, |put| put.extend(tasks));
        let groups: Vec<_> = schedule.groups().iter().map(|group| (group.slot, schedule.tasks(group).len())).collect();
        assert_eq!((groups, schedule.len()), (vec![(80, 2), (81, 2)], 4));
        assert_eq!([81, 82, 88, 89].map(|slot| schedule.ends_in(slot)), [0, 1, 2, 0]);
        // (10.2 s + 2000 s) x 8, to the nearest.
        assert_eq!(schedule.ends_in(16_082), 0, "far ahead");
        schedule.put(Some(16_000), |_| {});
        assert_eq!((schedule.ends_in(16_082), schedule.ends_in(88), schedule.len()), (1, 0, 0));
    }
}

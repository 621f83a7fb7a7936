//! Order among tasks: by the time they became due, then by submission.

use std::collections::{BTreeSet, VecDeque};

use forerunner_core::Timestamp;

/// A task's place in an order. `slot` is where the task is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueueKey {
    pub due: Timestamp,
    pub seq: u64,
    pub slot: u32,
}

/// The claimable tasks of one pool and priority, first due first.
///
/// Nearly all tasks arrive in order and go to the end of a ring. A task with an earlier place, such as a retry, goes to
/// a small sorted set instead. A task that leaves without being claimed only stops being ready: its entry is skipped
/// later, and removed once such entries are the majority.
#[derive(Debug, Default)]
pub(super) struct ReadyQueue {
    ring: VecDeque<QueueKey>,
    early: BTreeSet<QueueKey>,
    stale: usize,
}

impl ReadyQueue {
    /// Adds a spot at its place.
    pub fn push(&mut self, spot: QueueKey) {
        if self.ring.back().is_none_or(|last| *last <= spot) {
            self.ring.push_back(spot);
        } else {
            self.early.insert(spot);
        }
    }

    /// Removes the first entry that `is_ready`.
    pub fn pop(&mut self, is_ready: impl Fn(&QueueKey) -> bool) -> Option<QueueKey> {
        loop {
            let spot = self.pop_any()?;
            if is_ready(&spot) {
                return Some(spot);
            }
            self.stale = self.stale.saturating_sub(1);
        }
    }

    /// Records that a task left without being popped.
    pub fn note_stale(&mut self, is_ready: impl Fn(&QueueKey) -> bool) {
        /// Below this many, passing over is cheaper than sweeping.
        const WORTHWHILE: usize = 64;
        self.stale += 1;
        if self.stale > WORTHWHILE.max((self.ring.len() + self.early.len()) / 2) {
            self.ring.retain(&is_ready);
            self.early.retain(&is_ready);
            self.stale = 0;
        }
    }

    /// Removes an entry, wherever it is: its task moves to another lane, where the entry would be as good as here.
    pub fn remove(&mut self, spot: &QueueKey) {
        self.early.remove(spot);
        while let Ok(place) = self.ring.binary_search(spot) {
            self.ring.remove(place);
        }
    }

    /// The first entries that are `ready`, at most so many, each once.
    pub fn first(&self, limit: usize, is_ready: impl Fn(&QueueKey) -> bool) -> Vec<QueueKey> {
        let (mut ring, mut early) = (self.ring.iter().peekable(), self.early.iter().peekable());
        let mut found: Vec<QueueKey> = Vec::new();
        while found.len() < limit {
            let next = match (ring.peek(), early.peek()) {
                (Some(front), Some(before)) if before < front => early.next(),
                (None, _) => early.next(),
                _ => ring.next(),
            };
            let Some(spot) = next else { break };
            // A task that left and returned can have its entry twice.
            if found.last() != Some(spot) && is_ready(spot) {
                found.push(*spot);
            }
        }
        found
    }

    fn pop_any(&mut self) -> Option<QueueKey> {
        match (self.ring.front(), self.early.first()) {
            (Some(front), Some(early)) if early < front => self.early.pop_first(),
            (None, _) => self.early.pop_first(),
            _ => self.ring.pop_front(),
        }
    }
}

/// The unfinished tasks of one context. At most one of them is claimable or running.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Those that became due, first due first: waiting, running, or waiting for a retry.
    joined: VecDeque<QueueKey>,
    /// Those whose first `run_at` is in the future.
    pub delayed: Vec<u32>,
    /// The one that runs.
    pub running: Option<u32>,
    /// The one that is claimable.
    pub head: Option<u32>,
}

impl Line {
    /// Adds a task at its place, unless it has it already.
    pub fn join(&mut self, spot: QueueKey) {
        if let Err(place) = self.joined.binary_search(&spot) {
            self.joined.insert(place, spot);
        }
    }

    /// Removes a task, joined or delayed.
    pub fn leave(&mut self, spot: &QueueKey) {
        if let Ok(place) = self.joined.binary_search(spot) {
            self.joined.remove(place);
        }
        self.delayed.retain(|slot| *slot != spot.slot);
        if self.running == Some(spot.slot) {
            self.running = None;
        }
    }

    /// The first of those that became due.
    pub fn first(&self) -> Option<&QueueKey> {
        self.joined.front()
    }

    /// The last of those that became due.
    pub fn last(&self) -> Option<&QueueKey> {
        self.joined.back()
    }

    /// Any task of the line.
    pub fn any(&self) -> Option<u32> {
        self.joined.front().map(|spot| spot.slot).or_else(|| self.delayed.first().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(due: i64, seq: u64) -> QueueKey {
        QueueKey { due: Timestamp::from_micros(due), seq, slot: seq as u32 }
    }

    fn drain(lane: &mut ReadyQueue, is_ready: impl Fn(&QueueKey) -> bool) -> Vec<u64> {
        std::iter::from_fn(|| lane.pop(&is_ready)).map(|spot| spot.seq).collect()
    }

    #[test]
    fn spots_come_out_by_due_time_then_by_submission() {
        let mut lane = ReadyQueue::default();
        for (due, seq) in [(10, 1), (10, 2), (30, 3), (5, 4), (20, 5)] {
            lane.push(spot(due, seq));
        }
        assert_eq!(lane.first(4, |spot| spot.seq != 2).iter().map(|spot| spot.seq).collect::<Vec<_>>(), [4, 1, 5, 3]);
        assert_eq!(lane.first(1, |_| true), [spot(5, 4)]);
        assert_eq!(drain(&mut lane, |_| true), [4, 1, 2, 5, 3]);
    }

    #[test]
    fn spots_that_left_are_passed_over_and_swept_out() {
        let mut lane = ReadyQueue::default();
        for seq in 0..1_000 {
            lane.push(spot(1, seq));
        }
        let is_ready = |spot: &QueueKey| spot.seq >= 900;
        for _ in 0..900 {
            lane.note_stale(is_ready);
        }
        assert!(lane.ring.len() < 500, "{}", lane.ring.len());
        assert_eq!(drain(&mut lane, is_ready).len(), 100);
    }
}

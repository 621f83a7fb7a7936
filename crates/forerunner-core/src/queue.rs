//! The queue's choices: when to claim work from the store, how much, and when to look for due tasks.
//!
//! The store holds the tasks and their order; this machine holds counts. Store calls overlap, so the count of
//! claimable tasks may be below zero for a moment: a claim can hand out a task before the answer to its submission
//! was heard.

use std::time::Duration;

use crate::Timestamp;

/// How often a queue with free agents looks for work that it was not told of, such as another node's.
pub const POLL: Duration = Duration::from_secs(1);

/// Something a queue must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueEvent {
    /// Time has passed: a wake-up that was asked for.
    Tick,
    /// Tasks became claimable: submitted, released, next of their context.
    Claimable(usize),
    /// Claimable tasks went without being claimed: cancelled, expired.
    Gone(usize),
    /// The store has counted: so many tasks can be claimed. Other nodes submit and claim too.
    Counted(u64),
    /// Another node says that there is work, without saying how much.
    Told,
    /// A task waits for this time: its `run_at` or its deadline.
    Due(Timestamp),
    /// The pool can take this many tasks more.
    Demand(usize),
    /// The pool can take this many tasks less.
    Withdraw(usize),
    /// A claim was answered.
    Claimed {
        /// How many tasks were asked for.
        asked: usize,
        /// How many came.
        got: usize,
    },
    /// A claim took some tasks and left others, though slots are open: they wait for a busy agent.
    Left {
        /// How many came.
        got: usize,
        /// When to look again, unless something changes before.
        again_at: Timestamp,
    },
    /// A claim failed; the store may be back at the time given.
    ClaimFailed {
        /// When to try again.
        retry_at: Timestamp,
    },
    /// A sweep was answered, or failed.
    Swept {
        /// When the next one has something to do.
        next_due: Option<Timestamp>,
    },
}

/// Something a queue wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueAction {
    /// Claim up to this many tasks; answer with [`QueueEvent::Claimed`] or [`QueueEvent::ClaimFailed`].
    Claim(usize),
    /// Tell the pool how many slots were forgotten.
    Withdrawn {
        /// How many it asked to forget.
        asked: usize,
        /// How many were still open.
        got: usize,
    },
    /// Let the store promote and expire due tasks; answer with [`QueueEvent::Swept`].
    Sweep,
    /// Send [`QueueEvent::Tick`] at this time, or sooner.
    Wake(Timestamp),
}

/// Decides for one queue. Pure.
///
/// Invariants: at most one claim and one sweep are under way; no claim asks for more than the open slots.
#[derive(Debug, Clone, Default)]
pub struct QueueMachine {
    claimable: i64,
    slots: usize,
    /// The claim under way: how many it asked for, and how many were believed to be there.
    claiming: Option<(usize, usize)>,
    /// Slots to be withdrawn that the claim under way may fill.
    owed: usize,
    /// No claim before this time.
    blocked_until: Option<Timestamp>,
    /// No claim before this time, unless tasks or slots come: all that waits is left for a busy agent.
    resting_until: Option<Timestamp>,
    polled_at: Timestamp,
    /// Another node spoke of work since the last claim.
    told: bool,
    /// The wake-up that was asked for to look again.
    poll_due: Option<Timestamp>,
    sweeping: bool,
    next_due: Option<Timestamp>,
}

impl QueueMachine {
    /// A queue that finds `claimable` tasks in its store, the next delayed one due at `next_due`.
    pub fn new(claimable: u64, next_due: Option<Timestamp>) -> Self {
        Self { claimable: i64::try_from(claimable).unwrap_or(i64::MAX), next_due, ..Self::default() }
    }

    /// Returns how many tasks could be claimed now.
    pub fn depth(&self) -> u64 {
        u64::try_from(self.claimable).unwrap_or(0)
    }

    /// Returns how many tasks the pool could take now.
    pub const fn open_slots(&self) -> usize {
        self.slots
    }

    /// Takes in what happened at `now` and says what to do, in order.
    pub fn step(&mut self, event: QueueEvent, now: Timestamp) -> Vec<QueueAction> {
        let mut actions = Vec::new();
        if matches!(event, QueueEvent::Claimable(1..) | QueueEvent::Counted(_) | QueueEvent::Demand(_)) {
            self.resting_until = None;
        }
        match event {
            // The caller keeps only its earliest wake-up, so the others are asked for again.
            QueueEvent::Tick => {
                let pending = self.next_due.into_iter().chain(self.blocked_until).chain(self.resting_until);
                self.poll_due = None;
                actions.extend(pending.filter(|at| *at > now).map(QueueAction::Wake));
            }
            QueueEvent::Claimable(count) => self.claimable += count as i64,
            QueueEvent::Gone(count) => self.claimable -= count as i64,
            QueueEvent::Counted(count) => self.claimable = i64::try_from(count).unwrap_or(i64::MAX),
            QueueEvent::Told => self.told = true,
            QueueEvent::Due(at) => self.note_due(at, &mut actions),
            QueueEvent::Demand(slots) => self.slots += slots,
            QueueEvent::Withdraw(asked) => {
                let reserved = self.claiming.map_or(0, |(asked, _)| asked);
                let got = asked.min(self.slots.saturating_sub(reserved));
                // Those under a claim are spoken of once it is answered: a pool told `not now` would ask again at once.
                let later = if self.claiming.is_some() { asked - got } else { 0 };
                self.owed += later;
                self.withdrawn(asked - later, got, &mut actions);
            }
            QueueEvent::Claimed { asked, got } => {
                self.on_claimed(asked, got);
                self.answer_owed(&mut actions);
            }
            QueueEvent::Left { got, again_at } => {
                self.claiming = None;
                self.slots = self.slots.saturating_sub(got);
                self.claimable -= got as i64;
                self.answer_owed(&mut actions);
                self.resting_until = Some(again_at);
                actions.push(QueueAction::Wake(again_at));
            }
            QueueEvent::ClaimFailed { retry_at } => {
                self.claiming = None;
                self.answer_owed(&mut actions);
                self.blocked_until = Some(retry_at);
                actions.push(QueueAction::Wake(retry_at));
            }
            QueueEvent::Swept { next_due } => {
                self.sweeping = false;
                // Tasks that became known during the sweep may be due before what it saw.
                self.next_due = self.next_due.into_iter().chain(next_due).min();
                actions.extend(self.next_due.map(QueueAction::Wake));
            }
        }
        self.sweep_if_due(now, &mut actions);
        self.claim_if_useful(now, &mut actions);
        self.poll_later(now, &mut actions);
        actions
    }

    fn note_due(&mut self, at: Timestamp, actions: &mut Vec<QueueAction>) {
        if self.next_due.is_none_or(|due| at < due) {
            self.next_due = Some(at);
            actions.push(QueueAction::Wake(at));
        }
    }

    fn on_claimed(&mut self, asked: usize, got: usize) {
        let believed = self.claiming.take().map_or(0, |(_, believed)| believed);
        self.slots = self.slots.saturating_sub(got);
        // What was believed to be there and did not come is not there: it expired, or another node took it.
        let phantoms = believed.min(asked).saturating_sub(got);
        self.claimable -= (got + phantoms) as i64;
        if got < asked {
            // Then nothing is left. A count below zero would hide that many tasks to come, were it from tasks that the
            // queue never heard of; one too high, of tasks it has not heard of yet, costs a claim in vain.
            self.claimable = self.claimable.max(0);
        }
    }

    fn withdrawn(&mut self, asked: usize, got: usize, actions: &mut Vec<QueueAction>) {
        self.slots -= got;
        if asked > 0 {
            actions.push(QueueAction::Withdrawn { asked, got });
        }
    }

    fn answer_owed(&mut self, actions: &mut Vec<QueueAction>) {
        let asked = std::mem::take(&mut self.owed);
        self.withdrawn(asked, asked.min(self.slots), actions);
    }

    fn sweep_if_due(&mut self, now: Timestamp, actions: &mut Vec<QueueAction>) {
        if !self.sweeping && self.next_due.is_some_and(|due| due <= now) {
            self.sweeping = true;
            self.next_due = None;
            actions.push(QueueAction::Sweep);
        }
    }

    fn is_blocked(&self, now: Timestamp) -> bool {
        self.blocked_until.into_iter().chain(self.resting_until).any(|until| now < until)
    }

    fn claim_if_useful(&mut self, now: Timestamp, actions: &mut Vec<QueueAction>) {
        let blocked = self.is_blocked(now);
        if self.slots == 0 || self.claiming.is_some() || blocked {
            return;
        }
        let known = usize::try_from(self.claimable).unwrap_or(0);
        let poll = self.told || now.since(self.polled_at) >= POLL;
        let asked = if poll { self.slots } else { self.slots.min(known) };
        if asked == 0 {
            return;
        }
        (self.blocked_until, self.resting_until) = (None, None);
        self.told = false;
        self.polled_at = now;
        self.claiming = Some((asked, known));
        actions.push(QueueAction::Claim(asked));
    }

    /// With slots open and nothing else to come, only a timer makes the queue look for what it was not told of.
    fn poll_later(&mut self, now: Timestamp, actions: &mut Vec<QueueAction>) {
        let due = self.polled_at + POLL;
        let blocked = self.is_blocked(now);
        if self.slots == 0 || self.claiming.is_some() || blocked || self.poll_due == Some(due) {
            return;
        }
        self.poll_due = Some(due);
        actions.push(QueueAction::Wake(due));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000 + millis * 1_000)
    }

    /// A queue that has just looked for work and found none.
    fn idle() -> QueueMachine {
        let mut queue = QueueMachine::new(0, None);
        assert_eq!(queue.step(QueueEvent::Demand(1), at(0)), vec![QueueAction::Claim(1)]);
        queue.step(QueueEvent::Claimed { asked: 1, got: 0 }, at(0));
        queue.step(QueueEvent::Withdraw(1), at(0));
        queue
    }

    #[test]
    fn a_claim_is_made_when_work_meets_demand_and_one_at_a_time() {
        let mut queue = idle();
        assert!(queue.step(QueueEvent::Claimable(3), at(1)).is_empty());
        assert_eq!(queue.step(QueueEvent::Demand(2), at(1)), vec![QueueAction::Claim(2)]);
        assert!(queue.step(QueueEvent::Demand(5), at(1)).is_empty(), "one claim at a time");
        assert_eq!(queue.step(QueueEvent::Claimed { asked: 2, got: 2 }, at(2)), vec![QueueAction::Claim(1)]);
        let actions = queue.step(QueueEvent::Claimed { asked: 1, got: 1 }, at(2));
        assert_eq!(actions, vec![QueueAction::Wake(at(1_002))], "nothing is known of: it looks again later");
        assert_eq!((queue.depth(), queue.open_slots()), (0, 4));
    }

    #[test]
    fn tasks_that_it_was_not_told_of_are_found_and_hide_none_that_come_later() {
        let mut queue = idle();
        assert!(queue.step(QueueEvent::Demand(3), at(10)).is_empty(), "it has asked to be woken when it last looked");
        assert_eq!(queue.step(QueueEvent::Tick, at(1_000)), vec![QueueAction::Claim(3)]);
        queue.step(QueueEvent::Claimed { asked: 3, got: 2 }, at(1_001));
        assert_eq!(queue.step(QueueEvent::Claimable(1), at(1_002)), vec![QueueAction::Claim(1)], "at once, not later");
    }

    #[test]
    fn work_that_another_node_speaks_of_is_looked_for_at_once_or_once_there_is_a_slot() {
        let mut queue = idle();
        queue.step(QueueEvent::Demand(2), at(1));
        assert_eq!(queue.step(QueueEvent::Told, at(2)), vec![QueueAction::Claim(2)]);
        assert!(queue.step(QueueEvent::Told, at(3)).is_empty(), "one claim at a time");
        assert_eq!(queue.step(QueueEvent::Claimed { asked: 2, got: 2 }, at(4)), vec![]);
        assert_eq!(queue.step(QueueEvent::Demand(1), at(5)), vec![QueueAction::Claim(1)], "told of during the claim");
        queue.step(QueueEvent::Claimed { asked: 1, got: 0 }, at(6));
        assert!(queue.step(QueueEvent::Tick, at(7)).iter().all(|action| !matches!(action, QueueAction::Claim(_))));
    }

    #[test]
    fn a_submission_heard_of_during_a_claim_is_not_forgotten() {
        let mut queue = idle();
        queue.step(QueueEvent::Claimable(1), at(1));
        queue.step(QueueEvent::Demand(4), at(1));
        queue.step(QueueEvent::Claimable(2), at(1));
        // The first task had expired, so nothing came: the two that arrived since are still there.
        assert_eq!(queue.step(QueueEvent::Claimed { asked: 1, got: 0 }, at(2)), vec![QueueAction::Claim(2)]);
    }

    #[test]
    fn a_claim_that_outruns_the_answer_to_a_submission_keeps_the_count_right() {
        let mut queue = idle();
        queue.step(QueueEvent::Demand(1), at(1));
        assert_eq!(queue.step(QueueEvent::Tick, at(1_500)), vec![QueueAction::Claim(1)], "a poll");
        queue.step(QueueEvent::Claimed { asked: 1, got: 1 }, at(1_501));
        assert_eq!(queue.depth(), 0);
        queue.step(QueueEvent::Claimable(1), at(1_502));
        assert_eq!(queue.depth(), 0);
    }

    #[test]
    fn slots_under_claim_cannot_be_withdrawn() {
        let mut queue = idle();
        queue.step(QueueEvent::Claimable(1), at(1));
        queue.step(QueueEvent::Demand(3), at(1));
        let actions = queue.step(QueueEvent::Withdraw(3), at(1));
        assert_eq!(actions, vec![QueueAction::Withdrawn { asked: 2, got: 2 }]);
        let actions = queue.step(QueueEvent::Claimed { asked: 1, got: 1 }, at(2));
        assert_eq!(actions, vec![QueueAction::Withdrawn { asked: 1, got: 0 }], "said once it is known");
        assert_eq!(queue.open_slots(), 0);
        queue.step(QueueEvent::Claimable(1), at(3));
        queue.step(QueueEvent::Demand(1), at(3));
        assert!(queue.step(QueueEvent::Withdraw(1), at(3)).is_empty());
        let actions = queue.step(QueueEvent::ClaimFailed { retry_at: at(9) }, at(4));
        assert!(actions.contains(&QueueAction::Withdrawn { asked: 1, got: 1 }), "{actions:?}");
    }

    #[test]
    fn a_store_that_fails_is_asked_again_later() {
        let mut queue = idle();
        queue.step(QueueEvent::Claimable(1), at(1));
        queue.step(QueueEvent::Demand(1), at(1));
        let actions = queue.step(QueueEvent::ClaimFailed { retry_at: at(100) }, at(2));
        assert_eq!(actions, vec![QueueAction::Wake(at(100))]);
        assert!(queue.step(QueueEvent::Claimable(1), at(50)).is_empty());
        assert_eq!(queue.step(QueueEvent::Tick, at(100)), vec![QueueAction::Claim(1)]);
    }

    #[test]
    fn tasks_that_are_left_for_a_busy_agent_are_looked_at_again_in_time_or_once_something_changes() {
        let left = || {
            let mut queue = idle();
            queue.step(QueueEvent::Claimable(3), at(1));
            assert_eq!(queue.step(QueueEvent::Demand(4), at(1)), vec![QueueAction::Claim(3)]);
            let actions = queue.step(QueueEvent::Left { got: 1, again_at: at(400) }, at(2));
            assert_eq!(actions, vec![QueueAction::Wake(at(400))]);
            assert_eq!((queue.depth(), queue.open_slots()), (2, 3));
            queue
        };
        assert_eq!(left().step(QueueEvent::Tick, at(300)), vec![QueueAction::Wake(at(400))], "woken too early");
        assert_eq!(left().step(QueueEvent::Tick, at(400)), vec![QueueAction::Claim(2)]);
        assert_eq!(left().step(QueueEvent::Claimable(1), at(3)), vec![QueueAction::Claim(3)]);
        assert_eq!(left().step(QueueEvent::Demand(1), at(3)), vec![QueueAction::Claim(2)]);
        let actions = left().step(QueueEvent::Withdraw(2), at(3));
        assert_eq!(actions, vec![QueueAction::Withdrawn { asked: 2, got: 2 }]);
    }

    #[test]
    fn what_becomes_due_during_a_sweep_is_not_forgotten() {
        let mut queue = idle();
        queue.step(QueueEvent::Due(at(10)), at(1));
        assert_eq!(queue.step(QueueEvent::Tick, at(10)), vec![QueueAction::Sweep]);
        queue.step(QueueEvent::Due(at(20)), at(11));
        assert_eq!(queue.step(QueueEvent::Swept { next_due: None }, at(12)), vec![QueueAction::Wake(at(20))]);
        assert_eq!(queue.step(QueueEvent::Tick, at(20)), vec![QueueAction::Sweep]);
    }

    #[test]
    fn due_tasks_are_swept_once_and_in_time() {
        let mut queue = idle();
        assert_eq!(queue.step(QueueEvent::Due(at(500)), at(1)), vec![QueueAction::Wake(at(500))]);
        assert!(queue.step(QueueEvent::Due(at(900)), at(2)).is_empty());
        assert_eq!(queue.step(QueueEvent::Tick, at(499)), vec![QueueAction::Wake(at(500))], "woken too early");
        assert_eq!(queue.step(QueueEvent::Tick, at(500)), vec![QueueAction::Sweep]);
        assert!(queue.step(QueueEvent::Tick, at(501)).is_empty(), "one sweep at a time");
        let actions = queue.step(QueueEvent::Swept { next_due: Some(at(900)) }, at(502));
        assert_eq!(actions, vec![QueueAction::Wake(at(900))]);
    }
}

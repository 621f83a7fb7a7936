//! The queue's choices: when to claim tasks from the store, how many, and when to check for due tasks.
//!
//! The store has the tasks and their order; this machine has counts. Store calls overlap, so the count of claimable
//! tasks may be below zero for a moment: a claim can dispatch a task before the queue gets the answer to its
//! submission.

use std::time::Duration;

use crate::Timestamp;

/// How often a queue with free agents polls for work without a notification, such as another node's.
pub const POLL: Duration = Duration::from_secs(1);

/// How long prefetched tasks stay in the buffer while no agent runs any of them; then they are released.
pub const PREFETCH_IDLE_LIMIT: Duration = Duration::from_millis(150);

/// Something a queue must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueEvent {
    /// Time has passed: a wake-up that was asked for.
    Tick,
    /// Tasks became claimable: submitted, released, next of their context.
    BecameClaimable(usize),
    /// So many tasks are on their way to the store. A claim that is asked for now finds those that can be claimed then.
    EnqueueStarted(usize),
    /// The store answered for some that were on their way; so many still are.
    EnqueueDone {
        /// Tasks that are still on their way.
        left: usize,
    },
    /// Claimable tasks went without being claimed: cancelled, expired.
    Removed(usize),
    /// The store has counted: so many tasks can be claimed. Other nodes submit and claim too.
    Recounted(u64),
    /// Another node reports work, without a count.
    WorkHint,
    /// A task waits for this time: its `run_at` or its deadline.
    Due(Timestamp),
    /// The pool can run this many tasks more.
    Demand(usize),
    /// The pool can run this many tasks fewer.
    Withdraw(usize),
    /// How many tasks may be claimed beyond the open slots, for the agents that are ready next.
    SetPrefetch {
        /// The size of the prefetch buffer.
        limit: usize,
        /// Nodes that share the queue, at least 1: of the tasks beyond the slots, each node leaves the others their
        /// part.
        nodes: usize,
    },
    /// So many tasks may begin from now on, however many slots are open; `None` for all. Tasks that begin are subtracted.
    SetAllowance(Option<usize>),
    /// Tasks arrived that precede some prefetched ones.
    Overtaking(usize),
    /// Prefetched tasks left the buffer without being dispatched: they ended, or are released.
    PrefetchDropped(usize),
    /// A claim was answered.
    Claimed {
        /// How many tasks were asked for.
        asked: usize,
        /// How many arrived.
        got: usize,
    },
    /// A claim got some tasks and left others although slots are open: those are deferred for a busy agent.
    ClaimDeferred {
        /// How many arrived.
        got: usize,
        /// When to check again, unless something changes before.
        again_at: Timestamp,
    },
    /// A claim failed; the store may be back at the time given.
    ClaimFailed {
        /// When to try again.
        retry_at: Timestamp,
    },
    /// The clock was set back by so much.
    ClockSetBack(Duration),
    /// A sweep was answered, or failed.
    Swept {
        /// When the next one has something to do.
        next_due: Option<Timestamp>,
    },
}

/// An action of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueAction {
    /// Claim up to this many tasks; answer with [`QueueEvent::Claimed`] or [`QueueEvent::ClaimFailed`]. The first ones
    /// are for the open slots, the others for the prefetch buffer.
    Claim(usize),
    /// Dispatch so many of the prefetched tasks to the pool.
    Dispatch(usize),
    /// Release all prefetched tasks, and answer with [`QueueEvent::PrefetchDropped`].
    ReleasePrefetched,
    /// Report to the pool how many slots were dropped.
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
/// Invariants: at most one claim and one sweep are in progress; no claim asks for more than the open slots and the free
/// places of the buffer; the buffer is empty while a slot is open and a task may begin.
#[derive(Debug, Clone, Default)]
pub struct QueueMachine {
    claimable: i64,
    /// Tasks on their way to the store that no claim was sent after.
    arriving: usize,
    slots: usize,
    /// Tasks that may begin; `None` while as many may as there are slots.
    allowed: Option<usize>,
    /// Tasks that are claimed and handed to nobody yet, and how many there may be.
    prefetched: usize,
    ahead: usize,
    /// Nodes that share the queue; 0 means 1.
    nodes: usize,
    /// Tasks that are to be claimed although the buffer is full enough.
    urgent: usize,
    /// When tasks were last dispatched, or entered the buffer.
    prefetched_at: Timestamp,
    /// The claim in progress: how many tasks it asked for, and how many were believed claimable.
    claiming: Option<(usize, usize)>,
    /// Slots to be withdrawn that the claim under way may fill.
    owed: usize,
    /// No claim before this time.
    blocked_until: Option<Timestamp>,
    /// No claim before this time unless tasks or slots arrive: all waiting tasks are deferred for a busy agent.
    resting_until: Option<Timestamp>,
    polled_at: Timestamp,
    /// Another node spoke of work since the last claim.
    hinted: bool,
    /// The wake-up that was requested for the next check.
    poll_due: Option<Timestamp>,
    sweeping: bool,
    next_due: Option<Timestamp>,
}

impl QueueMachine {
    /// A queue that finds `claimable` tasks in its store, the next delayed one due at `next_due`.
    pub fn new(claimable: u64, next_due: Option<Timestamp>) -> Self {
        Self { claimable: i64::try_from(claimable).unwrap_or(i64::MAX), next_due, ..Self::default() }
    }

    /// Returns how many tasks wait for an agent now: the claimable and the prefetched ones.
    pub fn depth(&self) -> u64 {
        u64::try_from(self.claimable).unwrap_or(0) + self.prefetched as u64
    }

    /// Returns when the next delayed task is due, or the next deadline ends, as far as is known.
    pub const fn next_due(&self) -> Option<Timestamp> {
        self.next_due
    }

    /// Returns how many tasks the pool could run now.
    pub const fn open_slots(&self) -> usize {
        self.slots
    }

    /// Returns how many tasks may begin now: those of the open slots that are allowed.
    pub fn startable(&self) -> usize {
        self.slots.min(self.allowed.unwrap_or(usize::MAX))
    }

    /// Applies an event at `now` and returns the actions, in order.
    pub fn step(&mut self, event: QueueEvent, now: Timestamp) -> Vec<QueueAction> {
        let mut actions = Vec::new();
        if matches!(event, QueueEvent::BecameClaimable(1..) | QueueEvent::Recounted(_) | QueueEvent::Demand(_)) {
            self.resting_until = None;
        }
        match event {
            QueueEvent::Tick => self.wake_again(now, &mut actions),
            QueueEvent::BecameClaimable(count) => self.claimable += count as i64,
            QueueEvent::EnqueueStarted(count) => self.arriving += count,
            QueueEvent::EnqueueDone { left } => self.arriving = self.arriving.min(left),
            QueueEvent::Removed(count) => self.claimable -= count as i64,
            QueueEvent::Recounted(count) => self.claimable = i64::try_from(count).unwrap_or(i64::MAX),
            QueueEvent::WorkHint => self.hinted = true,
            QueueEvent::Due(at) => self.note_due(at, &mut actions),
            QueueEvent::Demand(slots) => {
                self.slots += slots;
                self.dispatch_prefetched(now, &mut actions);
            }
            QueueEvent::SetAllowance(allowed) => {
                self.allowed = allowed;
                self.dispatch_prefetched(now, &mut actions);
            }
            QueueEvent::SetPrefetch { limit, nodes } => (self.ahead, self.nodes) = (limit, nodes),
            QueueEvent::Overtaking(count) => self.urgent = (self.urgent + count).min(self.prefetched),
            QueueEvent::PrefetchDropped(count) => self.prefetched = self.prefetched.saturating_sub(count),
            QueueEvent::Withdraw(asked) => self.on_withdraw(asked, &mut actions),
            QueueEvent::Claimed { asked, got } => {
                self.on_claimed(asked, got, now);
                self.answer_owed(&mut actions);
            }
            QueueEvent::ClaimDeferred { got, again_at } => self.on_claim_deferred(got, again_at, now, &mut actions),
            QueueEvent::ClaimFailed { retry_at } => self.on_claim_failed(retry_at, &mut actions),
            QueueEvent::ClockSetBack(by) => self.set_back(by, now),
            QueueEvent::Swept { next_due } => self.on_swept(next_due, &mut actions),
        }
        self.sweep_if_due(now, &mut actions);
        self.release_if_idle(now, &mut actions);
        self.claim_if_useful(now, &mut actions);
        self.poll_later(now, &mut actions);
        actions
    }

    /// Requests all wake-ups again, since the caller has only the earliest one.
    fn wake_again(&mut self, now: Timestamp, actions: &mut Vec<QueueAction>) {
        let pending = self.next_due.into_iter().chain(self.blocked_until).chain(self.resting_until);
        self.poll_due = None;
        actions.extend(pending.filter(|at| *at > now).map(QueueAction::Wake));
    }

    /// Withdraws the slots that no claim has reserved.
    fn on_withdraw(&mut self, asked: usize, actions: &mut Vec<QueueAction>) {
        let reserved = self.claiming.map_or(0, |(asked, _)| asked.min(self.slots));
        let got = asked.min(self.slots.saturating_sub(reserved));
        // Slots under a claim are reported once the claim is answered: a pool that got `not now` would ask again at once.
        let later = if self.claiming.is_some() { asked - got } else { 0 };
        self.owed += later;
        self.withdrawn(asked - later, got, actions);
    }

    fn on_claim_deferred(&mut self, got: usize, again_at: Timestamp, now: Timestamp, actions: &mut Vec<QueueAction>) {
        self.claiming = None;
        self.fill(got, now);
        self.claimable -= got as i64;
        self.answer_owed(actions);
        self.resting_until = Some(again_at);
        actions.push(QueueAction::Wake(again_at));
    }

    fn on_claim_failed(&mut self, retry_at: Timestamp, actions: &mut Vec<QueueAction>) {
        self.claiming = None;
        self.answer_owed(actions);
        self.blocked_until = Some(retry_at);
        actions.push(QueueAction::Wake(retry_at));
    }

    fn on_swept(&mut self, next_due: Option<Timestamp>, actions: &mut Vec<QueueAction>) {
        self.sweeping = false;
        // Tasks that became known during the sweep may be due before what it saw.
        self.next_due = self.next_due.into_iter().chain(next_due).min();
        actions.extend(self.next_due.map(QueueAction::Wake));
    }

    /// Waits no longer than before: the noted time becomes the new one, and the store finds what is due.
    fn set_back(&mut self, by: Duration, now: Timestamp) {
        for until in [&mut self.blocked_until, &mut self.resting_until].into_iter().flatten() {
            *until = *until - by;
        }
        (self.prefetched_at, self.polled_at) = (self.prefetched_at - by, self.polled_at - by);
        (self.poll_due, self.next_due) = (None, Some(now));
    }

    fn note_due(&mut self, at: Timestamp, actions: &mut Vec<QueueAction>) {
        if self.next_due.is_none_or(|due| at < due) {
            self.next_due = Some(at);
            actions.push(QueueAction::Wake(at));
        }
    }

    /// Claimed tasks arrived: the first are for the open slots, the others for the buffer.
    fn fill(&mut self, got: usize, now: Timestamp) {
        let handed = got.min(self.startable());
        self.begin(handed);
        if got > handed {
            self.prefetched += got - handed;
            self.prefetched_at = now;
        }
    }

    /// So many tasks begin.
    fn begin(&mut self, count: usize) {
        self.slots -= count;
        self.allowed = self.allowed.map(|allowed| allowed.saturating_sub(count));
    }

    fn dispatch_prefetched(&mut self, now: Timestamp, actions: &mut Vec<QueueAction>) {
        let count = self.prefetched.min(self.startable());
        if count > 0 {
            self.prefetched -= count;
            self.begin(count);
            self.prefetched_at = now;
            actions.push(QueueAction::Dispatch(count));
        }
    }

    /// If agents run nothing for a while, they may be paused, lost or at long tasks; other nodes may have agents to
    /// spare.
    fn release_if_idle(&mut self, now: Timestamp, actions: &mut Vec<QueueAction>) {
        if self.prefetched == 0 {
            return;
        }
        let due = self.prefetched_at + PREFETCH_IDLE_LIMIT;
        if due > now {
            // The caller drops wake-ups that are later than one that it waits for.
            actions.push(QueueAction::Wake(due));
            return;
        }
        (self.ahead, self.urgent) = (0, 0);
        // Requested again until the buffer is empty, but not at each step.
        self.prefetched_at = now;
        actions.push(QueueAction::ReleasePrefetched);
    }

    fn on_claimed(&mut self, asked: usize, got: usize, now: Timestamp) {
        let believed = self.claiming.take().map_or(0, |(_, believed)| believed);
        self.fill(got, now);
        // Tasks that were believed claimable and did not arrive are not there: they expired, or another node claimed
        // them.
        let phantoms = believed.min(asked).saturating_sub(got);
        self.claimable -= (got + phantoms) as i64;
        if got < asked {
            // Then none is left. A count below zero, from tasks whose submission was not reported, would hide as many
            // later tasks. A count too high, from tasks not reported yet, costs one claim in vain.
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
        let open = self.startable();
        if (open == 0 && (self.ahead == 0 || self.allowed.is_some())) || self.claiming.is_some() || blocked {
            return;
        }
        let known = usize::try_from(self.claimable).unwrap_or(0);
        let poll = open > 0 && (self.hinted || now.since(self.polled_at) >= POLL);
        let beyond = self.room().min(known.saturating_sub(open) / self.nodes.max(1));
        let asked = if poll { open + beyond } else { open.min(known + self.arriving) + beyond };
        if asked == 0 {
            return;
        }
        (self.blocked_until, self.resting_until) = (None, None);
        self.hinted &= !poll;
        (self.urgent, self.arriving) = (0, 0);
        self.polled_at = now;
        self.claiming = Some((asked, known));
        actions.push(QueueAction::Claim(asked));
    }

    /// How many tasks may enter the buffer: none until half of it is empty, so that claims are few and large.
    fn room(&self) -> usize {
        if self.ahead == 0 || self.allowed.is_some() {
            return 0;
        }
        let room = self.ahead.saturating_sub(self.prefetched);
        if self.prefetched * 2 <= self.ahead { room } else { self.urgent }
    }

    /// With open slots and no other trigger, only a timer makes the queue find work without a notification.
    fn poll_later(&mut self, now: Timestamp, actions: &mut Vec<QueueAction>) {
        let due = self.polled_at + POLL;
        let blocked = self.is_blocked(now);
        if self.startable() == 0 || self.claiming.is_some() || blocked || self.poll_due == Some(due) {
            return;
        }
        self.poll_due = Some(due);
        actions.push(QueueAction::Wake(due));
    }
}

#[cfg(test)]
mod tests;

//! The state of the memory store, and the changes that keep its orders and counts consistent.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use forerunner_core::{
    ApiKeyId, ContextId, IdMap, IdempotencyKey, NodeId, PoolName, ScheduleName, Task, TaskState, Timestamp, Transition,
    transition::{AttemptEnd, QueueMove},
};

use super::{
    contexts::Contexts,
    lane::{Line, QueueKey, ReadyQueue},
    slots::{Entry, Slots},
};
use crate::{EndWaiter, StoredApiKey, StoredSchedule, membership::Membership, rules};

const STATES: usize = TaskState::ALL.len();
const PRIORITIES: usize = 10;

/// One pool's orders and counts.
#[derive(Debug)]
pub(super) struct Pool {
    pub name: PoolName,
    pub lanes: [ReadyQueue; PRIORITIES],
    pub lines: HashMap<ContextId, Line>,
    pub contexts: Contexts,
    /// Which task has a key, and what was asked for with it.
    pub keys: HashMap<IdempotencyKey, (u32, Option<[u8; 32]>)>,
    /// Scheduled tasks by `run_at`.
    pub scheduled: BTreeSet<QueueKey>,
    /// Waiting tasks by deadline.
    pub deadlines: BTreeSet<QueueKey>,
    pub counts: [u64; STATES],
    pub claimable: usize,
}

/// A node that has claimed.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub lease_until: Timestamp,
    pub running: usize,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct State {
    pub slots: Slots,
    pub pools: Vec<Pool>,
    pub by_name: IdMap<PoolName, u32>,
    pub nodes: IdMap<NodeId, Node>,
    pub membership: Membership,
    pub notes: HashMap<String, String>,
    pub schedules: BTreeMap<ScheduleName, StoredSchedule>,
    pub api_keys: BTreeMap<ApiKeyId, StoredApiKey>,
    pub closed: bool,
    /// Tasks in the order they ended, with their `Entry::end`; redriven and purged ones stay until they come up.
    ended: VecDeque<(u32, u64)>,
    ends: u64,
    ended_now: usize,
    /// Waiters of tasks that ended in this call.
    waiters: Vec<(EndWaiter, Arc<Task>)>,
    submissions: u64,
    retained: usize,
}

impl State {
    pub fn new(retained: usize) -> Self {
        Self { retained, ..Self::default() }
    }

    /// Removes everything, and rejects all later calls.
    pub fn close(&mut self) {
        *self = Self { closed: true, ..Self::default() };
    }

    pub fn pool(&self, name: &PoolName) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub fn pool_or_new(&mut self, name: &PoolName) -> u32 {
        if let Some(pool) = self.pool(name) {
            return pool;
        }
        let pool = u32::try_from(self.pools.len()).expect("memory ends before four billion pools");
        self.pools.push(Pool {
            name: name.clone(),
            lanes: Default::default(),
            lines: HashMap::new(),
            contexts: Contexts::default(),
            keys: HashMap::new(),
            scheduled: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            counts: [0; STATES],
            claimable: 0,
        });
        self.by_name.insert(name.clone(), pool);
        pool
    }

    /// Stores a new task and adds it where it waits.
    pub fn accept(&mut self, mut task: Arc<Task>, pool: u32, waiter: Option<EndWaiter>) -> u32 {
        let (state, due) = (rules::first_state(&task), rules::first_due(&task));
        if task.state != state {
            Arc::make_mut(&mut task).state = state;
        }
        self.submissions += 1;
        let slot = self.slots.insert(Entry {
            task,
            seq: self.submissions,
            due,
            pool,
            ready: false,
            stop: false,
            end: 0,
            waiter,
            attempts: Vec::new(),
        });
        self.pools[pool as usize].counts[state.index()] += 1;
        self.note_deadline(slot);
        if state == TaskState::Scheduled {
            self.delay(slot);
        } else {
            self.join(slot);
        }
        slot
    }

    /// Moves a task to another state, counts included.
    pub fn set_state(&mut self, slot: u32, state: TaskState) {
        let entry = self.slots.at_mut(slot);
        let counts = &mut self.pools[entry.pool as usize].counts;
        counts[entry.task.state.index()] -= 1;
        counts[state.index()] += 1;
        entry.task_mut().state = state;
    }

    /// Lets a new task wait for its `run_at`. It has no place in its context's line yet.
    pub fn delay(&mut self, slot: u32) {
        let entry = self.slots.at(slot);
        let pool = &mut self.pools[entry.pool as usize];
        pool.scheduled.insert(QueueKey { due: entry.task.run_at, seq: entry.seq, slot });
        if let Some(context) = &entry.task.context {
            pool.lines.entry(context.clone()).or_default().delayed.push(slot);
        }
    }

    /// Gives a task that is queued for the first time, or anew, the last place of its context's line.
    ///
    /// A clock that went back must not let it push in front of one that is already claimable.
    pub fn join(&mut self, slot: u32) {
        let entry = self.slots.at_mut(slot);
        let line = entry.task.context.as_ref().and_then(|context| self.pools[entry.pool as usize].lines.get(context));
        if let Some(last) = line.and_then(Line::last) {
            entry.due = entry.due.max(last.due);
        }
        self.enter(slot);
    }

    /// Gives a queued task its place: in its context's line if it has one, else among the claimable.
    pub fn enter(&mut self, slot: u32) {
        let entry = self.slots.at(slot);
        let Some(context) = &entry.task.context else { return self.make_ready(slot) };
        let context = context.clone();
        let spot = QueueKey { due: entry.due, seq: entry.seq, slot };
        let pool = entry.pool;
        let line = self.pools[pool as usize].lines.entry(context.clone()).or_default();
        line.delayed.retain(|delayed| *delayed != slot);
        line.join(spot);
        self.advance(pool, &context);
    }

    /// Makes the right task of a line claimable, after any change to it.
    pub fn advance(&mut self, pool: u32, context: &ContextId) {
        let Some(line) = self.pools[pool as usize].lines.get_mut(context) else { return };
        let first = line.first().filter(|_| line.running.is_none()).map(|spot| spot.slot);
        let head = first.filter(|slot| self.slots.at(*slot).task.state == TaskState::Queued);
        let former = std::mem::replace(&mut line.head, head);
        if line.any().is_none() {
            self.pools[pool as usize].lines.remove(context);
        }
        if head == former {
            return;
        }
        if let Some(former) = former {
            self.make_unready(former);
        }
        if let Some(head) = head {
            self.make_ready(head);
        }
    }

    fn make_ready(&mut self, slot: u32) {
        let entry = self.slots.at_mut(slot);
        entry.ready = true;
        let pool = &mut self.pools[entry.pool as usize];
        pool.claimable += 1;
        pool.lanes[lane_of(&entry.task)].push(QueueKey { due: entry.due, seq: entry.seq, slot });
    }

    /// Removes a task from the claimable ones, if it is one.
    pub fn make_unready(&mut self, slot: u32) {
        let Some(entry) = self.slots.get_mut(slot).filter(|entry| entry.ready) else { return };
        entry.ready = false;
        let (pool, lane) = (entry.pool as usize, lane_of(&entry.task));
        self.pools[pool].claimable -= 1;
        self.pools[pool].lanes[lane].note_stale(|spot| self.slots.is_ready(spot));
    }

    /// Notes that a task was leased without being popped.
    pub fn note_taken(&mut self, slot: u32) {
        let entry = self.slots.at(slot);
        let (pool, lane) = (entry.pool as usize, lane_of(&entry.task));
        self.pools[pool].lanes[lane].note_stale(|spot| self.slots.is_ready(spot));
    }

    /// Notes that a waiting task has a deadline.
    pub fn note_deadline(&mut self, slot: u32) {
        let entry = self.slots.at(slot);
        if let Some(deadline) = entry.task.deadline {
            let spot = QueueKey { due: deadline, seq: entry.seq, slot };
            self.pools[entry.pool as usize].deadlines.insert(spot);
        }
    }

    /// Forgets that a task waits: for its `run_at`, and under its deadline.
    pub fn forget_wait(&mut self, slot: u32) {
        let entry = self.slots.at(slot);
        let pool = &mut self.pools[entry.pool as usize];
        if let Some(deadline) = entry.task.deadline {
            pool.deadlines.remove(&QueueKey { due: deadline, seq: entry.seq, slot });
        }
        if entry.task.state == TaskState::Scheduled {
            pool.scheduled.remove(&QueueKey { due: entry.task.run_at, seq: entry.seq, slot });
        }
    }

    /// Applies what core decided: the only way in which a task of this store changes its state after its claim.
    pub fn apply(&mut self, slot: u32, mut transition: Transition, now: Timestamp) {
        if let Some(end) = transition.attempt.take() {
            self.note_attempt(slot, &end, now);
        }
        let (from, queue) = (transition.from, transition.queue);
        match from {
            TaskState::Running => self.leave_node(self.slots.at(slot).task.node),
            ended if ended.is_terminal() => self.note_redriven(slot),
            _ => self.forget_wait(slot),
        }
        self.set_state(slot, transition.to);
        transition.apply(self.slots.at_mut(slot).task_mut());
        match queue {
            QueueMove::Leave => self.end(slot),
            QueueMove::Return => self.wait_again(slot),
            QueueMove::Postpone { due } => {
                let entry = self.slots.at_mut(slot);
                if entry.task.context.is_none() {
                    entry.due = due;
                }
                self.wait_again(slot);
            }
            QueueMove::Enter => {
                self.note_deadline(slot);
                self.enter(slot);
            }
            QueueMove::Join { due } => {
                self.slots.at_mut(slot).due = due;
                self.note_deadline(slot);
                self.join(slot);
            }
        }
    }

    /// Removes a task that has ended from the orders, and lets the next of its context come.
    fn end(&mut self, slot: u32) {
        self.make_unready(slot);
        self.ends += 1;
        let entry = self.slots.at_mut(slot);
        entry.end = self.ends;
        let spot = QueueKey { due: entry.due, seq: entry.seq, slot };
        if let Some(context) = entry.task.context.clone() {
            let pool = entry.pool;
            if let Some(line) = self.pools[pool as usize].lines.get_mut(&context) {
                line.leave(&spot);
                line.head = line.head.filter(|head| *head != slot);
            }
            self.advance(pool, &context);
        }
        self.ended.push_back((slot, self.ends));
        self.ended_now += 1;
        let Entry { waiter, task, .. } = self.slots.at_mut(slot);
        if let Some(waiter) = waiter.take() {
            self.waiters.push((waiter, task.clone()));
        }
    }

    /// Returns the waiter of the task that ended last, if it is this one.
    pub fn take_waiter(&mut self, ended: &Arc<Task>) -> Option<EndWaiter> {
        let (waiter, _) = self.waiters.pop_if(|(_, row)| Arc::ptr_eq(row, ended))?;
        Some(waiter)
    }

    /// Sends the rows of the tasks that ended in this call.
    pub fn notify_waiters(&mut self) {
        for (waiter, row) in self.waiters.drain(..) {
            // Who waited may have stopped to.
            let _ = waiter.send(row);
        }
    }

    /// Notes that an ended task was sent back to the queue.
    fn note_redriven(&mut self, slot: u32) {
        self.slots.at_mut(slot).end = 0;
        self.ended_now -= 1;
    }

    /// Ends an attempt without ending the task.
    fn end_attempt(&mut self, slot: u32) {
        let entry = self.slots.at(slot);
        let Some(context) = &entry.task.context else { return };
        if let Some(line) = self.pools[entry.pool as usize].lines.get_mut(context) {
            line.running = None;
        }
    }

    /// Puts a task whose attempt ended back among the waiting ones, at the place it had before.
    fn wait_again(&mut self, slot: u32) {
        self.end_attempt(slot);
        self.note_deadline(slot);
        let entry = self.slots.at(slot);
        let state = entry.task.state;
        let (pool, context) = (entry.pool, entry.task.context.clone());
        if state == TaskState::Scheduled {
            let spot = QueueKey { due: entry.task.run_at, seq: entry.seq, slot };
            self.pools[pool as usize].scheduled.insert(spot);
        }
        match context {
            Some(context) => self.advance(pool, &context),
            None if state == TaskState::Queued => self.make_ready(slot),
            None => {}
        }
    }

    /// Stores how the attempt of a running task went, if it had begun.
    fn note_attempt(&mut self, slot: u32, end: &AttemptEnd, now: Timestamp) {
        let Entry { task, attempts, .. } = self.slots.at_mut(slot);
        let Some(at) = task.started_at else { return };
        rules::keep_attempt(attempts, rules::attempt_record((task.attempt, at), (task.agent, task.node), end, now));
    }

    /// Notes that one task of a node runs no more.
    fn leave_node(&mut self, node: Option<NodeId>) {
        if let Some(node) = node.and_then(|node| self.nodes.get_mut(&node)) {
            node.running = node.running.saturating_sub(1);
        }
    }

    /// Removes tasks that ended before `before`, at most `limit`; returns how many.
    pub fn purge(&mut self, before: Timestamp, limit: usize) -> usize {
        let mut removed = 0;
        let ended = std::mem::take(&mut self.ended);
        let mut kept = VecDeque::with_capacity(ended.len());
        for (slot, end) in ended {
            let Some(entry) = self.slots.get(slot).filter(|entry| entry.end == end) else { continue };
            if removed < limit && entry.task.finished_at.is_some_and(|at| at < before) {
                self.remove(slot);
                removed += 1;
            } else {
                kept.push_back((slot, end));
            }
        }
        self.ended = kept;
        removed
    }

    /// Retains only the newest ended tasks. Called last by every change that ends some.
    pub fn trim(&mut self) {
        /// Below this many, spots of redriven tasks cost less than clearing them out.
        const WORTHWHILE: usize = 4_096;
        if self.ended.len() > WORTHWHILE.max(2 * self.ended_now) {
            self.ended.retain(|(slot, end)| self.slots.get(*slot).is_some_and(|entry| entry.end == *end));
        }
        while self.ended_now > self.retained {
            let Some((slot, end)) = self.ended.pop_front() else { return };
            if self.slots.get(slot).is_some_and(|entry| entry.end == end) {
                self.remove(slot);
            }
        }
    }

    /// Removes an ended task and its key.
    pub fn remove(&mut self, slot: u32) {
        let Some(entry) = self.slots.remove(slot) else { return };
        self.ended_now -= 1;
        let pool = &mut self.pools[entry.pool as usize];
        pool.counts[entry.task.state.index()] -= 1;
        if let Some(key) = &entry.task.idempotency_key
            && pool.keys.get(key).is_some_and(|(owner, _)| *owner == slot)
        {
            pool.keys.remove(key);
        }
    }
}

pub(super) fn lane_of(task: &Task) -> usize {
    usize::from(task.priority.get()).min(PRIORITIES - 1)
}

//! The bounded queue in front of the writer.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex, MutexGuard};

use tokio::sync::oneshot;

use super::{
    failure::{closed, unavailable},
    jobs::{Job, Kind, Query, Weight},
};
use crate::StoreError;

/// Most operations that may wait; 16 groups' worth.
const MAX_WAITING: usize = 16 * MAX_GROUP_ITEMS;
/// Most bytes that may wait.
const MAX_WAITING_BYTES: usize = 256 << 20;
/// Most tasks of one group: beyond this, a bigger group wins little and answers later.
const MAX_GROUP_ITEMS: usize = 1_024;
/// Most bytes of one group.
const MAX_GROUP_BYTES: usize = 4 << 20;

/// The caller that asked the store to close, if it waits for that.
pub(super) type Closing = Option<oneshot::Sender<Outcome>>;

/// How closing a store ended.
pub(super) type Outcome = Result<(), StoreError>;

/// The operations that the writer removes.
#[derive(Default)]
pub(super) struct Batch {
    pub jobs: VecDeque<Box<dyn Job>>,
    /// Questions that were asked after some of the jobs, to be passed on once these are done.
    pub queries: Vec<Query>,
    /// Set by a call to close; nothing comes after it.
    pub close: Option<Closing>,
}

enum Item {
    Job(Box<dyn Job>),
    Query(Query),
    Close(Closing),
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    bytes: usize,
    /// Whether the writer has something that is not committed.
    busy: bool,
    refuses: Option<StoreError>,
}

/// The queue itself. Operations come out in the order in which they were called.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

impl Inbox {
    /// Adds a job, or answers it with the reason why not.
    pub fn push(&self, mut job: Box<dyn Job>) {
        let mut waiting = self.lock();
        let bytes = job.weight().bytes;
        let refusal = waiting.refuses.clone().or_else(|| waiting.over_bound(job.kind(), bytes));
        if let Some(refusal) = refusal {
            drop(waiting);
            return job.answer(Err(refusal));
        }
        waiting.bytes += bytes;
        waiting.items.push_back(Item::Job(job));
        self.announce(waiting);
    }

    /// Adds a question behind the operations called before it. Gives it back if there are none.
    pub fn push_query(&self, query: Query) -> Result<Option<Query>, StoreError> {
        let mut waiting = self.lock();
        if let Some(refusal) = &waiting.refuses {
            return Err(refusal.clone());
        }
        if waiting.items.is_empty() && !waiting.busy {
            return Ok(Some(query));
        }
        waiting.items.push_back(Item::Query(query));
        self.announce(waiting);
        Ok(None)
    }

    /// Whether the writer was asked to finish, or has ended.
    pub fn is_closed(&self) -> bool {
        self.lock().refuses.is_some()
    }

    /// Asks the writer to finish, once. `false` if it was asked before.
    pub fn close(&self, reply: Closing) -> bool {
        let mut waiting = self.lock();
        if waiting.refuses.is_some() {
            return false;
        }
        waiting.refuses = Some(closed());
        waiting.items.push_back(Item::Close(reply));
        self.announce(waiting);
        true
    }

    /// Rejects everything that waits and everything to come: the writer has ended.
    pub fn abandon(&self, why: &StoreError) {
        let mut waiting = self.lock();
        waiting.refuses.get_or_insert_with(|| why.clone());
        let left = std::mem::take(&mut waiting.items);
        drop(waiting);
        for item in left {
            if let Item::Job(mut job) = item {
                job.answer(Err(why.clone()));
            }
        }
    }

    /// Waits for the first operations of a group.
    pub fn take(&self) -> Batch {
        let mut waiting = self.lock();
        waiting.busy = false;
        while waiting.items.is_empty() {
            self.arrived.wait(&mut waiting);
        }
        waiting.busy = true;
        let mut batch = Batch::default();
        waiting.fill(&mut batch, &mut Weight::default());
        batch
    }

    /// Adds what has arrived meanwhile to a group that weighs `weight`.
    pub fn take_more(&self, batch: &mut Batch, weight: &mut Weight) {
        self.lock().fill(batch, weight);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }

    /// Wakes the writer, if it may be asleep.
    fn announce(&self, waiting: MutexGuard<'_, Waiting>) {
        let may_sleep = !waiting.busy;
        drop(waiting);
        if may_sleep {
            self.arrived.notify_one();
        }
    }
}

impl Waiting {
    fn over_bound(&self, kind: Kind, bytes: usize) -> Option<StoreError> {
        // Results of work done, and other small things, may use as much again.
        let share = if kind == Kind::Admit { 1 } else { 2 };
        let fits = self.items.len() < share * MAX_WAITING && self.bytes + bytes <= share * MAX_WAITING_BYTES;
        let (count, bytes) = (self.items.len(), self.bytes);
        (!fits && !self.items.is_empty())
            .then(|| unavailable(format!("{count} operations with {bytes} bytes wait for the disk")))
    }

    /// Moves items into a batch until it is full, at least one.
    fn fill(&mut self, batch: &mut Batch, weight: &mut Weight) {
        while weight.items < MAX_GROUP_ITEMS && weight.bytes < MAX_GROUP_BYTES && batch.close.is_none() {
            match self.items.pop_front() {
                Some(Item::Job(job)) => {
                    let Weight { items, bytes } = job.weight();
                    self.bytes -= bytes;
                    weight.items += items.max(1);
                    weight.bytes += bytes;
                    batch.jobs.push_back(job);
                }
                Some(Item::Query(query)) => batch.queries.push(query),
                Some(Item::Close(reply)) => batch.close = Some(reply),
                None => return,
            }
        }
    }
}

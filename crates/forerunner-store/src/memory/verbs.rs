//! The verbs of the memory store that change tasks.

use std::{sync::Arc, time::Duration};

use forerunner_core::{
    Answered, LeaseEpoch, NodeId, PoolName, Task, TaskId, TaskState, Timestamp,
    transition::{self, Cancel, Running},
};

use super::{lane::QueueKey, state::State};
use crate::{
    Bounds, Cancelled, Claim, EndWaiter, EnqueueOutcome, LeaseLost, Refusal, Settled, Settlement, Start, StateConflict,
    Submission, Swept, rules,
};

impl State {
    pub fn enqueue(&mut self, submission: Submission) -> Result<EnqueueOutcome, Refusal> {
        let Submission { task, fingerprint, bounds } = submission;
        self.accept_new(Arc::new(task), fingerprint, bounds, None)
    }

    pub fn accept_new(
        &mut self,
        mut task: Arc<Task>,
        fingerprint: Option<[u8; 32]>,
        bounds: Bounds,
        waiter: Option<EndWaiter>,
    ) -> Result<EnqueueOutcome, Refusal> {
        let pool = self.pool_or_new(&task.pool);
        let key = task.idempotency_key.clone();
        if let Some(key) = &key
            && let Some((slot, asked)) = self.pools[pool as usize].keys.get(key)
        {
            let known = &self.slots.at(*slot).task;
            return match *asked == fingerprint {
                true => Ok(EnqueueOutcome::Known(Box::new(Task::clone(known)))),
                false => Err(Refusal::KeyReused { key: key.clone(), task: known.id }),
            };
        }
        if let Some(slot) = self.slots.find(task.id) {
            return Ok(EnqueueOutcome::Known(Box::new(Task::clone(&self.slots.at(slot).task))));
        }
        self.check_bounds(&task, bounds, pool)?;
        let depth = match task.parent {
            Some(parent) => rules::child_depth(parent, self.depth_of(parent), bounds)?,
            None => 0,
        };
        // What is right already is not written: the submitter may share the row.
        if task.depth != depth {
            Arc::make_mut(&mut task).depth = depth;
        }
        let slot = self.accept(task, pool, waiter);
        if let Some(key) = key {
            self.pools[pool as usize].keys.insert(key, (slot, fingerprint));
        }
        let entry = self.slots.at(slot);
        let Task { id, state, depth, .. } = *entry.task;
        Ok(EnqueueOutcome::New { task: id, state, claimable: entry.ready, depth })
    }

    fn depth_of(&self, task: TaskId) -> Option<u32> {
        self.slots.find(task).map(|slot| self.slots.at(slot).task.depth)
    }

    fn check_bounds(&self, task: &Task, bounds: Bounds, pool: u32) -> Result<(), Refusal> {
        let pool = &self.pools[pool as usize];
        if let Some((context, full)) = task.context.as_ref().zip(bounds.contexts_full)
            && pool.contexts.version(context) == (0, 0)
            && !pool.lines.contains_key(context)
        {
            return Err(rules::contexts_full(&task.pool, context, full));
        }
        Ok(())
    }

    pub fn claim(&mut self, claim: &Claim) -> Vec<Arc<Task>> {
        self.renew(claim.node, claim.lease_until);
        let Some(pool) = self.pool(&claim.pool) else { return Vec::new() };
        let mut tasks = Vec::with_capacity(claim.limit.min(self.pools[pool as usize].claimable));
        let mut too_late = Vec::new();
        while tasks.len() < claim.limit
            && let Some(spot) = self.first_ready(pool)
        {
            if self.slots.at(spot.slot).task.is_past_deadline(claim.now) {
                too_late.push(spot);
            } else {
                tasks.push(self.lease(spot.slot, claim, tasks.len()));
            }
        }
        for spot in too_late {
            let lane = usize::from(self.slots.at(spot.slot).task.priority.get());
            self.pools[pool as usize].lanes[lane].push(spot);
        }
        if let Some(node) = self.nodes.get_mut(&claim.node) {
            node.running += tasks.len();
        }
        tasks
    }

    pub fn renew(&mut self, node: NodeId, until: Timestamp) {
        let node = self.nodes.entry(node).or_default();
        node.lease_until = node.lease_until.max(until);
    }

    pub fn leases(&self, node: NodeId, pool: &PoolName) -> Vec<(TaskId, LeaseEpoch)> {
        let running = self.slots.iter().map(|(_, entry)| &entry.task).filter(|task| task.state == TaskState::Running);
        let held = running.filter(|task| task.node == Some(node) && task.pool == *pool);
        held.map(|task| (task.id, task.epoch)).collect()
    }

    fn first_ready(&mut self, pool: u32) -> Option<QueueKey> {
        let pool = &mut self.pools[pool as usize];
        if pool.claimable == 0 {
            return None;
        }
        pool.lanes.iter_mut().rev().find_map(|lane| lane.pop(|spot| self.slots.is_ready(spot)))
    }

    /// Leases a task that was just popped, the claim's `place`th.
    pub(super) fn lease(&mut self, slot: u32, claim: &Claim, place: usize) -> Arc<Task> {
        self.forget_wait(slot);
        self.set_state(slot, TaskState::Running);
        let entry = self.slots.at_mut(slot);
        (entry.ready, entry.stop) = (false, false);
        let task = Arc::make_mut(&mut entry.task);
        task.epoch = task.epoch.next();
        task.attempt += 1;
        task.started_at = rules::starts(claim, place, task.crashes).then_some(claim.now);
        task.node = Some(claim.node);
        task.agent = None;
        let pool = &mut self.pools[entry.pool as usize];
        pool.claimable -= 1;
        task.context_free_at = None;
        if let Some(context) = &task.context {
            (task.context_born, task.context_version) = pool.contexts.version(context);
            task.context_free_at = pool.contexts.updated_at(context);
            if let Some(line) = pool.lines.get_mut(context) {
                line.running = Some(slot);
                line.head = None;
            }
        }
        entry.task.clone()
    }

    /// The slot of a task that runs under this epoch.
    fn leased(&self, task: TaskId, epoch: LeaseEpoch) -> Result<u32, LeaseLost> {
        let runs = |slot: &u32| {
            let found = &self.slots.at(*slot).task;
            found.state == TaskState::Running && found.epoch == epoch
        };
        self.slots.find(task).filter(runs).ok_or(LeaseLost { task, epoch })
    }

    pub fn settle(&mut self, settlement: &mut Settlement) -> Result<(Settled, u32), LeaseLost> {
        let Settlement { task, epoch, now, next, context, context_cost, report, started } = settlement;
        let (task, epoch, now) = (*task, *epoch, *now);
        let slot = self.leased(task, epoch)?;
        let pool = self.slots.at(slot).pool;
        if let Some(commit) = context.take()
            && !self.pools[pool as usize].contexts.commit(commit, now)
        {
            return Err(LeaseLost { task, epoch });
        }
        if context_cost.is_some() {
            self.slots.at_mut(slot).task_mut().context_cost = context_cost.take();
        }
        if let Some(report) = report.take() {
            let task = self.slots.at_mut(slot).task_mut();
            let stored = task.report.take().map(|stored| *stored);
            task.report = Some(Box::new(rules::report_of_attempt(stored, *report)));
        }
        if let Some(start) = started {
            self.note_start(slot, *start);
        }
        let claimable_before = self.pools[pool as usize].claimable;
        let entry = self.slots.at(slot);
        self.apply(slot, transition::settle(Running::of(&entry.task, entry.stop), next, now), now);
        let task = &self.slots.at(slot).task;
        let settled = Settled {
            state: task.state,
            claimable: self.pools[pool as usize].claimable - claimable_before,
            run_at: (task.state == TaskState::Scheduled).then_some(task.run_at),
        };
        Ok((settled, slot))
    }

    pub fn assign(&mut self, task: TaskId, epoch: LeaseEpoch, start: Start) {
        if let Ok(slot) = self.leased(task, epoch) {
            self.note_start(slot, start);
        }
    }

    fn note_start(&mut self, slot: u32, start: Start) {
        let task = self.slots.at_mut(slot).task_mut();
        (task.agent, task.started_at) = (Some(start.agent), task.started_at.or(Some(start.at)));
    }

    pub fn cancel(&mut self, task: TaskId, now: Timestamp) -> Result<Cancelled, StateConflict> {
        let slot = self.slots.find(task).ok_or(StateConflict::NoTask { task })?;
        let entry = self.slots.at_mut(slot);
        let end = match transition::cancel(entry.task.state, now) {
            Cancel::End(end) => *end,
            Cancel::Mark => {
                entry.stop = true;
                return Ok(Cancelled::Running(Box::new(Task::clone(&entry.task))));
            }
            Cancel::Ended | Cancel::GiveUp => return Ok(Cancelled::Ended(Box::new(Task::clone(&entry.task)))),
        };
        let (pool, was_claimable) = (entry.pool as usize, entry.ready);
        let others_before = self.pools[pool].claimable - usize::from(was_claimable);
        self.apply(slot, end, now);
        let task = Box::new(Task::clone(&self.slots.at(slot).task));
        Ok(Cancelled::Done { task, was_claimable, claimable: self.pools[pool].claimable - others_before })
    }

    pub fn retry(&mut self, task: TaskId, now: Timestamp) -> Result<Task, StateConflict> {
        let slot = self.slots.find(task).ok_or(StateConflict::NoTask { task })?;
        let Task { state, deadline, .. } = *self.slots.at(slot).task;
        let Some(again) = transition::retry(state, deadline, now) else {
            return Err(StateConflict::WrongState { task, state, wish: "retried" });
        };
        self.apply(slot, again, now);
        Ok(Task::clone(&self.slots.at(slot).task))
    }

    pub fn answer(&mut self, answered: &Answered, now: Timestamp) -> Result<Task, StateConflict> {
        let task = answered.task;
        let slot = self.slots.find(task).ok_or(StateConflict::NoTask { task })?;
        let waiting = &self.slots.at(slot).task;
        let Some(answer) = transition::answer(waiting, answered) else {
            return Err(StateConflict::WrongState { task, state: waiting.state, wish: "answered" });
        };
        self.apply(slot, answer, now);
        Ok(Task::clone(&self.slots.at(slot).task))
    }

    pub fn sweep(&mut self, pool: u32, now: Timestamp) -> Swept {
        let claimable_before = self.pools[pool as usize].claimable;
        let late = self.pools[pool as usize].deadlines.iter().take_while(|spot| spot.due <= now);
        let late: Vec<_> = late.take(rules::SWEEP_LIMIT).map(|spot| (spot.slot, self.slots.at(spot.slot))).collect();
        let expired_bytes = late.iter().map(|(_, entry)| entry.task.input.len() as u64).sum();
        let late: Vec<_> = late.into_iter().map(|(slot, entry)| (slot, entry.task.id, entry.ready)).collect();
        for (slot, _, _) in &late {
            self.apply(*slot, transition::expire(self.slots.at(*slot).task.state, now), now);
        }
        let due = self.pools[pool as usize].scheduled.iter().take_while(|spot| spot.due <= now);
        let due: Vec<_> = due.take(rules::SWEEP_LIMIT).map(|spot| spot.slot).collect();
        let promoted = due.into_iter().map(|slot| self.promote(slot, now)).collect();
        let expired: Vec<_> = late.into_iter().map(|(_, id, ready)| (id, ready)).collect();
        let left = expired.iter().filter(|(_, was_claimable)| *was_claimable).count();
        let pool = &self.pools[pool as usize];
        let next = [pool.scheduled.first(), pool.deadlines.first()];
        Swept {
            promoted,
            claimable: (pool.claimable + left).saturating_sub(claimable_before),
            expired,
            expired_bytes,
            next_due: next.into_iter().flatten().map(|spot| spot.due).min(),
        }
    }

    pub fn clock_set_back(&mut self, now: Timestamp, by: Duration) -> usize {
        let waiting = self.pools.iter().flat_map(|pool| pool.scheduled.iter().map(|spot| spot.slot));
        let sooner = waiting.filter_map(|slot| {
            let task = &self.slots.at(slot).task;
            let run_at = rules::run_at_once_set_back(task, now, by);
            (run_at < task.run_at).then_some((slot, run_at))
        });
        let sooner: Vec<_> = sooner.collect();
        for (slot, run_at) in &sooner {
            let entry = self.slots.at_mut(*slot);
            let spot = QueueKey { due: entry.task.run_at, seq: entry.seq, slot: *slot };
            entry.task_mut().run_at = *run_at;
            let scheduled = &mut self.pools[entry.pool as usize].scheduled;
            scheduled.remove(&spot);
            scheduled.insert(QueueKey { due: *run_at, ..spot });
        }
        sooner.len()
    }

    /// Queues a task whose time has come.
    fn promote(&mut self, slot: u32, now: Timestamp) -> TaskId {
        self.apply(slot, transition::promote(), now);
        self.slots.at(slot).task.id
    }
}

//! The semantics of a store in the plainest words: a list of tasks, scanned for everything.
//!
//! It is written out by hand and shares no decision with `forerunner_core::transition`, so that an error there shows.

use forerunner_core::{Answered, ErrorKind, LeaseEpoch, Next, NodeId, Task, TaskError, TaskId, TaskState, Timestamp};

use super::lab::pool;
use crate::{
    BulkAction, BulkOutcome, BulkRefusal, Claim, EnqueueOutcome, PoolOutcome, Rescued, Settled, Swept, TaskChange,
    TaskCounts,
};

/// Errors by which an attempt counts as a crash.
const CRASHES: [ErrorKind; 4] =
    [ErrorKind::AgentPanicked, ErrorKind::AgentLost, ErrorKind::AgentProtocol, ErrorKind::NodeLost];

#[derive(Debug, Clone)]
struct Row {
    task: Task,
    due: Timestamp,
    body: Option<[u8; 32]>,
    /// Whether it has a place in its context's line.
    joined: bool,
    /// Whether it was cancelled while it ran.
    stop: bool,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    rows: Vec<Row>,
    leases: Vec<(NodeId, Timestamp)>,
}

impl Model {
    /// What enqueueing answers; `None` for a refusal.
    pub fn enqueue(&mut self, mut task: Task, body: Option<[u8; 32]>) -> Option<EnqueueOutcome> {
        if let Some(key) = &task.idempotency_key
            && let Some(row) = self.rows.iter().find(|row| row.task.idempotency_key.as_ref() == Some(key))
        {
            return (row.body == body).then(|| EnqueueOutcome::Known(Box::new(row.task.clone())));
        }
        let joined = task.run_at <= task.submitted_at;
        task.state = if joined { TaskState::Queued } else { TaskState::Scheduled };
        let (id, state, due) = (task.id, task.state, task.run_at.max(task.submitted_at));
        self.rows.push(Row { task, due, body, joined, stop: false });
        Some(EnqueueOutcome::New { task: id, state, claimable: self.is_claimable(self.rows.len() - 1), depth: 0 })
    }

    fn is_claimable(&self, index: usize) -> bool {
        let row = &self.rows[index];
        if row.task.state != TaskState::Queued {
            return false;
        }
        let others = self.rows.iter().enumerate().filter(|(other, _)| *other != index);
        let mut line = others.filter(|(_, other)| {
            row.task.context.is_some()
                && other.task.context == row.task.context
                && !other.task.state.is_terminal()
                && other.joined
        });
        !line.any(|(other, ahead)| ahead.task.state == TaskState::Running || (ahead.due, other) < (row.due, index))
    }

    fn claimable(&self) -> usize {
        (0..self.rows.len()).filter(|index| self.is_claimable(*index)).count()
    }

    pub fn claim(&mut self, claim: &Claim) -> Vec<TaskId> {
        let Claim { node, limit, starts, now, lease_until, .. } = *claim;
        match self.leases.iter_mut().find(|(holder, _)| *holder == node) {
            Some((_, lease)) => *lease = lease_until.max(*lease),
            None => self.leases.push((node, lease_until)),
        }
        let mut ready: Vec<_> = (0..self.rows.len()).filter(|index| self.is_claimable(*index)).collect();
        ready.retain(|index| !self.rows[*index].task.is_past_deadline(now));
        ready.sort_by_key(|index| (9 - self.rows[*index].task.priority.get(), self.rows[*index].due, *index));
        ready.truncate(limit);
        let mut claimed = Vec::new();
        for index in ready {
            self.rows[index].stop = false;
            let task = &mut self.rows[index].task;
            let begins = claimed.len() < starts || task.crashes > 0;
            (task.state, task.attempt) = (TaskState::Running, task.attempt + 1);
            (task.started_at, task.node, task.agent) = (begins.then_some(now), Some(node), None);
            task.epoch = task.epoch.next();
            claimed.push(task.id);
        }
        claimed
    }

    /// What settling answers; `None` for a lost lease.
    pub fn settle(&mut self, id: TaskId, epoch: LeaseEpoch, now: Timestamp, next: Next) -> Option<Settled> {
        let before = self.claimable();
        let index = self.rows.iter().position(|row| row.task.id == id)?;
        let stop = self.rows[index].stop;
        let task = &mut self.rows[index].task;
        if task.state != TaskState::Running || task.epoch != epoch {
            return None;
        }
        match next {
            Next::Retry { .. } | Next::Wait { .. } | Next::Release if stop => {
                task.crashes += u32::from(matches!(next, Next::Retry { crash: true, .. }));
                self.end(index, TaskState::Cancelled, cancelled(), now);
            }
            Next::Finish { state, output, error } => {
                task.crashes += u32::from(error.as_ref().is_some_and(|error| CRASHES.contains(&error.kind)));
                (task.state, task.output, task.error, task.finished_at) = (state, output, error, Some(now));
            }
            Next::Retry { run_at, error, crash, counts } => {
                task.attempt -= u32::from(!counts);
                if !counts && task.context.is_none() {
                    self.rows[index].due = run_at;
                }
                let task = &mut self.rows[index].task;
                task.state = if run_at > now { TaskState::Scheduled } else { TaskState::Queued };
                (task.run_at, task.error) = (run_at, Some(error));
                task.crashes += u32::from(crash);
            }
            Next::Wait { requests, until } => {
                (task.state, task.requests) = (TaskState::Waiting, Some(Box::new(requests)));
                task.deadline = until.or(task.deadline);
            }
            Next::Release => {
                (task.state, task.attempt) = (TaskState::Queued, task.attempt - 1);
                (task.started_at, task.node, task.agent) = (None, None, None);
            }
        }
        let Task { state, run_at, .. } = self.rows[index].task;
        let run_at = (state == TaskState::Scheduled).then_some(run_at);
        Some(Settled { state, claimable: self.claimable() - before, run_at })
    }

    /// Whether cancelling ends the task, whether it was claimable, and how many became so.
    pub fn cancel(&mut self, id: TaskId, now: Timestamp) -> Option<(bool, usize)> {
        let index = self.rows.iter().position(|row| row.task.id == id)?;
        let state = self.rows[index].task.state;
        self.rows[index].stop |= state == TaskState::Running;
        if state.is_terminal() || state == TaskState::Running {
            return None;
        }
        let (before, was_claimable) = (self.claimable(), self.is_claimable(index));
        self.end(index, TaskState::Cancelled, cancelled(), now);
        Some((was_claimable, self.claimable() + usize::from(was_claimable) - before))
    }

    /// The result of an operation on many tasks; each list in any order.
    pub fn bulk(&mut self, action: &BulkAction, ids: &[TaskId], now: Timestamp) -> BulkOutcome {
        let before = self.claimable() as i64;
        let mut outcome = BulkOutcome::default();
        let mut changed = PoolOutcome::default();
        for id in ids {
            let Some(row) = self.rows.iter().find(|row| row.task.id == *id) else {
                outcome.gone.push(*id);
                continue;
            };
            let (state, bytes) = (row.task.state, row.task.input.len() as u64);
            let (is_over, is_running) = (state.is_terminal(), state == TaskState::Running);
            match action {
                BulkAction::Cancel if !is_over => drop(self.cancel(*id, now)),
                BulkAction::Retry if is_over && state != TaskState::Succeeded => drop(self.retry(*id, now)),
                BulkAction::Delete if is_over => self.rows.retain(|row| row.task.id != *id),
                _ => {
                    outcome.refused.push(BulkRefusal::of_state(*id, state));
                    continue;
                }
            }
            match is_running {
                true => changed.stopping.push(*id),
                false => {
                    changed.done.push(*id);
                    changed.done_bytes += if *action == BulkAction::Delete { 0 } else { bytes };
                }
            }
        }
        changed.claimable = self.claimable() as i64 - before;
        if !changed.done.is_empty() || !changed.stopping.is_empty() {
            outcome.pools.insert(pool("coder"), changed);
        }
        outcome
    }

    /// How many more can be claimed, and the task after it; `None` unless it waits.
    pub fn update(&mut self, id: TaskId, change: TaskChange, now: Timestamp) -> Option<(i64, Task)> {
        let before = self.claimable() as i64;
        let index = self.rows.iter().position(|row| row.task.id == id)?;
        if !matches!(self.rows[index].task.state, TaskState::Scheduled | TaskState::Queued) {
            return None;
        }
        let context = self.rows[index].task.context.clone();
        let others = self.rows.iter().enumerate().filter(|(other, row)| {
            *other != index
                && context.is_some()
                && row.task.context == context
                && row.joined
                && !row.task.state.is_terminal()
        });
        let last = others.map(|(_, row)| row.due).max();
        let row = &mut self.rows[index];
        row.task.priority = change.priority.unwrap_or(row.task.priority);
        if let Some(run_at) = change.run_at {
            let has_place = context.is_some() && row.joined;
            if run_at > now {
                (row.task.state, row.task.run_at) = (TaskState::Scheduled, run_at);
                if !has_place {
                    (row.due, row.joined) = (run_at, false);
                }
            } else {
                if row.task.state == TaskState::Scheduled {
                    (row.task.state, row.task.run_at) = (TaskState::Queued, now);
                }
                if !has_place {
                    (row.due, row.joined) = (row.due.min(now), true);
                    row.due = last.map_or(row.due, |last| last.max(row.due));
                }
            }
        }
        let task = row.task.clone();
        Some((self.claimable() as i64 - before, task))
    }

    fn end(&mut self, index: usize, state: TaskState, error: TaskError, now: Timestamp) {
        let task = &mut self.rows[index].task;
        (task.state, task.error, task.finished_at) = (state, Some(error), Some(now));
    }

    pub fn retry(&mut self, id: TaskId, now: Timestamp) -> Option<Task> {
        let row = self.rows.iter_mut().find(|row| row.task.id == id)?;
        let task = &mut row.task;
        if !task.state.can_be_retried() {
            return None;
        }
        (task.state, task.run_at, task.attempt, task.crashes) = (TaskState::Queued, now, 0, 0);
        (task.started_at, task.finished_at, task.node, task.agent) = (None, None, None, None);
        (task.output, task.error, task.requests) = (None, None, None);
        task.deadline = task.deadline.filter(|deadline| *deadline > now);
        (row.due, row.joined) = (now, true);
        Some(row.task.clone())
    }

    /// The task after its answer; `None` unless it waits for one.
    pub fn answer(&mut self, answered: Answered) -> Option<Task> {
        let task = &mut self.rows.iter_mut().find(|row| row.task.id == answered.task)?.task;
        if task.state != TaskState::Waiting {
            return None;
        }
        (task.state, task.attempt, task.deadline) = (TaskState::Queued, task.attempt - 1, answered.deadline);
        task.requests = Some(Box::new(answered.requests));
        (task.started_at, task.node, task.agent) = (None, None, None);
        Some(task.clone())
    }

    pub fn sweep(&mut self, now: Timestamp) -> Swept {
        let before = self.claimable();
        let waits = [TaskState::Scheduled, TaskState::Queued, TaskState::Waiting];
        let is_waiting = |row: &Row| waits.contains(&row.task.state);
        let mut late: Vec<_> = (0..self.rows.len()).collect();
        late.retain(|index| is_waiting(&self.rows[*index]) && self.rows[*index].task.is_past_deadline(now));
        late.sort_by_key(|index| (self.rows[*index].task.deadline, *index));
        let expired: Vec<_> = late.iter().map(|index| (self.rows[*index].task.id, self.is_claimable(*index))).collect();
        let expired_bytes = late.iter().map(|index| self.rows[*index].task.input.len() as u64).sum();
        for index in late {
            let why = match self.rows[index].task.state {
                TaskState::Waiting => "nobody answered the agent in time",
                _ => "the deadline passed before an agent took the task",
            };
            let error = TaskError::new(ErrorKind::DeadlineExceeded, why);
            self.end(index, TaskState::Expired, error, now);
        }
        let mut due: Vec<_> = (0..self.rows.len()).collect();
        due.retain(|index| {
            self.rows[*index].task.state == TaskState::Scheduled && self.rows[*index].task.run_at <= now
        });
        due.sort_by_key(|index| (self.rows[*index].task.run_at, *index));
        for index in &due {
            (self.rows[*index].task.state, self.rows[*index].joined) = (TaskState::Queued, true);
        }
        let left = expired.iter().filter(|(_, was_claimable)| *was_claimable).count();
        let waiting = self.rows.iter().filter(|row| is_waiting(row));
        let next_due = waiting.flat_map(|row| {
            let run_at = (row.task.state == TaskState::Scheduled).then_some(row.task.run_at);
            [run_at, row.task.deadline]
        });
        Swept {
            promoted: due.into_iter().map(|index| self.rows[index].task.id).collect(),
            claimable: self.claimable() + left - before,
            expired,
            expired_bytes,
            next_due: next_due.flatten().min(),
        }
    }

    pub fn rescue(&mut self, is_lost: impl Fn(NodeId, Timestamp) -> bool, now: Timestamp) -> Rescued {
        let mut lost: Vec<_> = (0..self.rows.len()).collect();
        lost.retain(|index| {
            let task = &self.rows[*index].task;
            let lease = self.leases.iter().find(|(node, _)| Some(*node) == task.node);
            task.state == TaskState::Running && lease.is_some_and(|(node, until)| is_lost(*node, *until))
        });
        lost.sort_by_key(|index| (self.rows[*index].due, *index));
        let mut rescued = Rescued::default();
        for index in lost {
            let stop = self.rows[index].stop;
            let task = &mut self.rows[index].task;
            let is_prefetched = task.started_at.is_none();
            task.crashes = if is_prefetched { task.crashes.max(1) } else { task.crashes + 1 };
            if stop {
                rescued.dead.push(task.id);
                self.end(index, TaskState::Cancelled, cancelled(), now);
                continue;
            }
            task.state = TaskState::Queued;
            if is_prefetched {
                rescued.requeued.push(task.id);
                (task.attempt, task.node, task.agent) = (task.attempt - 1, None, None);
                continue;
            }
            task.error = Some(node_lost());
            if task.crashes < task.retry.max_crashes {
                rescued.requeued.push(task.id);
            } else {
                rescued.dead.push(task.id);
                self.end(index, TaskState::Dead, node_lost(), now);
            }
        }
        rescued
    }

    /// How many ended before, all of which go.
    pub fn purge(&mut self, before: Timestamp) -> usize {
        let kept = self.rows.len();
        self.rows.retain(|row| row.task.finished_at.is_none_or(|end| end >= before));
        kept - self.rows.len()
    }

    pub fn counts(&self) -> TaskCounts {
        let mut counts = TaskCounts { claimable: self.claimable() as u64, ..TaskCounts::default() };
        for row in &self.rows {
            debug_assert_eq!(row.task.pool, pool("coder"));
            *counts.by_state.entry(row.task.state).or_default() += 1;
        }
        let scheduled = self.rows.iter().filter(|row| row.task.state == TaskState::Scheduled);
        counts.next_due = scheduled.map(|row| row.task.run_at).min();
        counts
    }

    /// All tasks, newest first.
    pub fn tasks(&self) -> Vec<Task> {
        let mut tasks: Vec<_> = self.rows.iter().map(|row| row.task.clone()).collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.id));
        tasks
    }

    /// The task that was submitted at this place among the remaining ones, if there are any.
    pub fn pick(&self, place: usize) -> Option<&Task> {
        let count = self.rows.len().max(1);
        self.rows.get(place % count).map(|row| &row.task)
    }

    /// A task in a state, or else any.
    pub fn pick_in(&self, state: TaskState, place: usize) -> Option<&Task> {
        let found: Vec<_> = self.rows.iter().filter(|row| row.task.state == state).collect();
        match found.len() {
            0 => self.pick(place),
            count => Some(&found[place % count].task),
        }
    }
}

fn cancelled() -> TaskError {
    TaskError::new(ErrorKind::Cancelled, "the task was cancelled by request")
}

fn node_lost() -> TaskError {
    TaskError::new(ErrorKind::NodeLost, "the node that ran the task ended before it stored the result")
}

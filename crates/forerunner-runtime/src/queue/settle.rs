//! Ends attempts. Ends are batched, settled in one store call, and answered once they are durable.

use std::{collections::hash_map::Entry, sync::Arc, time::Duration};

use actix::{AsyncContext, Context, Handler, Recipient};
use forerunner_core::{
    AgentId, ErrorKind, IdMap, Next, Outcome, QueueEvent, Task, TaskError, TaskId, TaskState, Timestamp, after_attempt,
    transition::{self, Running},
};
use forerunner_store::{ContextCommit, LeaseLost, Settled, SettledNow, Settlement, Start, StoreError};
use tokio::sync::oneshot;

use super::{
    QueueActor,
    actor::STORE_BACKOFF,
    crash_throttle::CrashCost,
    messages::{Drain, PoolFacts, Settle, SettleDone},
};
use crate::batcher::Batch;

/// Attempts whose end is not durable yet.
#[derive(Default)]
pub(super) struct Settling {
    pending: Vec<Pending>,
    in_store: usize,
    /// The tasks of both fields above.
    tasks: IdMap<TaskId, ()>,
    drains: Vec<oneshot::Sender<()>>,
}

impl Settling {
    /// Returns whether the end of the task's attempt is being stored.
    pub(super) fn contains(&self, task: TaskId) -> bool {
        self.tasks.contains_key(&task)
    }

    /// Returns the number of ends that are not durable yet.
    pub(super) fn len(&self) -> usize {
        self.pending.len() + self.in_store
    }

    fn add(&mut self, pending: Pending) {
        self.tasks.insert(pending.settlement.task, ());
        self.pending.push(pending);
    }

    fn forget(&mut self, settled: &[Pending]) {
        for one in settled {
            self.tasks.remove(&one.settlement.task);
        }
    }
}

/// An end that is not stored yet.
struct Pending {
    /// The leased task. It left the leases when its end was reported, so no second end is accepted.
    task: Arc<Task>,
    settlement: Settlement,
    agent: Option<AgentId>,
    reply: Option<Recipient<SettleDone>>,
}

/// What counts of an end once it is stored.
struct Ended {
    input_bytes: u64,
    /// Whether the deadline has passed.
    is_late: bool,
    kind: EndKind,
    /// Bytes that its context adds to the store.
    committed_bytes: Option<u64>,
}

/// What the queue asked of the store.
enum EndKind {
    Release,
    /// A retry that does not count.
    Excused,
    /// A question, which expires then.
    Asked(Option<Timestamp>),
    Other,
}

impl Ended {
    fn of(task: &Task, settlement: &Settlement) -> Self {
        let kind = match settlement.next {
            Next::Release => EndKind::Release,
            Next::Retry { counts: false, .. } => EndKind::Excused,
            Next::Wait { until, .. } => EndKind::Asked(until),
            _ => EndKind::Other,
        };
        let (input_bytes, is_late) = (task.input.len() as u64, task.is_past_deadline(settlement.now));
        let committed_bytes = settlement.context.as_ref().map(ContextCommit::added_bytes);
        Self { input_bytes, is_late, kind, committed_bytes }
    }
}

impl QueueActor {
    /// Sends all pending ends to the store.
    pub(super) fn settle_pending(&mut self, ctx: &mut Context<Self>) {
        if self.settling.pending.is_empty() {
            return self.answer_drains();
        }
        let node = &self.deps.node;
        node.events.flush(&*node.store, &node.watch);
        let pending = std::mem::take(&mut self.settling.pending);
        self.settling.in_store += pending.len();
        let call = self.deps.node.store.settle(pending.iter().map(|one| one.settlement.clone()).collect());
        self.call(call, ctx, |queue, answer, ctx| {
            queue.settling.in_store -= pending.len();
            match answer {
                Ok(answers) => {
                    queue.store_health.note_success(&queue.deps.name);
                    queue.on_settled(answers, pending, ctx);
                }
                Err(error) => queue.on_not_settled(&error, pending, ctx),
            }
        });
    }

    fn on_settled(&mut self, answers: Vec<Result<Settled, LeaseLost>>, pending: Vec<Pending>, ctx: &mut Context<Self>) {
        self.settling.forget(&pending);
        let now = self.deps.now();
        let mut claimable = 0;
        for (answer, one) in answers.into_iter().zip(pending) {
            let result = match answer {
                Ok(settled) => {
                    claimable += settled.claimable;
                    self.count_end(&Ended::of(&one.task, &one.settlement), &settled, now, ctx);
                    self.notify_settled(one.task, one.agent, &one.settlement, &settled, now);
                    Ok(())
                }
                Err(lost) => Err(self.on_lease_lost(lost, ctx)),
            };
            if let Some(reply) = one.reply {
                reply.do_send(SettleDone { task: one.settlement.task, result });
            }
        }
        self.apply(QueueEvent::BecameClaimable(claimable), ctx);
        self.check_depth(ctx);
        self.answer_drains();
    }

    fn on_lease_lost(&mut self, lost: LeaseLost, ctx: &mut Context<Self>) -> LeaseLost {
        tracing::warn!(pool = %self.deps.name, task = %lost.task, epoch = lost.epoch.0, "lease lost");
        self.metrics.leases_lost.increment(1);
        self.admission.note_unsure();
        // The store may have settled it before, with an answer that was lost.
        self.notify_as_stored(lost.task, ctx);
        lost
    }

    /// Counts an end that is stored.
    fn count_end(&mut self, ended: &Ended, settled: &Settled, now: Timestamp, ctx: &mut Context<Self>) {
        if settled.state.is_terminal() {
            self.admission.leave_bytes(ended.input_bytes);
        }
        if let Some(bytes) = ended.committed_bytes {
            self.room.committed(&self.deps.name, bytes);
        }
        if settled.state.is_terminal() {
            self.metrics.finished(settled.state);
            self.stats.finished();
        } else if settled.state != TaskState::Waiting {
            self.admission.reenter(1);
            match ended.kind {
                EndKind::Release if ended.is_late => {
                    // No claim returns it any more: the sweep ends it.
                    self.apply(QueueEvent::Due(now), ctx);
                }
                EndKind::Release | EndKind::Asked(_) => {}
                EndKind::Excused => {
                    self.metrics.retried.increment(1);
                    self.metrics.dependency.excused.increment(1);
                }
                EndKind::Other => self.metrics.retried.increment(1),
            }
        }
        if let (TaskState::Waiting, EndKind::Asked(until)) = (settled.state, &ended.kind) {
            self.metrics.asked.increment(1);
            if let Some(until) = *until {
                self.apply(QueueEvent::Due(until), ctx);
            }
        }
        if let Some(due) = settled.run_at {
            self.apply(QueueEvent::Due(due), ctx);
        }
    }

    /// Notifies the watchers of a task whose end is stored.
    fn notify_settled(
        &self,
        task: Arc<Task>,
        agent: Option<AgentId>,
        settlement: &Settlement,
        settled: &Settled,
        now: Timestamp,
    ) {
        let watch = &self.deps.node.watch;
        let apply = |mut task: Arc<Task>| {
            // The queue usually has the only reference by now, so this copies nothing.
            let ended = Arc::make_mut(&mut task);
            ended.agent = agent;
            ended.context_cost.clone_from(&settlement.context_cost);
            if settlement.report.is_some() {
                ended.report.clone_from(&settlement.report);
            }
            // The store answers with the end of a task that was cancelled while it ran.
            let running = Running::of(ended, settled.state.is_terminal());
            transition::settle(running, &settlement.next, settlement.now).apply(ended);
            task
        };
        match settled.state.is_terminal() {
            true => watch.complete_as(task.id, now, || apply(task)),
            false if watch.is_watched(task.id) => watch.notify_state(&apply(task), now),
            false => {}
        }
    }

    /// Notifies the watchers of a task of its state.
    pub(super) fn notify_watchers(&self, task: Arc<Task>) {
        let now = self.deps.now();
        match task.state.is_terminal() {
            true => self.deps.node.watch.finish(task, now),
            false => self.deps.node.watch.notify_state(&task, now),
        }
    }

    /// The store failed: the same ends are sent again, since no other end is accepted for these leases.
    fn on_not_settled(&mut self, error: &StoreError, pending: Vec<Pending>, ctx: &mut Context<Self>) {
        self.store_health.note_failure(&self.deps.name, "the store does not settle attempts", pending.len(), error);
        if !error.is_retryable() {
            self.settling.forget(&pending);
            return self.answer_drains();
        }
        self.settling.pending.extend(pending);
        ctx.run_later(STORE_BACKOFF, Self::settle_pending);
    }

    /// Counts a waiting task that reached its end, and reads it from the store for its watchers.
    pub(super) fn on_ended_waiting(&mut self, task: TaskId, state: TaskState, ctx: &mut Context<Self>) {
        self.metrics.finished(state);
        self.stats.finished();
        self.notify_as_stored(task, ctx);
    }

    /// Reads a task from the store for its watchers, if it has any.
    pub(super) fn notify_as_stored(&mut self, task: TaskId, ctx: &mut Context<Self>) {
        if self.deps.node.watch.is_watched(task) {
            let call = self.deps.node.store.task(task);
            self.call(call, ctx, |queue, answer, _| {
                if let Ok(Some(task)) = answer {
                    queue.notify_watchers(Arc::new(task));
                }
            });
        }
    }

    pub(super) fn answer_drains(&mut self) {
        if self.settling.pending.is_empty()
            && self.settling.in_store == 0
            && self.accepting == 0
            && self.releasing == 0
            && !self.reconciling.awaits_claim()
        {
            for drain in self.settling.drains.drain(..) {
                let _ = drain.send(());
            }
        }
    }
}

impl Handler<Batch<Settle>> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: Batch<Settle>, ctx: &mut Self::Context) {
        let now = self.deps.now();
        let mut ended = self.settled.take();
        let (is_local, mut claimable) = (self.deps.node.store.local().is_some(), 0);
        for end in ended.drain(..) {
            let Some(pending) = self.on_end(end, now) else { continue };
            match is_local {
                true => {
                    let Pending { task, mut settlement, agent: _, reply } = pending;
                    claimable += self.settle_now(task, &mut settlement, reply, ctx);
                }
                false => self.settling.add(pending),
            }
        }
        self.settled.recycle(ended);
        self.steer(ctx);
        self.tune_prefetch(ctx);
        if is_local {
            self.apply_at(now, QueueEvent::BecameClaimable(claimable), ctx);
            self.check_depth(ctx);
            return self.answer_drains();
        }
        self.flush_soon(ctx);
    }
}

impl QueueActor {
    /// Ends an attempt in a store that answers within the call. Returns the number of tasks that became claimable.
    fn settle_now(
        &mut self,
        task: Arc<Task>,
        settlement: &mut Settlement,
        reply: Option<Recipient<SettleDone>>,
        ctx: &mut Context<Self>,
    ) -> usize {
        let (id, now, ended) = (task.id, settlement.now, Ended::of(&task, settlement));
        let Some(store) = self.deps.node.store.local() else { return 0 };
        let (result, claimable) = match store.settle_now(task, settlement) {
            Ok(Ok(SettledNow { settled, row, waiter })) => {
                self.count_end(&ended, &settled, now, ctx);
                let watch = &self.deps.node.watch;
                match settled.state.is_terminal() {
                    true => watch.complete_as(id, now, || row.clone()),
                    false => watch.notify_state(&row, now),
                }
                if let Some(waiter) = waiter {
                    // Who waited may have stopped to.
                    let _ = waiter.send(row);
                }
                (Ok(()), settled.claimable)
            }
            Ok(Err(lost)) => (Err(self.on_lease_lost(lost, ctx)), 0),
            Err(error) => {
                self.store_health.note_failure(&self.deps.name, "the store does not settle attempts", 1, &error);
                return 0;
            }
        };
        if let Some(reply) = reply {
            reply.do_send(SettleDone { task: id, result });
        }
        claimable
    }

    /// Decides what an attempt's end makes of its task, unless the attempt has ended already.
    fn on_end(&mut self, msg: Settle, now: Timestamp) -> Option<Pending> {
        let leased = match self.leased.entry(msg.task) {
            Entry::Occupied(leased) if leased.get().epoch == msg.epoch => Some(leased.remove()),
            _ => None,
        };
        let Some(task) = leased else {
            self.dependency.ended(msg.task, now);
            if let Some(reply) = msg.reply {
                let lost = LeaseLost { task: msg.task, epoch: msg.epoch };
                reply.do_send(SettleDone { task: msg.task, result: Err(lost) });
            }
            return None;
        };
        if let Some(context) = &task.context {
            self.turn_ends.note(context, now);
        }
        if self.deps.node.store.persists_events() {
            self.deps.node.events.end_attempt(task.id);
        }
        let excused = self.judge(&task, &msg.outcome, msg.ran, now);
        // The time until an attempt failed is no evidence of how long tasks take.
        let is_error = matches!(&msg.outcome, Outcome::Failed(error) if error.kind == ErrorKind::AgentError);
        let learned = msg.ran.filter(|_| !is_error && excused.is_none());
        let trigger = self.stats.ended(task.id, now.as_secs_f64(), learned);
        self.nudge(trigger);
        if let Some(ran) = msg.ran {
            self.metrics.service.record(ran.service_s);
            self.tuner.ended(ran.service_s);
        }
        let mut next = after_attempt(&task, msg.outcome, now, self.jitter.next());
        if let Some(delay) = excused {
            next.excuse(delay, now);
        }
        if matches!(next, Next::Finish { .. }) {
            self.dependency.forget(task.id);
        }
        self.suspect(&task, &mut next);
        let (context, report) = (msg.context.map(|commit| *commit), msg.report);
        let mut context_cost = msg.context_cost;
        if let Some(cost) = &mut context_cost {
            cost.wait_context_s = task.wait_context().unwrap_or_default().as_secs_f64();
        }
        let started = msg.ran.map(|ran| Start { agent: ran.agent, at: task.started_at.unwrap_or(now) });
        let settlement =
            Settlement { task: task.id, epoch: msg.epoch, now, next, context, context_cost, report, started };
        Some(Pending { task, settlement, agent: msg.ran.map(|ran| ran.agent), reply: msg.reply })
    }

    /// Delays the retry of a crashed task when there are many crashes, and returns the reservation of a retry that did
    /// not crash.
    fn suspect(&mut self, task: &Task, next: &mut Next) {
        let PoolFacts { cold_start, agents, .. } = self.facts;
        let cost = CrashCost { cold_start, agents };
        // A lost node makes no task a suspect.
        let made_suspect = |error: &TaskError| error.kind.is_crash() && error.kind != ErrorKind::NodeLost;
        match next {
            Next::Retry { run_at, crash: true, .. } => {
                // Not longer than the longest backoff, and so that the task has time to run before its deadline.
                let left = task.deadline.map_or(Duration::MAX, |deadline| deadline.since(*run_at) / 2);
                *run_at = self.crash_throttle.retry_at(*run_at, task.retry.max.min(left), cost);
            }
            Next::Release | Next::Wait { .. } => {}
            Next::Finish { error: Some(error), .. } if error.kind.is_crash() => {}
            _ if task.error.as_ref().is_some_and(made_suspect) => self.crash_throttle.clear(cost),
            _ => {}
        }
    }
}

impl Handler<Drain> for QueueActor {
    type Result = ();

    fn handle(&mut self, msg: Drain, ctx: &mut Self::Context) {
        self.closed = true;
        self.settling.drains.push(msg.reply);
        self.tune_prefetch(ctx);
        self.release_all_prefetched(ctx);
        self.flush_soon(ctx);
    }
}

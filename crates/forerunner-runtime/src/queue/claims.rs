//! Claims tasks: for free agents, and a few ahead of demand (prefetch).

use std::sync::Arc;

use actix::{AsyncContext, Context};
use forerunner_core::{QueueEvent, Task, TaskId};
use forerunner_store::{Claim, LEASE, LeaseLost, Settled, Settlement, StoreError};
use tokio::time::Instant;

use super::{
    QueueActor,
    actor::{STORE_BACKOFF, WIRING},
    messages::Assign,
};

/// Above this number of ends that are not stored yet, agents wait for the store before they take more.
const MAX_UNSETTLED: usize = 1_024;

impl QueueActor {
    /// Claims tasks for the open slots, and ahead of demand, as the machine requested.
    pub(super) fn claim(&mut self, asked: usize, ctx: &mut Context<Self>) {
        let now = self.deps.now();
        if self.links.is_none() || self.closed {
            // The wiring is not complete, or is closed: there is no pool to receive the tasks.
            return self.apply(QueueEvent::ClaimFailed { retry_at: now + WIRING }, ctx);
        }
        match self.facts.uses_lookahead {
            true => self.claim_selected(asked, ctx),
            false => self.claim_first(asked, ctx),
        }
    }

    /// Claims tasks from the head of the queue.
    pub(super) fn claim_first(&mut self, asked: usize, ctx: &mut Context<Self>) {
        self.reconciling.begin_claim();
        let terms = self.terms(asked);
        if let Some(store) = self.deps.node.store.local() {
            let answer = store.claim_now(&terms);
            self.on_claim_answered(asked, answer, ctx);
            return;
        }
        let begun = Instant::now();
        let call = self.deps.node.store.claim(terms);
        self.call(call, ctx, move |queue, answer, ctx| {
            let answer = answer.map(|tasks| tasks.into_iter().map(Arc::new).collect());
            if queue.on_claim_answered(asked, answer, ctx) > 0 {
                queue.tuner.claimed(begun.elapsed());
            }
        });
    }

    /// Returns the number of tasks that the claim got.
    fn on_claim_answered(
        &mut self,
        asked: usize,
        answer: Result<Vec<Arc<Task>>, StoreError>,
        ctx: &mut Context<Self>,
    ) -> usize {
        self.reconciling.end_claim();
        let got = match answer {
            Ok(tasks) => {
                self.store_health.note_success(&self.deps.name);
                let got = self.on_claimed(tasks, ctx);
                self.apply(QueueEvent::Claimed { asked, got }, ctx);
                self.release_unfit(ctx);
                self.check_depth(ctx);
                got
            }
            Err(error) => {
                self.on_not_claimed(&error, ctx);
                0
            }
        };
        self.answer_drains();
        got
    }

    /// The parameters of a claim that is made now.
    pub(super) fn terms(&self, limit: usize) -> Claim {
        let now = self.deps.now();
        let (pool, node) = (self.deps.name.clone(), self.deps.node.node);
        Claim { pool, node, limit, starts: self.machine.startable(), now, lease_until: now + LEASE }
    }

    pub(super) fn on_not_claimed(&mut self, error: &StoreError, ctx: &mut Context<Self>) {
        self.store_health.note_failure(&self.deps.name, "the store does not answer claims", 0, error);
        let retry_at = self.deps.now() + STORE_BACKOFF;
        self.apply(QueueEvent::ClaimFailed { retry_at }, ctx);
    }

    /// Dispatches claimed tasks to the pool's open slots and prefetches the rest. Returns the number of tasks. A closed
    /// queue releases all of them.
    pub(super) fn on_claimed(&mut self, mut tasks: Vec<Arc<Task>>, ctx: &mut Context<Self>) -> usize {
        if self.closed {
            if !tasks.is_empty() {
                self.release(tasks, ctx);
            }
            return 0;
        }
        let got = tasks.len();
        let beyond = tasks.split_off(self.machine.startable().min(got));
        self.dispatch(tasks);
        self.prefetched.add(beyond);
        // A probe that began may hang.
        if let Some(at) = self.dependency.wake_at() {
            self.wake_at(at, ctx);
        }
        got
    }

    /// Sends tasks to the pool. A prefetched task begins now.
    fn dispatch(&mut self, mut tasks: Vec<Arc<Task>>) {
        if tasks.is_empty() {
            return;
        }
        let count = tasks.len();
        self.admission.leave(count);
        let now = self.deps.now();
        let (mut late_starts, mut greatest_wait_s) = (0, 0.0_f64);
        for task in &mut tasks {
            if task.started_at.is_none() {
                Arc::make_mut(task).started_at = Some(now);
            }
            if let Some(ended_at) = task.context.as_ref().and_then(|context| self.turn_ends.last(context))
                && task.context_free_at.is_none_or(|known| known < ended_at)
            {
                Arc::make_mut(task).context_free_at = Some(ended_at);
            }
            if task.context.is_some() {
                self.metrics.context_wait.record(task.wait_context().unwrap_or_default().as_secs_f64());
            }
            let (wait_s, late) = self.stats.started(task);
            self.dependency.begin(task.id, self.stats.concurrency(), now);
            late_starts += u64::from(late);
            greatest_wait_s = greatest_wait_s.max(wait_s);
            self.metrics.wait.record(wait_s);
            self.deps.node.watch.notify_state(task, now);
            self.leased.insert(task.id, task.clone());
        }
        self.stats.started_together(greatest_wait_s);
        // The open slots do not include agents that have just ended a task, so the number of running tasks is counted
        // here.
        self.tuner.occupied(self.stats.concurrency() as usize);
        self.metrics.started.increment(count as u64);
        self.metrics.late.increment(late_starts);
        if let Some(links) = &self.links {
            links.assign.do_send(Assign { tasks, await_settles: self.settling.len() >= MAX_UNSETTLED });
        }
    }

    /// Dispatches prefetched tasks. A task whose deadline has passed is released to expire, and its slot goes to
    /// another task.
    pub(super) fn dispatch_prefetched(&mut self, count: usize, ctx: &mut Context<Self>) {
        let now = self.deps.now();
        let (late, tasks): (Vec<_>, Vec<_>) =
            self.prefetched.take(count).into_iter().partition(|task| task.is_past_deadline(now));
        self.dispatch(tasks);
        if !late.is_empty() {
            let slots = late.len();
            self.release(late, ctx);
            self.apply(QueueEvent::Due(now), ctx);
            self.apply(QueueEvent::Demand(slots), ctx);
        }
    }

    /// Sets the machine's prefetch limit, if the wanted one has changed by more than a quarter.
    pub(super) fn tune_prefetch(&mut self, ctx: &mut Context<Self>) {
        let wish =
            match self.closed || self.facts.uses_lookahead || self.dependency.allowance(self.deps.now()).is_some() {
                true => 0,
                false => self.tuner.limit(self.deps.now()),
            };
        if wish.abs_diff(self.prefetch_limit) * 4 > self.prefetch_limit {
            self.prefetch_limit = wish;
            self.apply(QueueEvent::SetPrefetch { limit: wish, nodes: self.nodes }, ctx);
        }
    }

    /// Releases what must not be prefetched. A task with a context goes to the agent where the context is resident. The
    /// start of a task that crashed before must be seen.
    fn release_unfit(&mut self, ctx: &mut Context<Self>) {
        let unfit = self.prefetched.take_if(|task| task.context.is_some() || task.crashes > 0);
        if !unfit.is_empty() {
            self.tuner.pause(self.deps.now());
            self.tune_prefetch(ctx);
            self.release_prefetched(unfit, ctx);
        }
    }

    /// Releases all prefetched tasks: no agent was free for them for a while.
    pub(super) fn release_idle(&mut self, ctx: &mut Context<Self>) {
        self.tuner.reset();
        self.prefetch_limit = 0;
        self.release_all_prefetched(ctx);
    }

    pub(super) fn release_all_prefetched(&mut self, ctx: &mut Context<Self>) {
        let tasks = self.prefetched.take_all();
        self.release_prefetched(tasks, ctx);
    }

    /// Releases a task if it is prefetched. Returns whether it was.
    pub(super) fn release_if_prefetched(&mut self, task: TaskId, ctx: &mut Context<Self>) -> bool {
        let found = self.prefetched.take_if(|prefetched| prefetched.id == task);
        let was_prefetched = !found.is_empty();
        self.release_prefetched(found, ctx);
        was_prefetched
    }

    fn release_prefetched(&mut self, tasks: Vec<Arc<Task>>, ctx: &mut Context<Self>) {
        if !tasks.is_empty() {
            self.apply(QueueEvent::PrefetchDropped(tasks.len()), ctx);
            self.release(tasks, ctx);
        }
    }

    /// Releases leased tasks that have not begun. A task that was cancelled meanwhile ends by this. The call is
    /// repeated while the store fails.
    fn release(&mut self, tasks: Vec<Arc<Task>>, ctx: &mut Context<Self>) {
        let now = self.deps.now();
        let release = |task: &Arc<Task>| Settlement::release(task.id, task.epoch, now);
        self.releasing += 1;
        let call = self.deps.node.store.settle(tasks.iter().map(release).collect());
        self.call(call, ctx, move |queue, answer, ctx| match answer {
            Ok(given) => {
                queue.releasing -= 1;
                queue.on_released(&tasks, given, ctx);
                queue.answer_drains();
            }
            Err(error) => {
                queue.store_health.note_failure(
                    &queue.deps.name,
                    "the store does not release tasks",
                    tasks.len(),
                    &error,
                );
                let again = error.is_retryable();
                ctx.run_later(STORE_BACKOFF, move |queue, ctx| {
                    queue.releasing -= 1;
                    if again {
                        queue.release(tasks, ctx);
                    }
                    queue.answer_drains();
                });
            }
        });
    }

    fn on_released(&mut self, tasks: &[Arc<Task>], given: Vec<Result<Settled, LeaseLost>>, ctx: &mut Context<Self>) {
        let mut claimable = 0;
        for (task, settled) in tasks.iter().zip(given) {
            let Ok(settled) = settled else { continue };
            claimable += settled.claimable;
            if settled.state.is_terminal() {
                self.admission.back_out(1, task.input.len() as u64);
                self.on_ended_waiting(task.id, settled.state, ctx);
            }
        }
        self.apply(QueueEvent::BecameClaimable(claimable), ctx);
    }
}

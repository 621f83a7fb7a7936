//! Claiming tasks: for agents that are free, and some ahead for those that are free next.

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

/// Most ends of a pool that may wait for the store before its agents wait with them.
const MAX_UNSETTLED: usize = 1_024;

impl QueueActor {
    /// Claims tasks for the open slots, and some to hold, as the machine asked.
    pub(super) fn claim(&mut self, asked: usize, ctx: &mut Context<Self>) {
        let now = self.deps.now();
        if self.links.is_none() || self.closed {
            // The wiring is not complete, or no more: nobody could be given what is claimed.
            return self.apply(QueueEvent::ClaimFailed { retry_at: now + WIRING }, ctx);
        }
        match self.facts.uses_lookahead {
            true => self.look(asked, ctx),
            false => self.claim_first(asked, ctx),
        }
    }

    /// Claims tasks from the head of the queue.
    pub(super) fn claim_first(&mut self, asked: usize, ctx: &mut Context<Self>) {
        self.reconciling.begin_claim();
        let begun = Instant::now();
        let call = self.deps.node.store.claim(self.terms(asked));
        self.call(call, ctx, move |queue, answer, ctx| {
            queue.reconciling.end_claim();
            match answer {
                Ok(tasks) => {
                    queue.outage.note_success(&queue.deps.name);
                    let got = queue.on_claimed(tasks, ctx);
                    if got > 0 {
                        queue.pace.claimed(begun.elapsed());
                    }
                    queue.apply(QueueEvent::Claimed { asked, got }, ctx);
                    queue.give_back_unfit(ctx);
                    queue.look_at_depth(ctx);
                }
                Err(error) => queue.on_not_claimed(&error, ctx),
            }
            queue.answer_drains();
        });
    }

    /// The terms of a claim made now.
    pub(super) fn terms(&self, limit: usize) -> Claim {
        let now = self.deps.now();
        let (pool, node) = (self.deps.name.clone(), self.deps.node.node);
        Claim { pool, node, limit, starts: self.machine.open_slots(), now, lease_until: now + LEASE }
    }

    pub(super) fn on_not_claimed(&mut self, error: &StoreError, ctx: &mut Context<Self>) {
        self.outage.note_failure(&self.deps.name, "work could not be claimed", 0, error);
        let retry_at = self.deps.now() + STORE_BACKOFF;
        self.apply(QueueEvent::ClaimFailed { retry_at }, ctx);
    }

    /// Passes claimed tasks on to the pool as long as there are slots, and holds the others; answers how many they are. What
    /// comes after the queue was closed goes back.
    pub(super) fn on_claimed(&mut self, mut tasks: Vec<Task>, ctx: &mut Context<Self>) -> usize {
        if self.closed {
            if !tasks.is_empty() {
                self.release(tasks, ctx);
            }
            return 0;
        }
        let got = tasks.len();
        let beyond = tasks.split_off(self.machine.open_slots().min(got));
        self.hand(tasks);
        self.held.add(beyond);
        got
    }

    /// Passes tasks on to the pool. One that was held begins now.
    fn hand(&mut self, tasks: Vec<Task>) {
        if tasks.is_empty() {
            return;
        }
        let count = tasks.len();
        self.admission.leave(count);
        let now = self.deps.now();
        let mut late_starts = 0;
        let mut assigned = Vec::with_capacity(count);
        for mut task in tasks {
            task.started_at = task.started_at.or(Some(now));
            let (wait_s, late) = self.tally.started(&task);
            late_starts += u64::from(late);
            self.metrics.wait.record(wait_s);
            self.deps.node.watch.notify_state(&task, now);
            let task = Arc::new(task);
            self.leased.insert(task.id, task.clone());
            assigned.push(task);
        }
        // Agents that have just ended a task are not among the open slots yet, so they are counted here.
        self.pace.occupied(self.tally.running() as usize);
        self.metrics.started.increment(count as u64);
        self.metrics.late.increment(late_starts);
        if let Some(links) = &self.links {
            links.assign.do_send(Assign { tasks: assigned, await_settles: self.settling.len() >= MAX_UNSETTLED });
        }
    }

    /// Hands out tasks that were held. One whose deadline has passed goes back to expire, and its slot to another.
    pub(super) fn hand_held(&mut self, count: usize, ctx: &mut Context<Self>) {
        let now = self.deps.now();
        let (late, tasks): (Vec<_>, Vec<_>) =
            self.held.take(count).into_iter().partition(|task| task.is_past_deadline(now));
        self.hand(tasks);
        if !late.is_empty() {
            let slots = late.len();
            self.release(late, ctx);
            self.apply(QueueEvent::Due(now), ctx);
            self.apply(QueueEvent::Demand(slots), ctx);
        }
    }

    /// Says how much is to be held from now on, if that has changed much.
    pub(super) fn plan_ahead(&mut self, ctx: &mut Context<Self>) {
        let wish = match self.closed || self.facts.uses_lookahead {
            true => 0,
            false => self.pace.ahead(self.deps.now()),
        };
        if wish.abs_diff(self.ahead) * 4 > self.ahead {
            self.ahead = wish;
            self.apply(QueueEvent::SetPrefetch { limit: wish, nodes: self.nodes }, ctx);
        }
    }

    /// Gives back what only an agent should have: a context is taken where it is warm, and what was in a crash must be seen to
    /// begin, if it does.
    fn give_back_unfit(&mut self, ctx: &mut Context<Self>) {
        let unfit = self.held.take_if(|task| task.context.is_some() || task.crashes > 0);
        if !unfit.is_empty() {
            self.pace.be_quiet(self.deps.now());
            self.plan_ahead(ctx);
            self.give_back_held(unfit, ctx);
        }
    }

    /// Gives back all that is held, since nobody took any of it for a while.
    pub(super) fn give_back_idle(&mut self, ctx: &mut Context<Self>) {
        self.pace.forget();
        self.ahead = 0;
        self.give_back_all_held(ctx);
    }

    pub(super) fn give_back_all_held(&mut self, ctx: &mut Context<Self>) {
        let tasks = self.held.take_all();
        self.give_back_held(tasks, ctx);
    }

    /// Gives back a task if it is held; answers whether it was.
    pub(super) fn give_back_if_held(&mut self, task: TaskId, ctx: &mut Context<Self>) -> bool {
        let found = self.held.take_if(|held| held.id == task);
        let was_held = !found.is_empty();
        self.give_back_held(found, ctx);
        was_held
    }

    fn give_back_held(&mut self, tasks: Vec<Task>, ctx: &mut Context<Self>) {
        if !tasks.is_empty() {
            self.apply(QueueEvent::PrefetchDropped(tasks.len()), ctx);
            self.release(tasks, ctx);
        }
    }

    /// Gives back tasks of which no attempt began. One that was cancelled meanwhile ends by it. A store that fails is asked again.
    fn release(&mut self, tasks: Vec<Task>, ctx: &mut Context<Self>) {
        let now = self.deps.now();
        let release = |task: &Task| Settlement::release(task.id, task.epoch, now);
        self.giving_back += 1;
        let call = self.deps.node.store.settle(tasks.iter().map(release).collect());
        self.call(call, ctx, move |queue, answer, ctx| match answer {
            Ok(given) => {
                queue.giving_back -= 1;
                queue.on_released(&tasks, given, ctx);
                queue.answer_drains();
            }
            Err(error) => {
                queue.outage.note_failure(&queue.deps.name, "tasks could not be given back", tasks.len(), &error);
                let again = error.is_retryable();
                ctx.run_later(STORE_BACKOFF, move |queue, ctx| {
                    queue.giving_back -= 1;
                    if again {
                        queue.release(tasks, ctx);
                    }
                    queue.answer_drains();
                });
            }
        });
    }

    fn on_released(&mut self, tasks: &[Task], given: Vec<Result<Settled, LeaseLost>>, ctx: &mut Context<Self>) {
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

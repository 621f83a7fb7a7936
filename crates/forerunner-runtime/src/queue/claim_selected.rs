//! Claims selected tasks: the queue peeks at the waiting tasks, the pool selects, the queue claims.

use std::{sync::Arc, time::Duration};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use forerunner_core::{QueueEvent, Selection, placement::LOOKAHEAD};
use forerunner_store::{Candidate, Peek};

use super::{
    QueueActor,
    actor::WIRING,
    messages::{Select, Selected},
};

/// Delay between a change and the peek at the contexts of waiting tasks. Tasks that wait for less need no prefetch.
pub(super) const PREFETCH_PAUSE: Duration = Duration::from_millis(50);
/// The same delay after a peek that found no stored contexts.
const PREFETCH_REST: Duration = Duration::from_secs(1);

impl QueueActor {
    /// Peeks at the first waiting tasks, a few more than `asked`, and claims those that the pool selects.
    pub(super) fn claim_selected(&mut self, asked: usize, ctx: &mut Context<Self>) {
        let call = self.deps.node.store.peek(self.first(asked.saturating_add(LOOKAHEAD)));
        self.call(call, ctx, move |queue, answer, ctx| match answer {
            Ok(tasks) if tasks.iter().all(|task| task.context.is_none()) => queue.claim_first(asked, ctx),
            Ok(tasks) => {
                // The pool claims some of them now and defers others for busy agents. All will need their contexts
                // soon.
                queue.prefetcher.prefetch(&tasks);
                queue.select(asked, tasks, ctx);
            }
            Err(error) => queue.on_not_claimed(&error, ctx),
        });
    }

    /// A peek at the first `limit` waiting tasks.
    fn first(&self, limit: usize) -> Peek {
        Peek { pool: self.deps.name.clone(), node: self.deps.node.node, limit, now: self.deps.now() }
    }

    /// Schedules the restore of the first waiting tasks' contexts while tasks wait and no agent is free.
    pub(super) fn prefetch_soon(&mut self, ctx: &mut Context<Self>) {
        if self.prefetch_due || !self.has_backlog() {
            return;
        }
        self.prefetch_due = true;
        ctx.run_later(self.prefetch_pause, |queue, ctx| {
            queue.prefetch_due = false;
            if queue.has_backlog() {
                queue.prefetch(ctx);
            }
        });
    }

    fn has_backlog(&self) -> bool {
        self.machine.depth() > 0 && self.machine.open_slots() == 0
    }

    fn prefetch(&mut self, ctx: &mut Context<Self>) {
        let call = self.deps.node.store.peek(self.first(LOOKAHEAD));
        self.call(call, ctx, |queue, answer, _| {
            // A failed store call is logged by the claim, which fails as well.
            let is_about_contexts = answer.is_ok_and(|tasks| queue.prefetcher.prefetch(&tasks));
            queue.prefetch_pause = if is_about_contexts { PREFETCH_PAUSE } else { PREFETCH_REST };
        });
    }

    fn select(&self, limit: usize, tasks: Vec<Candidate>, ctx: &mut Context<Self>) {
        let Some(links) = &self.links else { return };
        let answer = links.select.send(Select { tasks, limit });
        ctx.spawn(answer.into_actor(self).map(|answer, queue, ctx| {
            // A pool that does not answer has stopped: it selects nothing.
            let Selected(selection) = answer.unwrap_or_else(|_| Selected(Selection::default()));
            queue.claim_selection(selection, ctx);
        }));
    }

    fn claim_selection(&mut self, selection: Selection, ctx: &mut Context<Self>) {
        let Selection { take, again_at, .. } = selection;
        if take.is_empty() {
            let again_at = again_at.unwrap_or_else(|| self.deps.now() + WIRING);
            return self.apply(QueueEvent::ClaimDeferred { got: 0, again_at }, ctx);
        }
        let asked = take.len();
        self.reconciling.begin_claim();
        let call = self.deps.node.store.claim_ids(self.terms(asked), take);
        self.call(call, ctx, move |queue, answer, ctx| {
            queue.reconciling.end_claim();
            match answer {
                Ok(tasks) => {
                    let got = queue.on_claimed(tasks.into_iter().map(Arc::new).collect(), ctx);
                    let event = match again_at {
                        Some(again_at) => QueueEvent::ClaimDeferred { got, again_at },
                        None => QueueEvent::Claimed { asked, got },
                    };
                    queue.apply(event, ctx);
                    queue.check_depth(ctx);
                }
                Err(error) => queue.on_not_claimed(&error, ctx),
            }
            queue.answer_drains();
        });
    }
}

//! Claiming chosen tasks: the pool sees what waits first, and says which tasks to take.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use forerunner_core::{QueueEvent, Selection, placement::LOOKAHEAD};
use forerunner_store::{Candidate, Look};

use super::{
    QueueActor,
    actor::WIRING,
    messages::{Select, Selected},
};

impl QueueActor {
    /// Looks at the first tasks that wait, a few more than `asked`, and claims those that the pool would take.
    pub(super) fn look(&mut self, asked: usize, ctx: &mut Context<Self>) {
        let look = Look {
            pool: self.deps.name.clone(),
            node: self.deps.node.node,
            limit: asked.saturating_add(LOOKAHEAD),
            now: self.deps.now(),
        };
        let call = self.deps.node.store.look(look);
        self.call(call, ctx, move |queue, answer, ctx| match answer {
            Ok(tasks) if tasks.iter().all(|task| task.context.is_none()) => queue.claim_first(asked, ctx),
            Ok(tasks) => queue.ask_pool(asked, tasks, ctx),
            Err(error) => queue.on_not_claimed(&error, ctx),
        });
    }

    fn ask_pool(&self, limit: usize, tasks: Vec<Candidate>, ctx: &mut Context<Self>) {
        let Some(links) = &self.links else { return };
        let answer = links.select.send(Select { tasks, limit });
        ctx.spawn(answer.into_actor(self).map(|answer, queue, ctx| {
            // A pool that does not answer is gone, and takes nothing.
            let Selected(selection) = answer.unwrap_or_else(|_| Selected(Selection::default()));
            queue.take(selection, ctx);
        }));
    }

    fn take(&mut self, selection: Selection, ctx: &mut Context<Self>) {
        let Selection { take, again_at, .. } = selection;
        if take.is_empty() {
            let again_at = again_at.unwrap_or_else(|| self.deps.now() + WIRING);
            return self.apply(QueueEvent::Left { got: 0, again_at }, ctx);
        }
        let asked = take.len();
        self.reconciling.begin_claim();
        let call = self.deps.node.store.take(self.terms(asked), take);
        self.call(call, ctx, move |queue, answer, ctx| {
            queue.reconciling.end_claim();
            match answer {
                Ok(tasks) => {
                    let got = queue.on_claimed(tasks);
                    let event = match again_at {
                        Some(again_at) => QueueEvent::Left { got, again_at },
                        None => QueueEvent::Claimed { asked, got },
                    };
                    queue.apply(event, ctx);
                    queue.look_at_depth(ctx);
                }
                Err(error) => queue.on_not_claimed(&error, ctx),
            }
        });
    }
}

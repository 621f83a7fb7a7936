//! What happens elsewhere to what an instance has: tasks that wait for an answer while it has their question open, and
//! contexts of which it has files.

use std::{sync::Arc, time::Duration};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use forerunner_core::{AgentId, Task, TaskState};
use forerunner_store::ContextFilter;

use super::actor::AgentActor;

/// Interval of the checks whether such tasks come back.
const CHECK: Duration = Duration::from_secs(2);
/// Interval of the checks whether contexts were deleted, of which an instance has files.
const CONTEXT_CHECK: Duration = Duration::from_secs(60);

impl AgentActor {
    /// Checks in a while whether the tasks that the instance holds come back to it, if it holds some.
    ///
    /// A task may be cancelled, expire, or continue elsewhere, through any node. Nobody tells the instance.
    pub(super) fn check_held(&mut self, ctx: &mut Context<Self>) {
        let held = self.driver.as_ref().map(|driver| driver.waiting_tasks()).unwrap_or_default();
        if held.is_empty() || self.checks_held {
            return;
        }
        self.checks_held = true;
        let (store, agent) = (Arc::clone(&self.deps.pool.node.store), self.guard.agent);
        let check = async move {
            tokio::time::sleep(CHECK).await;
            let mut left = Vec::new();
            for id in held {
                // If the store does not answer, the next check asks again.
                if store.task(id).await.is_ok_and(|task| has_left(task.as_ref(), agent)) {
                    left.push(id);
                }
            }
            left
        };
        ctx.spawn(check.into_actor(self).map(|left, agent, ctx| {
            agent.checks_held = false;
            agent.released_tasks.extend(left);
            agent.tell_driver();
            agent.check_held(ctx);
            // The watch has the driver, if there is one. Its end begins the next check.
            agent.interrupt_watch();
        }));
    }

    /// Checks in a while whether contexts of which the instance has files were deleted through another node.
    pub(super) fn check_contexts(&mut self, ctx: &mut Context<Self>) {
        let contexts = self.driver.as_ref().map(|driver| driver.contexts_with_files()).unwrap_or_default();
        if contexts.is_empty() || self.checks_contexts {
            return;
        }
        self.checks_contexts = true;
        let (store, pool, begun) = (Arc::clone(&self.deps.pool.node.store), self.deps.pool.name.clone(), self.begun);
        let check = async move {
            tokio::time::sleep(CONTEXT_CHECK).await;
            let mut gone = Vec::new();
            for context in contexts {
                let filter = ContextFilter {
                    pool: pool.clone(),
                    tenant: None,
                    context: Some(context.clone()),
                    after: None,
                    limit: 1,
                };
                // If the store does not answer, the next check asks again.
                if store.contexts(filter).await.is_ok_and(|found| found.is_empty()) {
                    gone.push(context);
                }
            }
            gone
        };
        ctx.spawn(check.into_actor(self).map(move |gone, agent, ctx| {
            agent.checks_contexts = false;
            // An attempt since then may have made a context anew.
            if agent.begun == begun {
                agent.deleted_contexts.extend(gone);
            }
            agent.tell_driver();
            agent.check_contexts(ctx);
            agent.interrupt_watch();
        }));
    }
}

/// Whether a task that an agent holds does not come back to it. One that has its answer may still be on its way.
fn has_left(task: Option<&Task>, agent: AgentId) -> bool {
    task.is_none_or(|task| task.state.is_terminal() || (task.state == TaskState::Running && task.agent != Some(agent)))
}

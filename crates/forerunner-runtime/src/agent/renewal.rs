//! Replaces the instance of an agent between two tasks, so that nothing of one tenant reaches another.
//!
//! The agent keeps its id and its place in the pool. The new instance has a new process, a new directory and no context.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use forerunner_core::{Isolation, TenantName};

use super::{AgentError, Driver, StartRequest, actor::AgentActor, messages::AgentStarted};

impl AgentActor {
    /// Starts an instance. A panic of the factory is an error.
    pub(super) fn start_instance(&self) -> impl Future<Output = Result<Box<dyn Driver>, AgentError>> + use<> {
        let dictionary = self.deps.codecs.dictionary().cloned();
        let request = StartRequest { agent: self.guard.agent, pool: self.deps.pool.name.clone(), dictionary };
        let factory = self.factory.clone();
        // The call is inside the future, so that a panic of the factory itself is caught as well.
        let start = std::panic::AssertUnwindSafe(async move { factory.start(request).await });
        async move {
            let started = futures_util::FutureExt::catch_unwind(start).await;
            started.unwrap_or_else(|_| Err(AgentError::lost("the agent panicked while it started")))
        }
    }

    /// Whether the instance must not run the next task: that of a tenant, or any if there is none yet.
    pub(super) fn is_used_up(&self, next: Option<&TenantName>) -> bool {
        let (Some(_), Some(served)) = (&self.driver, &self.serves) else { return false };
        match self.deps.pool.settings.isolation {
            Isolation::Pool => false,
            Isolation::Agent => next.is_some_and(|next| next != served),
            Isolation::Task => true,
        }
    }

    /// Stops the instance and starts another one. Then the current task begins, or the agent is ready.
    pub(super) fn renew(&mut self, ctx: &mut Context<Self>) {
        let Some(driver) = self.driver.take() else { return };
        (self.serves, self.cached, self.restored) = (None, None, None);
        self.deleted_contexts.clear();
        self.released_tasks.clear();
        self.metrics.renewed.increment(1);
        let stopped = driver.stop(self.deps.pool.settings.task.cancel_grace);
        let start = self.start_instance();
        let renewed = async move {
            stopped.await;
            start.await
        };
        ctx.spawn(renewed.into_actor(self).map(|started, agent, ctx| agent.on_renewed(started, ctx)));
    }

    fn on_renewed(&mut self, started: Result<Box<dyn Driver>, AgentError>, ctx: &mut Context<Self>) {
        let driver = match started {
            Ok(driver) => driver,
            Err(error) => return self.on_not_renewed(&error, ctx),
        };
        self.guard.links.started.do_send(AgentStarted { agent: self.guard.agent, pid: driver.pid() });
        self.driver = Some(driver);
        match (&self.current, self.stopping) {
            (Some(_), _) => self.begin(ctx),
            (None, Some(grace)) => self.end(None, grace, ctx),
            (None, None) => self.be_ready(ctx),
        }
    }

    /// No attempt of the task began.
    fn on_not_renewed(&mut self, error: &AgentError, ctx: &mut Context<Self>) {
        if let Some(current) = self.current.take() {
            self.settle_unbegun(&current.task);
        }
        self.end(Some(error.message().to_owned()), std::time::Duration::ZERO, ctx);
    }
}

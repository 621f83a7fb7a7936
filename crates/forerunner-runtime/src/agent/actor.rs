//! One warm agent: starts its driver, runs one task after another, reports how each attempt ended.

use std::{rc::Rc, sync::Arc, time::Duration, vec};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use forerunner_core::{
    AgentId, ContextId, Outcome, Task, TaskId, TaskReport, TenantName,
    placement::{AgentContexts, ResidentEntry, Restored, Room},
};
use tokio::sync::Notify;

use super::{
    AgentContext, AgentDeps, AgentError, Driver, DriverFactory, ResidentContext, ResidentContexts,
    attempt::{ContextOutcome, Finished},
    cancel::{CancelHandle, CancelReason},
    messages::{AgentDown, AgentLinks, AgentReady, AgentStarted, Run, StopAgent, StopRun},
    quick::RunProgress,
};
use crate::{
    contexts::{CompactorDeps, Memory},
    metrics::PoolMetrics,
    pool::messages::ForgetContext,
    queue::messages::{Ran, Settle, SettleDone},
};

/// How long an agent that said goodbye may take to end.
const DEPARTURE_GRACE: Duration = Duration::from_secs(5);

/// Owns one warm instance and the context that is resident in it.
///
/// `Run` → attempt → `Settle` → `SettleDone` → `AgentReady`. An agent with a resident context takes the next task only
/// after the last one is settled, since the next task may build on it. An agent without one is ready once the queue has
/// the end of its task. So a durable store commits the ends of many tasks together. A client gets a result only when it
/// is durable, in both cases. However the actor ends, its guard reports that to the pool.
pub(crate) struct AgentActor {
    pub(super) guard: DownGuard,
    pub(super) factory: Arc<dyn DriverFactory>,
    pub(super) deps: Arc<AgentDeps>,
    pub(super) metrics: Arc<PoolMetrics>,
    pub(super) driver: Option<Box<dyn Driver>>,
    /// The tenant whose tasks the instance ran; `None` for an instance that ran none.
    pub(super) serves: Option<TenantName>,
    pub(super) cached: Option<Box<Memory>>,
    /// The cost of restoring the last task's context, until the pool has it.
    pub(super) restored: Option<Restored>,
    /// Whether the pool's newest report lists resident contexts.
    reported_contexts: bool,
    /// Contexts that were deleted while the actor did not have the driver.
    pub(super) deleted_contexts: Vec<ContextId>,
    /// Tasks that the instance holds a question of, and that do not come back to it.
    pub(super) released_tasks: Vec<TaskId>,
    /// Whether a check of the held tasks is under way, and of contexts with files.
    pub(super) checks_held: bool,
    pub(super) checks_contexts: bool,
    /// Attempts that began: what was found out before the last one is old.
    pub(super) begun: u64,
    /// The cancel handle of a finished attempt, for reuse by the next one.
    pub(super) spare_cancel: Option<CancelHandle>,
    /// The context of a finished attempt without a context, for reuse by the next one.
    pub(super) spare_context: Option<Box<AgentContext>>,
    /// Whether outputs may be values of this process: the store keeps them in memory.
    pub(super) returns_values: bool,
    pub(super) run: RunProgress,
    /// Whether the agent becomes ready only after an end is settled, for any task of the run.
    pub(super) await_settles: bool,
    pub(super) current: Option<Current>,
    /// Ends the watch over an idle instance, which then returns the driver.
    watch: Option<Rc<Notify>>,
    pub(super) stopping: Option<Duration>,
}

/// The current task.
pub(super) struct Current {
    pub(super) task: Arc<Task>,
    pub(super) cancel: CancelHandle,
    /// Whether the agent becomes ready only after the end is settled, for any task.
    pub(super) await_settle: bool,
    /// Applied once the end is settled: the outcome for the context, and why the instance is broken, if it is.
    pub(super) after: Option<(Option<Box<ContextOutcome>>, Option<String>)>,
}

/// Reports to the pool when its actor is dropped, also after a panic.
pub(super) struct DownGuard {
    pub(super) agent: AgentId,
    pub(super) links: AgentLinks,
    /// Tasks of the run that have not begun.
    rest: vec::IntoIter<Arc<Task>>,
    /// Why the actor ended; `None` if it was stopped on request.
    reason: Option<String>,
}

impl DownGuard {
    pub(super) fn next_task(&mut self) -> Option<Arc<Task>> {
        self.rest.next()
    }

    /// Returns the tasks that have not begun to the queue.
    pub(super) fn release_rest(&mut self) {
        for task in self.rest.by_ref() {
            self.links.settle.send(Settle::without_run(task.id, task.epoch, Outcome::Released));
        }
    }

    /// Returns a task to the queue, if it has not begun.
    fn release(&mut self, task: TaskId) {
        let (released, rest): (Vec<_>, Vec<_>) = self.rest.by_ref().partition(|waiting| waiting.id == task);
        self.rest = released.into_iter();
        self.release_rest();
        self.rest = rest.into_iter();
    }
}

impl Drop for DownGuard {
    fn drop(&mut self) {
        self.release_rest();
        let reason = self.reason.take();
        self.links.down.do_send(AgentDown { agent: self.agent, reason });
    }
}

impl AgentActor {
    pub(crate) fn new(
        agent: AgentId,
        links: AgentLinks,
        factory: Arc<dyn DriverFactory>,
        deps: Arc<AgentDeps>,
        metrics: Arc<PoolMetrics>,
    ) -> Self {
        let reason = Some("its actor panicked".to_owned());
        Self {
            guard: DownGuard { agent, links, rest: Vec::new().into_iter(), reason },
            factory,
            returns_values: deps.pool.node.store.local().is_some(),
            deps,
            metrics,
            driver: None,
            serves: None,
            cached: None,
            restored: None,
            reported_contexts: false,
            deleted_contexts: Vec::new(),
            released_tasks: Vec::new(),
            checks_held: false,
            checks_contexts: false,
            begun: 0,
            spare_cancel: None,
            spare_context: None,
            run: RunProgress::new(),
            await_settles: false,
            current: None,
            watch: None,
            stopping: None,
        }
    }

    fn on_started(&mut self, started: Result<Box<dyn Driver>, AgentError>, ctx: &mut Context<Self>) {
        match started {
            Ok(driver) => {
                let pid = driver.pid();
                self.driver = Some(driver);
                if let Some(grace) = self.stopping {
                    return self.end(None, grace, ctx);
                }
                self.guard.links.started.do_send(AgentStarted { agent: self.guard.agent, pid });
                self.watch_idle(ctx);
            }
            Err(error) => self.end(Some(error.message().to_owned()), Duration::ZERO, ctx),
        }
    }

    /// Watches an idle instance that may end unexpectedly. The watch owns the driver until a task arrives.
    pub(super) fn watch_idle(&mut self, ctx: &mut Context<Self>) {
        self.tell_driver();
        self.check_held(ctx);
        self.check_contexts(ctx);
        if !self.driver.as_ref().is_some_and(|driver| driver.can_die()) {
            return;
        }
        let Some(mut driver) = self.driver.take() else { return };
        let wanted = Rc::new(Notify::new());
        self.watch = Some(wanted.clone());
        let watch = async move {
            let death = tokio::select! {
                biased;
                () = wanted.notified() => None,
                error = driver.died() => Some(error),
            };
            (driver, death)
        };
        ctx.spawn(watch.into_actor(self).map(|(driver, death), agent, ctx| {
            agent.watch = None;
            agent.driver = Some(driver);
            agent.on_watch_ended(death, ctx);
        }));
    }

    fn on_watch_ended(&mut self, death: Option<AgentError>, ctx: &mut Context<Self>) {
        if let Some(error) = death {
            let (reason, departed) = (error.message().to_owned(), error.is_departure());
            if let Some(current) = self.current.take() {
                // The task arrived as the instance ended: its attempt never began.
                self.settle_unbegun(&current.task);
            }
            if departed {
                return self.end(None, DEPARTURE_GRACE, ctx);
            }
            return self.end(Some(reason), Duration::ZERO, ctx);
        }
        if let Some(grace) = self.stopping {
            return self.end(None, grace, ctx);
        }
        self.begin(ctx);
    }

    /// Passes to the driver what happened while the actor did not have it.
    pub(super) fn tell_driver(&mut self) {
        let Some(driver) = &mut self.driver else { return };
        if !self.deleted_contexts.is_empty() {
            self.deleted_contexts.drain(..).for_each(|context| driver.forget(&context));
        }
        if !self.released_tasks.is_empty() {
            // A question that the instance closed meanwhile needs no release.
            let waiting = driver.waiting_tasks();
            self.released_tasks.drain(..).filter(|task| waiting.contains(task)).for_each(|task| driver.release(task));
        }
    }

    /// Ends the watch over an idle instance, so that the actor has the driver for a moment.
    pub(super) fn interrupt_watch(&self) {
        if let Some(watch) = &self.watch {
            watch.notify_one();
        }
    }

    /// Reports the end of an attempt. Returns whether the next task of the run is to begin.
    pub(super) fn on_finished(&mut self, finished: Finished, ctx: &mut Context<Self>) -> bool {
        self.driver = Some(finished.driver);
        let Some(current) = &mut self.current else { return false };
        if finished.can_reuse_cancel {
            self.spare_cancel = Some(current.cancel.clone());
        }
        let needs_settle = finished.context.is_some() || finished.broken.is_some() || self.stopping.is_some();
        if !needs_settle && !current.await_settle {
            return self.settle_and_continue(finished.outcome, finished.report, finished.service_s, ctx);
        }
        self.guard.release_rest();
        let mut context = finished.context;
        let context_bytes = context.as_ref().map_or(0, |context| context.cached.snapshot.size_bytes() as u64);
        let ran = Ran { agent: self.guard.agent, service_s: finished.service_s, context_bytes };
        let settle = Settle {
            context: context.as_mut().and_then(|context| context.commit.take()).map(Box::new),
            context_cost: context.as_ref().map(|context| Box::new(context.cost)),
            report: finished.report,
            reply: Some(ctx.address().recipient()),
            ..Settle::ran(&current.task, finished.outcome, ran)
        };
        if let Some(cost) = &settle.context_cost {
            self.metrics.contexts.ended(cost);
        }
        current.after = Some((context, finished.broken));
        self.guard.links.settle.send(settle);
        false
    }

    /// Sends the end of a task without a context to the queue. The agent then begins the next task of its run, or is ready
    /// for the next run.
    fn settle_and_continue(
        &mut self,
        outcome: Outcome,
        report: Option<Box<TaskReport>>,
        service_s: f64,
        ctx: &mut Context<Self>,
    ) -> bool {
        let Some(Current { task, .. }) = self.current.take() else { return false };
        let ran = Ran { agent: self.guard.agent, service_s, context_bytes: 0 };
        self.guard.links.settle.send(Settle { report, ..Settle::ran(&task, outcome, ran) });
        let goes_on = self.take_next();
        if !goes_on {
            self.be_ready(ctx);
        }
        goes_on
    }

    /// Reports to the pool that the agent can take another task.
    pub(super) fn be_ready(&mut self, ctx: &mut Context<Self>) {
        if self.is_used_up(None) {
            return self.renew(ctx);
        }
        let is_about_contexts = self.restored.is_some() || self.reported_contexts;
        let memory = if is_about_contexts { Some(Box::new(self.resident_contexts())) } else { None };
        self.guard.links.ready.send(AgentReady { agent: self.guard.agent, memory, run: self.run.summary() });
        self.watch_idle(ctx);
    }

    /// Lists the resident contexts for the pool: those in the instance's own memory, or else the one that this actor
    /// has.
    fn resident_contexts(&mut self) -> AgentContexts {
        let used_at = self.deps.pool.now();
        let resident = self.driver.as_ref().and_then(|driver| driver.resident_contexts());
        let mut restored = self.restored.take();
        let cached = self.cached.as_ref();
        let (contexts, room) = match resident {
            Some(ResidentContexts { contexts, room }) => {
                let known = |resident: ResidentContext| {
                    // The instance does not know yet under which version its last change is stored.
                    let newest =
                        cached.filter(|cached| cached.context == resident.context).map(|cached| cached.version);
                    let version = newest.unwrap_or(resident.version);
                    ResidentEntry { context: resident.context, version, bytes: resident.bytes, used_at }
                };
                (contexts.into_iter().map(known).collect::<Vec<_>>(), room)
            }
            None => {
                // The node caches the context for all its agents, so no other agent would have been cheaper.
                restored = restored.map(|_| Restored::default());
                let bytes = cached.map_or(0, |cached| cached.snapshot.size_bytes() as u64);
                let cached = cached.map(|cached| (cached.context.clone(), cached.version));
                let cached = cached.map(|(context, version)| ResidentEntry { context, version, bytes, used_at });
                (cached.into_iter().collect(), Room::of_bytes(bytes))
            }
        };
        self.reported_contexts = !contexts.is_empty();
        AgentContexts { contexts, room, restored }
    }

    /// Caches the context as stored. After a lost lease it is dropped, since another node may have changed the context.
    fn adopt_context(&self, context: ContextOutcome, is_stored: bool) -> Option<Box<Memory>> {
        let (pool, node) = (&self.deps.pool.name, &self.deps.pool.node);
        if !is_stored {
            node.contexts.evict(pool, &context.cached.context);
            return None;
        }
        if let Some(compaction) = context.compaction {
            compaction.spawn(CompactorDeps {
                store: Arc::clone(&node.store),
                pool: pool.clone(),
                codecs: Arc::clone(&self.deps.codecs),
                metrics: self.metrics.contexts.clone(),
                permits: Arc::clone(&node.compactions),
            });
        }
        Some(Box::new(node.contexts.insert(pool, context.cached)))
    }

    pub(super) fn settle_unbegun(&self, task: &Task) {
        self.guard.links.settle.send(Settle::without_run(task.id, task.epoch, Outcome::Released));
    }

    /// Stops the instance and ends the actor. `reason` is `None` if the agent was stopped on request.
    pub(super) fn end(&mut self, reason: Option<String>, grace: Duration, ctx: &mut Context<Self>) {
        if let Some(reason) = &reason {
            tracing::warn!(pool = %self.deps.pool.name, agent = %self.guard.agent, reason, "an agent ended unexpectedly");
        }
        self.guard.reason = reason;
        // The stop may take its grace.
        self.guard.release_rest();
        match self.driver.take() {
            None => ctx.stop(),
            Some(driver) => {
                let stopped = driver.stop(grace).into_actor(self).map(|(), _, ctx| ctx.stop());
                ctx.spawn(stopped);
            }
        }
    }
}

impl Actor for AgentActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(self.start_instance().into_actor(self).map(|started, agent, ctx| agent.on_started(started, ctx)));
    }
}

impl Handler<Run> for AgentActor {
    type Result = ();

    fn handle(&mut self, Run { task, further, await_settle }: Run, ctx: &mut Self::Context) {
        (self.guard.rest, self.await_settles, self.run) = (further.into_iter(), await_settle, RunProgress::new());
        self.set_current(task);
        match &self.watch {
            Some(watch) => watch.notify_one(),
            None => self.begin(ctx),
        }
    }
}

impl Handler<StopRun> for AgentActor {
    type Result = ();

    fn handle(&mut self, StopRun { task, reason }: StopRun, _: &mut Self::Context) {
        if let Some(current) = self.current.as_ref().filter(|current| current.task.id == task) {
            return current.cancel.cancel(reason);
        }
        self.guard.release(task);
    }
}

impl Handler<ForgetContext> for AgentActor {
    type Result = ();

    fn handle(&mut self, ForgetContext(context): ForgetContext, _: &mut Self::Context) {
        self.cached.take_if(|cached| cached.context == context);
        match &mut self.driver {
            Some(driver) => driver.forget(&context),
            // The watch or an attempt has the driver.
            None => {
                self.deleted_contexts.push(context);
                self.interrupt_watch();
            }
        }
    }
}

impl Handler<StopAgent> for AgentActor {
    type Result = ();

    fn handle(&mut self, msg: StopAgent, ctx: &mut Self::Context) {
        self.stopping = Some(msg.grace);
        match (&self.current, &self.watch) {
            (Some(current), _) => current.cancel.cancel(CancelReason::AgentStops),
            (None, Some(watch)) => watch.notify_one(),
            (None, None) if self.driver.is_some() => self.end(None, msg.grace, ctx),
            // The agent is still starting. Dropping the start ends it, and the guard reports to the pool.
            (None, None) => {
                self.guard.reason = None;
                ctx.stop();
            }
        }
    }
}

impl Handler<SettleDone> for AgentActor {
    type Result = ();

    fn handle(&mut self, msg: SettleDone, ctx: &mut Self::Context) {
        let Some(current) = self.current.take_if(|current| is_settled(current, msg.task)) else { return };
        let (context, broken) = current.after.unwrap_or_default();
        self.restored = context.as_ref().map(|context| context.restored);
        self.cached = context.and_then(|context| self.adopt_context(*context, msg.result.is_ok()));
        if let Some(reason) = broken {
            return self.end(Some(reason), Duration::ZERO, ctx);
        }
        if let Some(grace) = self.stopping {
            return self.end(None, grace, ctx);
        }
        self.run.end();
        self.be_ready(ctx);
    }
}

fn is_settled(current: &Current, task: TaskId) -> bool {
    current.task.id == task && current.after.is_some()
}

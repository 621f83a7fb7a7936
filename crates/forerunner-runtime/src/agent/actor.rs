//! One warm agent: starts its driver, runs one task at a time, reports how each ended.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use forerunner_core::{AgentId, Outcome, Task, TaskId};
use futures_util::task::noop_waker_ref;
use tokio::sync::Notify;

use super::{
    AgentError, Driver, DriverFactory, Seat,
    attempt::{Attempt, Finished, Rein, StopWhy},
    memory::Memory,
    messages::{AgentDown, AgentLinks, AgentReady, AgentStarted, Run, StopAgent, StopRun},
};
use crate::{
    deps::PoolDeps,
    metrics::PoolMetrics,
    queue::messages::{Ran, Settle, SettleDone},
};

/// Most ends of a pool that may wait for the store before its agents wait with them.
const MAX_UNSETTLED: usize = 1_024;

/// Owns one warm instance and the context it holds.
///
/// `Run` → attempt → `Settle` → `SettleDone` → `AgentReady`: an agent that holds a context takes the next task only
/// after the last one was settled, since the next may build on it. One that holds none is ready once the queue has the
/// end of its task, so that a durable store makes the ends of many tasks durable at once; whoever waits for the result
/// hears of it when it is durable, as ever. However the actor ends, its guard tells the pool.
pub(crate) struct AgentActor {
    guard: DownGuard,
    factory: Arc<dyn DriverFactory>,
    deps: Arc<PoolDeps>,
    metrics: Arc<PoolMetrics>,
    driver: Option<Box<dyn Driver>>,
    held: Option<Box<Memory>>,
    /// The line of an attempt that is over, for the next one.
    spare_rein: Option<Rein>,
    current: Option<Current>,
    /// Wakes the watch over an idle instance, which then gives the driver back.
    watch: Option<Rc<Notify>>,
    stopping: Option<Duration>,
}

/// The task at hand.
struct Current {
    task: Arc<Task>,
    rein: Rein,
    /// What is held, and whether the instance is broken, once the end is settled.
    after: Option<(Option<Box<Memory>>, Option<String>)>,
}

/// Tells the pool when its actor is gone, also after a panic.
struct DownGuard {
    agent: AgentId,
    links: AgentLinks,
    /// Why the actor ended; `None` if it was asked to.
    reason: Option<String>,
}

impl Drop for DownGuard {
    fn drop(&mut self) {
        let reason = self.reason.take();
        self.links.down.do_send(AgentDown { agent: self.agent, reason });
    }
}

impl AgentActor {
    pub(crate) fn new(
        agent: AgentId,
        links: AgentLinks,
        factory: Arc<dyn DriverFactory>,
        deps: Arc<PoolDeps>,
        metrics: Arc<PoolMetrics>,
    ) -> Self {
        let reason = Some("its actor panicked".to_owned());
        Self {
            guard: DownGuard { agent, links, reason },
            factory,
            deps,
            metrics,
            driver: None,
            held: None,
            spare_rein: None,
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

    /// Watches an idle instance that can die by itself. The watch holds the driver; a task takes it back.
    fn watch_idle(&mut self, ctx: &mut Context<Self>) {
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
            let reason = error.message().to_owned();
            if let Some(current) = self.current.take() {
                // The task came as the instance died: it was never begun.
                self.settle_unbegun(&current.task);
            }
            return self.end(Some(reason), Duration::ZERO, ctx);
        }
        if let Some(grace) = self.stopping {
            return self.end(None, grace, ctx);
        }
        self.begin(ctx);
    }

    /// Begins the task at hand, if the driver is at hand too.
    fn begin(&mut self, ctx: &mut Context<Self>) {
        let Some(current) = &self.current else { return };
        let Some(driver) = self.driver.take() else { return };
        let attempt = Attempt {
            task: current.task.clone(),
            driver,
            held: self.held.take(),
            rein: current.rein.clone(),
            deps: self.deps.clone(),
            metrics: self.metrics.clone(),
        };
        // An attempt that does not wait for anything is over at the first poll, and needs no future of the actor's.
        let mut attempt = Box::pin(attempt.run());
        match attempt.as_mut().poll(&mut std::task::Context::from_waker(noop_waker_ref())) {
            Poll::Ready(finished) => self.on_finished(finished, ctx),
            Poll::Pending => {
                ctx.spawn(attempt.into_actor(self).map(|finished, agent, ctx| agent.on_finished(finished, ctx)));
            }
        }
    }

    fn on_finished(&mut self, finished: Finished, ctx: &mut Context<Self>) {
        self.driver = Some(finished.driver);
        let Some(current) = &mut self.current else { return };
        if finished.rein_is_free {
            self.spare_rein = Some(current.rein.clone());
        }
        let context_bytes = finished.held.as_ref().map_or(0, |held| held.snapshot.size_bytes() as u64);
        let builds_on_it = finished.held.is_some() || finished.broken.is_some() || self.stopping.is_some();
        let backlog = self.deps.unsettled.load(Ordering::Relaxed);
        if !builds_on_it && finished.commit.is_none() && backlog < MAX_UNSETTLED {
            return self.settle_and_go_on(finished.outcome, finished.service_s, ctx);
        }
        current.after = Some((finished.held, finished.broken));
        let settle = Settle {
            task: current.task.id,
            epoch: current.task.epoch,
            outcome: finished.outcome,
            context: finished.commit.map(|commit| *commit),
            ran: Some(Ran { agent: self.guard.agent, service_s: finished.service_s, context_bytes }),
            reply: Some(ctx.address().recipient()),
        };
        self.guard.links.settle.send(settle);
    }

    /// Hands the end of a task without a context to the queue, and is ready for the next.
    fn settle_and_go_on(&mut self, outcome: Outcome, service_s: f64, ctx: &mut Context<Self>) {
        let Some(Current { task, .. }) = self.current.take() else { return };
        self.guard.links.settle.send(Settle {
            task: task.id,
            epoch: task.epoch,
            outcome,
            context: None,
            ran: Some(Ran { agent: self.guard.agent, service_s, context_bytes: 0 }),
            reply: None,
        });
        self.be_ready(ctx);
    }

    /// Tells the pool that another task can come.
    fn be_ready(&mut self, ctx: &mut Context<Self>) {
        let context = self.held.as_ref().map(|held| held.context.clone());
        let context_bytes = self.held.as_ref().map_or(0, |held| held.snapshot.size_bytes() as u64);
        self.guard.links.ready.send(AgentReady { agent: self.guard.agent, context, context_bytes });
        self.watch_idle(ctx);
    }

    fn settle_unbegun(&self, task: &Task) {
        self.guard.links.settle.send(Settle {
            task: task.id,
            epoch: task.epoch,
            outcome: Outcome::Released,
            context: None,
            ran: None,
            reply: None,
        });
    }

    /// Ends the actor: stops the instance, then is gone. `reason` says why, unless it was asked to.
    fn end(&mut self, reason: Option<String>, grace: Duration, ctx: &mut Context<Self>) {
        if let Some(reason) = &reason {
            tracing::warn!(pool = %self.deps.name, agent = %self.guard.agent, reason, "an agent is gone");
        }
        self.guard.reason = reason;
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
        let seat = Seat { agent: self.guard.agent, pool: self.deps.name.clone() };
        let factory = self.factory.clone();
        // Boxed inside the future, so that a factory that panics is caught as well.
        let start = async move {
            let start = std::panic::AssertUnwindSafe(async { factory.start(seat).await });
            futures_util::FutureExt::catch_unwind(start).await
        };
        ctx.spawn(start.into_actor(self).map(|started, agent, ctx| {
            let started = started.unwrap_or_else(|_| Err(AgentError::lost("the agent panicked while it started")));
            agent.on_started(started, ctx);
        }));
    }
}

impl Handler<Run> for AgentActor {
    type Result = ();

    fn handle(&mut self, Run(task): Run, ctx: &mut Self::Context) {
        let rein = self.spare_rein.take().filter(Rein::is_slack).unwrap_or_else(Rein::new);
        self.current = Some(Current { task, rein, after: None });
        match &self.watch {
            Some(watch) => watch.notify_one(),
            None => self.begin(ctx),
        }
    }
}

impl Handler<StopRun> for AgentActor {
    type Result = ();

    fn handle(&mut self, StopRun { task, why }: StopRun, _: &mut Self::Context) {
        if let Some(current) = self.current.as_ref().filter(|current| current.task.id == task) {
            current.rein.pull(why);
        }
    }
}

impl Handler<StopAgent> for AgentActor {
    type Result = ();

    fn handle(&mut self, msg: StopAgent, ctx: &mut Self::Context) {
        self.stopping = Some(msg.grace);
        match (&self.current, &self.watch) {
            (Some(current), _) => current.rein.pull(StopWhy::AgentStops),
            (None, Some(watch)) => watch.notify_one(),
            (None, None) if self.driver.is_some() => self.end(None, msg.grace, ctx),
            // It still starts: dropping the start stops it, and the guard tells the pool.
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
        let (held, broken) = current.after.unwrap_or_default();
        // A lost lease means that somebody else may have moved the context on.
        self.held = held.filter(|_| msg.result.is_ok());
        if let Some(reason) = broken {
            return self.end(Some(reason), Duration::ZERO, ctx);
        }
        if let Some(grace) = self.stopping {
            return self.end(None, grace, ctx);
        }
        self.be_ready(ctx);
    }
}

fn is_settled(current: &Current, task: TaskId) -> bool {
    current.task.id == task && current.after.is_some()
}

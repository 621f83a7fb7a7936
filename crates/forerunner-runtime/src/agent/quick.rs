//! Runs: the tasks that an agent got in one message, one after another.
//!
//! An attempt that ends at its first poll costs no future that is spawned, and, if the driver has a slot, no allocation.
//! As soon as one waits for anything, or the run took its time, the tasks that have not begun return to the queue: an
//! agent that is slow keeps no task from another.

use std::{panic::AssertUnwindSafe, sync::Arc, task::Poll, time::Duration};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use forerunner_core::{Payload, RunPace, RunSummary, Task};
use futures_util::task::noop_waker_ref;
use tokio::time::Instant;

use super::{
    AgentContext, AgentError, Driver,
    actor::{AgentActor, Current},
    attempt::{Attempt, Finished, warn_if_stalled},
    ending::{Ending, panicked},
    sink::AttemptSink,
};

/// How long a run may take before the rest of its tasks returns to the queue.
const RUN_LIMIT: Duration = Duration::from_micros(500);

/// How far a run is.
pub(super) struct RunProgress {
    begun: Instant,
    /// When the newest attempt ended, and so when the next one begins.
    now: Instant,
    tasks: u32,
    pace: RunPace,
}

impl RunProgress {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { begun: now, now, tasks: 0, pace: RunPace::Quick }
    }

    /// Notes the end of a task. Returns whether another may begin.
    fn next(&mut self) -> bool {
        self.tasks += 1;
        if self.pace == RunPace::Quick && self.now.duration_since(self.begun) >= RUN_LIMIT {
            self.pace = RunPace::Long;
        }
        self.pace == RunPace::Quick
    }

    /// Notes the end of a task that was waited for.
    pub(super) const fn end(&mut self) {
        self.tasks += 1;
        self.pace = RunPace::Waited;
    }

    /// Notes that a task waits for something.
    const fn note_wait(&mut self) {
        self.pace = RunPace::Waited;
    }

    pub(super) const fn summary(&self) -> RunSummary {
        RunSummary { tasks: self.tasks, pace: self.pace }
    }
}

impl AgentActor {
    /// Begins the current task, if the actor has the driver, and then those that follow it.
    pub(super) fn begin(&mut self, ctx: &mut Context<Self>) {
        self.run.now = Instant::now();
        loop {
            let Some(current) = &self.current else { return self.watch_idle(ctx) };
            if self.is_used_up(Some(&current.task.tenant)) {
                return self.renew(ctx);
            }
            if self.driver.is_none() {
                return;
            }
            let Some(finished) = self.poll_once(ctx) else {
                self.run.note_wait();
                return self.guard.release_rest();
            };
            if !self.on_finished(finished, ctx) {
                return;
            }
        }
    }

    /// Begins the attempt of the current task. Returns its end, if it ends at its first poll.
    fn poll_once(&mut self, ctx: &mut Context<Self>) -> Option<Finished> {
        self.tell_driver();
        let current = self.current.as_ref()?;
        let mut driver = self.driver.take()?;
        if self.serves.is_none() {
            self.serves = Some(current.task.tenant.clone());
        }
        if current.task.context.is_none() && driver.slot().is_some() {
            self.driver = Some(driver);
            return self.poll_in_slot(ctx);
        }
        let attempt = Attempt {
            task: current.task.clone(),
            driver,
            cached: self.cached.take(),
            cancel: current.cancel.clone(),
            deps: self.deps.clone(),
            metrics: self.metrics.clone(),
        };
        let mut attempt = Box::pin(attempt.run(self.run.now));
        match attempt.as_mut().poll(&mut std::task::Context::from_waker(noop_waker_ref())) {
            Poll::Ready(finished) => {
                self.run.now = Instant::now();
                Some(finished)
            }
            Poll::Pending => {
                self.spawn_attempt(attempt, ctx);
                None
            }
        }
    }

    fn spawn_attempt(&self, attempt: impl Future<Output = Finished> + 'static, ctx: &mut Context<Self>) {
        ctx.spawn(attempt.into_actor(self).map(|finished, agent, ctx| {
            agent.run.now = Instant::now();
            if agent.on_finished(finished, ctx) {
                agent.begin(ctx);
            }
        }));
    }

    /// As [`Self::poll_once`], in the slot of the driver.
    fn poll_in_slot(&mut self, ctx: &mut Context<Self>) -> Option<Finished> {
        let current = self.current.as_ref()?;
        let mut driver = self.driver.take()?;
        let cx = match self.spare_context.take() {
            Some(mut cx) => {
                cx.reuse(&current.task, current.cancel.token());
                cx
            }
            None => Box::new(self.new_context(current)),
        };
        let slot = driver.slot()?;
        slot.begin(current.task.input.clone(), cx, self.returns_values);
        let mut waker = std::task::Context::from_waker(noop_waker_ref());
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| slot.poll(&mut waker)));
        let begun = std::mem::replace(&mut self.run.now, Instant::now());
        let blocked = self.run.now.duration_since(begun);
        warn_if_stalled(blocked, current.task.id, &self.metrics);
        let (answer, cx) = match polled {
            Ok(Poll::Ready((answer, cx))) => (answer, Some(cx)),
            Err(panic) => (Err(panicked(&*panic)), None),
            Ok(Poll::Pending) => {
                let attempt = Attempt {
                    task: current.task.clone(),
                    driver,
                    cached: None,
                    cancel: current.cancel.clone(),
                    deps: self.deps.clone(),
                    metrics: self.metrics.clone(),
                };
                self.spawn_attempt(attempt.go_on(begun), ctx);
                return None;
            }
        };
        let service_s = blocked.as_secs_f64();
        self.end_in_slot(driver, answer, cx, service_s)
    }

    /// Returns the end of an attempt that ended at its first poll.
    fn end_in_slot(
        &mut self,
        driver: Box<dyn Driver>,
        answer: Result<Payload, AgentError>,
        mut cx: Option<Box<AgentContext>>,
        service_s: f64,
    ) -> Option<Finished> {
        let Current { task, cancel, .. } = self.current.as_ref()?;
        let ending = Ending { task, deps: &self.deps, cancel };
        let answer = ending.valid(answer);
        let report = ending.report(cx.as_deref_mut());
        let question = cx.as_mut().and_then(|cx| cx.take_question());
        let (outcome, broken) = ending.outcome(answer, question, None);
        self.spare_context = cx.filter(|cx| !cx.is_cancellation_lent());
        let can_reuse_cancel = self.spare_context.is_some();
        Some(Finished { driver, outcome, broken, context: None, report, can_reuse_cancel, service_s })
    }

    fn new_context(&self, current: &Current) -> AgentContext {
        let sink = AttemptSink::of(&current.task, self.deps.clone());
        AgentContext::watched(
            &current.task,
            0,
            forerunner_context::Snapshot::new(),
            current.cancel.token().clone(),
            sink,
        )
    }

    /// Makes the next task of the run the current one, unless the run has taken its time.
    pub(super) fn take_next(&mut self) -> bool {
        if !self.run.next() {
            self.guard.release_rest();
        }
        let Some(task) = self.guard.next_task() else { return false };
        self.set_current(task);
        true
    }

    /// Makes a task the current one.
    pub(super) fn set_current(&mut self, task: Arc<Task>) {
        let spare = self.spare_cancel.take().filter(|spare| !spare.is_cancelled());
        let cancel = spare.unwrap_or_default();
        self.begun += 1;
        self.current = Some(Current { task, cancel, await_settle: self.await_settles, after: None });
    }
}

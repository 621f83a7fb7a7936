//! One attempt, from a lease to an outcome: restore, run, diff.

use std::{
    any::Any,
    cell::Cell,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use forerunner_context::Snapshot;
use forerunner_core::{ContextId, ErrorKind, LeaseEpoch, Outcome, Payload, Task, TaskError, TaskId};
use forerunner_store::{ContextCommit, Happened};
use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{AgentContext, AgentError, Driver, Job, ProgressSink, memory::Memory};
use crate::{deps::PoolDeps, metrics::PoolMetrics, status::TaskEventKind};

/// How long an agent's code may hold its thread before it is named.
const STALL: Duration = Duration::from_millis(100);
/// What a driver may take on top of the grace it enforces itself before its future is dropped.
const GRACE_MARGIN: Duration = Duration::from_secs(2);
/// How long an attempt may take to stop when its node stops now: its task is waited for elsewhere.
const HAND_BACK: Duration = Duration::from_millis(500);

/// Why a running attempt was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopWhy {
    /// Someone cancelled the task.
    Cancelled,
    /// The agent, or the node, is to stop.
    AgentStops,
    /// Another node has the task, or will have it.
    LeaseLost,
}

/// The line to a running attempt.
#[derive(Clone)]
pub(crate) struct Rein {
    pub(crate) cancel: CancellationToken,
    why: Rc<Cell<Option<StopWhy>>>,
}

impl Rein {
    pub(crate) fn new() -> Self {
        Self { cancel: CancellationToken::new(), why: Rc::new(Cell::new(None)) }
    }

    /// Whether nobody asked the attempt to stop.
    pub(crate) fn is_slack(&self) -> bool {
        !self.cancel.is_cancelled()
    }

    /// Asks the attempt to stop; the first reason stands.
    pub(crate) fn pull(&self, why: StopWhy) {
        if self.why.get().is_none() {
            self.why.set(Some(why));
        }
        self.cancel.cancel();
    }
}

/// What an attempt leaves behind.
pub(crate) struct Finished {
    pub(crate) driver: Box<dyn Driver>,
    pub(crate) outcome: Outcome,
    /// Why the driver cannot be used again.
    pub(crate) broken: Option<String>,
    pub(crate) commit: Option<Box<ContextCommit>>,
    /// What the agent holds once the outcome is settled.
    pub(crate) held: Option<Box<Memory>>,
    /// Whether no code but the agent actor's can know the rein: then, unless pulled, it serves for the next attempt.
    pub(crate) rein_is_free: bool,
    pub(crate) service_s: f64,
}

/// What an attempt is made of.
pub(crate) struct Attempt {
    pub(crate) task: Arc<Task>,
    pub(crate) driver: Box<dyn Driver>,
    pub(crate) held: Option<Box<Memory>>,
    pub(crate) rein: Rein,
    pub(crate) deps: Arc<PoolDeps>,
    pub(crate) metrics: Arc<PoolMetrics>,
}

impl Attempt {
    /// Does the task.
    pub(crate) async fn run(mut self) -> Finished {
        let begun = Instant::now();
        let memory = match self.task.context.clone() {
            None => None,
            // Boxed, as all that few attempts need, so that the others carry no room for it.
            Some(context) => match Box::pin(self.warm_memory(context)).await {
                Ok(memory) => Some(memory),
                Err(error) => return self.finish(begun, Err(error), None, None),
            },
        };
        let snapshot = memory.as_ref().map_or_else(Snapshot::new, |memory| memory.snapshot.clone());
        let version = memory.as_ref().map_or(0, |memory| memory.version);
        let mut cx = AgentContext::new(
            self.task.id,
            self.task.context.clone(),
            version,
            snapshot,
            self.rein.cancel.clone(),
            Box::new(Sink { task: self.task.id, epoch: self.task.epoch, deps: self.deps.clone() }),
        );
        let answer = self.drive(&mut cx).await.and_then(|output| self.checked(output));
        let rein_is_free = !cx.is_cancellation_lent();
        let next = cx.into_snapshot();
        Finished { rein_is_free, ..self.finish(begun, answer, memory, Some(next)) }
    }

    /// The task's context as the store has it: held warm, or read back.
    async fn warm_memory(&mut self, context: ContextId) -> Result<Box<Memory>, AgentError> {
        let held = self.held.take().filter(|held| held.context == context && held.version == self.task.context_version);
        if let Some(memory) = held {
            self.metrics.warm_hits.increment(1);
            return Ok(memory);
        }
        self.metrics.warm_misses.increment(1);
        let store = &*self.deps.node.store;
        let (memory, bytes) = Memory::restore(store, self.task.pool.clone(), context).await?;
        self.metrics.restored_bytes.increment(bytes);
        Ok(Box::new(memory))
    }

    /// Runs the driver until it answers, or until it had its time and its grace.
    async fn drive(&mut self, cx: &mut AgentContext) -> Result<Payload, AgentError> {
        let now = self.deps.now();
        let until_deadline = self.task.deadline.map_or(Duration::MAX, |deadline| deadline.since(now));
        let limit = self.task.timeout.min(until_deadline);
        let job = Job {
            task: self.task.id,
            attempt: self.task.attempt,
            input: self.task.input.clone(),
            deadline: now + limit,
        };
        let watched = Watched { inner: self.driver.run(&job, cx), task: self.task.id, metrics: &self.metrics };
        let mut run = AssertUnwindSafe(watched).catch_unwind();
        // Many attempts are over at their first poll: they need neither a timer nor a line to be stopped by.
        if let Poll::Ready(answer) = futures_util::poll!(&mut run) {
            return caught(answer);
        }
        let waited = Box::pin(wait_for(&mut run, &self.rein, limit, self.deps.settings.task.cancel_grace)).await;
        drop(run);
        match waited {
            Waited { answer: Err(error), stopped: Some(why) } => {
                Err(self.stopped(why == Stopped::TimedOut, until_deadline <= self.task.timeout, &error))
            }
            // What came in time to be of use is used, whatever was asked meanwhile.
            Waited { answer, .. } => answer,
        }
    }

    /// Names why the attempt was stopped; whether the agent is usable is as `error` says.
    fn stopped(&self, timed_out: bool, by_deadline: bool, error: &AgentError) -> AgentError {
        let usable = error.is_agent_usable();
        if timed_out && by_deadline {
            return AgentError::new(
                ErrorKind::DeadlineExceeded,
                "the deadline passed while the task ran",
                true,
                usable,
            );
        }
        if timed_out {
            let timeout = forerunner_core::format_duration(self.task.timeout);
            return AgentError::new(
                ErrorKind::Timeout,
                format!("the attempt took longer than {timeout}"),
                true,
                usable,
            );
        }
        AgentError::new(ErrorKind::Cancelled, error.message(), false, usable)
    }

    fn checked(&self, output: Payload) -> Result<Payload, AgentError> {
        let limit = self.deps.settings.queue.max_output_bytes;
        match output.len() {
            size if size > limit => Err(AgentError::too_large(format!(
                "the output has {size} bytes, the limit is {limit}; return less or raise queue.max_output_bytes"
            ))),
            _ => Ok(output),
        }
    }

    fn finish(
        self,
        begun: Instant,
        answer: Result<Payload, AgentError>,
        memory: Option<Box<Memory>>,
        next: Option<Snapshot>,
    ) -> Finished {
        let service_s = begun.elapsed().as_secs_f64();
        let broken = answer.as_ref().err().filter(|error| !error.is_agent_usable()).map(|error| error.message().into());
        let (outcome, commit, held) = match (answer, memory, next) {
            (Ok(output), Some(memory), Some(next)) => self.committed(output, memory, next),
            (Ok(output), ..) => (Outcome::Succeeded(output), None, None),
            (Err(error), memory, _) => (self.outcome_of(error), None, memory),
        };
        let held = held.filter(|_| broken.is_none());
        Finished { driver: self.driver, outcome, broken, commit, held, rein_is_free: false, service_s }
    }

    fn committed(
        &self,
        output: Payload,
        memory: Box<Memory>,
        next: Snapshot,
    ) -> (Outcome, Option<Box<ContextCommit>>, Option<Box<Memory>>) {
        match memory.advance(next) {
            Ok(Some((commit, held))) => {
                self.metrics.stored_bytes.increment(commit.frame.len() as u64);
                (Outcome::Succeeded(output), Some(Box::new(commit)), Some(Box::new(held)))
            }
            Ok(None) => (Outcome::Succeeded(output), None, Some(memory)),
            Err(error) => {
                (Outcome::Rejected(TaskError::new(ErrorKind::TooLarge, error.to_string())), None, Some(memory))
            }
        }
    }

    fn outcome_of(&self, error: AgentError) -> Outcome {
        match self.rein.why.get() {
            Some(StopWhy::AgentStops | StopWhy::LeaseLost) if error.kind() == ErrorKind::Cancelled => Outcome::Released,
            _ => error.into_outcome(),
        }
    }
}

/// What came of an attempt that was not over at its first poll.
struct Waited {
    answer: Result<Payload, AgentError>,
    /// Why it was asked to stop before it answered, if it was.
    stopped: Option<Stopped>,
}

#[derive(PartialEq, Eq)]
enum Stopped {
    TimedOut,
    ByRein,
}

/// Waits for a driver's answer; asks it to stop when its time is up or the rein is pulled, and then waits as long as
/// it may take to stop.
async fn wait_for<F>(mut run: F, rein: &Rein, limit: Duration, cancel_grace: Duration) -> Waited
where
    F: Future<Output = Result<Result<Payload, AgentError>, Box<dyn Any + Send>>> + Unpin,
{
    let stopped = tokio::select! {
        biased;
        answer = &mut run => return Waited { answer: caught(answer), stopped: None },
        () = rein.cancel.cancelled() => Stopped::ByRein,
        () = tokio::time::sleep(limit) => Stopped::TimedOut,
    };
    rein.cancel.cancel();
    let grace = match rein.why.get() {
        Some(StopWhy::AgentStops) => HAND_BACK,
        _ => cancel_grace + GRACE_MARGIN,
    };
    let answer = tokio::select! {
        biased;
        answer = &mut run => caught(answer),
        () = tokio::time::sleep(grace) => Err(stuck(grace)),
    };
    Waited { answer, stopped: Some(stopped) }
}

/// A driver's answer, or its panic as an error.
fn caught(answer: Result<Result<Payload, AgentError>, Box<dyn Any + Send>>) -> Result<Payload, AgentError> {
    answer.unwrap_or_else(|panic| Err(panicked(&*panic)))
}

fn stuck(grace: Duration) -> AgentError {
    let grace = forerunner_core::format_duration(grace);
    AgentError::lost(format!("the agent did not stop within {grace} and was stopped by force"))
}

fn panicked(panic: &(dyn Any + Send)) -> AgentError {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let message = format!("the agent panicked: {}", text.unwrap_or("with a value that is no text"));
    AgentError::new(ErrorKind::AgentPanicked, message, true, false)
}

/// Names an agent whose code held its thread too long: everything else on the thread waited.
struct Watched<'a, F> {
    inner: F,
    task: TaskId,
    metrics: &'a PoolMetrics,
}

impl<F: Future + Unpin> Future for Watched<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let begun = Instant::now();
        let answer = Pin::new(&mut self.inner).poll(cx);
        let held = begun.elapsed();
        if held > STALL {
            self.metrics.stalls.increment(1);
            tracing::warn!(
                task = %self.task,
                held_ms = held.as_millis() as u64,
                "an agent held its thread; move blocking work to `tokio::task::spawn_blocking`"
            );
        }
        answer
    }
}

/// Carries what an agent says to whoever watches its task.
struct Sink {
    task: TaskId,
    epoch: LeaseEpoch,
    deps: Arc<PoolDeps>,
}

impl ProgressSink for Sink {
    fn progress(&self, text: &str) {
        let (node, now) = (&self.deps.node, self.deps.now());
        match node.store.keeps_events() {
            true => node.said.say(self.task, self.epoch, Happened::Progress(text.to_owned()), now),
            false => node.watch.say(self.task, TaskEventKind::Progress { text: text.to_owned() }, now),
        }
    }

    fn output(&self, chunk: &str) {
        let (node, now) = (&self.deps.node, self.deps.now());
        match node.store.keeps_events() {
            true => node.said.say(self.task, self.epoch, Happened::Output(chunk.to_owned()), now),
            false => node.watch.say(self.task, TaskEventKind::Output { chunk: chunk.to_owned() }, now),
        }
    }
}

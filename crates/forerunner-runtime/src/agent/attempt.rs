//! One attempt, from a lease to an outcome: restore, run, diff.

use std::{
    any::Any,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use forerunner_context::Snapshot;
use forerunner_core::{
    AgentRequest, ContextCost, ContextId, ContextSource, ErrorKind, Outcome, Payload, Question, Task, TaskError,
    TaskId, TaskReport, placement::Restored,
};
use forerunner_store::{ContextCommit, ContextVersion};
use futures_util::FutureExt;
use tokio::time::Instant;

use super::{
    AgentContext, AgentDeps, AgentError, AttemptRequest, Driver,
    cancel::{CancelHandle, CancelReason},
    ending::{Ending, caught},
    sink::AttemptSink,
};
use crate::{
    blocking,
    contexts::{Commit, Compaction, Memory, RestoredContext, Source},
    metrics::PoolMetrics,
};

/// How long an agent's code may block its thread before a warning names it.
const STALL: Duration = Duration::from_millis(100);
/// Changes of at least this size are encoded outside of the actors' thread.
const LARGE_CHANGE_BYTES: usize = 256 << 10;
/// How much longer than its own grace a driver may take to stop before its future is dropped.
const GRACE_MARGIN: Duration = Duration::from_secs(2);
/// How long an attempt may take to stop when its node stops: another node waits for the task.
const RELEASE_GRACE: Duration = Duration::from_millis(500);

/// The result of an attempt.
pub(crate) struct Finished {
    pub(crate) driver: Box<dyn Driver>,
    pub(crate) outcome: Outcome,
    /// Why the driver cannot be used again; `None` if it can.
    pub(crate) broken: Option<String>,
    /// The outcome for the task's context. It is boxed, since few attempts have one.
    pub(crate) context: Option<Box<ContextOutcome>>,
    /// What the task reports besides its result, if this attempt adds to it.
    pub(crate) report: Option<Box<TaskReport>>,
    /// Whether no other code has the cancel handle. Then the next attempt may reuse it, unless it was cancelled.
    pub(crate) can_reuse_cancel: bool,
    pub(crate) service_s: f64,
}

/// The outcome of an attempt for its task's context.
pub(crate) struct ContextOutcome {
    pub(crate) commit: Option<ContextCommit>,
    /// The context that the agent caches once the outcome is settled.
    pub(crate) cached: Memory,
    /// The compaction that the stored chain then needs.
    pub(crate) compaction: Option<Compaction>,
    pub(crate) cost: ContextCost,
    /// The cost of loading it into an agent with a memory of its own.
    pub(crate) restored: Restored,
    /// Why the change cannot be stored.
    refusal: Option<TaskError>,
}

/// The parts of an attempt.
pub(crate) struct Attempt {
    pub(crate) task: Arc<Task>,
    pub(crate) driver: Box<dyn Driver>,
    pub(crate) cached: Option<Box<Memory>>,
    pub(crate) cancel: CancelHandle,
    pub(crate) deps: Arc<AgentDeps>,
    pub(crate) metrics: Arc<PoolMetrics>,
}

impl Attempt {
    /// Runs the task.
    pub(super) async fn run(mut self, begun: Instant) -> Finished {
        let warm = match self.task.context.clone() {
            None => None,
            // Boxed, so that attempts without a context carry no space for it.
            Some(context) => match Box::pin(self.restore_context(context)).await {
                Ok(warm) => Some(warm),
                Err(error) => return self.finish(begun, Err(error)),
            },
        };
        let snapshot = warm.as_ref().map_or_else(Snapshot::new, |warm| warm.memory.readable().clone());
        let version = warm.as_ref().map_or(0, |warm| warm.memory.version);
        let sink = AttemptSink::of(&self.task, self.deps.clone());
        let mut cx = AgentContext::watched(&self.task, version, snapshot, self.cancel.token().clone(), sink);
        let answer = self.drive(&mut cx).await;
        let answer = self.ending().valid(answer);
        let can_reuse_cancel = !cx.is_cancellation_lent();
        let question = cx.take_question().filter(|_| answer.is_ok());
        let is_end = answer.is_ok() && question.is_none();
        let report = self.ending().report(Some(&mut cx));
        let context = match warm {
            None => None,
            Some(warm) => Some(Box::pin(self.context_outcome(warm, cx, is_end)).await),
        };
        let finished = self.finish_with(begun, answer, question, context);
        Finished { can_reuse_cancel, report, ..finished }
    }

    /// Restores the task's context at the stored version: from the agent, from the node's cache or from the store.
    async fn restore_context(&mut self, context: ContextId) -> Result<Box<RestoredContext>, AgentError> {
        let wanted = ContextVersion { born: self.task.context_born, version: self.task.context_version };
        let cached = self.cached.take().map(|cached| *cached);
        if !cached.as_ref().is_some_and(|cached| cached.context == context && cached.context_version() == wanted) {
            self.deps.prefetcher.wait(&context).await;
        }
        let source =
            Source { store: &*self.deps.pool.node.store, pool: &self.task.pool, node: &self.deps.pool.node.contexts };
        let warm = source.restore_context(context, wanted, cached, &self.deps.codecs).await?;
        self.metrics.contexts.found(&warm.cost, warm.was_prefetched);
        Ok(Box::new(warm))
    }

    /// Computes the outcome for the context. Only an attempt that succeeded changes it.
    async fn context_outcome(
        &self,
        warm: Box<RestoredContext>,
        cx: AgentContext,
        succeeded: bool,
    ) -> Box<ContextOutcome> {
        let RestoredContext { memory, mut cost, .. } = *warm;
        let transfer = cx.transfer();
        cost.to_agent_bytes = transfer.to_agent_bytes;
        cost.from_agent_bytes = transfer.from_agent_bytes;
        cost.agent_lost_it = transfer.agent_lost_it;
        let missing = match (transfer.to_agent_bytes, cost.source) {
            (0, ContextSource::Delta | ContextSource::Store) => memory.snapshot.size_bytes() as u64,
            (sent, _) => sent,
        };
        if missing > 0 {
            self.deps.codecs.note_restore(missing, cost.restore_s + transfer.load_s);
        }
        let restored = Restored { bytes: transfer.to_agent_bytes, seconds: transfer.load_s };
        if cost.source == ContextSource::Node && transfer.was_resident == Some(true) {
            // The node had it in its cache and the agent in its memory, where it may be older than the agent's newest
            // context.
            cost.source = ContextSource::Agent;
        }
        let was_resident = transfer.was_resident.unwrap_or(cost.source == ContextSource::Agent);
        let next = cx.into_snapshot();
        cost.full_bytes = json_bytes(&next);
        let piped = transfer.was_resident.map(|_| [json_bytes(&memory.snapshot), cost.full_bytes]);
        self.metrics.contexts.ran(cost.source, was_resident, piped);
        let outcome = |cached, commit, compaction, refusal, cost| {
            Box::new(ContextOutcome { commit, cached, compaction, cost, restored, refusal })
        };
        if !succeeded {
            return outcome(memory, None, None, None, cost);
        }
        match self.advance(&memory, next).await {
            Ok(Some(Commit { commit, memory: cached, compaction, compacted })) => {
                cost.stored_bytes = commit.frame.len() as u64;
                self.metrics.contexts.stored(cached.chain_frames(), compacted);
                outcome(cached, Some(commit), compaction, None, cost)
            }
            Ok(None) => outcome(memory, None, None, None, cost),
            Err(error) => {
                let refusal = TaskError::new(ErrorKind::TooLarge, error.to_string());
                outcome(memory, None, None, Some(refusal), cost)
            }
        }
    }

    /// Encodes the change. A large one is encoded on another thread, so that it blocks no agent.
    async fn advance(&self, memory: &Memory, next: Snapshot) -> Result<Option<Commit>, forerunner_context::Error> {
        let grown = next.size_bytes().saturating_sub(memory.snapshot.size_bytes());
        if grown < LARGE_CHANGE_BYTES {
            return memory.advance(next, self.task.id, &self.deps.codecs);
        }
        let (memory, codecs, task) = (memory.clone(), Arc::clone(&self.deps.codecs), self.task.id);
        let advanced = blocking::run(move || memory.advance(next, task, &codecs)).await;
        advanced.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs the driver until it answers, or until its time and its grace have passed.
    async fn drive(&mut self, cx: &mut AgentContext) -> Result<Payload, AgentError> {
        let now = self.deps.pool.now();
        let until_deadline = self.task.deadline.map_or(Duration::MAX, |deadline| deadline.since(now));
        let limit = self.task.timeout.min(until_deadline);
        let request = AttemptRequest {
            task: self.task.id,
            attempt: self.task.attempt,
            depth: self.task.depth,
            input: self.task.input.clone(),
            deadline: now + limit,
            traceparent: self.task.spec.as_ref().and_then(|spec| spec.traceparent.clone()),
            requests: AgentRequest::list(self.task.requests.as_deref()),
        };
        let watched = StallWatch { inner: self.driver.run(&request, cx), task: self.task.id, metrics: &self.metrics };
        let mut run = AssertUnwindSafe(watched).catch_unwind();
        // Many attempts end at their first poll: they need neither a timer nor a cancellation.
        if let Poll::Ready(answer) = futures_util::poll!(&mut run) {
            return caught(answer);
        }
        let end = Box::pin(wait_for(&mut run, &self.cancel, limit, self.deps.pool.settings.task.cancel_grace)).await;
        drop(run);
        self.answer(end, until_deadline)
    }

    /// Goes on with an attempt that has begun in the slot of its driver, as [`Attempt::run`] does.
    pub(super) async fn go_on(mut self, begun: Instant) -> Finished {
        let (mut returned, now) = (None, self.deps.pool.now());
        let until_deadline = self.task.deadline.map_or(Duration::MAX, |deadline| deadline.since(now));
        let limit = self.task.timeout.min(until_deadline);
        let slot = self.driver.slot();
        let Some(slot) = slot else { return self.finish(begun, Err(AgentError::lost("the attempt is gone"))) };
        let polled = std::future::poll_fn(|waker| {
            slot.poll(waker).map(|(answer, cx)| {
                returned = Some(cx);
                answer
            })
        });
        let watched = StallWatch { inner: polled, task: self.task.id, metrics: &self.metrics };
        let mut run = AssertUnwindSafe(watched).catch_unwind();
        let end = wait_for(&mut run, &self.cancel, limit, self.deps.pool.settings.task.cancel_grace).await;
        drop(run);
        let answer = self.ending().valid(self.answer(end, until_deadline));
        let can_reuse_cancel = returned.as_ref().is_some_and(|cx| !cx.is_cancellation_lent());
        let report = self.ending().report(returned.as_deref_mut());
        let question = returned.as_mut().and_then(|cx| cx.take_question());
        let finished = self.finish_with(begun, answer, question, None);
        Finished { can_reuse_cancel, report, ..finished }
    }

    fn ending(&self) -> Ending<'_> {
        Ending { task: &self.task, deps: &self.deps, cancel: &self.cancel }
    }

    /// The answer of an attempt that did not end at its first poll.
    fn answer(&self, end: RunEnd, until_deadline: Duration) -> Result<Payload, AgentError> {
        match end {
            RunEnd { answer: Err(error), stopped: Some(cause) } => {
                Err(self.stopped(cause == StopCause::Timeout, until_deadline <= self.task.timeout, &error))
            }
            // An answer that arrived in time is used, even if the attempt was asked to stop.
            RunEnd { answer, .. } => answer,
        }
    }

    /// Returns the error of a stopped attempt. `error` has whether the agent is still usable.
    fn stopped(&self, timed_out: bool, by_deadline: bool, error: &AgentError) -> AgentError {
        let usable = error.is_agent_usable();
        if timed_out && by_deadline {
            return AgentError::new(
                ErrorKind::DeadlineExceeded,
                "the deadline passed while the task ran",
                true,
                usable,
            )
            .logged_as(error);
        }
        if timed_out {
            let timeout = forerunner_core::format_duration(self.task.timeout);
            return AgentError::new(
                ErrorKind::Timeout,
                format!("the attempt took longer than {timeout}"),
                true,
                usable,
            )
            .logged_as(error);
        }
        AgentError::new(ErrorKind::Cancelled, error.message(), false, usable).logged_as(error)
    }

    fn finish(self, begun: Instant, answer: Result<Payload, AgentError>) -> Finished {
        self.finish_with(begun, answer, None, None)
    }

    fn finish_with(
        self,
        begun: Instant,
        answer: Result<Payload, AgentError>,
        question: Option<Box<Question>>,
        context: Option<Box<ContextOutcome>>,
    ) -> Finished {
        let service_s = begun.elapsed().as_secs_f64();
        let refusal = context.as_ref().and_then(|context| context.refusal.clone());
        let (outcome, broken) = self.ending().outcome(answer, question, refusal);
        Finished { driver: self.driver, outcome, broken, context, report: None, can_reuse_cancel: false, service_s }
    }
}

/// The size of a context as one JSON array: items, commas and brackets.
fn json_bytes(snapshot: &Snapshot) -> u64 {
    snapshot.size_bytes() as u64 + snapshot.len().max(1) as u64 + 1
}

/// The result of an attempt that did not end at its first poll.
struct RunEnd {
    answer: Result<Payload, AgentError>,
    /// Why the attempt was asked to stop before it answered; `None` if it was not.
    stopped: Option<StopCause>,
}

#[derive(PartialEq, Eq)]
enum StopCause {
    Timeout,
    Cancellation,
}

/// Waits for a driver's answer. After `limit` or a cancellation it asks the driver to stop, and waits for the grace.
async fn wait_for<F>(mut run: F, cancel: &CancelHandle, limit: Duration, cancel_grace: Duration) -> RunEnd
where
    F: Future<Output = Result<Result<Payload, AgentError>, Box<dyn Any + Send>>> + Unpin,
{
    let stopped = tokio::select! {
        biased;
        answer = &mut run => return RunEnd { answer: caught(answer), stopped: None },
        () = cancel.cancelled() => StopCause::Cancellation,
        () = tokio::time::sleep(limit) => StopCause::Timeout,
    };
    cancel.time_out();
    let grace = match cancel.reason() {
        Some(CancelReason::AgentStops) => RELEASE_GRACE,
        _ => cancel_grace.saturating_add(GRACE_MARGIN),
    };
    let answer = tokio::select! {
        biased;
        answer = &mut run => caught(answer),
        () = tokio::time::sleep(grace) => Err(stuck(grace)),
    };
    RunEnd { answer, stopped: Some(stopped) }
}

fn stuck(grace: Duration) -> AgentError {
    let grace = forerunner_core::format_duration(grace);
    AgentError::lost(format!("the agent did not stop within {grace} and was stopped by force"))
}

/// Warns of agent code that blocks its thread, which delays everything else on the thread.
struct StallWatch<'a, F> {
    inner: F,
    task: TaskId,
    metrics: &'a PoolMetrics,
}

impl<F: Future + Unpin> Future for StallWatch<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let begun = Instant::now();
        let answer = Pin::new(&mut self.inner).poll(cx);
        let blocked = begun.elapsed();
        warn_if_stalled(blocked, self.task, self.metrics);
        answer
    }
}

/// Warns of a poll of an agent's code that blocked its thread for so long.
pub(super) fn warn_if_stalled(blocked: Duration, task: TaskId, metrics: &PoolMetrics) {
    if blocked > STALL {
        metrics.stalls.increment(1);
        tracing::warn!(
            %task,
            blocked_ms = blocked.as_millis() as u64,
            "an agent blocked its thread; move blocking work to `tokio::task::spawn_blocking`"
        );
    }
}

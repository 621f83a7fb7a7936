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
    AgentRequest, ContextCost, ContextId, ContextSource, ErrorKind, LeaseEpoch, LogLevel, LogLine, LogSource, Outcome,
    Payload, Question, Task, TaskError, TaskId, TaskReport, placement::Restored,
};
use forerunner_store::{ContextCommit, ContextVersion};
use futures_util::FutureExt;
use tokio::time::Instant;

use super::{
    AgentContext, AgentDeps, AgentError, AttemptRequest, Driver, ProgressSink,
    cancel::{CancelHandle, CancelReason},
    items,
};
use crate::{
    blocking,
    contexts::{Commit, Compaction, Memory, RestoredContext, Source},
    metrics::PoolMetrics,
    status::TaskEventKind,
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
    pub(crate) async fn run(mut self) -> Finished {
        let begun = Instant::now();
        let warm = match self.task.context.clone() {
            None => None,
            // Boxed, so that attempts without a context carry no space for it.
            Some(context) => match Box::pin(self.restore_context(context)).await {
                Ok(warm) => Some(warm),
                Err(error) => return self.finish(begun, Err(error), None),
            },
        };
        let snapshot = warm.as_ref().map_or_else(Snapshot::new, |warm| warm.memory.readable().clone());
        let version = warm.as_ref().map_or(0, |warm| warm.memory.version);
        let mut cx = AgentContext::sharing(
            self.task.id,
            self.task.context.clone(),
            version,
            snapshot,
            self.cancel.token(),
            Box::new(self.sink()),
        );
        let answer = self.drive(&mut cx).await.and_then(|output| self.valid_output(output));
        let can_reuse_cancel = !cx.is_cancellation_lent();
        let question = cx.take_question().filter(|_| answer.is_ok());
        let is_end = answer.is_ok() && question.is_none();
        let report = self.report(&mut cx);
        let context = match warm {
            None => None,
            Some(warm) => Some(Box::pin(self.context_outcome(warm, cx, is_end)).await),
        };
        let asked = question.map(|question| self.asked(*question));
        let finished = self.finish(begun, answer, context);
        match asked {
            None => Finished { can_reuse_cancel, report, ..finished },
            Some(outcome) => Finished { can_reuse_cancel, outcome, report, ..finished },
        }
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

    /// Returns the outcome of an attempt whose agent asks a person, and reports the question to those who follow the task.
    fn asked(&self, question: Question) -> Outcome {
        let now = self.deps.pool.now();
        let mut requests = AgentRequest::list(self.task.requests.as_deref());
        AgentRequest::ask(&mut requests, question, self.task.deadline, now);
        match AgentRequest::to_payload(&requests) {
            Ok(payload) => {
                if let Some(open) = requests.pop() {
                    self.sink().send(TaskEventKind::Asked { request: Box::new(open) });
                }
                Outcome::Asked(payload)
            }
            Err(error) => Outcome::Rejected(TaskError::new(ErrorKind::TooLarge, format!("the question: {error}"))),
        }
    }

    /// Returns what the task reports after this attempt; `None` if the attempt adds nothing to it.
    fn report(&self, cx: &mut AgentContext) -> Option<Box<TaskReport>> {
        let log = self.deps.pool.node.logs.take(self.task.id, self.task.epoch).unwrap_or_default();
        let usage = cx.take_usage();
        if usage.is_empty() && log.is_empty() {
            return None;
        }
        let mut report = self.task.report.clone().unwrap_or_default();
        report.add(TaskReport { usage, log, ..TaskReport::default() });
        Some(report)
    }

    fn sink(&self) -> Sink {
        let Task { id, epoch, attempt, .. } = *self.task;
        Sink { task: id, epoch, attempt, deps: self.deps.clone() }
    }

    fn valid_output(&self, output: Payload) -> Result<Payload, AgentError> {
        items::output(output, self.deps.pool.settings.queue.max_output_bytes)
    }

    fn finish(
        self,
        begun: Instant,
        answer: Result<Payload, AgentError>,
        context: Option<Box<ContextOutcome>>,
    ) -> Finished {
        let service_s = begun.elapsed().as_secs_f64();
        let broken = answer.as_ref().err().filter(|error| !error.is_agent_usable()).map(|error| error.message().into());
        let refusal = context.as_ref().and_then(|context| context.refusal.clone());
        let outcome = match (answer, refusal) {
            (Ok(_), Some(refusal)) => Outcome::Rejected(refusal),
            (Ok(output), None) => Outcome::Succeeded(output),
            (Err(error), _) => self.outcome_of(error),
        };
        Finished { driver: self.driver, outcome, broken, context, report: None, can_reuse_cancel: false, service_s }
    }

    fn outcome_of(&self, error: AgentError) -> Outcome {
        match self.cancel.reason() {
            Some(CancelReason::AgentStops | CancelReason::LeaseLost) if error.kind() == ErrorKind::Cancelled => {
                Outcome::Released
            }
            _ => error.into_outcome(),
        }
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

/// Returns a driver's answer, or its panic as an error.
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
        if blocked > STALL {
            self.metrics.stalls.increment(1);
            tracing::warn!(
                task = %self.task,
                blocked_ms = blocked.as_millis() as u64,
                "an agent blocked its thread; move blocking work to `tokio::task::spawn_blocking`"
            );
        }
        answer
    }
}

/// Passes the events of an agent on to the watchers of its task.
struct Sink {
    task: TaskId,
    epoch: LeaseEpoch,
    attempt: u32,
    deps: Arc<AgentDeps>,
}

impl ProgressSink for Sink {
    fn progress(&self, text: &str) {
        self.send(TaskEventKind::Progress { text: text.to_owned() });
    }

    fn output(&self, chunk: &str) {
        self.send(TaskEventKind::Output { chunk: chunk.to_owned() });
    }

    fn log(&self, source: LogSource, level: LogLevel, text: &str) {
        let at = self.deps.pool.now();
        let line = LogLine { at, attempt: self.attempt, source, level, text: text.to_owned() };
        if self.deps.pool.node.logs.push(self.task, self.epoch, line.clone()) {
            self.send(TaskEventKind::Log { line });
        }
    }
}

impl Sink {
    fn send(&self, kind: TaskEventKind) {
        let (node, now) = (&self.deps.pool.node, self.deps.pool.now());
        match node.store.persists_events() {
            true => node.events.append(self.task, self.epoch, kind, now),
            false => node.watch.publish(self.task, kind, now),
        }
    }
}

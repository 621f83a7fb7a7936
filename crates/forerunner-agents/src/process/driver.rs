//! Drives one warm child process.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use forerunner_context::{Item, ItemHash};
use forerunner_core::{ContextId, ErrorKind, LogLevel, LogSource, Payload};
use forerunner_runtime::agent::{AgentContext, AgentError, AttemptRequest, Driver, ResidentContexts, Transfer, items};
use futures_util::future::LocalBoxFuture;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    ProcessSpec,
    link::{Link, RequestError, Traffic, after},
    load::lines,
    protocol::{
        AgentInfo, AskedBefore, ChangeStep, ContextChange, ContextDrop, ContextLoad, ContextRef, EDITS_SINCE, Message,
        NoParams, REPORTS_SINCE, RpcError, TaskCancel, TaskResult, TaskRun, code,
    },
    resident::{LoadPlan, ResidencyTracker},
    task_error::task_error,
};

/// What a child may write between two tasks, in bytes: stragglers of the task before, but no flood.
const IDLE_BUDGET_BYTES: usize = 64 << 10;

/// Most counts that a task reports as its usage, and the longest name of one, in bytes.
const MAX_USAGE_NAMES: usize = 32;
const MAX_USAGE_NAME: usize = 64;

/// One warm child process that speaks the protocol of `docs/agent-protocol.md`.
///
/// Dropping it kills the process and its group at once; [`Driver::stop`] asks first.
pub struct ProcessDriver {
    spec: Arc<ProcessSpec>,
    link: Link,
    info: AgentInfo,
    contexts: ResidencyTracker,
    idle_since: Instant,
    /// Set while an attempt runs. Stays set if the attempt's future was dropped: the child then still works on it.
    is_busy: bool,
}

impl ProcessDriver {
    pub(super) fn new(spec: Arc<ProcessSpec>, mut link: Link, info: AgentInfo) -> Self {
        link.allow(IDLE_BUDGET_BYTES, "though it had no task");
        link.set_protocol(info.protocol);
        let contexts = ResidencyTracker::new(info.capabilities.contexts, info.protocol >= EDITS_SINCE);
        Self { spec, link, info, contexts, idle_since: Instant::now(), is_busy: false }
    }

    /// Returns how the child described itself.
    pub const fn info(&self) -> &AgentInfo {
        &self.info
    }

    /// Checks that the idle child still answers. Called before the first attempt after an idle time of `ping_after`.
    ///
    /// # Errors
    /// When it does not answer within `ping_timeout`, has ended, or broke the protocol. It is not usable then.
    pub async fn check(&mut self) -> Result<(), AgentError> {
        match self.link.call("ping", &NoParams {}, self.spec.ping_timeout).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.request_error("ping", self.spec.ping_timeout, error, false)),
        }
    }

    async fn run_attempt(&mut self, attempt: &AttemptRequest, cx: &mut AgentContext) -> Result<Payload, AgentError> {
        if self.idle_since.elapsed() >= self.spec.ping_after {
            self.check().await?;
        }
        self.drop_removed(cx).await?;
        let context = cx.id().filter(|_| self.contexts.is_supported()).cloned();
        let before = self.link.traffic();
        let mut answer = self.load_and_run(attempt, context.as_ref(), cx).await?;
        if let (Err(RpcError { code: code::NOT_RESIDENT, .. }), Some(id)) = (&answer, &context) {
            // The child dropped the context, as it may. The node sends all of it.
            self.contexts.forget(id);
            cx.add_transfer(Transfer { agent_lost_it: true, ..Transfer::default() });
            answer = self.load_and_run(attempt, Some(id), cx).await?;
        }
        let answer = answer.map_err(|error| {
            self.note_usage(error.usage(), cx);
            task_error(&error, cx.is_cancelled())
        })?;
        let result: TaskResult = serde_json::from_str(answer.get()).map_err(|error| {
            self.link.protocol_error(&format!("answered `task/run` with a result that is not valid: {error}"))
        })?;
        self.note_usage(result.usage.as_ref(), cx);
        // A child that answered assumes that its change is stored. Until it is, the state in the child is unknown.
        let output = context.as_ref().map_or(Ok(()), |id| {
            self.contexts.forget(id);
            self.store_change(id, result.context, &result.output, answer.get().len(), before, cx)
        });
        output.map(|()| Payload::trusted(result.output.get()))
    }

    /// Adds what the task used, as far as the child reports it in a version that has this.
    fn note_usage(&self, usage: Option<&BTreeMap<String, u64>>, cx: &mut AgentContext) {
        let counts = usage.into_iter().flatten().filter(|(name, _)| !name.is_empty() && name.len() <= MAX_USAGE_NAME);
        for (name, count) in counts.take(MAX_USAGE_NAMES) {
            cx.add_usage(name, *count);
        }
    }

    /// Makes the child's change to its context.
    fn store_change(
        &mut self,
        id: &ContextId,
        change: Option<ContextChange>,
        output: &RawValue,
        answer_bytes: usize,
        before: Traffic,
        cx: &mut AgentContext,
    ) -> Result<(), AgentError> {
        let mut is_unchanged = true;
        if let Some(change) = change {
            // What is not the output is about the context.
            let plain = answer_bytes.saturating_sub(output.get().len()) as u64;
            let from_agent_bytes = on_the_pipe(plain, before, self.link.traffic());
            cx.add_transfer(Transfer { from_agent_bytes, ..Transfer::default() });
            is_unchanged = apply(change, cx).map_err(|error| error.into_agent_error(&self.link))?;
        }
        if is_unchanged {
            self.contexts.record(id, cx.version(), cx.items());
        }
        Ok(())
    }

    /// Has the child drop contexts that were removed.
    async fn drop_removed(&mut self, cx: &AgentContext) -> Result<(), AgentError> {
        while let Some(id) = self.contexts.next_removed() {
            self.drop_context(&id, cx).await?;
        }
        Ok(())
    }

    async fn drop_context(&mut self, id: &ContextId, cx: &AgentContext) -> Result<(), AgentError> {
        let drop = ContextDrop { id: id.as_str() };
        let dropped = self.link.call("context/drop", &drop, self.spec.load_timeout).await;
        let refused = |error| self.request_error("context/drop", self.spec.load_timeout, error, cx.is_cancelled());
        dropped.map(|_| ()).map_err(refused)
    }

    /// Has the child run the attempt once its context is resident. The inner error is its answer.
    async fn load_and_run(
        &mut self,
        attempt: &AttemptRequest,
        context: Option<&ContextId>,
        cx: &mut AgentContext,
    ) -> Result<Result<Box<RawValue>, RpcError>, AgentError> {
        if let Some(id) = context {
            let (begun, sent) = (Instant::now(), self.link.traffic().sent_bytes);
            let stuck = stuck_after(cx, self.spec.cancel_grace);
            let agent_lost_it = tokio::select! {
                loaded = self.sync_context(id, cx) => loaded?,
                () = stuck => return Err(self.ignored_cancel()),
            };
            let to_agent_bytes = self.link.traffic().sent_bytes - sent;
            let load_s = if to_agent_bytes > 0 { begun.elapsed().as_secs_f64() } else { 0.0 };
            let was_resident = Some(to_agent_bytes == 0);
            cx.add_transfer(Transfer { to_agent_bytes, load_s, agent_lost_it, was_resident, ..Transfer::default() });
        }
        if cx.is_cancelled() {
            return Err(AgentError::cancelled());
        }
        self.run_task(attempt, context, cx).await
    }

    /// Makes the context resident exactly as it is in `cx`, and sends only what is missing. Returns whether the child
    /// had dropped it although the node believed it resident.
    async fn sync_context(&mut self, id: &ContextId, cx: &AgentContext) -> Result<bool, AgentError> {
        if let Some(oldest) = self.contexts.evict_for(id) {
            self.drop_context(&oldest, cx).await?;
        }
        let plan = self.contexts.plan(id, cx.items());
        if plan == LoadPlan::Nothing {
            self.contexts.record(id, cx.version(), cx.items());
            return Ok(false);
        }
        // Until it has answered, the state in the child is unknown.
        self.contexts.forget(id);
        let mut was_dropped = false;
        let mut loaded = self.load(id, &plan, cx).await;
        if let (Err(RequestError::Answer(RpcError { code: code::NOT_RESIDENT, .. })), true) =
            (&loaded, plan != LoadPlan::Full)
        {
            // The child dropped the context, as it may.
            was_dropped = true;
            loaded = self.load(id, &LoadPlan::Full, cx).await;
        }
        loaded.map_err(|error| self.request_error("context/load", self.spec.load_timeout, error, cx.is_cancelled()))?;
        self.contexts.record(id, cx.version(), cx.items());
        Ok(was_dropped)
    }

    /// Sends the planned items, in as many lines as the limit of a line requires.
    async fn load(&mut self, id: &ContextId, plan: &LoadPlan, cx: &AgentContext) -> Result<(), RequestError> {
        let mut base = match plan {
            LoadPlan::Append { base, .. } | LoadPlan::Edit { base, .. } => Some(*base),
            LoadPlan::Nothing | LoadPlan::Full => None,
        };
        for content in lines(id, plan, cx.items(), self.spec.max_line_bytes).map_err(RequestError::Broken)? {
            let params = ContextLoad { id: id.as_str(), version: cx.version(), base, content: &content };
            self.link.call("context/load", &params, self.spec.load_timeout).await?;
            base = Some(cx.version());
        }
        Ok(())
    }

    /// Lets the child run the attempt, and cancels it when the node requests that.
    async fn run_task(
        &mut self,
        attempt: &AttemptRequest,
        context: Option<&ContextId>,
        cx: &mut AgentContext,
    ) -> Result<Result<Box<RawValue>, RpcError>, AgentError> {
        let reports = self.info.protocol >= REPORTS_SINCE;
        let params = TaskRun {
            task: attempt.task.to_string(),
            attempt: attempt.attempt,
            depth: attempt.depth,
            input: &attempt.input,
            context: context.map(|id| ContextRef { id: id.as_str(), version: cx.version(), items: cx.items().len() }),
            deadline: attempt.deadline,
            traceparent: attempt.traceparent.as_deref().filter(|_| reports),
            requests: if reports { asked_before(attempt) } else { Vec::new() },
        };
        let request = self.link.send("task/run", &params)?;
        let mut answer = None;
        let mut cancel: Option<Cancel> = None;
        let stderr = self.link.follow_stderr();
        // An answer to `task/cancel` is awaited as well, so that nothing is outstanding when the next task begins.
        while answer.is_none() || cancel.as_ref().is_some_and(|cancel| self.link.is_unanswered(cancel.request)) {
            let deadline = cancel.as_ref().map(|cancel| cancel.deadline);
            tokio::select! {
                message = self.link.next() => match message {
                    Err(error) => {
                        log_stderr(cx, &stderr.rest().await);
                        return Err(error);
                    }
                    Ok(Message::Answer { id, result }) if id == request => answer = Some(result),
                    Ok(Message::Progress { task, text }) if task == attempt.task && answer.is_none() => cx.progress(text),
                    Ok(Message::Output { task, chunk }) if task == attempt.task && answer.is_none() => cx.output(chunk),
                    Ok(Message::Ask { task, question }) if reports && task == attempt.task && answer.is_none() => {
                        cx.ask(question.into_question(self.spec.waiting_timeout));
                    }
                    Ok(Message::Log { task, level, text })
                        if reports && answer.is_none() && task.is_none_or(|task| task == attempt.task) =>
                    {
                        cx.log(LogSource::Agent, level, text);
                    }
                    // The answer to `task/cancel`, late messages of an earlier task, and messages of later versions.
                    Ok(_) => {}
                },
                lines = stderr.next() => log_stderr(cx, &lines),
                () = cx.cancelled(), if cancel.is_none() && answer.is_none() => {
                    let request = self.link.send("task/cancel", &TaskCancel { task: attempt.task.to_string() })?;
                    cancel = Some(Cancel { request, deadline: after(Instant::now(), self.spec.cancel_grace) });
                }
                () = reached(deadline) => return Err(self.ignored_cancel()),
            }
        }
        log_stderr(cx, &stderr.rest().await);
        answer.ok_or_else(|| self.link.protocol_error("did not answer"))
    }

    /// The error for a child that continued after a cancellation.
    fn ignored_cancel(&self) -> AgentError {
        let grace = self.spec.cancel_grace.as_secs_f64();
        let message = format!("{} did not stop within cancel_grace = {grace} s and is stopped", self.link.name());
        AgentError::new(ErrorKind::Cancelled, message, false, false)
    }

    /// Converts the error of a request into that of the attempt.
    fn request_error(&self, method: &str, limit: Duration, error: RequestError, was_cancelled: bool) -> AgentError {
        match error {
            RequestError::Answer(error) => task_error(&error, was_cancelled),
            RequestError::Broken(error) => error,
            RequestError::TimedOut => {
                let limit = limit.as_secs_f64();
                self.link.protocol_error(&format!("did not answer `{method}` within {limit} s"))
            }
        }
    }
}

fn log_stderr(cx: &AgentContext, lines: &[String]) {
    lines.iter().for_each(|line| cx.log(LogSource::Stderr, LogLevel::default(), line));
}

/// What agents of the task asked before, with the answers.
fn asked_before(attempt: &AttemptRequest) -> Vec<AskedBefore<'_>> {
    let asked = attempt.requests.iter().map(|request| AskedBefore {
        id: &request.id,
        key: &request.fingerprint,
        prompt: &request.prompt,
        answer: request.answer.as_ref(),
    });
    asked.collect()
}

/// Returns the size on the pipe of so many bytes of a child's lines: their share of all that it wrote meanwhile.
fn on_the_pipe(plain: u64, before: Traffic, after: Traffic) -> u64 {
    let read = (after.read_bytes - before.read_bytes) as f64;
    let lines = (after.line_bytes - before.line_bytes) as f64;
    (plain as f64 * read / lines.max(1.0)).ceil() as u64
}

struct Cancel {
    request: u64,
    deadline: Instant,
}

/// Applies the agent's change to its context. Answers whether all items are as the agent wrote them: some may have been
/// repaired.
fn apply(change: ContextChange, cx: &mut AgentContext) -> Result<bool, ChangeError> {
    let mut is_unchanged = true;
    let mut make = |index: usize, item: Box<RawValue>| {
        let text = Box::<str>::from(item).into_string();
        let hash = ItemHash::of(text.as_bytes());
        let item = items::json_item(index, text)?;
        is_unchanged &= *item.hash() == hash;
        Ok::<Item, AgentError>(item)
    };
    match change {
        ContextChange::Append(items) => {
            let behind = cx.items().len();
            for (at, item) in items.into_iter().enumerate() {
                cx.push_item(make(behind + at, item)?)?;
            }
        }
        ContextChange::Replace(items) => {
            let items = items.into_iter().enumerate().map(|(at, item)| make(at, item));
            let items: Vec<Item> = items.collect::<Result<_, _>>()?;
            cx.replace_items(items)?;
        }
        ContextChange::Edit(steps) => {
            let mut items: Vec<Item> = Vec::new();
            for step in steps {
                match step {
                    ChangeStep::Insert(new) => {
                        for item in new {
                            items.push(make(items.len(), item)?);
                        }
                    }
                    ChangeStep::Copy(start, len) => {
                        let run = start.checked_add(len).and_then(|end| cx.items().get(start..end));
                        items.extend_from_slice(run.ok_or(ChangeError::Range {
                            start,
                            len,
                            items: cx.items().len(),
                        })?);
                    }
                }
            }
            cx.replace_items(items)?;
        }
    }
    Ok(is_unchanged)
}

/// A reason why a change of a context is not possible.
enum ChangeError {
    /// The context would be over a limit.
    Limit(AgentError),
    /// It copies items that are not there.
    Range { start: usize, len: usize, items: usize },
}

impl From<AgentError> for ChangeError {
    fn from(error: AgentError) -> Self {
        Self::Limit(error)
    }
}

impl ChangeError {
    fn into_agent_error(self, link: &Link) -> AgentError {
        match self {
            Self::Limit(error) => error,
            Self::Range { start, len, items } => link.protocol_error(&format!(
                "answered `task/run` with an edit that copies {len} items from {start} on of a context of {items}"
            )),
        }
    }
}

/// Resolves when a cancellation has been ignored for `grace`.
async fn stuck_after(cx: &AgentContext, grace: Duration) {
    cx.cancelled().await;
    sleep(grace).await;
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Driver for ProcessDriver {
    fn run<'a>(
        &'a mut self,
        attempt: &'a AttemptRequest,
        cx: &'a mut AgentContext,
    ) -> LocalBoxFuture<'a, Result<Payload, AgentError>> {
        Box::pin(async move {
            self.is_busy = true;
            self.link.allow(self.spec.max_output_bytes, "in one task (max_output_bytes)");
            let result = self.run_attempt(attempt, cx).await;
            if let (Err(_), Some(id)) = (&result, cx.id())
                && self.info.protocol < EDITS_SINCE
            {
                // The node stores nothing of a failed attempt, but the child may have changed its copy.
                self.contexts.forget(id);
            }
            self.link.allow(IDLE_BUDGET_BYTES, "though it had no task");
            self.idle_since = Instant::now();
            self.is_busy = false;
            match result {
                Err(error) => Err(error.with_log(self.link.last_lines().await)),
                answer => answer,
            }
        })
    }

    fn can_die(&self) -> bool {
        true
    }

    fn died(&mut self) -> LocalBoxFuture<'_, AgentError> {
        Box::pin(async move {
            let mut departure = std::pin::pin!(self.link.departure());
            loop {
                let message = tokio::select! {
                    message = self.link.next() => message,
                    () = &mut departure => return AgentError::departed(format!("{} said goodbye", self.link.name())),
                };
                // A late answer would be unexpected, which is an error; late notifications are ignored.
                if let Err(error) = message {
                    return error;
                }
            }
        })
    }

    fn stop(self: Box<Self>, grace: Duration) -> LocalBoxFuture<'static, ()> {
        let Self { spec, mut link, is_busy, .. } = *self;
        Box::pin(async move {
            let grace = grace.min(spec.stop_grace);
            let deadline = after(Instant::now(), grace);
            // A child in the middle of a task may not read: it gets a signal at once.
            if !is_busy && !grace.is_zero() && link.send("shutdown", &NoParams {}).is_ok() {
                link.wait_for_exit(grace / 2).await;
            }
            link.terminate(deadline.saturating_duration_since(Instant::now())).await;
        })
    }

    fn resident_contexts(&self) -> Option<ResidentContexts> {
        self.contexts.is_supported().then(|| self.contexts.contexts())
    }

    fn forget(&mut self, context: &ContextId) {
        self.contexts.remove(context);
    }

    fn pid(&self) -> Option<u32> {
        self.link.pid()
    }
}

//! Drives one warm child process.

use std::{sync::Arc, time::Duration};

use forerunner_context::{Item, ItemHash};
use forerunner_core::{ContextId, ErrorKind, Payload};
use futures_util::future::LocalBoxFuture;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    ProcessSpec,
    held::{HeldContexts, Load},
    link::{Link, Moved, Refusal, after},
    load::lines,
    protocol::{
        AgentInfo, ChangeStep, ContextChange, ContextDrop, ContextLoad, ContextRef, EDITS_SINCE, Message, Nothing,
        RpcError, TaskCancel, TaskResult, TaskRun, code,
    },
    refusal::task_error,
};
use crate::agent::{AgentContext, AgentError, Driver, Job, OwnMemory, Transfer, checked};

/// What a child may write between two tasks, in bytes: stragglers of the task before, but no flood.
const IDLE_ALLOWANCE_BYTES: usize = 64 << 10;

/// One warm child process that speaks the protocol of `docs/agent-protocol.md`.
///
/// Dropping it kills the process and its group at once; [`Driver::stop`] asks first.
pub struct ProcessDriver {
    spec: Arc<ProcessSpec>,
    link: Link,
    info: AgentInfo,
    contexts: HeldContexts,
    idle_since: Instant,
    /// Set while a job runs. Stays set if the job's future was dropped: the child then still works on it.
    is_busy: bool,
}

impl ProcessDriver {
    pub(super) fn new(spec: Arc<ProcessSpec>, mut link: Link, info: AgentInfo) -> Self {
        link.allow(IDLE_ALLOWANCE_BYTES, "though it had no task");
        let contexts = HeldContexts::new(info.capabilities.contexts, info.protocol >= EDITS_SINCE);
        Self { spec, link, info, contexts, idle_since: Instant::now(), is_busy: false }
    }

    /// Returns what the child says about itself.
    pub const fn info(&self) -> &AgentInfo {
        &self.info
    }

    /// Checks that the idle child still answers. Done before the first job after an idle time of `ping_after`.
    ///
    /// # Errors
    /// When it does not answer within `ping_timeout`, is gone, or broke the protocol. It is not usable then.
    pub async fn check(&mut self) -> Result<(), AgentError> {
        match self.link.ask("ping", &Nothing {}, self.spec.ping_timeout).await {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.refused("ping", self.spec.ping_timeout, refusal, false)),
        }
    }

    async fn attempt(&mut self, job: &Job, cx: &mut AgentContext) -> Result<Payload, AgentError> {
        if self.idle_since.elapsed() >= self.spec.ping_after {
            self.check().await?;
        }
        self.drop_removed(cx).await?;
        let context = cx.id().filter(|_| self.contexts.is_supported()).cloned();
        let before = self.link.moved();
        let mut answer = self.load_and_run(job, context.as_ref(), cx).await?;
        if let (Err(RpcError { code: code::NOT_HELD, .. }), Some(id)) = (&answer, &context) {
            // It dropped the context by itself, as it may. Once more, with all of it.
            self.contexts.forget(id);
            cx.note_transfer(Transfer { agent_lost_it: true, ..Transfer::default() });
            answer = self.load_and_run(job, Some(id), cx).await?;
        }
        let answer = answer.map_err(|error| task_error(&error, cx.is_cancelled()))?;
        let result: TaskResult = serde_json::from_str(answer.get())
            .map_err(|error| self.link.protocol_error(&format!("answered `task/run` with something else: {error}")))?;
        // A child that answered takes its change for kept: until it is, nobody knows what it holds.
        let output = context.as_ref().map_or(Ok(()), |id| {
            self.contexts.forget(id);
            self.keep_change(id, result.context, &result.output, answer.get().len(), before, cx)
        });
        output.map(|()| Payload::trusted(result.output.get()))
    }

    /// Makes the child's change to its context.
    fn keep_change(
        &mut self,
        id: &ContextId,
        change: Option<ContextChange>,
        output: &RawValue,
        answer_bytes: usize,
        before: Moved,
        cx: &mut AgentContext,
    ) -> Result<(), AgentError> {
        let mut is_as_said = true;
        if let Some(change) = change {
            // What is not the output is about the context.
            let plain = answer_bytes.saturating_sub(output.get().len()) as u64;
            let from_agent_bytes = as_moved(plain, before, self.link.moved());
            cx.note_transfer(Transfer { from_agent_bytes, ..Transfer::default() });
            is_as_said = apply(change, cx).map_err(|error| error.named(&self.link))?;
        }
        if is_as_said {
            self.contexts.hold(id, cx.version(), cx.items());
        }
        Ok(())
    }

    /// Has the child drop contexts that are gone for good.
    async fn drop_removed(&mut self, cx: &AgentContext) -> Result<(), AgentError> {
        while let Some(id) = self.contexts.take_removed() {
            self.drop_context(&id, cx).await?;
        }
        Ok(())
    }

    async fn drop_context(&mut self, id: &ContextId, cx: &AgentContext) -> Result<(), AgentError> {
        let drop = ContextDrop { id: id.as_str() };
        let dropped = self.link.ask("context/drop", &drop, self.spec.load_timeout).await;
        let refused = |refusal| self.refused("context/drop", self.spec.load_timeout, refusal, cx.is_cancelled());
        dropped.map(|_| ()).map_err(refused)
    }

    /// Has the child do the task, once it holds the context. The inner error is its answer.
    async fn load_and_run(
        &mut self,
        job: &Job,
        context: Option<&ContextId>,
        cx: &mut AgentContext,
    ) -> Result<Result<Box<RawValue>, RpcError>, AgentError> {
        if let Some(id) = context {
            let (begun, sent) = (Instant::now(), self.link.moved().sent_bytes);
            let stuck = stuck_after(cx, self.spec.cancel_grace);
            let agent_lost_it = tokio::select! {
                loaded = self.bring_up_to_date(id, cx) => loaded?,
                () = stuck => return Err(self.ignored_cancel()),
            };
            let to_agent_bytes = self.link.moved().sent_bytes - sent;
            let load_s = if to_agent_bytes > 0 { begun.elapsed().as_secs_f64() } else { 0.0 };
            let was_held = Some(to_agent_bytes == 0);
            cx.note_transfer(Transfer { to_agent_bytes, load_s, agent_lost_it, was_held, ..Transfer::default() });
        }
        if cx.is_cancelled() {
            return Err(AgentError::cancelled());
        }
        self.run_task(job, context, cx).await
    }

    /// Makes the child hold the context exactly as it is in `cx`, sending only what it lacks. Answers whether it had lost
    /// what it was thought to hold.
    async fn bring_up_to_date(&mut self, id: &ContextId, cx: &AgentContext) -> Result<bool, AgentError> {
        if let Some(oldest) = self.contexts.make_room(id) {
            self.drop_context(&oldest, cx).await?;
        }
        let plan = self.contexts.plan(id, cx.items());
        if plan == Load::Nothing {
            self.contexts.hold(id, cx.version(), cx.items());
            return Ok(false);
        }
        // Until it has answered, nobody knows what it holds.
        self.contexts.forget(id);
        let mut lost_it = false;
        let mut loaded = self.load(id, &plan, cx).await;
        if let (Err(Refusal::Answer(RpcError { code: code::NOT_HELD, .. })), true) = (&loaded, plan != Load::Full) {
            // It dropped the context by itself, as it may.
            lost_it = true;
            loaded = self.load(id, &Load::Full, cx).await;
        }
        loaded.map_err(|refusal| self.refused("context/load", self.spec.load_timeout, refusal, cx.is_cancelled()))?;
        self.contexts.hold(id, cx.version(), cx.items());
        Ok(lost_it)
    }

    /// Sends what is planned in as many lines as the limit of a line asks for.
    async fn load(&mut self, id: &ContextId, plan: &Load, cx: &AgentContext) -> Result<(), Refusal> {
        let mut base = match plan {
            Load::Append { base, .. } | Load::Edit { base, .. } => Some(*base),
            Load::Nothing | Load::Full => None,
        };
        for content in lines(id, plan, cx.items(), self.spec.max_line_bytes).map_err(Refusal::Broken)? {
            let params = ContextLoad { id: id.as_str(), version: cx.version(), base, content: &content };
            self.link.ask("context/load", &params, self.spec.load_timeout).await?;
            base = Some(cx.version());
        }
        Ok(())
    }

    /// Has the child do the task, and cancels it when asked to.
    async fn run_task(
        &mut self,
        job: &Job,
        context: Option<&ContextId>,
        cx: &AgentContext,
    ) -> Result<Result<Box<RawValue>, RpcError>, AgentError> {
        let params = TaskRun {
            task: job.task.to_string(),
            attempt: job.attempt,
            depth: job.depth,
            input: &job.input,
            context: context.map(|id| ContextRef { id: id.as_str(), version: cx.version(), items: cx.items().len() }),
            deadline: job.deadline,
        };
        let request = self.link.send("task/run", &params)?;
        let mut answer = None;
        let mut cancel: Option<Cancel> = None;
        // An answer to `task/cancel` is awaited as well, so that nothing is outstanding when the next task begins.
        while answer.is_none() || cancel.as_ref().is_some_and(|cancel| self.link.is_unanswered(cancel.request)) {
            let deadline = cancel.as_ref().map(|cancel| cancel.deadline);
            tokio::select! {
                message = self.link.next() => match message? {
                    Message::Answer { id, result } if id == request => answer = Some(result),
                    Message::Progress { task, text } if task == job.task && answer.is_none() => cx.progress(text),
                    Message::Output { task, chunk } if task == job.task && answer.is_none() => cx.output(chunk),
                    // The answer to `task/cancel`, stragglers of an earlier task, what a later version may say.
                    _ => {}
                },
                () = cx.cancelled(), if cancel.is_none() && answer.is_none() => {
                    let request = self.link.send("task/cancel", &TaskCancel { task: job.task.to_string() })?;
                    cancel = Some(Cancel { request, deadline: after(Instant::now(), self.spec.cancel_grace) });
                }
                () = reached(deadline) => return Err(self.ignored_cancel()),
            }
        }
        answer.ok_or_else(|| self.link.protocol_error("did not answer"))
    }

    /// The child went on after it was asked to stop.
    fn ignored_cancel(&self) -> AgentError {
        let grace = self.spec.cancel_grace.as_secs_f64();
        let message = format!("{} did not stop within cancel_grace = {grace} s and is stopped", self.link.name());
        AgentError::new(ErrorKind::Cancelled, message, false, false)
    }

    /// What it means that the child did not do what `method` asks.
    fn refused(&self, method: &str, patience: Duration, refusal: Refusal, was_cancelled: bool) -> AgentError {
        match refusal {
            Refusal::Answer(error) => task_error(&error, was_cancelled),
            Refusal::Broken(error) => error,
            Refusal::Late => {
                let limit = patience.as_secs_f64();
                self.link.protocol_error(&format!("did not answer `{method}` within {limit} s"))
            }
        }
    }
}

/// What so many bytes of a child's lines took on the pipe: their share of all that it said meanwhile.
fn as_moved(plain: u64, before: Moved, after: Moved) -> u64 {
    let read = (after.read_bytes - before.read_bytes) as f64;
    let lines = (after.line_bytes - before.line_bytes) as f64;
    (plain as f64 * read / lines.max(1.0)).ceil() as u64
}

struct Cancel {
    request: u64,
    deadline: Instant,
}

/// Makes the agent's change to its context. Answers whether it was made to the letter: some items may have been mended.
fn apply(change: ContextChange, cx: &mut AgentContext) -> Result<bool, NoChange> {
    let mut is_as_said = true;
    let mut checked = |index: usize, item: Box<RawValue>| {
        let said = Box::<str>::from(item).into_string();
        let hash = ItemHash::of(said.as_bytes());
        let item = checked::json_item(index, said)?;
        is_as_said &= *item.hash() == hash;
        Ok::<Item, AgentError>(item)
    };
    match change {
        ContextChange::Append(items) => {
            let behind = cx.items().len();
            for (at, item) in items.into_iter().enumerate() {
                cx.push_item(checked(behind + at, item)?)?;
            }
        }
        ContextChange::Replace(items) => {
            let items = items.into_iter().enumerate().map(|(at, item)| checked(at, item));
            let items: Vec<Item> = items.collect::<Result<_, _>>()?;
            cx.set_items(items)?;
        }
        ContextChange::Edit(steps) => {
            let mut items: Vec<Item> = Vec::new();
            for step in steps {
                match step {
                    ChangeStep::Insert(new) => {
                        for item in new {
                            items.push(checked(items.len(), item)?);
                        }
                    }
                    ChangeStep::Copy(start, len) => {
                        let run = start.checked_add(len).and_then(|end| cx.items().get(start..end));
                        items.extend_from_slice(run.ok_or(NoChange::Range { start, len, items: cx.items().len() })?);
                    }
                }
            }
            cx.set_items(items)?;
        }
    }
    Ok(is_as_said)
}

/// Why a change to a context cannot be made.
enum NoChange {
    /// It would be too large.
    Limit(AgentError),
    /// It copies items that are not there.
    Range { start: usize, len: usize, items: usize },
}

impl From<AgentError> for NoChange {
    fn from(error: AgentError) -> Self {
        Self::Limit(error)
    }
}

impl NoChange {
    fn named(self, link: &Link) -> AgentError {
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
        job: &'a Job,
        cx: &'a mut AgentContext,
    ) -> LocalBoxFuture<'a, Result<Payload, AgentError>> {
        Box::pin(async move {
            self.is_busy = true;
            self.link.allow(self.spec.max_output_bytes, "in one task (max_output_bytes)");
            let result = self.attempt(job, cx).await;
            if let (Err(_), Some(id)) = (&result, cx.id())
                && self.info.protocol < EDITS_SINCE
            {
                // Nothing of a failed attempt is kept here, but the child may have changed what it holds.
                self.contexts.forget(id);
            }
            self.link.allow(IDLE_ALLOWANCE_BYTES, "though it had no task");
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
            loop {
                // An answer would be one that nobody waits for, which is an error; notifications come too late.
                if let Err(error) = self.link.next().await {
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
            // A child in the middle of a task may not read: it is told by a signal at once.
            if !is_busy && !grace.is_zero() && link.send("shutdown", &Nothing {}).is_ok() {
                link.linger(grace / 2).await;
            }
            link.terminate(deadline.saturating_duration_since(Instant::now())).await;
        })
    }

    fn memory(&self) -> Option<OwnMemory> {
        self.contexts.is_supported().then(|| self.contexts.memory())
    }

    fn forget(&mut self, context: &ContextId) {
        self.contexts.remove(context);
    }

    fn pid(&self) -> Option<u32> {
        Some(self.link.pid())
    }
}

//! Drives one warm agent.

use std::{path::PathBuf, sync::Arc, time::Duration};

use forerunner_core::{ContextId, ErrorKind, Payload, TaskId};
use forerunner_runtime::agent::{AgentContext, AgentError, AttemptRequest, Driver, ResidentContexts};
use futures_util::future::LocalBoxFuture;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{
    AcpSpec,
    connection::{Connection, Incoming},
    conversation::Conversation,
    playing::Played,
    request::{self, Capabilities},
    sessions::{Session, SessionTable},
    turn::TurnMachine,
    verdict,
};
use crate::process::{Owner, after};

/// How often an idle agent may write `max_idle_bytes`.
const IDLE_PERIOD: Duration = Duration::from_secs(60);
/// How long an agent may take to end after the end of its input, before it gets a signal.
const EOF_GRACE: Duration = Duration::from_secs(1);

/// Where an agent has its files.
#[derive(Debug)]
pub(super) struct Place {
    /// The working directories of the pool's contexts.
    pub workspace: PathBuf,
    /// Its HOME.
    pub home: PathBuf,
    /// The user that it runs as, if that is another one.
    pub owner: Option<Owner>,
    /// Its id, which makes the names of directories unique.
    pub agent: String,
}

/// A turn that waits for the answer of a person, while its agent runs other sessions.
pub(super) struct HeldTurn {
    pub task: TaskId,
    pub context: ContextId,
    pub session: Session,
    pub turn: TurnMachine,
    /// The request that the turn is the answer of.
    pub prompt: u64,
    /// The permission, as the agent named it.
    pub permission: Box<RawValue>,
    /// Whether the context had nothing before: its directory is of no use without the turn.
    pub is_first: bool,
}

/// A session that was asked for.
pub(super) struct PendingSession {
    /// The request for it.
    pub request: u64,
    /// Its working directory.
    pub dir: String,
    pub cwd: PathBuf,
}

/// One warm agent that speaks ACP.
///
/// It plays one turn at a time. Other sessions are idle, or wait for the answer of a person. Dropping it kills the process
/// and everything that it started.
pub struct AcpDriver {
    pub(super) spec: Arc<AcpSpec>,
    pub(super) connection: Connection,
    pub(super) capabilities: Capabilities,
    pub(super) place: Place,
    pub(super) sessions: SessionTable,
    /// A session that was made in advance, and whether it has its mode and its options.
    pub(super) ready: Option<(Session, bool)>,
    /// A session that is being made in advance.
    pub(super) pending: Option<PendingSession>,
    /// The agent refused a session in advance.
    pub(super) cannot_advance: bool,
    pub(super) held: Vec<HeldTurn>,
    pub(super) made: u64,
    refilled_at: Instant,
    /// Set while an attempt runs, and after it if its future was dropped.
    is_busy: bool,
}

impl AcpDriver {
    pub(super) fn new(spec: Arc<AcpSpec>, connection: Connection, capabilities: Capabilities, place: Place) -> Self {
        let sessions = SessionTable::new(spec.sessions_per_agent);
        Self {
            spec,
            connection,
            capabilities,
            place,
            sessions,
            ready: None,
            pending: None,
            cannot_advance: false,
            held: Vec::new(),
            made: 0,
            refilled_at: Instant::now(),
            is_busy: false,
        }
    }

    /// Returns the process id.
    pub fn process_id(&self) -> u32 {
        self.connection.pid()
    }

    /// Returns how the agent described itself.
    pub fn agent_name(&self) -> &str {
        &self.capabilities.name
    }

    async fn run_attempt(&mut self, request: &AttemptRequest, cx: &mut AgentContext) -> Result<Payload, AgentError> {
        let text = request::text_of(request.input.as_str());
        let (session, turn, prompt) = match self.resume_held(request)? {
            Some(held) => (held.session, held.turn, held.prompt),
            None => {
                self.drop_held_of(cx).await?;
                let (session, before) = self.open_within_grace(cx).await?;
                let prompt_text = format!("{}{text}", before.unwrap_or_default());
                let (turn, prompt) = self.begin_turn(&session, &prompt_text)?;
                (session, turn, prompt)
            }
        };
        match self.play(&session, turn, prompt, request, cx).await {
            Ok(Played::Asks(held, question)) => {
                cx.ask(*question);
                self.held.extend(held.map(|held| *held));
                Ok(Payload::null())
            }
            Ok(Played::Ended(turn)) => self.finish(session, &turn, &text, cx).await,
            Err(error) => {
                self.abandon(session, cx, error.is_agent_usable()).await;
                Err(error)
            }
        }
    }

    /// Makes a result of a turn that has ended, and stores what it changed.
    async fn finish(
        &mut self,
        session: Session,
        turn: &TurnMachine,
        text: &str,
        cx: &mut AgentContext,
    ) -> Result<Payload, AgentError> {
        turn.usage().iter().for_each(|(name, count)| cx.add_usage(name, *count));
        if let Some(error) = verdict::failure(turn, &self.spec.failures, self.spec.retries_refusals()) {
            self.abandon(session, cx, error.is_agent_usable()).await;
            return Err(error);
        }
        let output = super::saving::output(turn)?;
        match cx.id().cloned() {
            None => self.abandon(session, cx, true).await,
            Some(id) => {
                self.save(&session, turn, text, cx).await?;
                self.sessions.record(&id, session, cx.version(), cx.items());
            }
        }
        Ok(output)
    }

    /// Closes a session that has what no context has: that of a failed attempt, or of a task without a context.
    async fn abandon(&mut self, session: Session, cx: &AgentContext, is_usable: bool) {
        if let Some(id) = cx.id() {
            self.sessions.remove(id);
        }
        if is_usable {
            self.close(&session).await;
        }
        // The directory stays if the context goes on in it.
        let stored = cx.id().and_then(|_| Conversation::read(cx.items()).session);
        if stored.is_none_or(|stored| stored.dir != session.dir) {
            self.remove_directory(session.cwd);
        }
    }

    /// The error for an agent that continued after a cancellation.
    pub(super) fn ignored_cancel(&self) -> AgentError {
        let grace = self.spec.cancel_grace.as_secs_f64();
        let message = format!("{} did not stop within cancel_grace = {grace} s and is stopped", self.connection.name());
        AgentError::new(ErrorKind::Cancelled, message, false, false)
    }
}

impl Driver for AcpDriver {
    fn run<'a>(
        &'a mut self,
        request: &'a AttemptRequest,
        cx: &'a mut AgentContext,
    ) -> LocalBoxFuture<'a, Result<Payload, AgentError>> {
        Box::pin(async move {
            self.is_busy = true;
            self.connection.wire().allow(self.spec.max_output_bytes, "in one task (max_output_bytes)");
            let result = self.run_attempt(request, cx).await;
            self.connection.wire().allow(self.spec.max_idle_bytes, "in a minute without a task (max_idle_bytes)");
            self.refilled_at = Instant::now();
            self.is_busy = false;
            match result {
                Err(error) => Err(error.with_log(self.connection.last_lines().await)),
                answer => answer,
            }
        })
    }

    fn can_die(&self) -> bool {
        true
    }

    fn died(&mut self) -> LocalBoxFuture<'_, AgentError> {
        Box::pin(async move {
            if let Err(error) = self.ask_for_ready().await {
                return error;
            }
            loop {
                // Agents report titles, commands and usage whenever they like.
                if self.refilled_at.elapsed() >= IDLE_PERIOD {
                    self.refilled_at = Instant::now();
                    self.connection
                        .wire()
                        .allow(self.spec.max_idle_bytes, "in a minute without a task (max_idle_bytes)");
                }
                let dismissed = match self.connection.next().await {
                    Ok(Incoming::Permission(id, _)) => self.connection.answer_permission(&id, None),
                    Ok(Incoming::Answer(id, result)) if self.is_pending(id) => self.adopt_ready(result),
                    Ok(Incoming::Answer(id, result)) => {
                        // A turn that waits for a person has ended by itself.
                        if self.held.iter().any(|held| held.prompt == id) {
                            self.connection.put_early(id, result);
                        }
                        Ok(())
                    }
                    Ok(Incoming::Update(_) | Incoming::Nothing) => Ok(()),
                    Err(error) => return error,
                };
                if let Err(error) = dismissed {
                    return error;
                }
            }
        })
    }

    fn stop(self: Box<Self>, grace: Duration) -> LocalBoxFuture<'static, ()> {
        let Self { spec, connection, is_busy, ready, pending, .. } = *self;
        Box::pin(async move {
            let deadline = after(Instant::now(), grace.min(spec.stop_grace));
            let mut wire = connection.into_wire();
            // The end of its input is a request to end. An agent in the middle of a turn may not notice.
            if !is_busy && !grace.is_zero() {
                let patience = EOF_GRACE.min(grace.min(spec.stop_grace) / 2);
                wire.close_input(patience).await;
                wire.wait_for_exit(patience).await;
            }
            wire.terminate(deadline.saturating_duration_since(Instant::now())).await;
            let unused = ready.map(|(session, _)| session.cwd).into_iter().chain(pending.map(|pending| pending.cwd));
            let unused: Vec<PathBuf> = unused.collect();
            let remove = move || unused.into_iter().for_each(|cwd| drop(std::fs::remove_dir(cwd)));
            let _emptied = tokio::task::spawn_blocking(remove).await;
        })
    }

    fn resident_contexts(&self) -> Option<ResidentContexts> {
        Some(self.sessions.contexts())
    }

    fn forget(&mut self, context: &ContextId) {
        let held: Vec<TaskId> =
            self.held.iter().filter(|held| held.context == *context).map(|held| held.task).collect();
        held.into_iter().for_each(|task| self.release(task));
        if let Some(session) = self.sessions.remove(context) {
            self.close_later(&session);
            self.remove_directory(session.cwd);
        }
    }

    fn contexts_with_files(&self) -> Vec<ContextId> {
        let is_held = |id: &ContextId| self.held.iter().any(|held| held.context == *id);
        self.sessions.ids().filter(|id| !is_held(id)).cloned().collect()
    }

    fn waiting_tasks(&self) -> Vec<TaskId> {
        self.held.iter().map(|held| held.task).collect()
    }

    fn release(&mut self, task: TaskId) {
        let Some(at) = self.held.iter().position(|held| held.task == task) else { return };
        let HeldTurn { context, session, mut turn, prompt, is_first, .. } = self.held.remove(at);
        if self.connection.take_early(prompt).is_none() {
            // An agent that has ended needs no answer.
            let _gone = self.dismiss(&session, &mut turn);
        }
        self.sessions.remove(&context);
        self.close_later(&session);
        if is_first {
            self.remove_directory(session.cwd);
        }
    }

    fn pid(&self) -> Option<u32> {
        Some(self.connection.pid())
    }
}

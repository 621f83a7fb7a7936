//! Plays one turn of a session.

use forerunner_core::{AgentRequest, ErrorKind, Payload, Question, RequestKind, RequestOption};
use forerunner_runtime::agent::{AgentContext, AgentError, AttemptRequest};
use serde_json::{Value, json, value::RawValue};
use tokio::time::{Instant, sleep_until};

use super::{
    connection::Incoming,
    driver::{AcpDriver, HeldTurn},
    permission::{Permission, PermissionMode, decide},
    request,
    rpc::RpcError,
    sessions::Session,
    turn::{TurnAction, TurnEvent, TurnMachine},
    update::StopReason,
};
use crate::process::after;

/// Most bytes of a tool's input that a question shows.
const SHOWN_INPUT_BYTES: usize = 8 << 10;

/// How far a turn was played.
pub(super) enum Played {
    /// It has ended.
    Ended(Box<TurnMachine>),
    /// Its agent asks a person. The process keeps the turn open if the task has a context, by which placement finds the
    /// process again.
    Asks(Option<Box<HeldTurn>>, Box<Question>),
}

/// What becomes of an open permission.
enum Decision {
    /// It is answered with this option, or cancelled if there is none.
    Reply(Option<String>),
    Ask,
}

impl AcpDriver {
    /// Sends the prompt.
    pub(super) fn begin_turn(&mut self, session: &Session, text: &str) -> Result<(TurnMachine, u64), AgentError> {
        let prompt = self.connection.send("session/prompt", &request::prompt(&session.id, text))?;
        let (version, notices) = (self.capabilities.version, self.spec.notice_texts());
        Ok((TurnMachine::new(version, notices, self.spec.stall_timeout, Instant::now()), prompt))
    }

    /// Answers the permission of the turn that waited for it; `None` if this process has no such turn.
    pub(super) fn resume_held(&mut self, attempt: &AttemptRequest) -> Result<Option<HeldTurn>, AgentError> {
        let Some(at) = self.held.iter().position(|held| held.task == attempt.task) else { return Ok(None) };
        let answer = attempt.requests.last().and_then(|request| request.answer.as_ref());
        let Some(option) = answer.and_then(|answer| answer.read::<String>().ok()) else { return Ok(None) };
        let mut held = self.held.remove(at);
        self.connection.answer_permission(&held.permission, Some(&option))?;
        let granted = held.turn.open_permission().is_some_and(|(_, permission)| permission.is_grant(&option));
        drop(held.turn.step(TurnEvent::Replied(granted), Instant::now()));
        Ok(Some(held))
    }

    /// Ends a turn of the attempt's context that waits for an answer which will not come.
    pub(super) async fn drop_held_of(&mut self, cx: &AgentContext) -> Result<(), AgentError> {
        let Some(at) = self.held.iter().position(|held| Some(&held.context) == cx.id()) else { return Ok(()) };
        let HeldTurn { context, session, turn, prompt, is_first, .. } = self.held.remove(at);
        self.sessions.remove(&context);
        self.end_turn(&session, turn, prompt).await?;
        self.close(&session).await;
        if is_first {
            self.remove_directory(session.cwd);
        }
        Ok(())
    }

    /// Plays a turn until it ends, or its agent asks a person.
    pub(super) async fn play(
        &mut self,
        session: &Session,
        mut turn: TurnMachine,
        prompt: u64,
        attempt: &AttemptRequest,
        cx: &AgentContext,
    ) -> Result<Played, AgentError> {
        let mut cancel_until = None;
        let mut stalled = false;
        let mut actions = if turn.open_permission().is_some() { vec![TurnAction::Decide] } else { Vec::new() };
        if let Some(early) = self.connection.take_early(prompt) {
            actions.extend(turn.step(answered(early), Instant::now()));
        }
        loop {
            while let Some(action) = actions.pop() {
                match action {
                    TurnAction::Output(text) => cx.output(text),
                    TurnAction::Progress(text) => cx.progress(text),
                    TurnAction::SendCancel => {
                        self.connection.notify("session/cancel", &request::of_session(&session.id))?;
                    }
                    TurnAction::Dismiss(id) => self.connection.answer_permission(&id, None)?,
                    TurnAction::Decide => {
                        let Some((id, permission)) = turn.open_permission().cloned() else { continue };
                        match self.decide(&permission, session, attempt) {
                            Decision::Reply(option) => {
                                self.connection.answer_permission(&id, option.as_deref())?;
                                let granted = option.is_some_and(|option| permission.is_grant(&option));
                                actions
                                    .extend(turn.step(TurnEvent::Replied(granted), Instant::now()).into_iter().rev());
                            }
                            Decision::Ask => {
                                return self.ask(session, turn, prompt, (id, permission), attempt, cx).await;
                            }
                        }
                    }
                }
            }
            if turn.has_ended() {
                return if stalled { Err(self.stalled(true)) } else { Ok(Played::Ended(Box::new(turn))) };
            }
            let event = tokio::select! {
                biased;
                message = self.connection.next() => match self.event_of(message?, session, prompt)? {
                    Some(event) => event,
                    None => continue,
                },
                () = cx.cancelled(), if cancel_until.is_none() => {
                    cancel_until = Some(after(Instant::now(), self.spec.cancel_grace));
                    TurnEvent::Cancel
                }
                () = reached(cancel_until) => {
                    return Err(if stalled { self.stalled(false) } else { self.ignored_cancel() });
                }
                () = reached(turn.stalls_at()), if cancel_until.is_none() => {
                    stalled = true;
                    cancel_until = Some(after(Instant::now(), self.spec.cancel_grace));
                    TurnEvent::Cancel
                }
            };
            actions = turn.step(event, Instant::now());
            actions.reverse();
        }
    }

    /// Cancels a turn, and answers its open permissions `cancelled`, without waiting for its end.
    pub(super) fn dismiss(&mut self, session: &Session, turn: &mut TurnMachine) -> Result<(), AgentError> {
        for action in turn.step(TurnEvent::Cancel, Instant::now()) {
            match action {
                TurnAction::SendCancel => {
                    self.connection.notify("session/cancel", &request::of_session(&session.id))?;
                }
                TurnAction::Dismiss(id) => self.connection.answer_permission(&id, None)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends a turn that nobody waits for.
    async fn end_turn(&mut self, session: &Session, mut turn: TurnMachine, prompt: u64) -> Result<(), AgentError> {
        let until = after(Instant::now(), self.spec.cancel_grace);
        let mut event = match self.connection.take_early(prompt) {
            Some(early) => answered(early),
            None => TurnEvent::Cancel,
        };
        loop {
            for action in turn.step(event, Instant::now()) {
                match action {
                    TurnAction::SendCancel => {
                        self.connection.notify("session/cancel", &request::of_session(&session.id))?;
                    }
                    TurnAction::Dismiss(id) => self.connection.answer_permission(&id, None)?,
                    _ => {}
                }
            }
            if turn.has_ended() {
                return Ok(());
            }
            event = loop {
                let message = tokio::select! {
                    message = self.connection.next() => message?,
                    () = sleep_until(until) => return Err(self.ignored_cancel()),
                };
                if let Some(event) = self.event_of(message, session, prompt)? {
                    break event;
                }
            };
        }
    }

    /// What a message means for the turn of `session`; `None` if it is about something else.
    fn event_of(&mut self, message: Incoming, session: &Session, prompt: u64) -> Result<Option<TurnEvent>, AgentError> {
        match message {
            Incoming::Answer(id, result) if id == prompt => Ok(Some(answered(result))),
            Incoming::Answer(id, result) if self.is_pending(id) => self.adopt_ready(result).map(|()| None),
            Incoming::Answer(id, result) => {
                if self.held.iter().any(|held| held.prompt == id) {
                    self.connection.put_early(id, result);
                }
                Ok(None)
            }
            Incoming::Update(update) if update.session == session.id => Ok(Some(TurnEvent::Update(update.update))),
            Incoming::Update(_) | Incoming::Nothing => Ok(None),
            Incoming::Permission(id, permission) if permission.session == session.id => {
                Ok(Some(TurnEvent::Asked(id, permission)))
            }
            Incoming::Permission(id, _) => {
                // A session without a turn has nobody who would decide.
                self.connection.answer_permission(&id, None)?;
                Ok(None)
            }
        }
    }

    fn decide(&self, permission: &Permission, session: &Session, attempt: &AttemptRequest) -> Decision {
        let cwd = session.cwd.to_string_lossy();
        if let Some(option) = known_answer(&attempt.requests, permission, &cwd) {
            return Decision::Reply(Some(option));
        }
        let option = |allow| Decision::Reply(permission.option(allow).map(|option| option.option_id.clone()));
        match decide(permission, self.spec.permissions, &self.spec.rules, &cwd) {
            PermissionMode::Allow => option(true),
            PermissionMode::Deny => option(false),
            PermissionMode::Ask if permission.options.is_empty() => Decision::Reply(None),
            PermissionMode::Ask => Decision::Ask,
        }
    }

    /// Makes a question of a permission. Without a context the turn ends: no other attempt would find it.
    async fn ask(
        &mut self,
        session: &Session,
        turn: TurnMachine,
        prompt: u64,
        (id, permission): (Box<RawValue>, Permission),
        attempt: &AttemptRequest,
        cx: &AgentContext,
    ) -> Result<Played, AgentError> {
        let cwd = session.cwd.to_string_lossy();
        let question = Box::new(question(&permission, &cwd, self.spec.waiting_timeout));
        let Some(context) = cx.id().cloned() else {
            self.end_turn(session, turn, prompt).await?;
            self.close(session).await;
            self.remove_directory(session.cwd.clone());
            return Ok(Played::Asks(None, question));
        };
        self.sessions.record(&context, session.clone(), cx.version(), cx.items());
        let (task, session, is_first) = (attempt.task, session.clone(), cx.items().is_empty());
        let held = HeldTurn { task, context, session, turn, prompt, permission: id, is_first };
        Ok(Played::Asks(Some(Box::new(held)), question))
    }

    /// The error for an agent that was silent for too long.
    fn stalled(&self, is_usable: bool) -> AgentError {
        let limit = self.spec.stall_timeout.as_secs_f64();
        let message = format!(
            "the agent was silent for stall_timeout = {limit} s while none of its tools ran; its model may not answer"
        );
        AgentError::new(ErrorKind::AgentError, message, true, is_usable)
    }
}

/// The answer to `session/prompt`.
fn answered(result: Result<Box<RawValue>, RpcError>) -> TurnEvent {
    let stop = result.map(|result| {
        let value: Value = serde_json::from_str(result.get()).unwrap_or(Value::Null);
        value.get("stopReason").and_then(Value::as_str).map(|stop| StopReason::named(stop, None))
    });
    TurnEvent::Answered(stop)
}

/// The answer that a person gave to the same question in an attempt before, as an option of this permission.
fn known_answer(requests: &[AgentRequest], permission: &Permission, cwd: &str) -> Option<String> {
    let fingerprint = permission.fingerprint(cwd);
    let same = requests.iter().rev().find(|request| request.fingerprint == fingerprint && request.answer.is_some())?;
    let given: String = same.answer.as_ref()?.read().ok()?;
    let kind = same.options.iter().find(|option| option.id == given).map(|option| option.kind.as_str());
    let options = &permission.options;
    let by_kind = options.iter().find(|option| Some(option.kind.as_str()) == kind);
    let option = by_kind.or_else(|| options.iter().find(|option| option.option_id == given))?;
    Some(option.option_id.clone())
}

fn question(permission: &Permission, cwd: &str, timeout: std::time::Duration) -> Question {
    let input = permission.input.as_ref().map(|input| match input.to_string() {
        text if text.len() <= SHOWN_INPUT_BYTES => input.clone(),
        text => Value::from(format!("{}… {} bytes in all", cut(&text), text.len())),
    });
    let details = json!({ "tool": permission.tool, "paths": permission.paths, "input": input });
    let option = |option: &super::permission::PermissionOption| RequestOption {
        id: option.option_id.clone(),
        name: option.name.clone(),
        kind: option.kind.clone(),
    };
    Question {
        kind: RequestKind::Permission,
        prompt: permission.title.clone(),
        options: permission.options.iter().map(option).collect(),
        schema: None,
        details: Payload::mended_value(&details).ok(),
        fingerprint: permission.fingerprint(cwd),
        timeout,
    }
}

fn cut(text: &str) -> &str {
    let end = (0..=SHOWN_INPUT_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

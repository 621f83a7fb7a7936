//! Opens, resumes and closes sessions.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use forerunner_runtime::agent::{AgentContext, AgentError, Transfer};
use serde_json::{Value, value::RawValue};
use tokio::time::{Instant, sleep};

use super::{
    connection::CallError,
    conversation::{Conversation, SessionFile, SessionRef},
    driver::{AcpDriver, PendingSession, Place},
    factory::start_error,
    files, request,
    rpc::RpcError,
    sessions::Session,
};
use crate::process::short;

/// Most bytes of a transcript that an agent without the session is sent.
const MOST_TRANSCRIPT_BYTES: usize = 256 << 10;
/// How long a session that is of no use any more may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl AcpDriver {
    /// Makes a session, so that the first task does not wait for what only the first session costs.
    pub(super) async fn warm_up(&mut self, limit: Duration) -> Result<(), AgentError> {
        let session = match self.create(limit).await {
            Ok(session) => session,
            Err(OpenError::Call(method, error)) => {
                return Err(start_error(&self.connection, &self.spec, method, error));
            }
            Err(OpenError::Files(error)) => return Err(error),
        };
        self.ready = Some((session, true));
        Ok(())
    }

    /// Opens the session of the attempt's context. A cancellation that is ignored for `cancel_grace` ends the wait.
    ///
    /// The text, if there is one, is what the agent has to know of the conversation so far.
    pub(super) async fn open_within_grace(
        &mut self,
        cx: &mut AgentContext,
    ) -> Result<(Session, Option<String>), AgentError> {
        let (cancelled, grace) = (cx.cancellation(), self.spec.cancel_grace);
        let stuck = async move {
            cancelled.cancelled().await;
            sleep(grace).await;
        };
        let opened = tokio::select! {
            opened = self.open(cx) => Some(opened),
            () = stuck => None,
        };
        match opened {
            None => Err(self.ignored_cancel()),
            Some(Ok(_)) if cx.is_cancelled() => Err(AgentError::cancelled()),
            Some(opened) => opened,
        }
    }

    async fn open(&mut self, cx: &mut AgentContext) -> Result<(Session, Option<String>), AgentError> {
        let Some(id) = cx.id().cloned() else { return Ok((self.take_or_create().await?, None)) };
        let known = self.sessions.find(&id, cx.items());
        if let Some((session, true)) = known {
            cx.add_transfer(Transfer { was_resident: Some(true), ..Transfer::default() });
            return Ok((session, None));
        }
        let begun = Instant::now();
        let held: Vec<_> = self.held.iter().map(|held| held.context.clone()).collect();
        if let Some(oldest) = self.sessions.evict_for(&id, &held.iter().collect::<Vec<_>>()) {
            self.close(&oldest).await;
        }
        // A process may still have an older state of a session in its memory, unless it closes the session.
        let mut may_load = true;
        if let Some((stale, _)) = known {
            self.sessions.remove(&id);
            may_load = self.close(&stale).await;
        }
        let talk = Conversation::read(cx.items());
        let bytes = talk.files.iter().map(|file| file.text.len() as u64).sum();
        let opened = match talk.session.as_ref().filter(|_| may_load && !talk.files.is_empty()) {
            Some(session) => self.load(session, &talk.files).await?,
            None => None,
        };
        let (session, before, bytes) = match opened {
            Some(session) => (session, None, bytes),
            None => {
                let before = talk.as_text(MOST_TRANSCRIPT_BYTES);
                let bytes = before.as_ref().map_or(0, |text| text.len() as u64);
                (self.take_or_create().await?, before, bytes)
            }
        };
        let load_s = if bytes > 0 { begun.elapsed().as_secs_f64() } else { 0.0 };
        let was_resident = Some(cx.items().is_empty());
        cx.add_transfer(Transfer { to_agent_bytes: bytes, load_s, was_resident, ..Transfer::default() });
        Ok((session, before))
    }

    /// Loads a session from its files; `None` if the agent does not find it, or cannot.
    async fn load(&mut self, stored: &SessionRef, stored_files: &[SessionFile]) -> Result<Option<Session>, AgentError> {
        let method = match &self.capabilities {
            capabilities if capabilities.can_resume => "session/resume",
            capabilities if capabilities.can_load => "session/load",
            _ => return Ok(None),
        };
        if stored.agent != self.spec.identity() || !is_name(&stored.dir) {
            return Ok(None);
        }
        let (place, files) = ((self.place.home.clone(), self.place.owner), stored_files.to_vec());
        let written = blocking(move || {
            files.iter().try_for_each(|file| files::write(&place.0, &file.path, file.text.as_bytes(), place.1))
        });
        if let Err(error) = written.await {
            tracing::debug!(%error, session = stored.session, "the files of a session cannot be written");
            return Ok(None);
        }
        let cwd = self.make_directory(&stored.dir).await?;
        let session = Session { id: stored.session.clone(), dir: stored.dir.clone(), cwd };
        let params = request::session(&session.cwd, Some(&session.id));
        self.connection.know(&session.id, &session.cwd);
        match self.connection.call(method, &params, self.spec.load_timeout).await {
            Ok(_) => {
                self.configure(&session, self.spec.load_timeout).await.map_err(|error| self.open_error(error))?;
                Ok(Some(session))
            }
            Err(CallError::Answer(error)) => {
                tracing::debug!(error = error.message, session = session.id, "an agent does not find a session");
                self.connection.forget(&session.id);
                Ok(None)
            }
            Err(error) => Err(self.open_error(OpenError::Call(method, error))),
        }
    }

    /// Returns the session that was made in advance, or a new one.
    async fn take_or_create(&mut self) -> Result<Session, AgentError> {
        let limit = self.spec.load_timeout;
        if let Some((session, is_configured)) = self.ready.take() {
            if !is_configured {
                self.configure(&session, limit).await.map_err(|error| self.open_error(error))?;
            }
            return Ok(session);
        }
        let made = match self.pending.take() {
            Some(pending) => self.wait_for_session(pending, limit).await,
            None => self.create(limit).await,
        };
        made.map_err(|error| self.open_error(error))
    }

    /// Asks an idle agent for a session in advance, for the next new conversation.
    pub(super) async fn ask_for_ready(&mut self) -> Result<(), AgentError> {
        // The answer may have come while the agent was asked for something else.
        let early = self.pending.as_ref().and_then(|pending| self.connection.take_early(pending.request));
        if let Some(early) = early {
            self.adopt_ready(early)?;
        }
        if self.ready.is_none() && self.pending.is_none() && !self.cannot_advance {
            self.pending = Some(self.ask_for_session().await?);
        }
        Ok(())
    }

    /// Whether this is the request for a session in advance.
    pub(super) fn is_pending(&self, request: u64) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.request == request)
    }

    /// Makes the session ready that was asked for. It does not wait: a task may arrive at any time, and would drop what
    /// waits.
    pub(super) fn adopt_ready(&mut self, answer: Result<Box<RawValue>, RpcError>) -> Result<(), AgentError> {
        let Some(PendingSession { dir, cwd, .. }) = self.pending.take() else { return Ok(()) };
        match answer {
            Ok(answer) => {
                let answer = serde_json::from_str(answer.get()).unwrap_or(Value::Null);
                self.ready = Some((self.session_of(&answer, dir, cwd)?, false));
            }
            Err(error) => {
                // The next task asks again, and reports the error.
                tracing::debug!(error = error.message, "no session in advance");
                self.cannot_advance = true;
                self.remove_directory(cwd);
            }
        }
        Ok(())
    }

    async fn create(&mut self, limit: Duration) -> Result<Session, OpenError> {
        let pending = self.ask_for_session().await.map_err(OpenError::Files)?;
        self.wait_for_session(pending, limit).await
    }

    async fn ask_for_session(&mut self) -> Result<PendingSession, AgentError> {
        self.made += 1;
        let dir = format!("{}-{}", self.place.agent, self.made);
        let cwd = self.make_directory(&dir).await?;
        let request = self.connection.send("session/new", &request::session(&cwd, None))?;
        Ok(PendingSession { request, dir, cwd })
    }

    async fn wait_for_session(&mut self, pending: PendingSession, limit: Duration) -> Result<Session, OpenError> {
        let PendingSession { request, dir, cwd } = pending;
        let call = |error| OpenError::Call("session/new", error);
        let answer = self.connection.receive(request, limit).await.map_err(call)?;
        let session = self.session_of(&answer, dir, cwd).map_err(|error| call(CallError::Broken(error)))?;
        self.configure(&session, limit).await?;
        Ok(session)
    }

    /// Reads the answer to `session/new`.
    fn session_of(&mut self, answer: &Value, dir: String, cwd: PathBuf) -> Result<Session, AgentError> {
        let Some(id) = answer.get("sessionId").and_then(Value::as_str).filter(|id| !id.is_empty()) else {
            return Err(self.connection.protocol_error("answered `session/new` without a `sessionId`"));
        };
        if self.connection.knows(id) {
            let what = format!("gave a new session the id of another one, `{}`", short(id));
            return Err(self.connection.protocol_error(&what));
        }
        let session = Session { id: id.to_owned(), dir, cwd };
        self.connection.know(&session.id, &session.cwd);
        Ok(session)
    }

    /// Sets the mode and the options that the operator wants.
    async fn configure(&mut self, session: &Session, limit: Duration) -> Result<(), OpenError> {
        let version = self.capabilities.version;
        let mode = self.spec.mode.iter().map(|mode| request::mode(version, &session.id, mode));
        let options = self.spec.options.iter().map(|(id, value)| request::option(version, &session.id, id, value));
        for (method, params) in mode.chain(options).collect::<Vec<_>>() {
            self.connection.call(method, &params, limit).await.map_err(|error| OpenError::Call(method, error))?;
        }
        Ok(())
    }

    /// Closes a session, so that the agent forgets it. Answers whether the agent did.
    pub(super) async fn close(&mut self, session: &Session) -> bool {
        self.connection.forget(&session.id);
        let params = request::of_session(&session.id);
        self.capabilities.can_close && self.connection.call("session/close", &params, CLOSE_TIMEOUT).await.is_ok()
    }

    /// Asks the agent to close a session, and does not wait until it has.
    pub(super) fn close_later(&mut self, session: &Session) {
        self.connection.forget(&session.id);
        if self.capabilities.can_close {
            // An agent that has ended closes nothing.
            let _gone = self.connection.send("session/close", &request::of_session(&session.id));
        }
    }

    /// Removes a working directory in the background.
    pub(super) fn remove_directory(&self, cwd: PathBuf) {
        tokio::task::spawn_blocking(move || {
            if let Err(error) = fs::remove_dir_all(&cwd).or_else(unless_gone) {
                tracing::warn!(directory = %cwd.display(), %error, "cannot remove the working directory of a context");
            }
        });
    }

    async fn make_directory(&self, dir: &str) -> Result<PathBuf, AgentError> {
        let (place, path) = ((self.place.workspace.clone(), self.place.owner), self.place.workspace.join(dir));
        let made = path.clone();
        let failed = |error: io::Error| {
            AgentError::retryable(format!("the working directory {} cannot be made: {error}", path.display()))
        };
        blocking(move || Place::make_directory(&place.0, &made, place.1.map(|owner| (owner.uid, owner.gid))))
            .await
            .map_err(failed)?;
        Ok(path)
    }

    fn open_error(&self, error: OpenError) -> AgentError {
        match error {
            OpenError::Files(error) | OpenError::Call(_, CallError::Broken(error)) => error,
            OpenError::Call(method, CallError::TimedOut) => {
                let limit = self.spec.load_timeout.as_secs_f64();
                self.connection.protocol_error(&format!("did not answer `{method}` within load_timeout = {limit} s"))
            }
            OpenError::Call(method, CallError::Answer(error)) => AgentError::retryable(format!(
                "the agent refuses `{method}`: {} (code {})",
                short(&error.message),
                error.code
            )),
        }
    }
}

/// Why there is no session.
enum OpenError {
    Call(&'static str, CallError),
    Files(AgentError),
}

impl Place {
    /// Makes a directory that only the agent can enter, below those of the node.
    fn make_directory(workspace: &Path, path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(workspace)?;
        let metadata = fs::symlink_metadata(workspace)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || !metadata.is_dir() {
            let message =
                format!("{} belongs to another user; name a directory of your own in `workspace`", workspace.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        let Some((uid, gid)) = owner else { return Ok(()) };
        // Another user has to get there.
        for directory in [Some(workspace), workspace.parent()].into_iter().flatten() {
            let mode = fs::metadata(directory)?.permissions().mode();
            if mode & 0o011 == 0 {
                fs::set_permissions(directory, fs::Permissions::from_mode(mode | 0o011))?;
            }
        }
        chown(path, Some(uid), Some(gid))
    }
}

/// Whether a stored name is one that this node would give.
fn is_name(dir: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=100).contains(&dir.len()) && dir.bytes().all(is_plain)
}

fn unless_gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Runs what waits for a disk outside of the actors' thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(io::Error::other("the work on files panicked")))
}

//! The connection to one agent: matches answers to requests, and serves what agents ask of their client.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use forerunner_runtime::agent::AgentError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use tokio::time::timeout;

use super::{
    files,
    permission::Permission,
    request,
    rpc::{INTERNAL, INVALID_PARAMS, METHOD_NOT_FOUND, Message, RpcError, answer_line, call_line, parse},
    update::{self, SessionUpdate},
};
use crate::process::{Owner, ProcessSpec, Wire, short};

/// Most bytes of a file that the node reads for an agent.
const MOST_FILE_BYTES: u64 = 16 << 20;

/// A reason why a request has no result.
#[derive(Debug)]
pub(super) enum CallError {
    /// The agent answered with an error.
    Answer(RpcError),
    /// The agent did not answer in time.
    TimedOut,
    /// The agent has ended, or cannot be trusted any more.
    Broken(AgentError),
}

/// A message that the driver has to react to.
#[derive(Debug)]
pub(super) enum Incoming {
    /// The answer to a request of the node.
    Answer(u64, Result<Box<RawValue>, RpcError>),
    /// A report about a session.
    Update(SessionUpdate),
    /// The agent asks for a permission.
    Permission(Box<RawValue>, Permission),
    /// The connection has dealt with it.
    Nothing,
}

/// The connection to one agent. Dropping it kills the agent and everything that it started.
pub(super) struct Connection {
    wire: Wire,
    next_id: u64,
    unanswered: Vec<u64>,
    /// Answers that arrived while the node waited for another one.
    early: HashMap<u64, Result<Box<RawValue>, RpcError>>,
    /// The working directories of sessions: files of others are neither read nor written for the agent.
    directories: HashMap<String, PathBuf>,
    owner: Option<Owner>,
}

impl Connection {
    /// Starts the agent. `name` is part of the name of its directory.
    pub async fn open(spec: Arc<ProcessSpec>, name: String, owner: Option<Owner>) -> io::Result<Self> {
        let wire = Wire::open(spec, name).await?;
        let (early, directories) = (HashMap::new(), HashMap::new());
        Ok(Self { wire, next_id: 1, unanswered: Vec::new(), early, directories, owner })
    }

    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    pub fn into_wire(self) -> Wire {
        self.wire
    }

    pub fn pid(&self) -> u32 {
        self.wire.pid()
    }

    pub fn name(&self) -> String {
        self.wire.name()
    }

    pub fn protocol_error(&self, what: &str) -> AgentError {
        self.wire.protocol_error(what)
    }

    pub async fn last_lines(&self) -> Option<String> {
        self.wire.last_lines().await
    }

    /// Names the working directory of a session.
    pub fn know(&mut self, session: &str, directory: &Path) {
        self.directories.insert(session.to_owned(), directory.to_owned());
    }

    /// Whether a session of this id is open.
    pub fn knows(&self, session: &str) -> bool {
        self.directories.contains_key(session)
    }

    pub fn forget(&mut self, session: &str) {
        self.directories.remove(session);
    }

    /// Queues a request and returns its id.
    pub fn send(&mut self, method: &str, params: &Value) -> Result<u64, AgentError> {
        let id = self.next_id;
        self.next_id += 1;
        self.unanswered.push(id);
        self.wire.write(&call_line(Some(id), method, params)?)?;
        Ok(id)
    }

    /// Queues a notification.
    pub fn notify(&mut self, method: &str, params: &Value) -> Result<(), AgentError> {
        self.wire.write(&call_line(None, method, params)?)
    }

    /// Answers a request of the agent.
    pub fn answer<P: Serialize>(&mut self, id: &RawValue, result: Result<&P, &RpcError>) -> Result<(), AgentError> {
        self.wire.write(&answer_line(id, result)?)
    }

    /// Answers a permission; without an option it is cancelled.
    pub fn answer_permission(&mut self, id: &RawValue, option: Option<&str>) -> Result<(), AgentError> {
        self.answer(id, Ok(&request::outcome(option)))
    }

    /// Returns an answer that arrived earlier than it was waited for.
    pub fn take_early(&mut self, id: u64) -> Option<Result<Box<RawValue>, RpcError>> {
        self.early.remove(&id)
    }

    /// Remembers an answer that is waited for later.
    pub fn put_early(&mut self, id: u64, result: Result<Box<RawValue>, RpcError>) {
        self.early.insert(id, result);
    }

    /// Sends a request and waits for its answer, at most for `limit`. Reports meanwhile are ignored: such are the replays of
    /// a session that is loaded. A permission that is asked meanwhile is cancelled.
    pub async fn call(&mut self, method: &str, params: &Value, limit: Duration) -> Result<Value, CallError> {
        let request = self.send(method, params).map_err(CallError::Broken)?;
        self.receive(request, limit).await
    }

    /// Waits for the answer to a request that was sent, as [`Connection::call`].
    pub async fn receive(&mut self, request: u64, limit: Duration) -> Result<Value, CallError> {
        match timeout(limit, self.wait_for(request)).await {
            Ok(Ok(result)) => {
                let result = result.map_err(CallError::Answer)?;
                Ok(serde_json::from_str(result.get()).unwrap_or(Value::Null))
            }
            Ok(Err(error)) => Err(CallError::Broken(error)),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    async fn wait_for(&mut self, request: u64) -> Result<Result<Box<RawValue>, RpcError>, AgentError> {
        loop {
            if let Some(result) = self.early.remove(&request) {
                return Ok(result);
            }
            match self.next().await? {
                Incoming::Answer(id, result) => self.put_early(id, result),
                Incoming::Permission(id, _) => self.answer_permission(&id, None)?,
                Incoming::Update(_) | Incoming::Nothing => {}
            }
        }
    }

    /// Waits for the next message. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `lost` when the agent ended, `protocol` when it broke a rule. The agent is not usable afterwards.
    pub async fn next(&mut self) -> Result<Incoming, AgentError> {
        let line = self.wire.next_line().await?;
        let message = parse(self.wire.bytes(line)).map_err(|what| self.protocol_error(&what))?;
        match message {
            Message::Answer { id, result } => Ok(self.on_answer(id, result)),
            Message::Request { id, method, params } => self.on_request(&id, &method, &params),
            Message::Notification { method, params } if method == "session/update" => {
                Ok(update::read(&params).map_or(Incoming::Nothing, Incoming::Update))
            }
            Message::Notification { .. } | Message::Nothing => Ok(Incoming::Nothing),
        }
    }

    /// An answer that nobody waits for means nothing.
    fn on_answer(&mut self, id: u64, result: Result<Box<RawValue>, RpcError>) -> Incoming {
        let Some(at) = self.unanswered.iter().position(|request| *request == id) else { return Incoming::Nothing };
        self.unanswered.swap_remove(at);
        Incoming::Answer(id, result)
    }

    fn on_request(&mut self, id: &RawValue, method: &str, params: &RawValue) -> Result<Incoming, AgentError> {
        match method {
            "session/request_permission" => match Permission::read(params) {
                Some(permission) => return Ok(Incoming::Permission(id.to_owned(), permission)),
                None => self.answer_permission(id, None)?,
            },
            "fs/write_text_file" | "fs/read_text_file" => match self.file(method, params) {
                Ok(result) => self.answer(id, Ok(&result))?,
                Err(error) => self.answer::<Value>(id, Err(&error))?,
            },
            _ => {
                let what = format!("this client does not have `{}`", short(method));
                self.answer::<Value>(id, Err(&RpcError::new(METHOD_NOT_FOUND, what)))?;
            }
        }
        Ok(Incoming::Nothing)
    }

    /// Reads or writes a file below the working directory of a session.
    fn file(&self, method: &str, params: &RawValue) -> Result<Value, RpcError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Params {
            session_id: String,
            path: String,
            #[serde(default)]
            content: String,
            #[serde(default)]
            line: Option<usize>,
            #[serde(default)]
            limit: Option<usize>,
        }
        let wrong = |error: serde_json::Error| RpcError::new(INVALID_PARAMS, error.to_string());
        let params: Params = serde_json::from_str(params.get()).map_err(wrong)?;
        let root = self.directories.get(&params.session_id);
        let root = root.ok_or_else(|| RpcError::new(INVALID_PARAMS, "there is no such session"))?;
        let below = params.path.strip_prefix(&*root.to_string_lossy()).map(|path| path.trim_start_matches('/'));
        let outside = || RpcError::new(INVALID_PARAMS, format!("the path is not below {}", root.display()));
        let path = below.filter(|path| !path.is_empty()).ok_or_else(outside)?;
        let failed = |error: io::Error| RpcError::new(INTERNAL, error.to_string());
        if method == "fs/write_text_file" {
            files::write(root, path, params.content.as_bytes(), self.owner).map_err(failed)?;
            return Ok(json!({}));
        }
        let text = files::read(root, path, MOST_FILE_BYTES).map_err(failed)?;
        let lines = text.split_inclusive('\n').skip(params.line.map_or(0, |line| line.saturating_sub(1)));
        Ok(json!({ "content": lines.take(params.limit.unwrap_or(usize::MAX)).collect::<String>() }))
    }
}

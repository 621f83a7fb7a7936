//! The connection to one child that speaks the protocol of this project: requests, answers, notifications.

use std::{io, sync::Arc, time::Duration};

use forerunner_context::{Dictionary, Error, StreamWindow};
use forerunner_runtime::agent::AgentError;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

pub(super) use super::wire::{Traffic, after};
use super::{
    ProcessSpec,
    protocol::{Message, REPORTS_SINCE, RpcError, parse_line, request_line},
    stderr_lines::StderrLines,
    transport::Transport,
    wire::Wire,
};
use crate::remote::RemoteWire;

/// A reason why a request has no result.
#[derive(Debug)]
pub(super) enum RequestError {
    /// The agent answered with an error.
    Answer(RpcError),
    /// The agent did not answer in time.
    TimedOut,
    /// The agent has ended or cannot be trusted any more.
    Broken(AgentError),
}

/// The connection to one agent. Dropping it kills a child and everything that it started.
pub(crate) struct Link {
    wire: Transport,
    next_id: u64,
    /// Requests without an answer: at most a task and its cancellation.
    unanswered: Vec<u64>,
    /// Whether the child speaks a version with `task/ask` and `log`.
    reports: bool,
}

impl Link {
    /// Starts the child. `name` is part of the name of its directory.
    pub(super) async fn open(spec: Arc<ProcessSpec>, name: String) -> io::Result<Self> {
        Ok(Self::over(Transport::Process(Box::new(Wire::open(spec, name).await?))))
    }

    /// Connects to an agent that dialled in.
    pub(crate) const fn remote(wire: RemoteWire) -> Self {
        Self::over(Transport::Remote(wire))
    }

    const fn over(wire: Transport) -> Self {
        Self { wire, next_id: 1, unanswered: Vec::new(), reports: false }
    }

    /// Returns a future that resolves when the agent has said goodbye; a child never does.
    pub(super) fn departure(&self) -> impl Future<Output = ()> + use<> {
        self.wire.departure()
    }

    /// Returns the process id, if the agent is a child.
    pub(super) fn pid(&self) -> Option<u32> {
        self.wire.pid()
    }

    /// Allows the child to write this much from now on. `occasion` describes when, for people.
    pub(super) fn allow(&mut self, bytes: usize, occasion: &'static str) {
        self.wire.allow(bytes, occasion);
    }

    /// Packs everything from now on, both ways, beginning with a dictionary if there is one.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(super) fn pack(&mut self, window: StreamWindow, dictionary: Option<&Dictionary>) -> Result<(), Error> {
        self.wire.pack(window, dictionary)
    }

    /// Reads `task/ask` and `log` from now on, if the child speaks a version that has them.
    pub(super) const fn set_protocol(&mut self, version: u32) {
        self.reports = version >= REPORTS_SINCE;
    }

    /// Returns the standard error of the child, line by line, until it is dropped.
    pub(super) fn follow_stderr(&self) -> StderrLines {
        self.wire.follow_stderr()
    }

    /// Returns the bytes that went over the pipe so far.
    pub(super) fn traffic(&self) -> Traffic {
        self.wire.traffic()
    }

    /// Returns whether `request` waits for its answer.
    pub(super) fn is_unanswered(&self, request: u64) -> bool {
        self.unanswered.contains(&request)
    }

    /// Queues a request and returns its id. It is written while the answer is awaited.
    pub(super) fn send<P: Serialize>(&mut self, method: &str, params: &P) -> Result<u64, AgentError> {
        let id = self.next_id;
        let line = request_line(id, method, params)?;
        self.next_id += 1;
        self.unanswered.push(id);
        self.wire.write(&line)?;
        Ok(id)
    }

    /// Sends a request and waits for its answer, at most for `limit`. Ignores notifications meanwhile.
    pub(super) async fn call<P: Serialize>(
        &mut self,
        method: &str,
        params: &P,
        limit: Duration,
    ) -> Result<Box<RawValue>, RequestError> {
        let request = self.send(method, params).map_err(RequestError::Broken)?;
        let answer = async {
            loop {
                match self.next().await {
                    Ok(Message::Answer { id, result }) if id == request => return result.map_err(RequestError::Answer),
                    Ok(_) => {}
                    Err(error) => return Err(RequestError::Broken(error)),
                }
            }
        };
        timeout(limit, answer).await.unwrap_or(Err(RequestError::TimedOut))
    }

    /// Waits for the child's next message, and writes what waits to be written. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `lost` when the child ended, `protocol` when it broke a rule. The child is not usable afterwards.
    pub(super) async fn next(&mut self) -> Result<Message, AgentError> {
        let line = self.wire.next_line().await?;
        let message = parse_line(self.wire.bytes(line), self.reports).map_err(|what| self.protocol_error(&what))?;
        if let Message::Answer { id, .. } = message {
            self.match_answer(id)?;
        }
        Ok(message)
    }

    fn match_answer(&mut self, id: u64) -> Result<(), AgentError> {
        if let Some(index) = self.unanswered.iter().position(|request| *request == id) {
            self.unanswered.swap_remove(index);
            return Ok(());
        }
        match (1..self.next_id).contains(&id) {
            true => Err(self.protocol_error(&format!("answered request {id} twice"))),
            false => Err(self.protocol_error(&format!("answered request {id}, which was never sent"))),
        }
    }

    /// The error for a child that broke a rule. `what` continues "the agent".
    pub(super) fn protocol_error(&self, what: &str) -> AgentError {
        self.wire.protocol_error(what)
    }

    /// Returns the last lines that the child wrote to standard error. None if it wrote nothing.
    pub(super) async fn last_lines(&self) -> Option<String> {
        self.wire.last_lines().await
    }

    /// Names the child in messages.
    pub(super) fn name(&self) -> String {
        self.wire.name()
    }

    /// Waits until the child has ended by itself, or `limit` is over.
    pub(super) async fn wait_for_exit(&mut self, limit: Duration) {
        self.wire.wait_for_exit(limit).await;
    }

    /// Ends the child and its group: SIGTERM, `grace`, SIGKILL.
    pub(super) async fn terminate(self, grace: Duration) {
        self.wire.terminate(grace).await;
    }
}

//! One connection of a remote agent, as a front uses it.
//!
//! Each message is a text. `N JSON` is message N of its sender, `ack N` confirms all messages up to N. The node begins with
//! `hello JSON`. The agent says `bye` when it will go: it gets no more tasks, and `shutdown` once it has none.

use std::sync::Arc;

use super::{Session, session::State};

/// One connection of a remote agent. Dropping it tells the session that it has ended.
#[derive(Debug)]
pub struct Connection {
    session: Arc<Session>,
    number: u64,
    /// The newest message that was sent on it.
    sent: u64,
    changes: tokio::sync::watch::Receiver<u64>,
}

impl Connection {
    /// Begins a connection whose agent has read `received` messages of the session.
    pub(super) fn new(session: Arc<Session>, received: u64) -> Self {
        let changes = session.changes();
        let number = session.connect(received);
        let sent = session.read(|state| state.confirmed);
        Self { session, number, sent, changes }
    }

    /// Returns the first message to send: the id of the session, and how many messages of the agent it has.
    pub fn hello(&self) -> String {
        let received = self.session.read(|state| state.received);
        let hello = serde_json::json!({ "session": self.session.id(), "received": received });
        format!("hello {hello}")
    }

    /// Takes a message of the agent. Returns what to reply, if anything.
    ///
    /// # Errors
    /// When the agent broke the protocol; the session has ended then. The text describes it, and continues "the agent".
    pub fn receive(&self, text: &str) -> Result<Option<String>, String> {
        let taken = self.take(text);
        if let Err(what) = &taken {
            self.session.end(what.as_str(), true);
        }
        taken
    }

    fn take(&self, text: &str) -> Result<Option<String>, String> {
        let broken = || "sent a message that is none of `N JSON`, `ack N` and `bye`".to_owned();
        if self.session.read(|state| state.is_over(self.number)) {
            // What an older connection still had in it comes again on the newer one.
            return Ok(None);
        }
        match text.split_once(' ') {
            None if text == "bye" => {
                self.session.leave();
                Ok(None)
            }
            Some(("ack", number)) => {
                self.session.confirm(number.parse().map_err(|_| broken())?);
                Ok(None)
            }
            Some((number, line)) => {
                self.session.receive(number.parse().map_err(|_| broken())?, line.as_bytes())?;
                Ok(Some(format!("ack {}", self.session.read(|state| state.received))))
            }
            None => Err(broken()),
        }
    }

    /// Waits for the next message to send. Dropping the future loses none; `None` when the connection is to be closed.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            let (message, is_over) = self.session.read(|state| {
                let message = state.message(self.sent + 1).map(|line| format!("{} {line}", self.sent + 1));
                (message, state.is_over(self.number))
            });
            if message.is_some() && !self.is_replaced() {
                self.sent += 1;
                return message;
            }
            if is_over {
                return None;
            }
            self.changes.changed().await.ok()?;
        }
    }

    /// Returns whether no pool has taken the agent yet.
    pub fn is_idle(&self) -> bool {
        self.session.read(State::is_waiting)
    }

    fn is_replaced(&self) -> bool {
        self.session.read(|state| state.connection != self.number)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.session.disconnect(self.number);
    }
}

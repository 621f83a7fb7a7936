//! The messages of one remote agent, over any number of connections.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

/// Most bytes of an agent's messages that wait to be read.
const MAX_UNREAD_BYTES: usize = 64 << 20;

/// How long a session bears that its agent is away, or confirms nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// From a broken connection to the next one.
    pub resume_timeout: Duration,
    /// From a message to its confirmation, while the agent is connected.
    pub write_timeout: Duration,
    /// Longest message of the agent, in bytes.
    pub max_line_bytes: usize,
}

/// Why a session has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// What happened; continues the name of the agent.
    pub what: String,
    /// Whether the agent broke the protocol.
    pub is_fault: bool,
}

/// One remote agent. Each side numbers its messages from 1, and has them until the other side has confirmed them. So a
/// connection that breaks loses nothing, and the next one repeats nothing that was read.
#[derive(Debug)]
pub(crate) struct Session {
    id: String,
    name: String,
    state: Mutex<State>,
    /// Wakes the driver.
    incoming: Notify,
    /// Wakes the connections: counts the changes.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
pub(super) struct State {
    patience: Patience,
    unread: VecDeque<Box<[u8]>>,
    unread_bytes: usize,
    /// The number of the newest message of the agent.
    pub(super) received: u64,
    /// Messages of the node that the agent has not confirmed: the first one has the number after `confirmed`.
    unconfirmed: VecDeque<Box<str>>,
    pub(super) confirmed: u64,
    /// When the agent last confirmed a message, or when the oldest unconfirmed one was written.
    progress_at: Instant,
    /// The number of the newest connection.
    pub(super) connection: u64,
    /// When the newest connection broke; `None` while it works.
    broken_at: Option<Instant>,
    /// Whether no pool has taken the agent yet.
    waits: bool,
    leaves: bool,
    ended: Option<End>,
}

impl Session {
    /// `id` is what the agent names to resume it, `name` is for people. It begins without a connection.
    pub(super) fn new(id: String, name: String, patience: Patience) -> Self {
        let now = Instant::now();
        let state = State {
            patience,
            unread: VecDeque::new(),
            unread_bytes: 0,
            received: 0,
            unconfirmed: VecDeque::new(),
            confirmed: 0,
            progress_at: now,
            connection: 0,
            broken_at: Some(now),
            waits: true,
            leaves: false,
            ended: None,
        };
        Self { id, name, state: Mutex::new(state), incoming: Notify::new(), changes: watch::Sender::default() }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Names the agent in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A pool takes the agent.
    pub(super) fn begin(&self, patience: Patience) {
        let mut state = self.state.lock();
        (state.patience, state.waits) = (patience, false);
    }

    /// Returns whether a driver may begin with it: its agent is connected, and stays.
    pub(super) fn is_usable(&self) -> bool {
        let state = self.state.lock();
        state.ended.is_none() && state.broken_at.is_none() && !state.leaves
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state.lock().ended.is_some()
    }

    /// Adds a message of the node.
    pub(crate) fn write(&self, line: &str) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        if state.unconfirmed.is_empty() {
            state.progress_at = Instant::now();
        }
        state.unconfirmed.push_back(line.into());
        drop(state);
        self.wake_connections();
    }

    /// Waits for the next message of the agent. Dropping the future loses none.
    ///
    /// # Errors
    /// When the session has ended.
    pub(crate) async fn next(&self) -> Result<Box<[u8]>, End> {
        loop {
            let deadline = {
                let mut state = self.state.lock();
                if let Some(line) = state.unread.pop_front() {
                    state.unread_bytes -= line.len();
                    return Ok(line);
                }
                if let Some(end) = &state.ended {
                    return Err(end.clone());
                }
                state.deadline()
            };
            tokio::select! {
                () = self.incoming.notified() => {}
                () = until(deadline.as_ref().map(|(at, _)| *at)) => self.end_if_overdue(),
            }
        }
    }

    /// Resolves when the agent has said goodbye.
    pub(crate) async fn left(&self) {
        let mut changes = self.changes.subscribe();
        while !self.state.lock().leaves {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Ends the session. The first reason counts.
    pub(crate) fn end(&self, what: impl Into<String>, is_fault: bool) {
        self.state.lock().ended.get_or_insert(End { what: what.into(), is_fault });
        self.incoming.notify_one();
        self.wake_connections();
    }

    fn end_if_overdue(&self) {
        let overdue = self.state.lock().deadline().filter(|(at, _)| Instant::now() >= *at);
        if let Some((_, what)) = overdue {
            self.end(what, false);
        }
    }

    /// Begins a connection whose agent has read `received` messages. Returns its number.
    pub(super) fn connect(&self, received: u64) -> u64 {
        let mut state = self.state.lock();
        state.confirm(received);
        state.connection += 1;
        (state.broken_at, state.progress_at) = (None, Instant::now());
        let number = state.connection;
        drop(state);
        self.incoming.notify_one();
        self.wake_connections();
        number
    }

    /// A connection has ended. An older one than the newest means nothing.
    pub(super) fn disconnect(&self, number: u64) {
        let mut state = self.state.lock();
        if state.connection == number && state.broken_at.is_none() {
            state.broken_at = Some(Instant::now());
            drop(state);
            // Its deadline has changed.
            self.incoming.notify_one();
        }
    }

    /// Reads the state for a connection.
    pub(super) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.lock())
    }

    pub(super) fn confirm(&self, number: u64) {
        self.state.lock().confirm(number);
        self.incoming.notify_one();
    }

    /// The agent says that it will go. It gets no more tasks. If no pool has it, nothing is left to do.
    pub(super) fn leave(&self) {
        let mut state = self.state.lock();
        state.leaves = true;
        let is_done = state.waits;
        drop(state);
        if is_done {
            return self.end("said goodbye", false);
        }
        self.wake_connections();
    }

    /// Adds the agent's message with this number. A repeated one is ignored.
    pub(super) fn receive(&self, number: u64, line: &[u8]) -> Result<(), String> {
        let mut state = self.state.lock();
        if number <= state.received {
            return Ok(());
        }
        if number > state.received + 1 {
            return Err(format!("sent message {number} after message {}", state.received));
        }
        let limit = state.patience.max_line_bytes;
        if line.len() > limit {
            return Err(format!("sent a message of more than max_line_bytes = {limit} bytes"));
        }
        if state.unread_bytes + line.len() > MAX_UNREAD_BYTES {
            return Err(format!("sent more than {MAX_UNREAD_BYTES} bytes that nobody asked for"));
        }
        state.received = number;
        state.unread_bytes += line.len();
        state.unread.push_back(line.into());
        drop(state);
        self.incoming.notify_one();
        Ok(())
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn wake_connections(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

impl State {
    fn confirm(&mut self, number: u64) {
        let last = self.confirmed + self.unconfirmed.len() as u64;
        while self.confirmed < number.min(last) {
            self.unconfirmed.pop_front();
            self.confirmed += 1;
            self.progress_at = Instant::now();
        }
    }

    /// The message of the node with this number, if the agent has not confirmed it.
    pub(super) fn message(&self, number: u64) -> Option<&str> {
        let at = usize::try_from(number.checked_sub(self.confirmed + 1)?).ok()?;
        self.unconfirmed.get(at).map(AsRef::as_ref)
    }

    pub(super) const fn is_waiting(&self) -> bool {
        self.waits
    }

    /// Whether a connection is to close.
    pub(super) const fn is_over(&self, connection: u64) -> bool {
        self.ended.is_some() || self.connection != connection
    }

    /// When the patience is over, and what then happened.
    fn deadline(&self) -> Option<(Instant, String)> {
        let Patience { resume_timeout, write_timeout, .. } = self.patience;
        if let Some(broken_at) = self.broken_at {
            let limit = resume_timeout.as_secs_f64();
            let what = format!("did not come back within resume_timeout = {limit} s");
            return Some((crate::process::after(broken_at, resume_timeout), what));
        }
        let limit = write_timeout.as_secs_f64();
        let what = || format!("confirmed no message within write_timeout = {limit} s");
        (!self.unconfirmed.is_empty()).then(|| (crate::process::after(self.progress_at, write_timeout), what()))
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

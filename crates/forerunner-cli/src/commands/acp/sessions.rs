//! The conversations of an editor. Each is a context of the pool.

use std::{
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    blocks,
    peer::{Fault, Peer},
    turn::{self, Turn},
};
use crate::client::{Client, encode};

/// Most turns that are shown again when a session is loaded.
const MOST_TURNS: usize = 100;
/// How long the end of the command waits for the service to cancel a task.
const LAST_CALL: Duration = Duration::from_secs(5);

/// The conversations, and the turns that run in them.
pub struct Sessions {
    client: Client,
    pool: String,
    field: Option<String>,
    running: RefCell<HashMap<String, Turn>>,
}

impl Sessions {
    /// `field` is the member of the input that gets the text; by default the input is the text.
    pub fn new(client: Client, pool: String, field: Option<String>) -> Self {
        Self { client, pool, field, running: RefCell::default() }
    }

    /// Begins a session. Its name is that of the context, so it can be loaded again by any later command.
    pub fn begin(&self) -> String {
        format!("acp-{}", unguessable())
    }

    /// Shows the turns of a session again.
    ///
    /// # Errors
    /// When it has none, or the service does not answer.
    pub async fn load(&self, session: &str, peer: &Peer) -> Result<(), Fault> {
        let (pool, context) = (encode(&self.pool), encode(session));
        let path = format!("/v1/tasks?pool={pool}&context={context}&limit={MOST_TURNS}");
        let page = self.client.get(path).await.map_err(Fault::failed)?;
        let tasks = page["tasks"].as_array().cloned().unwrap_or_default();
        if tasks.is_empty() && !is_ours(session) {
            return Err(Fault::not_found(format!("session `{session}` has no turns in pool `{}`", self.pool)));
        }
        // The newest is listed first.
        for task in tasks.iter().rev() {
            let id = encode(blocks::text_of(task, "id"));
            let task = self.client.get(format!("/v1/tasks/{id}")).await.map_err(Fault::failed)?;
            let field = self.field.as_deref().unwrap_or("prompt");
            update(peer, session, "user_message_chunk", &blocks::payload(&task, "input", field));
            update(peer, session, "agent_message_chunk", &blocks::payload(&task, "output", "text"));
        }
        Ok(())
    }

    /// Works on a prompt. Returns why the turn ended.
    ///
    /// # Errors
    /// When a turn of the session runs already, the service refuses the task, or the task fails.
    pub async fn prompt(&self, session: &str, text: String, peer: &Peer) -> Result<&'static str, Fault> {
        match self.running.borrow_mut().entry(session.to_owned()) {
            Entry::Occupied(_) => {
                let detail = format!("a turn of session `{session}` runs; wait for its end, or cancel it");
                return Err(Fault::invalid(detail));
            }
            Entry::Vacant(entry) => drop(entry.insert(Turn::default())),
        }
        let ended = turn::run(self, session, text, peer).await;
        self.running.borrow_mut().remove(session);
        ended
    }

    /// Cancels the turn of a session, if one runs. It ends in the usual way.
    pub async fn cancel(&self, session: &str) {
        let task = self.running.borrow_mut().get_mut(session).and_then(Turn::cancel);
        if let Some(task) = task {
            turn::cancel(&self.client, &task).await;
        }
    }

    /// Cancels all turns, since nobody reads their answers.
    pub async fn cancel_all(&self) {
        let tasks: Vec<String> = self.running.borrow_mut().values_mut().filter_map(Turn::cancel).collect();
        for task in tasks {
            let _cancelled = timeout(LAST_CALL, turn::cancel(&self.client, &task)).await;
        }
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn pool(&self) -> &str {
        &self.pool
    }

    /// The turn of a session runs as this task. Returns whether it was cancelled meanwhile.
    pub(super) fn started(&self, session: &str, task: &str) -> bool {
        self.running.borrow_mut().get_mut(session).is_none_or(|turn| turn.started(task))
    }

    pub(super) fn input(&self, text: String) -> Value {
        match &self.field {
            Some(field) => json!({ (field.as_str()): text }),
            None => Value::from(text),
        }
    }
}

/// Whether a command began a session of this name, which may have no turn yet.
fn is_ours(session: &str) -> bool {
    let digits = session.strip_prefix("acp-").unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Returns 32 hexadecimal digits that no other command makes.
pub fn unguessable() -> String {
    let random = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", random(), random())
}

/// Sends a piece of a message.
pub fn update(peer: &Peer, session: &str, kind: &str, text: &str) {
    if !text.is_empty() {
        let update = json!({ "sessionUpdate": kind, "content": { "type": "text", "text": text } });
        peer.notify("session/update", &json!({ "sessionId": session, "update": update }));
    }
}

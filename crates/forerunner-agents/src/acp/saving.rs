//! Stores what a turn changed: the transcript, and the files of the session.

use std::time::Duration;

use forerunner_core::Payload;
use forerunner_runtime::agent::{AgentContext, AgentError};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    conversation::{Conversation, SessionFile, SessionRef, TurnText},
    driver::AcpDriver,
    files,
    opening::blocking,
    sessions::Session,
    turn::{TurnMachine, TurnState},
};

/// How often, and after which pauses, files are read again that do not have the end of the answer yet: agents write them in
/// the background.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(10), Duration::from_millis(20), Duration::from_millis(50), Duration::from_millis(100)];
/// How much of the end of an answer has to be in the files.
const SOUGHT_CHARACTERS: usize = 24;

impl AcpDriver {
    /// Adds the turn to the context.
    pub(super) async fn save(
        &mut self,
        session: &Session,
        turn: &TurnMachine,
        text: &str,
        cx: &mut AgentContext,
    ) -> Result<(), AgentError> {
        let answer = turn.text();
        let mut talk = Conversation::read(cx.items());
        talk.push_turn(&TurnText { user: text, tools: turn.tools(), agent: &answer })?;
        talk.session =
            Some(SessionRef { session: session.id.clone(), dir: session.dir.clone(), agent: self.spec.identity() });
        talk.files = self.session_files(session, &answer).await;
        cx.replace_items(talk.into_items()?)
    }

    /// Reads the files of a session. Without them the conversation continues elsewhere from its transcript.
    async fn session_files(&self, session: &Session, answer: &str) -> Vec<SessionFile> {
        let patterns = self.spec.session_patterns();
        if patterns.is_empty() {
            return Vec::new();
        }
        let sought = end_of(answer);
        let mut pauses = PAUSES.iter();
        loop {
            let (home, patterns, id) = (self.place.home.clone(), patterns.clone(), session.id.clone());
            let most = self.spec.max_session_bytes;
            match blocking(move || files::collect(&home, &patterns, &id, most)).await {
                Ok(Some(found)) if found.iter().any(|file| file.text.contains(&sought)) => return found,
                Ok(Some(found)) => match pauses.next() {
                    Some(pause) => sleep(*pause).await,
                    None => return found,
                },
                Ok(None) => {
                    let limit = self.spec.max_session_bytes;
                    tracing::debug!(session = session.id, limit, "the files of a session are too large to be stored");
                    return Vec::new();
                }
                Err(error) => {
                    tracing::debug!(session = session.id, %error, "the files of a session cannot be read");
                    return Vec::new();
                }
            }
        }
    }
}

/// The end of an answer, as it is in a file of JSON lines.
fn end_of(answer: &str) -> String {
    let skipped = answer.chars().count().saturating_sub(SOUGHT_CHARACTERS);
    let end: String = answer.trim_end().chars().skip(skipped).collect();
    let quoted = Value::from(end).to_string();
    quoted.trim_matches('"').to_owned()
}

/// The output of a task.
pub(super) fn output(turn: &TurnMachine) -> Result<Payload, AgentError> {
    let stop = match turn.state() {
        TurnState::Idle(stop) => stop.as_str(),
        _ => "end_turn",
    };
    let mut output = json!({ "text": turn.text(), "stop_reason": stop });
    if !turn.tools().is_empty() {
        output["tools"] = turn.tools().into();
    }
    if !turn.usage().is_empty() {
        output["usage"] = json!(turn.usage());
    }
    Ok(Payload::mended_value(&output)?)
}

//! The items of a context, as a conversation of an agent: which session it is, its transcript, its files.
//!
//! The first item names the session. The transcript follows, for people and for agents that do not have the session. The
//! files of the session come last, a line an item, so that a turn costs what it appended.

use std::fmt::Write as _;

use forerunner_context::Item;
use forerunner_runtime::agent::{AgentError, items::json_item};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Which session a context is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SessionRef {
    /// The id that the agent gave it.
    pub session: String,
    /// The name of its working directory.
    pub dir: String,
    /// The kind of agent: another one cannot load it.
    pub agent: String,
}

/// A file of a session, by its path below HOME.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionFile {
    pub path: String,
    pub text: String,
}

/// The items of a context.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub session: Option<SessionRef>,
    /// Everything that is neither the session nor a file, as it is stored.
    pub transcript: Vec<Item>,
    pub files: Vec<SessionFile>,
}

/// What one turn adds to the transcript.
#[derive(Debug)]
pub(super) struct TurnText<'a> {
    pub user: &'a str,
    pub tools: &'a [String],
    pub agent: &'a str,
}

impl Conversation {
    /// Reads the items. Items of another kind of agent are part of the transcript.
    pub fn read(items: &[Item]) -> Self {
        let mut found = Self::default();
        let mut in_file = false;
        for item in items {
            let value = serde_json::from_slice::<Value>(item.bytes()).unwrap_or(Value::Null);
            if let (true, Value::String(line)) = (in_file, &value) {
                if let Some(file) = found.files.last_mut() {
                    file.text.push_str(line);
                    file.text.push('\n');
                }
                continue;
            }
            in_file = false;
            if let Some(path) = value.pointer("/file/path").and_then(Value::as_str) {
                found.files.push(SessionFile { path: path.to_owned(), text: String::new() });
                in_file = true;
            } else if let Some(session) = value.get("acp").and_then(|acp| serde_json::from_value(acp.clone()).ok()) {
                found.session = Some(session);
            } else if value.get("file_end").is_some() {
                // The last line of the file before has no line break.
                if let Some(file) = found.files.last_mut() {
                    file.text.pop();
                }
            } else {
                found.transcript.push(item.clone());
            }
        }
        found
    }

    /// Adds a turn to the transcript.
    pub fn push_turn(&mut self, turn: &TurnText<'_>) -> Result<(), AgentError> {
        let user = json!({ "user": turn.user });
        let tools = turn.tools.iter().map(|title| json!({ "tool": title }));
        for value in std::iter::once(user).chain(tools).chain([json!({ "agent": turn.agent })]) {
            let at = self.transcript.len();
            self.transcript.push(json_item(at, value.to_string())?);
        }
        Ok(())
    }

    /// Writes all items.
    pub fn into_items(self) -> Result<Vec<Item>, AgentError> {
        let session = self.session.map(|session| json!({ "acp": session }).to_string());
        let session = session.map(|text| json_item(0, text)).transpose()?;
        let mut items: Vec<Item> = session.into_iter().chain(self.transcript).collect();
        for file in self.files {
            items.push(json_item(items.len(), json!({ "file": { "path": file.path } }).to_string())?);
            let ends_with_break = file.text.is_empty() || file.text.ends_with('\n');
            for line in file.text.split_inclusive('\n') {
                let line = line.strip_suffix('\n').unwrap_or(line);
                items.push(json_item(items.len(), Value::from(line).to_string())?);
            }
            if !ends_with_break {
                items.push(json_item(items.len(), json!({ "file_end": "no line break" }).to_string())?);
            }
        }
        Ok(items)
    }

    /// Returns the conversation as text, for an agent that does not have the session; nothing if it is new. Of a long one
    /// the last `most_bytes` remain.
    pub fn as_text(&self, most_bytes: usize) -> Option<String> {
        if self.transcript.is_empty() {
            return None;
        }
        let lines: Vec<String> = self.transcript.iter().map(line).collect();
        let mut room = most_bytes;
        let fits = |line: &&String| {
            let fits = room > line.len();
            room = room.saturating_sub(line.len() + 1);
            fits
        };
        let kept: Vec<&String> = lines.iter().rev().take_while(fits).collect();
        let mut text = String::from("This conversation began in another session. So far:\n\n");
        if kept.len() < lines.len() {
            let _infallible = writeln!(text, "({} earlier entries are left out)", lines.len() - kept.len());
        }
        for line in kept.iter().rev() {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str("\nContinue it. The user now says:\n\n");
        Some(text)
    }
}

fn line(item: &Item) -> String {
    let value = serde_json::from_slice::<Value>(item.bytes()).unwrap_or(Value::Null);
    let said = |who: &str| value.get(who).and_then(Value::as_str);
    match (said("user"), said("agent"), said("tool")) {
        (Some(text), _, _) => format!("User: {text}"),
        (_, Some(text), _) => format!("You: {text}"),
        (_, _, Some(title)) => format!("(you used a tool: {title})"),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn session() -> SessionRef {
        SessionRef { session: "s-1".into(), dir: "d-1".into(), agent: "codex".into() }
    }

    #[test]
    fn a_turn_appends_items_and_leaves_the_others() {
        let mut talk = Conversation { session: Some(session()), ..Conversation::default() };
        talk.push_turn(&TurnText { user: "hi", tools: &["ls".to_owned()], agent: "ho" }).unwrap();
        talk.files.push(SessionFile { path: ".x/s.jsonl".into(), text: "{\"a\":1}\n".into() });
        let before = talk.into_items().unwrap();
        let mut again = Conversation::read(&before);
        again.push_turn(&TurnText { user: "more", tools: &[], agent: "ok" }).unwrap();
        again.files[0].text.push_str("{\"b\":2}\n");
        let after = again.into_items().unwrap();
        let known = after.iter().filter(|item| before.iter().any(|old| old.hash() == item.hash())).count();
        assert_eq!((before.len(), after.len(), known), (6, 9, 6));
    }

    #[test]
    fn a_context_of_another_kind_of_agent_becomes_text() {
        let items = [r#"{"role":"user","content":"hi"}"#, r#""plain""#].map(|text| Item::new(text.as_bytes()));
        let talk = Conversation::read(&items);
        assert_eq!((talk.session.clone(), talk.transcript.len(), talk.files.len()), (None, 2, 0));
        assert!(talk.as_text(1_000).unwrap().contains("\"content\":\"hi\""));
        assert_eq!(Conversation::read(&[]).as_text(1_000), None);
    }

    #[test]
    fn a_long_conversation_is_cut_at_its_beginning() {
        let mut talk = Conversation::default();
        for number in 0..100 {
            talk.push_turn(&TurnText { user: &format!("question {number}"), tools: &[], agent: "yes" }).unwrap();
        }
        let text = talk.as_text(400).unwrap();
        assert!(text.contains("question 99") && !text.contains("question 3\n") && text.contains("earlier entries"));
        assert!(text.len() < 700, "{}", text.len());
    }

    proptest! {
        #[test]
        fn files_come_back_byte_for_byte(texts in prop::collection::vec("(a|\n|\"|\\{|é|\r){0,12}", 0..4)) {
            let file = |(at, text): (usize, &String)| SessionFile { path: format!(".f/{at}"), text: text.clone() };
            let files: Vec<_> = texts.iter().enumerate().map(file).collect();
            let talk = Conversation { session: Some(session()), transcript: Vec::new(), files: files.clone() };
            let back = Conversation::read(&talk.into_items().unwrap());
            prop_assert_eq!(back.session, Some(session()));
            prop_assert_eq!(back.files, files);
        }
    }
}

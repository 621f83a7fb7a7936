//! What agents do to their history: four ways, each a context after each turn.

use forerunner_context::{Error, Item, Limits, Snapshot};

use super::corpus::{Message, Role, Session};

/// Tool outputs that a window leaves unchanged.
const WINDOW: usize = 5;
/// Messages that a compaction leaves unchanged, at the start and at the end.
const HEAD: usize = 2;
const TAIL: usize = 4;
/// A context is not compacted below this.
const MIN_COMPACTED_BYTES: usize = 4096;
/// A summary has so many words, each of them so many words of the original apart.
const SUMMARY_WORDS: usize = 150;
const SUMMARY_STRIDE: usize = 7;

/// How a history changes from turn to turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// Messages are added.
    Append,
    /// Older tool outputs are replaced by a stub.
    Window,
    /// The middle is replaced by a summary each time the context has grown to a third of the session.
    Compaction,
    /// The last message has a marker that the next turn removes, as for prompt caches.
    Marker,
}

impl Edit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Append, Self::Window, Self::Compaction, Self::Marker];

    /// Returns the contexts after each turn of `session`.
    pub fn contexts(self, session: &Session) -> Result<Vec<Snapshot>, Error> {
        let turns = session.turns();
        let messages = &session.messages;
        match self {
            Self::Append => turns.iter().map(|&end| snapshot(items(&messages[..end]))).collect(),
            Self::Window => turns.iter().map(|&end| snapshot(windowed(&messages[..end]))).collect(),
            Self::Marker => turns.iter().map(|&end| snapshot(marked(&messages[..end]))).collect(),
            Self::Compaction => compacted(messages, &turns).into_iter().map(snapshot).collect(),
        }
    }
}

fn snapshot(items: Vec<Item>) -> Result<Snapshot, Error> {
    Snapshot::from_items(items, Limits::default())
}

fn items(messages: &[Message]) -> Vec<Item> {
    messages.iter().map(|message| message.item.clone()).collect()
}

fn windowed(messages: &[Message]) -> Vec<Item> {
    let outputs: Vec<usize> = (0..messages.len()).filter(|&at| is_output(messages, at)).collect();
    let mut items = items(messages);
    for &at in &outputs[..outputs.len().saturating_sub(WINDOW)] {
        let stub = format!(r#"{{"role":"tool","content":"[output of {} bytes left out]"}}"#, items[at].size_bytes());
        if stub.len() < items[at].size_bytes() {
            items[at] = Item::new(stub.into_bytes());
        }
    }
    items
}

/// A tool's message; in a session that has none, an answer to the agent; among agents alone, any message.
fn is_output(messages: &[Message], at: usize) -> bool {
    let has = |role: Role| messages.iter().skip(HEAD).any(|message| message.role == role);
    let wanted = [Role::Tool, Role::User].into_iter().find(|role| has(*role));
    at >= HEAD && wanted.is_none_or(|role| messages[at].role == role)
}

fn marked(messages: &[Message]) -> Vec<Item> {
    let mut items = items(messages);
    if let Some(last) = items.last_mut()
        && let Some(open) = last.bytes().strip_suffix(b"}")
    {
        *last = Item::new([open, br#","cache_control":{"type":"ephemeral"}}"#].concat());
    }
    items
}

fn compacted(messages: &[Message], turns: &[usize]) -> Vec<Vec<Item>> {
    let whole: usize = messages.iter().map(|message| message.item.size_bytes()).sum();
    let limit = (whole / 3).max(MIN_COMPACTED_BYTES);
    let (mut now, mut added) = (Vec::new(), 0);
    let mut contexts = Vec::with_capacity(turns.len());
    for &end in turns {
        now.extend(items(&messages[added..end]));
        added = end;
        let bytes: usize = now.iter().map(Item::size_bytes).sum();
        if bytes > limit && now.len() > HEAD + TAIL + 1 {
            let middle = HEAD..now.len() - TAIL;
            let summary = summary(&now[middle.clone()]);
            now.splice(middle, [summary]);
        }
        contexts.push(now.clone());
    }
    contexts
}

/// Text that summarises the messages without their phrases: single words, far apart.
fn summary(messages: &[Item]) -> Item {
    let text: Vec<_> = messages.iter().map(|item| String::from_utf8_lossy(item.bytes()).into_owned()).collect();
    let is_plain = |word: &&str| word.len() < 20 && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let words = text.iter().flat_map(|text| text.split_whitespace()).filter(is_plain);
    let words: Vec<&str> = words.step_by(SUMMARY_STRIDE).take(SUMMARY_WORDS).collect();
    Item::new(format!(r#"{{"role":"user","content":"Summary so far: {}"}}"#, words.join(" ")).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten turns of an agent that calls a tool.
    fn session() -> Session {
        let pair = |turn: usize| {
            let agent = format!(r#"{{"role":"assistant","content":"call {turn}"}}"#);
            let tool = format!(r#"{{"role":"tool","content":"{}"}}"#, format!("word{turn} ").repeat(100));
            [(Role::Agent, agent), (Role::Tool, tool)]
        };
        let first = [(Role::System, "{}".to_owned()), (Role::User, "{}".to_owned())];
        let all = first.into_iter().chain((0..10).flat_map(pair));
        let messages = all.map(|(role, text)| Message { role, item: Item::new(text.into_bytes()) });
        Session { id: "s".into(), group: None, messages: messages.collect() }
    }

    fn text(item: &Item) -> String {
        String::from_utf8_lossy(item.bytes()).into_owned()
    }

    #[test]
    fn each_turn_ends_with_the_agents_message() {
        for edit in Edit::ALL {
            let contexts = edit.contexts(&session()).unwrap();
            assert_eq!(contexts.len(), 10);
            assert!(contexts.iter().all(|context| text(context.items().last().unwrap()).contains("call")));
        }
        let lens: Vec<_> = Edit::Append.contexts(&session()).unwrap().iter().map(Snapshot::len).collect();
        assert_eq!(lens[..3], [3, 5, 7]);
    }

    #[test]
    fn a_window_leaves_the_last_outputs() {
        let contexts = Edit::Window.contexts(&session()).unwrap();
        let last: Vec<_> = contexts[9].items().iter().map(text).collect();
        assert_eq!(last.iter().filter(|text| text.contains("left out")).count(), 4);
        assert_eq!(last.iter().filter(|text| text.contains("word")).count(), 5);
    }

    #[test]
    fn a_marker_moves_with_the_end() {
        let contexts = Edit::Marker.contexts(&session()).unwrap();
        for context in contexts {
            let marked = context.items().iter().filter(|item| text(item).contains("cache_control"));
            assert_eq!(marked.count(), 1);
            let last = text(context.items().last().unwrap());
            assert!(serde_json::from_str::<serde_json::Value>(&last).is_ok(), "{last}");
        }
    }

    #[test]
    fn a_compaction_keeps_both_ends() {
        let contexts = Edit::Compaction.contexts(&session()).unwrap();
        assert!(contexts.iter().any(|context| text(&context.items()[HEAD]).contains("Summary so far: word0 ")));
        assert!(contexts.iter().all(|context| context.size_bytes() < 6_000));
    }
}

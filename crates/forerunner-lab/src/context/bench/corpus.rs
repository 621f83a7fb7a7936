//! Reading recorded sessions.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek},
    path::Path,
};

use anyhow::Context;
use flate2::read::MultiGzDecoder;
use forerunner_console::Usage;
use forerunner_context::Item;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// Recorded sessions of one kind of agent.
#[derive(Debug)]
pub struct Corpus {
    /// The file's name without its endings.
    pub name: String,
    /// The sessions in the order of the file, at least one.
    pub sessions: Vec<Session>,
}

/// A conversation from its begin to its end.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its name.
    pub id: String,
    /// Its group, if recorded: sessions of one group are never split.
    pub group: Option<String>,
    /// Its messages in order, at least one.
    pub messages: Vec<Message>,
}

/// One message, as it was recorded.
#[derive(Debug, Clone)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The JSON text, byte for byte.
    pub item: Item,
}

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An agent: its message ends a turn.
    Agent,
    /// The system prompt of the agent.
    System,
    /// What a tool answered.
    Tool,
    /// Anyone else.
    User,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default)]
    session: Value,
    #[serde(default, alias = "task_id", alias = "task", alias = "instance_id")]
    group: Value,
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Speaker {
    #[serde(default, alias = "from", alias = "author", alias = "type")]
    role: Value,
    #[serde(default)]
    name: Value,
}

impl Corpus {
    /// Reads JSON Lines, plain or in gzip; the first two bytes show which. Empty lines are skipped.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let unreadable = || format!("corpus {} cannot be read", path.display());
        let mut lines = open(path).with_context(unreadable)?;
        let (mut text, mut sessions) = (String::new(), Vec::new());
        for number in 1.. {
            text.clear();
            if lines.read_line(&mut text).with_context(|| format!("{} at line {number}", unreadable()))? == 0 {
                break;
            }
            if number == 1 && text.starts_with('\u{feff}') {
                text.remove(0);
            }
            if !text.trim().is_empty() {
                sessions.push(
                    session(&text, number)
                        .map_err(|reason| Usage(format!("corpus {}, line {number}: {reason}", path.display())))?,
                );
            }
        }
        if sessions.is_empty() {
            return Err(Usage(format!("corpus {} has no sessions; give one JSON object a line", path.display())).into());
        }
        Ok(Self { name: name(path), sessions })
    }
}

fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    let mut file = File::open(path)?;
    let mut start = Vec::with_capacity(2);
    file.by_ref().take(2).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(match start == [0x1f, 0x8b] {
        true => Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(file)))),
        false => Box::new(BufReader::new(file)),
    })
}

fn name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.trim_end_matches(".gz").trim_end_matches(".jsonl").to_owned()
}

fn session(text: &str, number: usize) -> Result<Session, String> {
    let line: Line<'_> =
        serde_json::from_str(text).map_err(|error| format!("{error}; give an object with the array `messages`"))?;
    if line.messages.is_empty() {
        return Err("`messages` is empty; leave the session out".to_owned());
    }
    let messages = line.messages.iter().map(|raw| message(raw.get())).collect();
    let id = word(&line.session).unwrap_or_else(|| format!("line {number}"));
    Ok(Session { id, group: word(&line.group), messages })
}

fn message(raw: &str) -> Message {
    // A message may be any JSON value; one without a role is someone else's.
    let speaker = serde_json::from_str::<Speaker>(raw).unwrap_or_default();
    let role = match role(&word(&speaker.role).unwrap_or_default()) {
        // Agents that talk to each other are users to one another, and each has a name.
        Role::User if word(&speaker.name).is_some() => Role::Agent,
        role => role,
    };
    Message { role, item: Item::new(raw.as_bytes()) }
}

/// Text or a number as text.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Returns the role for the names of OpenAI, Anthropic, Google, LangChain, ShareGPT and of coding agents.
fn role(name: &str) -> Role {
    let name = name.to_lowercase();
    match name.as_str() {
        "assistant" | "ai" | "gpt" | "model" | "agent" | "bot" | "aimessage" => Role::Agent,
        "system" | "developer" => Role::System,
        "bashexecution" | "function" | "observation" | "environment" | "ipython" => Role::Tool,
        _ if name.contains("tool") => Role::Tool,
        _ => Role::User,
    }
}

impl Session {
    /// Where turns end: how many messages there are after each message of the agent, or after each message if the
    /// agent never speaks.
    pub fn turns(&self) -> Vec<usize> {
        let ends = |of_agent: bool| {
            let numbered = (1..).zip(&self.messages);
            numbered.filter(|(_, message)| !of_agent || message.role == Role::Agent).map(|(end, _)| end).collect()
        };
        let turns: Vec<usize> = ends(true);
        if turns.is_empty() { ends(false) } else { turns }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: &[u8]) -> anyhow::Result<Corpus> {
        let mut file = tempfile::Builder::new().prefix("talks").suffix(".jsonl.gz").tempfile()?;
        file.write_all(bytes)?;
        Corpus::read(file.path())
    }

    const TWO: &str = r#"{"session": 7, "group": "g", "messages": [{"role": "user", "content": "é"}, {"role":"ai"}, 3]}

{"messages": [{"from": "toolResult"}]}
"#;

    #[test]
    fn sessions_are_read_plain_and_packed_and_messages_kept_as_they_are() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(TWO.as_bytes()).unwrap();
        let marked = format!("\u{feff}{TWO}");
        for bytes in [TWO.as_bytes(), marked.as_bytes(), &packed.finish().unwrap()] {
            let corpus = read(bytes).unwrap();
            let [one, two] = corpus.sessions.as_slice() else { panic!("two sessions") };
            assert!(corpus.name.starts_with("talks") && !corpus.name.contains(".jsonl"), "{}", corpus.name);
            assert_eq!((one.id.as_str(), one.group.as_deref(), two.id.as_str()), ("7", Some("g"), "line 3"));
            assert_eq!(one.messages[0].item.bytes(), r#"{"role": "user", "content": "é"}"#.as_bytes());
            let roles: Vec<_> = one.messages.iter().map(|message| message.role).collect();
            assert_eq!(roles, [Role::User, Role::Agent, Role::User]);
            assert_eq!((one.turns(), two.turns(), two.messages[0].role), (vec![2], vec![1], Role::Tool));
        }
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_line() {
        for (text, part) in [
            ("", "has no sessions"),
            ("{\"messages\": []}", "line 1: `messages` is empty"),
            ("\n{\"messages\": [1}", "line 2: "),
            ("{\"session\": 1}", "missing field `messages`"),
            ("[1, 2]", "line 1: "),
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(format!("{error:#}").contains(part) && error.is::<Usage>(), "{error:#}");
        }
        let cut = read(&[0x1f, 0x8b, 8, 0]).unwrap_err();
        assert!(format!("{cut:#}").contains("cannot be read at line 1"), "{cut:#}");
        let missing = Corpus::read(Path::new("no such file")).unwrap_err();
        assert!(format!("{missing:#}").contains("corpus no such file cannot be read"), "{missing:#}");
    }
}

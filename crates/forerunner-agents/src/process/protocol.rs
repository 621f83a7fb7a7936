//! The messages between a node and a child: JSON-RPC 2.0, one message a line. `docs/agent-protocol.md` explains them.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use forerunner_core::{DependencyFault, LogLevel, Payload, TaskId, Timestamp, json_text};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::ask::AskParams;

/// The newest version of the protocol that this node speaks.
pub const PROTOCOL_VERSION: u32 = 3;
/// The oldest version of the protocol that this node speaks.
pub const OLDEST_PROTOCOL: u32 = 1;
/// The version from which on contexts are edited, by both sides.
pub(super) const EDITS_SINCE: u32 = 2;
/// The version from which on agents ask, log and report what they used, and learn of the trace.
pub(super) const REPORTS_SINCE: u32 = 3;

/// Codes of the errors an agent answers with. Others mean [`code::FAILED`].
pub mod code {
    /// The line was no JSON. JSON-RPC's own.
    pub const PARSE: i64 = -32_700;
    /// The line was no request. JSON-RPC's own.
    pub const INVALID_REQUEST: i64 = -32_600;
    /// The method is unknown. JSON-RPC's own.
    pub const METHOD_NOT_FOUND: i64 = -32_601;
    /// The task's input does not fit. JSON-RPC's own.
    pub const INVALID_PARAMS: i64 = -32_602;
    /// The agent's code failed. JSON-RPC's own.
    pub const INTERNAL: i64 = -32_603;
    /// The task failed. `data.retryable` is whether another attempt may succeed. The default is true. `data.scope` is
    /// `dependency` if what the agent depends on failed; `data.retry_after_s` is how long that asks callers to wait.
    pub const FAILED: i64 = -32_000;
    /// The task stopped because of `task/cancel`.
    pub const CANCELLED: i64 = -32_001;
    /// The output or the context would be over a limit.
    pub const TOO_LARGE: i64 = -32_002;
    /// `context/load` or `task/run` needs a context that is not resident in the agent, or not in that version.
    pub const NOT_RESIDENT: i64 = -32_003;
}

/// A request of the node.
#[derive(Serialize)]
pub(super) struct Request<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a P,
}

/// Writes a request as one line.
pub(super) fn request_line<P: Serialize>(id: u64, method: &str, params: &P) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Request { jsonrpc: "2.0", id, method, params })?;
    // Inputs and items are passed on unchanged. A line break in them can only be white space between two tokens, since
    // JSON forbids it within strings, and here it would end the message.
    line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    line.push(b'\n');
    Ok(line)
}

/// Parameters of `initialize`.
#[derive(Serialize)]
pub(super) struct Initialize<'a> {
    /// The newest version that the node speaks.
    pub protocol: u32,
    /// The oldest.
    pub oldest_protocol: u32,
    pub pool: &'a str,
    pub agent: String,
    /// The compressions that the node offers, if any.
    #[serde(skip_serializing_if = "is_empty")]
    pub compression: &'a [Compression],
    /// The dictionary of the pool, if the node has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dictionary: Option<OfferedDictionary<'a>>,
    pub limits: AnnouncedLimits,
}

const fn is_empty(offered: &&[Compression]) -> bool {
    offered.is_empty()
}

/// How everything after the answer to `initialize` is packed, both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Each way is one stream of zstd (RFC 8878), flushed after each message.
    Zstd,
}

/// A dictionary that packed streams may refer to from their beginning.
#[derive(Serialize)]
pub(super) struct OfferedDictionary<'a> {
    pub id: String,
    /// Where it can be read, for as long as the node runs.
    pub path: Cow<'a, str>,
    pub bytes: usize,
}

/// The limits that an agent should know.
#[derive(Serialize)]
pub(super) struct AnnouncedLimits {
    pub max_line_bytes: usize,
    pub max_output_bytes: usize,
    pub cancel_grace_s: f64,
    pub stop_grace_s: f64,
    /// The largest window of a packed stream; absent if the node offers none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression_window_bytes: Option<usize>,
}

/// The answer to `initialize`: the child describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AgentInfo {
    /// The protocol version it speaks.
    pub protocol: u32,
    /// Its name and version.
    pub agent: AgentName,
    /// Its capabilities.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// The compression it chose of those that were offered; plain lines without.
    #[serde(default)]
    pub compression: Option<Compression>,
    /// The id of the dictionary that was offered, if its streams begin with it.
    #[serde(default)]
    pub dictionary: Option<String>,
}

/// Name and version of the program, for people.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AgentName {
    /// The name.
    pub name: String,
    /// The version.
    #[serde(default)]
    pub version: Option<String>,
}

/// What a child can do. Absent means that it cannot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// The number of contexts that can be resident in it. With 0 its tasks run without a context.
    pub contexts: u32,
    /// Whether it sends `task/output` while it works.
    pub streaming: bool,
}

/// Names a context and what the agent calls the state of it.
#[derive(Serialize)]
pub(super) struct ContextRef<'a> {
    pub id: &'a str,
    pub version: u64,
    /// How many items the agent should have of it.
    pub items: usize,
}

/// Parameters of `context/load`.
#[derive(Serialize)]
pub(super) struct ContextLoad<'a> {
    pub id: &'a str,
    pub version: u64,
    pub base: Option<u64>,
    #[serde(flatten)]
    pub content: &'a Content<'a>,
}

/// What a context is to be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content<'a> {
    /// These items, behind the resident ones.
    Items(Vec<&'a RawValue>),
    /// These steps, from the resident items.
    Edit(Vec<LoadStep<'a>>),
}

/// A step of an edit of the node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LoadStep<'a> {
    /// So many items from this place on.
    Copy(usize, usize),
    Insert(Vec<&'a RawValue>),
}

/// Parameters of `context/drop`.
#[derive(Serialize)]
pub(super) struct ContextDrop<'a> {
    pub id: &'a str,
}

/// Parameters of `task/run`.
#[derive(Serialize)]
pub(super) struct TaskRun<'a> {
    pub task: String,
    pub attempt: u32,
    pub depth: u32,
    pub input: &'a Payload,
    pub context: Option<ContextRef<'a>>,
    pub deadline: Timestamp,
    /// The trace that the task belongs to; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<&'a str>,
    /// What agents of the task asked before, and the answers; absent if they asked nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<AskedBefore<'a>>,
}

/// A question of an earlier attempt.
#[derive(Serialize)]
pub(super) struct AskedBefore<'a> {
    pub id: &'a str,
    /// The key that its agent gave it, or the one that the node made.
    pub key: &'a str,
    pub prompt: &'a str,
    /// Absent for a question that nobody answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<&'a Payload>,
}

/// Parameters of `task/cancel`.
#[derive(Serialize)]
pub(super) struct TaskCancel {
    pub task: String,
}

/// Parameters of `ping` and `shutdown`.
#[derive(Serialize)]
pub(super) struct NoParams {}

/// The answer to `task/run`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskResult {
    pub output: Box<RawValue>,
    #[serde(default)]
    pub context: Option<ContextChange>,
    #[serde(default)]
    pub usage: Option<BTreeMap<String, u64>>,
}

/// How the agent changed its context.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ContextChange {
    Append(Vec<Box<RawValue>>),
    Replace(Vec<Box<RawValue>>),
    Edit(Vec<ChangeStep>),
}

/// A step of an edit of the agent, from the items when the task began.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChangeStep {
    /// So many items from this place on.
    Copy(usize, usize),
    Insert(Vec<Box<RawValue>>),
}

/// The error object of an answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct RpcError {
    pub code: i64,
    pub message: String,
    /// Additional members: JSON-RPC allows any.
    #[serde(default)]
    pub data: RpcErrorData,
}

impl RpcError {
    /// Returns whether another attempt may succeed, if the agent reports it.
    pub(super) const fn retryable(&self) -> Option<bool> {
        self.data.retryable
    }

    /// Returns what the task used until it failed.
    pub(super) const fn usage(&self) -> Option<&BTreeMap<String, u64>> {
        self.data.usage.as_ref()
    }

    /// Returns the dependency fault that the agent reports, if it reports one.
    pub(super) const fn dependency(&self) -> Option<DependencyFault> {
        self.data.dependency
    }
}

/// What is read of the data of an error, however deep and large the rest of it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RpcErrorData {
    pub retryable: Option<bool>,
    pub dependency: Option<DependencyFault>,
    pub usage: Option<BTreeMap<String, u64>>,
}

impl<'de> Deserialize<'de> for RpcErrorData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Each by itself, so that one of another type, or none, does not hide the others.
        #[derive(Deserialize)]
        struct Known<'a> {
            #[serde(borrow, default)]
            retryable: Option<&'a RawValue>,
            #[serde(borrow, default)]
            scope: Option<&'a RawValue>,
            #[serde(borrow, default)]
            retry_after_s: Option<&'a RawValue>,
            #[serde(borrow, default)]
            usage: Option<&'a RawValue>,
        }
        // A list would do for `serde` as well.
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let known: Option<Known<'_>> =
            raw.get().starts_with('{').then(|| serde_json::from_str(raw.get()).ok()).flatten();
        let Some(known) = known else { return Ok(Self::default()) };
        let number = |raw: &RawValue| serde_json::from_str::<f64>(raw.get()).ok();
        let retry_after = known.retry_after_s.and_then(number).and_then(|s| Duration::try_from_secs_f64(s).ok());
        let is_dependency = known.scope.is_some_and(|scope| scope.get() == "\"dependency\"");
        Ok(Self {
            retryable: known.retryable.and_then(|raw| serde_json::from_str(raw.get()).ok()),
            dependency: is_dependency.then_some(DependencyFault { retry_after }),
            usage: known.usage.and_then(|raw| serde_json::from_str(raw.get()).ok()),
        })
    }
}

/// The content of one line of a child.
#[derive(Debug)]
pub(super) enum Message {
    /// An answer to a request.
    Answer { id: u64, result: Result<Box<RawValue>, RpcError> },
    /// `task/progress`: a line for people.
    Progress { task: TaskId, text: String },
    /// `task/output`: a piece of the output.
    Output { task: TaskId, chunk: String },
    /// `task/ask`: a question for a person.
    Ask { task: TaskId, question: Box<AskParams> },
    /// `log`: a line of the log, of this task or of the one that runs.
    Log { task: Option<TaskId>, level: LogLevel, text: String },
    /// A notification that this version does not know, or an empty line.
    Unknown,
}

/// Any line of a child before its kind is known. Members that are `null` are not absent.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct ProgressParams {
    task: String,
    text: String,
}

#[derive(Deserialize)]
struct OutputParams {
    task: String,
    chunk: String,
}

#[derive(Deserialize)]
struct LogParams {
    #[serde(default)]
    task: Option<String>,
    #[serde(default)]
    level: LogLevel,
    text: String,
}

/// Reads one line of a child. The error describes what is wrong with it, and continues "the agent".
///
/// Streamed text and text for people is repaired: halves of surrogate pairs and bytes that are not UTF-8 become U+FFFD,
/// as in a text that was cut within a character. Results are not changed here;
/// [`items`](forerunner_runtime::agent::items) repairs them.
///
/// `reports` is whether the child speaks a version with `task/ask` and `log`. Otherwise these are unknown notifications.
pub(super) fn parse_line(bytes: &[u8], reports: bool) -> Result<Message, String> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Message::Unknown);
    }
    // A list would do for `serde` as well: its fields in the order of their declaration.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        // Most often a stray `print`, which its text identifies. A possible malformed answer is not quoted: it could
        // contain an output or a context, which must not be logged.
        return Err(format!("wrote a line that is no message: it is no JSON object, but `{}`", quoted(bytes)));
    }
    let text = String::from_utf8_lossy(bytes);
    let line: Line<'_> = serde_json::from_str(&text).map_err(|error| no_message(&text, &error))?;
    if line.jsonrpc.as_deref() != Some("2.0") {
        return Err("wrote a message without \"jsonrpc\": \"2.0\"".to_owned());
    }
    let error = line.error.map(rpc_error).transpose()?;
    match (line.method, line.id, line.result, error) {
        (Some(method), None, None, None) => notification(&method, line.params.map_or("null", RawValue::get), reports),
        (Some(method), Some(_), None, None) => {
            Err(format!("sent the request `{}`, but agents only answer", short(&method)))
        }
        (None, Some(_), Some(_), None) if matches!(text, Cow::Owned(_)) => {
            Err("wrote a result that is not UTF-8; encode text as UTF-8".to_owned())
        }
        (None, Some(id), Some(result), None) => Ok(Message::Answer { id: own_id(id)?, result: Ok(result.to_owned()) }),
        // An agent that could not read a request answers with an id of null.
        (None, Some(id), None | Some(_), Some(error)) if id.get() == "null" => {
            Err(format!("could not read a request: {} (code {})", short(&error.message), error.code))
        }
        (None, Some(id), None, Some(error)) => Ok(Message::Answer { id: own_id(id)?, result: Err(error) }),
        _ => Err("wrote a message that is neither an answer nor a notification".to_owned()),
    }
}

/// Explains why a line is not a message; numbers that Python and JavaScript write outside of JSON by their names.
fn no_message(text: &str, error: &serde_json::Error) -> String {
    /// How far from the place of the error the word may be.
    const AROUND: usize = 10;
    let place = error.column().min(text.len());
    let around =
        String::from_utf8_lossy(&text.as_bytes()[place.saturating_sub(AROUND)..(place + AROUND).min(text.len())]);
    let word = ["NaN", "Infinity"].into_iter().find(|word| around.contains(word));
    match word {
        Some(word) if error.is_syntax() => format!(
            "wrote a line that is no message: {error}: `{word}` is no JSON; write null or a string instead (in Python, \
             json.dumps with allow_nan=False finds it)"
        ),
        _ => format!("wrote a line that is no message: {error}"),
    }
}

fn rpc_error(raw: &RawValue) -> Result<RpcError, String> {
    mended(raw.get(), |text| serde_json::from_str(text))
        .map_err(|error| format!("wrote a line that is no message: its error object is none of JSON-RPC: {error}"))
}

/// Reads text for people, and repairs it.
pub(crate) fn mended<T>(json: &str, read: impl FnOnce(&str) -> T) -> T {
    match json_text::mend_surrogates(json) {
        Some(mended) => read(&mended),
        None => read(json),
    }
}

fn own_id(id: &RawValue) -> Result<u64, String> {
    id.get().parse().map_err(|_| format!("answered the request {}, which was never sent", short(id.get())))
}

fn notification(method: &str, params: &str, reports: bool) -> Result<Message, String> {
    let broken = |error: serde_json::Error| format!("sent `{method}` with wrong parameters: {error}");
    let task =
        |text: &str| text.parse().map_err(|_| format!("sent `{method}` for `{}`, which is no task", short(text)));
    match method {
        "task/progress" => {
            let ProgressParams { task: id, text } =
                mended(params, |text| serde_json::from_str(text)).map_err(broken)?;
            Ok(Message::Progress { task: task(&id)?, text })
        }
        "task/output" => {
            let OutputParams { task: id, chunk } = mended(params, |text| serde_json::from_str(text)).map_err(broken)?;
            Ok(Message::Output { task: task(&id)?, chunk })
        }
        "task/ask" if reports => {
            let asked: AskParams = mended(params, |text| serde_json::from_str(text)).map_err(broken)?;
            let task = task(&asked.task)?;
            asked.check().map_err(|what| format!("sent `task/ask` with wrong parameters: {what}"))?;
            Ok(Message::Ask { task, question: Box::new(asked) })
        }
        "log" if reports => {
            let LogParams { task: id, level, text } =
                mended(params, |text| serde_json::from_str(text)).map_err(broken)?;
            Ok(Message::Log { task: id.as_deref().map(task).transpose()?, level, text })
        }
        _ => Ok(Message::Unknown),
    }
}

/// Shortens the text of a child for a message.
pub(crate) fn short(text: &str) -> Cow<'_, str> {
    const KEPT: usize = 1_000;
    match text.char_indices().nth(KEPT) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// The beginning of a line that may be anything, fit to be shown.
fn quoted(line: &[u8]) -> String {
    const KEPT: usize = 120;
    // No character is longer than four bytes.
    let beginning = String::from_utf8_lossy(&line[..line.len().min(4 * KEPT + 4)]);
    let mut shown = String::new();
    for (at, c) in beginning.chars().enumerate() {
        match c {
            _ if at == KEPT => {
                shown.push('…');
                break;
            }
            '"' | '\'' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> String {
        parse_line(line.as_bytes(), true).unwrap_err()
    }

    #[test]
    fn answers_are_read() {
        let answer = |line: &str| match parse_line(line.as_bytes(), true).unwrap() {
            Message::Answer { id, result } => (id, result.map(|raw| raw.get().to_owned())),
            other => panic!("{other:?}"),
        };
        assert_eq!(answer(r#"{"jsonrpc":"2.0","id":7,"result":null}"#), (7, Ok("null".into())));
        assert_eq!(answer(r#"{"jsonrpc":"2.0","id":7,"result":{"a":1}}"#), (7, Ok(r#"{"a":1}"#.into())));
        let (_, error) =
            answer(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no","data":{"retryable":false}}}"#);
        assert_eq!(error.unwrap_err().retryable(), Some(false));
        let (_, error) = answer(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no","data":"text"}}"#);
        assert_eq!(error.unwrap_err().retryable(), None);
    }

    #[test]
    fn what_is_no_message_is_refused_with_the_reason() {
        for (line, reason) in [
            ("hello", "is no message"),
            ("\0", "is no message"),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"output":NaN}}"#, "`NaN` is no JSON; write null"),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"output":[1, -Infinity]}}"#, "`Infinity` is no JSON"),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"message":"x"}}"#, "missing field `code`"),
            ("[]", "is no message"),
            (r#"{"id":1,"result":1}"#, "without \"jsonrpc\""),
            (r#"{"jsonrpc":"2.0"}"#, "neither an answer nor a notification"),
            (r#"{"jsonrpc":"2.0","id":1}"#, "neither an answer nor a notification"),
            (r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":""}}"#, "neither an answer"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"fs/read"}"#, "the request `fs/read`"),
            (r#"{"jsonrpc":"2.0","id":"one","result":1}"#, "which was never sent"),
            (r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"eh"}}"#, "could not read a request: eh"),
            (r#"{"jsonrpc":"2.0","method":"task/output","params":{}}"#, "wrong parameters"),
        ] {
            assert!(refusal(line).contains(reason), "{line}: {}", refusal(line));
        }
    }

    #[test]
    fn what_streams_and_what_is_for_people_is_mended_and_empty_lines_say_nothing() {
        let task = "0199a3c0-9a10-7000-8000-000000000002";
        let line = |text: &str| text.replace("%", task).into_bytes();
        let chunk = line(r#"{"jsonrpc":"2.0","method":"task/output","params":{"task":"%","chunk":"cut \uD83D"}}"#);
        assert!(matches!(parse_line(&chunk, true).unwrap(), Message::Output { chunk, .. } if chunk == "cut \u{fffd}"));
        let mut text = line(r#"{"jsonrpc":"2.0","method":"task/progress","params":{"task":"%","text":"~\ud83d"}}"#);
        // The bytes of a surrogate that an encoder did not replace.
        let at = text.iter().position(|byte| *byte == b'~').unwrap();
        text.splice(at..=at, *b"\xed\xa0\xbd");
        let Message::Progress { text, .. } = parse_line(&text, true).unwrap() else { panic!("it is progress") };
        assert!(text.chars().all(|c| c == '\u{fffd}') && text.len() == 12, "{text}");
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        for data in [r#"{"retryable":false,"x":"\ud83d","y":1e400}"#, &format!(r#"{{"retryable":false,"x":{deep}}}"#)] {
            let error =
                format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":-32000,"message":"\udc00","data":{data}}}}}"#);
            let Message::Answer { result: Err(error), .. } = parse_line(error.as_bytes(), true).unwrap() else {
                panic!()
            };
            assert_eq!((error.message.as_str(), error.retryable()), ("\u{fffd}", Some(false)));
        }
        for empty in ["", " ", "\t\r"] {
            assert!(matches!(parse_line(empty.as_bytes(), true), Ok(Message::Unknown)));
        }
        assert!(
            parse_line(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xed\xa0\xbd\"}", true)
                .unwrap_err()
                .contains("UTF-8")
        );
    }

    #[test]
    fn a_line_that_is_no_object_is_quoted_up_to_a_bound() {
        let told = |bytes: &[u8]| parse_line(bytes, true).unwrap_err();
        assert_eq!(
            told(b"loading 'weights'\x1b[0m\t\xff"),
            "wrote a line that is no message: it is no JSON object, but `loading 'weights'\\u{1b}[0m\\t\u{fffd}`"
        );
        assert!(told("é".repeat(120).as_bytes()).ends_with(&format!("`{}`", "é".repeat(120))));
        assert!(told("😀".repeat(100_000).as_bytes()).ends_with(&format!("`{}…`", "😀".repeat(120))));
        assert!(!told(b"{\"output\": \"secret").contains("secret"), "what may be an answer is not quoted");
    }

    #[test]
    fn what_an_older_version_does_not_know_is_ignored() {
        for line in
            [r#"{"jsonrpc":"2.0","method":"log","params":{"message":1}}"#, r#"{"jsonrpc":"2.0","method":"task/ask"}"#]
        {
            assert!(matches!(parse_line(line.as_bytes(), false), Ok(Message::Unknown)));
            assert!(refusal(line).contains("with wrong parameters"), "{line}");
        }
        let line = r#"{"jsonrpc":"2.0","method":"log","params":{"text":"a","level":"warn"}}"#;
        let read = parse_line(line.as_bytes(), true).unwrap();
        assert!(matches!(read, Message::Log { task: None, level: LogLevel::Warn, text } if text == "a"));
    }

    #[test]
    fn a_request_is_one_line_whatever_its_input_holds() {
        let params = serde_json::value::to_raw_value(&Payload::parse("{\n\"a\":\r\n\"b\\n\"}").unwrap()).unwrap();
        let line = request_line(3, "x", &params).unwrap();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"x\",\"params\":{ \"a\":  \"b\\n\"}}\n"
        );
    }
}

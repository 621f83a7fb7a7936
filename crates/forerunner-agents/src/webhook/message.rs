//! What the node sends to an endpoint, and what the endpoint answers.

use forerunner_core::{ContextId, Payload, TaskId, Timestamp};
use forerunner_runtime::agent::{AgentContext, AgentError, AttemptRequest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::endpoint::dependency_of;

/// The body of a request: one attempt of a task.
#[derive(Serialize)]
struct Request<'a> {
    task: TaskId,
    attempt: u32,
    depth: u32,
    deadline: Timestamp,
    input: &'a Payload,
    context: Option<Context<'a>>,
}

/// The conversation of the task.
#[derive(Serialize)]
struct Context<'a> {
    id: &'a ContextId,
    version: u64,
    items: Vec<&'a RawValue>,
}

/// Writes the body of the request.
///
/// # Errors
/// When an item of the context is no JSON.
pub(super) fn body(request: &AttemptRequest, cx: &AgentContext) -> Result<Vec<u8>, AgentError> {
    let mut items = Vec::new();
    for (index, item) in cx.items().iter().enumerate() {
        items.push(serde_json::from_slice(item.bytes()).map_err(|error| {
            AgentError::fatal(format!("item {index} of the context is no JSON: {error}; replace the context"))
        })?);
    }
    let context = cx.id().map(|id| Context { id, version: cx.version(), items });
    // An endpoint asks nothing, so there are no answers.
    let AttemptRequest { task, attempt, depth, ref input, deadline, requests: _, traceparent: _ } = *request;
    Ok(serde_json::to_vec(&Request { task, attempt, depth, deadline, input, context })?)
}

/// A part of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    /// A line for people.
    Progress(String),
    /// A piece of the output.
    Chunk(String),
    /// The result of the task.
    Result { output: Payload, change: Change },
}

/// What the task does to its context.
#[derive(Debug, Default, PartialEq)]
pub(super) enum Change {
    #[default]
    None,
    Append(Vec<String>),
    Replace(Vec<String>),
}

/// An answer as it is written. Members that are not known are an error: a misspelled one would lose the result silently.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    progress: Option<String>,
    #[serde(default)]
    chunk: Option<String>,
    // `Option` alone would read `null` as absent.
    #[serde(default, deserialize_with = "present")]
    output: Option<Box<RawValue>>,
    #[serde(default)]
    context: Option<WrittenChange>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenChange {
    #[serde(default)]
    append: Option<Vec<Box<RawValue>>>,
    #[serde(default)]
    replace: Option<Vec<Box<RawValue>>>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// Reads a part of an answer.
///
/// # Errors
/// What the endpoint reports as `error`, or what makes no sense of its answer.
pub(super) fn read(text: &[u8]) -> Result<Message, AgentError> {
    let text = String::from_utf8_lossy(text);
    let Written { progress, chunk, output, context, error } =
        serde_json::from_str(&text).map_err(|error| malformed(&error.to_string()))?;
    if let Some(error) = error {
        return Err(reported(&error));
    }
    let raw = match (output, progress, chunk) {
        (Some(raw), None, None) => raw,
        (None, Some(text), None) if context.is_none() => return Ok(Message::Progress(text)),
        (None, None, Some(text)) if context.is_none() => return Ok(Message::Chunk(text)),
        _ => return Err(malformed("it needs exactly one of `output`, `error`, `progress` and `chunk`")),
    };
    let output = Payload::mended(raw.get()).map_err(|error| AgentError::too_large(format!("the output: {error}")))?;
    let texts = |items: Vec<Box<RawValue>>| items.iter().map(|item| item.get().to_owned()).collect();
    let change = match context.map(|context| (context.append, context.replace)) {
        None | Some((None, None)) => Change::None,
        Some((Some(items), None)) => Change::Append(texts(items)),
        Some((None, Some(items))) => Change::Replace(texts(items)),
        Some((Some(_), Some(_))) => return Err(malformed("`context` has both `append` and `replace`")),
    };
    Ok(Message::Result { output, change })
}

/// Converts an error that the endpoint reports: text, or an object with `message`, `retryable`, `scope`, `retry_after_s`.
fn reported(error: &Value) -> AgentError {
    let message = error.as_str().or_else(|| error["message"].as_str());
    let message = message.map_or_else(|| error.to_string(), str::to_owned);
    match error["retryable"].as_bool() {
        Some(false) => AgentError::fatal(message),
        _ => AgentError::retryable(message),
    }
    .blaming(dependency_of(error))
}

fn malformed(why: &str) -> AgentError {
    AgentError::fatal(format!("the endpoint's answer makes no sense: {why}; see docs/agent-kinds.md"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(output: &str, change: Change) -> Message {
        Message::Result { output: Payload::parse(output).unwrap(), change }
    }

    #[test]
    fn answers_are_results_errors_or_news() {
        let items = || vec!["1".to_owned(), r#"{"a":2}"#.to_owned()];
        for (text, expected) in [
            (r#"{"output":{"x":1}}"#, result(r#"{"x":1}"#, Change::None)),
            (r#"{"output":null,"context":null}"#, result("null", Change::None)),
            (r#"{"output":1,"context":{"append":[1,{"a":2}]}}"#, result("1", Change::Append(items()))),
            (r#"{"output":1,"context":{"replace":[1,{"a":2}]}}"#, result("1", Change::Replace(items()))),
            (r#"{"progress":"half"}"#, Message::Progress("half".into())),
            (r#"{"chunk":"he"}"#, Message::Chunk("he".into())),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap(), expected, "{text}");
        }
        for (text, words, retryable, blames) in [
            (r#"{"error":"no"}"#, "no", true, false),
            (r#"{"error":{"message":"no","retryable":false}}"#, "no", false, false),
            (r#"{"error":{"message":"503","scope":"dependency","retry_after_s":2}}"#, "503", true, true),
            ("{}", "exactly one", false, false),
            (r#"{"output":1,"chunk":"a"}"#, "exactly one", false, false),
            (r#"{"progress":"a","context":{"append":[]}}"#, "exactly one", false, false),
            (r#"{"outptu":1}"#, "outptu", false, false),
            (r#"{"output":1,"context":{"append":[],"replace":[]}}"#, "both", false, false),
            ("<html>", "makes no sense", false, false),
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.message().contains(words), "{text}: {error}");
            assert_eq!((error.is_retryable(), error.dependency_fault().is_some()), (retryable, blames), "{text}");
        }
    }
}

//! JSON-RPC 2.0 in both directions, one message a line. Reads tolerantly: agents send members of their own.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::process::mended;

/// The method is unknown. JSON-RPC's own.
pub(super) const METHOD_NOT_FOUND: i64 = -32_601;
/// The parameters do not fit. JSON-RPC's own.
pub(super) const INVALID_PARAMS: i64 = -32_602;
/// The code of the other side failed. JSON-RPC's own.
pub(super) const INTERNAL: i64 = -32_603;

/// The error of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RpcError {
    pub code: i64,
    #[serde(default)]
    pub message: String,
}

impl RpcError {
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A message of the agent.
#[derive(Debug)]
pub(super) enum Message {
    /// The answer to a request of the node.
    Answer { id: u64, result: Result<Box<RawValue>, RpcError> },
    /// A request of the agent. Its id is returned as it is.
    Request { id: Box<RawValue>, method: String, params: Box<RawValue> },
    /// A notification.
    Notification { method: String, params: Box<RawValue> },
    /// An empty line, or an error without a request.
    Nothing,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: Option<Box<RawValue>>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Option<Box<RawValue>>,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<RpcError>,
}

/// Reads a line.
///
/// # Errors
/// What is wrong with it, to be continued after "the agent".
pub(super) fn parse(bytes: &[u8]) -> Result<Message, String> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Message::Nothing);
    }
    let text = String::from_utf8_lossy(bytes);
    if !text.trim_start().starts_with('{') {
        return Err("wrote a line that is no message of JSON-RPC: it is no JSON object; log to standard error instead"
            .to_owned());
    }
    let line: Line = mended(&text, |text| serde_json::from_str(text)).map_err(|error| {
        format!("wrote a line that is no message of JSON-RPC: {error}; log to standard error instead")
    })?;
    let params = || line.params.unwrap_or_else(|| RawValue::NULL.to_owned());
    match (line.id, line.method) {
        (Some(id), Some(method)) => Ok(Message::Request { id, method, params: params() }),
        (None, Some(method)) => Ok(Message::Notification { method, params: params() }),
        (Some(id), None) => {
            let Ok(id) = id.get().parse() else {
                // An agent that could not read a line answers with the id `null`.
                return Ok(Message::Nothing);
            };
            let result = match line.error {
                Some(error) => Err(error),
                None => Ok(line.result.unwrap_or_else(|| RawValue::NULL.to_owned())),
            };
            Ok(Message::Answer { id, result })
        }
        (None, None) => Ok(Message::Nothing),
    }
}

#[derive(Serialize)]
struct Outgoing<'a, P> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a P>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a P>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RpcError>,
}

impl<P> Outgoing<'_, P> {
    const fn empty() -> Self {
        Self { jsonrpc: "2.0", id: None, method: None, params: None, result: None, error: None }
    }
}

/// Writes a request, or a notification if it has no id.
pub(super) fn call_line<P: Serialize>(id: Option<u64>, method: &str, params: &P) -> serde_json::Result<Vec<u8>> {
    let id = id.map(|id| serde_json::value::to_raw_value(&id)).transpose()?;
    line(&Outgoing { id: id.as_deref(), method: Some(method), params: Some(params), ..Outgoing::empty() })
}

/// Writes an answer to a request of the agent.
pub(super) fn answer_line<P: Serialize>(id: &RawValue, result: Result<&P, &RpcError>) -> serde_json::Result<Vec<u8>> {
    line(&Outgoing { id: Some(id), result: result.ok(), error: result.err(), ..Outgoing::empty() })
}

fn line<P: Serialize>(message: &Outgoing<'_, P>) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    // A line break can only be white space between two tokens, since JSON forbids it within strings.
    line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_by_what_they_have() {
        let kind = |text: &str| match parse(text.as_bytes()) {
            Ok(Message::Answer { id, result: Ok(result) }) => format!("answer {id} {result}"),
            Ok(Message::Answer { id, result: Err(error) }) => format!("error {id} {}", error.code),
            Ok(Message::Request { id, method, .. }) => format!("request {id} {method}"),
            Ok(Message::Notification { method, params }) => format!("notification {method} {params}"),
            Ok(Message::Nothing) => "nothing".to_owned(),
            Err(what) => what,
        };
        for (text, expected) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":null}"#, "answer 7 null"),
            (r#"{"id":7,"result":{"a":1e999}}"#, r#"answer 7 {"a":1e999}"#),
            (r#"{"id":7,"error":{"code":-32603,"message":"no","data":{"x":[]}}}"#, "error 7 -32603"),
            (r#"{"id":"x","method":"fs/read","params":{}}"#, "request \"x\" fs/read"),
            (
                r#"{"method":"session/update","params":{"s":"\ud83d"}}"#,
                "notification session/update {\"s\":\"\\ufffd\"}",
            ),
            (r#"{"id":null,"error":{"code":-32700}}"#, "nothing"),
            (r#"{"jsonrpc":"2.0"}"#, "nothing"),
            ("  ", "nothing"),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
        for wrong in ["hello", "[]", r#"{"id":1"#, "\0"] {
            assert!(kind(wrong).starts_with("wrote a line that is no message of JSON-RPC"), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_one_line() {
        let call = call_line(Some(3), "session/prompt", &serde_json::json!({"text": "a\nb"})).unwrap();
        assert_eq!(
            String::from_utf8(call).unwrap(),
            "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"session/prompt\",\"params\":{\"text\":\"a\\nb\"}}\n"
        );
        let id: Box<RawValue> = serde_json::from_str("\"x\"").unwrap();
        let refusal = answer_line::<()>(&id, Err(&RpcError::new(METHOD_NOT_FOUND, "no"))).unwrap();
        assert_eq!(
            String::from_utf8(refusal).unwrap(),
            "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"error\":{\"code\":-32601,\"message\":\"no\"}}\n"
        );
    }
}

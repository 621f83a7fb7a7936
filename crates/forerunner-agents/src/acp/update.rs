//! What an agent reports about a session, read tolerantly: unknown members and unknown kinds mean nothing.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// The parameters of `session/update`.
#[derive(Debug, PartialEq)]
pub(super) struct SessionUpdate {
    pub session: String,
    pub update: Update,
}

/// One report.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Update {
    /// A piece of the answer.
    Text { message: Option<String>, text: String },
    /// All of one message of the answer so far.
    WholeText { message: Option<String>, text: String },
    /// A tool call began, or changed.
    Tool { id: String, title: Option<String>, status: ToolStatus },
    /// Version 2: the activity of the session.
    State(Activity),
    /// A line for people, which is no part of the answer.
    Notice(String),
    /// The agent reports, in a member of its own, that the turn failed.
    Failure(String),
    /// Tokens that the turn used.
    Usage(Vec<(String, u64)>),
    /// Anything else: the agent is alive.
    Other,
}

/// How far a tool call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToolStatus {
    Open,
    Ended,
    Unsaid,
}

/// The activity of a session, in version 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Activity {
    Running,
    RequiresAction,
    Idle(Option<StopReason>),
}

/// Why a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StopReason {
    EndTurn,
    MaxTokens,
    MaxTurnRequests,
    Refusal,
    Cancelled,
    /// Version 2: it failed, and why.
    Error(String),
    /// One that this node does not know.
    Other(String),
}

impl StopReason {
    pub fn named(name: &str, message: Option<&str>) -> Self {
        match name {
            "end_turn" => Self::EndTurn,
            "max_tokens" => Self::MaxTokens,
            "max_turn_requests" => Self::MaxTurnRequests,
            "refusal" => Self::Refusal,
            "cancelled" => Self::Cancelled,
            "error" => Self::Error(message.unwrap_or("the agent names no reason").to_owned()),
            other => Self::Other(other.to_owned()),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::EndTurn => "end_turn",
            Self::MaxTokens => "max_tokens",
            Self::MaxTurnRequests => "max_turn_requests",
            Self::Refusal => "refusal",
            Self::Cancelled => "cancelled",
            Self::Error(_) => "error",
            Self::Other(other) => other,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    session_id: String,
    update: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    session_update: String,
    #[serde(default)]
    content: Option<Box<RawValue>>,
    #[serde(default)]
    message_id: Option<Value>,
    #[serde(default)]
    tool_call_id: Option<String>,
    #[serde(default)]
    title: Option<Value>,
    #[serde(default)]
    status: Option<Value>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    stop_reason: Option<Value>,
    #[serde(default)]
    message: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default, rename = "_meta")]
    meta: Option<Box<RawValue>>,
}

/// Reads the parameters of `session/update`; `None` if they name no session.
pub(super) fn read(params: &RawValue) -> Option<SessionUpdate> {
    let Params { session_id, update } = serde_json::from_str(params.get()).ok()?;
    let update = serde_json::from_str::<Raw>(update.get()).map_or(Update::Other, Raw::meaning);
    Some(SessionUpdate { session: session_id, update })
}

impl Raw {
    fn meaning(self) -> Update {
        if let Some(failure) = self.failure() {
            return Update::Failure(failure);
        }
        let text = self.content.as_deref().map(text_of);
        let message = self.message_id.as_ref().map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        match (self.session_update.as_str(), text) {
            ("agent_message_chunk", Some(text)) => Update::Text { message, text },
            ("agent_message", Some(text)) => Update::WholeText { message, text },
            ("tool_call" | "tool_call_update", _) => self.tool(),
            ("state_update", _) => self.state(),
            ("notice", _) => Update::Notice(
                string(self.message.as_ref()).or_else(|| string(self.title.as_ref())).unwrap_or_default(),
            ),
            ("usage_update", _) => self.usage.as_ref().map_or(Update::Other, |usage| Update::Usage(counts(usage))),
            _ => Update::Other,
        }
    }

    fn tool(self) -> Update {
        let Some(id) = self.tool_call_id else { return Update::Other };
        let status = match self.status.as_ref().and_then(Value::as_str) {
            Some("pending" | "in_progress") => ToolStatus::Open,
            Some(_) => ToolStatus::Ended,
            None if self.session_update == "tool_call" => ToolStatus::Open,
            None => ToolStatus::Unsaid,
        };
        Update::Tool { id, title: string(self.title.as_ref()), status }
    }

    fn state(self) -> Update {
        let why = self.error.as_ref().map(message_of).or_else(|| string(self.message.as_ref()));
        match self.state.as_deref() {
            Some("running") => Update::State(Activity::Running),
            Some("requires_action") => Update::State(Activity::RequiresAction),
            Some("idle") => {
                let stop = self.stop_reason.as_ref().and_then(Value::as_str);
                Update::State(Activity::Idle(stop.map(|stop| StopReason::named(stop, why.as_deref()))))
            }
            _ => Update::Other,
        }
    }

    /// After a failure Codex ends the turn with `end_turn`, and reports that its thread is in `systemError`.
    fn failure(&self) -> Option<String> {
        let meta: Value = serde_json::from_str(self.meta.as_ref()?.get()).ok()?;
        let status = meta.pointer("/codex/threadStatus")?;
        let is_failure = status.get("type").and_then(Value::as_str) == Some("systemError");
        is_failure.then(|| "the agent reports systemError of its thread".to_owned())
    }
}

/// The text of a content block, or of a list of them.
fn text_of(content: &RawValue) -> String {
    fn append(value: &Value, out: &mut String) {
        match value {
            Value::Array(blocks) => blocks.iter().for_each(|block| append(block, out)),
            Value::Object(block) => out.push_str(block.get("text").and_then(Value::as_str).unwrap_or_default()),
            _ => {}
        }
    }
    let mut text = String::new();
    if let Ok(value) = serde_json::from_str(content.get()) {
        append(&value, &mut text);
    }
    text
}

fn string(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_owned)
}

fn message_of(error: &Value) -> String {
    let message = error.get("message").and_then(Value::as_str).or_else(|| error.as_str());
    message.map_or_else(|| error.to_string(), str::to_owned)
}

/// The numbers of an object of token counts, such as `inputTokens`.
pub(super) fn counts(usage: &Value) -> Vec<(String, u64)> {
    let members = usage.as_object().into_iter().flatten();
    members.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(text: &str) -> Update {
        let params = format!(r#"{{"sessionId":"s","update":{text}}}"#);
        read(&serde_json::from_str::<Box<RawValue>>(&params).unwrap()).unwrap().update
    }

    #[test]
    fn updates_of_both_versions_are_read() {
        let text = |text: &str| Update::Text { message: None, text: text.to_owned() };
        for (json, expected) in [
            (r#"{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"hi"}}"#, text("hi")),
            (r#"{"sessionUpdate":"agent_message_chunk","content":{"type":"image","data":"x"}}"#, text("")),
            (
                r#"{"sessionUpdate":"agent_message","messageId":"m","content":[{"text":"a"},{"text":"b"}]}"#,
                Update::WholeText { message: Some("m".into()), text: "ab".into() },
            ),
            (
                r#"{"sessionUpdate":"tool_call","toolCallId":"t","title":"ls","kind":"execute"}"#,
                Update::Tool { id: "t".into(), title: Some("ls".into()), status: ToolStatus::Open },
            ),
            (
                r#"{"sessionUpdate":"tool_call_update","toolCallId":"t","status":"completed"}"#,
                Update::Tool { id: "t".into(), title: None, status: ToolStatus::Ended },
            ),
            (r#"{"sessionUpdate":"state_update","state":"running"}"#, Update::State(Activity::Running)),
            (
                r#"{"sessionUpdate":"state_update","state":"idle","stopReason":"end_turn"}"#,
                Update::State(Activity::Idle(Some(StopReason::EndTurn))),
            ),
            (
                r#"{"sessionUpdate":"state_update","state":"idle","stopReason":"error","error":{"message":"503"}}"#,
                Update::State(Activity::Idle(Some(StopReason::Error("503".into())))),
            ),
            (r#"{"sessionUpdate":"notice","message":"slow"}"#, Update::Notice("slow".into())),
            (r#"{"sessionUpdate":"agent_thought_chunk","content":{"text":"hm"}}"#, Update::Other),
            (r#"{"sessionUpdate":"of tomorrow","deep":[[[]]]}"#, Update::Other),
            (r#"{"no":"kind"}"#, Update::Other),
            ("17", Update::Other),
        ] {
            assert_eq!(update(json), expected, "{json}");
        }
    }

    #[test]
    fn a_failure_in_a_member_of_the_agents_own_is_one() {
        let json =
            r#"{"sessionUpdate":"session_info_update","_meta":{"codex":{"threadStatus":{"type":"systemError"}}}}"#;
        assert!(matches!(update(json), Update::Failure(_)));
        assert_eq!(update(&json.replace("systemError", "idle")), Update::Other);
    }
}

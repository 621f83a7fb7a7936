//! What the node sends to an agent, in either version of the protocol.

use std::path::Path;

use serde_json::{Value, json};

/// The versions that this node speaks.
pub(super) const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;

/// The parameters of `initialize`. The client offers no terminals: agents run commands by themselves.
pub(super) fn initialize(version: u32, offers_files: bool) -> Value {
    let info = json!({ "name": "forerunner", "title": "Forerunner", "version": env!("CARGO_PKG_VERSION") });
    match version {
        1 => json!({
            "protocolVersion": 1,
            "clientCapabilities": {
                "fs": { "readTextFile": offers_files, "writeTextFile": offers_files },
                "terminal": false,
            },
            "clientInfo": info,
        }),
        _ => json!({ "protocolVersion": version, "capabilities": {}, "info": info }),
    }
}

/// What an agent reports about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Capabilities {
    pub version: u32,
    pub can_load: bool,
    pub can_resume: bool,
    pub can_close: bool,
    /// Name and version, for people.
    pub name: String,
}

impl Capabilities {
    /// Reads the answer to `initialize` of an agent that was offered `offered`.
    ///
    /// # Errors
    /// What is wrong with it, to be continued after "the agent".
    pub fn read(answer: &Value, offered: u32) -> Result<Self, String> {
        let version = answer.get("protocolVersion").and_then(Value::as_u64);
        let version = version.and_then(|version| u32::try_from(version).ok());
        let spoken = version.filter(|version| VERSIONS.contains(version) && *version <= offered);
        let Some(version) = spoken else {
            let shown = version.map_or_else(|| "none".to_owned(), |version| version.to_string());
            return Err(format!("speaks version {shown} of ACP, this node offered {offered} and speaks 1 and 2"));
        };
        let has =
            |pointer: &str| answer.pointer(pointer).is_some_and(|value| !value.is_null() && value != &json!(false));
        let info = ["/agentInfo", "/info"].iter().find_map(|pointer| answer.pointer(pointer));
        let text = |name: &str| info.and_then(|info| info.get(name)).and_then(Value::as_str).unwrap_or_default();
        Ok(Self {
            version,
            can_load: version == 1 && has("/agentCapabilities/loadSession"),
            // Version 2 demands these of every agent.
            can_resume: version == 2 || has("/agentCapabilities/sessionCapabilities/resume"),
            can_close: version == 2 || has("/agentCapabilities/sessionCapabilities/close"),
            name: format!("{} {}", text("name"), text("version")).trim().to_owned(),
        })
    }
}

/// The parameters of `session/new`, or of `session/load` and `session/resume` with the id of a session.
pub(super) fn session(cwd: &Path, session: Option<&str>) -> Value {
    match session {
        None => json!({ "cwd": cwd, "mcpServers": [] }),
        Some(session) => json!({ "sessionId": session, "cwd": cwd, "mcpServers": [] }),
    }
}

/// The parameters of calls that name a session only.
pub(super) fn of_session(session: &str) -> Value {
    json!({ "sessionId": session })
}

/// The parameters of `session/prompt`.
pub(super) fn prompt(session: &str, text: &str) -> Value {
    json!({ "sessionId": session, "prompt": [{ "type": "text", "text": text }] })
}

/// The call that chooses a mode: an option like others in version 2.
pub(super) fn mode(version: u32, session: &str, mode: &str) -> (&'static str, Value) {
    match version {
        1 => ("session/set_mode", json!({ "sessionId": session, "modeId": mode })),
        _ => option(version, session, "mode", mode),
    }
}

/// The call that sets an option of a session.
pub(super) fn option(version: u32, session: &str, id: &str, value: &str) -> (&'static str, Value) {
    let mut params = json!({ "sessionId": session, "configId": id, "value": value });
    if version > 1 {
        params["type"] = "id".into();
    }
    ("session/set_config_option", params)
}

/// The answer to `session/request_permission`; without an option it is cancelled.
pub(super) fn outcome(option: Option<&str>) -> Value {
    match option {
        Some(option) => json!({ "outcome": { "outcome": "selected", "optionId": option } }),
        None => json!({ "outcome": { "outcome": "cancelled" } }),
    }
}

/// The prompt that a task's input is: text, an object with a text `prompt`, or anything else as JSON.
pub(super) fn text_of(input: &str) -> String {
    match serde_json::from_str::<Value>(input) {
        Ok(Value::String(text)) => text,
        Ok(value) => value.get("prompt").and_then(Value::as_str).map_or_else(|| input.to_owned(), str::to_owned),
        Err(_) => input.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_may_answer_no_newer_version_than_it_was_offered() {
        for (answer, offered, version) in [
            (json!({"protocolVersion": 1}), 1, Some(1)),
            (json!({"protocolVersion": 1}), 2, Some(1)),
            (json!({"protocolVersion": 2}), 2, Some(2)),
            (json!({"protocolVersion": 2}), 1, None),
            (json!({"protocolVersion": 99}), 2, None),
            (json!({"protocolVersion": "1"}), 1, None),
            (json!({}), 1, None),
        ] {
            assert_eq!(Capabilities::read(&answer, offered).ok().map(|found| found.version), version, "{answer}");
        }
    }

    #[test]
    fn capabilities_are_there_if_they_are_not_null() {
        let answer = json!({"protocolVersion": 1, "agentInfo": {"name": "a", "version": "2"}, "agentCapabilities":
            {"loadSession": true, "sessionCapabilities": {"resume": {}, "close": null}}});
        let found = Capabilities::read(&answer, 1).unwrap();
        assert_eq!(
            (found.can_load, found.can_resume, found.can_close, found.name.as_str()),
            (true, true, false, "a 2")
        );
        let second = Capabilities::read(&json!({"protocolVersion": 2}), 2).unwrap();
        assert_eq!((second.can_load, second.can_resume, second.can_close), (false, true, true));
    }

    #[test]
    fn an_input_is_text_or_has_a_prompt_or_is_shown_as_it_is() {
        for (input, text) in [("\"hi\"", "hi"), (r#"{"prompt":"hi"}"#, "hi"), (r#"{"a":1}"#, r#"{"a":1}"#), ("7", "7")]
        {
            assert_eq!(text_of(input), text);
        }
    }
}

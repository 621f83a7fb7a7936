//! Assembles the answer to a chat completion, whole or piece by piece.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::turn::{Turn, Usage};

/// A chat completion that is arriving.
#[derive(Debug, Default)]
pub(super) struct ChatAnswer {
    text: String,
    refusal: String,
    /// By the index in the answer.
    tool_calls: BTreeMap<u64, ToolCall>,
    finish_reason: Option<String>,
    model: Option<String>,
    usage: Option<Usage>,
}

#[derive(Debug, Default)]
struct ToolCall {
    id: String,
    name: String,
    arguments: String,
}

impl ChatAnswer {
    /// Adds a chunk of a stream and returns the text that it adds.
    pub(super) fn feed(&mut self, chunk: &Value) -> String {
        self.note(chunk);
        let Some(choice) = chunk.pointer("/choices/0") else { return String::new() };
        self.end_with(choice);
        let delta = &choice["delta"];
        if let Some(refusal) = delta["refusal"].as_str() {
            self.refusal.push_str(refusal);
        }
        for (position, part) in delta["tool_calls"].as_array().into_iter().flatten().enumerate() {
            let call = self.tool_calls.entry(part["index"].as_u64().unwrap_or(position as u64)).or_default();
            for (text, pointer) in [
                (&mut call.id, "/id"),
                (&mut call.name, "/function/name"),
                (&mut call.arguments, "/function/arguments"),
            ] {
                text.push_str(part.pointer(pointer).and_then(Value::as_str).unwrap_or_default());
            }
        }
        let text = delta["content"].as_str().unwrap_or_default();
        self.text.push_str(text);
        text.to_owned()
    }

    /// Reads a completion that arrived whole. `None` if it has no answer.
    pub(super) fn whole(completion: &Value) -> Option<Turn> {
        let choice = completion.pointer("/choices/0")?;
        let message = choice.get("message")?.as_object()?;
        let mut answer = Self::default();
        answer.note(completion);
        answer.end_with(choice);
        let text = |name| message.get(name).and_then(Value::as_str);
        let shown = text("content").filter(|text| !text.is_empty()).or_else(|| text("refusal")).unwrap_or_default();
        // What the model thought is not part of the conversation, and providers refuse or ignore it when it comes back.
        let kept = message.iter().filter(|(name, value)| !value.is_null() && !name.starts_with("reasoning"));
        let mut kept: serde_json::Map<String, Value> =
            kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        kept.entry("role").or_insert_with(|| "assistant".into());
        kept.entry("content").or_insert(Value::Null);
        let tool_calls = message.get("tool_calls").and_then(Value::as_array).cloned().unwrap_or_default();
        Some(Turn {
            text: shown.to_owned(),
            finish_reason: answer.finish_reason,
            tool_calls,
            model: answer.model,
            usage: answer.usage,
            items: vec![kept.into()],
        })
    }

    /// Returns the answer, if the model ended it.
    pub(super) fn finish(self) -> Option<Turn> {
        self.finish_reason.as_ref()?;
        let tool_calls: Vec<Value> = self.tool_calls.into_values().map(ToolCall::into_value).collect();
        let content = if self.text.is_empty() { Value::Null } else { self.text.as_str().into() };
        let mut message = json!({ "role": "assistant", "content": content });
        if !self.refusal.is_empty() {
            message["refusal"] = self.refusal.as_str().into();
        }
        if !tool_calls.is_empty() {
            message["tool_calls"] = tool_calls.clone().into();
        }
        Some(Turn {
            text: if self.text.is_empty() { self.refusal } else { self.text },
            finish_reason: self.finish_reason,
            tool_calls,
            model: self.model,
            usage: self.usage,
            items: vec![message],
        })
    }

    fn note(&mut self, part: &Value) {
        if let Some(model) = part["model"].as_str() {
            self.model = Some(model.to_owned());
        }
        self.usage = Usage::of(&part["usage"]).or(self.usage);
    }

    fn end_with(&mut self, choice: &Value) {
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish_reason = Some(reason.to_owned());
        }
    }
}

impl ToolCall {
    fn into_value(self) -> Value {
        json!({ "id": self.id, "type": "function", "function": { "name": self.name, "arguments": self.arguments } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streamed(chunks: &[Value]) -> (Vec<String>, Option<Turn>) {
        let mut answer = ChatAnswer::default();
        (chunks.iter().map(|chunk| answer.feed(chunk)).collect(), answer.finish())
    }

    fn delta(delta: &Value, finish_reason: &Value) -> Value {
        json!({ "model": "small-2", "choices": [{ "index": 0, "delta": delta, "finish_reason": finish_reason }] })
    }

    #[test]
    fn text_in_pieces_is_the_text_that_arrives_whole() {
        let usage = json!({ "prompt_tokens": 3, "completion_tokens": 2 });
        let (pieces, turn) = streamed(&[
            delta(&json!({ "role": "assistant", "content": "" }), &Value::Null),
            delta(&json!({ "content": "hel" }), &Value::Null),
            delta(&json!({ "content": "lo", "reasoning_content": "hm" }), &Value::Null),
            delta(&json!({}), &json!("stop")),
            json!({ "choices": [], "usage": usage }),
        ]);
        assert_eq!(pieces, ["", "hel", "lo", "", ""]);
        let whole = ChatAnswer::whole(&json!({
            "model": "small-2", "usage": usage,
            "choices": [{ "message": { "role": "assistant", "content": "hello", "reasoning_content": "hm", "refusal": null },
                "finish_reason": "stop" }],
        }));
        assert_eq!(turn, whole);
        let turn = turn.unwrap();
        assert_eq!((turn.text.as_str(), turn.finish_reason.as_deref()), ("hello", Some("stop")));
        assert_eq!(turn.items, [json!({ "role": "assistant", "content": "hello" })]);
        assert_eq!(turn.usage, Some(Usage { input_tokens: 3, output_tokens: 2, ..Usage::default() }));
    }

    #[test]
    fn calls_of_tools_are_joined_by_their_index() {
        let part = |index: u64, part: &Value| {
            let mut part = part.clone();
            part["index"] = index.into();
            delta(&json!({ "tool_calls": [part] }), &Value::Null)
        };
        let (_, turn) = streamed(&[
            part(0, &json!({ "id": "a", "type": "function", "function": { "name": "read", "arguments": "{\"p\"" } })),
            part(1, &json!({ "id": "b", "function": { "name": "list", "arguments": "{}" } })),
            part(0, &json!({ "function": { "arguments": ":1}" } })),
            delta(&json!({}), &json!("tool_calls")),
        ]);
        let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
        let calls = [call("a", "read", "{\"p\":1}"), call("b", "list", "{}")];
        let turn = turn.unwrap();
        assert_eq!(turn.tool_calls, calls);
        assert_eq!(turn.items, [json!({ "role": "assistant", "content": null, "tool_calls": calls })]);
    }

    #[test]
    fn an_answer_without_its_end_is_none() {
        assert_eq!(streamed(&[delta(&json!({ "content": "hel" }), &Value::Null)]).1, None);
        assert_eq!(streamed(&[]).1, None);
        for nothing in [json!({}), json!({ "choices": [] }), json!({ "choices": [{ "message": null }] }), json!(7)] {
            assert_eq!(ChatAnswer::whole(&nothing), None);
        }
    }
}

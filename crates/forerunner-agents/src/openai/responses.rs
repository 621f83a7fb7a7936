//! Assembles the answer of the responses form, whole or piece by piece.

use serde_json::{Value, json};

use super::turn::{Turn, Usage};

/// A response that is arriving.
#[derive(Debug, Default)]
pub(super) struct ResponsesAnswer {
    last: Option<Value>,
}

impl ResponsesAnswer {
    /// Adds an event of a stream and returns the text that it adds.
    pub(super) fn feed(&mut self, event: &Value) -> String {
        match event["type"].as_str().unwrap_or_default() {
            "response.output_text.delta" | "response.refusal.delta" => {
                event["delta"].as_str().unwrap_or_default().to_owned()
            }
            "response.completed" | "response.incomplete" => {
                self.last = event.get("response").cloned();
                String::new()
            }
            _ => String::new(),
        }
    }

    /// Returns the answer, if the endpoint ended it.
    pub(super) fn finish(self) -> Option<Turn> {
        Self::whole(&self.last?)
    }

    /// Reads a response that arrived whole. `None` if it is no response, or one that is not ended.
    pub(super) fn whole(response: &Value) -> Option<Turn> {
        let output = response.get("output")?.as_array()?;
        let finish_reason = match response["status"].as_str() {
            Some("completed") | None => "stop",
            Some("incomplete") => match response.pointer("/incomplete_details/reason").and_then(Value::as_str) {
                Some("max_output_tokens") | None => "length",
                Some(reason) => reason,
            },
            Some(_) => return None,
        };
        let of_type = |kind: &'static str| output.iter().filter(move |item| item["type"] == kind);
        let parts = of_type("message").flat_map(|message| message["content"].as_array().into_iter().flatten());
        let text = parts.filter_map(|part| part["text"].as_str().or_else(|| part["refusal"].as_str())).collect();
        let tool_calls: Vec<Value> = of_type("function_call").cloned().collect();
        let finish_reason = if tool_calls.is_empty() { finish_reason } else { "tool_calls" };
        // Thoughts can only go back in their encrypted form.
        let kept = output.iter().filter(|item| item["type"] != "reasoning" || item["encrypted_content"].is_string());
        Some(Turn {
            text,
            finish_reason: Some(finish_reason.to_owned()),
            tool_calls,
            model: response["model"].as_str().map(str::to_owned),
            usage: Usage::of(&response["usage"]),
            items: kept.map(without_state).collect(),
        })
    }
}

/// Removes what only the endpoint's own store would know: ids of items that are not stored there are refused.
fn without_state(item: &Value) -> Value {
    let mut item = item.clone();
    if let Some(members) = item.as_object_mut() {
        members.remove("id");
        members.remove("status");
    }
    item
}

/// Returns the error of an event or of a chunk, if it is one.
pub(super) fn error_of(event: &Value) -> Option<Value> {
    let failed = event.pointer("/response/error").filter(|_| event["type"] == "response.failed");
    let plain = (event["type"] == "error").then_some(event);
    let error = event.get("error").filter(|error| !error.is_null()).or(failed).or(plain)?;
    Some(if error.is_object() { error.clone() } else { json!({ "message": error.to_string() }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response() -> Value {
        json!({
            "id": "resp_1", "status": "completed", "model": "small-2",
            "output": [
                { "type": "reasoning", "id": "rs_1", "summary": [] },
                { "type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
                  "content": [{ "type": "output_text", "text": "hello", "annotations": [] }] },
            ],
            "usage": { "input_tokens": 3, "output_tokens": 2 },
        })
    }

    #[test]
    fn events_end_in_the_response_that_arrives_whole() {
        let mut answer = ResponsesAnswer::default();
        let events = [
            json!({ "type": "response.created", "response": { "status": "in_progress", "output": [] } }),
            json!({ "type": "response.output_text.delta", "delta": "hel" }),
            json!({ "type": "response.output_text.delta", "delta": "lo" }),
            json!({ "type": "response.completed", "response": response() }),
        ];
        let pieces: Vec<String> = events.iter().map(|event| answer.feed(event)).collect();
        assert_eq!(pieces, ["", "hel", "lo", ""]);
        let turn = answer.finish();
        assert_eq!(turn, ResponsesAnswer::whole(&response()));
        let turn = turn.unwrap();
        assert_eq!((turn.text.as_str(), turn.finish_reason.as_deref()), ("hello", Some("stop")));
        let content = json!([{ "type": "output_text", "text": "hello", "annotations": [] }]);
        assert_eq!(turn.items, [json!({ "type": "message", "role": "assistant", "content": content })]);
    }

    #[test]
    fn calls_and_cut_answers_are_named() {
        let call = json!({ "type": "function_call", "call_id": "c", "name": "read", "arguments": "{}" });
        let turn = ResponsesAnswer::whole(&json!({ "status": "completed", "output": [call] })).unwrap();
        assert_eq!((turn.finish_reason.as_deref(), turn.tool_calls), (Some("tool_calls"), vec![call]));
        for (details, reason) in [
            (json!({ "reason": "max_output_tokens" }), "length"),
            (json!({ "reason": "content_filter" }), "content_filter"),
            (Value::Null, "length"),
        ] {
            let cut = json!({ "status": "incomplete", "incomplete_details": details, "output": [] });
            assert_eq!(ResponsesAnswer::whole(&cut).unwrap().finish_reason.as_deref(), Some(reason));
        }
    }

    #[test]
    fn what_is_no_ended_response_is_none() {
        for value in [json!({}), json!({ "status": "failed", "output": [] }), json!({ "output": 7 }), Value::Null] {
            assert_eq!(ResponsesAnswer::whole(&value), None);
        }
        assert_eq!(ResponsesAnswer::default().finish(), None);
    }

    #[test]
    fn errors_within_a_stream_are_found() {
        let message = |event: &Value| error_of(event).map(|error| error["message"].as_str().unwrap().to_owned());
        for event in [
            json!({ "error": { "message": "overloaded" } }),
            json!({ "type": "error", "message": "overloaded" }),
            json!({ "type": "response.failed", "response": { "error": { "message": "overloaded" } } }),
        ] {
            assert_eq!(message(&event).as_deref(), Some("overloaded"), "{event}");
        }
        assert_eq!(message(&json!({ "error": null, "choices": [] })), None);
        assert_eq!(message(&json!({ "type": "response.completed", "response": { "error": null } })), None);
        assert_eq!(message(&json!({ "error": "busy" })).as_deref(), Some("\"busy\""));
    }
}

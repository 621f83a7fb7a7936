//! What a task asks for, and the body of its request.

use forerunner_core::{ContextId, Payload};
use forerunner_runtime::agent::AgentError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};

use super::{Wire, spec::RESERVED};
use crate::OpenAiSpec;

/// What one task adds to the conversation, and how it wants it answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ask {
    /// The messages of the task, which follow those of the context.
    pub(super) messages: Vec<Value>,
    /// Members of the request that override those of the settings.
    pub(super) parameters: Map<String, Value>,
}

impl Ask {
    /// Reads the input of a task: text, or an object with `prompt`, `messages` or `input`, and members for the request.
    ///
    /// # Errors
    /// When the input has another form. The error names the member and a form that works.
    pub(super) fn of_input(input: &Payload) -> Result<Self, AgentError> {
        let refuse = |why: &str| {
            Err(AgentError::invalid_input(format!(
                "{why}; give the agent text, or an object with `prompt` (text) or `messages` (a list)"
            )))
        };
        let mut parameters = match input.read::<Value>() {
            Ok(Value::String(prompt)) => return Ok(Self { messages: vec![of_user(&prompt)], parameters: Map::new() }),
            Ok(Value::Object(members)) => members,
            _ => return refuse("the input is neither text nor an object"),
        };
        let given: Vec<(&str, Value)> = ["prompt", "messages", "input"]
            .into_iter()
            .filter_map(|name| Some((name, parameters.remove(name)?)))
            .collect();
        let messages = match given.as_slice() {
            [("prompt" | "input", Value::String(prompt))] => vec![of_user(prompt)],
            [("messages" | "input", Value::Array(messages))] if !messages.is_empty() => messages.clone(),
            [(name, _)] => return refuse(&format!("`{name}` of the input has a type that makes no message")),
            [] => return refuse("the input has no messages"),
            _ => return refuse("the input has more than one of `prompt`, `messages` and `input`"),
        };
        if let Some(index) = messages.iter().position(|message| !message.is_object()) {
            return refuse(&format!("message {index} of the input is no object"));
        }
        if let Some(name) = RESERVED.iter().find(|name| parameters.contains_key(**name)) {
            return refuse(&format!("the agent writes the member `{name}` of the request itself"));
        }
        match parameters.get("n") {
            None => Ok(Self { messages, parameters }),
            Some(n) if *n == json!(1) => Ok(Self { messages, parameters }),
            Some(_) => refuse("a task has one answer, so `n` is 1"),
        }
    }

    /// Writes the body of the request.
    ///
    /// # Errors
    /// When an item of the context is no JSON.
    pub(super) fn body<'a>(
        &self,
        spec: &OpenAiSpec,
        items: impl Iterator<Item = &'a [u8]>,
        context: Option<&ContextId>,
    ) -> Result<Vec<u8>, AgentError> {
        let mut parameters = spec.parameters.clone();
        parameters.extend(self.parameters.clone());
        parameters.entry("model").or_insert_with(|| spec.model.as_str().into());
        parameters.insert("stream".to_owned(), spec.stream.into());
        if let Some(context) = context.filter(|_| spec.prompt_cache_key) {
            parameters.insert("prompt_cache_key".to_owned(), context.as_str().into());
        }
        let mut messages: Vec<Part<'_>> = Vec::new();
        match (spec.wire, &spec.instructions) {
            (Wire::Chat, Some(text)) => messages.push(Part::New(json!({ "role": "system", "content": text }))),
            (Wire::Responses, Some(text)) => {
                parameters.insert("instructions".to_owned(), text.as_str().into());
            }
            (_, None) => {}
        }
        match spec.wire {
            Wire::Chat if spec.stream => {
                parameters.insert("stream_options".to_owned(), json!({ "include_usage": true }));
            }
            Wire::Chat => {}
            // The context is the memory: the endpoint is to keep none.
            Wire::Responses => {
                parameters.insert("store".to_owned(), false.into());
            }
        }
        for (index, item) in items.enumerate() {
            messages.push(Part::Stored(serde_json::from_slice(item).map_err(|error| {
                AgentError::fatal(format!("item {index} of the context is no JSON: {error}; replace the context"))
            })?));
        }
        messages.extend(self.messages.iter().cloned().map(Part::New));
        let body = match spec.wire {
            Wire::Chat => Body { messages: Some(messages), input: None, parameters },
            Wire::Responses => Body { messages: None, input: Some(messages), parameters },
        };
        Ok(serde_json::to_vec(&body)?)
    }
}

fn of_user(prompt: &str) -> Value {
    json!({ "role": "user", "content": prompt })
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<Part<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Vec<Part<'a>>>,
    #[serde(flatten)]
    parameters: Map<String, Value>,
}

/// A message of the request. Those of the context are passed on byte for byte, as a prompt cache needs it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Part<'a> {
    #[serde(borrow, skip_deserializing)]
    Stored(&'a RawValue),
    New(Value),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(input: &str) -> Result<Ask, AgentError> {
        Ask::of_input(&Payload::parse(input).unwrap())
    }

    fn body(spec: &OpenAiSpec, input: &str, items: &[&str]) -> Value {
        let context = ContextId::new("chat-1").unwrap();
        let items = items.iter().map(|item| item.as_bytes());
        serde_json::from_slice(&ask(input).unwrap().body(spec, items, Some(&context)).unwrap()).unwrap()
    }

    fn spec() -> OpenAiSpec {
        OpenAiSpec::new("http://127.0.0.1/v1", "small")
    }

    #[test]
    fn text_and_objects_become_messages() {
        let hello = vec![json!({ "role": "user", "content": "hello" })];
        for input in [
            r#""hello""#,
            r#"{"prompt":"hello"}"#,
            r#"{"input":"hello"}"#,
            r#"{"messages":[{"role":"user","content":"hello"}]}"#,
            r#"{"input":[{"role":"user","content":"hello"}],"n":1}"#,
        ] {
            assert_eq!(ask(input).unwrap().messages, hello, "{input}");
        }
    }

    #[test]
    fn an_input_of_another_form_is_refused_with_one_that_works() {
        for (input, why) in [
            ("null", "neither text nor an object"),
            ("[1]", "neither text nor an object"),
            ("{}", "has no messages"),
            (r#"{"messages":[]}"#, "`messages` of the input"),
            (r#"{"prompt":7}"#, "`prompt` of the input"),
            (r#"{"messages":["hi"]}"#, "message 0"),
            (r#"{"prompt":"a","messages":[{}]}"#, "more than one"),
            (r#"{"prompt":"a","stream":false}"#, "`stream`"),
            (r#"{"prompt":"a","n":2}"#, "`n` is 1"),
        ] {
            let error = ask(input).unwrap_err();
            assert!(error.message().contains(why) && error.message().contains("`prompt`"), "{input}: {error}");
            assert!(!error.is_retryable());
        }
    }

    #[test]
    fn a_chat_request_has_the_prompt_the_context_and_the_task() {
        let mut spec = OpenAiSpec { instructions: Some("be short".into()), ..spec() };
        spec.parameters.insert("temperature".into(), json!(0.5));
        let items = [r#"{"role":"user","content":"a"}"#, r#"{"role":"assistant","content":"b"}"#];
        let found = body(&spec, r#"{"prompt":"c","temperature":1,"tools":[]}"#, &items);
        let expected = json!({
            "messages": [
                { "role": "system", "content": "be short" },
                { "role": "user", "content": "a" },
                { "role": "assistant", "content": "b" },
                { "role": "user", "content": "c" },
            ],
            "model": "small", "stream": true, "stream_options": { "include_usage": true },
            "prompt_cache_key": "chat-1", "temperature": 1, "tools": [],
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_responses_request_stores_nothing_at_the_endpoint() {
        let spec = OpenAiSpec {
            wire: Wire::Responses,
            instructions: Some("be short".into()),
            stream: false,
            prompt_cache_key: false,
            ..spec()
        };
        let found = body(&spec, r#"{"prompt":"c","model":"large"}"#, &[]);
        let expected = json!({
            "input": [{ "role": "user", "content": "c" }],
            "instructions": "be short", "model": "large", "stream": false, "store": false,
        });
        assert_eq!(found, expected);
    }
}

//! The answer of a model, whichever form it arrived in.

use serde::Serialize;
use serde_json::Value;

/// The tokens that a request used, as the endpoint counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Usage {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    /// How many of the input tokens the endpoint had in its prompt cache.
    pub(super) cached_tokens: u64,
    /// How many of the output tokens were thoughts that are not shown.
    pub(super) reasoning_tokens: u64,
}

impl Usage {
    /// Returns the counts by name, without those that are 0.
    pub(super) fn counts(self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = [
            ("input_tokens", self.input_tokens),
            ("output_tokens", self.output_tokens),
            ("cached_tokens", self.cached_tokens),
            ("reasoning_tokens", self.reasoning_tokens),
        ];
        counts.into_iter().filter(|(_, count)| *count > 0)
    }

    /// Reads the usage of either form. Absent counts are 0; `None` if there is none at all.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let count = |paths: [&str; 2]| paths.iter().find_map(|path| value.pointer(path)?.as_u64());
        let input = count(["/prompt_tokens", "/input_tokens"]);
        let output = count(["/completion_tokens", "/output_tokens"]);
        (input.is_some() || output.is_some()).then(|| Self {
            input_tokens: input.unwrap_or(0),
            output_tokens: output.unwrap_or(0),
            cached_tokens: count(["/prompt_tokens_details/cached_tokens", "/input_tokens_details/cached_tokens"])
                .unwrap_or(0),
            reasoning_tokens: count([
                "/completion_tokens_details/reasoning_tokens",
                "/output_tokens_details/reasoning_tokens",
            ])
            .unwrap_or(0),
        })
    }
}

/// A complete answer: the output of the task, and what the context gains.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Turn {
    /// The text of the answer.
    pub(super) text: String,
    /// Why the model ended, in the endpoint's words: `stop`, `length`, `tool_calls`, ...
    pub(super) finish_reason: Option<String>,
    /// The calls of tools that the model asks for, in the form of the endpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<Value>,
    /// The model that answered.
    pub(super) model: Option<String>,
    /// The tokens that it used, if the endpoint reports them.
    pub(super) usage: Option<Usage>,
    /// The items that the context gains after the messages of the task.
    #[serde(skip)]
    pub(super) items: Vec<Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_of_usage_are_read() {
        let expected = Usage { input_tokens: 10, output_tokens: 5, cached_tokens: 8, reasoning_tokens: 2 };
        let chat = json!({ "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
            "prompt_tokens_details": { "cached_tokens": 8 }, "completion_tokens_details": { "reasoning_tokens": 2 } });
        let responses = json!({ "input_tokens": 10, "output_tokens": 5,
            "input_tokens_details": { "cached_tokens": 8 }, "output_tokens_details": { "reasoning_tokens": 2 } });
        assert_eq!([Usage::of(&chat), Usage::of(&responses)], [Some(expected); 2]);
        let bare = Usage { input_tokens: 3, ..Usage::default() };
        assert_eq!(Usage::of(&json!({ "prompt_tokens": 3, "prompt_tokens_details": null })), Some(bare));
        assert_eq!([Usage::of(&Value::Null), Usage::of(&json!({ "prompt_tokens": "3" }))], [None; 2]);
    }
}

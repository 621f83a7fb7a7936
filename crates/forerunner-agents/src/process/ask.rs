//! What an agent asks by `task/ask`.

use std::{collections::BTreeSet, time::Duration};

use forerunner_context::ItemHash;
use forerunner_core::{Payload, Question, RequestKind, RequestOption};
use serde::Deserialize;

/// Longest prompt and longest key, in bytes.
const MAX_PROMPT_BYTES: usize = 16 << 10;
const MAX_KEY_BYTES: usize = 256;
/// Most options, and the longest text of one, in bytes.
const MAX_OPTIONS: usize = 64;
const MAX_OPTION_BYTES: usize = 1 << 10;

/// Parameters of `task/ask`.
#[derive(Debug, Deserialize)]
pub(super) struct AskParams {
    pub task: String,
    prompt: String,
    #[serde(default = "question")]
    kind: RequestKind,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    options: Vec<OptionParams>,
    #[serde(default)]
    schema: Option<Payload>,
    #[serde(default)]
    details: Option<Payload>,
    #[serde(default)]
    timeout_s: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct OptionParams {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    kind: String,
}

const fn question() -> RequestKind {
    RequestKind::Question
}

impl AskParams {
    /// Describes the first thing that is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.prompt.trim().is_empty() || self.prompt.len() > MAX_PROMPT_BYTES {
            return Err(format!("`prompt` has {} bytes; use 1 to {MAX_PROMPT_BYTES}", self.prompt.len()));
        }
        if let Some(key) = self.key.as_deref().filter(|key| key.is_empty() || key.len() > MAX_KEY_BYTES) {
            return Err(format!("`key` has {} bytes; use 1 to {MAX_KEY_BYTES}, or none", key.len()));
        }
        if self.options.len() > MAX_OPTIONS {
            return Err(format!("`options` has {} entries; use {MAX_OPTIONS} at most", self.options.len()));
        }
        let mut ids = BTreeSet::new();
        for OptionParams { id, name, kind } in &self.options {
            let name = name.as_deref().unwrap_or_default();
            if id.is_empty() || [id, name, kind].iter().any(|text| text.len() > MAX_OPTION_BYTES) {
                return Err(format!("an option has an empty `id`, or a text of more than {MAX_OPTION_BYTES} bytes"));
            }
            if !ids.insert(id) {
                return Err(format!("two options have the id `{id}`"));
            }
        }
        match self.timeout_s {
            Some(seconds) if !(seconds > 0.0 && seconds.is_finite()) => {
                Err(format!("`timeout_s` is {seconds}; use more than 0"))
            }
            _ => Ok(()),
        }
    }

    /// Returns the question. It waits for `longest` at most.
    pub fn into_question(self, longest: Duration) -> Question {
        let asked = self.timeout_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let fingerprint = self.key.clone().unwrap_or_else(|| self.fingerprint());
        let option = |OptionParams { id, name, kind }: OptionParams| RequestOption {
            name: name.unwrap_or_else(|| id.clone()),
            id,
            kind,
        };
        Question {
            kind: self.kind,
            options: self.options.into_iter().map(option).collect(),
            prompt: self.prompt,
            schema: self.schema,
            details: self.details,
            fingerprint,
            timeout: asked.unwrap_or(longest).min(longest),
        }
    }

    /// The same for the same question, for an agent that gives it no key.
    fn fingerprint(&self) -> String {
        let options: Vec<&str> = self.options.iter().map(|option| option.id.as_str()).collect();
        ItemHash::of(format!("{:?} {} {options:?}", self.kind, self.prompt).as_bytes()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn params(more: &str) -> AskParams {
        serde_json::from_str(&format!(r#"{{"task":"t","prompt":"which branch?"{more}}}"#)).unwrap()
    }

    #[test]
    fn a_question_has_a_key_and_waits_no_longer_than_the_pool_allows() {
        let question = |more: &str| params(more).into_question(DAY);
        let plain = question("");
        assert_eq!((plain.kind, plain.timeout, plain.prompt.as_str()), (RequestKind::Question, DAY, "which branch?"));
        assert_eq!(question("").fingerprint, plain.fingerprint, "the same question is found again");
        let chosen = question(r#","options":[{"id":"main"},{"id":"dev","name":"Development"}],"timeout_s":60"#);
        assert_ne!(chosen.fingerprint, plain.fingerprint);
        assert_eq!((chosen.options[0].name.as_str(), chosen.options[1].name.as_str()), ("main", "Development"));
        assert_eq!(chosen.timeout, Duration::from_secs(60));
        assert_eq!(question(r#","key":"branch","timeout_s":1e300"#).fingerprint, "branch");
        assert_eq!(question(r#","timeout_s":1e300"#).timeout, DAY);
    }

    #[test]
    fn what_cannot_be_asked_is_described() {
        let long = "x".repeat(20_000);
        for (more, says) in [
            (format!(r#","key":"{long}""#), "`key` has 20000 bytes"),
            (r#","options":[{"id":""}]"#.to_owned(), "an empty `id`"),
            (r#","options":[{"id":"a"},{"id":"a"}]"#.to_owned(), "two options have the id `a`"),
            (format!(r#","options":[{}]"#, vec![r#"{"id":"a"}"#; 65].join(",")), "`options` has 65 entries"),
            (r#","timeout_s":0"#.to_owned(), "`timeout_s` is 0"),
        ] {
            let error = params(&more).check().unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let empty = AskParams { prompt: " ".to_owned(), ..params("") };
        assert!(empty.check().unwrap_err().contains("`prompt`"));
        assert!(params("").check().is_ok());
    }
}

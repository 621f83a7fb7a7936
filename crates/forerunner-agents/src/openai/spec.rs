//! The settings of the kind.

use std::{sync::Arc, time::Duration};

use awc::http::Uri;
use forerunner_core::{Error, human_duration};
use forerunner_runtime::agent::DriverFactory;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::driver::OpenAiFactory;
use crate::{AgentKind, MissingFile, endpoint::EndpointSettings, endpoint::check_url};

/// Members of a request that the agent writes itself.
pub(super) const RESERVED: [&str; 7] =
    ["messages", "input", "instructions", "stream", "stream_options", "store", "prompt_cache_key"];

/// Which of the two forms of request the endpoint understands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// `POST {base_url}/chat/completions`, which nearly every provider and model server has.
    #[default]
    Chat,
    /// `POST {base_url}/responses`.
    Responses,
}

impl Wire {
    /// The path below the base address.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Responses => "/responses",
        }
    }
}

/// A model behind an OpenAI-compatible endpoint, and how to ask it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenAiSpec {
    /// The address before `/chat/completions` or `/responses`, usually with `/v1` at its end.
    pub base_url: String,
    /// The model. A task may name another one.
    pub model: String,
    /// The form of the requests.
    #[serde(default)]
    pub wire: Wire,
    /// The system prompt. It precedes each conversation and is not stored in the context.
    #[serde(default)]
    pub instructions: Option<String>,
    /// More members of each request, such as `temperature` or `tools`. A task may override them.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// Whether answers arrive piece by piece, so that watchers of a task see them grow.
    #[serde(default = "yes")]
    pub stream: bool,
    /// Whether requests carry `prompt_cache_key` with the id of the context, so that a provider may route a conversation
    /// to where its beginning is cached. Some servers refuse members that they do not know.
    #[serde(default = "yes")]
    pub prompt_cache_key: bool,
    /// The path below the base address that an agent asks for when it starts. Empty: it asks nothing.
    #[serde(default = "models")]
    pub health_path: String,
    /// Longest time to answer that.
    #[serde(default = "half_a_minute", with = "human_duration")]
    pub start_timeout: Duration,
    /// Most requests that the agents of this pool on one node send in a minute. 0: no limit.
    #[serde(default)]
    pub requests_per_minute: u32,
    /// Most tokens, of input and output together, in a minute on one node. 0: no limit.
    #[serde(default)]
    pub tokens_per_minute: u64,
    /// How the endpoint is reached.
    #[serde(flatten)]
    pub endpoint: EndpointSettings,
}

impl OpenAiSpec {
    /// Describes a model by its endpoint, with defaults for everything else.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            wire: Wire::default(),
            instructions: None,
            parameters: Map::new(),
            stream: true,
            prompt_cache_key: true,
            health_path: models(),
            start_timeout: half_a_minute(),
            requests_per_minute: 0,
            tokens_per_minute: 0,
            endpoint: EndpointSettings::default(),
        }
    }

    /// Returns the address of a path below the base address.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url.trim_end_matches('/'))
    }
}

impl AgentKind for OpenAiSpec {
    const SHORT_FORM: &'static str = "MODEL@BASE_URL";
    const SHORT_EXAMPLE: &'static str = "small-model@http://127.0.0.1:8080/v1";
    /// The connection, and another one while it is replaced.
    const OPEN_FILES: u64 = 2;

    fn template() -> Self {
        Self::new("", "")
    }

    fn from_short(text: &str) -> Option<Map<String, Value>> {
        let (model, base_url) = text.trim().split_once('@')?;
        let settings = [("model", model), ("base_url", base_url)];
        (!model.is_empty()).then(|| settings.map(|(key, value)| (key.to_owned(), value.into())).into_iter().collect())
    }

    fn validate(&self) -> Result<(), Error> {
        let refuse =
            |key, value: &str, rule: &str| Err(Error::Setting { key, value: value.to_owned(), rule: rule.to_owned() });
        check_url("base_url", &self.base_url)?;
        if self.base_url.contains(['?', '#']) {
            return refuse("base_url", &self.base_url, "use an address without a query; put headers into `headers`");
        }
        if self.model.trim().is_empty() {
            return refuse("model", &self.model, "name the model as the endpoint does");
        }
        if let Some(name) = self.parameters.keys().find(|name| RESERVED.contains(&name.as_str())) {
            return refuse("parameters", name, "leave it out: the agent writes this member itself");
        }
        if !self.health_path.is_empty() && !self.health_path.starts_with('/') {
            return refuse("health_path", &self.health_path, "begin it with `/`, or use \"\" for none");
        }
        if self.start_timeout.is_zero() {
            return refuse("start_timeout", "0s", "use more than 0s");
        }
        self.endpoint.validate()
    }

    fn describe(&self) -> String {
        let uri: Option<Uri> = self.base_url.parse().ok();
        let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
        format!("model `{}` at {host}", self.model)
    }

    fn missing(&self) -> Vec<MissingFile> {
        self.endpoint.missing()
    }

    fn factory(&self) -> Result<Arc<dyn DriverFactory>, Error> {
        Ok(Arc::new(OpenAiFactory::new(self.clone())?))
    }
}

const fn yes() -> bool {
    true
}

fn models() -> String {
    "/models".to_owned()
}

const fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> OpenAiSpec {
        OpenAiSpec::new("https://models.example/v1/", "small")
    }

    #[test]
    fn only_the_address_and_the_model_are_needed() {
        let spec: OpenAiSpec =
            serde_json::from_value(json!({ "base_url": "https://models.example/v1/", "model": "small" })).unwrap();
        assert_eq!(spec, good());
        spec.validate().unwrap();
        assert_eq!(spec.url(Wire::Chat.path()), "https://models.example/v1/chat/completions");
        assert_eq!(spec.describe(), "model `small` at models.example");
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        let parameters = |name: &str| Map::from_iter([(name.to_owned(), Value::Null)]);
        for (spec, key) in [
            (OpenAiSpec { base_url: "models".into(), ..good() }, "base_url"),
            (OpenAiSpec { base_url: "https://models.example/v1?key=x".into(), ..good() }, "base_url"),
            (OpenAiSpec { model: " ".into(), ..good() }, "model"),
            (OpenAiSpec { parameters: parameters("stream"), ..good() }, "parameters"),
            (OpenAiSpec { health_path: "models".into(), ..good() }, "health_path"),
            (OpenAiSpec { start_timeout: Duration::ZERO, ..good() }, "start_timeout"),
            (
                OpenAiSpec {
                    endpoint: EndpointSettings { connect_timeout: Duration::ZERO, ..EndpointSettings::default() },
                    ..good()
                },
                "connect_timeout",
            ),
        ] {
            let error = spec.validate().unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
        for bad in ["", "small", "@http://127.0.0.1"] {
            assert!(OpenAiSpec::from_short(bad).is_none(), "{bad}");
        }
    }
}

//! The settings of the kind.

use std::{sync::Arc, time::Duration};

use awc::http::Uri;
use forerunner_core::{Error, human_duration};
use forerunner_runtime::agent::DriverFactory;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::driver::HttpFactory;
use crate::{
    AgentKind, MissingFile,
    endpoint::{EndpointSettings, check_url},
};

/// An endpoint that works on tasks, and how to ask it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpSpec {
    /// The address that receives each task as a POST.
    pub url: String,
    /// An address that answers 2xx once the endpoint can work. An agent asks it until then, which is its cold start. By
    /// default an agent is ready at once.
    #[serde(default)]
    pub health_url: Option<String>,
    /// Longest time until the endpoint can work.
    #[serde(default = "one_minute", with = "human_duration")]
    pub start_timeout: Duration,
    /// How the endpoint is reached.
    #[serde(flatten)]
    pub endpoint: EndpointSettings,
}

impl HttpSpec {
    /// Describes an endpoint by its address, with defaults for everything else.
    pub fn new(url: impl Into<String>) -> Self {
        let (health_url, endpoint) = (None, EndpointSettings::default());
        Self { url: url.into(), health_url, start_timeout: one_minute(), endpoint }
    }
}

impl AgentKind for HttpSpec {
    const SHORT_FORM: &'static str = "URL";
    const SHORT_EXAMPLE: &'static str = "http://127.0.0.1:8080/task";
    /// The connection, and another one while it is replaced.
    const OPEN_FILES: u64 = 2;

    fn template() -> Self {
        Self::new("")
    }

    fn from_short(text: &str) -> Option<Map<String, Value>> {
        let url = text.trim();
        (!url.is_empty()).then(|| Map::from_iter([("url".to_owned(), url.into())]))
    }

    fn validate(&self) -> Result<(), Error> {
        check_url("url", &self.url)?;
        self.health_url.iter().try_for_each(|url| check_url("health_url", url))?;
        if self.start_timeout.is_zero() {
            let rule = "use more than 0s".to_owned();
            return Err(Error::Setting { key: "start_timeout", value: "0s".to_owned(), rule });
        }
        self.endpoint.validate()
    }

    fn describe(&self) -> String {
        let uri: Option<Uri> = self.url.parse().ok();
        format!("the endpoint {}", uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default())
    }

    fn missing(&self) -> Vec<MissingFile> {
        self.endpoint.missing()
    }

    fn factory(&self) -> Result<Arc<dyn DriverFactory>, Error> {
        Ok(Arc::new(HttpFactory::new(self.clone())?))
    }
}

const fn one_minute() -> Duration {
    Duration::from_secs(60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        let good = || HttpSpec::new("http://127.0.0.1:8080/task");
        good().validate().unwrap();
        assert_eq!(good().describe(), "the endpoint 127.0.0.1");
        for (spec, key) in [
            (HttpSpec::new("127.0.0.1:8080"), "url"),
            (HttpSpec { health_url: Some("/health".into()), ..good() }, "health_url"),
            (HttpSpec { start_timeout: Duration::ZERO, ..good() }, "start_timeout"),
            (
                HttpSpec {
                    endpoint: EndpointSettings { stall_timeout: Duration::ZERO, ..EndpointSettings::default() },
                    ..good()
                },
                "stall_timeout",
            ),
        ] {
            let error = spec.validate().unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
    }
}

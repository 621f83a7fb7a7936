//! The settings of an endpoint.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use awc::http::{
    Uri,
    header::{HeaderName, HeaderValue},
};
use forerunner_core::{Error, human_duration};
use serde::{Deserialize, Serialize};

use crate::{MissingFile, read_secret};

/// How the node reaches an endpoint, and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointSettings {
    /// The variable of the node's environment that has the key of the endpoint. By default no key is sent.
    pub api_key_env: Option<String>,
    /// The file that has the key, read at each start of an agent (see [`read_secret`](crate::read_secret)).
    pub api_key_file: Option<PathBuf>,
    /// The header that carries the key. In `authorization` it follows the word `Bearer`.
    pub api_key_header: String,
    /// More headers of each request. They are no place for secrets: `config show` prints them.
    pub headers: BTreeMap<String, String>,
    /// A PEM file with the certificates of authorities to trust, instead of those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Longest time to connect.
    #[serde(with = "human_duration")]
    pub connect_timeout: Duration,
    /// Longest time for which the endpoint may send nothing during a task.
    #[serde(with = "human_duration")]
    pub stall_timeout: Duration,
    /// Most that the endpoint may send for one task, in bytes.
    pub max_output_bytes: usize,
}

impl Default for EndpointSettings {
    fn default() -> Self {
        Self {
            api_key_env: None,
            api_key_file: None,
            api_key_header: "authorization".to_owned(),
            headers: BTreeMap::new(),
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
            max_output_bytes: 16 << 20,
        }
    }
}

impl EndpointSettings {
    /// Checks the settings together.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first invalid one, and what to use instead.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        if let (Some(name), Some(_)) = (&self.api_key_env, &self.api_key_file) {
            return refuse("api_key_env", name, "use it or `api_key_file`, not both");
        }
        if let Some(name) = &self.api_key_env
            && (name.is_empty() || name.contains(['=', '\0']))
        {
            return refuse("api_key_env", name, "use the name of a variable");
        }
        if HeaderName::try_from(self.api_key_header.as_str()).is_err() {
            return refuse("api_key_header", &self.api_key_header, "use the name of a header, such as authorization");
        }
        for (name, value) in &self.headers {
            if HeaderName::try_from(name.as_str()).is_err() {
                return refuse("headers", name, "use the name of a header");
            }
            if HeaderValue::try_from(value.as_str()).is_err() {
                return refuse("headers", name, "give it a value of visible ASCII characters");
            }
        }
        for (key, timeout) in [("connect_timeout", self.connect_timeout), ("stall_timeout", self.stall_timeout)] {
            if timeout.is_zero() {
                return refuse(key, "0s", "use more than 0s");
            }
        }
        match self.max_output_bytes {
            bytes @ ..1_024 => refuse("max_output_bytes", &bytes.to_string(), "use 1024 or more"),
            _ => Ok(()),
        }
    }

    /// Reads the key of the endpoint.
    ///
    /// # Errors
    /// When the variable or the file is not there, or has no text that a header can carry. The error names the source and
    /// never the key.
    pub(crate) fn api_key(&self) -> Result<Option<String>, String> {
        let (key, source) = match (&self.api_key_env, &self.api_key_file) {
            (Some(name), _) => {
                let found = std::env::var(name)
                    .map_err(|_| format!("the variable {name} of `api_key_env` is not set; set it for the node"))?;
                (found, format!("the variable {name}"))
            }
            (None, Some(path)) => {
                let found = read_secret(path).map_err(|error| format!("`api_key_file`: {error}"))?;
                (found, format!("the file {}", path.display()))
            }
            (None, None) => return Ok(None),
        };
        let key = key.trim();
        match key.is_empty() || HeaderValue::try_from(key).is_err() {
            true => Err(format!("{source} has no key: it must be visible ASCII characters on one line")),
            false => Ok(Some(key.to_owned())),
        }
    }

    /// Returns what this machine lacks of what the settings name.
    pub(crate) fn missing(&self) -> Vec<MissingFile> {
        let key = if self.api_key_env.is_some() { "api_key_env" } else { "api_key_file" };
        let no_key = self.api_key().err().map(|message| MissingFile { key, message });
        let no_authority = self.ca_file.as_ref().filter(|path| !path.is_file()).map(|path| MissingFile {
            key: "ca_file",
            message: format!("there is no file {}; name a PEM file with certificates", path.display()),
        });
        no_key.into_iter().chain(no_authority).collect()
    }
}

/// Checks the address of an endpoint.
///
/// # Errors
/// [`Error::Setting`] if it is no absolute address of `http` or `https`, or contains a user.
pub(crate) fn check_url(key: &'static str, url: &str) -> Result<(), Error> {
    let rule = "use an address such as https://host:8443/path, without a user and a password";
    let parsed: Option<Uri> = url.parse().ok();
    let good = parsed.is_some_and(|uri| {
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        matches!(uri.scheme_str(), Some("http" | "https")) && authority.is_some_and(|found| !found.host().is_empty())
    });
    // An address with a password is not repeated.
    let shown = if url.contains('@') { "(hidden, since it contains a user)" } else { url };
    if good { Ok(()) } else { refuse(key, shown, rule) }
}

fn refuse<T>(key: &'static str, value: &str, rule: &str) -> Result<T, Error> {
    Err(Error::Setting { key, value: value.to_owned(), rule: rule.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        let good = EndpointSettings::default;
        let headers = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        for (settings, key) in [
            (
                EndpointSettings { api_key_env: Some("A".into()), api_key_file: Some("b".into()), ..good() },
                "api_key_env",
            ),
            (EndpointSettings { api_key_env: Some("A=B".into()), ..good() }, "api_key_env"),
            (EndpointSettings { api_key_header: "two words".into(), ..good() }, "api_key_header"),
            (EndpointSettings { headers: headers("x y", "z"), ..good() }, "headers"),
            (EndpointSettings { headers: headers("x", "a\nb"), ..good() }, "headers"),
            (EndpointSettings { stall_timeout: Duration::ZERO, ..good() }, "stall_timeout"),
            (EndpointSettings { max_output_bytes: 10, ..good() }, "max_output_bytes"),
        ] {
            let error = settings.validate().unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
        good().validate().unwrap();
    }

    #[test]
    fn addresses_are_absolute_and_have_no_password() {
        for url in ["http://127.0.0.1:8080/v1", "https://models.example/v1", "http://[::1]:80"] {
            check_url("url", url).unwrap();
        }
        for url in ["", "models.example/v1", "ftp://models.example", "/v1", "https://", "http://u:pw@host/v1"] {
            let error = check_url("url", url).unwrap_err().to_string();
            assert!(error.contains("`url`") && !error.contains("pw"), "{error}");
        }
    }

    #[test]
    fn a_key_comes_from_its_file_and_no_error_contains_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let settings = EndpointSettings { api_key_file: Some(path.clone()), ..EndpointSettings::default() };
        assert!(settings.api_key().unwrap_err().contains("cannot be read"));
        assert_eq!(settings.missing()[0].key, "api_key_file");
        std::fs::write(&path, "s3cret\n").unwrap();
        assert_eq!(settings.api_key().unwrap().as_deref(), Some("s3cret"));
        assert!(settings.missing().is_empty());
        for bad in ["s3cret\nmore", " \n", ""] {
            std::fs::write(&path, bad).unwrap();
            let error = settings.api_key().unwrap_err();
            assert!(error.contains("has no key") && !error.contains("s3cret"), "{error}");
        }
        assert_eq!(EndpointSettings::default().api_key(), Ok(None));
    }
}

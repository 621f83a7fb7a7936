//! Who may call the service.

use std::{collections::BTreeSet, path::Path};

use forerunner_agents::read_secret;
use forerunner_core::Error;
use forerunner_service::auth::{Auth, ConfiguredKey, KeyRing, Token};
use serde::{Deserialize, Serialize};

/// Who may call the service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Whether calls need a key.
    pub mode: AuthMode,
    /// A file with the first key, unless empty: it counts while there is no other key of the role admin.
    pub bootstrap_key_file: String,
    /// Keys by their hashes.
    pub keys: Vec<ConfiguredKey>,
}

/// Whether calls need a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// No; and the service listens on addresses of this machine alone.
    #[default]
    Auto,
    /// No: the operator knows that only trusted programs reach the service.
    Off,
    /// Yes.
    Keys,
}

impl AuthConfig {
    /// Checks the settings together.
    pub fn validate(&self) -> Result<(), Error> {
        let is_used = self.mode != AuthMode::Auto || (self.keys.is_empty() && self.bootstrap_key_file.is_empty());
        if !is_used {
            let rule = "use \"keys\", since there are keys, or \"off\" if nobody is to need one".to_owned();
            return Err(Error::Setting { key: "auth.mode", value: format!("{:?}", self.mode).to_lowercase(), rule });
        }
        let mut ids = BTreeSet::new();
        match self.keys.iter().find(|key| !ids.insert(&key.id)) {
            None => Ok(()),
            Some(key) => {
                let rule = "use each key once".to_owned();
                Err(Error::Setting { key: "auth.keys", value: key.id.to_string(), rule })
            }
        }
    }

    /// Returns how callers are identified.
    ///
    /// # Errors
    /// The file with the first key cannot be read, or has none.
    pub fn build(&self) -> Result<Auth, Error> {
        if self.mode != AuthMode::Keys {
            return Ok(Auth::Off);
        }
        let first = self.first_key()?;
        Ok(Auth::Keys(KeyRing::new(self.keys.clone(), first.as_ref())))
    }

    fn first_key(&self) -> Result<Option<Token>, Error> {
        let file = &self.bootstrap_key_file;
        if file.is_empty() {
            return Ok(None);
        }
        let refuse = |rule: String| Error::Setting { key: "auth.bootstrap_key_file", value: file.clone(), rule };
        let text = read_secret(Path::new(file)).map_err(|error| refuse(error.to_string()))?;
        let no_key =
            || refuse("the file has no key; `forerunner key generate --role admin --out FILE` makes one".into());
        Token::parse(text.trim()).map(Some).ok_or_else(no_key)
    }
}

#[cfg(test)]
mod tests {
    use forerunner_service::auth::Role;

    use super::*;

    #[test]
    fn keys_that_nobody_would_need_are_refused() {
        let config = AuthConfig { bootstrap_key_file: "/run/key".to_owned(), ..AuthConfig::default() };
        assert!(config.validate().unwrap_err().to_string().starts_with("`auth.mode` = auto is not valid"));
        for mode in [AuthMode::Keys, AuthMode::Off] {
            assert!(AuthConfig { mode, ..config.clone() }.validate().is_ok());
        }
    }

    #[test]
    fn the_file_with_the_first_key_has_a_key() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        let config = AuthConfig {
            mode: AuthMode::Keys,
            bootstrap_key_file: file.display().to_string(),
            ..AuthConfig::default()
        };
        let token = Token::generate(Role::Admin).unwrap();
        std::fs::write(&file, format!("{}\n", token.reveal())).unwrap();
        assert_eq!(config.first_key().unwrap(), Some(token));
        std::fs::write(&file, "s3cret").unwrap();
        let error = config.build().unwrap_err().to_string();
        assert!(error.contains("has no key") && !error.contains("s3cret"), "{error}");
    }
}

//! Who may call the service.

use std::{collections::BTreeSet, path::Path};

use forerunner_agents::read_secret;
use forerunner_core::Error;
use forerunner_service::auth::{Auth, ConfiguredKey, Credentials, JwtSettings, JwtVerifier, KeyRing, Token};
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
    /// Whose tokens are accepted, and what their claims mean.
    pub jwt: JwtSettings,
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
    /// No: they need a token of an identity provider.
    Jwt,
    /// They need a key or a token.
    #[serde(rename = "keys+jwt")]
    KeysAndJwt,
}

impl AuthMode {
    /// Returns whether callers are identified.
    pub const fn is_on(self) -> bool {
        self.has_keys() || self.has_tokens()
    }

    const fn has_keys(self) -> bool {
        matches!(self, Self::Keys | Self::KeysAndJwt)
    }

    const fn has_tokens(self) -> bool {
        matches!(self, Self::Jwt | Self::KeysAndJwt)
    }
}

impl AuthConfig {
    /// Checks the settings together.
    pub fn validate(&self) -> Result<(), Error> {
        let is_used = self.mode != AuthMode::Auto || (self.keys.is_empty() && self.bootstrap_key_file.is_empty());
        if !is_used {
            let rule = "use \"keys\", since there are keys, or \"off\" if nobody is to need one".to_owned();
            return Err(Error::Setting { key: "auth.mode", value: format!("{:?}", self.mode).to_lowercase(), rule });
        }
        if self.mode.has_tokens() {
            self.jwt.validate()?;
        } else if !self.jwt.issuer.is_empty() && self.mode != AuthMode::Off {
            let rule = "use \"jwt\" or \"keys+jwt\", since auth.jwt is set".to_owned();
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
        if !self.mode.is_on() {
            return Ok(Auth::Off);
        }
        let keys = match self.mode.has_keys() {
            true => Some(KeyRing::new(self.keys.clone(), self.first_key()?.as_ref())),
            false => None,
        };
        let tokens = self.mode.has_tokens().then(|| JwtVerifier::new(self.jwt.clone()));
        Ok(Auth::On(Box::new(Credentials { keys, tokens })))
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
    fn tokens_need_a_provider_and_a_mode_that_uses_it() {
        let jwt = JwtSettings {
            issuer: "https://id.test".to_owned(),
            audience: "forerunner".to_owned(),
            jwks_file: "/etc/keys.json".to_owned(),
            ..JwtSettings::default()
        };
        let with = |mode, jwt: &JwtSettings| AuthConfig { mode, jwt: jwt.clone(), ..AuthConfig::default() }.validate();
        for mode in [AuthMode::Jwt, AuthMode::KeysAndJwt] {
            assert_eq!(with(mode, &jwt), Ok(()));
            let error = with(mode, &JwtSettings::default()).unwrap_err().to_string();
            assert!(error.contains("`auth.jwt.issuer`"), "{error}");
        }
        for mode in [AuthMode::Auto, AuthMode::Keys] {
            let error = with(mode, &jwt).unwrap_err().to_string();
            assert!(error.contains("`auth.mode`") && error.contains("keys+jwt"), "{error}");
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

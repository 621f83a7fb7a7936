//! Whose tokens are accepted, and what their claims mean.

use std::{collections::BTreeMap, time::Duration};

use forerunner_core::{Error, human_duration};
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};

use crate::auth::Role;

/// The provider of tokens, and the meaning of its claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwtSettings {
    /// The claim `iss` of its tokens.
    pub issuer: String,
    /// The claim `aud` of tokens for this service.
    pub audience: String,
    /// Where its keys are: the address of a JSON Web Key Set.
    pub jwks_url: String,
    /// The same, as a file.
    pub jwks_file: String,
    /// How tokens may be signed. Algorithms with a common secret are not supported.
    pub algorithms: Vec<JwtAlgorithm>,
    /// How far the clocks of provider and node may differ.
    #[serde(with = "human_duration")]
    pub leeway: Duration,
    /// How often the node reads the keys of the provider.
    #[serde(with = "human_duration")]
    pub refresh: Duration,
    /// The claim with the role: a text, or a list such as groups. Members of objects are named `a.b`.
    pub role_claim: String,
    /// What values of that claim mean. Without any, a value is the name of a role. Of several roles, the highest counts.
    pub roles: BTreeMap<String, Role>,
    /// The claim with the tenant; unless empty, each token must have it.
    pub tenant_claim: String,
    /// The claim with the pools: a list, or names with blanks between them; unless empty, each token must have it.
    pub pools_claim: String,
}

/// How a token may be signed (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JwtAlgorithm {
    /// RSA, PKCS #1, SHA-256.
    RS256,
    /// RSA, PSS, SHA-256.
    PS256,
    /// ECDSA, curve P-256, SHA-256.
    ES256,
    /// ECDSA, curve P-384, SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

impl Default for JwtSettings {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            jwks_url: String::new(),
            jwks_file: String::new(),
            algorithms: vec![JwtAlgorithm::RS256, JwtAlgorithm::ES256, JwtAlgorithm::EdDSA],
            leeway: Duration::from_secs(60),
            refresh: Duration::from_secs(600),
            role_claim: "role".to_owned(),
            roles: BTreeMap::new(),
            tenant_claim: String::new(),
            pools_claim: String::new(),
        }
    }
}

impl JwtSettings {
    /// The greatest leeway: beyond it, expiry means little.
    const MAX_LEEWAY: Duration = Duration::from_secs(600);

    /// Checks the settings together.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first invalid one, and what to use instead.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |key, value: &str, rule: &str| {
            Err(Error::Setting { key, value: format!("{value:?}"), rule: rule.to_owned() })
        };
        for (key, value, rule) in [
            ("auth.jwt.issuer", &self.issuer, "name the issuer of the tokens, as it is in their claim iss"),
            ("auth.jwt.audience", &self.audience, "name this service as the tokens do, in their claim aud"),
            ("auth.jwt.role_claim", &self.role_claim, "name the claim that gives the role"),
        ] {
            if value.is_empty() {
                return refuse(key, value, rule);
            }
        }
        if self.jwks_url.is_empty() == self.jwks_file.is_empty() {
            return refuse("auth.jwt.jwks_url", &self.jwks_url, "set either jwks_url or jwks_file");
        }
        let is_address = self.jwks_url.starts_with("https://") || self.jwks_url.starts_with("http://");
        if !self.jwks_url.is_empty() && !is_address {
            return refuse("auth.jwt.jwks_url", &self.jwks_url, "use an address that begins with https://");
        }
        if self.algorithms.is_empty() {
            return refuse("auth.jwt.algorithms", "", "name at least one, such as \"RS256\"");
        }
        if self.leeway > Self::MAX_LEEWAY {
            return refuse("auth.jwt.leeway", &forerunner_core::format_duration(self.leeway), "use 10m or less");
        }
        if self.refresh < Duration::from_secs(1) {
            return refuse("auth.jwt.refresh", &forerunner_core::format_duration(self.refresh), "use 1s or more");
        }
        Ok(())
    }
}

impl JwtAlgorithm {
    pub(super) const fn standard(self) -> Algorithm {
        match self {
            Self::RS256 => Algorithm::RS256,
            Self::PS256 => Algorithm::PS256,
            Self::ES256 => Algorithm::ES256,
            Self::ES384 => Algorithm::ES384,
            Self::EdDSA => Algorithm::EdDSA,
        }
    }
}

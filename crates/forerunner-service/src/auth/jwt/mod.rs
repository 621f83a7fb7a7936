//! Callers that show a JSON Web Token (RFC 7519) of an identity provider.
//!
//! - `settings` says whose tokens are accepted, and what their claims mean;
//! - `signing_keys` has the provider's keys; `signatures` checks with the cryptography that TLS uses already;
//! - `claims` makes a [`Caller`](super::Caller) of a token.

mod claims;
mod settings;
mod signatures;
mod signing_keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use forerunner_core::Timestamp;
use jsonwebtoken::{Algorithm, Validation};
use tokio::time::Instant;

pub use self::settings::{JwtAlgorithm, JwtSettings};
use self::{claims::Claims, signing_keys::SigningKeys};
use super::{Caller, Denial};

/// Why a token is refused. Only the first three are said of a token whose signature is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFault {
    /// It is no token, or signed in a way that is not accepted.
    Form,
    /// No key of the provider has signed it.
    Signer,
    /// Its signature is wrong.
    Signature,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    Early,
    /// It comes from another issuer.
    Issuer,
    /// It is for somebody else.
    Audience,
    /// It does not say whose it is, or until when it is valid.
    Subject,
    /// It gives no role.
    Role,
    /// It names no tenant.
    Tenant,
    /// It names no pools.
    Pools,
}

/// Accepts tokens of one provider.
#[derive(Debug)]
pub struct JwtVerifier {
    settings: JwtSettings,
    /// What is checked of a token, by algorithm.
    accepted: Vec<(Algorithm, Validation)>,
    keys: SigningKeys,
}

impl JwtVerifier {
    /// Accepts no token until [`JwtVerifier::load`] has brought the keys of the provider. The settings are valid.
    pub fn new(settings: JwtSettings) -> Self {
        signatures::install();
        let accepted = settings.algorithms.iter().map(|algorithm| validation(&settings, *algorithm)).collect();
        Self { settings, accepted, keys: SigningKeys::default() }
    }

    /// Returns the settings.
    pub const fn settings(&self) -> &JwtSettings {
        &self.settings
    }

    /// Replaces the keys of the provider by those of a JSON Web Key Set (RFC 7517). Returns how many are usable.
    ///
    /// # Errors
    /// When it is none, or no key in it is usable. Then the keys stay as they were.
    pub fn load(&self, set: &str, at: Instant) -> Result<usize, String> {
        self.keys.load(set, &self.settings.algorithms, at)
    }

    /// Resolves when a token names a key that is not known: the provider may have a new one.
    pub async fn lacks_key(&self) {
        self.keys.lacks_key().await;
    }

    /// Accepts a token, and returns who calls with it.
    ///
    /// # Errors
    /// Why the token is refused.
    pub fn authenticate(&self, token: &str, now: Timestamp, at: Instant) -> Result<Arc<Caller>, Denial> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenFault::Form)?;
        let accepted = self.accepted.iter().find(|(algorithm, _)| *algorithm == header.alg);
        let (_, validation) = accepted.ok_or(TokenFault::Form)?;
        let key = self.keys.find(header.kid.as_deref(), header.alg, at)?;
        let decoded = jsonwebtoken::decode::<Claims>(token, &key, validation);
        let claims = decoded.map_err(|error| TokenFault::of(error.kind()))?.claims;
        claims.check_times(now, self.settings.leeway)?;
        Ok(Arc::new(claims.caller(&self.settings)?))
    }
}

/// The times are not part of it: they are checked with the clock of the node.
fn validation(settings: &JwtSettings, algorithm: JwtAlgorithm) -> (Algorithm, Validation) {
    let algorithm = algorithm.standard();
    let mut validation = Validation { validate_exp: false, validate_nbf: false, ..Validation::new(algorithm) };
    validation.set_issuer(&[&settings.issuer]);
    validation.set_audience(&[&settings.audience]);
    validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
    (algorithm, validation)
}

impl TokenFault {
    fn of(kind: &jsonwebtoken::errors::ErrorKind) -> Self {
        use jsonwebtoken::errors::ErrorKind;
        match kind {
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::InvalidAudience => Self::Audience,
            // The header was read before.
            ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidSubject | ErrorKind::Json(_) => Self::Subject,
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::Early,
            _ => Self::Form,
        }
    }

    /// Returns the label of the metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Form => "malformed",
            Self::Signer | Self::Signature => "unknown",
            Self::Expired => "expired",
            Self::Early | Self::Issuer | Self::Audience | Self::Subject => "foreign",
            Self::Role | Self::Tenant | Self::Pools => "claims",
        }
    }

    /// Says what happened, and what to do.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Form => {
                "what was sent is neither a key nor a token that this service accepts; send a signed token, of an \
                 algorithm in auth.jwt.algorithms"
            }
            Self::Signer => "no key of the provider in auth.jwt has signed the token; ask the provider for a new one",
            Self::Signature => "the signature of the token is wrong; send the token as the provider made it",
            Self::Expired => "the token has expired; ask the provider for a new one",
            Self::Early => "the token is not valid yet; compare the clocks of the provider and of this node",
            Self::Issuer => "the token comes from another issuer than auth.jwt.issuer; use one of that issuer",
            Self::Audience => {
                "the token is not for this service; ask the provider for one with the audience in auth.jwt.audience"
            }
            Self::Subject => "the token lacks one of the claims sub, exp, iss and aud; ask the provider to add it",
            Self::Role => "the token gives no role; see auth.jwt.role_claim and auth.jwt.roles",
            Self::Tenant => "the token names no tenant; see auth.jwt.tenant_claim",
            Self::Pools => "the token names no pools; see auth.jwt.pools_claim",
        }
    }
}

impl From<TokenFault> for Denial {
    fn from(fault: TokenFault) -> Self {
        Self::Token(fault)
    }
}

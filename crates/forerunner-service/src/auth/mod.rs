//! Who calls, and what they may do: keys, roles, and what belongs to a caller.
//!
//! Two steps, in every front: [`Auth::identify`] finds out who calls, and [`Service::require`](crate::Service::require)
//! whether they may. A [`Service`](crate::Service) with a [`Scope`] then reaches nothing that belongs to others.

mod admin;
mod api_key;
mod caller;
mod denial;
mod jwt;
mod key_ring;
mod network;
mod role;
mod token;

use std::{net::IpAddr, sync::Arc};

use forerunner_core::Timestamp;
use metrics::counter;
use tokio::time::Instant;

pub use self::{
    admin::{Made, NewApiKey, OVERLAP, create, list, revoke, rotate},
    api_key::{ApiKey, ApiKeySource, ApiKeyState, ApiKeyStatus, ConfiguredKey},
    caller::{Caller, Scope},
    denial::Denial,
    jwt::{JwtAlgorithm, JwtSettings, JwtVerifier, TokenFault},
    key_ring::{KeyRing, MAX_AGE},
    network::Network,
    role::{Permission, Role},
    token::{KeyHash, Token},
};
use crate::metrics::REFUSED;

/// What every key begins with.
const KEY_PREFIX: &str = "fr_";

/// How callers are identified.
#[derive(Debug, Default)]
pub enum Auth {
    /// Not at all: whoever reaches the service may do everything.
    #[default]
    Off,
    /// By what comes with a call.
    On(Box<Credentials>),
}

/// What callers may show. At least one of the two is there.
#[derive(Debug, Default)]
pub struct Credentials {
    /// Keys.
    pub keys: Option<KeyRing>,
    /// Tokens of an identity provider.
    pub tokens: Option<JwtVerifier>,
}

impl Credentials {
    fn authenticate(&self, shown: &str, peer: IpAddr, now: Timestamp) -> Result<Arc<Caller>, Denial> {
        match (&self.keys, &self.tokens) {
            (Some(ring), None) => ring.authenticate(shown, peer, now, Instant::now()),
            (Some(ring), Some(_)) if shown.starts_with(KEY_PREFIX) => {
                ring.authenticate(shown, peer, now, Instant::now())
            }
            (_, Some(tokens)) => tokens.authenticate(shown, now, Instant::now()),
            (None, None) => Err(Denial::Unknown),
        }
    }
}

impl Auth {
    /// Identifies callers by keys alone.
    pub fn keys(ring: KeyRing) -> Self {
        Self::On(Box::new(Credentials { keys: Some(ring), tokens: None }))
    }

    /// Returns what a call may reach, by the key or token that came with it.
    ///
    /// # Errors
    /// Why it is refused. A call without one is not refused here.
    pub fn identify(&self, shown: Option<&str>, peer: IpAddr, now: Timestamp) -> Result<Scope, Denial> {
        let Self::On(credentials) = self else { return Ok(Scope::All) };
        let Some(shown) = shown else { return Ok(Scope::Nothing) };
        credentials.authenticate(shown, peer, now).map(Scope::Of)
    }

    /// Returns whether callers are identified at all.
    pub const fn is_on(&self) -> bool {
        matches!(self, Self::On(_))
    }

    /// Returns the keys that the node knows, if it knows callers by keys.
    pub fn ring(&self) -> Option<&KeyRing> {
        match self {
            Self::Off => None,
            Self::On(credentials) => credentials.keys.as_ref(),
        }
    }

    /// Returns what checks tokens, if it knows callers by tokens.
    pub fn tokens(&self) -> Option<&JwtVerifier> {
        match self {
            Self::Off => None,
            Self::On(credentials) => credentials.tokens.as_ref(),
        }
    }
}

/// Counts a refusal, by reason.
pub(crate) fn count_refusal(reason: &'static str) {
    counter!(REFUSED, "reason" => reason).increment(1);
}

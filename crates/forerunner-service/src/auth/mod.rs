//! Who calls, and what they may do: keys, roles, and what belongs to a caller.
//!
//! Two steps, in every front: [`Auth::identify`] finds out who calls, and [`Service::require`](crate::Service::require)
//! whether they may. A [`Service`](crate::Service) with a [`Scope`] then reaches nothing that belongs to others.

mod admin;
mod api_key;
mod caller;
mod denial;
mod key_ring;
mod network;
mod role;
mod token;

use std::net::IpAddr;

use forerunner_core::Timestamp;
use metrics::counter;
use tokio::time::Instant;

pub use self::{
    admin::{Made, NewApiKey, OVERLAP, create, list, revoke, rotate},
    api_key::{ApiKey, ApiKeySource, ApiKeyState, ApiKeyStatus, ConfiguredKey},
    caller::{Caller, Scope},
    denial::Denial,
    key_ring::{KeyRing, MAX_AGE},
    network::Network,
    role::{Permission, Role},
    token::{KeyHash, Token},
};
use crate::metrics::REFUSED;

/// How callers are identified.
#[derive(Debug, Default)]
pub enum Auth {
    /// Not at all: whoever reaches the service may do everything.
    #[default]
    Off,
    /// By keys.
    Keys(KeyRing),
}

impl Auth {
    /// Returns what a call may reach, by the key that came with it.
    ///
    /// # Errors
    /// Why the key is refused. A call without a key is not refused here.
    pub fn identify(&self, key: Option<&str>, peer: IpAddr, now: Timestamp) -> Result<Scope, Denial> {
        let Self::Keys(ring) = self else { return Ok(Scope::All) };
        let Some(key) = key else { return Ok(Scope::Nothing) };
        ring.authenticate(key, peer, now, Instant::now()).map(Scope::Of)
    }

    /// Returns the keys that the node knows, if it knows callers by keys.
    pub const fn ring(&self) -> Option<&KeyRing> {
        match self {
            Self::Off => None,
            Self::Keys(ring) => Some(ring),
        }
    }
}

/// Counts a refusal, by reason.
pub(crate) fn count_refusal(reason: &'static str) {
    counter!(REFUSED, "reason" => reason).increment(1);
}

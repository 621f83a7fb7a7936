//! Why a key is refused.

use std::{net::IpAddr, time::Duration};

use super::TokenFault;
use crate::{error::Error, problem_kind::ProblemKind};

/// When to try again while the keys of the store cannot be read.
const RETRY_STALE: Duration = Duration::from_secs(2);

/// Why a key or a token is refused. Only who has the secret of a key learns more than that it is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// There is no key, and the call needs one.
    Missing,
    /// What was sent is no key.
    Malformed,
    /// No key has this id and this secret.
    Unknown,
    /// It has expired.
    Expired,
    /// It was revoked.
    Revoked,
    /// It is the key of the file for the first key, and there is another one of the role admin.
    Replaced,
    /// It may not be used from this address.
    Network(IpAddr),
    /// The keys of the store could not be read for too long.
    Stale,
    /// It is a token of a provider, and is not valid.
    Token(TokenFault),
    /// The keys of the provider could not be read, or not for too long.
    NoSigningKeys,
}

impl Denial {
    /// Returns the label of the metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Replaced => "replaced",
            Self::Network(_) => "network",
            Self::Stale | Self::NoSigningKeys => "stale",
            Self::Token(fault) => fault.as_str(),
        }
    }
}

impl From<Denial> for Error {
    fn from(denial: Denial) -> Self {
        let detail = match denial {
            Denial::Missing => return super::caller::no_key(),
            Denial::Stale => {
                let detail = "the node could not read the keys of the store for 10 s, so it accepts none of them; try again";
                return Self::new(ProblemKind::StoreUnavailable, detail).retry_after(RETRY_STALE);
            }
            Denial::NoSigningKeys => {
                let detail = "the node could not read the keys of the provider in auth.jwt, so it accepts no token; try again";
                return Self::new(ProblemKind::NotReady, detail).retry_after(RETRY_STALE);
            }
            Denial::Token(fault) => fault.detail().to_owned(),
            Denial::Malformed => {
                "what was sent is not a key: its checksum, its length or its beginning is wrong; copy the whole key, from \
                 `fr_` to its last letter"
                    .to_owned()
            }
            Denial::Unknown => "the key is not valid; ask for a new one".to_owned(),
            Denial::Expired => "the key has expired; ask for a new one".to_owned(),
            Denial::Revoked => "the key was revoked; ask for a new one".to_owned(),
            Denial::Replaced => {
                "the key of auth.bootstrap_key_file counts only while there is no other key of the role admin; use that \
                 one"
                .to_owned()
            }
            Denial::Network(peer) => {
                format!("the key may not be used from {peer}; use it from one of its networks, or ask for another key")
            }
        };
        Self::new(ProblemKind::Unauthenticated, detail)
    }
}

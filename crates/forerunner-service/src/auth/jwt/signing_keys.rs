//! The keys with which a provider signs.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{Jwk, JwkSet, PublicKeyUse},
};
use parking_lot::RwLock;
use tokio::{sync::Notify, time::Instant};

use super::{JwtAlgorithm, TokenFault};
use crate::auth::Denial;

/// How old the keys may be. A provider that is away for longer may have withdrawn one.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Most keys of a provider.
const MOST: usize = 100;

/// The keys of a provider, as they were read last.
#[derive(Debug, Default)]
pub(super) struct SigningKeys {
    newest: RwLock<Option<Arc<KeySet>>>,
    lacks_key: Notify,
}

#[derive(Debug)]
struct KeySet {
    keys: Vec<SigningKey>,
    read_at: Instant,
}

#[derive(Debug)]
struct SigningKey {
    id: Option<String>,
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl SigningKeys {
    pub(super) fn load(&self, set: &str, accepted: &[JwtAlgorithm], at: Instant) -> Result<usize, String> {
        let set: JwkSet = serde_json::from_str(set).map_err(|error| format!("it is no JSON Web Key Set: {error}"))?;
        let keys: Vec<_> = set.keys.iter().take(MOST).filter_map(|key| SigningKey::read(key, accepted)).collect();
        if keys.is_empty() {
            return Err("it has no public key for signatures of auth.jwt.algorithms".to_owned());
        }
        let count = keys.len();
        *self.newest.write() = Some(Arc::new(KeySet { keys, read_at: at }));
        Ok(count)
    }

    pub(super) async fn lacks_key(&self) {
        self.lacks_key.notified().await;
    }

    /// Returns the key with which a token was signed, as its header says. A token may leave out the id if there is one key.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm, at: Instant) -> Result<DecodingKey, Denial> {
        let newest = self.newest.read().clone();
        let fresh = newest.filter(|set| at.saturating_duration_since(set.read_at) <= MAX_AGE);
        let Some(set) = fresh else {
            self.lacks_key.notify_one();
            return Err(Denial::NoSigningKeys);
        };
        let mut fitting = set.keys.iter().filter(|key| key.algorithms.contains(&algorithm));
        let found = match id {
            Some(id) => fitting.find(|key| key.id.as_deref() == Some(id)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        };
        let found = found.map(|key| key.key.clone());
        found.ok_or_else(|| {
            self.lacks_key.notify_one();
            TokenFault::Signer.into()
        })
    }
}

impl SigningKey {
    /// Reads a public key; `None` if it is for something else.
    fn read(key: &Jwk, accepted: &[JwtAlgorithm]) -> Option<Self> {
        if key.common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
            return None;
        }
        let decoding = DecodingKey::from_jwk(key).ok().filter(|key| key.family() != AlgorithmFamily::Hmac)?;
        let own = key.common.key_algorithm.map(|algorithm| algorithm.to_string());
        let algorithms: Vec<_> = accepted
            .iter()
            .map(|algorithm| algorithm.standard())
            .filter(|algorithm| algorithm.family() == decoding.family())
            .filter(|algorithm| own.as_ref().is_none_or(|own| *own == format!("{algorithm:?}")))
            .collect();
        let id = key.common.key_id.clone();
        (!algorithms.is_empty()).then_some(Self { id, key: decoding, algorithms })
    }
}

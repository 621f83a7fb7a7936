//! API keys as a store has them: texts that it passes on, under a revision. No key itself is stored.

use forerunner_core::ApiKeyId;

/// Most keys of a store: nodes read them all, again and again.
pub const MOST_API_KEYS: usize = 10_000;

/// A key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Differs after each change.
    pub revision: u64,
    /// What it may do and the hash of the key: JSON.
    pub definition: String,
    /// The day on which a node last accepted it, counted from 1970-01-01.
    pub last_used_day: Option<i64>,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyWrite {
    /// Which key.
    pub id: ApiKeyId,
    /// The revision that is changed; `None` if there is to be no key of that id.
    pub expected: Option<u64>,
    /// The new revision and definition. `None` removes the key.
    pub next: Option<(u64, String)>,
}

/// Why a key was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiKeyConflict {
    /// Another one has the id.
    #[error("there is a key with the id `{id}` already; make another one")]
    Exists {
        /// The id.
        id: ApiKeyId,
    },
    /// There is no key of the id.
    #[error("there is no key with the id `{id}`; `forerunner key list` shows those that there are")]
    NotFound {
        /// The id.
        id: ApiKeyId,
    },
    /// Somebody else has changed it.
    #[error("the key with the id `{id}` was changed by somebody else; list the keys and try again")]
    Changed {
        /// The id.
        id: ApiKeyId,
    },
    /// There are as many as there may be.
    #[error("there are {MOST_API_KEYS} keys, as many as there may be; revoke some: a node removes them after 30 days")]
    Full,
}

impl ApiKeyWrite {
    /// Returns why the change is not possible, if the store has the key at revision `found` and `count` keys in all.
    ///
    /// # Errors
    /// [`ApiKeyConflict`].
    pub fn check(&self, found: Option<u64>, count: usize) -> Result<(), ApiKeyConflict> {
        let id = || self.id.clone();
        match (self.expected, found) {
            (None, Some(_)) => Err(ApiKeyConflict::Exists { id: id() }),
            (None, None) if count >= MOST_API_KEYS => Err(ApiKeyConflict::Full),
            (Some(_), None) => Err(ApiKeyConflict::NotFound { id: id() }),
            (Some(expected), Some(found)) if expected != found => Err(ApiKeyConflict::Changed { id: id() }),
            _ => Ok(()),
        }
    }
}

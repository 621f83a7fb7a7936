//! Make, rotate and revoke keys, on a store alone: `forerunner key` does so where no node runs.

use std::{collections::BTreeSet, num::NonZeroU32, time::Duration};

use forerunner_core::{ApiKeyId, ApiKeyName, PoolName, Priority, TenantName, Timestamp, parse_duration};
use forerunner_store::{ApiKeyConflict, ApiKeyStore, ApiKeyWrite, StoredApiKey};
use serde::{Deserialize, Deserializer, de};

use super::{
    api_key::{ApiKey, ApiKeySource, ApiKeyState, ApiKeyStatus},
    network::Network,
    role::Role,
    token::Token,
};
use crate::{error::Error, problem_kind::ProblemKind};

/// How long a key is listed after its end.
const LISTED: Duration = Duration::from_secs(30 * 86_400);
/// How long two keys of one name count by default.
pub const OVERLAP: Duration = Duration::from_secs(7 * 86_400);

/// A key to make.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// Who is to use it.
    pub name: ApiKeyName,
    /// What it is for.
    pub role: Role,
    /// Whose tasks, contexts and schedules it reaches. By default those of the caller; without such a tenant, keys of
    /// metrics, operate and admin reach those of all tenants, and others those of the tenant `default`.
    pub tenant: Option<TenantName>,
    /// The pools that it may use; all by default.
    pub pools: Option<BTreeSet<PoolName>>,
    /// The highest priority that it may give; any by default.
    pub max_priority: Option<Priority>,
    /// Tasks that may be submitted with it in a second, to each node; any by default.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>, minimum = 1))]
    pub submits_per_s: Option<NonZeroU32>,
    /// Whether it sees inputs and outputs. By default those of the roles submit and admin do.
    pub payloads: Option<bool>,
    /// Where it may be used from: addresses, and networks such as 10.0.0.0/8. From anywhere by default.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub networks: Vec<Network>,
    /// After how long it expires, such as `90d`; never by default.
    #[serde(default, deserialize_with = "duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub expires_in: Option<Duration>,
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text: Option<String> = Deserialize::deserialize(deserializer)?;
    text.map(|text| parse_duration(&text).map_err(de::Error::custom)).transpose()
}

impl NewApiKey {
    /// Makes a key of it, which nobody has stored yet.
    ///
    /// # Errors
    /// It would use no pool, or expire at once; or the operating system has no random bits.
    pub fn generate(self, by: Option<ApiKeyName>, now: Timestamp) -> Result<(Token, ApiKey), Error> {
        if self.pools.as_ref().is_some_and(BTreeSet::is_empty) {
            let detail = "pools is an empty list, so the key could be used for nothing; name pools, or leave it out";
            return Err(Error::new(ProblemKind::InvalidValue, detail));
        }
        if self.expires_in.is_some_and(|span| span.is_zero()) {
            let detail = "expires_in 0s is out of range; use a span such as 90d, or leave it out";
            return Err(Error::new(ProblemKind::InvalidValue, detail));
        }
        let token = generate(self.role)?;
        let key = ApiKey {
            name: self.name,
            role: self.role,
            tenant: self.tenant,
            pools: self.pools,
            max_priority: self.max_priority,
            submits_per_s: self.submits_per_s,
            payloads: self.payloads,
            networks: self.networks,
            sha256: token.hash(),
            created_at: now,
            created_by: by,
            expires_at: self.expires_in.map(|span| now + span),
            revoked_at: None,
        };
        Ok((token, key))
    }
}

fn generate(role: Role) -> Result<Token, Error> {
    Token::generate(role).map_err(|error| Error::internal(format!("no random bits for a key: {error}")))
}

/// A key that was made: shown once.
#[derive(Debug)]
pub struct Made {
    /// The whole key.
    pub token: Token,
    /// What is shown of it.
    pub status: ApiKeyStatus,
}

/// Makes a key. Keys that ended 30 days ago are removed along with it.
///
/// # Errors
/// A key of its name is active, there are too many, or the store does not answer.
pub async fn create<S: ApiKeyStore + ?Sized>(
    store: &S,
    new: NewApiKey,
    by: Option<ApiKeyName>,
    now: Timestamp,
) -> Result<Made, Error> {
    let (token, key) = new.generate(by, now)?;
    let mut is_taken = false;
    for (stored, other) in read(store).await? {
        let is_old = other.over_since(now).is_some_and(|over| over + LISTED <= now);
        if is_old {
            let removal = ApiKeyWrite { id: stored.id, expected: Some(stored.revision), next: None };
            // Another node may have removed it.
            let _ = store.write_api_key(removal).await?;
        }
        is_taken |= other.name == key.name && other.state(now) == ApiKeyState::Active;
    }
    if is_taken {
        let detail = format!("there is a key `{0}` already; rotate it, revoke it, or use another name", key.name);
        return Err(Error::new(ProblemKind::ApiKeyConflict, detail).with("name", key.name.as_str()));
    }
    insert(store, token, &key, now).await
}

/// Makes another key of the same name that may do the same. The old one expires after `overlap`.
///
/// # Errors
/// There is no active key of the id, or the store does not answer.
pub async fn rotate<S: ApiKeyStore + ?Sized>(
    store: &S,
    id: &ApiKeyId,
    overlap: Duration,
    by: Option<ApiKeyName>,
    now: Timestamp,
) -> Result<Made, Error> {
    let (stored, old) = find(store, id).await?;
    if old.state(now) != ApiKeyState::Active {
        let detail = format!("the key with the id `{id}` is over; make a new one with `forerunner key create`");
        return Err(Error::new(ProblemKind::ApiKeyConflict, detail).with("key", id.as_str()));
    }
    let token = generate(old.role)?;
    let expires_at = old.expires_at.map(|end| now + end.since(old.created_at));
    let next = ApiKey { sha256: token.hash(), created_at: now, created_by: by, expires_at, ..old.clone() };
    // The new one first: if the call breaks in between, the old one still counts.
    let made = insert(store, token, &next, now).await?;
    let end = old.expires_at.map_or(now + overlap, |end| end.min(now + overlap));
    write(store, stored, &ApiKey { expires_at: Some(end), ..old }, now).await?;
    Ok(made)
}

/// Revokes a key, for good. One that is revoked stays as it is.
///
/// # Errors
/// There is no key of the id, or the store does not answer.
pub async fn revoke<S: ApiKeyStore + ?Sized>(store: &S, id: &ApiKeyId, now: Timestamp) -> Result<ApiKeyStatus, Error> {
    let (stored, key) = find(store, id).await?;
    if key.revoked_at.is_some() {
        return Ok(key.status(id, ApiKeySource::Store, stored.last_used_day, now));
    }
    let last_used_day = stored.last_used_day;
    let key = ApiKey { revoked_at: Some(now), ..key };
    write(store, stored, &key, now).await?;
    Ok(key.status(id, ApiKeySource::Store, last_used_day, now))
}

/// Lists the keys of a store, by name and age.
///
/// # Errors
/// The store does not answer.
pub async fn list<S: ApiKeyStore + ?Sized>(store: &S, now: Timestamp) -> Result<Vec<ApiKeyStatus>, Error> {
    let keys = read(store).await?.into_iter();
    let shown = keys.map(|(stored, key)| key.status(&stored.id, ApiKeySource::Store, stored.last_used_day, now));
    let mut shown: Vec<_> = shown.collect();
    shown.sort_by(|a, b| (&a.name, a.created_at, &a.id).cmp(&(&b.name, b.created_at, &b.id)));
    Ok(shown)
}

/// Reads a key of a store.
pub(super) async fn find<S: ApiKeyStore + ?Sized>(store: &S, id: &ApiKeyId) -> Result<(StoredApiKey, ApiKey), Error> {
    let not_found = || Error::from(ApiKeyConflict::NotFound { id: id.clone() });
    read(store).await?.into_iter().find(|(stored, _)| stored.id == *id).ok_or_else(not_found)
}

/// Reads all keys that this version can read.
async fn read<S: ApiKeyStore + ?Sized>(store: &S) -> Result<Vec<(StoredApiKey, ApiKey)>, Error> {
    let keys = store.api_keys().await?;
    let parsed = |stored: StoredApiKey| Some((serde_json::from_str(&stored.definition).ok()?, stored));
    Ok(keys.into_iter().filter_map(parsed).map(|(key, stored)| (stored, key)).collect())
}

async fn insert<S: ApiKeyStore + ?Sized>(store: &S, token: Token, key: &ApiKey, now: Timestamp) -> Result<Made, Error> {
    let next = Some((now.as_micros().unsigned_abs(), text_of(key)));
    store.write_api_key(ApiKeyWrite { id: token.id().clone(), expected: None, next }).await??;
    let status = key.status(token.id(), ApiKeySource::Store, None, now);
    Ok(Made { token, status })
}

async fn write<S: ApiKeyStore + ?Sized>(
    store: &S,
    stored: StoredApiKey,
    key: &ApiKey,
    now: Timestamp,
) -> Result<(), Error> {
    // Greater than all before, whatever time the clock shows.
    let revision = now.as_micros().unsigned_abs().max(stored.revision + 1);
    let next = Some((revision, text_of(key)));
    Ok(store.write_api_key(ApiKeyWrite { id: stored.id, expected: Some(stored.revision), next }).await??)
}

fn text_of(key: &ApiKey) -> String {
    serde_json::to_string(key).expect("a key has no map whose keys are not text")
}

#[cfg(test)]
mod tests {
    use forerunner_store::{MemoryOptions, MemoryStore};

    use super::*;

    fn new(name: &str) -> NewApiKey {
        serde_json::from_str(&format!(r#"{{"name": "{name}", "role": "submit", "expires_in": "90d"}}"#)).unwrap()
    }

    fn day(day: u64) -> Timestamp {
        Timestamp::default() + Duration::from_secs(day * 86_400)
    }

    #[tokio::test]
    async fn a_name_has_one_key_and_two_while_it_is_rotated() {
        let store = MemoryStore::new(MemoryOptions::default());
        let made = create(&store, new("ci"), None, day(0)).await.unwrap();
        assert_eq!((made.status.state, made.status.expires_at), (ApiKeyState::Active, Some(day(90))));
        let taken = create(&store, new("ci"), None, day(1)).await.unwrap_err();
        assert_eq!(taken.kind(), ProblemKind::ApiKeyConflict);

        let next = rotate(&store, &made.status.id, OVERLAP, None, day(10)).await.unwrap();
        assert_ne!(next.token.reveal(), made.token.reveal());
        assert_eq!((next.status.name.as_str(), next.status.expires_at), ("ci", Some(day(100))));
        let ends: Vec<_> = list(&store, day(10)).await.unwrap().iter().map(|key| key.expires_at).collect();
        assert_eq!(ends, [Some(day(17)), Some(day(100))]);
        assert_eq!(
            rotate(&store, &made.status.id, OVERLAP, None, day(17)).await.unwrap_err().kind(),
            ProblemKind::ApiKeyConflict
        );
    }

    #[tokio::test]
    async fn a_revoked_key_is_listed_for_a_month_and_its_name_is_free() {
        let store = MemoryStore::new(MemoryOptions::default());
        let made = create(&store, new("ci"), None, day(0)).await.unwrap();
        let revoked = revoke(&store, &made.status.id, day(1)).await.unwrap();
        assert_eq!((revoked.state, revoked.revoked_at), (ApiKeyState::Revoked, Some(day(1))));
        assert_eq!(revoke(&store, &made.status.id, day(2)).await.unwrap().revoked_at, Some(day(1)));
        create(&store, new("ci"), None, day(2)).await.unwrap();
        assert_eq!(list(&store, day(2)).await.unwrap().len(), 2);
        create(&store, new("other"), None, day(31)).await.unwrap();
        assert_eq!(list(&store, day(31)).await.unwrap().len(), 2, "the revoked one is gone");
        let nobody = ApiKeyId::new("nobodyxx").unwrap();
        assert_eq!(revoke(&store, &nobody, day(3)).await.unwrap_err().kind(), ProblemKind::NoApiKey);
    }

    #[tokio::test]
    async fn a_key_that_could_do_nothing_is_refused() {
        let store = MemoryStore::new(MemoryOptions::default());
        let none = NewApiKey { pools: Some(BTreeSet::new()), ..new("ci") };
        let over = NewApiKey { expires_in: Some(Duration::ZERO), ..new("ci") };
        for bad in [none, over] {
            assert_eq!(create(&store, bad, None, day(0)).await.unwrap_err().kind(), ProblemKind::InvalidValue);
        }
    }
}

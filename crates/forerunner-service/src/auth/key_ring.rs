//! The keys that a node knows: all of them, in memory. So a wrong key costs a hash and a lookup, and never a read of the
//! store.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use forerunner_core::{ApiKeyId, Timestamp};
use forerunner_store::StoredApiKey;
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::{
    api_key::{ApiKey, ApiKeySource, ApiKeyState, ApiKeyStatus, ConfiguredKey, DAY_MICROS},
    caller::Caller,
    denial::Denial,
    role::Role,
    token::{KeyHash, Token},
};

/// How old the stored keys may be. Beyond it they are refused, so that a revoked key is not accepted for longer, whatever
/// fails.
pub const MAX_AGE: Duration = Duration::from_secs(10);

/// The keys of the store, of the configuration and of the file for the first one.
#[derive(Debug, Default)]
pub struct KeyRing {
    stored: RwLock<Arc<Stored>>,
    configured: HashMap<ApiKeyId, Arc<Entry>>,
    bootstrap: Option<(ApiKeyId, Arc<Entry>)>,
    /// Keys that were accepted for the first time on a day.
    used: Mutex<HashSet<ApiKeyId>>,
}

#[derive(Debug, Default)]
struct Stored {
    keys: HashMap<ApiKeyId, Arc<Entry>>,
    read_at: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    key: ApiKey,
    caller: Arc<Caller>,
    source: ApiKeySource,
    revision: u64,
    /// The day of the last use; -1 for none.
    used_day: AtomicI64,
}

impl KeyRing {
    /// Begins with the keys of the configuration, and with the one in the file for the first key.
    pub fn new(configured: Vec<ConfiguredKey>, bootstrap: Option<&Token>) -> Self {
        let entry = |key, source| Arc::new(Entry::new(key, source, 0, None));
        let configured = configured.into_iter().map(ConfiguredKey::into_parts);
        let configured = configured.map(|(id, key)| (id, entry(key, ApiKeySource::Config))).collect();
        let bootstrap =
            bootstrap.map(|token| (token.id().clone(), entry(bootstrap_key(token), ApiKeySource::Bootstrap)));
        Self { configured, bootstrap, ..Self::default() }
    }

    /// Accepts a key that is known, and returns who calls with it.
    ///
    /// # Errors
    /// Why the key is refused.
    pub fn authenticate(&self, key: &str, peer: IpAddr, now: Timestamp, at: Instant) -> Result<Arc<Caller>, Denial> {
        let token = Token::parse(key).ok_or(Denial::Malformed)?;
        let stored = Arc::clone(&self.stored.read());
        let found = self.configured.get(token.id()).or_else(|| stored.keys.get(token.id())).or_else(|| {
            let (id, entry) = self.bootstrap.as_ref()?;
            (id == token.id()).then_some(entry)
        });
        // An unknown id takes as long as a wrong secret.
        let is_right = found.map_or(KeyHash::NONE, |entry| entry.key.sha256).is(&token.hash());
        let age = stored.read_at.map_or(Duration::MAX, |read_at| at.saturating_duration_since(read_at));
        let Some(entry) = found.filter(|_| is_right) else {
            // A key that was made since the store was last read is not wrong.
            return Err(if age > MAX_AGE { Denial::Stale } else { Denial::Unknown });
        };
        match entry.source {
            ApiKeySource::Store if age > MAX_AGE => return Err(Denial::Stale),
            ApiKeySource::Bootstrap if age > MAX_AGE => return Err(Denial::Stale),
            ApiKeySource::Bootstrap if self.has_admin(&stored, now) => return Err(Denial::Replaced),
            _ => {}
        }
        entry.check(peer, now)?;
        self.note_use(token.id(), entry, now);
        Ok(Arc::clone(&entry.caller))
    }

    /// Replaces its keys by those of the store. Answers the ids of keys that cannot be read, and were readable or
    /// unknown before.
    pub fn load(&self, keys: Vec<StoredApiKey>, at: Instant) -> Vec<ApiKeyId> {
        let before = Arc::clone(&self.stored.read());
        let mut unread = Vec::new();
        let mut next = HashMap::with_capacity(keys.len());
        for StoredApiKey { id, revision, definition, last_used_day } in keys {
            let known = before.keys.get(&id).filter(|entry| entry.revision == revision);
            let entry = match known {
                Some(entry) => Arc::clone(entry),
                None => match serde_json::from_str(&definition) {
                    Ok(key) => Arc::new(Entry::new(key, ApiKeySource::Store, revision, last_used_day)),
                    Err(_) => {
                        unread.push(id);
                        continue;
                    }
                },
            };
            entry.used_day.fetch_max(last_used_day.unwrap_or(-1), Ordering::Relaxed);
            next.insert(id, entry);
        }
        *self.stored.write() = Arc::new(Stored { keys: next, read_at: Some(at) });
        unread
    }

    /// Returns the keys that were accepted on a day for the first time since the last call.
    pub fn take_used(&self) -> Vec<ApiKeyId> {
        self.used.lock().drain().collect()
    }

    /// Shows all keys, by name and age.
    pub fn statuses(&self, now: Timestamp) -> Vec<ApiKeyStatus> {
        let stored = Arc::clone(&self.stored.read());
        let bootstrap = self.bootstrap.iter().map(|(id, entry)| (id, entry));
        let all = self.configured.iter().chain(&stored.keys).chain(bootstrap);
        let mut shown: Vec<_> = all.map(|(id, entry)| entry.status(id, now)).collect();
        shown.sort_by(|a, b| (&a.name, a.created_at, &a.id).cmp(&(&b.name, b.created_at, &b.id)));
        shown
    }

    fn has_admin(&self, stored: &Stored, now: Timestamp) -> bool {
        let is_admin = |entry: &Arc<Entry>| {
            let key = &entry.key;
            key.role == Role::Admin
                && key.tenant.is_none()
                && key.pools.is_none()
                && key.state(now) == ApiKeyState::Active
        };
        self.configured.values().chain(stored.keys.values()).any(is_admin)
    }

    fn note_use(&self, id: &ApiKeyId, entry: &Entry, now: Timestamp) {
        let day = now.as_micros() / DAY_MICROS;
        if entry.source == ApiKeySource::Store && entry.used_day.fetch_max(day, Ordering::Relaxed) < day {
            self.used.lock().insert(id.clone());
        }
    }
}

impl Entry {
    fn new(key: ApiKey, source: ApiKeySource, revision: u64, used_day: Option<i64>) -> Self {
        let caller = Arc::new(key.caller());
        Self { key, caller, source, revision, used_day: AtomicI64::new(used_day.unwrap_or(-1)) }
    }

    fn check(&self, peer: IpAddr, now: Timestamp) -> Result<(), Denial> {
        match self.key.state(now) {
            ApiKeyState::Revoked => Err(Denial::Revoked),
            ApiKeyState::Expired => Err(Denial::Expired),
            ApiKeyState::Active => {
                let networks = &self.key.networks;
                let is_allowed = networks.is_empty() || networks.iter().any(|network| network.contains(peer));
                if is_allowed { Ok(()) } else { Err(Denial::Network(peer)) }
            }
        }
    }

    fn status(&self, id: &ApiKeyId, now: Timestamp) -> ApiKeyStatus {
        let day = Some(self.used_day.load(Ordering::Relaxed)).filter(|day| *day >= 0);
        self.key.status(id, self.source, day, now)
    }
}

/// What the file for the first key may do: everything.
fn bootstrap_key(token: &Token) -> ApiKey {
    ApiKey {
        name: "bootstrap".parse().expect("a name of letters"),
        role: Role::Admin,
        tenant: None,
        pools: None,
        max_priority: None,
        submits_per_s: None,
        payloads: None,
        networks: Vec::new(),
        sha256: token.hash(),
        created_at: Timestamp::default(),
        created_by: None,
        expires_at: None,
        revoked_at: None,
    }
}

#[cfg(test)]
mod tests;

//! What each limited tenant has used.

use std::{collections::HashMap, num::NonZeroU32};

use forerunner_core::{ApiKeyName, RateLeft, RateLimit, RateMeter, TenantName};
use forerunner_store::TenantUsage;
use parking_lot::Mutex;

use super::limits::{AllLimits, TenantLimits};

/// What a tenant may submit now, for the headers of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateStatus {
    /// The limit.
    pub limit: RateLimit,
    /// What is left of it.
    pub left: RateLeft,
}

/// Why a tenant may not submit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Exceeded {
    /// Too many in a second: try again after so many seconds.
    Rate { limit: RateLimit, wait_s: f64 },
    /// The same, of the key.
    KeyRate { limit: RateLimit, wait_s: f64 },
    /// As many tasks as it may have.
    Tasks { there: u64, limit: u64 },
    /// As many bytes as it may have.
    Bytes { there: u64, limit: u64 },
}

/// The limits of tenants and what is used of them. Tenants without limits have no entry.
#[derive(Debug, Default)]
pub(crate) struct TenantBook {
    accounts: Mutex<HashMap<TenantName, Account>>,
    /// What keys with a limit have submitted.
    keys: Mutex<HashMap<ApiKeyName, RateMeter>>,
}

/// Keys whose use is remembered; those that used nothing lately are dropped beyond.
const MOST_KEYS: usize = 10_000;

#[derive(Debug, Default)]
struct Account {
    limits: TenantLimits,
    rate: Option<RateLimit>,
    meter: RateMeter,
    /// What the store had when it was last asked.
    stored: TenantUsage,
    /// What this node has submitted since.
    added: TenantUsage,
}

impl Account {
    fn used(&self) -> TenantUsage {
        let TenantUsage { tasks, input_bytes } = self.added;
        TenantUsage { tasks: self.stored.tasks + tasks, input_bytes: self.stored.input_bytes + input_bytes }
    }

    fn check(&self, tasks: u64, bytes: u64) -> Result<(), Exceeded> {
        let used = self.used();
        match (self.limits.tasks, self.limits.input_bytes) {
            (Some(limit), _) if used.tasks + tasks > limit => Err(Exceeded::Tasks { there: used.tasks, limit }),
            (_, Some(limit)) if used.input_bytes + bytes > limit => {
                Err(Exceeded::Bytes { there: used.input_bytes, limit })
            }
            _ => Ok(()),
        }
    }
}

impl TenantBook {
    /// Takes over limits. What was used stays.
    pub(super) fn set(&self, limits: &AllLimits) {
        let mut accounts = self.accounts.lock();
        accounts.retain(|tenant, _| limits.contains_key(tenant));
        for (tenant, limits) in limits {
            let account = accounts.entry(tenant.clone()).or_default();
            // What is stored was checked before; a limit that this version refuses does not count.
            (account.limits, account.rate) = (*limits, limits.rate().ok().flatten());
        }
    }

    /// Counts tasks of a tenant before they are submitted, or refuses them. `now_s` is of a clock that does not go back.
    pub(super) fn enter(&self, tenant: &TenantName, tasks: u32, bytes: u64, now_s: f64) -> Result<(), Exceeded> {
        let mut accounts = self.accounts.lock();
        let Some(account) = accounts.get_mut(tenant) else { return Ok(()) };
        account.check(u64::from(tasks), bytes)?;
        if let Some(limit) = account.rate {
            limit.take(&mut account.meter, now_s, tasks).map_err(|wait_s| Exceeded::Rate { limit, wait_s })?;
        }
        account.added.tasks += u64::from(tasks);
        account.added.input_bytes += bytes;
        Ok(())
    }

    /// Counts a task of a key that may submit so many in a second, or refuses it.
    pub(super) fn enter_by_key(&self, key: &ApiKeyName, per_s: NonZeroU32, now_s: f64) -> Result<(), Exceeded> {
        let Ok(limit) = RateLimit::new(f64::from(per_s.get()), None) else { return Ok(()) };
        let mut keys = self.keys.lock();
        if keys.len() >= MOST_KEYS {
            keys.retain(|_, meter| limit.left(meter, now_s).reset_s > 0.0);
        }
        let meter = keys.entry(key.clone()).or_default();
        limit.take(meter, now_s, 1).map(drop).map_err(|wait_s| Exceeded::KeyRate { limit, wait_s })
    }

    /// Returns what a tenant may submit now; `None` without a limit of its rate.
    pub(super) fn rate(&self, tenant: &TenantName, now_s: f64) -> Option<RateStatus> {
        let accounts = self.accounts.lock();
        let account = accounts.get(tenant)?;
        let limit = account.rate?;
        Some(RateStatus { limit, left: limit.left(&account.meter, now_s) })
    }

    /// Returns the tenants whose tasks are to be counted, and what was submitted until now.
    pub(super) fn to_measure(&self) -> Vec<(TenantName, TenantUsage)> {
        let accounts = self.accounts.lock();
        let measured = accounts.iter().filter(|(_, account)| account.limits.needs_usage());
        measured.map(|(tenant, account)| (tenant.clone(), account.added)).collect()
    }

    /// Takes over what the store counted; `before` is what had been submitted when it was asked.
    pub(super) fn measured(&self, tenant: &TenantName, stored: TenantUsage, before: TenantUsage) {
        if let Some(account) = self.accounts.lock().get_mut(tenant) {
            account.stored = stored;
            account.added.tasks = account.added.tasks.saturating_sub(before.tasks);
            account.added.input_bytes = account.added.input_bytes.saturating_sub(before.input_bytes);
        }
    }

    /// Returns what a limited tenant has, as far as known.
    pub(super) fn usage(&self, tenant: &TenantName) -> Option<TenantUsage> {
        let accounts = self.accounts.lock();
        accounts.get(tenant).filter(|account| account.limits.needs_usage()).map(Account::used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantName {
        TenantName::new(name).unwrap()
    }

    fn book(limits: &str) -> TenantBook {
        let book = TenantBook::default();
        book.set(&[(tenant("a"), serde_json::from_str(limits).unwrap())].into());
        book
    }

    #[test]
    fn a_tenant_submits_no_faster_than_it_may_and_others_are_free() {
        let book = book(r#"{"submits_per_s": 2, "burst": 2}"#);
        let enter = |name: &str, now_s: f64| book.enter(&tenant(name), 1, 0, now_s);
        assert!(enter("a", 1.0).is_ok() && enter("a", 1.0).is_ok());
        assert!(matches!(enter("a", 1.0), Err(Exceeded::Rate { wait_s, .. }) if (wait_s - 0.5).abs() < 1e-6));
        assert!((0..100).all(|_| enter("b", 1.0).is_ok()));
        assert_eq!(book.rate(&tenant("a"), 1.5).unwrap().left.remaining, 1);
        assert_eq!(book.rate(&tenant("b"), 1.5), None);
    }

    #[test]
    fn a_key_submits_no_faster_than_it_may() {
        let (book, per_s) = (TenantBook::default(), NonZeroU32::new(2).unwrap());
        let enter = |key: &str| book.enter_by_key(&key.parse().unwrap(), per_s, 1.0).is_ok();
        assert_eq!([enter("a"), enter("a"), enter("a"), enter("b")], [true, true, false, true]);
    }

    #[test]
    fn what_the_store_counts_replaces_what_was_submitted_before_it_was_asked() {
        let book = book(r#"{"tasks": 5, "input_bytes": 100}"#);
        let enter = |tasks, bytes| book.enter(&tenant("a"), tasks, bytes, 0.0);
        assert!(enter(3, 30).is_ok());
        let asked = book.to_measure();
        assert!(enter(2, 20).is_ok());
        assert_eq!(enter(1, 1), Err(Exceeded::Tasks { there: 5, limit: 5 }));
        book.measured(&asked[0].0, TenantUsage { tasks: 1, input_bytes: 75 }, asked[0].1);
        assert_eq!(book.usage(&tenant("a")), Some(TenantUsage { tasks: 3, input_bytes: 95 }));
        assert_eq!(enter(1, 6), Err(Exceeded::Bytes { there: 95, limit: 100 }));
        assert!(enter(1, 5).is_ok(), "what was refused took nothing");
    }

    #[test]
    fn new_limits_keep_what_was_used_and_limits_that_are_gone_do_not_count() {
        let book = book(r#"{"tasks": 1}"#);
        assert!(book.enter(&tenant("a"), 1, 0, 0.0).is_ok() && book.enter(&tenant("a"), 1, 0, 0.0).is_err());
        book.set(&[(tenant("a"), serde_json::from_str(r#"{"tasks": 2}"#).unwrap())].into());
        assert!(book.enter(&tenant("a"), 1, 0, 0.0).is_ok() && book.enter(&tenant("a"), 1, 0, 0.0).is_err());
        book.set(&AllLimits::new());
        assert!(book.enter(&tenant("a"), 9, 0, 0.0).is_ok());
    }
}

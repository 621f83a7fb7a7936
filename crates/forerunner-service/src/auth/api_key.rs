//! What is stored of a key, and what is shown of it.

use std::{collections::BTreeSet, num::NonZeroU32};

use forerunner_core::{ApiKeyId, ApiKeyName, PoolName, Priority, TenantName, Timestamp};
use serde::{Deserialize, Serialize};

use super::{caller::Caller, network::Network, role::Role, token::KeyHash};

/// What a key may do, and its hash.
///
/// A member that this version does not know may restrict the key. So such a key is refused rather than accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Who uses it.
    pub name: ApiKeyName,
    /// What it is for.
    pub role: Role,
    /// Whose tasks, contexts and schedules it reaches. Without one, keys of the roles metrics, operate and admin reach
    /// those of all tenants, and others those of the tenant `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantName>,
    /// The pools that it may use; all if there is no list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pools: Option<BTreeSet<PoolName>>,
    /// The highest priority that it may give; any if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_priority: Option<Priority>,
    /// Tasks that may be submitted with it in a second, to each node; any if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submits_per_s: Option<NonZeroU32>,
    /// Whether it sees inputs and outputs. By default those of the roles submit and admin do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payloads: Option<bool>,
    /// Where it may be used from; from anywhere if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// The SHA-256 of the whole key.
    pub sha256: KeyHash,
    /// When it was made.
    #[serde(default)]
    pub created_at: Timestamp,
    /// The name of the key by which it was made, if it was made by a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<ApiKeyName>,
    /// From when on it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// A key that the configuration has, as its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredKey {
    /// Who uses it.
    pub name: ApiKeyName,
    /// The part of the key that is no secret.
    pub id: ApiKeyId,
    /// The SHA-256 of the whole key.
    pub sha256: KeyHash,
    /// What it is for.
    pub role: Role,
    /// Whose tasks, contexts and schedules it reaches; see [`ApiKey::tenant`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantName>,
    /// The pools that it may use; all if there is no list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pools: Option<BTreeSet<PoolName>>,
    /// The highest priority that it may give; any if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_priority: Option<Priority>,
    /// Tasks that may be submitted with it in a second, to each node; any if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submits_per_s: Option<NonZeroU32>,
    /// Whether it sees inputs and outputs. By default those of the roles submit and admin do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payloads: Option<bool>,
    /// Where it may be used from; from anywhere if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// From when on it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl ConfiguredKey {
    pub(super) fn into_parts(self) -> (ApiKeyId, ApiKey) {
        let Self { name, id, sha256, role, tenant, pools, max_priority, submits_per_s, payloads, networks, expires_at } =
            self;
        let created_at = Timestamp::default();
        let (created_by, revoked_at) = (None, None);
        let key = ApiKey {
            name,
            role,
            tenant,
            pools,
            max_priority,
            submits_per_s,
            payloads,
            networks,
            sha256,
            created_at,
            created_by,
            expires_at,
            revoked_at,
        };
        (id, key)
    }
}

/// Whether a key is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ApiKeyState {
    /// It is accepted.
    Active,
    /// It has expired.
    Expired,
    /// It was revoked.
    Revoked,
}

/// Where a key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ApiKeySource {
    /// The store, which all nodes share.
    Store,
    /// The configuration of this node.
    Config,
    /// The file for the first key, which counts while there is no other key of the role admin.
    Bootstrap,
}

/// A key as it is shown: without its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiKeyStatus {
    /// Its id.
    pub id: ApiKeyId,
    /// Who uses it.
    pub name: ApiKeyName,
    /// What it is for.
    pub role: Role,
    /// Whether it is accepted.
    pub state: ApiKeyState,
    /// Where it comes from.
    pub source: ApiKeySource,
    /// Whose tasks, contexts and schedules it reaches; omitted if those of all tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub tenant: Option<TenantName>,
    /// The pools that it may use; omitted if it may use all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub pools: Option<BTreeSet<PoolName>>,
    /// The highest priority that it may give; omitted if it may give any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub max_priority: Option<Priority>,
    /// Tasks that may be submitted with it in a second, to each node; any if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<u32>, minimum = 1))]
    pub submits_per_s: Option<NonZeroU32>,
    /// Whether it sees inputs and outputs.
    pub payloads: bool,
    /// Where it may be used from; omitted if from anywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>, required = false))]
    pub networks: Vec<Network>,
    /// When it was made; omitted if the store does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub created_at: Option<Timestamp>,
    /// The name of the key by which it was made; omitted if it was made on the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub created_by: Option<ApiKeyName>,
    /// From when on it is refused; omitted if it does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub revoked_at: Option<Timestamp>,
    /// The beginning of the day (UTC) on which a node last accepted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub last_used_on: Option<Timestamp>,
}

/// Microseconds of a day.
pub(super) const DAY_MICROS: i64 = 86_400_000_000;

impl ApiKey {
    /// Returns whether the key is accepted at a time.
    pub fn state(&self, now: Timestamp) -> ApiKeyState {
        let is_over = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        match () {
            () if self.revoked_at.is_some() => ApiKeyState::Revoked,
            () if is_over(self.expires_at) => ApiKeyState::Expired,
            () => ApiKeyState::Active,
        }
    }

    /// Returns when the key was over, if it is.
    pub(super) fn over_since(&self, now: Timestamp) -> Option<Timestamp> {
        match self.state(now) {
            ApiKeyState::Active => None,
            ApiKeyState::Expired => self.expires_at,
            ApiKeyState::Revoked => self.revoked_at,
        }
    }

    pub(super) fn sees_payloads(&self) -> bool {
        self.payloads.unwrap_or(self.role.sees_payloads())
    }

    /// Returns the tenant whose tasks the key reaches; `None` for those of all tenants.
    pub(super) fn reach(&self) -> Option<TenantName> {
        let fallback = if self.role.has_all_tenants() { None } else { Some(TenantName::default()) };
        self.tenant.clone().or(fallback)
    }

    /// Returns who calls with the key.
    pub(super) fn caller(&self) -> Caller {
        Caller {
            name: self.name.clone(),
            role: self.role,
            tenant: self.reach(),
            pools: self.pools.clone(),
            max_priority: self.max_priority,
            submits_per_s: self.submits_per_s,
            payloads: self.sees_payloads(),
        }
    }

    /// Returns what is shown of the key.
    pub(super) fn status(
        &self,
        id: &ApiKeyId,
        source: ApiKeySource,
        last_used_day: Option<i64>,
        now: Timestamp,
    ) -> ApiKeyStatus {
        ApiKeyStatus {
            id: id.clone(),
            name: self.name.clone(),
            role: self.role,
            state: self.state(now),
            source,
            tenant: self.reach(),
            pools: self.pools.clone(),
            max_priority: self.max_priority,
            submits_per_s: self.submits_per_s,
            payloads: self.sees_payloads(),
            networks: self.networks.clone(),
            created_at: (source == ApiKeySource::Store).then_some(self.created_at),
            created_by: self.created_by.clone(),
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
            last_used_on: last_used_day.map(|day| Timestamp::from_micros(day.saturating_mul(DAY_MICROS))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Token;

    fn key() -> ApiKey {
        let token = Token::generate(Role::Read).unwrap();
        let text = format!(r#"{{"name": "ci", "role": "read", "sha256": "{}"}}"#, String::from(token.hash()));
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_key_is_accepted_until_it_expires_or_is_revoked() {
        let at = Timestamp::from_micros;
        let key = ApiKey { expires_at: Some(at(20)), ..key() };
        assert_eq!(
            [19, 20, 21].map(|now| key.state(at(now))),
            [ApiKeyState::Active, ApiKeyState::Expired, ApiKeyState::Expired]
        );
        let revoked = ApiKey { revoked_at: Some(at(5)), ..key };
        assert_eq!((revoked.state(at(1)), revoked.over_since(at(30))), (ApiKeyState::Revoked, Some(at(5))));
    }

    #[test]
    fn a_key_that_a_later_version_restricts_is_not_read() {
        let mut text = serde_json::to_value(key()).unwrap();
        assert!(serde_json::from_value::<ApiKey>(text.clone()).is_ok());
        text["planet"] = "other".into();
        assert!(serde_json::from_value::<ApiKey>(text).is_err());
    }

    #[test]
    fn a_key_reaches_one_tenant_unless_it_is_an_operators() {
        let acme = Some(TenantName::new("acme").unwrap());
        for role in Role::ALL {
            let reach = |tenant: &Option<TenantName>| ApiKey { role: *role, tenant: tenant.clone(), ..key() }.reach();
            assert_eq!(reach(&acme), acme);
            assert_eq!(reach(&None).is_none(), role.has_all_tenants(), "{role:?}");
        }
    }

    #[test]
    fn a_status_shows_no_hash() {
        let key = key();
        let id = ApiKeyId::new("abcdefgh").unwrap();
        let shown = serde_json::to_string(&key.status(&id, ApiKeySource::Store, Some(1), key.created_at)).unwrap();
        assert!(!shown.contains(&String::from(key.sha256)) && shown.contains("1970-01-02T00:00:00"), "{shown}");
    }
}

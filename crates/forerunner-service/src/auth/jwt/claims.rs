//! What a token says of its bearer.

use std::{collections::BTreeSet, fmt::Write, time::Duration};

use forerunner_core::{ApiKeyName, PoolName, TenantName, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{JwtSettings, TokenFault};
use crate::auth::{Caller, Role};

/// Letters of the subject that are part of the caller's name.
const SHOWN: usize = 40;

/// The claims of a token whose signature, issuer and audience were checked.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    iss: String,
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Claims {
    pub(super) fn check_times(&self, now: Timestamp, leeway: Duration) -> Result<(), TokenFault> {
        let (now, leeway) = (now.as_micros() as f64 / 1e6, leeway.as_secs_f64());
        if now >= self.exp + leeway {
            return Err(TokenFault::Expired);
        }
        match self.nbf {
            Some(nbf) if nbf > now + leeway => Err(TokenFault::Early),
            _ => Ok(()),
        }
    }

    pub(super) fn caller(&self, settings: &JwtSettings) -> Result<Caller, TokenFault> {
        let role = self.role(settings).ok_or(TokenFault::Role)?;
        let tenant = match settings.tenant_claim.as_str() {
            "" if role.has_all_tenants() => None,
            "" => Some(TenantName::default()),
            claim => Some(self.tenant(claim).ok_or(TokenFault::Tenant)?),
        };
        let pools = match settings.pools_claim.as_str() {
            "" => None,
            claim => Some(self.pools(claim).ok_or(TokenFault::Pools)?),
        };
        let name = self.name().ok_or(TokenFault::Subject)?;
        Ok(Caller {
            name,
            role,
            tenant,
            pools,
            max_priority: None,
            submits_per_s: None,
            payloads: role.sees_payloads(),
        })
    }

    /// Returns the name of the caller: letters of the subject, for people, and a hash of issuer and subject. So no two
    /// subjects have the same name.
    fn name(&self) -> Option<ApiKeyName> {
        let shown = self.sub.chars().take(SHOWN).map(|letter| match letter.to_ascii_lowercase() {
            letter @ ('a'..='z' | '0'..='9' | '_') => letter,
            _ => '-',
        });
        let mut hash = Sha256::new();
        hash.update((self.iss.len() as u64).to_le_bytes());
        hash.update(self.iss.as_bytes());
        hash.update(self.sub.as_bytes());
        let mut name = format!("jwt-{}-", shown.collect::<String>());
        for byte in hash.finalize().iter().take(8) {
            write!(name, "{byte:02x}").ok()?;
        }
        (!self.sub.is_empty()).then(|| ApiKeyName::new(&name).ok())?
    }

    fn role(&self, settings: &JwtSettings) -> Option<Role> {
        let values = texts(self.claim(&settings.role_claim)?, false)?;
        let meaning = |value: &String| {
            if settings.roles.is_empty() {
                return Role::ALL.iter().copied().find(|role| role.as_str() == value);
            }
            settings.roles.get(value).copied()
        };
        values.iter().filter_map(meaning).max()
    }

    fn tenant(&self, claim: &str) -> Option<TenantName> {
        TenantName::new(self.claim(claim)?.as_str()?).ok()
    }

    fn pools(&self, claim: &str) -> Option<BTreeSet<PoolName>> {
        texts(self.claim(claim)?, true)?.iter().map(|pool| PoolName::new(pool).ok()).collect()
    }

    /// Returns a claim by its whole name, or by the names of members of objects, with dots between them.
    fn claim(&self, path: &str) -> Option<&Value> {
        self.others.get(path).or_else(|| {
            let (first, rest) = path.split_once('.')?;
            rest.split('.').try_fold(self.others.get(first)?, |value, name| value.get(name))
        })
    }
}

/// Reads a text, or a list of texts. `is_spaced` splits a text at blanks.
fn texts(value: &Value, is_spaced: bool) -> Option<Vec<String>> {
    match value {
        Value::String(text) if is_spaced => Some(text.split_whitespace().map(str::to_owned).collect()),
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

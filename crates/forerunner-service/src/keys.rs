//! The keys of a service, and how a node learns of those that others made or revoked.

use std::{net::IpAddr, time::Duration};

use forerunner_core::{ApiKeyId, ApiKeyName, TenantName};
use metrics::gauge;
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    auth::{self, ApiKeyState, ApiKeyStatus, Denial, Made, NewApiKey, Permission, Scope},
    error::Error,
    metrics::{DISABLED, KEYS},
    problem_kind::ProblemKind,
    service::Service,
};

/// How often a node reads the keys of the store. A revoked key is refused after this time.
const POLL: Duration = Duration::from_secs(2);

impl Service {
    /// Returns this service for whoever calls with a key, or without one.
    ///
    /// # Errors
    /// The key is refused.
    pub fn identified(&self, key: Option<&str>, peer: IpAddr) -> Result<Self, Error> {
        match self.auth().identify(key, peer, self.time()) {
            Ok(scope) => Ok(self.scoped(scope)),
            Err(denial) => Err(refused(denial)),
        }
    }

    /// Returns this service for one tenant: what belongs to others is not there.
    ///
    /// # Errors
    /// The caller belongs to another tenant.
    pub fn of_tenant(&self, tenant: TenantName) -> Result<Self, Error> {
        let scope = self.scope().of_tenant(tenant);
        scope.inspect_err(|_| auth::count_refusal("forbidden")).map(|scope| self.scoped(scope))
    }

    /// Refuses what the caller may not do.
    ///
    /// # Errors
    /// [`ProblemKind::Unauthenticated`] without a key, [`ProblemKind::Forbidden`] with one that does not suffice.
    pub fn require(&self, needs: Permission) -> Result<(), Error> {
        self.scope().require(needs).inspect_err(|error| {
            let is_missing = error.kind() == ProblemKind::Unauthenticated;
            auth::count_refusal(if is_missing { Denial::Missing.as_str() } else { "forbidden" });
        })
    }

    /// Returns whether the caller may do it. It counts no refusal.
    pub fn may(&self, needs: Permission) -> bool {
        self.scope().require(needs).is_ok()
    }

    /// Returns whether the caller sees inputs, outputs and messages of errors.
    pub fn sees_payloads(&self) -> bool {
        self.scope().sees_payloads()
    }

    /// Reads the keys of the store now.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn refresh_keys(&self) -> Result<(), Error> {
        let Some(ring) = self.auth().ring() else { return Ok(()) };
        // What was read is as old as the question.
        let asked_at = Instant::now();
        let keys = self.handle().api_keys().api_keys().await?;
        for id in ring.load(keys, asked_at) {
            tracing::debug!(key = %id, "a key cannot be read by this version; it is refused");
        }
        let used = ring.take_used();
        if !used.is_empty() {
            let day = self.time().as_micros() / 86_400_000_000;
            self.handle().api_keys().note_api_key_use(used, day).await?;
        }
        let statuses = ring.statuses(self.time());
        for (state, label) in
            [(ApiKeyState::Active, "active"), (ApiKeyState::Expired, "expired"), (ApiKeyState::Revoked, "revoked")]
        {
            let count = statuses.iter().filter(|key| key.state == state).count();
            gauge!(KEYS, "state" => label).set(count as f64);
        }
        Ok(())
    }

    /// Reads the keys of the store again and again, for as long as the service runs.
    pub async fn keep_keys(&self) {
        gauge!(DISABLED).set(if self.auth().is_on() { 0.0 } else { 1.0 });
        if self.auth().ring().is_none() {
            return;
        }
        let mut rhythm = tokio::time::interval(POLL);
        rhythm.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_failing = false;
        loop {
            rhythm.tick().await;
            let failed = match tokio::time::timeout(auth::MAX_AGE, self.refresh_keys()).await {
                Ok(read) => read.err().map(|error| error.to_string()),
                Err(_) => Some("the store did not answer in time".to_owned()),
            };
            match failed {
                Some(error) if !is_failing => {
                    tracing::warn!(
                        error,
                        "cannot read the keys of the store; calls with one of them are refused after 10 s, until the \
                         store answers"
                    );
                    is_failing = true;
                }
                Some(_) => {}
                None => is_failing = false,
            }
        }
    }

    /// Lists the keys that belong to the caller: those whose pools it has.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn api_keys(&self) -> Result<Vec<ApiKeyStatus>, Error> {
        let shown = match self.auth().ring() {
            None => auth::list(self.handle().api_keys(), self.time()).await?,
            Some(ring) => {
                self.refresh_keys().await?;
                ring.statuses(self.time())
            }
        };
        Ok(shown.into_iter().filter(|key| self.scope().covers(key.tenant.as_ref(), key.pools.as_ref())).collect())
    }

    /// Makes a key.
    ///
    /// # Errors
    /// It would have a tenant or pools that the caller does not have; an active key has its name; there are too many.
    pub async fn create_api_key(&self, mut new: NewApiKey) -> Result<Made, Error> {
        new.tenant = new.tenant.or_else(|| self.scope().tenant().cloned());
        if !self.scope().covers(new.tenant.as_ref(), new.pools.as_ref()) {
            let detail =
                "a key cannot make one that reaches more than itself; name its own tenant, and pools of its own";
            return Err(Error::new(ProblemKind::Forbidden, detail).with("needs", Permission::Admin.as_str()));
        }
        let made = auth::create(self.handle().api_keys(), new, self.caller_name(), self.time()).await?;
        self.refresh_keys().await?;
        Ok(made)
    }

    /// Makes another key of the same name. The old one expires after `overlap`.
    ///
    /// # Errors
    /// There is no active key of the id.
    pub async fn rotate_api_key(&self, id: &ApiKeyId, overlap: Duration) -> Result<Made, Error> {
        self.own_key(id).await?;
        let made = auth::rotate(self.handle().api_keys(), id, overlap, self.caller_name(), self.time()).await?;
        self.refresh_keys().await?;
        Ok(made)
    }

    /// Revokes a key, for good.
    ///
    /// # Errors
    /// There is no key of the id.
    pub async fn revoke_api_key(&self, id: &ApiKeyId) -> Result<ApiKeyStatus, Error> {
        self.own_key(id).await?;
        let revoked = auth::revoke(self.handle().api_keys(), id, self.time()).await?;
        self.refresh_keys().await?;
        Ok(revoked)
    }

    /// Refuses a key of others as one that is not there, and one that the store does not have.
    async fn own_key(&self, id: &ApiKeyId) -> Result<(), Error> {
        let found = self.api_keys().await?.into_iter().find(|key| key.id == *id);
        let Some(key) = found else {
            return Err(forerunner_store::ApiKeyConflict::NotFound { id: id.clone() }.into());
        };
        if key.source == auth::ApiKeySource::Store {
            return Ok(());
        }
        let detail = format!("the key with the id `{id}` is not in the store; change the configuration of the node");
        Err(Error::new(ProblemKind::ApiKeyConflict, detail).with("key", id.as_str()))
    }

    pub(crate) fn caller_name(&self) -> Option<ApiKeyName> {
        self.scope().caller().map(|caller| caller.name.clone())
    }

    pub(crate) const fn scope(&self) -> &Scope {
        &self.scope
    }
}

fn refused(denial: Denial) -> Error {
    auth::count_refusal(denial.as_str());
    denial.into()
}

//! The in-process API, which fronts and embedders call.

mod entry;
mod logs;
mod pools;
mod submit;
mod tasks;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::Addr;
use forerunner_core::{PoolName, TenantName, Timestamp};
use forerunner_store::{ApiKeyStore, SettingsStore, TenantUsage};

pub use self::tasks::EventStream;
pub(crate) use self::{
    entry::PoolEntry,
    submit::{Acceptance, Admitted},
};
use crate::{
    Error, clock::IdMaker, cluster::ClusterActor, damage, deps::Deps, schedules::ScheduleActor, status::Readiness,
    unconfigured::Unconfigured,
};

/// How long readiness waits for the store.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Calls a running node. Cheap to clone; works from any thread.
///
/// A call returns [`Error::OutcomeUnknown`] when an actor stopped before it answered: whether the call took effect is
/// unknown.
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

/// What all handles of a node share.
pub(crate) struct Shared {
    pub(crate) deps: Arc<Deps>,
    pub(crate) ids: IdMaker,
    pub(crate) pools: BTreeMap<PoolName, PoolEntry>,
    /// Represents this node in the cluster, if the store is shared.
    pub(crate) cluster: Option<Addr<ClusterActor>>,
    /// Pools with tasks and without actors.
    pub(crate) unconfigured: Arc<Unconfigured>,
    /// The greatest allowed depth of a task.
    pub(crate) max_depth: u32,
    /// Most schedules in the store.
    pub(crate) max_schedules: usize,
    /// Submits the tasks of schedules; there once the node has started.
    pub(crate) schedules: OnceLock<Addr<ScheduleActor>>,
    pub(crate) started_at: Timestamp,
    pub(crate) closed: AtomicBool,
}

impl Handle {
    /// Returns whether this node accepts traffic.
    pub async fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        if self.shared.closed.load(Ordering::Relaxed) {
            reasons.push("the node is shutting down".to_owned());
        }
        match tokio::time::timeout(CHECK_TIMEOUT, self.shared.deps.store.check()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => reasons.push(error.to_string()),
            Err(_) => reasons.push(format!("the store did not answer within {} s", CHECK_TIMEOUT.as_secs())),
        }
        let damaged = damage::warning(self.shared.deps.store.damaged());
        let warnings = damaged.into_iter().chain(self.shared.unconfigured.warning()).collect();
        Readiness { ready: reasons.is_empty(), reasons, warnings, store: self.shared.deps.store.kind() }
    }

    /// Rejects new tasks from now on. Accepted tasks continue.
    pub fn close_intake(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
    }

    /// Returns whether new tasks are rejected because the node stops.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// Returns the keys of the API, as the store has them.
    pub fn api_keys(&self) -> &dyn ApiKeyStore {
        self.shared.deps.store.as_ref()
    }

    /// Returns the small texts by key, as the store has them.
    pub fn settings(&self) -> &dyn SettingsStore {
        self.shared.deps.store.as_ref()
    }

    /// Counts the tasks of a tenant that have not ended. It reads all of them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn tenant_usage(&self, tenant: &TenantName) -> Result<TenantUsage, Error> {
        Ok(self.shared.deps.store.tenant_usage(tenant.clone()).await?)
    }

    fn now(&self) -> Timestamp {
        self.shared.deps.now()
    }

    /// Returns the name of a pool of this node, if there is one of this name: without a check of its characters.
    pub fn pool_name(&self, pool: &str) -> Option<PoolName> {
        self.shared.pools.get_key_value(pool).map(|(name, _)| name.clone())
    }

    /// Returns whether a task in the store may have values of this process as its input and its output.
    pub fn passes_values(&self) -> bool {
        self.shared.deps.store.local().is_some()
    }

    pub(crate) fn entry(&self, pool: &str) -> Result<&PoolEntry, Error> {
        self.shared.pools.get(pool).ok_or_else(|| self.no_pool(pool))
    }

    pub(crate) fn no_pool(&self, pool: &str) -> Error {
        let known: Vec<_> = self.shared.pools.keys().map(PoolName::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Error::NoPool { pool: pool.chars().take(80).collect(), known }
    }
}

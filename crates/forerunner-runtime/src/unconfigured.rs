//! Unconfigured pools: those with tasks in the store that are not in this node's configuration, because they were
//! renamed or removed, or are another node's.
//!
//! They have no queue here. The log, a metric and readiness name them. Their tasks can be listed, cancelled and
//! retried, and expire at their deadlines.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;

use actix::Addr;
use forerunner_core::{Answered, PoolName, Task, TaskId, TaskState, Timestamp};
use forerunner_store::{Cancelled, StoreError, TaskCounts};
use tokio::{sync::Notify, time::Instant};

use crate::{
    Error, Handle,
    cluster::{ClusterActor, messages::ListNodes},
    deps::Deps,
    metrics,
    status::UnconfiguredPool,
};

/// Interval of the scans for such pools: a scan is cheap, and clients cannot submit to them here.
const SCAN: Duration = Duration::from_secs(10);
/// Delay of the first scan on a shared store. Later the node knows the pools of the other nodes.
const FIRST_SCAN: Duration = Duration::from_secs(3);
/// Shortest time between two sweeps of the same pool.
const SWEEP_PAUSE: Duration = Duration::from_millis(100);

/// The pools of the last scan.
#[derive(Debug, Default)]
pub(crate) struct Unconfigured {
    pools: RwLock<BTreeMap<PoolName, TaskCounts>>,
    changed: Notify,
}

impl Unconfigured {
    /// Returns the pools with their tasks, by name.
    pub(crate) fn list(&self) -> Vec<UnconfiguredPool> {
        let pools = self.pools.read();
        pools.iter().map(|(name, counts)| UnconfiguredPool::new(name.clone(), counts)).collect()
    }

    /// Returns a warning that names the pools, if there are any.
    pub(crate) fn warning(&self) -> Option<String> {
        let pools = self.list();
        let names: Vec<_> = pools.iter().map(|pool| format!("`{}` ({} tasks)", pool.name, pool.unfinished())).collect();
        (!names.is_empty()).then(|| {
            format!(
                "tasks wait in pools that are not in the configuration: {}; configure these pools again, or move their \
                 tasks to another pool or cancel them: `forerunner task move --pool OLD --to NEW`",
                names.join(", ")
            )
        })
    }

    /// Requests a scan: tasks of such a pool were changed.
    pub(crate) fn rescan(&self) {
        self.changed.notify_one();
    }

    fn replace(&self, found: BTreeMap<PoolName, TaskCounts>) {
        let before = std::mem::replace(&mut *self.pools.write(), found);
        let now = self.list();
        for pool in &now {
            metrics::unconfigured(&pool.name, pool.unfinished());
        }
        let is_absent = |name: &&PoolName| now.iter().all(|pool| pool.name != **name);
        before.keys().filter(is_absent).for_each(|name| metrics::unconfigured(name, 0));
        if let Some(warning) = self.warning().filter(|_| now.iter().any(|pool| !before.contains_key(&pool.name))) {
            tracing::warn!("{warning}");
        }
    }
}

/// Scans for such pools at intervals, and expires their tasks.
pub(crate) struct Watch {
    pub(crate) deps: Arc<Deps>,
    pub(crate) found: Arc<Unconfigured>,
    pub(crate) configured: BTreeSet<PoolName>,
    pub(crate) cluster: Option<Addr<ClusterActor>>,
}

impl Watch {
    pub(crate) async fn run(self) {
        if self.cluster.is_some() {
            tokio::time::sleep(FIRST_SCAN).await;
        }
        loop {
            let next_scan = Instant::now() + SCAN;
            match self.scan().await {
                Ok(found) => self.found.replace(found),
                Err(error) => tracing::debug!(%error, "cannot find pools that are not configured"),
            }
            self.sweep_until(next_scan).await;
        }
    }

    async fn scan(&self) -> Result<BTreeMap<PoolName, TaskCounts>, StoreError> {
        let store = &self.deps.store;
        let others = self.pools_of_other_nodes().await;
        let mut found = BTreeMap::new();
        for name in store.pools_with_tasks().await? {
            if !self.configured.contains(&name) && !others.contains(&name) {
                let counts = store.counts(name.clone()).await?;
                found.insert(name, counts);
            }
        }
        Ok(found)
    }

    async fn pools_of_other_nodes(&self) -> BTreeSet<PoolName> {
        let Some(cluster) = &self.cluster else { return BTreeSet::new() };
        let nodes = cluster.send(ListNodes).await.map_or_else(|_| Vec::new(), |nodes| nodes.0);
        nodes.into_iter().flat_map(|node| node.pools.into_keys()).collect()
    }

    /// Expires and promotes due tasks until the next scan.
    async fn sweep_until(&self, next_scan: Instant) {
        loop {
            let mut next_due = None;
            for pool in self.found.list() {
                next_due = next_due.into_iter().chain(self.sweep(pool.name).await).min();
            }
            let until_due = next_due.map_or(SCAN, |due: Timestamp| due.since(self.deps.now()).max(SWEEP_PAUSE));
            tokio::select! {
                () = tokio::time::sleep_until(next_scan) => return,
                () = self.found.changed.notified() => return,
                () = tokio::time::sleep(until_due) => {}
            }
        }
    }

    /// Returns when the next sweep of the pool is due.
    async fn sweep(&self, pool: PoolName) -> Option<Timestamp> {
        match self.deps.store.sweep(pool.clone(), self.deps.now()).await {
            Ok(swept) => {
                for (task, _) in swept.expired {
                    metrics::finished(&pool, TaskState::Expired);
                    self.deps.notify_as_stored(task).await;
                }
                swept.next_due
            }
            Err(error) => {
                tracing::debug!(%pool, %error, "cannot find due tasks of a pool that is not configured");
                None
            }
        }
    }
}

impl Deps {
    /// Reads an ended task from the store and notifies its watchers.
    async fn notify_as_stored(&self, task: TaskId) {
        if self.watch.is_watched(task)
            && let Ok(Some(task)) = self.store.task(task).await
        {
            self.watch.finish(Arc::new(task), self.now());
        }
    }
}

impl Handle {
    /// Returns the unconfigured pools of the last scan.
    pub fn unconfigured_pools(&self) -> Vec<UnconfiguredPool> {
        self.shared.unconfigured.list()
    }

    /// Cancels a task of a pool without a queue here. A task that another node runs is marked, and stopped there.
    pub(crate) async fn cancel_unconfigured(&self, id: TaskId) -> Result<Task, Error> {
        let deps = &self.shared.deps;
        let task = match deps.store.cancel(id, deps.now()).await?? {
            Cancelled::Done { task, .. } => {
                metrics::finished(&task.pool, TaskState::Cancelled);
                deps.watch.finish(Arc::new((*task).clone()), deps.now());
                task
            }
            Cancelled::Running(task) | Cancelled::Ended(task) => task,
        };
        self.shared.unconfigured.rescan();
        Ok(*task)
    }

    /// Returns a task to the queue of a pool without a queue here.
    pub(crate) async fn answer_unconfigured(&self, answered: Answered) -> Result<Task, Error> {
        let deps = &self.shared.deps;
        let task = deps.store.answer(answered, deps.now()).await??;
        deps.watch.notify_state(&task, deps.now());
        self.shared.unconfigured.rescan();
        Ok(task)
    }

    pub(crate) async fn retry_unconfigured(&self, id: TaskId) -> Result<Task, Error> {
        let deps = &self.shared.deps;
        let task = deps.store.retry(id, deps.now()).await??;
        deps.watch.notify_state(&task, deps.now());
        self.shared.unconfigured.rescan();
        Ok(task)
    }
}

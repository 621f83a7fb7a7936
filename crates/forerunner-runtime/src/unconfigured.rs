//! Pools that have tasks in the store and are not in this node's configuration: renamed, removed, or another node's.
//!
//! No queue looks after their tasks here. They are named in the log, a metric and readiness; they can be listed, cancelled and
//! retried; and those with a deadline expire.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;

use actix::Addr;
use forerunner_core::{PoolName, Task, TaskId, TaskState, Timestamp};
use forerunner_store::{Cancelled, StoreError, TaskCounts};
use tokio::{sync::Notify, time::Instant};

use crate::{
    Error, Handle,
    cluster::{ClusterActor, messages::ListNodes},
    deps::Deps,
    metrics,
    status::UnconfiguredPool,
};

/// How often the store is asked for pools: counting them is cheap, and nobody submits to them here.
const LOOK: Duration = Duration::from_secs(10);
/// How long a node among others waits before it looks first: by then it knows which pools the others have.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// Shortest time between two sweeps of the same pool.
const SWEEP_PAUSE: Duration = Duration::from_millis(100);

/// The pools that were found last.
#[derive(Debug, Default)]
pub(crate) struct Unconfigured {
    pools: RwLock<BTreeMap<PoolName, TaskCounts>>,
    changed: Notify,
}

impl Unconfigured {
    /// Returns the pools with what they hold, by name.
    pub(crate) fn list(&self) -> Vec<UnconfiguredPool> {
        let pools = self.pools.read();
        pools.iter().map(|(name, counts)| UnconfiguredPool::new(name.clone(), counts)).collect()
    }

    /// Says in one sentence which pools there are, if there are any.
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

    /// Has the pools counted again soon: tasks of one of them were changed.
    pub(crate) fn look_again(&self) {
        self.changed.notify_one();
    }

    fn replace(&self, found: BTreeMap<PoolName, TaskCounts>) {
        let before = std::mem::replace(&mut *self.pools.write(), found);
        let now = self.list();
        for pool in &now {
            metrics::unconfigured(&pool.name, pool.unfinished());
        }
        let is_gone = |name: &&PoolName| now.iter().all(|pool| pool.name != **name);
        before.keys().filter(is_gone).for_each(|name| metrics::unconfigured(name, 0));
        if let Some(warning) = self.warning().filter(|_| now.iter().any(|pool| !before.contains_key(&pool.name))) {
            tracing::warn!("{warning}");
        }
    }
}

/// Looks for such pools from time to time, and expires their tasks.
pub(crate) struct Watch {
    pub(crate) deps: Arc<Deps>,
    pub(crate) found: Arc<Unconfigured>,
    pub(crate) configured: BTreeSet<PoolName>,
    pub(crate) cluster: Option<Addr<ClusterActor>>,
}

impl Watch {
    pub(crate) async fn run(self) {
        if self.cluster.is_some() {
            tokio::time::sleep(FIRST_LOOK).await;
        }
        loop {
            let next_look = Instant::now() + LOOK;
            match self.look().await {
                Ok(found) => self.found.replace(found),
                Err(error) => tracing::debug!(%error, "pools that are not configured could not be looked for"),
            }
            self.sweep_until(next_look).await;
        }
    }

    async fn look(&self) -> Result<BTreeMap<PoolName, TaskCounts>, StoreError> {
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

    /// Expires and promotes what is due until the next look is.
    async fn sweep_until(&self, next_look: Instant) {
        loop {
            let mut next_due = None;
            for pool in self.found.list() {
                next_due = next_due.into_iter().chain(self.sweep(pool.name).await).min();
            }
            let until_due = next_due.map_or(LOOK, |due: Timestamp| due.since(self.deps.now()).max(SWEEP_PAUSE));
            tokio::select! {
                () = tokio::time::sleep_until(next_look) => return,
                () = self.found.changed.notified() => return,
                () = tokio::time::sleep(until_due) => {}
            }
        }
    }

    /// Answers when the next sweep of the pool has something to do.
    async fn sweep(&self, pool: PoolName) -> Option<Timestamp> {
        match self.deps.store.sweep(pool.clone(), self.deps.now()).await {
            Ok(swept) => {
                for (task, _) in swept.expired {
                    metrics::finished(&pool, TaskState::Expired);
                    self.deps.tell_as_stored(task).await;
                }
                swept.next_due
            }
            Err(error) => {
                tracing::debug!(%pool, %error, "due tasks of a pool that is not configured could not be looked for");
                None
            }
        }
    }
}

impl Deps {
    /// Reads a task that ended back for those who wait for it.
    async fn tell_as_stored(&self, task: TaskId) {
        if self.watch.is_watched(task)
            && let Ok(Some(task)) = self.store.task(task).await
        {
            self.watch.finish(Arc::new(task), self.now());
        }
    }
}

impl Handle {
    /// Returns the pools that have unfinished tasks and are in the configuration of no node, as found last.
    pub fn unconfigured_pools(&self) -> Vec<UnconfiguredPool> {
        self.shared.unconfigured.list()
    }

    /// Cancels a task of a pool that has no queue here. One that another node runs is marked, and stopped there.
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
        self.shared.unconfigured.look_again();
        Ok(*task)
    }

    /// Sends a task back to the queue of a pool that has none here.
    pub(crate) async fn retry_unconfigured(&self, id: TaskId) -> Result<Task, Error> {
        let deps = &self.shared.deps;
        let task = deps.store.retry(id, deps.now()).await??;
        deps.watch.notify_state(&task, deps.now());
        self.shared.unconfigured.look_again();
        Ok(task)
    }
}

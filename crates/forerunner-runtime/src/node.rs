//! A running node: its specification, and the order in which its parts start.

mod maintenance;
mod wiring;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use actix::Actor;
use actix_rt::Arbiter;
use forerunner_core::{Clock, NodeId, PoolName, Timestamp};
use forerunner_store::{Rescue, Store};
use tokio::{sync::Semaphore, task::JoinHandle};

use self::{
    maintenance::{remove_old_tasks, renew_leases, run_maintenance, watch_clock},
    wiring::{start_cluster, start_pool},
};
use crate::{
    Error, Handle, SystemClock, blocking,
    clock::{IdMaker, StoreClock},
    contexts::NodeContexts,
    damage,
    deps::Deps,
    handle::{PoolEntry, Shared},
    schedules::{ScheduleActor, ScheduleBook},
    sizes,
    spec::PoolSpec,
    task_logs::TaskLogs,
    unconfigured::{Unconfigured, Watch},
};

/// Most compactions that encode a snapshot at the same time.
const COMPACTIONS_AT_ONCE: usize = 2;

/// Most schedules unless set.
const MAX_SCHEDULES: usize = 1_000;

/// The threads of the actors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadPlacement {
    /// The arbiter that starts the node, for short paths to callers on it.
    Current,
    /// This many arbiters; the actors of one pool share one.
    Spread(usize),
}

/// The specification of a node.
pub struct NodeSpec {
    /// Its pools.
    pub pools: Vec<PoolSpec>,
    /// The store of its tasks.
    pub store: Arc<dyn Store>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// The threads of its actors.
    pub placement: ThreadPlacement,
    /// How long ended tasks are stored.
    pub retention: Duration,
    /// How long unused contexts are stored; for ever if it is zero.
    pub context_retention: Duration,
    /// Most bytes of distinct items in the node's cache of contexts. The memory of agents is additional.
    pub context_cache_bytes: usize,
    /// The greatest depth of a task with a parent: the length of a chain of tasks that submit each other. With 0 no
    /// task may have a parent.
    pub max_depth: u32,
    /// Most schedules in the store.
    pub max_schedules: usize,
    /// Whether other nodes use the same store. Then pools and their bounds are those of all nodes together. A store may
    /// also be shared by its nature; see [`ClusterStore::is_shared`](forerunner_store::ClusterStore::is_shared).
    pub shared: bool,
}

impl NodeSpec {
    /// Creates a node without pools, with these defaults: the system's clock, two threads, ended tasks for seven days,
    /// contexts for ever, a cache of 256 MiB, chains of at most 16 tasks.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            pools: Vec::new(),
            store,
            clock: Arc::new(SystemClock),
            placement: ThreadPlacement::Spread(2),
            retention: Duration::from_secs(7 * 86_400),
            context_retention: Duration::ZERO,
            context_cache_bytes: 256 << 20,
            max_depth: 16,
            max_schedules: MAX_SCHEDULES,
            shared: false,
        }
    }

    /// Adds a pool.
    #[must_use]
    pub fn pool(mut self, pool: PoolSpec) -> Self {
        self.pools.push(pool);
        self
    }
}

/// A running node. Dropping it does not stop it; [`Node::shutdown`] does.
pub struct Node {
    pub(crate) handle: Handle,
    pub(crate) arbiters: Vec<Arbiter>,
    /// Removes abandoned waits, old events and unused contexts.
    pub(crate) maintenance: JoinHandle<()>,
    /// Tasks that run until the store closes, such as the storage of events, and the renewal of leases in a node
    /// without a cluster.
    pub(crate) upkeep: Vec<JoinHandle<()>>,
}

impl Node {
    /// Starts the actors. First it rescues the tasks of lost nodes: those of every other node, or, in a shared store,
    /// those whose lease has ended.
    ///
    /// Runs inside an actix `System`.
    ///
    /// # Errors
    /// When a pool is named twice, the store fails, or a policy's settings are not valid.
    pub async fn start(spec: NodeSpec) -> Result<Self, Error> {
        blocking::prepare();
        let ids = IdMaker::new();
        let clock = StoreClock::new(spec.clock);
        clock.synchronise(&*spec.store).await?;
        if let Some(reason) = clock.fault() {
            return Err(Error::Clock { reason });
        }
        let now = clock.now();
        let node = ids.node(now);
        let shared_store = spec.shared || spec.store.is_shared();
        recover(&*spec.store, node, now, shared_store).await?;
        let deps = Arc::new(Deps {
            store: spec.store,
            clock,
            node,
            watch: Arc::default(),
            events: Arc::default(),
            logs: TaskLogs::default(),
            shared: shared_store,
            contexts: Arc::new(NodeContexts::new(spec.context_cache_bytes)),
            compactions: Arc::new(Semaphore::new(COMPACTIONS_AT_ONCE)),
            schedules: ScheduleBook::default(),
            is_leader: AtomicBool::new(false),
        });
        let arbiters = arbiters(spec.placement, spec.pools.len());
        let pools = start_pools(spec.pools, &deps, &ids, &arbiters).await?;
        let cluster = shared_store.then(|| start_cluster(&deps, &pools, arbiters.first()));
        let maintenance = tokio::spawn(run_maintenance(deps.clone(), spec.context_retention));
        let mut upkeep = spawn_upkeep(&deps, &pools, spec.retention, cluster.is_some());
        let unconfigured = Arc::<Unconfigured>::default();
        let watch = Watch {
            deps: deps.clone(),
            found: unconfigured.clone(),
            configured: pools.keys().cloned().collect(),
            cluster: cluster.clone(),
        };
        upkeep.push(tokio::spawn(watch.run()));
        let closed = AtomicBool::new(false);
        let (max_depth, max_schedules) = (spec.max_depth, spec.max_schedules);
        let shared = Shared {
            deps,
            ids,
            pools,
            cluster,
            unconfigured,
            max_depth,
            max_schedules,
            schedules: OnceLock::new(),
            started_at: now,
            closed,
        };
        let handle = Handle { shared: Arc::new(shared) };
        start_scheduler(&handle, arbiters.first());
        Ok(Self { handle, arbiters, maintenance, upkeep })
    }

    /// Returns a handle to talk to the node.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

/// Rescues the tasks of lost nodes, and corrects retries if the clock was set back while no node ran.
async fn recover(store: &dyn Store, node: NodeId, now: Timestamp, is_shared: bool) -> Result<(), Error> {
    let whose = if is_shared { Rescue::Expired { now } } else { Rescue::AllBut { node, now } };
    let rescued = store.rescue(whose).await?;
    let sooner = store.clock_set_back(now, Duration::ZERO).await?;
    if sooner > 0 {
        tracing::warn!(tasks = sooner, "the clock was set back after these tasks failed; retrying them sooner");
    }
    if !rescued.requeued.is_empty() || !rescued.dead.is_empty() {
        let (requeued, dead) = (rescued.requeued.len(), rescued.dead.len());
        tracing::warn!(requeued, dead, "re-queued the tasks of a lost node");
    }
    Ok(())
}

/// Starts the threads of the actors: at most one a pool, and none if they run in the caller's.
fn arbiters(placement: ThreadPlacement, pools: usize) -> Vec<Arbiter> {
    match placement {
        ThreadPlacement::Current => Vec::new(),
        ThreadPlacement::Spread(threads) => (0..threads.clamp(1, pools.max(1))).map(|_| Arbiter::new()).collect(),
    }
}

/// Starts the actors of all pools, on the arbiters in turn.
async fn start_pools(
    specs: Vec<PoolSpec>,
    deps: &Arc<Deps>,
    ids: &IdMaker,
    arbiters: &[Arbiter],
) -> Result<BTreeMap<PoolName, PoolEntry>, Error> {
    let mut pools = BTreeMap::new();
    for (index, pool) in specs.into_iter().enumerate() {
        let arbiter = match arbiters.len() {
            0 => Arbiter::current(),
            count => arbiters[index % count].handle(),
        };
        let name = pool.name.clone();
        if pools.contains_key(&name) {
            return Err(named_twice(name.as_str()));
        }
        let seed = ids.random_u64(index as u64 + 16);
        pools.insert(name, start_pool(pool, deps.clone(), seed, &arbiter).await?);
    }
    Ok(pools)
}

/// Starts the actor of schedules, which submits through the handle.
fn start_scheduler(handle: &Handle, arbiter: Option<&Arbiter>) {
    let (scheduler, arbiter) = (handle.clone(), arbiter.map_or_else(Arbiter::current, Arbiter::handle));
    let scheduler = ScheduleActor::start_in_arbiter(&arbiter, |_| ScheduleActor::new(scheduler));
    handle.shared.schedules.get_or_init(|| scheduler);
}

/// Spawns the tasks that run until the store closes.
fn spawn_upkeep(
    deps: &Arc<Deps>,
    pools: &BTreeMap<PoolName, PoolEntry>,
    retention: Duration,
    has_cluster: bool,
) -> Vec<JoinHandle<()>> {
    let mut upkeep = vec![tokio::spawn(remove_old_tasks(deps.clone(), retention))];
    if deps.store.persists_events() {
        upkeep.push(tokio::spawn(deps.events.clone().persist(deps.store.clone(), deps.watch.clone())));
    }
    let queues = pools.iter().map(|(name, entry)| (name.clone(), entry.queue.clone())).collect();
    upkeep.push(tokio::spawn(damage::watch(deps.clone(), queues)));
    upkeep.extend(
        pools
            .values()
            .map(|entry| tokio::spawn(sizes::watch(entry.deps.clone(), entry.admission.clone(), entry.room.clone()))),
    );
    if !has_cluster {
        upkeep.push(tokio::spawn(renew_leases(deps.clone())));
        let queues = pools.values().map(|entry| entry.queue.clone().recipient()).collect();
        upkeep.push(tokio::spawn(watch_clock(deps.clone(), queues)));
    }
    upkeep
}

fn named_twice(pool: &str) -> Error {
    Error::Invalid(forerunner_core::Error::Setting {
        key: "pools",
        value: pool.to_owned(),
        rule: "give each pool a name of its own".to_owned(),
    })
}

//! A running node: wiring and start order.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use actix::{Actor, Addr, Recipient};
use actix_rt::{Arbiter, ArbiterHandle};
use forerunner_core::{Clock, PoolName, Timestamp};
use forerunner_store::{LEASE, Rescue, Store};
use tokio::{sync::Semaphore, task::JoinHandle, time::Instant};

use crate::{
    Error, Handle, SystemClock,
    admission::Admission,
    blocking,
    clock::{IdMaker, StoreClock},
    cluster::{
        ClusterActor, ClusterPool, ShareActor, ShareLinks,
        event_buffer::{EventBuffer, persist_events},
        settings::SettingsOverride,
    },
    completion_watchers::CompletionWatchers,
    contexts::{ContextRoom, NodeContexts, PoolCodecs, Prefetcher},
    damage,
    deps::{Deps, PoolDeps},
    forecast::{ForecastActor, ForecastLinks, SavedHistory, SavedSize},
    handle::{PoolEntry, Shared},
    metrics,
    pool::{
        PoolActor,
        messages::{AttachForecast, PoolLinks, SetPaused},
    },
    queue::{
        QueueActor,
        messages::{AttachQueue, ClockSetBack},
    },
    sizes,
    spec::PoolSpec,
    status::PoolPatch,
    unconfigured::{Unconfigured, Watch},
};

/// How often the node renews its leases: often enough for two failures in a row.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often it looks whether the clock was set.
const CLOCK_LOOK: Duration = Duration::from_secs(1);
/// How often the node forgets what nobody can want any more.
const HOUSEKEEPING: Duration = Duration::from_secs(30);
/// How long what a task's agents said can be read after its end, where the store keeps it.
const EVENTS: Duration = Duration::from_secs(60);
/// Ended tasks whose events are forgotten in one go.
const EVENTS_BATCH: usize = 10_000;
/// Ended tasks removed in one go: some ten milliseconds in which the store does nothing else.
const PURGE_BATCH: usize = 500;
/// Contexts removed in one go.
const EXPIRY_BATCH: usize = 1_000;
/// Fresh bases of contexts that are encoded at once.
const TENDED_AT_ONCE: usize = 2;

/// On which threads the actors run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadPlacement {
    /// On the arbiter that starts the node: the shortest way for callers that live there too.
    Current,
    /// On this many arbiters of their own; the actors of one pool share one.
    Spread(usize),
}

/// What a node is made of.
pub struct NodeSpec {
    /// Its pools.
    pub pools: Vec<PoolSpec>,
    /// Where its tasks live.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// On which threads its actors run.
    pub placement: ThreadPlacement,
    /// How long ended tasks are kept.
    pub retention: Duration,
    /// How long contexts are kept that no task uses; for good if it is zero.
    pub context_retention: Duration,
    /// Bytes of distinct items of contexts that the node holds at most, beside what its agents hold.
    pub context_cache_bytes: usize,
    /// The greatest depth of a task that names its parent: how long a chain of tasks that submit tasks may get. With 0 none may have
    /// a parent.
    pub max_depth: u32,
    /// Other nodes have the same store: pools are sized for all of them together, and bounds are bounds of all. So it is
    /// for a store that says so of itself; see [`ClusterStore::is_shared`](forerunner_store::ClusterStore::is_shared).
    pub shared: bool,
}

impl NodeSpec {
    /// A node without pools, on the system's clock and two threads, that keeps ended tasks for seven days, contexts for
    /// good, 256 MiB of these at hand, and chains of 16 tasks that submit each other at most.
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
    /// Removes what nobody can want any more.
    pub(crate) housekeeping: JoinHandle<()>,
    /// What goes on until the store closes: storing what agents say, and the heartbeat if no actor beats.
    pub(crate) upkeep: Vec<JoinHandle<()>>,
}

impl Node {
    /// Starts the actors. Tasks that a lost node was running are taken back first: those of every other node, or, in
    /// a store that is shared, those whose lease has ended.
    ///
    /// Runs inside an actix `System`.
    ///
    /// # Errors
    /// When a pool is named twice, the store fails, or a policy's settings are not valid.
    pub async fn start(spec: NodeSpec) -> Result<Self, Error> {
        blocking::prepare();
        let ids = IdMaker::new();
        let clock = StoreClock::new(spec.clock);
        clock.ask(&*spec.store).await?;
        if let Some(reason) = clock.fault() {
            return Err(Error::Clock { reason });
        }
        let now = clock.now();
        let node = ids.node(now);
        let shared_store = spec.shared || spec.store.is_shared();
        let whose = if shared_store { Rescue::Expired { now } } else { Rescue::AllBut { node, now } };
        let rescued = spec.store.rescue(whose).await?;
        let sooner = spec.store.clock_set_back(now, Duration::ZERO).await?;
        if sooner > 0 {
            tracing::warn!(tasks = sooner, "the clock was set back after these tasks failed; retrying them sooner");
        }
        if !rescued.requeued.is_empty() || !rescued.dead.is_empty() {
            let (requeued, dead) = (rescued.requeued.len(), rescued.dead.len());
            tracing::warn!(requeued, dead, "re-queued the tasks of a node that is gone");
        }
        let deps = Arc::new(Deps {
            store: spec.store,
            clock,
            node,
            watch: CompletionWatchers::default(),
            said: EventBuffer::default(),
            shared: shared_store,
            contexts: NodeContexts::new(spec.context_cache_bytes),
            tending: Arc::new(Semaphore::new(TENDED_AT_ONCE)),
        });
        let arbiters = match spec.placement {
            ThreadPlacement::Current => Vec::new(),
            ThreadPlacement::Spread(threads) => {
                (0..threads.clamp(1, spec.pools.len().max(1))).map(|_| Arbiter::new()).collect()
            }
        };
        let mut pools = BTreeMap::new();
        for (index, pool) in spec.pools.into_iter().enumerate() {
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
        let cluster = shared_store.then(|| start_cluster(&deps, &pools, arbiters.first()));
        let housekeeping = tokio::spawn(run_maintenance(deps.clone(), spec.context_retention));
        let mut upkeep = vec![tokio::spawn(remove_old_tasks(deps.clone(), spec.retention))];
        if deps.store.persists_events() {
            upkeep.push(tokio::spawn(persist_events(deps.clone())));
        }
        let queues = pools.iter().map(|(name, entry)| (name.clone(), entry.queue.clone())).collect();
        upkeep.push(tokio::spawn(damage::watch(deps.clone(), queues)));
        upkeep.extend(pools.values().map(|entry: &PoolEntry| tokio::spawn(sizes::watch(entry.deps.clone()))));
        if cluster.is_none() {
            upkeep.push(tokio::spawn(renew_leases(deps.clone())));
            let queues = pools.values().map(|entry| entry.queue.clone().recipient()).collect();
            upkeep.push(tokio::spawn(watch_clock(deps.clone(), queues)));
        }
        let unconfigured = Arc::<Unconfigured>::default();
        let watch = Watch {
            deps: deps.clone(),
            found: unconfigured.clone(),
            configured: pools.keys().cloned().collect(),
            cluster: cluster.clone(),
        };
        upkeep.push(tokio::spawn(watch.run()));
        let closed = AtomicBool::new(false);
        let max_depth = spec.max_depth;
        let shared = Shared { deps, ids, pools, cluster, unconfigured, max_depth, started_at: now, closed };
        Ok(Self { handle: Handle { shared: Arc::new(shared) }, arbiters, housekeeping, upkeep })
    }

    /// Returns a handle to talk to the node.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

/// Starts the actors of a pool: the queue first, then the pool that asks it for work, then the forecast over both.
async fn start_pool(
    mut spec: PoolSpec,
    node: Arc<Deps>,
    seed: u64,
    arbiter: &ArbiterHandle,
) -> Result<PoolEntry, Error> {
    let shared = node.shared;
    let changed = match shared {
        true => take_changes(&node, &mut spec).await?,
        // Of a node that is alone, bounds and mode are as configured once it starts again.
        false => {
            let SettingsOverride { paused, .. } = SettingsOverride::load(&*node.store, &spec.name).await?;
            SettingsOverride { paused, ..SettingsOverride::default() }
        }
    };
    let counts = node.store.counts(spec.name.clone()).await?;
    let input_bytes = node.store.input_bytes(spec.name.clone()).await?;
    let saved = load_history(&node, &spec).await?;
    let waiting = usize::try_from(counts.waiting()).unwrap_or(usize::MAX);
    let deps = Arc::new(PoolDeps {
        admission: Admission::new(waiting, input_bytes, &spec.settings.queue),
        room: ContextRoom::new(spec.settings.contexts.limit_bytes),
        node,
        prefetches: Prefetcher::new(&spec.name),
        name: spec.name,
        settings: spec.settings,
        policy: spec.policy,
        unsettled: AtomicUsize::new(0),
        contexts: Arc::new(PoolCodecs::new(spec.dictionary)),
        uses_lookahead: AtomicBool::new(false),
        cold_start_us: AtomicU64::new(0),
        agents: AtomicU32::new(0),
        seed,
    });
    let queue = QueueActor::new(deps.clone(), counts.claimable, counts.next_due);
    let addrs = queue.start_by(|queue| QueueActor::start_in_arbiter(arbiter, |_| queue));
    let queue = addrs.queue;
    let links = PoolLinks {
        demand: queue.clone().recipient(),
        withdraw: queue.clone().recipient(),
        settle: addrs.settle,
        nudge: None,
    };
    let (pool_deps, agents) = (deps.clone(), spec.agents.clone());
    let desired = saved.as_ref().map_or(deps.settings.min, |saved| saved.desired);
    // A part of a shared pool has no agent until it is given a share.
    let (min, first) = if shared { (0, 0) } else { (deps.settings.min, desired) };
    let pool = PoolActor::start_in_arbiter(arbiter, move |_| PoolActor::new(pool_deps, links, agents, min, first));
    let share = shared.then(|| start_share(&deps, &queue, &pool, desired, arbiter));
    let forecast = start_forecast(&deps, &queue, &pool, share.as_ref(), saved, arbiter)?;
    queue.do_send(AttachQueue {
        assign: pool.clone().recipient(),
        select: pool.clone().recipient(),
        withdrawn: pool.clone().recipient(),
        stop_task: pool.clone().recipient(),
        nudge: Some(forecast.clone().recipient()),
    });
    pool.do_send(AttachForecast(forecast.clone().recipient()));
    if changed.paused == Some(true) {
        tracing::info!(pool = %deps.name, "the pool is paused, as before the restart");
        pool.do_send(SetPaused(true));
    }
    Ok(PoolEntry { deps, kind: spec.agents.kind(), queue, submit: addrs.submit, pool, forecast, share, changed })
}

/// Puts in the place of what is configured what was changed since for all nodes.
async fn take_changes(node: &Deps, spec: &mut PoolSpec) -> Result<SettingsOverride, Error> {
    let changed = SettingsOverride::load(&*node.store, &spec.name).await?;
    let mut settings = spec.settings.clone();
    let ceiling = settings.ceiling();
    // The ceiling is that of the configuration, whatever the bounds are now.
    settings.patch_max = Some(ceiling);
    let PoolPatch { min, max, .. } = changed.patch().clamped(ceiling, &spec.name);
    (settings.min, settings.max) = (min.unwrap_or(settings.min), max.unwrap_or(settings.max));
    settings.mode = changed.mode.unwrap_or(settings.mode);
    match settings.validate() {
        Ok(()) => {
            let (min, max, mode) = (settings.min, settings.max, settings.mode);
            if (min, max, mode) != (spec.settings.min, spec.settings.max, spec.settings.mode) {
                tracing::info!(pool = %spec.name, min, max, ?mode, "using the cluster-wide pool settings instead of the configuration file");
            }
            spec.settings = settings;
        }
        Err(error) => {
            tracing::warn!(pool = %spec.name, %error, "the cluster-wide pool settings are out of range; using the configuration file")
        }
    }
    Ok(changed)
}

fn start_share(
    deps: &Arc<PoolDeps>,
    queue: &Addr<QueueActor>,
    pool: &Addr<PoolActor>,
    desired: u32,
    arbiter: &ArbiterHandle,
) -> Addr<ShareActor> {
    let links = ShareLinks {
        queue: queue.clone().recipient(),
        pool: pool.clone().recipient(),
        resize: pool.clone().recipient(),
        configure: pool.clone().recipient(),
    };
    let share = ShareActor::new(deps.clone(), links, desired);
    ShareActor::start_in_arbiter(arbiter, |_| share)
}

fn start_cluster(
    deps: &Arc<Deps>,
    pools: &BTreeMap<PoolName, PoolEntry>,
    arbiter: Option<&Arbiter>,
) -> Addr<ClusterActor> {
    let part = |entry: &PoolEntry| {
        let share = entry.share.as_ref()?;
        Some(ClusterPool {
            report: share.clone().recipient(),
            standing: share.clone().recipient(),
            counted: entry.queue.clone().recipient(),
            stop_all: entry.queue.clone().recipient(),
            stop_cancelled: entry.queue.clone().recipient(),
            look: entry.queue.clone().recipient(),
            follow: entry.forecast.clone().recipient(),
            pause: entry.pool.clone().recipient(),
            changed: entry.changed,
        })
    };
    let parts = pools.iter().filter_map(|(name, entry)| Some((name.clone(), part(entry)?))).collect();
    let cluster = ClusterActor::new(deps.clone(), parts);
    let arbiter = arbiter.map_or_else(Arbiter::current, Arbiter::handle);
    ClusterActor::start_in_arbiter(&arbiter, |_| cluster)
}

/// Starts the forecast over this node's queue and pool, or over those of all nodes.
fn start_forecast(
    deps: &Arc<PoolDeps>,
    queue: &Addr<QueueActor>,
    pool: &Addr<PoolActor>,
    share: Option<&Addr<ShareActor>>,
    saved: Option<SavedHistory>,
    arbiter: &ArbiterHandle,
) -> Result<Addr<ForecastActor>, Error> {
    let expect = queue.clone().recipient();
    let links = match share {
        Some(share) => ForecastLinks {
            queue: share.clone().recipient(),
            expect,
            pool: share.clone().recipient(),
            resize: share.clone().recipient(),
            configure: share.clone().recipient(),
        },
        None => ForecastLinks {
            queue: queue.clone().recipient(),
            expect,
            pool: pool.clone().recipient(),
            resize: pool.clone().recipient(),
            configure: pool.clone().recipient(),
        },
    };
    let forecast = ForecastActor::new(deps.clone(), links, saved)?;
    Ok(ForecastActor::start_in_arbiter(arbiter, |_| forecast))
}

async fn load_history(node: &Deps, spec: &PoolSpec) -> Result<Option<SavedHistory>, Error> {
    let Some(text) = node.store.setting(SavedHistory::key(&spec.name)).await? else { return Ok(None) };
    match SavedHistory::from_note(&text) {
        Ok(saved) => {
            let size = node.store.setting(SavedSize::key(&spec.name)).await?;
            Ok(Some(SavedHistory::with(saved, size.and_then(|text| serde_json::from_str(&text).ok()))))
        }
        Err(error) => {
            tracing::warn!(pool = %spec.name, %error, "cannot read the saved forecast history; starting without it");
            Ok(None)
        }
    }
}

async fn run_maintenance(deps: Arc<Deps>, context_retention: Duration) {
    let mut interval = tokio::time::interval(HOUSEKEEPING);
    loop {
        interval.tick().await;
        let now = deps.now();
        deps.watch.sweep(now);
        deps.store.vacuum_status().iter().for_each(metrics::set_vacuum_status);
        if let Err(error) = deps.store.prune_events(now - EVENTS, EVENTS_BATCH).await {
            tracing::warn!(%error, "cannot prune old task events");
        }
        let (held, held_bytes) = deps.contexts.size();
        metrics::set_cached_contexts(held, held_bytes);
        if !context_retention.is_zero() {
            expire_contexts(&*deps.store, now - context_retention).await;
        }
    }
}

/// Removes ended tasks as fast as they end. Whatever else the store does comes in between batches, and has half of the time.
async fn remove_old_tasks(deps: Arc<Deps>, retention: Duration) {
    let rest = (retention / 4).clamp(Duration::from_secs(1), HOUSEKEEPING);
    let mut total = 0;
    loop {
        let begun = Instant::now();
        let removed = remove_batch(&*deps.store, deps.now(), retention).await;
        total += removed;
        if removed == PURGE_BATCH {
            tokio::time::sleep(begun.elapsed()).await;
            continue;
        }
        if total > 0 {
            tracing::info!(removed = total, "removed tasks that ended longer ago than the retention");
        }
        total = 0;
        tokio::time::sleep(rest).await;
    }
}

async fn remove_batch(store: &dyn Store, now: Timestamp, retention: Duration) -> usize {
    let removed = match store.drop_expired_partitions(now, retention).await {
        Ok(Some(retired)) => Ok(retired.tasks),
        Ok(None) => store.purge(now - retention, PURGE_BATCH).await,
        Err(error) => Err(error),
    };
    removed.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot remove old tasks");
        0
    })
}

async fn expire_contexts(store: &dyn Store, before: Timestamp) {
    match store.expire_contexts(before, EXPIRY_BATCH).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "removed contexts that were unused for their retention"),
        Err(error) => tracing::warn!(%error, "cannot remove old contexts"),
    }
}

async fn renew_leases(deps: Arc<Deps>) {
    let mut interval = tokio::time::interval(HEARTBEAT);
    loop {
        interval.tick().await;
        if let Err(error) = deps.store.renew(deps.node, deps.now() + LEASE).await {
            tracing::warn!(%error, "cannot renew the node's leases");
        }
    }
}

/// Looks whether the clock is set back, and lets nothing wait longer for it.
async fn watch_clock(deps: Arc<Deps>, queues: Vec<Recipient<ClockSetBack>>) {
    let mut interval = tokio::time::interval(CLOCK_LOOK);
    let mut owed = Duration::ZERO;
    loop {
        interval.tick().await;
        let (now, back) = deps.clock.look();
        owed += back.unwrap_or_default();
        if owed.is_zero() {
            continue;
        }
        match deps.store.clock_set_back(now, owed).await {
            Ok(tasks) => {
                tracing::warn!(
                    by_s = owed.as_secs_f64(),
                    tasks,
                    "the clock was set back; adjusting the due times of retries"
                );
                queues.iter().for_each(|queue| queue.do_send(ClockSetBack(owed)));
                owed = Duration::ZERO;
            }
            Err(error) => {
                tracing::warn!(%error, "the clock was set back; cannot adjust the due times of retries")
            }
        }
    }
}

fn named_twice(pool: &str) -> Error {
    Error::Invalid(forerunner_core::Error::Setting {
        key: "pools",
        value: pool.to_owned(),
        rule: "give each pool a name of its own".to_owned(),
    })
}

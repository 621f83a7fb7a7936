//! Starts the actors of a pool and of a node in order, each with the addresses that it needs.

use std::{collections::BTreeMap, sync::Arc};

use actix::{Actor, Addr};
use actix_rt::{Arbiter, ArbiterHandle};
use forerunner_core::PoolName;

use crate::{
    Error,
    admission::Admission,
    agent::AgentDeps,
    cluster::{ClusterActor, ClusterPool, ShareActor, ShareLinks, settings::SettingsOverride},
    contexts::{ContextRoom, PoolCodecs, Prefetcher},
    deps::{Deps, PoolDeps},
    forecast::{ForecastActor, ForecastDeps, ForecastLinks, PriorKnowledge, SavedHistory, SavedSize},
    handle::PoolEntry,
    pool::{
        PoolActor,
        messages::{AttachForecast, PoolLinks, SetPaused},
    },
    queue::{QueueActor, QueueDeps, messages::AttachQueue},
    spec::PoolSpec,
    status::PoolPatch,
};

/// Starts the actors of a pool: the queue first, then the pool, then the forecast.
pub(super) async fn start_pool(
    mut spec: PoolSpec,
    node: Arc<Deps>,
    seed: u64,
    arbiter: &ArbiterHandle,
) -> Result<PoolEntry, Error> {
    let shared = node.shared;
    let overrides = match shared {
        true => apply_overrides(&node, &mut spec).await?,
        // A node without others starts with the configured bounds and mode.
        false => {
            let SettingsOverride { paused, .. } = SettingsOverride::load(&*node.store, &spec.name).await?;
            SettingsOverride { paused, ..SettingsOverride::default() }
        }
    };
    let counts = node.store.counts(spec.name.clone()).await?;
    let input_bytes = node.store.input_bytes(spec.name.clone()).await?;
    let saved = load_history(&node, &spec.name).await?;
    let adopted = match &spec.settings.learn_from {
        Some(other) => load_history(&node, other).await?,
        None => None,
    };
    let waiting = usize::try_from(counts.waiting()).unwrap_or(usize::MAX);
    let codecs = Arc::new(PoolCodecs::new(spec.dictionary));
    let prefetcher = Prefetcher::new(spec.name.clone(), node.store.clone(), node.contexts.clone(), codecs.clone());
    let admission = Arc::new(Admission::new(waiting, input_bytes, &spec.settings.queue));
    let room = Arc::new(ContextRoom::new(spec.settings.contexts.limit_bytes));
    let deps = Arc::new(PoolDeps { node, name: spec.name, settings: spec.settings });
    let queue = QueueDeps {
        pool: deps.clone(),
        admission: admission.clone(),
        room: room.clone(),
        prefetcher: prefetcher.clone(),
        seed,
    };
    let queue = QueueActor::new(queue, counts.claimable, counts.next_due);
    let addrs = queue.start_by(|queue| QueueActor::start_in_arbiter(arbiter, |_| queue));
    let queue = addrs.queue;
    let links = PoolLinks {
        demand: queue.clone().recipient(),
        withdraw: queue.clone().recipient(),
        settle: addrs.settle,
        facts: queue.clone().recipient(),
        nudge: None,
    };
    let agent_deps = AgentDeps { pool: deps.clone(), codecs: codecs.clone(), prefetcher };
    let agents = spec.agents.clone();
    let desired = saved.as_ref().map_or(deps.settings.min, |saved| saved.desired);
    // A part of a shared pool has no agents until it gets its share.
    let sizes = if shared { (0, 0) } else { (deps.settings.min, desired) };
    let pool = PoolActor::start_in_arbiter(arbiter, move |_| PoolActor::new(agent_deps, links, agents, seed, sizes));
    let share = shared.then(|| start_share(&deps, &queue, &pool, desired, arbiter));
    let forecast = ForecastDeps { pool: deps.clone(), policy: spec.policy, admission: admission.clone() };
    let known = PriorKnowledge { saved, adopted };
    let forecast = start_forecast(forecast, &queue, &pool, share.as_ref(), known, arbiter)?;
    queue.do_send(AttachQueue {
        assign: pool.clone().recipient(),
        select: pool.clone().recipient(),
        withdrawn: pool.clone().recipient(),
        stop_task: pool.clone().recipient(),
        nudge: Some(forecast.clone().recipient()),
        dependency_changed: share.as_ref().map(|share| share.clone().recipient()),
    });
    pool.do_send(AttachForecast(forecast.clone().recipient()));
    if overrides.paused == Some(true) {
        tracing::info!(pool = %deps.name, "the pool is paused, as before the restart");
        pool.do_send(SetPaused(true));
    }
    Ok(PoolEntry {
        deps,
        admission,
        room,
        codecs,
        kind: spec.agents.kind(),
        queue,
        submit: addrs.submit,
        arrived: addrs.arrived,
        pool,
        forecast,
        share,
        overrides,
    })
}

/// Replaces configured settings by those that were set for all nodes.
async fn apply_overrides(node: &Deps, spec: &mut PoolSpec) -> Result<SettingsOverride, Error> {
    let overrides = SettingsOverride::load(&*node.store, &spec.name).await?;
    let mut settings = spec.settings.clone();
    let ceiling = settings.ceiling();
    // The ceiling is that of the configuration, whatever the current bounds are.
    settings.patch_max = Some(ceiling);
    let PoolPatch { min, max, .. } = overrides.patch().clamped(ceiling, &spec.name);
    (settings.min, settings.max) = (min.unwrap_or(settings.min), max.unwrap_or(settings.max));
    settings.mode = overrides.mode.unwrap_or(settings.mode);
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
    Ok(overrides)
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
        dependency: queue.clone().recipient(),
    };
    let share = ShareActor::new(deps.clone(), links, desired);
    ShareActor::start_in_arbiter(arbiter, |_| share)
}

pub(super) fn start_cluster(
    deps: &Arc<Deps>,
    pools: &BTreeMap<PoolName, PoolEntry>,
    arbiter: Option<&Arbiter>,
) -> Addr<ClusterActor> {
    let part = |entry: &PoolEntry| {
        let share = entry.share.as_ref()?;
        Some(ClusterPool {
            report: share.clone().recipient(),
            view: share.clone().recipient(),
            counted: entry.queue.clone().recipient(),
            stop_all: entry.queue.clone().recipient(),
            stop_cancelled: entry.queue.clone().recipient(),
            work_available: entry.queue.clone().recipient(),
            apply_settings: entry.forecast.clone().recipient(),
            read_lesson: entry.forecast.clone().recipient(),
            pause: entry.pool.clone().recipient(),
            overrides: entry.overrides,
        })
    };
    let parts = pools.iter().filter_map(|(name, entry)| Some((name.clone(), part(entry)?))).collect();
    let cluster = ClusterActor::new(deps.clone(), parts);
    let arbiter = arbiter.map_or_else(Arbiter::current, Arbiter::handle);
    ClusterActor::start_in_arbiter(&arbiter, |_| cluster)
}

/// Starts the forecast for this node's queue and pool, or for those of all nodes.
fn start_forecast(
    deps: ForecastDeps,
    queue: &Addr<QueueActor>,
    pool: &Addr<PoolActor>,
    share: Option<&Addr<ShareActor>>,
    known: PriorKnowledge,
    arbiter: &ArbiterHandle,
) -> Result<Addr<ForecastActor>, Error> {
    let expect = queue.clone().recipient();
    let returns = pool.clone().recipient();
    let links = match share {
        Some(share) => ForecastLinks {
            queue: share.clone().recipient(),
            expect,
            pool: share.clone().recipient(),
            resize: share.clone().recipient(),
            returns,
            configure: share.clone().recipient(),
        },
        None => ForecastLinks {
            queue: queue.clone().recipient(),
            expect,
            pool: pool.clone().recipient(),
            resize: pool.clone().recipient(),
            returns,
            configure: pool.clone().recipient(),
        },
    };
    let forecast = ForecastActor::new(deps, links, known)?;
    Ok(ForecastActor::start_in_arbiter(arbiter, |_| forecast))
}

/// Reads what the forecast of a pool had saved.
async fn load_history(node: &Deps, pool: &PoolName) -> Result<Option<SavedHistory>, Error> {
    let Some(text) = node.store.setting(SavedHistory::key(pool)).await? else { return Ok(None) };
    match SavedHistory::from_setting(&text) {
        Ok(saved) => {
            let size = node.store.setting(SavedSize::key(pool)).await?;
            Ok(Some(SavedHistory::with(saved, size.and_then(|text| serde_json::from_str(&text).ok()))))
        }
        Err(error) => {
            tracing::warn!(%pool, %error, "cannot read the saved forecast history; starting without it");
            Ok(None)
        }
    }
}

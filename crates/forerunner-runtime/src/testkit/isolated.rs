//! Single actors of a pool; the test plays all others.

mod forecast;
mod pool;
mod queue;
mod test_probe;

use std::{sync::Arc, time::Duration};

use forerunner_core::{NewTask, NodeId, Payload, PoolName, Task, Timestamp};
use forerunner_store::{MemoryOptions, MemoryStore, Store};

pub use self::{
    forecast::{IsolatedForecast, ShownState},
    pool::IsolatedPool,
    queue::IsolatedQueue,
    test_probe::SentMessage,
};
use crate::{
    PoolSettings, VirtualClock,
    admission::Admission,
    agent::AgentDeps,
    clock::{IdMaker, StoreClock},
    contexts::{NodeContexts, PoolCodecs, Prefetcher},
    deps::{Deps, PoolDeps},
};

/// How long a test waits for a message.
const TIMEOUT: Duration = Duration::from_secs(3_600);

/// What the actors of the pool `alone` share: a memory store, the virtual clock, and these settings.
fn deps(edit: impl FnOnce(&mut PoolSettings)) -> Arc<PoolDeps> {
    let mut settings = PoolSettings::default();
    edit(&mut settings);
    settings.validate().expect("valid settings");
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(MemoryOptions::default()));
    let begin = Timestamp::from_micros(1_700_000_000_000_000);
    let node = Deps {
        store,
        clock: StoreClock::new(Arc::new(VirtualClock::starting_at(begin))),
        node: NodeId::from_parts(begin, 1),
        watch: Arc::default(),
        events: Arc::default(),
        logs: Default::default(),
        shared: false,
        contexts: Arc::new(NodeContexts::new(64 << 20)),
        compactions: Arc::new(tokio::sync::Semaphore::new(1)),
        schedules: Default::default(),
        is_leader: Default::default(),
    };
    let name = PoolName::new("alone").expect("a pool name");
    Arc::new(PoolDeps { node: Arc::new(node), name, settings })
}

/// The admission of a pool where no task waits.
fn admission(deps: &PoolDeps) -> Arc<Admission> {
    Arc::new(Admission::new(0, 0, &deps.settings.queue))
}

/// What the agents of the pool share.
fn agent_deps(pool: &Arc<PoolDeps>) -> AgentDeps {
    let codecs = Arc::new(PoolCodecs::new(None));
    let node = &pool.node;
    let prefetcher = Prefetcher::new(pool.name.clone(), node.store.clone(), node.contexts.clone(), codecs.clone());
    AgentDeps { pool: pool.clone(), codecs, prefetcher }
}

/// A task with this input, as a handle creates it.
fn task(ids: &IdMaker, deps: &PoolDeps, input: &str) -> Task {
    let new = NewTask::new(deps.name.clone(), Payload::parse(input).expect("JSON"));
    let (now, settings) = (deps.now(), &deps.settings.task);
    Task::accepted(ids.task(now), new, now, settings.timeout, settings.retry())
}

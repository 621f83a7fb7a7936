//! A node for a test: memory store, virtual clock, all actors on the test's own thread.

use std::{collections::HashMap, sync::Arc, time::Duration};

use forerunner_core::{AgentState, Clock, NewTask, Payload, PoolName, Task, TaskId, TaskState, Timestamp};
use forerunner_store::{MemoryOptions, MemoryStore, Store};

use super::{Script, ScriptLog, ScriptedForecast};
use crate::{
    Handle, Node, NodeSpec, PoolSettings, PoolSpec, ThreadPlacement, VirtualClock, agent::DriverFactory,
    status::PoolStatus,
};

const DAY: Duration = Duration::from_secs(86_400);

/// Builds a [`Running`] node.
pub struct Rig {
    pools: Vec<PoolSpec>,
    logs: HashMap<String, ScriptLog>,
    store: Option<Arc<dyn Store>>,
    shared: Option<Arc<VirtualClock>>,
    clock: Option<Arc<dyn Clock>>,
    forecast: Option<ScriptedForecast>,
    context_cache_bytes: Option<usize>,
    retention: Duration,
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

impl Rig {
    /// A node without pools.
    pub fn new() -> Self {
        let (store, shared, clock, forecast) = (None, None, None, None);
        Self {
            pools: Vec::new(),
            logs: HashMap::new(),
            store,
            shared,
            clock,
            forecast,
            context_cache_bytes: None,
            retention: DAY,
        }
    }

    /// Sizes the pools that are added from now on with a scripted forecast.
    #[must_use]
    pub fn forecast(mut self, forecast: &ScriptedForecast) -> Self {
        self.forecast = Some(forecast.clone());
        self
    }

    /// Adds a pool of scripted agents; `edit` changes its settings.
    ///
    /// # Panics
    /// When the settings are not valid.
    #[must_use]
    pub fn pool(mut self, name: &str, script: Script, edit: impl FnOnce(&mut PoolSettings)) -> Self {
        self.logs.insert(name.to_owned(), script.log());
        self.pool_of(name, Arc::new(script), edit)
    }

    /// Adds a pool of agents of any kind; `edit` changes its settings.
    ///
    /// # Panics
    /// When the settings are not valid.
    #[must_use]
    pub fn pool_of(mut self, name: &str, agents: Arc<dyn DriverFactory>, edit: impl FnOnce(&mut PoolSettings)) -> Self {
        let mut settings = PoolSettings::default();
        edit(&mut settings);
        let spec = PoolSpec::new(name, settings, agents).expect("valid settings");
        self.pools.push(match self.forecast.clone() {
            Some(forecast) => spec.policy(move |limits| forecast.policy(limits)),
            None => spec,
        });
        self
    }

    /// Uses this store instead of a new one in memory.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Limits the node's cache of contexts.
    #[must_use]
    pub fn context_cache(mut self, bytes: usize) -> Self {
        self.context_cache_bytes = Some(bytes);
        self
    }

    /// Uses this clock instead of one that follows tokio's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Retains ended tasks for this time instead of a day.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Makes the node one of several on one store, which also share a clock.
    #[must_use]
    pub fn shared(mut self, store: Arc<dyn Store>, clock: &Arc<VirtualClock>) -> Self {
        (self.store, self.shared) = (Some(store), Some(clock.clone()));
        self
    }

    /// Starts the actors on the current thread.
    ///
    /// # Panics
    /// When the node does not start.
    pub async fn start(self) -> Running {
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryStore::new(MemoryOptions::default())));
        let shared = self.shared.is_some();
        let begin = Timestamp::from_micros(1_700_000_000_000_000);
        let own = self.shared.map(|clock| clock as Arc<dyn Clock>).or(self.clock);
        let clock = own.unwrap_or_else(|| Arc::new(VirtualClock::starting_at(begin)));
        let spec = NodeSpec {
            pools: self.pools,
            store: store.clone(),
            clock,
            placement: ThreadPlacement::Current,
            retention: self.retention,
            context_retention: Duration::ZERO,
            context_cache_bytes: self.context_cache_bytes.unwrap_or(64 << 20),
            max_depth: 16,
            max_schedules: 1_000,
            shared,
        };
        let node = Node::start(spec).await.expect("the node starts");
        Running { node, logs: self.logs, store }
    }
}

/// A node under test.
pub struct Running {
    node: Node,
    logs: HashMap<String, ScriptLog>,
    store: Arc<dyn Store>,
}

impl Running {
    /// Returns a handle to the node.
    pub fn handle(&self) -> Handle {
        self.node.handle()
    }

    /// Returns the node's store.
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// Returns the log of a pool's scripted agents.
    ///
    /// # Panics
    /// When there is no pool of scripted agents with that name.
    pub fn log(&self, pool: &str) -> ScriptLog {
        self.logs[pool].clone()
    }

    /// Builds a task, for tests that set more than a pool and an input.
    ///
    /// # Panics
    /// When the name or the JSON text is not valid.
    pub fn task(pool: &str, input: &str) -> NewTask {
        NewTask::new(PoolName::new(pool).expect("a pool name"), Payload::parse(input).expect("JSON"))
    }

    /// Submits a task.
    ///
    /// # Panics
    /// When the task is rejected.
    pub async fn submit(&self, pool: &str, input: &str) -> TaskId {
        self.handle().submit(Self::task(pool, input)).await.expect("accepted").task.id
    }

    /// Waits for a task to end, at most an hour.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(&self, task: TaskId) -> Task {
        let task = self.handle().wait(task, Duration::from_secs(3_600)).await.expect("the task is known");
        assert!(task.state.is_terminal(), "task {} is still {} after an hour", task.id, task.state);
        task
    }

    /// Waits until the pool's status matches, at most an hour, in steps of 10 ms.
    ///
    /// # Panics
    /// When the status never matches.
    pub async fn until(&self, pool: &str, what: &str, wanted: impl Fn(&PoolStatus) -> bool) -> PoolStatus {
        for _ in 0..360_000 {
            let status = self.handle().pool(pool).await.expect("the pool answers");
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("pool {pool} never came to: {what}");
    }

    /// Waits until this many agents are warm and idle.
    pub async fn until_ready(&self, pool: &str, count: u32) -> PoolStatus {
        self.until(pool, &format!("{count} ready"), |status| status.agents.ready == count).await
    }

    /// Waits until a task is in a state.
    ///
    /// # Panics
    /// When the task does not get there.
    pub async fn until_state(&self, task: TaskId, state: TaskState) -> Task {
        for _ in 0..360_000 {
            let found = self.handle().task(task).await.expect("the task is known");
            if found.state == state {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("task {task} was never {state}");
    }

    /// Returns how many agents of a pool are in a state.
    ///
    /// # Panics
    /// When the pool does not answer.
    pub async fn count(&self, pool: &str, state: AgentState) -> usize {
        let agents = self.handle().agents(pool).await.expect("the pool answers");
        agents.iter().filter(|agent| agent.state == state).count()
    }

    /// Stops the node, and checks that all agents have ended.
    ///
    /// # Panics
    /// When an agent remains, or the store fails to close.
    pub async fn stop(self) {
        let report = self.node.shutdown(Duration::from_secs(5)).await;
        assert!(report.clean && report.store.is_none(), "{report:?}");
    }
}

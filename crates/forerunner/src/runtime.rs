//! A node inside another program.

use std::{path::PathBuf, sync::Arc, time::Duration};

use forerunner_core::Clock;
use forerunner_runtime::{Error, Handle, NodeSpec, ShutdownReport, SystemClock, ThreadPlacement};
use forerunner_store::{MemoryOptions, MemoryStore, SqliteOptions, SqliteStore, Store};
use serde::Serialize;

use crate::{
    agent::Agent,
    owner::Owner,
    pool::{Home, Pool},
    task::{Submit, TaskHandle},
    typed::{AgentTypes, PoolRef},
};

/// How long running tasks may continue when a runtime stops, by default.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

/// A running node inside another program.
///
/// Cheap to clone. Works from any thread and any tokio runtime. Dropping it does not stop the node;
/// [`Runtime::shutdown`] does.
#[derive(Clone)]
pub struct Runtime {
    handle: Handle,
    types: Arc<AgentTypes>,
    owner: Owner,
}

impl Runtime {
    /// Begins to describe a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// Returns a handle: cheap to clone, works from any thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Begins a submission; `.await` sends it. See [`Submit`] for the options of a task.
    ///
    /// The compiler does not check the type of the input; see [`Runtime::pool`]. Where it is that of the pool's agents and
    /// the store is in memory, the agent gets the value itself. Otherwise it is written as JSON here.
    pub fn submit<T: Serialize + Send + Sync + 'static>(&self, pool: &str, input: T) -> Submit<TaskHandle> {
        match self.types.get_key_value(pool) {
            Some((name, agent)) => {
                let fits = agent.is_some_and(|agent| agent.takes::<T>());
                Submit::of(self.handle(), name.clone(), input, fits)
            }
            None => Submit::to_unknown(self.handle(), pool, &input),
        }
    }

    /// Returns a pool whose agents are of type `A`. The compiler checks the inputs and outputs of its tasks.
    ///
    /// # Errors
    /// [`Error::NoPool`], or [`Error::OtherAgent`] when the pool has agents of another type.
    pub fn pool<A: Agent>(&self, name: &str) -> Result<PoolRef<A>, Error> {
        PoolRef::find(self.handle(), &self.types, name)
    }

    /// Stops: accepts no new task, lets running tasks finish for 30 s, and releases those that have not finished. A
    /// second stop, of a clone, returns the report of the first.
    pub async fn shutdown(self) -> ShutdownReport {
        self.shutdown_within(SHUTDOWN_GRACE).await
    }

    /// Stops, with another time for running tasks.
    pub async fn shutdown_within(self, grace: Duration) -> ShutdownReport {
        self.owner.stop(grace).await
    }
}

/// Describes a [`Runtime`].
pub struct RuntimeBuilder {
    pools: Vec<Pool>,
    home: Home,
    store: Option<Arc<dyn Store>>,
    clock: Arc<dyn Clock>,
    placement: ThreadPlacement,
}

impl Default for RuntimeBuilder {
    fn default() -> Self {
        Self {
            pools: Vec::new(),
            home: Home::default(),
            store: None,
            clock: Arc::new(SystemClock),
            placement: ThreadPlacement::Spread(2),
        }
    }
}

impl RuntimeBuilder {
    /// Adds a pool.
    #[must_use]
    pub fn pool(mut self, pool: Pool) -> Self {
        self.pools.push(pool);
        self
    }

    /// Stores tasks in a SQLite file, so that they survive the process. The default is memory.
    #[must_use]
    pub fn sqlite(mut self, path: impl Into<PathBuf>) -> Self {
        self.home = Home::Sqlite(path.into());
        self
    }

    /// Stores tasks in this store.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Uses this clock; the default is the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Runs the actors on these threads; the default is two of their own. [`ThreadPlacement::Current`] is the shortest
    /// way for callers on the same thread.
    #[must_use]
    pub const fn placement(mut self, placement: ThreadPlacement) -> Self {
        self.placement = placement;
        self
    }

    /// Starts the runtime. Its actors run in the actix `System` of this thread. If there is none, as below
    /// `#[tokio::main]`, they run in one on a thread of their own.
    ///
    /// # Errors
    /// When a setting is not valid, the store does not open, or no thread can be started.
    pub async fn start(self) -> Result<Runtime, Error> {
        let store: Arc<dyn Store> = match (self.store, self.home) {
            (Some(store), _) => store,
            (None, Home::Memory) => Arc::new(MemoryStore::new(MemoryOptions::default())),
            (None, Home::Sqlite(path)) => Arc::new(SqliteStore::open(path, SqliteOptions::default())?),
        };
        let mut spec = NodeSpec::new(store);
        spec.clock = self.clock;
        spec.placement = self.placement;
        let mut types = AgentTypes::new();
        for pool in self.pools {
            let (pool, agent) = pool.into_spec()?;
            types.insert(pool.name.clone(), agent);
            spec = spec.pool(pool);
        }
        let (owner, handle) = Owner::start(spec).await?;
        Ok(Runtime { handle, types: Arc::new(types), owner })
    }
}

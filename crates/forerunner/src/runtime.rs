//! A node inside another program.

use std::{path::PathBuf, sync::Arc, time::Duration};

use forerunner_core::{Clock, NewTask, Payload, PoolName};
use forerunner_runtime::{Error, Handle, Node, NodeSpec, ShutdownReport, SystemClock, ThreadPlacement};
use forerunner_store::{MemoryOptions, MemoryStore, SqliteOptions, SqliteStore, Store};
use serde::Serialize;

use crate::{
    pool::{Home, Pool},
    task::Submit,
};

/// How long running tasks may continue when a runtime stops, by default.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

/// A running node inside another program.
pub struct Runtime {
    node: Node,
}

impl Runtime {
    /// Begins to describe a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// Returns a handle: cheap to clone, works from any thread.
    pub fn handle(&self) -> Handle {
        self.node.handle()
    }

    /// Begins a submission; `.await` sends it. See [`Submit`] for the options of a task.
    pub fn submit<T: Serialize>(&self, pool: &str, input: T) -> Submit {
        let new = PoolName::new(pool).and_then(|pool| Ok(NewTask::new(pool, Payload::from_value(&input)?)));
        Submit::new(self.handle(), new.map_err(Error::from))
    }

    /// Stops: accepts no new task, lets running tasks finish for 30 s, and releases those that have not finished.
    pub async fn shutdown(self) -> ShutdownReport {
        self.shutdown_within(SHUTDOWN_GRACE).await
    }

    /// Stops, with another time for running tasks.
    pub async fn shutdown_within(self, grace: Duration) -> ShutdownReport {
        self.node.shutdown(grace).await
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

    /// Starts the runtime. Runs inside an actix `System`.
    ///
    /// # Errors
    /// When a setting is not valid, or the store does not open.
    pub async fn start(self) -> Result<Runtime, Error> {
        let store: Arc<dyn Store> = match (self.store, self.home) {
            (Some(store), _) => store,
            (None, Home::Memory) => Arc::new(MemoryStore::new(MemoryOptions::default())),
            (None, Home::Sqlite(path)) => Arc::new(SqliteStore::open(path, SqliteOptions::default())?),
        };
        let mut spec = NodeSpec::new(store);
        spec.clock = self.clock;
        spec.placement = self.placement;
        for pool in self.pools {
            spec = spec.pool(pool.into_spec()?);
        }
        Ok(Runtime { node: Node::start(spec).await? })
    }
}

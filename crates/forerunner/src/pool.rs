//! Pools as embedders describe them.

use std::{future::Future, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration};

use forerunner_agents::process::{ProcessFactory, ProcessSpec};
use forerunner_runtime::{
    Error, PoolSettings, PoolSpec,
    agent::{AgentError, DriverFactory},
};

use crate::{
    agent::{Agent, RustFactory},
    typed::AgentType,
};

/// A pool of warm agents: a name, what makes its agents, and its settings.
#[derive(Clone)]
pub struct Pool {
    name: String,
    settings: PoolSettings,
    agents: Arc<dyn DriverFactory>,
    /// None for agents that are no Rust type.
    agent: Option<AgentType>,
}

impl Pool {
    /// A pool of agents that `make` creates. The time of `make` is the cold start.
    pub fn new<F, Fut, A>(name: impl Into<String>, make: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, AgentError>> + 'static,
        A: Agent,
    {
        Self { agent: Some(AgentType::of::<A>()), ..Self::of(name, Arc::new(RustFactory::new(make))) }
    }

    /// A pool of warm child processes that speak the protocol of `docs/agent-protocol.md`.
    ///
    /// # Errors
    /// When the spec is not valid, such as an empty `argv`.
    pub fn process(name: impl Into<String>, spec: ProcessSpec) -> Result<Self, Error> {
        Ok(Self::of(name, Arc::new(ProcessFactory::new(spec)?)))
    }

    /// A pool of agents of any kind.
    pub fn of(name: impl Into<String>, agents: Arc<dyn DriverFactory>) -> Self {
        Self { name: name.into(), settings: PoolSettings::default(), agents, agent: None }
    }

    /// Returns what starts the agents, for a rig of the test kit.
    pub fn factory(&self) -> Arc<dyn DriverFactory> {
        self.agents.clone()
    }

    /// Sets the fewest and the most agents.
    #[must_use]
    pub fn size(mut self, size: RangeInclusive<u32>) -> Self {
        (self.settings.min, self.settings.max) = size.into_inner();
        self
    }

    /// Sets the objective: this share of tasks, in (0, 1), starts within this time.
    #[must_use]
    pub fn on_time(mut self, share: f64, within: Duration) -> Self {
        self.settings.on_time.share = share;
        self.settings.on_time.within = within;
        self
    }

    /// Changes any other setting.
    #[must_use]
    pub fn settings(mut self, edit: impl FnOnce(&mut PoolSettings)) -> Self {
        edit(&mut self.settings);
        self
    }

    pub(crate) fn into_spec(self) -> Result<(PoolSpec, Option<AgentType>), Error> {
        Ok((PoolSpec::new(&self.name, self.settings, self.agents)?, self.agent))
    }
}

/// Where a runtime stores its tasks.
#[derive(Debug, Clone, Default)]
pub(crate) enum Home {
    /// In memory: lost with the process.
    #[default]
    Memory,
    /// In a SQLite file.
    Sqlite(PathBuf),
}

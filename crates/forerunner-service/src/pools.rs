//! Read and change pools.

use forerunner_runtime::{
    AgentStatus, DecisionRecord, ForecastStatus, PoolHistory, PoolPatch, PoolStatus, UnconfiguredPool,
};
use serde::Serialize;

use crate::{error::Error, problem_kind::ProblemKind, service::Service};

/// How many agents of a pool nodes should make room for, and what that follows from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Scaler {
    /// The greater of the tasks that run or wait and the agents that the forecast wants, within the pool's bounds.
    pub agents: u64,
    /// Tasks that run.
    pub running: u64,
    /// Tasks that are due and wait for an agent.
    pub queued: u64,
    /// Tasks that are known to become due within one cold start. The agents for them are part of `forecast`.
    pub announced: u64,
    /// Agents that the forecast wants.
    pub forecast: u32,
}

impl Service {
    /// Returns the status of all pools.
    ///
    /// # Errors
    /// A pool does not answer.
    pub async fn pools(&self) -> Result<Vec<PoolStatus>, Error> {
        let mut pools = self.handle().pools().await?;
        pools.retain(|pool| self.scope().has_pool(pool.name.as_str()));
        Ok(pools)
    }

    /// Lists pools that have unfinished tasks and are in the configuration of no node.
    pub fn unconfigured_pools(&self) -> Vec<UnconfiguredPool> {
        let mut pools = self.handle().unconfigured_pools();
        pools.retain(|pool| self.scope().has_pool(pool.name.as_str()));
        pools
    }

    /// Returns the status of a pool.
    ///
    /// # Errors
    /// The pool does not exist, or does not answer.
    pub async fn pool(&self, pool: &str) -> Result<PoolStatus, Error> {
        self.own_pool(pool)?;
        Ok(self.handle().pool(pool).await?)
    }

    /// Changes a pool's bounds or mode.
    ///
    /// # Errors
    /// As [`Service::pool`]; the bounds contradict each other.
    pub async fn configure(&self, pool: &str, patch: PoolPatch) -> Result<PoolStatus, Error> {
        self.own_pool(pool)?;
        self.scope().require_all_tenants("changes a pool")?;
        Ok(self.handle().configure(pool, patch).await?)
    }

    /// Pauses a pool: it accepts tasks and starts none.
    ///
    /// # Errors
    /// As [`Service::pool`]; the store does not answer.
    pub async fn pause(&self, pool: &str) -> Result<PoolStatus, Error> {
        self.own_pool(pool)?;
        self.scope().require_all_tenants("pauses a pool")?;
        Ok(self.handle().pause(pool).await?)
    }

    /// Resumes a paused pool.
    ///
    /// # Errors
    /// As [`Service::pause`].
    pub async fn resume(&self, pool: &str) -> Result<PoolStatus, Error> {
        self.own_pool(pool)?;
        self.scope().require_all_tenants("resumes a pool")?;
        Ok(self.handle().resume(pool).await?)
    }

    /// Lists a pool's agents, oldest first.
    ///
    /// # Errors
    /// As [`Service::pool`].
    pub async fn agents(&self, pool: &str) -> Result<Vec<AgentStatus>, Error> {
        self.own_pool(pool)?;
        let agents = self.handle().agents(pool).await?;
        Ok(agents.into_iter().map(|agent| self.shown_agent(agent)).collect())
    }

    /// Returns a pool's forecast, with its forecasts of the last hour.
    ///
    /// # Errors
    /// As [`Service::pool`].
    pub async fn forecast(&self, pool: &str) -> Result<ForecastStatus, Error> {
        self.own_pool(pool)?;
        Ok(self.handle().forecast(pool).await?)
    }

    /// Returns a pool's history of the last minutes, at most [`MAX_MINUTES`](crate::limits::MAX_MINUTES).
    ///
    /// # Errors
    /// As [`Service::pool`].
    pub async fn history(&self, pool: &str, minutes: u32) -> Result<PoolHistory, Error> {
        self.own_pool(pool)?;
        Ok(self.handle().history(pool, minutes).await?)
    }

    /// Lists a pool's decisions, newest first.
    ///
    /// # Errors
    /// As [`Service::pool`].
    pub async fn decisions(&self, pool: &str, limit: usize) -> Result<Vec<DecisionRecord>, Error> {
        self.own_pool(pool)?;
        Ok(self.handle().decisions(pool, limit).await?)
    }

    /// Returns one decision.
    ///
    /// # Errors
    /// As [`Service::pool`]; the decision does not exist, or is no longer recorded.
    pub async fn decision(&self, pool: &str, seq: u64) -> Result<DecisionRecord, Error> {
        self.own_pool(pool)?;
        let no_decision = || {
            let detail = format!("pool `{pool}` has no decision {seq}, or has removed it; list its decisions");
            Error::new(ProblemKind::NoDecision, detail).with("pool", pool).with("decision", seq)
        };
        self.handle().decision(pool, seq).await?.ok_or_else(no_decision)
    }

    /// Returns the number of agents that an autoscaler of nodes should make room for.
    ///
    /// A backlog alone is not enough: it disappears as soon as agents work on it, and it appears too late.
    ///
    /// # Errors
    /// As [`Service::pool`].
    pub async fn scaler(&self, pool: &str) -> Result<Scaler, Error> {
        let pool = self.pool(pool).await?;
        // Tasks are counted by each node for itself, busy agents on all of them.
        let running = pool.running.max(u64::from(pool.agents.busy));
        let busy = running.saturating_add(pool.depth);
        let agents = busy.max(u64::from(pool.desired)).clamp(u64::from(pool.min), u64::from(pool.max));
        let forecast = pool.decision.as_ref().and_then(|newest| newest.decision.forecast);
        let announced = forecast.map_or(0, |forecast| forecast.announced.within_horizon);
        Ok(Scaler { agents, running, queued: pool.depth, announced, forecast: pool.desired })
    }

    /// Returns an agent as the caller may see it: without what it does for another tenant.
    fn shown_agent(&self, agent: AgentStatus) -> AgentStatus {
        if agent.tenant.as_ref().is_some_and(|tenant| !self.scope().has_tenant(tenant)) {
            let resident = Vec::new();
            return AgentStatus { task: None, tenant: None, context: None, context_bytes: 0, resident, ..agent };
        }
        AgentStatus { context: agent.context.map(|context| context.to_local()), ..agent }
    }
}

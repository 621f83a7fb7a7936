//! Pools: status, agents, settings, forecasts, decisions.

use forerunner_core::PoolName;
use tokio::sync::oneshot;

use super::{Handle, PoolEntry};
use crate::{
    Error,
    cluster::settings::SettingsOverride,
    forecast::{
        LearnedForecast, Lesson, UntaughtPolicy,
        messages::{Change, GetDecisions, GetForecast, GetHistory, GetLearned, GetMode, MakePolicy, Teach},
    },
    pool::messages::{GetPool, ListAgents, SetPaused},
    queue::messages::GetQueueStatus,
    status::{AgentStatus, DecisionRecord, ForecastStatus, PoolHistory, PoolPatch, PoolStatus},
};

impl Handle {
    /// Returns the pools' names, in order.
    pub fn pool_names(&self) -> Vec<PoolName> {
        self.shared.pools.keys().cloned().collect()
    }

    /// Returns the status of all pools.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`].
    pub async fn pools(&self) -> Result<Vec<PoolStatus>, Error> {
        let mut pools = Vec::with_capacity(self.shared.pools.len());
        for entry in self.shared.pools.values() {
            pools.push(self.status(entry).await?);
        }
        Ok(pools)
    }

    /// Returns the status of a pool.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::OutcomeUnknown`].
    pub async fn pool(&self, name: &str) -> Result<PoolStatus, Error> {
        self.status(self.entry(name)?).await
    }

    async fn status(&self, entry: &PoolEntry) -> Result<PoolStatus, Error> {
        let queue = entry.ask(&entry.queue, GetQueueStatus).await?;
        let pool = match &entry.share {
            Some(share) => entry.ask(share, GetPool).await?,
            None => entry.ask(&entry.pool, GetPool).await?,
        };
        let mode = entry.ask(&entry.forecast, GetMode).await?;
        Ok(PoolStatus {
            name: entry.deps.name.clone(),
            kind: entry.kind,
            state: pool.state.with_dependency(&queue.dependency, self.shared.deps.now()),
            dependency: queue.dependency,
            min: pool.min,
            max: pool.max,
            desired: pool.desired,
            policy: mode.policy,
            mode: mode.mode,
            objective: entry.deps.settings.limits().objective,
            agents: pool.counts,
            utilisation: pool.counts.utilisation(),
            depth: queue.depth,
            waiting: entry.admission.waiting() as u64,
            running: queue.running,
            queue_limit: entry.admission.limit() as u64,
            input_bytes: entry.admission.bytes(),
            input_limit_bytes: entry.admission.limit_bytes(),
            context_bytes: entry.room.stored(),
            context_limit_bytes: entry.room.limit_bytes(),
            cooldown_s: entry.deps.settings.cooldown.as_secs_f64(),
            cold_start_s: pool.cold_start,
            starts: pool.starts,
            on_time_share: (queue.started > 0).then(|| 1.0 - queue.late as f64 / queue.started as f64),
            recent: mode.recent,
            finished: queue.finished,
            scale_ups: pool.tally.scale_ups,
            scale_downs: pool.tally.scale_downs,
            agent_seconds: pool.agent_seconds,
            decision: mode.newest,
        })
    }

    /// Lists a pool's agents, oldest first.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::OutcomeUnknown`].
    pub async fn agents(&self, pool: &str) -> Result<Vec<AgentStatus>, Error> {
        let entry = self.entry(pool)?;
        Ok(entry.ask(&entry.pool, ListAgents).await?.0)
    }

    /// Changes a pool's bounds or mode. The change lasts until the node restarts. Where several nodes share a store it
    /// applies to all of them and is permanent.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::Invalid`] for bounds that contradict each other, [`Error::OutcomeUnknown`].
    pub async fn configure(&self, pool: &str, patch: PoolPatch) -> Result<PoolStatus, Error> {
        let entry = self.entry(pool)?;
        let (reply, answer) = oneshot::channel();
        entry.forecast.do_send(Change { patch, reply });
        answer.await.map_err(|_| entry.unknown())??;
        self.status(entry).await
    }

    /// Pauses a pool: it accepts tasks and starts none. Agents stay warm, and running tasks continue. The pause lasts
    /// until it is ended, also after a restart, and applies to all nodes that share a store.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::Store`], [`Error::OutcomeUnknown`].
    pub async fn pause(&self, pool: &str) -> Result<PoolStatus, Error> {
        self.set_paused(pool, true).await
    }

    /// Resumes a paused pool.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::Store`], [`Error::OutcomeUnknown`].
    pub async fn resume(&self, pool: &str) -> Result<PoolStatus, Error> {
        self.set_paused(pool, false).await
    }

    async fn set_paused(&self, pool: &str, paused: bool) -> Result<PoolStatus, Error> {
        let entry = self.entry(pool)?;
        let changed = SettingsOverride { paused: Some(paused), ..SettingsOverride::default() };
        changed.save(&*self.shared.deps.store, &entry.deps.name).await?;
        entry.ask(&entry.pool, SetPaused(paused)).await?;
        self.status(entry).await
    }

    /// Returns a pool's forecast, with its forecasts of the last hour.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::OutcomeUnknown`].
    pub async fn forecast(&self, pool: &str) -> Result<ForecastStatus, Error> {
        let entry = self.entry(pool)?;
        Ok(entry.ask(&entry.forecast, GetForecast).await?.0)
    }

    /// Returns a pool's history of the last minutes, at most 60, from this node's memory.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::OutcomeUnknown`].
    pub async fn history(&self, pool: &str, minutes: u32) -> Result<PoolHistory, Error> {
        let entry = self.entry(pool)?;
        Ok(entry.ask(&entry.forecast, GetHistory { minutes }).await?.0)
    }

    /// Lists a pool's decisions, newest first. Of consecutive ticks that change nothing, only the newest is recorded.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::OutcomeUnknown`].
    pub async fn decisions(&self, pool: &str, limit: usize) -> Result<Vec<DecisionRecord>, Error> {
        let entry = self.entry(pool)?;
        Ok(entry.ask(&entry.forecast, GetDecisions { limit, seq: None }).await?.0)
    }

    /// Returns one decision, if it is still recorded.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::OutcomeUnknown`].
    pub async fn decision(&self, pool: &str, seq: u64) -> Result<Option<DecisionRecord>, Error> {
        let entry = self.entry(pool)?;
        Ok(entry.ask(&entry.forecast, GetDecisions { limit: 1, seq: Some(seq) }).await?.0.pop())
    }

    /// Returns what a pool's forecast has learned.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::OutcomeUnknown`].
    pub async fn learned(&self, pool: &str) -> Result<LearnedForecast, Error> {
        let entry = self.entry(pool)?;
        entry.ask(&entry.forecast, GetLearned).await
    }

    /// Makes a policy like the one that sizes a pool, which knows nothing yet: to let it learn apart from the pool.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::OutcomeUnknown`].
    pub async fn untaught_policy(&self, pool: &str) -> Result<UntaughtPolicy, Error> {
        let entry = self.entry(pool)?;
        entry.ask(&entry.forecast, MakePolicy).await?
    }

    /// Teaches a pool's forecast, on all nodes that share a store. The pool decides at once, and keeps its size otherwise.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::NotTeachable`], [`Error::Store`], [`Error::OutcomeUnknown`].
    pub async fn teach(&self, pool: &str, lesson: Lesson) -> Result<(), Error> {
        let entry = self.entry(pool)?;
        let (reply, answer) = oneshot::channel();
        entry.forecast.do_send(Teach { lesson, reply });
        answer.await.map_err(|_| entry.unknown())?
    }

    /// Returns the largest input, in bytes, that a pool accepts.
    ///
    /// # Errors
    /// [`Error::NoPool`].
    pub fn max_input_bytes(&self, pool: &str) -> Result<usize, Error> {
        Ok(self.entry(pool)?.deps.settings.queue.max_input_bytes)
    }
}

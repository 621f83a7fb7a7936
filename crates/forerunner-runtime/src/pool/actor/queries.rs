//! Queries about a pool, its agents and its placements.

use actix::Handler;
use forerunner_core::{AgentState, Timestamp};

use super::PoolActor;
use crate::{
    pool::messages::{AgentList, GetPlacement, GetPool, ListAgents, PoolSample, RecordedPlacement},
    status::{AgentStatus, PoolState},
};

impl PoolActor {
    fn state(&self, now: Timestamp) -> PoolState {
        match self.machine.circuit(now) {
            Some((until, reason)) => PoolState::CircuitOpen { until, reason: reason.to_owned() },
            None if self.machine.is_paused() => PoolState::Paused,
            None => PoolState::Running,
        }
    }
}

impl Handler<GetPool> for PoolActor {
    type Result = PoolSample;

    fn handle(&mut self, _: GetPool, _: &mut Self::Context) -> PoolSample {
        let now = self.deps.now();
        let (min, max) = self.machine.bounds();
        let sample = PoolSample {
            counts: self.machine.counts(),
            draining: self.machine.draining(),
            desired: self.machine.desired(),
            min,
            max,
            max_starting: self.machine.max_starting(),
            starts: self.machine.starts(),
            state: self.state(now),
            cold_start: self.cold_starts.summary(self.machine.max_starting()),
            tally: self.machine.tally(),
            agent_seconds: self.machine.agent_seconds(now),
        };
        let circuit_open = matches!(sample.state, PoolState::CircuitOpen { .. });
        self.metrics.set_gauges(sample.counts, sample.desired, circuit_open, sample.agent_seconds);
        self.metrics.start_concurrency.set(sample.max_starting);
        sample
    }
}

impl Handler<ListAgents> for PoolActor {
    type Result = AgentList;

    fn handle(&mut self, _: ListAgents, _: &mut Self::Context) -> AgentList {
        let mut agents: Vec<_> = self
            .machine
            .agents()
            .map(|(id, record)| AgentStatus {
                id: *id,
                pool: self.deps.name.clone(),
                state: if record.draining { AgentState::Cooldown } else { record.state },
                task: record.task(),
                tenant: record.tenant.clone(),
                context: record.context.clone(),
                context_bytes: record.context_bytes,
                resident: self.machine.contexts_of(*id).map(|entry| (entry.context.clone(), entry.version)).collect(),
                started_at: record.asked_at,
                last_used: record.last_used,
                cold_start_s: record.cold_start.map(|cold| cold.as_secs_f64()),
                tasks: record.tasks,
                pid: record.pid,
            })
            .collect();
        agents.sort_by_key(|agent| agent.id);
        AgentList(agents)
    }
}

impl Handler<GetPlacement> for PoolActor {
    type Result = RecordedPlacement;

    fn handle(&mut self, GetPlacement(task): GetPlacement, _: &mut Self::Context) -> RecordedPlacement {
        let record = self.placements.get(task).map(|record| Box::new(record.clone()));
        RecordedPlacement { record, state: self.state(self.deps.now()) }
    }
}

//! The reports of agents to their pool.

use actix::Handler;
use forerunner_core::{AgentState, PoolEvent};

use super::PoolActor;
use crate::{
    agent::messages::{AgentDown, AgentReady, AgentStarted, StopRun},
    batcher::Batch,
    queue::messages::{Nudge, PoolFacts, StopTask},
    status::Cause,
};

impl Handler<AgentStarted> for PoolActor {
    type Result = ();

    fn handle(&mut self, msg: AgentStarted, ctx: &mut Self::Context) {
        let was_starting = self.machine.agent(msg.agent).is_some_and(|record| record.state == AgentState::Starting);
        self.apply(PoolEvent::Started { agent: msg.agent, pid: msg.pid }, ctx);
        if !was_starting {
            return;
        }
        let record = self.machine.agent(msg.agent);
        let started = record.and_then(|record| record.cold_start.zip(record.started_with));
        if let Some((cold_start, at_once)) = started {
            self.metrics.cold_start.record(cold_start.as_secs_f64());
            self.cold_starts.note(cold_start.as_secs_f64(), at_once);
        }
        self.send_size();
    }
}

impl Handler<Batch<AgentReady>> for PoolActor {
    type Result = ();

    fn handle(&mut self, _: Batch<AgentReady>, ctx: &mut Self::Context) {
        let now = self.deps.now();
        let mut ready = self.ready.take();
        let mut is_about_contexts = false;
        for AgentReady { agent, memory, run } in ready.drain(..) {
            is_about_contexts |= memory.is_some();
            self.apply_at(now, PoolEvent::Ready { agent, memory, run }, ctx);
        }
        if is_about_contexts {
            self.send_facts(PoolFacts { uses_lookahead: self.machine.uses_lookahead(), ..self.facts });
        }
        self.ready.recycle(ready);
    }
}

impl Handler<AgentDown> for PoolActor {
    type Result = ();

    fn handle(&mut self, msg: AgentDown, ctx: &mut Self::Context) {
        self.agents.remove(&msg.agent);
        if msg.reason.is_some() {
            self.metrics.failures.increment(1);
            if let Some(nudge) = &self.links.nudge {
                nudge.do_send(Nudge(Cause::AgentLost));
            }
        }
        self.apply(PoolEvent::Down { agent: msg.agent, reason: msg.reason }, ctx);
        self.send_size();
        self.answer_stop_if_empty();
    }
}

impl Handler<StopTask> for PoolActor {
    type Result = ();

    fn handle(&mut self, StopTask { task, reason }: StopTask, ctx: &mut Self::Context) {
        match self.machine.runner(task).and_then(|agent| self.agents.get(&agent)) {
            Some(actor) => actor.do_send(StopRun { task, reason }),
            None => self.apply(PoolEvent::Unwanted(task), ctx),
        }
    }
}

//! Starts and stops agents until their number is the target.

use super::{AgentRecord, PoolAction, PoolMachine, ScaleDownOrder};
use crate::{AgentId, AgentState, Circuit, Timestamp};

impl PoolMachine {
    /// Starts, reclaims or retires agents until their number is the target.
    pub(super) fn rebalance(&mut self, now: Timestamp, actions: &mut Vec<PoolAction>) {
        while self.counts.size() < self.desired && self.reclaim(now) {
            self.tally.scale_ups += 1;
        }
        if self.counts.size() < self.desired {
            self.spawn_missing(now, actions);
        }
        while self.counts.size() > self.desired && self.shrink_one(now, actions) {
            self.tally.scale_downs += 1;
        }
        self.stop_cooled_down(now, actions);
    }

    /// Reclaims the agent that went to cooldown last: it is the warmest.
    fn reclaim(&mut self, now: Timestamp) -> bool {
        let leaving = |record: &AgentRecord| record.draining || record.state == AgentState::Cooldown;
        let warmest = self.agents.iter().filter(|(_, record)| leaving(record));
        let warmest = warmest.max_by_key(|(agent, record)| (record.cooling_since, **agent)).map(|(agent, _)| *agent);
        let Some(agent) = warmest.filter(|_| self.counts.cooldown > 0) else { return false };
        self.change(agent, |record| {
            record.draining = false;
            record.cooling_since = None;
            if record.state == AgentState::Cooldown {
                record.state = AgentState::Ready;
                record.last_used.get_or_insert(now);
            }
        });
        true
    }

    fn spawn_missing(&mut self, now: Timestamp, actions: &mut Vec<PoolAction>) {
        let missing = self.desired - self.counts.size();
        let (allowed, wake) = match self.budget.circuit(now) {
            Circuit::Closed => (missing, None),
            Circuit::HalfOpen => (missing.min(1).saturating_sub(self.counts.starting), None),
            Circuit::Probation(from) if from <= now => {
                (1_u32.saturating_sub(self.unproven()), self.budget.probation_ends(now))
            }
            Circuit::BackingOff(until) | Circuit::Open(until) | Circuit::Probation(until) => (0, Some(until)),
        };
        // Cold starts are processor time: many at once are late together.
        self.starts.forget(now);
        let room = self.starts.limit().saturating_sub(self.counts.starting);
        let starts_before_s = self.starts.agent_seconds(now);
        for _ in 0..allowed.min(room) {
            let agent = self.next_id(now);
            self.agents.insert(agent, AgentRecord::starting(now, starts_before_s));
            self.counts.starting += 1;
            self.tally.scale_ups += 1;
            actions.push(PoolAction::Spawn(agent));
        }
        actions.extend(wake.map(PoolAction::Wake));
    }

    /// Agents that start or live, are to stay, and have not finished a task yet.
    fn unproven(&self) -> u32 {
        let staying = |record: &&AgentRecord| {
            matches!(record.state, AgentState::Starting | AgentState::Ready | AgentState::Busy) && !record.draining
        };
        self.agents.values().filter(staying).filter(|record| record.is_unproven()).count() as u32
    }

    fn next_id(&mut self, now: Timestamp) -> AgentId {
        self.next_serial = self.next_serial.wrapping_add(1);
        let serial = u128::from(self.next_serial);
        // 12 bits of the serial sort ids of one millisecond; all of it, under the seed, makes them unique.
        AgentId::from_parts(now, (serial & 0xfff) << 64 | u128::from(self.rules.id_seed >> 34) << 32 | serial)
    }

    /// Makes the pool smaller by one: an agent that still starts, else the one idle for longest, else a busy one after
    /// its task. A busy agent is never stopped.
    fn shrink_one(&mut self, now: Timestamp, actions: &mut Vec<PoolAction>) -> bool {
        if let Some(agent) = self.newest(AgentState::Starting) {
            self.starts.spoil();
            self.stop(agent, actions);
            return true;
        }
        if let Some(agent) = self.least_wanted(now) {
            self.cool_down(agent, now);
            return true;
        }
        let Some(agent) = self.newest(AgentState::Busy) else { return false };
        self.change(agent, |record| {
            record.draining = true;
            record.cooling_since = Some(now);
        });
        true
    }

    /// The idle agent that stops first.
    pub(super) fn least_wanted(&self, now: Timestamp) -> Option<AgentId> {
        if self.rules.stop == ScaleDownOrder::OldestIdle || self.residency.is_empty() {
            return self.idle.oldest();
        }
        // An agent without contexts is worth nothing.
        self.idle.oldest_plain().or_else(|| self.least_valuable(now))
    }

    fn least_valuable(&self, now: Timestamp) -> Option<AgentId> {
        let rates = self.residency.rates();
        let worth = |agent: &AgentId| self.residency.worth(*agent, &rates, now);
        // Oldest first; of equals the first.
        let idle = self.idle.oldest_warm(usize::MAX).map(|agent| (worth(&agent), agent));
        idle.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, agent)| agent)
    }

    fn newest(&self, state: AgentState) -> Option<AgentId> {
        let staying = self.agents.iter().filter(|(_, record)| record.state == state && !record.draining);
        staying.max_by_key(|(agent, record)| (record.asked_at, **agent)).map(|(agent, _)| *agent)
    }

    fn cool_down(&mut self, agent: AgentId, now: Timestamp) {
        self.change(agent, |record| {
            record.state = AgentState::Cooldown;
            record.leases.clear();
            record.draining = false;
            record.cooling_since = Some(now);
        });
    }

    /// Ends the work of an agent that was to stop after its task.
    pub(super) fn retire(&mut self, agent: AgentId, tasks: u32, now: Timestamp, actions: &mut Vec<PoolAction>) {
        self.change(agent, |record| {
            record.end_run(tasks);
            record.last_used = Some(now);
        });
        match self.stopping {
            true => self.stop(agent, actions),
            false => self.cool_down(agent, now),
        }
    }

    fn stop_cooled_down(&mut self, now: Timestamp, actions: &mut Vec<PoolAction>) {
        if self.counts.cooldown == 0 {
            return;
        }
        let end = |record: &AgentRecord| record.cooling_since.map_or(now, |since| since + self.rules.cooldown);
        let idle = self.agents.iter().filter(|(_, record)| record.state == AgentState::Cooldown);
        let (over, cooling): (Vec<_>, Vec<_>) =
            idle.map(|(agent, record)| (end(record), *agent)).partition(|(end, _)| *end <= now);
        // The caller stores only its earliest wake-up, so the next one is requested again.
        actions.extend(cooling.iter().min().map(|(end, _)| PoolAction::Wake(*end)));
        for (_, agent) in over {
            self.stop(agent, actions);
        }
    }

    /// Stops an agent. Its record stays, and counts as nothing, until it is down.
    pub(super) fn stop(&mut self, agent: AgentId, actions: &mut Vec<PoolAction>) {
        self.change(agent, |record| record.state = AgentState::Stopped);
        actions.push(PoolAction::Stop(agent));
    }

    /// Stops every agent: idle and starting ones at once, busy ones after their task.
    pub(super) fn stop_all(&mut self, now: Timestamp, actions: &mut Vec<PoolAction>) {
        self.stopping = true;
        self.release_suspects(actions);
        let agents: Vec<_> = self.agents.iter().map(|(agent, record)| (*agent, record.state)).collect();
        for (agent, state) in agents {
            match state {
                AgentState::Busy => self.change(agent, |record| {
                    record.draining = true;
                    record.cooling_since = Some(now);
                }),
                AgentState::Starting | AgentState::Ready | AgentState::Cooldown => self.stop(agent, actions),
                AgentState::Stopped | AgentState::Failed => {}
            }
        }
    }
}

//! Suspects: tasks that may have cost an agent before. Which agents may run them, and those that wait for one.

use std::{collections::VecDeque, sync::Arc};

use super::{AgentRecord, PoolAction, PoolMachine};
use crate::{AgentId, AgentState, Circuit, Task, TaskId, Timestamp};

/// Most suspects that a pool makes wait. Further ones get any idle agent: a task that returned to the queue would be
/// claimed again first.
const MOST_WAITING: usize = 1_024;
/// Most bytes of their inputs.
const MOST_WAITING_BYTES: usize = 16 << 20;

/// Leased suspects that no agent may run yet, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct WaitingSuspects {
    tasks: VecDeque<Arc<Task>>,
    input_bytes: usize,
    /// When a suspect last went to an agent on probation.
    tried_on_probation: Option<Timestamp>,
}

impl WaitingSuspects {
    fn push(&mut self, task: Arc<Task>) {
        self.input_bytes += task.input.len();
        self.tasks.push_back(task);
    }

    fn take(&mut self, place: usize) -> Option<Arc<Task>> {
        let task = self.tasks.remove(place)?;
        self.input_bytes -= task.input.len();
        Some(task)
    }

    /// The place of the first one that needs an unused agent, or of the first one that does not.
    fn first(&self, needs_unused: bool) -> Option<usize> {
        self.tasks.iter().position(|task| task.is_on_last_life() == needs_unused)
    }

    fn is_full(&self) -> bool {
        self.tasks.len() > MOST_WAITING || self.input_bytes > MOST_WAITING_BYTES
    }
}

impl PoolMachine {
    /// Returns the tasks that wait for an agent that may run them, though they are leased.
    pub fn waiting_suspects(&self) -> impl Iterator<Item = TaskId> {
        self.suspects.tasks.iter().map(|task| task.id)
    }

    pub(super) fn quarantine(&mut self, task: Arc<Task>) {
        self.suspects.push(task);
    }

    /// Removes a task that waits for an agent, if there is one: it is to stop.
    pub(super) fn release_suspect(&mut self, task: TaskId, actions: &mut Vec<PoolAction>) {
        let place = self.suspects.tasks.iter().position(|waiting| waiting.id == task);
        actions.extend(place.and_then(|place| self.suspects.take(place)).map(PoolAction::Release));
    }

    pub(super) fn release_suspects(&mut self, actions: &mut Vec<PoolAction>) {
        while let Some(task) = self.suspects.take(0) {
            actions.push(PoolAction::Release(task));
        }
    }

    /// Gives waiting suspects to agents that may run them, in order of arrival.
    pub(super) fn place_suspects(&mut self, now: Timestamp, actions: &mut Vec<PoolAction>) {
        if self.suspects.tasks.is_empty() {
            return;
        }
        self.release_expired(now, actions);
        while self.suspects.is_full()
            && let Some(task) = self.suspects.take(0)
        {
            match self.agent_for(&task, true, now) {
                Some(agent) => self.try_suspect(agent, task, now, actions),
                None => actions.push(PoolAction::Release(task)),
            }
        }
        while let Some((place, agent)) = self.next_try(now)
            && let Some(task) = self.suspects.take(place)
        {
            self.try_suspect(agent, task, now, actions);
        }
        self.renew_for_suspects(now, actions);
        self.wake_for_suspects(now, actions);
    }

    /// The first suspect for which there is an agent. One that waits for an unused agent does not keep the others waiting.
    fn next_try(&self, now: Timestamp) -> Option<(usize, AgentId)> {
        let of_kind = |needs_unused| {
            let place = self.suspects.first(needs_unused)?;
            Some((place, self.agent_for(&self.suspects.tasks[place], false, now)?))
        };
        [of_kind(true), of_kind(false)].into_iter().flatten().min()
    }

    /// Replaces an idle agent if a suspect waits for an unused one and none is there or starts.
    fn renew_for_suspects(&mut self, now: Timestamp, actions: &mut Vec<PoolAction>) {
        let may_start = matches!(self.budget.circuit(now), Circuit::Closed) && !self.paused;
        if !may_start || self.suspects.first(true).is_none() || !self.is_one_left_for_others() || self.has_unused() {
            return;
        }
        let Some(used) = self.least_wanted(now) else { return };
        self.stop(used, actions);
        self.rebalance(now, actions);
    }

    fn has_unused(&self) -> bool {
        let is_on_its_way = |state| matches!(state, AgentState::Starting | AgentState::Ready);
        self.agents.values().any(|record| record.is_unproven() && is_on_its_way(record.state))
    }

    fn try_suspect(&mut self, agent: AgentId, task: Arc<Task>, now: Timestamp, actions: &mut Vec<PoolAction>) {
        let is_unproven = self.agents.get(&agent).is_some_and(AgentRecord::is_unproven);
        if is_unproven && self.is_probation(now) {
            self.suspects.tried_on_probation = Some(now);
        }
        self.place_on(agent, task, now, actions);
    }

    /// The idle agent for a suspect: a proven one if there is one, of these one with its context. With `anyhow` it
    /// returns an agent even if all should be left to other tasks.
    ///
    /// The last try is on an agent that ran no other task. Otherwise a timer that an earlier task left there, and that
    /// ends the process, would make this task dead.
    fn agent_for(&self, task: &Task, anyhow: bool, now: Timestamp) -> Option<AgentId> {
        if !anyhow && !self.is_one_left_for_others() {
            return None;
        }
        let may_try = anyhow || self.may_try_on_probation(now);
        let idle = self.agents.iter().filter(|(_, record)| record.state == AgentState::Ready);
        let unused_only = task.is_on_last_life() && !anyhow;
        let allowed = idle.filter(|(_, record)| match record.is_unproven() {
            true => may_try,
            false => !unused_only,
        });
        let has_context =
            |agent: &AgentId| task.context.as_ref().is_some_and(|id| self.residency.agents_with(id).contains(agent));
        let best = allowed
            .max_by_key(|(agent, record)| (!record.is_unproven(), has_context(agent), record.idle_since(), **agent));
        best.map(|(agent, _)| *agent)
    }

    /// Whether an agent stays free for tasks that have crashed none while one more suspect runs. A pool of one agent
    /// has none to spare: there the pauses between the attempts of suspects are for the others.
    fn is_one_left_for_others(&self) -> bool {
        let suspects = self.agents.values().filter(|record| record.has_suspect && record.state == AgentState::Busy);
        self.desired <= 1 || suspects.count() as u32 + 1 < self.counts.size()
    }

    fn is_probation(&self, now: Timestamp) -> bool {
        matches!(self.budget.circuit(now), Circuit::Probation(_))
    }

    /// While new agents are on probation, good tasks prove them. A suspect would prove nothing, and if the agents are
    /// at fault it would lose its last attempts. So it has one attempt in the time of an open circuit.
    fn may_try_on_probation(&self, now: Timestamp) -> bool {
        !self.is_probation(now) || self.next_try_on_probation().is_none_or(|at| at <= now)
    }

    fn next_try_on_probation(&self) -> Option<Timestamp> {
        self.suspects.tried_on_probation.map(|at| at + self.rules.restart.max_backoff)
    }

    fn release_expired(&mut self, now: Timestamp, actions: &mut Vec<PoolAction>) {
        while let Some(place) = self.suspects.tasks.iter().position(|task| task.is_past_deadline(now)) {
            actions.extend(self.suspects.take(place).map(PoolAction::Release));
        }
    }

    fn wake_for_suspects(&self, now: Timestamp, actions: &mut Vec<PoolAction>) {
        let deadlines = self.suspects.tasks.iter().filter_map(|task| task.deadline);
        let next_try = self.next_try_on_probation().filter(|_| !self.suspects.tasks.is_empty());
        actions.extend(deadlines.chain(next_try).filter(|at| *at > now).min().map(PoolAction::Wake));
    }
}

//! Which agent gets which task.

use std::sync::Arc;

use super::{PoolAction, PoolMachine};
use crate::{
    AgentId, AgentState, ContextId, Task, TaskId, Timestamp,
    placement::{
        Agent, AgentCost, Candidate, PairCost, PlacementPlan, PlacementReason, PlacementRecord, RECORDED_AGENTS, Rates,
        WaitingTask, choose,
    },
};

/// Most tasks placed in one go, so that a choice among many stays short.
const AT_ONCE: usize = 32;
/// The number of idle agents up to which all of them are compared.
const FEW_AGENTS: usize = 64;

/// Which of the peeked tasks a pool would run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// These.
    pub take: Vec<TaskId>,
    /// How many others are deferred for a busy agent, and the latest time until which the first of them is.
    pub deferred: usize,
    /// The latest time to ask again, if tasks are deferred.
    pub again_at: Option<Timestamp>,
}

/// Some tasks, with the agents that come into question for them.
struct PlacementInput<'a> {
    tasks: &'a [Candidate],
    agents: Vec<AgentId>,
    states: Vec<Agent>,
    rates: Rates,
    now: Timestamp,
}

impl PoolMachine {
    /// Whether the queue is to show what it has before it hands out tasks.
    pub fn uses_lookahead(&self) -> bool {
        self.residency.uses_lookahead()
    }

    /// Selects which of the first waiting tasks to run now, at most `limit`, and which to defer for a busy agent. It
    /// reserves nothing: the pool places each claimed task anew.
    pub fn select(&mut self, tasks: &[Candidate], limit: usize, now: Timestamp) -> Selection {
        if self.paused || self.stopping {
            return Selection::default();
        }
        let input = self.input(tasks, now);
        let mut plan = self.plan(&input, true);
        plan.choices.truncate(limit);
        let deferred_now = plan.deferrals.iter().map(|deferral| tasks[deferral.task].task);
        // Claimed tasks are no longer deferred. How long they were is reported once they are placed.
        let known =
            plan.choices.iter().map(|choice| tasks[choice.task].task).filter(|task| self.residency.is_deferred(*task));
        let kept: Vec<TaskId> = deferred_now.chain(known).collect();
        self.residency.defer(kept, now);
        let end = plan.deferrals.iter().map(|deferral| deferral.for_s).min_by(f64::total_cmp);
        Selection {
            take: plan.choices.iter().map(|choice| tasks[choice.task].task).collect(),
            deferred: plan.deferrals.len(),
            again_at: end.map(|seconds| now + std::time::Duration::from_secs_f64(seconds.clamp(0.001, 3_600.0))),
        }
    }

    pub(super) fn on_assigned(&mut self, tasks: Vec<Arc<Task>>, now: Timestamp, actions: &mut Vec<PoolAction>) {
        self.open_slots = self.open_slots.saturating_sub(tasks.len());
        if self.paused || self.stopping {
            actions.extend(tasks.into_iter().map(PoolAction::Release));
            return;
        }
        let (mut placed, mut plain) = (Vec::new(), tasks);
        // Tasks without a context, in a pool without resident contexts and of one tenant, cost this check only.
        let is_isolated = self.is_isolated(&plain);
        let all = !self.residency.is_empty();
        if is_isolated || all || plain.iter().any(|task| task.context.is_some() || task.is_suspect()) {
            for task in std::mem::take(&mut plain) {
                match () {
                    () if task.is_suspect() => self.quarantine(task),
                    () if is_isolated => self.place_by_tenant(task, now, actions),
                    () if all || task.context.is_some() => placed.push(task),
                    () => plain.push(task),
                }
            }
        }
        for some in placed.chunks(AT_ONCE) {
            self.place(some, now, actions);
        }
        self.share_out(plain, now, actions);
    }

    /// Gives tasks without a context to the idle agents. Each gets a part of what it may get in its next run.
    fn share_out(&mut self, tasks: Vec<Arc<Task>>, now: Timestamp, actions: &mut Vec<PoolAction>) {
        let (count, room) = (tasks.len(), self.idle_leases.max(1));
        let mut tasks = tasks.into_iter();
        while let Some(agent) = self.idle.next()
            && let Some(first) = tasks.next()
        {
            let burst = self.agents.get(&agent).map_or(1, |record| record.burst as usize);
            let share = (burst * count).div_ceil(room).min(burst);
            let further = tasks.by_ref().take(share.saturating_sub(1)).collect();
            self.begin(agent, first, further, now, actions);
        }
        actions.extend(tasks.map(PoolAction::Release));
    }

    /// Places tasks that were claimed: each gets an agent as long as there are idle ones.
    fn place(&mut self, tasks: &[Arc<Task>], now: Timestamp, actions: &mut Vec<PoolAction>) {
        let candidates: Vec<Candidate> = tasks.iter().map(|task| self.candidate(task)).collect();
        let input = self.input(&candidates, now);
        let plan = self.plan(&input, false);
        for choice in &plan.choices {
            let (task, agent) = (&tasks[choice.task], input.agents[choice.agent]);
            let context = task.context.clone();
            let record = context.map(|context| self.record(&input, choice.task, context, (agent, choice.fit)));
            self.begin(agent, task.clone(), Vec::new(), now, actions);
            actions.extend(record.map(|record| PoolAction::Placed(Box::new(record))));
        }
        let is_placed = |place: &usize| plan.choices.iter().any(|choice| choice.task == *place);
        let left = (0..tasks.len()).filter(|place| !is_placed(place));
        actions.extend(left.map(|place| PoolAction::Release(tasks[place].clone())));
    }

    /// Gives a task to this idle agent, whatever others there are.
    pub(super) fn place_on(&mut self, agent: AgentId, task: Arc<Task>, now: Timestamp, actions: &mut Vec<PoolAction>) {
        let candidates = [self.candidate(&task)];
        let (agents, states) = (vec![agent], vec![Agent::Idle]);
        let input = PlacementInput { tasks: &candidates, agents, states, rates: self.residency.rates(), now };
        let fit = self.fit(&input, 0, 0);
        let record = task.context.clone().map(|context| self.record(&input, 0, context, (agent, fit)));
        self.begin(agent, task, Vec::new(), now, actions);
        actions.extend(record.map(|record| PoolAction::Placed(Box::new(record))));
    }

    fn begin(
        &mut self,
        agent: AgentId,
        task: Arc<Task>,
        further: Vec<Arc<Task>>,
        now: Timestamp,
        actions: &mut Vec<PoolAction>,
    ) {
        self.change(agent, |record| {
            record.has_suspect = task.is_suspect();
            record.leases.push((task.id, task.epoch));
            record.leases.extend(further.iter().map(|task| (task.id, task.epoch)));
            record.state = AgentState::Busy;
            record.context.clone_from(&task.context);
            if record.tenant.as_ref() != Some(&task.tenant) {
                record.tenant = Some(task.tenant.clone());
            }
            record.last_used = Some(now);
        });
        actions.push(PoolAction::Run { agent, task, further });
    }

    /// A claimed task as a candidate. Only an agent with the context knows its size.
    fn candidate(&self, task: &Task) -> Candidate {
        let size = |context| {
            let agents = self.residency.agents_with(context).iter();
            let resident = agents.filter_map(|agent| self.residency.resident_in(*agent)?.get(context));
            resident.max_by_key(|entry| entry.version).map(|entry| entry.bytes)
        };
        let known = task.context.as_ref().filter(|_| task.context_version > 0);
        let context_bytes = known.map_or(0, |context| size(context).unwrap_or_else(|| self.residency.guessed_bytes()));
        Candidate {
            task: task.id,
            context: task.context.clone(),
            context_version: task.context_version,
            context_bytes,
            priority: task.priority,
            due: task.run_at.max(task.submitted_at),
        }
    }

    /// The agents to compare. If there are few idle ones, all of them. Otherwise those that have a wanted context, the
    /// newest without a context, and those with the oldest contexts. Busy agents with a wanted context are included.
    fn input<'a>(&self, tasks: &'a [Candidate], now: Timestamp) -> PlacementInput<'a> {
        let some = if self.idle.len() <= FEW_AGENTS { self.idle.len() } else { tasks.len().max(AT_ONCE) };
        let mut agents: Vec<AgentId> = self.idle.newest_plain(some).chain(self.idle.oldest_warm(some)).collect();
        let contexts = tasks.iter().filter_map(|task| task.context.as_ref());
        for agent in contexts.flat_map(|context| self.residency.agents_with(context)) {
            if !agents.contains(agent) {
                agents.push(*agent);
            }
        }
        let state = |agent: &AgentId| match self.agents.get(agent)? {
            record if record.state == AgentState::Ready => Some(Agent::Idle),
            record if record.state == AgentState::Busy && !record.draining => {
                Some(Agent::Busy(now.since(record.idle_since()).as_secs_f64()))
            }
            _ => None,
        };
        let (agents, states) = agents.into_iter().filter_map(|agent| Some((agent, state(&agent)?))).unzip();
        PlacementInput { tasks, agents, states, rates: self.residency.rates(), now }
    }

    fn plan(&self, input: &PlacementInput<'_>, may_defer: bool) -> PlacementPlan {
        let waiting = |task: &Candidate| WaitingTask {
            bytes: task.context_bytes,
            waited_s: input.now.since(task.due).as_secs_f64(),
            priority: task.priority.get(),
        };
        let tasks: Vec<WaitingTask> = input.tasks.iter().map(waiting).collect();
        choose(&tasks, &input.states, &input.rates, may_defer, |task, agent| self.fit(input, task, agent))
    }

    fn fit(&self, input: &PlacementInput<'_>, task: usize, agent: usize) -> PairCost {
        self.residency.fit(&input.tasks[task], input.agents[agent], &input.rates, input.now)
    }

    /// Notes that a task with a context begins, and why there.
    fn record(
        &mut self,
        input: &PlacementInput<'_>,
        task: usize,
        context: ContextId,
        (agent, fit): (AgentId, PairCost),
    ) -> PlacementRecord {
        let wanted = &input.tasks[task];
        // Agents that were idle at the peek may have got other tasks since.
        let is_taken = |agent| self.agents.get(&agent).is_some_and(|record| record.state == AgentState::Busy);
        let cost = |place: usize| {
            let busy_s = match input.states[place] {
                Agent::Idle => is_taken(input.agents[place]).then(|| input.rates.remaining_s(0.0)),
                Agent::Busy(ran_s) => Some(input.rates.remaining_s(ran_s)),
            };
            AgentCost::new(input.agents[place], self.fit(input, task, place), busy_s, &input.rates)
        };
        let mut others: Vec<AgentCost> =
            (0..input.agents.len()).filter(|place| input.agents[*place] != agent).map(cost).collect();
        let idle_agents = self.idle.len();
        let partly = self.residency.resident_in(agent).is_some_and(|resident| resident.get(&context).is_some());
        others.retain(|other| !other.busy || other.missing_bytes < wanted.context_bytes);
        others.sort_by(|a, b| a.cost_s.total_cmp(&b.cost_s));
        others.truncate(RECORDED_AGENTS);
        let reason = match () {
            () if partly && fit.missing_bytes == 0 => PlacementReason::Warm,
            () if partly => PlacementReason::PartlyWarm,
            () if idle_agents == 1 => PlacementReason::OnlyIdle,
            () if fit.displacement_bytes == 0.0 => PlacementReason::Room,
            () => PlacementReason::LeastDisplacement,
        };
        let deferred_s = self.residency.deferred_for(wanted.task, input.now).as_secs_f64();
        self.residency.used(&context, input.now);
        self.tally.warm_hits += u64::from(reason == PlacementReason::Warm);
        self.tally.warm_misses += u64::from(reason != PlacementReason::Warm);
        self.tally.hit_bytes += wanted.context_bytes.saturating_sub(fit.missing_bytes);
        self.tally.missing_bytes += fit.missing_bytes;
        self.tally.deferral_micros += (deferred_s * 1e6) as u64;
        PlacementRecord {
            task: wanted.task,
            context,
            context_bytes: wanted.context_bytes,
            at: input.now,
            reason,
            chosen: AgentCost::new(agent, fit, None, &input.rates),
            others,
            idle_agents,
            waited_s: input.now.since(wanted.due).as_secs_f64(),
            deferred_s,
            rates: (&input.rates).into(),
        }
    }
}

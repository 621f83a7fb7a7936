//! The choice: which waiting task goes to which idle agent, and which task is deferred for a busy agent.

#[cfg(test)]
mod laws;

use super::Rates;

/// How many waiting tasks the choice considers beyond the number of idle agents.
pub const LOOKAHEAD: usize = 16;

/// Seconds of waiting that count as much as a second that an agent saves.
///
/// When agents are short, a second saved shortens the wait of every later task until the backlog ends.
/// `docs/placement.md` has the effect of other numbers.
const SAVED_WEIGHT: f64 = 10.0;

/// A task that waits, as the choice sees it. Tasks are given in the order of the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WaitingTask {
    /// Size of its context, in bytes; 0 for none.
    pub bytes: u64,
    /// Seconds since it became due.
    pub waited_s: f64,
    /// A task of a higher priority goes before all tasks of lower ones.
    pub priority: u8,
}

/// An agent, as the choice sees it. Of agents with the same cost, the choice uses the first in the list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Agent {
    /// The agent can run a task now.
    Idle,
    /// Has been running one for so many seconds.
    Busy(f64),
}

/// What it costs to run a task on an agent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PairCost {
    /// Bytes of the context that the agent lacks.
    pub missing_bytes: u64,
    /// Expected bytes of other contexts that are evicted, or requested while the agent is busy: see
    /// [`ResidentSet::displacement_bytes`].
    ///
    /// [`ResidentSet::displacement_bytes`]: super::ResidentSet::displacement_bytes
    pub displacement_bytes: f64,
}

impl PairCost {
    /// Seconds that it costs: to restore the missing part, and to restore displaced contexts elsewhere or later.
    pub fn cost_s(&self, rates: &Rates) -> f64 {
        rates.restore.seconds(self.missing_bytes) + self.displacement_s(rates)
    }

    /// The second part of [`Self::cost_s`].
    pub fn displacement_s(&self, rates: &Rates) -> f64 {
        self.displacement_bytes * rates.restore.s_per_byte
    }
}

/// A task for an idle agent, by their places in what was given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// The task.
    pub task: usize,
    /// The agent.
    pub agent: usize,
    /// What the pair costs.
    pub fit: PairCost,
}

/// A task that waits for a busy agent although another one is idle (delay scheduling; Zaharia et al. 2010).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deferral {
    /// The task.
    pub task: usize,
    /// The agent that it waits for.
    pub agent: usize,
    /// Seconds from now after which the deferral ends.
    pub for_s: f64,
}

/// What to do now. Tasks that are in neither list wait until an agent is idle.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlacementPlan {
    /// Tasks and their agents, in the order chosen.
    pub choices: Vec<Choice>,
    /// Deferred tasks.
    pub deferrals: Vec<Deferral>,
}

/// Places the first waiting tasks on idle agents; `fit` returns the cost of a pair of task and agent.
///
/// A task goes to the agent with the lowest cost: `cost = restore(missing) + rate × displaced`. If there are fewer
/// agents than tasks, the pair with the greatest saving against a cold agent goes first; ten seconds of waiting count
/// as one second saved: `10 × (restore(whole context) − cost) + waited`. A task is deferred while a busy agent is
/// expected to serve it sooner than the best idle one (`may_defer`), until it has waited for as long as restoring its
/// whole context takes.
///
/// So only tasks that came at most `10 × (restore(their context) + displaced)` seconds later can overtake a task: none
/// starves. Where restoring is free, the order is that of the queue. The result depends on the arguments alone.
pub fn choose(
    tasks: &[WaitingTask],
    agents: &[Agent],
    rates: &Rates,
    may_defer: bool,
    fit: impl Fn(usize, usize) -> PairCost,
) -> PlacementPlan {
    let idle = (0..agents.len()).filter(|agent| agents[*agent] == Agent::Idle).collect();
    let open = (0..tasks.len()).map(|task| Open { task, best: None }).collect();
    let mut table = Table { tasks, agents, rates, may_defer, fit, idle, open, plan: PlacementPlan::default() };
    while let Some(choice) = table.best_pair() {
        table.idle.retain(|agent| *agent != choice.agent);
        table.open.retain(|open| open.task != choice.task);
        table.plan.choices.push(choice);
    }
    table.plan
}

/// A task that is not placed yet, with the idle agent that costs it least, and how much.
#[derive(Debug, Clone, Copy)]
struct Open {
    task: usize,
    best: Option<(Choice, f64)>,
}

/// The choice while it is made, pair by pair.
struct Table<'a, F> {
    tasks: &'a [WaitingTask],
    agents: &'a [Agent],
    rates: &'a Rates,
    may_defer: bool,
    fit: F,
    idle: Vec<usize>,
    open: Vec<Open>,
    plan: PlacementPlan,
}

impl<F: Fn(usize, usize) -> PairCost> Table<'_, F> {
    /// The next pair. It removes the tasks that should be deferred from the open ones.
    fn best_pair(&mut self) -> Option<Choice> {
        let mut best: Option<(u8, f64, Choice)> = None;
        let mut place = 0;
        while place < self.open.len() {
            let (choice, cost_s) = self.cheapest(place)?;
            if self.may_defer
                && let Some(deferral) = self.deferral(choice.task, cost_s)
            {
                self.plan.deferrals.push(deferral);
                self.open.remove(place);
                continue;
            }
            let waiting = &self.tasks[choice.task];
            let saved_s = self.rates.restore.seconds(waiting.bytes) - cost_s;
            let score = SAVED_WEIGHT * saved_s + waiting.waited_s;
            if best.is_none_or(|(priority, most, _)| (waiting.priority, score) > (priority, most)) {
                best = Some((waiting.priority, score, choice));
            }
            place += 1;
        }
        best.map(|(.., choice)| choice)
    }

    /// The idle agent that costs an open task least; `None` if no agent is idle. It is computed again only if the one
    /// found before is in use.
    fn cheapest(&mut self, place: usize) -> Option<(Choice, f64)> {
        let Open { task, best } = self.open[place];
        if best.is_none_or(|(choice, _)| !self.idle.contains(&choice.agent)) {
            self.open[place].best = self.search(task);
        }
        self.open[place].best
    }

    /// The idle agent that costs least; of those, the one that lacks least, then the one given first.
    fn search(&self, task: usize) -> Option<(Choice, f64)> {
        let mut best: Option<(Choice, f64)> = None;
        for &agent in &self.idle {
            let fit = (self.fit)(task, agent);
            let cost_s = fit.cost_s(self.rates);
            let better =
                best.is_none_or(|(other, least)| (cost_s, fit.missing_bytes) < (least, other.fit.missing_bytes));
            if better {
                best = Some((Choice { task, agent, fit }, cost_s));
            }
        }
        best
    }

    /// Whether to wait for a busy agent rather than to pay `cost_s` for the best idle one.
    fn deferral(&self, task: usize, cost_s: f64) -> Option<Deferral> {
        let WaitingTask { bytes, waited_s, .. } = self.tasks[task];
        let for_s = self.rates.restore.seconds(bytes) - waited_s;
        if for_s <= 0.0 {
            return None;
        }
        let mut best: Option<(usize, f64)> = None;
        for (agent, state) in self.agents.iter().enumerate() {
            let Agent::Busy(ran_s) = state else { continue };
            let ahead = self.plan.deferrals.iter().filter(|deferral| deferral.agent == agent).count() as f64;
            let idle_in_s = self.rates.remaining_s(*ran_s) + ahead * self.rates.service_s;
            let least = best.map_or(cost_s, |(_, least)| least);
            // The fit is computed only if the wait can still win something.
            if idle_in_s < least {
                let then_s = idle_in_s + (self.fit)(task, agent).cost_s(self.rates);
                best = if then_s < least { Some((agent, then_s)) } else { best };
            }
        }
        best.map(|(agent, _)| Deferral { task, agent, for_s })
    }
}

//! Laws of every choice, and a few readable cases.

use proptest::prelude::*;

use super::{Agent, Choice, PairCost, PlacementPlan, SAVED_WEIGHT, WaitingTask, choose};
use crate::placement::{Rates, RestoreCost};

const MB: u64 = 1_000_000;

/// 2 s for a megabyte, tasks of 10 s, contexts that return after a minute.
const DEAR: Rates =
    Rates { restore: RestoreCost { fixed_s: 0.005, s_per_byte: 2e-6 }, service_s: 10.0, return_s: 60.0 };

/// A case: the tasks, the agents, and each pair's fit.
#[derive(Debug, Clone)]
struct Case {
    tasks: Vec<WaitingTask>,
    agents: Vec<Agent>,
    fits: Vec<PairCost>,
    rates: Rates,
}

impl Case {
    fn fit(&self, task: usize, agent: usize) -> PairCost {
        self.fits[task * self.agents.len() + agent]
    }

    fn plan(&self, may_defer: bool) -> PlacementPlan {
        choose(&self.tasks, &self.agents, &self.rates, may_defer, |task, agent| self.fit(task, agent))
    }

    fn idle(&self) -> usize {
        self.agents.iter().filter(|agent| **agent == Agent::Idle).count()
    }

    fn restore_s(&self, task: usize) -> f64 {
        self.rates.restore.seconds(self.tasks[task].bytes)
    }
}

fn rates() -> impl Strategy<Value = Rates> {
    let restore = (0.0..0.1, prop_oneof![Just(0.0), 0.0..1e-5])
        .prop_map(|(fixed_s, s_per_byte)| RestoreCost { fixed_s, s_per_byte });
    (restore, 0.0..60.0, prop_oneof![Just(f64::INFINITY), 1.0..1e4]).prop_map(|(restore, service_s, return_s)| Rates {
        restore,
        service_s,
        return_s,
    })
}

/// Waits fall along the queue of one priority, as they do in a queue.
fn tasks() -> impl Strategy<Value = Vec<WaitingTask>> {
    prop::collection::vec((0..4 * MB, 0.0..90.0, 0_u8..2), 0..20).prop_map(|tasks| {
        let mut tasks: Vec<WaitingTask> =
            tasks.into_iter().map(|(bytes, waited_s, priority)| WaitingTask { bytes, waited_s, priority }).collect();
        tasks.sort_by(|a, b| (b.priority.cmp(&a.priority)).then(b.waited_s.total_cmp(&a.waited_s)));
        tasks
    })
}

fn cases() -> impl Strategy<Value = Case> {
    let agents =
        prop::collection::vec(prop_oneof![3 => Just(Agent::Idle), 1 => (0.0..40.0).prop_map(Agent::Busy)], 0..14);
    (tasks(), agents, rates()).prop_flat_map(|(tasks, agents, rates)| {
        let count = tasks.len() * agents.len();
        // How much of the whole context is missing, and what is at stake.
        let pairs = prop::collection::vec((prop_oneof![Just(0.0), Just(1.0), 0.0..1.0], 0.0..8e6), count);
        pairs.prop_map(move |pairs| {
            let fit = |(place, (share, displacement_bytes)): (usize, &(f64, f64))| {
                let bytes = tasks[place / agents.len()].bytes;
                PairCost { missing_bytes: (bytes as f64 * share) as u64, displacement_bytes: *displacement_bytes }
            };
            let fits = pairs.iter().enumerate().map(fit).collect();
            Case { tasks: tasks.clone(), agents: agents.clone(), fits, rates }
        })
    })
}

proptest! {
    #[test]
    fn no_agent_gets_two_tasks_and_no_task_two_agents(case in cases(), may_defer: bool) {
        let plan = case.plan(may_defer);
        let mut agents: Vec<usize> = plan.choices.iter().map(|choice| choice.agent).collect();
        let mut tasks: Vec<usize> =
            plan.choices.iter().map(|choice| choice.task).chain(plan.deferrals.iter().map(|deferral| deferral.task)).collect();
        prop_assert!(agents.iter().all(|agent| case.agents[*agent] == Agent::Idle));
        let (placed, told) = (agents.len(), tasks.len());
        agents.sort_unstable();
        agents.dedup();
        tasks.sort_unstable();
        tasks.dedup();
        prop_assert_eq!((agents.len(), tasks.len()), (placed, told));
    }

    #[test]
    fn the_same_question_has_the_same_answer(case in cases(), may_defer: bool) {
        prop_assert_eq!(case.plan(may_defer), case.clone().plan(may_defer));
    }

    #[test]
    fn no_agent_stays_idle_while_a_task_waits_that_is_not_held(case in cases()) {
        prop_assert_eq!(case.plan(false).choices.len(), case.tasks.len().min(case.idle()));
        let plan = case.plan(true);
        prop_assert_eq!(plan.choices.len(), (case.tasks.len() - plan.deferrals.len()).min(case.idle()));
    }

    #[test]
    fn where_restoring_is_free_the_order_is_that_of_the_queue(case in cases()) {
        let case = Case { rates: Rates { restore: RestoreCost::default(), ..case.rates }, ..case };
        let plan = case.plan(true);
        let order: Vec<usize> = plan.choices.iter().map(|choice| choice.task).collect();
        let expected: Vec<usize> = (0..case.tasks.len().min(case.idle())).collect();
        prop_assert_eq!((order, plan.deferrals.len()), (expected, 0));
    }

    #[test]
    fn a_task_alone_goes_where_it_costs_least(mut case in cases()) {
        case.tasks.truncate(1);
        if let [Choice { task, agent, fit }] = case.plan(false).choices[..] {
            let least = (0..case.agents.len())
                .filter(|agent| case.agents[*agent] == Agent::Idle)
                .map(|agent| case.fit(task, agent).cost_s(&case.rates))
                .fold(f64::INFINITY, f64::min);
            prop_assert_eq!((fit, fit.cost_s(&case.rates)), (case.fit(task, agent), least));
        }
    }

    #[test]
    fn a_hold_is_for_a_busy_agent_that_pays_and_ends_in_time(case in cases()) {
        for deferral in case.plan(true).deferrals {
            let Agent::Busy(ran_s) = case.agents[deferral.agent] else { return Err(TestCaseError::fail("not busy")) };
            prop_assert!(deferral.for_s > 0.0 && deferral.for_s + case.tasks[deferral.task].waited_s <= case.restore_s(deferral.task) + 1e-9);
            let then_s = case.rates.remaining_s(ran_s) + case.fit(deferral.task, deferral.agent).cost_s(&case.rates);
            let dearest = (0..case.agents.len())
                .filter(|agent| case.agents[*agent] == Agent::Idle)
                .map(|agent| case.fit(deferral.task, agent).cost_s(&case.rates))
                .fold(0.0, f64::max);
            prop_assert!(then_s < dearest, "{then_s} s instead of {dearest} s");
        }
    }

    #[test]
    fn a_task_is_overtaken_only_by_such_as_came_soon_after_it(case in cases()) {
        let plan = case.plan(true);
        let is_out = |task: &usize| {
            plan.choices.iter().any(|choice| choice.task == *task) || plan.deferrals.iter().any(|deferral| deferral.task == *task)
        };
        for left in (0..case.tasks.len()).filter(|task| !is_out(task)) {
            let displacement_s = (0..case.agents.len()).map(|agent| case.fit(left, agent).displacement_s(&case.rates)).fold(0.0, f64::max);
            for choice in &plan.choices {
                let (first, late) = (case.tasks[choice.task], case.tasks[left]);
                prop_assert!(first.priority >= late.priority);
                let bound_s = SAVED_WEIGHT * (case.restore_s(choice.task) + displacement_s);
                let later_s = late.waited_s - first.waited_s;
                prop_assert!(first.priority > late.priority || later_s <= bound_s + 1e-6, "{later_s} s > {bound_s} s");
            }
        }
    }

    /// A stream of warm tasks, two for each that the only agent can run, and one cold task.
    #[test]
    fn no_task_starves(bytes in 1..4 * MB, gap_s in 0.1..5.0) {
        let bound_s = SAVED_WEIGHT * 2.0 * DEAR.restore.seconds(bytes);
        let cold = WaitingTask { bytes, ..WaitingTask::default() };
        // The arrivals of warm tasks that still wait, in seconds.
        let (mut warm, mut now_s) = (Vec::new(), 0.0);
        loop {
            warm.extend([now_s, now_s + gap_s / 2.0]);
            now_s += gap_s;
            let wait = |came_s: &f64| WaitingTask { bytes, waited_s: now_s - came_s, priority: 0 };
            let mut tasks = vec![WaitingTask { waited_s: now_s, ..cold }];
            tasks.extend(warm.iter().map(wait));
            let plan = choose(&tasks, &[Agent::Idle], &DEAR, true, |task, _| PairCost {
                missing_bytes: if task == 0 { bytes } else { 0 },
                displacement_bytes: if task == 0 { bytes as f64 } else { 0.0 },
            });
            match plan.choices[0].task {
                0 => break,
                placed => drop(warm.remove(placed - 1)),
            }
            prop_assert!(warm[0] <= bound_s + gap_s, "one that came {} s after it is gone before it", warm[0]);
        }
    }
}

/// Places one task of a megabyte: `missing` and `stake` of each agent in bytes.
fn one(waited_s: f64, agents: &[(Agent, u64, u64)]) -> PlacementPlan {
    let states: Vec<Agent> = agents.iter().map(|(state, ..)| *state).collect();
    choose(&[WaitingTask { bytes: MB, waited_s, priority: 0 }], &states, &DEAR, true, |_, agent| PairCost {
        missing_bytes: agents[agent].1,
        displacement_bytes: agents[agent].2 as f64,
    })
}

#[test]
fn a_task_goes_to_the_agent_that_holds_its_context_though_others_are_given_first() {
    let plan = one(0.0, &[(Agent::Idle, MB, 0), (Agent::Idle, 0, 0), (Agent::Idle, MB, 0)]);
    assert_eq!(plan.choices[0].agent, 1);
    let plan = one(0.0, &[(Agent::Idle, MB, MB), (Agent::Idle, MB, 9), (Agent::Idle, MB, 9)]);
    assert_eq!(plan.choices[0].agent, 1, "else where least is at stake; of equals the one given first");
}

#[test]
fn a_task_waits_for_its_busy_agent_but_not_for_longer_than_a_restore() {
    let nearly_done = [(Agent::Busy(9.9), 0, 0), (Agent::Idle, MB, MB)];
    let deferral = one(0.5, &nearly_done).deferrals[0];
    assert_eq!((deferral.agent, (deferral.for_s * 1e3).round()), (0, 1_505.0));
    assert_eq!(one(2.5, &nearly_done).choices[0].agent, 1, "it has waited for as long as the restore takes");
    let just_begun = [(Agent::Busy(1.0), 0, 0), (Agent::Idle, MB, MB)];
    assert_eq!(one(0.0, &just_begun).choices[0].agent, 1, "9 s more of waiting are dearer than 4 s");
}

#[test]
fn two_that_wait_for_the_same_agent_wait_for_each_other() {
    let tasks = [WaitingTask { bytes: 2 * MB, ..WaitingTask::default() }; 2];
    let plan = choose(&tasks, &[Agent::Busy(9.0), Agent::Idle], &DEAR, true, |_, agent| PairCost {
        missing_bytes: 2 * MB * agent as u64,
        displacement_bytes: 0.0,
    });
    assert_eq!((plan.deferrals.len(), plan.deferrals[0].task, plan.choices[0].task), (1, 0, 1));
}

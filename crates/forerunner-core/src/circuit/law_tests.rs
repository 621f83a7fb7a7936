//! Laws of any sequence of attempts.

use std::{collections::BTreeMap, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{AgentId, ErrorKind, TaskError, TaskId, Timestamp};

const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// Time that passes, whether tasks succeed then, and how many are to begin if they may.
fn steps() -> impl Strategy<Value = Vec<(u64, bool, usize)>> {
    vec((1..2_000_u64, any::<bool>(), 0..12_usize), 1..300)
}

/// A circuit with the tasks that run, in virtual time.
struct World {
    circuit: DependencyCircuit,
    now: Timestamp,
    running: Vec<u64>,
    next: u64,
    /// Most tasks that a limit allowed, and that ran.
    over: Option<String>,
    excused: BTreeMap<u64, u32>,
}

impl World {
    fn new() -> Self {
        let circuit = DependencyCircuit::new(DependencySettings::default());
        Self { circuit, now: START, running: vec![], next: 0, over: None, excused: BTreeMap::new() }
    }

    fn step(&mut self, (millis, succeeds, more): (u64, bool, usize)) {
        self.now = self.now + Duration::from_millis(millis);
        for number in std::mem::take(&mut self.running) {
            self.end(number, succeeds);
        }
        self.circuit.tick(self.now);
        let allowed = self.circuit.allowance(self.now).unwrap_or(usize::MAX);
        for _ in 0..more.min(allowed) {
            self.next += 1;
            self.running.push(self.next);
            self.circuit.begin(task(self.next), self.running.len() as u32, self.now);
        }
        let left = self.circuit.allowance(self.now);
        let used = self.running.len();
        if left.is_some_and(|left| used + left > allowed.max(used)) {
            self.over = Some(format!("{used} run, {allowed} were allowed, {left:?} more are"));
        }
    }

    fn end(&mut self, number: u64, succeeds: bool) {
        let agent = AgentId::from_parts(START, u128::from(number % 7));
        if succeeds {
            self.circuit.succeeded(task(number), agent, self.now);
            return;
        }
        let error = TaskError::new(ErrorKind::AgentError, format!("503 for {number}"));
        let failure = AttemptFailure { task: task(number), agent, error: &error, pool_agents: 7 };
        if self.circuit.failed(&failure, 0.5, self.now).excused.is_some() {
            *self.excused.entry(number).or_default() += 1;
        }
    }
}

fn task(number: u64) -> TaskId {
    TaskId::from_parts(START, u128::from(number))
}

proptest! {
    #[test]
    fn no_more_tasks_begin_than_are_allowed(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            prop_assert_eq!(&world.over, &None);
        }
    }

    #[test]
    fn whatever_happened_a_dependency_that_works_closes_the_circuit_again(steps in steps()) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        let worked_from = world.now;
        while world.circuit.report().state != CircuitState::Closed {
            world.step((500, true, 12));
            prop_assert!(world.now < worked_from + Duration::from_secs(120), "{:?}", world.circuit.report());
        }
    }

    #[test]
    fn a_circuit_that_is_open_or_limited_changes_by_itself(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            if world.circuit.allowance(world.now) == Some(0) && world.running.is_empty() {
                let at = world.circuit.wake_at().expect("it says when");
                prop_assert!(at > world.now && at <= world.now + Duration::from_secs(60));
                prop_assert_ne!(world.circuit.allowance(at), Some(0));
            }
        }
    }

    #[test]
    fn while_everything_works_nothing_is_excused(millis in vec(1..2_000_u64, 1..100)) {
        let mut world = World::new();
        millis.into_iter().for_each(|millis| world.step((millis, true, 5)));
        prop_assert_eq!((world.circuit.allowance(world.now), world.excused.len()), (None, 0));
    }
}

//! Tables of what happens, and what the circuit makes of it.

use std::time::Duration;

use super::*;
use crate::{AgentId, DependencyFault, ErrorKind, TaskError, TaskId, Timestamp};

const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const AGENTS: u32 = 10;

fn task(number: u64) -> TaskId {
    TaskId::from_parts(START, u128::from(number))
}

fn agent(number: u64) -> AgentId {
    AgentId::from_parts(START, u128::from(number % u64::from(AGENTS)))
}

fn at(seconds: f64) -> Timestamp {
    START + Duration::from_secs_f64(seconds)
}

fn error(message: &str) -> TaskError {
    TaskError::new(ErrorKind::AgentError, message)
}

fn declared(retry_after_s: Option<u64>) -> TaskError {
    let retry_after = retry_after_s.map(Duration::from_secs);
    error("429").with_dependency(Some(DependencyFault { retry_after }))
}

fn fail(circuit: &mut DependencyCircuit, number: u64, error: &TaskError, now: f64) -> FailureVerdict {
    let failure = AttemptFailure { task: task(number), agent: agent(number), error, pool_agents: AGENTS };
    circuit.failed(&failure, 1.0, at(now))
}

fn circuit() -> DependencyCircuit {
    DependencyCircuit::new(DependencySettings::default())
}

/// A circuit that opened at second 0, after ten tasks at once.
fn open() -> DependencyCircuit {
    let mut circuit = circuit();
    for number in 0..10 {
        circuit.begin(task(number), number as u32 + 1, at(0.0));
    }
    let changes: Vec<_> = (0..8).filter_map(|n| fail(&mut circuit, n, &error("503 unavailable"), 0.0).change).collect();
    assert_eq!(changes, [CircuitChange::Opened]);
    circuit
}

#[test]
fn tasks_that_fail_alike_on_several_agents_open_the_circuit() {
    let mut circuit = circuit();
    for number in 0..7 {
        let verdict = fail(&mut circuit, number, &error(&format!("503 for request {number}7f3")), 0.0);
        assert_eq!(verdict, FailureVerdict::default(), "seven tasks are no outage");
    }
    let verdict = fail(&mut circuit, 7, &error("503 for request 12"), 0.0);
    assert_eq!(verdict, FailureVerdict { excused: Some(Duration::ZERO), change: Some(CircuitChange::Opened) });
    let report = circuit.report();
    assert_eq!((report.state, report.until, report.failed_share), (CircuitState::Open, Some(at(1.0)), 1.0));
    assert_eq!((report.error.as_deref(), report.excused_attempts), (Some("503 for request 12"), 1));
}

#[test]
fn what_is_no_outage_leaves_the_circuit_closed() {
    // What each of 100 failures is like: whose, on which agent, with which error; and after how many each a success.
    type Failing = fn(u64) -> (u64, u64, String);
    let table: [(&str, Failing, u64); 6] = [
        ("one poisonous task", |n| (1, n, "no".into()), 0),
        ("seven tasks of one sort", |n| (n % 7, n, "no such file".into()), 0),
        ("one broken agent", |n| (n, 1, "out of memory".into()), 0),
        ("errors that differ", |n| (n, n, format!("cannot parse {}", char::from(b'a' + (n % 26) as u8))), 0),
        ("a fifth of the tasks, of one sort that always fails", |n| (n, n, "no such file".into()), 4),
        ("every twentieth task", |n| (n, n, "now and then".into()), 19),
    ];
    for (what, failing, successes) in table {
        let (mut circuit, mut others) = (circuit(), 1_000);
        for number in 0..100 {
            for _ in 0..successes {
                others += 1;
                assert_eq!(circuit.succeeded(task(others), agent(others), at(number as f64)), None);
            }
            let (of, on, message) = failing(number);
            let error = error(&message);
            let failure = AttemptFailure { task: task(of), agent: agent(on), error: &error, pool_agents: AGENTS };
            assert_eq!(circuit.failed(&failure, 0.5, at(number as f64)), FailureVerdict::default(), "{what}: {number}");
        }
        assert_eq!(circuit.allowance(at(100.0)), None, "{what}");
    }
}

#[test]
fn probes_go_one_at_a_time_with_a_backoff_up_to_five_seconds() {
    let mut circuit = open();
    let mut now = 0.0;
    for (number, pause) in [1.0, 2.0, 4.0, 5.0, 5.0].into_iter().enumerate() {
        assert_eq!(circuit.allowance(at(now + pause - 0.01)), Some(0));
        assert_eq!(circuit.wake_at(), Some(at(now + pause)));
        now += pause;
        assert_eq!(circuit.allowance(at(now)), Some(1));
        circuit.begin(task(50 + number as u64), 1, at(now));
        assert_eq!((circuit.allowance(at(now)), circuit.report().state), (Some(0), CircuitState::HalfOpen));
        let verdict = fail(&mut circuit, 50 + number as u64, &error("503 unavailable"), now);
        assert_eq!(verdict, FailureVerdict { excused: Some(Duration::ZERO), change: None });
    }
    assert_eq!(circuit.report().failed_probes, 5);
}

#[test]
fn a_probe_that_hangs_keeps_no_other_from_trying() {
    let mut circuit = open();
    circuit.begin(task(50), 1, at(1.0));
    assert_eq!((circuit.allowance(at(5.9)), circuit.allowance(at(6.0))), (Some(0), Some(1)));
    circuit.begin(task(51), 2, at(6.0));
    assert_eq!((circuit.allowance(at(15.9)), circuit.allowance(at(16.0))), (Some(0), Some(1)));
    assert_eq!(circuit.succeeded(task(51), agent(1), at(16.0)), Some(CircuitChange::Recovering));
}

#[test]
fn tasks_that_hang_open_no_circuit_and_count_as_failed_probes_of_an_open_one() {
    let timeout = TaskError::new(ErrorKind::Timeout, "the attempt took longer than 30s");
    let mut closed = circuit();
    for number in 0..100 {
        assert_eq!(fail(&mut closed, number, &timeout, 0.0), FailureVerdict::default());
    }
    let mut circuit = open();
    circuit.begin(task(50), 1, at(1.0));
    assert_eq!(fail(&mut circuit, 50, &timeout, 31.0).excused, Some(Duration::ZERO));
    assert_eq!((circuit.report().state, circuit.report().failed_probes), (CircuitState::Open, 1));
}

#[test]
fn a_probe_without_a_result_is_repeated() {
    let mut circuit = open();
    circuit.begin(task(50), 1, at(1.0));
    circuit.ended(task(50), at(1.5));
    assert_eq!(circuit.report().until, Some(at(2.5)));
}

#[test]
fn after_the_first_success_tasks_begin_again_step_by_step_until_the_circuit_closes() {
    let mut circuit = open();
    circuit.begin(task(50), 1, at(1.0));
    assert_eq!(circuit.succeeded(task(50), agent(0), at(2.0)), Some(CircuitChange::Recovering));
    let (mut number, mut now, mut limits, mut change) = (100, 2.0, vec![], None);
    while change.is_none() {
        let allowed = circuit.allowance(at(now)).unwrap() as u64;
        limits.push(allowed);
        (0..allowed).for_each(|offset| circuit.begin(task(number + offset), 1, at(now)));
        now += 1.0;
        for _ in 0..allowed {
            change = change.or(circuit.succeeded(task(number), agent(number), at(now)));
            number += 1;
        }
        assert!(limits.len() < 50, "it never closes: {limits:?}");
    }
    assert_eq!(change, Some(CircuitChange::Closed));
    assert!(limits[0] <= 3 && limits.windows(2).all(|pair| pair[0] <= pair[1] && pair[1] <= pair[0] + 2), "{limits:?}");
    assert_eq!(circuit.allowance(at(now)), None);
}

#[test]
fn old_attempts_prove_nothing() {
    let mut circuit = open();
    assert_eq!(circuit.succeeded(task(9), agent(9), at(0.5)), None);
    assert_eq!(circuit.report().state, CircuitState::Open);
    circuit.begin(task(50), 1, at(1.0));
    let late = fail(&mut circuit, 8, &error("503 unavailable"), 1.2);
    assert_eq!((late.excused.is_some(), circuit.report().probe_since), (true, Some(at(1.0))));
}

#[test]
fn a_quiet_circuit_closes_after_a_minute() {
    let mut circuit = open();
    circuit.begin(task(50), 1, at(1.0));
    circuit.succeeded(task(50), agent(0), at(2.0));
    assert_eq!(circuit.tick(at(59.0)), None);
    assert_eq!(circuit.wake_at(), Some(at(60.0)));
    assert_eq!(circuit.tick(at(60.0)), Some(CircuitChange::Closed));
}

#[test]
fn a_partial_outage_limits_and_does_not_open() {
    let mut circuit = circuit();
    let mut changes = vec![];
    for number in 0..3_000_u64 {
        let now = number as f64 / 10.0;
        // Ten run at any time.
        circuit.begin(task(number + 9), 10, at(now));
        // Three of ten, in an order that is no rhythm.
        match (number * 7_919 % 97) < 29 {
            // The next attempt succeeds.
            true => {
                changes.extend(fail(&mut circuit, number, &error("500"), now).change);
                changes.extend(circuit.succeeded(task(number), agent(number), at(now)));
            }
            false => changes.extend(circuit.succeeded(task(number), agent(number), at(now))),
        }
    }
    assert_eq!(changes, [CircuitChange::Limited]);
    let limit = circuit.report().limit.unwrap();
    assert!((6..=20).contains(&limit), "the limit rests near the size before: {limit}");
}

#[test]
fn a_task_that_always_fails_ends_though_others_fail_too() {
    let mut circuit = open();
    circuit.begin(task(50), 1, at(1.0));
    circuit.succeeded(task(50), agent(0), at(2.0));
    let mut excused = 0;
    for number in 100..200 {
        circuit.succeeded(task(number), agent(number), at(3.0));
        circuit.begin(task(9_999), 1, at(3.0));
        excused += u32::from(fail(&mut circuit, 9_999, &error("503 unavailable"), 3.0).excused.is_some());
    }
    assert_eq!(excused, 16);
}

#[test]
fn an_outage_that_lasts_too_long_counts() {
    let settings = DependencySettings { outage_limit: Duration::from_secs(60), ..DependencySettings::default() };
    let mut circuit = DependencyCircuit::new(settings);
    for number in 0..8 {
        fail(&mut circuit, number, &error("503"), 0.0);
    }
    for (now, is_excused) in [(59.0, true), (61.0, false)] {
        circuit.begin(task(50), 1, at(now));
        assert_eq!(fail(&mut circuit, 50, &error("503"), now).excused.is_some(), is_excused, "{now}");
    }
}

#[test]
fn what_an_agent_blames_on_a_dependency_is_excused_at_once_and_waits_as_asked() {
    let mut circuit = circuit();
    let verdict = fail(&mut circuit, 1, &declared(Some(30)), 0.0);
    assert_eq!(verdict, FailureVerdict { excused: Some(Duration::from_secs(30)), change: None });
    for number in 2..8 {
        fail(&mut circuit, number, &declared(None), 0.0);
    }
    assert_eq!(fail(&mut circuit, 8, &declared(Some(20)), 0.0).change, Some(CircuitChange::Opened));
    assert_eq!(circuit.report().until, Some(at(20.0)));
    circuit.begin(task(50), 1, at(20.0));
    circuit.succeeded(task(50), agent(0), at(21.0));
    circuit.begin(task(51), 1, at(21.0));
    fail(&mut circuit, 51, &declared(Some(7)), 22.0);
    assert_eq!((circuit.allowance(at(28.9)), circuit.pause_ends(at(22.0))), (Some(0), Some(at(29.0))));
    assert_ne!(circuit.allowance(at(29.0)), Some(0));
    circuit.begin(task(52), 1, at(29.0));
    fail(&mut circuit, 52, &declared(Some(1_000_000)), 30.0);
    assert!(circuit.pause_ends(at(30.0)).unwrap() <= at(330.0), "nobody may stop a pool for days");
}

#[test]
fn another_node_s_outage_is_taken_over_and_its_end_too() {
    let there = open();
    let mut here = circuit();
    assert_eq!(here.follow(&[there.report()], 1, at(0.5)), Some(CircuitChange::Opened));
    assert_eq!(here.report().until, Some(at(2.5)), "the other one probes first");
    let mut probing = there.clone();
    probing.begin(task(50), 1, at(1.0));
    here.follow(&[probing.report()], 1, at(2.0));
    assert_eq!(here.report().until, Some(at(3.5)));
    probing.succeeded(task(50), agent(0), at(2.0));
    here.follow(&[probing.report()], 1, at(3.0));
    assert_eq!(here.allowance(at(3.0)), Some(1), "it works again: one task tries it here");
    here.begin(task(60), 1, at(3.0));
    assert_eq!(here.succeeded(task(60), agent(1), at(4.0)), Some(CircuitChange::Recovering));
}

#[test]
fn a_node_whose_tasks_succeed_does_not_stop_for_another() {
    let there = open();
    let mut here = circuit();
    here.succeeded(task(1), agent(1), at(3.0));
    assert_eq!(here.follow(&[there.report()], 0, at(3.5)), None);
    let mut first = open();
    first.follow(&[there.report()], 0, at(0.5));
    assert_eq!(first.report().until, Some(at(1.0)), "the first of all nodes waits for nobody");
}

#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    let mut circuit = open();
    circuit.clock_set_back(Duration::from_secs(3_600));
    assert_eq!(circuit.allowance(at(1.0 - 3_600.0 + 3_600.0)), Some(1));
    assert_eq!(circuit.wake_at(), Some(START + Duration::from_secs(1) - Duration::from_secs(3_600)));
}

#[test]
fn a_circuit_that_is_switched_off_does_nothing() {
    let mut circuit = DependencyCircuit::new(DependencySettings { enabled: false, ..DependencySettings::default() });
    for number in 0..100 {
        assert_eq!(fail(&mut circuit, number, &declared(Some(9)), 0.0), FailureVerdict::default());
    }
    assert_eq!((circuit.allowance(at(0.0)), circuit.follow(&[open().report()], 0, at(1.0))), (None, None));
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let good = DependencySettings::default();
    for (bad, key) in [
        (DependencySettings { open_share: 0.0, ..good }, "open_share"),
        (DependencySettings { open_share: f64::NAN, ..good }, "open_share"),
        (DependencySettings { limit_share: 0.9, ..good }, "limit_share"),
        (DependencySettings { probe_initial: Duration::ZERO, ..good }, "probe_initial"),
        (DependencySettings { probe_max: Duration::from_millis(500), ..good }, "probe_max"),
    ] {
        assert!(bad.validate().unwrap_err().to_string().contains(key), "{key}");
    }
    good.validate().unwrap();
}

//! Tasks that become slower or faster: seen while they run, named in the decision, and no more agents than they need.

mod common;

use common::Random;
use forerunner_forecast::{Decision, Objective, Observation, Policy, PolicyKind, PolicyLimits, build};
use forerunner_sim::{Outcome, Replay, Trace, TraceTask, replay};

/// How durations scatter about their mean.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scatter {
    None,
    /// From half of the mean on, exponentially.
    Some,
    Exponential,
    /// Log-normal with a standard deviation of 1.5 octaves and more.
    Heavy,
}

impl Scatter {
    fn draw(self, random: &mut Random, mean_s: f64) -> f64 {
        match self {
            Self::None => mean_s,
            Self::Some => mean_s * (0.5 + random.exponential(0.5)),
            Self::Exponential => random.exponential(mean_s),
            Self::Heavy => {
                let normal = (-2.0 * random.uniform().ln()).sqrt() * (std::f64::consts::TAU * random.uniform()).cos();
                mean_s * (1.2 * normal - 0.72).exp()
            }
        }
    }
}

/// Three tasks a second or more, whose mean duration is `service(t)` for a task that arrives at `t`.
#[derive(Debug, Clone, Copy)]
struct Case {
    seed: u64,
    rate: f64,
    cold_start_s: f64,
    /// Arrivals evenly spaced, or by chance.
    even: bool,
    scatter: Scatter,
}

const CASE: Case = Case { seed: 1, rate: 3.0, cold_start_s: 4.0, even: true, scatter: Scatter::None };

impl Case {
    fn limits(&self) -> PolicyLimits {
        PolicyLimits {
            min: 1,
            max: 1000,
            cold_start_s: self.cold_start_s,
            tick_s: 1.0,
            objective: Objective::default(),
        }
    }

    fn trace(&self, span_s: f64, service: impl Fn(f64) -> f64) -> Trace {
        let (mut random, mut t, mut tasks) = (Random(self.seed), 0.0, Vec::new());
        while t < span_s {
            let service_s = self.scatter.draw(&mut random, service(t)).max(0.01);
            tasks.push(TraceTask { arrival_s: t, service_s, ..TraceTask::default() });
            t += if self.even { 1.0 / self.rate } else { random.exponential(1.0 / self.rate) };
        }
        Trace::new("slow-down", tasks).expect("some tasks")
    }

    fn run(&self, span_s: f64, stalls: &[(f64, f64)], service: impl Fn(f64) -> f64) -> Outcome {
        let limits = self.limits();
        let mut policy = build(PolicyKind::default(), limits).expect("valid");
        let settings = Replay { timeline: true, stalls: stalls.to_vec(), ..Replay::new(limits) };
        replay(&self.trace(span_s, service), policy.as_mut(), &settings)
    }
}

/// What a change at `at_s` led to.
#[derive(Debug)]
struct Shown {
    before: u32,
    grown_at_s: f64,
    most: u32,
    waiting: u32,
    longest_wait_s: f64,
}

fn shown(outcome: &Outcome, at_s: f64, until_s: f64) -> Shown {
    let within = || outcome.timeline.iter().filter(move |p| (at_s..until_s).contains(&p.t));
    let before = outcome.timeline.iter().rfind(|p| p.t < at_s).expect("calm before").desired;
    Shown {
        before,
        grown_at_s: within().find(|p| 2 * p.desired >= 3 * before).map_or(f64::INFINITY, |p| p.t - at_s),
        most: within().map(|p| p.desired).max().expect("decisions"),
        waiting: within().map(|p| p.depth).max().expect("decisions"),
        longest_wait_s: outcome
            .waits
            .iter()
            .filter(|(arrival_s, _)| (at_s..until_s).contains(arrival_s))
            .map(|(_, wait_s)| *wait_s)
            .fold(0.0, f64::max),
    }
}

/// A policy that records the factor by which it believed tasks to be slower, and that may get less than the whole
/// observation.
struct Watched {
    inner: Box<dyn Policy>,
    changes: Vec<f64>,
    details: Vec<String>,
    is_terse: bool,
}

impl Policy for Watched {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn interval_s(&self) -> f64 {
        self.inner.interval_s()
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let terse = Observation { completed: Vec::new(), arrived: Vec::new(), started: 0, ..seen.clone() };
        let decision = self.inner.decide(if self.is_terse { &terse } else { seen });
        self.changes.push(decision.forecast.map_or(1.0, |forecast| forecast.service_change));
        self.details.push(decision.detail.clone());
        decision
    }
}

impl Case {
    fn watched(&self, span_s: f64, is_terse: bool, service: impl Fn(f64) -> f64) -> (Outcome, Watched) {
        let limits = self.limits();
        let inner = build(PolicyKind::default(), limits).expect("valid");
        let mut policy = Watched { inner, changes: Vec::new(), details: Vec::new(), is_terse };
        let outcome =
            replay(&self.trace(span_s, service), &mut policy, &Replay { timeline: true, ..Replay::new(limits) });
        (outcome, policy)
    }
}

fn wanted(outcome: &Outcome, t: f64) -> u32 {
    outcome.timeline.iter().find(|p| p.t >= t).expect("within the trace").desired
}

/// Two seconds until `calm_s`, then `factor` times as long for five minutes, then two seconds again.
fn there_and_back(calm_s: f64, factor: f64) -> impl Fn(f64) -> f64 {
    move |t| if (calm_s..calm_s + 300.0).contains(&t) { 2.0 * factor } else { 2.0 }
}

#[test]
fn tasks_of_two_seconds_that_take_ten_are_met_before_the_first_ends() {
    for calm_s in [180.0, 1800.0] {
        let outcome = CASE.run(calm_s + 500.0, &[], there_and_back(calm_s, 5.0));
        let shown = shown(&outcome, calm_s, calm_s + 300.0);
        assert!(shown.grown_at_s < 10.0, "grown by half before the first ends: {shown:?}");
        assert!(shown.waiting <= 16 && shown.longest_wait_s < 25.0 && shown.most <= 40, "{calm_s}: {shown:?}");
        // Those that came just before the way back still take ten seconds.
        let back = wanted(&outcome, calm_s + 320.0);
        assert!(back <= shown.before + 10, "{calm_s}: {back} wanted again, {shown:?}");
    }
}

#[test]
fn the_decision_names_the_change() {
    let (_, policy) = CASE.watched(215.0, false, there_and_back(180.0, 5.0));
    let named = policy.details.iter().find(|detail| detail.contains("tasks slow down: ")).expect("named");
    assert!(named.contains(" s instead of 2.0 s, those on agents counted"), "{named}");
    assert!(policy.changes[..180].iter().all(|change| *change == 1.0));
}

#[test]
fn sudden_factors_and_other_cold_starts_are_met_in_proportion() {
    for (calm_s, factor, cold_start_s, rate) in [
        (180.0, 3.0, 2.0, 3.0),
        (180.0, 5.0, 10.0, 3.0),
        (1800.0, 10.0, 4.0, 3.0),
        (180.0, 20.0, 4.0, 3.0),
        (180.0, 5.0, 4.0, 12.0),
    ] {
        let case = Case { cold_start_s, rate, ..CASE };
        let outcome = case.run(calm_s + 300.0, &[], there_and_back(calm_s, factor));
        let shown = shown(&outcome, calm_s, calm_s + 300.0);
        let (needed, about) = (rate * 2.0 * factor, format!("x{factor} at {cold_start_s} s, {rate}/s: {shown:?}"));
        assert!(shown.grown_at_s < 2.0 * factor + 2.0, "{about}");
        assert!(f64::from(shown.most) <= 1.75 * needed, "{about}");
        assert!(shown.longest_wait_s <= 2.0 * factor + cold_start_s, "{about}");
    }
}

#[test]
fn chance_in_arrivals_and_durations_hides_no_slow_down() {
    for (scatter, seed) in [(Scatter::Some, 2), (Scatter::Exponential, 3), (Scatter::Heavy, 4)] {
        let case = Case { scatter, seed, even: false, ..CASE };
        let outcome = case.run(480.0, &[], there_and_back(180.0, 5.0));
        let shown = shown(&outcome, 180.0, 480.0);
        assert!(
            shown.grown_at_s <= 15.0 && shown.waiting <= 24 && shown.longest_wait_s < 25.0,
            "{scatter:?}: {shown:?}"
        );
    }
}

#[test]
fn creeping_slow_downs_make_few_tasks_late() {
    for (factor, over_s) in [(2.0, 120.0), (5.0, 300.0), (20.0, 600.0)] {
        let service = |t: f64| 2.0 * (1.0 + (factor - 1.0) * ((t - 300.0) / over_s).clamp(0.0, 1.0));
        let outcome = CASE.run(300.0 + over_s, &[], service);
        let waits = || outcome.waits.iter().filter(|(arrival_s, _)| *arrival_s >= 300.0);
        let late = waits().filter(|(_, wait_s)| *wait_s > 1.0).count() as f64 / waits().count() as f64;
        assert!(late < 0.02, "x{factor} within {over_s} s: {late} late");
    }
}

#[test]
fn a_stall_of_a_minute_is_no_reason_to_start_an_agent_for_each_task_that_waits() {
    for calm_s in [180.0, 1800.0] {
        for scatter in [Scatter::None, Scatter::Exponential] {
            let case = Case { scatter, ..CASE };
            let outcome = case.run(calm_s + 300.0, &[(calm_s, calm_s + 60.0)], |_| 2.0);
            let during = shown(&outcome, calm_s, calm_s + 60.0);
            assert!(during.most <= 48, "180 tasks wait: {during:?}");
            // More than 120 wait when it ends. Exponential durations hide for longer that tasks are as quick as before.
            let over = shown(&outcome, calm_s + 60.0, calm_s + 120.0);
            assert!(scatter != Scatter::None || over.most <= 90, "{calm_s}: {over:?}");
            let after = wanted(&outcome, calm_s + 200.0);
            assert!(after <= during.before + 8, "{scatter:?}, {calm_s}: {after} after the stall, {during:?}");
        }
    }
}

#[test]
fn scattered_durations_are_no_change() {
    for (rate, mean_s, scatter, most) in [
        (3.0, 2.0, Scatter::Exponential, 0.01),
        (3.0, 2.0, Scatter::Heavy, 0.02),
        (30.0, 0.3, Scatter::Heavy, 0.02),
        (0.5, 20.0, Scatter::Exponential, 0.01),
        (0.1, 20.0, Scatter::Heavy, 0.06),
        (3.0, 100.0, Scatter::Exponential, 0.02),
    ] {
        let case = Case { rate, scatter, even: false, ..CASE };
        let (_, policy) = case.watched(2400.0, false, |_| mean_s);
        let changed = policy.changes.iter().filter(|change| **change != 1.0).count();
        let share = changed as f64 / policy.changes.len() as f64;
        assert!(share <= most, "{scatter:?}, {rate}/s of {mean_s} s: a change in {share} of the decisions");
    }
}

#[test]
fn tasks_that_never_end_get_their_agents_and_change_nothing_for_the_others() {
    // One in forty hangs for longer than the trace.
    let trace = CASE.trace(900.0, |_| 2.0);
    let tasks = trace.tasks().iter().enumerate().map(|(n, task)| {
        let service_s = if n % 40 == 39 { 5_000.0 } else { task.service_s };
        TraceTask { service_s, ..*task }
    });
    let trace = Trace::new("hanging", tasks.collect()).expect("some tasks");
    let limits = CASE.limits();
    let inner = build(PolicyKind::default(), limits).expect("valid");
    let mut policy = Watched { inner, changes: Vec::new(), details: Vec::new(), is_terse: false };
    let outcome = replay(&trace, &mut policy, &Replay { timeline: true, ..Replay::new(limits) });
    assert!(policy.changes[..900].iter().all(|change| *change == 1.0), "no slow-down");
    let late = outcome.waits.iter().filter(|(arrival_s, wait_s)| *arrival_s > 300.0 && *wait_s > 1.0).count();
    assert!(late <= 18, "{late} of 1800 late");
    // 67 hang at the end, and six run.
    assert!((73..100).contains(&wanted(&outcome, 899.0)), "{}", wanted(&outcome, 899.0));
}

#[test]
fn who_reports_counts_and_means_alone_gets_the_same_advice() {
    for calm_s in [180.0, 600.0] {
        let [full, terse] = [false, true].map(|is_terse| {
            let (outcome, _) = CASE.watched(calm_s + 300.0, is_terse, there_and_back(calm_s, 5.0));
            shown(&outcome, calm_s, calm_s + 300.0)
        });
        assert!(terse.grown_at_s <= 10.0 && terse.waiting <= 16 && terse.longest_wait_s < 25.0, "{terse:?}, {full:?}");
    }
}

/// Medians over eight seeds of arrivals by chance, as a table: three tasks a second of 2 s, then slower for five minutes.
#[test]
fn the_table_of_slow_downs() {
    println!("| tasks of 2 s become | durations | grown by half after | most agents | most waiting | longest wait |");
    println!("|--:|---|--:|--:|--:|--:|");
    for factor in [3.0, 5.0, 10.0, 20.0] {
        for scatter in [Scatter::None, Scatter::Exponential] {
            let runs: Vec<Shown> = (1..=8)
                .map(|seed| {
                    let case = Case { scatter, seed, even: false, ..CASE };
                    shown(&case.run(950.0, &[], there_and_back(600.0, factor)), 600.0, 900.0)
                })
                .collect();
            let median = |of: fn(&Shown) -> f64| {
                let mut values: Vec<f64> = runs.iter().map(of).collect();
                values.sort_by(f64::total_cmp);
                0.5 * (values[3] + values[4])
            };
            let [grown_s, agents] = [median(|shown| shown.grown_at_s), median(|shown| shown.most.into())];
            let [waiting, wait_s] = [median(|shown| shown.waiting.into()), median(|shown| shown.longest_wait_s)];
            let durations = if scatter == Scatter::None { "equal" } else { "exponential" };
            let slow_s = 2.0 * factor;
            println!("| {slow_s:.0} s | {durations} | {grown_s:.0} s | {agents:.0} | {waiting:.0} | {wait_s:.0} s |");
            assert!((scatter != Scatter::None || grown_s < slow_s) && wait_s < 2.0 * slow_s, "{runs:?}");
        }
    }
}

//! Announced tasks have their agents ready, and the pool starts no more agents than they need.

mod common;
#[path = "common/load.rs"]
mod made;

use forerunner_forecast::{Objective, PolicyKind, PolicyLimits, build};
use forerunner_sim::{Outcome, Replay, Report, Trace, TraceTask, perfect, replay};
use made::load;

fn limits(cold_start_s: f64) -> PolicyLimits {
    PolicyLimits { min: 1, max: 2_000, cold_start_s, tick_s: 1.0, objective: Objective::default() }
}

/// The result of a pool with a trace, with the near-lower bound.
struct RunResult {
    outcome: Outcome,
    bound: Report,
}

fn run(tasks: Vec<TraceTask>, cold_start_s: f64, warm_up_s: f64) -> RunResult {
    let limits = limits(cold_start_s);
    let settings = Replay { warm_up_s, timeline: true, ..Replay::new(limits) };
    let trace = Trace::new("burst", tasks).unwrap();
    let mut policy = build(PolicyKind::default(), limits).unwrap();
    RunResult { outcome: replay(&trace, policy.as_mut(), &settings), bound: perfect(&trace, &settings) }
}

impl RunResult {
    /// Of the tasks that arrive at `at_s`, those that waited for longer than the objective allows.
    fn late_of(&self, at_s: f64) -> usize {
        self.outcome.waits.iter().filter(|(arrival_s, wait_s)| *arrival_s == at_s && *wait_s > 1.0).count()
    }

    /// Most agents at once between two times.
    fn most_between(&self, from_s: f64, to_s: f64) -> u32 {
        let points = self.outcome.timeline.iter().filter(|point| (from_s..to_s).contains(&point.t));
        points.map(|point| point.ready + point.busy + point.starting).max().unwrap_or(0)
    }
}

/// `n` tasks at `at_s`, announced `lead_s` seconds before, each of `service_s` seconds.
fn burst(n: usize, at_s: f64, lead_s: f64, service_s: f64) -> impl Iterator<Item = TraceTask> {
    let task = TraceTask { arrival_s: at_s, service_s, announced_s: Some(at_s - lead_s), ..TraceTask::default() };
    std::iter::repeat_n(task, n)
}

/// The same tasks, none of which anybody knew of.
fn unannounced(tasks: &[TraceTask]) -> Vec<TraceTask> {
    tasks.iter().map(|task| TraceTask { announced_s: None, ..*task }).collect()
}

#[test]
fn a_burst_on_an_idle_pool_is_on_time_at_the_cost_of_perfect_knowledge() {
    for cold_start_s in [2.0, 10.0, 30.0] {
        for n in [1, 5, 40, 200, 500] {
            for service_s in [4.0, 5.0, 20.0] {
                let lived = run(burst(n, 50.0, 50.0, service_s).collect(), cold_start_s, 0.0);
                let case = format!("{n} tasks of {service_s} s, cold start {cold_start_s} s");
                assert_eq!(lived.outcome.report.late_share, 0.0, "{case}");
                assert!(lived.outcome.report.peak_pool <= n.max(2) as u32, "{case}");
                let ratio = lived.outcome.report.instance_s / lived.bound.instance_s;
                assert!(ratio <= if n == 1 { 1.3 } else { 1.2 }, "{case}: {ratio:.2} x perfect");
            }
        }
    }
}

#[test]
fn a_burst_on_a_busy_pool_is_on_time_and_adds_what_it_needs() {
    for cold_start_s in [2.0, 10.0, 30.0] {
        for n in [40, 200, 500] {
            for service_s in [0.2, 5.0, 20.0] {
                let calm: Vec<_> = load("busy", 7, 1300.0, 2.0, |_| 2.0, |_| service_s).tasks().to_vec();
                let without = run(calm.clone(), cold_start_s, 0.0);
                let with = run(calm.into_iter().chain(burst(n, 1250.0, 50.0, service_s)).collect(), cold_start_s, 0.0);
                let case = format!("{n} tasks of {service_s} s, cold start {cold_start_s} s");
                assert!(with.late_of(1250.0) * 100 <= n, "{case}: {} late", with.late_of(1250.0));
                let ratio =
                    |lived: &RunResult| f64::from(lived.outcome.report.peak_pool) / f64::from(lived.bound.peak_pool);
                // The margin for chance is that of the pool without the burst.
                let most = if service_s < 1.0 { 1.8 } else { 1.2 };
                let (ratio, most) = (ratio(&with), ratio(&without).max(most));
                assert!(ratio <= most, "{case}: {ratio:.2} x the agents, {most:.2} at most");
                let added = with.outcome.report.instance_s - without.outcome.report.instance_s;
                let needed = n as f64 * (cold_start_s + service_s);
                assert!(added <= 1.25 * needed, "{case}: {added:.0} agent-seconds more, {needed:.0} needed");
            }
        }
    }
}

#[test]
fn nothing_starts_before_its_time() {
    let lived = run(burst(40, 300.0, 300.0, 5.0).collect(), 10.0, 0.0);
    assert_eq!(lived.most_between(0.0, 289.0), 1, "a cold start and a tick before, and not earlier");
    assert_eq!(lived.most_between(289.0, 301.0), 40);
    assert!(lived.most_between(308.0, f64::MAX) <= 2, "known to be over");
}

#[test]
fn a_load_that_is_announced_as_a_whole_is_counted_once() {
    let load = load("all", 11, 2400.0, 3.0, |_| 3.0, |_| 5.0);
    let blind = run(unannounced(load.tasks()), 10.0, 900.0).outcome.report;
    // A lead of a minute, one that is just enough for a new agent, and one that is not.
    for (lead_s, most_cost) in [(60.0, 0.95), (12.0, 0.95), (3.0, 1.03)] {
        let known = |task: &TraceTask| TraceTask { announced_s: Some(task.arrival_s - lead_s), ..*task };
        let lived = run(load.tasks().iter().map(known).collect(), 10.0, 900.0);
        let report = &lived.outcome.report;
        let ratio = report.instance_s / blind.instance_s;
        assert!(ratio <= most_cost, "{lead_s} s ahead: {ratio:.3} x the cost of not knowing");
        let (late, blind_late) = (report.late_share, blind.late_share);
        assert!(late <= blind_late + 0.001, "{lead_s} s ahead: {late:.4} late, {blind_late:.4} without knowing");
        // Fifteen agents are busy on average; counted twice it would be thirty before any margin.
        assert!(lived.most_between(900.0, 2300.0) <= 45, "{lead_s} s ahead: {}", lived.most_between(900.0, 2300.0));
    }
}

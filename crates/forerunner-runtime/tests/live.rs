//! Compares replay and reality: real actors with a store, simulated agents and a clock on one side, the simulator with
//! the recorded load on the other.
//!
//! `FORERUNNER_LIVE_MINUTES=360 cargo test --release -p forerunner-runtime --test live -- --nocapture` runs six hours
//! instead of forty minutes of virtual time. Tokio advances the clock whenever no task can run.

use std::{f64::consts::TAU, sync::Arc, time::Duration};

use forerunner_agents::{SimulatedFactory, SimulatedSpec};
use forerunner_core::{Task, Timestamp};
use forerunner_forecast::{Objective, PolicyKind, PolicyLimits, build};
use forerunner_runtime::testkit::{Rig, Running};
use forerunner_sim::{AsLive, Replay, Report, Trace, TraceTask, WaitSummary, replay};
use forerunner_store::TaskFilter;
use tokio::time::Instant;

const MINUTES: f64 = 40.0;
const MIN: u32 = 4;
const MAX: u32 = 100;
const COOLDOWN: Duration = Duration::from_secs(5);
/// The allowed relative difference between replay and reality.
const SHARE: f64 = 0.05;
/// Waits that differ by less than this count as equal: a quarter of a tick.
const ALIKE_S: f64 = 0.25;

fn minutes() -> f64 {
    std::env::var("FORERUNNER_LIVE_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(MINUTES)
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.next()).ln()
    }
}

/// Arrivals and durations in seconds: a wave between half a task and three and a half tasks per second, with six more
/// for half a minute every ten minutes. Durations are one second and an exponential rest.
fn load(seed: u64) -> Vec<(f64, f64)> {
    let mut chance = Chance(seed);
    let (mut t, mut tasks) = (0.0, Vec::new());
    while t < 60.0 * minutes() {
        let burst = if t % 600.0 > 570.0 { 6.0 } else { 0.0 };
        let rate = 2.0 + 1.5 * (t / 400.0 * TAU).sin() + burst;
        t += chance.exponential(1.0 / rate);
        tasks.push((t, 1.0 + chance.exponential(4.0)));
    }
    tasks
}

/// The result of a run: its waits, its cost, and the recorded tasks.
struct RunResult {
    wait_s: WaitSummary,
    agent_s: f64,
    /// Seconds between the start of the pool and the start of the load, from which cost counts.
    begun_s: f64,
    trace: Trace,
    cold_start_s: f64,
}

async fn live(policy: PolicyKind, seed: u64, cold_start: Duration) -> RunResult {
    let agents = SimulatedFactory::new(SimulatedSpec { cold_start, ..SimulatedSpec::default() }).unwrap();
    let born = Instant::now();
    let rig = Rig::new()
        .pool_of("p", Arc::new(agents), |pool| {
            (pool.min, pool.max) = (MIN, MAX);
            (pool.cold_start, pool.cooldown) = (cold_start, COOLDOWN);
            pool.policy = policy;
        })
        .start()
        .await;
    rig.until_ready("p", MIN).await;
    let begun = Instant::now();
    let before_s = rig.handle().pool("p").await.unwrap().agent_seconds;
    for (due, service_s) in load(seed) {
        tokio::time::sleep_until(begun + Duration::from_secs_f64(due)).await;
        rig.submit("p", &format!("{{\"service_s\":{service_s}}}")).await;
    }
    let end = rig.until("p", "nothing left to do", |status| status.depth == 0 && status.running == 0).await;
    let tasks = recorded(&rig).await;
    rig.stop().await;
    RunResult {
        wait_s: WaitSummary::of(&mut tasks.iter().map(|task| task.wait().unwrap().as_secs_f64()).collect::<Vec<_>>()),
        agent_s: end.agent_seconds - before_s,
        begun_s: begun.duration_since(born).as_secs_f64(),
        trace: trace(&tasks),
        cold_start_s: end.cold_start_s.unwrap().p90,
    }
}

/// All tasks, in pages.
async fn recorded(rig: &Running) -> Vec<Task> {
    let (mut tasks, mut before) = (Vec::new(), None);
    loop {
        let page = rig.handle().tasks(TaskFilter { limit: 1_000, before, ..TaskFilter::default() }).await.unwrap();
        before = page.tasks.last().map(|task| task.id);
        tasks.extend(page.tasks);
        if !page.more {
            return tasks;
        }
    }
}

/// The trace of the recorded tasks, on the clock of the pool, so that the ticks of pool and replay coincide.
fn trace(tasks: &[Task]) -> Trace {
    // The start of the test's clock.
    let epoch = Timestamp::from_micros(1_700_000_000_000_000);
    let ran = |task: &Task| TraceTask {
        arrival_s: task.run_at.max(task.submitted_at).since(epoch).as_secs_f64(),
        service_s: task.finished_at.unwrap().since(task.started_at.unwrap()).as_secs_f64(),
        ..TraceTask::default()
    };
    Trace::new("lived", tasks.iter().map(ran).collect()).unwrap()
}

fn replayed(lived: &RunResult, policy: PolicyKind) -> Report {
    let limits = PolicyLimits {
        min: MIN,
        max: MAX,
        cold_start_s: lived.cold_start_s,
        tick_s: 1.0,
        objective: Objective::default(),
    };
    let as_live = Some(AsLive { cooldown_s: COOLDOWN.as_secs_f64() });
    let settings = Replay { warm_up_s: lived.begun_s, as_live, ..Replay::new(limits) };
    replay(&lived.trace, build(policy, limits).unwrap().as_mut(), &settings).report
}

async fn check(policy: &str, seed: u64, cold_start_s: u64) {
    let policy: PolicyKind = policy.parse().unwrap();
    let lived = live(policy, seed, Duration::from_secs(cold_start_s)).await;
    let replayed = replayed(&lived, policy);
    let (was, is) = (lived.wait_s, replayed.wait_s);
    println!(
        "{} seed {seed} cold start {cold_start_s} s, {} tasks: p50 {:.3} s lived {:.3} s replayed, p95 {:.3} {:.3}, p99 {:.3} {:.3}, \
         agent-seconds {:.0} {:.0} ({:.3})",
        policy.name(),
        replayed.tasks,
        was.p50,
        is.p50,
        was.p95,
        is.p95,
        was.p99,
        is.p99,
        lived.agent_s,
        replayed.instance_s,
        replayed.instance_s / lived.agent_s,
    );
    assert_eq!(replayed.tasks, lived.trace.tasks().len() as u64);
    assert!((replayed.instance_s / lived.agent_s - 1.0).abs() <= SHARE, "agent-seconds");
    for (name, was, is) in [("p50", was.p50, is.p50), ("p95", was.p95, is.p95)] {
        assert!((is - was).abs() <= f64::max(SHARE * was, ALIKE_S), "{name}: {was} s lived, {is} s replayed");
    }
}

#[actix_rt::test]
async fn a_replay_of_the_forecast_is_what_happened() {
    tokio::time::pause();
    check("predictive", 1, 5).await;
    check("predictive", 3, 2).await;
}

#[actix_rt::test]
async fn a_replay_of_the_threshold_rule_is_what_happened() {
    tokio::time::pause();
    // The policy is late for every twentieth task, by some ten seconds: such waits can be compared.
    check("utilisation", 1, 5).await;
    check("utilisation", 2, 10).await;
}

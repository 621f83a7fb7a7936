//! Prints what a forecast tick and the event detector cost.
//!
//! Of the ticks it prints the fastest tenth of short rounds, and the mean of all. On a machine that does other work as well, the
//! former is the cost, and the latter what it seems to be.

use std::{hint::black_box, time::Duration};

use forerunner_forecast::{Arrival, EventDetector, Objective, Observation, PolicyKind, PolicyLimits, build};

fn main() {
    for per_second in [1, 100, 10_000] {
        tick(per_second, None);
    }
    // Each second so many sessions of the last seconds have a turn.
    for (per_second, sessions) in [(1, 20), (100, 2_000)] {
        tick(per_second, Some(sessions));
    }
    events();
}

/// A tick at `per_second` tasks a second of so many sessions, with every duration reported.
fn tick(per_second: u64, sessions: Option<u64>) {
    const TICKS: u32 = 3000;
    /// Ticks of a round. The tournament chooses every tenth.
    const ROUND: usize = 20;
    let limits =
        PolicyLimits { min: 1, max: 100_000, cold_start_s: 10.0, tick_s: 1.0, objective: Objective::default() };
    let mut policy = build(PolicyKind::default(), limits).expect("defaults are in range");
    let arrival = |t: u32, i: u64| {
        let task = u64::from(t) * per_second + i;
        Arrival { task, at: f64::from(t) - 0.5, session: sessions.map(|sessions| task % sessions) }
    };
    let seen = |t: u32| Observation {
        t: f64::from(t),
        arrivals: per_second,
        completions: per_second,
        mean_service_s: Some(6.0),
        mean_context_tokens: Some(4000.0 + f64::from(t % 7)),
        in_flight: (6 * per_second) as u32,
        ready: 3,
        started: per_second,
        arrived: (0..per_second).map(|i| arrival(t, i)).collect(),
        // Those that came six seconds ago.
        completed: (0..per_second).map(|i| (arrival(t.saturating_sub(6), i).task, 3.0 + (i % 7) as f64)).collect(),
        ..Observation::default()
    };
    let warm = (0..600).map(seen).fold(0, |_, seen| policy.decide(&seen).desired);
    black_box(warm);
    let observations: Vec<_> = (600..600 + TICKS.min(3_000_000 / per_second as u32)).map(seen).collect();
    let mut rounds: Vec<f64> = observations
        .chunks(ROUND)
        .map(|round| {
            let took = timed(|| round.iter().for_each(|seen| _ = black_box(policy.decide(seen))));
            took.as_secs_f64() * 1e6 / round.len() as f64
        })
        .collect();
    let mean = rounds.iter().sum::<f64>() / rounds.len() as f64;
    rounds.sort_by(f64::total_cmp);
    let kind = if sessions.is_some() { "tasks/s of sessions" } else { "tasks/s" };
    println!("tick at {per_second:>6} {kind}: {:8.2} us, mean {mean:8.2} us", rounds[rounds.len() / 10]);
}

/// Arrivals, completions and states as they come at a million tasks a second.
fn events() {
    const EVENTS: u32 = 10_000_000;
    let mut detector = EventDetector::new();
    detector.expect(1e6, 1e-5);
    let arrivals = timed(|| (0..EVENTS).for_each(|i| _ = black_box(detector.on_arrival(f64::from(i) * 1e-6))));
    let completions =
        timed(|| (0..EVENTS).for_each(|i| _ = black_box(detector.on_completion(f64::from(i) * 1e-6, 1e-5))));
    let states = timed(|| (0..EVENTS).for_each(|i| _ = black_box(detector.on_state(f64::from(i) * 1e-6, i & 1, 1))));
    for (name, took) in [("arrival", arrivals), ("completion", completions), ("state", states)] {
        println!("{name:>10}: {:6.2} ns", took.as_secs_f64() * 1e9 / f64::from(EVENTS));
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed(work: impl FnOnce()) -> Duration {
    let begin = std::time::Instant::now();
    work();
    begin.elapsed()
}

//! Measures what sessions add to the forecast, on a trace with sessions.
//!
//! ```text
//! cargo run --release -p forerunner-sim --example sessions -- TRACE.csv.gz [--cold-start 2,10,30]
//! ```
//!
//! First the mean squared error of forecasts of the arrivals of the next 10 and 30 s, made once in 10 s: of moving
//! averages over the last 10 s to 20 min, and of the returns of sessions. Then late share and cost of the policy
//! `predictive`, relative to `perfect`, with and without the sessions in its observations.

use std::{env, error::Error, process::ExitCode};

use forerunner_forecast::{Decision, Objective, Observation, Policy, PolicyLimits, Predictive, PredictiveSettings};
use forerunner_sim::{Replay, Report, Trace, TraceTask, least_fixed, perfect, replay};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut given = env::args().skip(1);
    let path = given.next().ok_or("name a trace")?;
    let mut cold_starts = vec![2.0, 10.0, 30.0];
    if let Some("--cold-start") = given.next().as_deref() {
        let list = given.next().ok_or("`--cold-start` needs seconds, with commas between")?;
        cold_starts = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
    }
    let trace = Trace::read(&path)?;
    errors(&trace);
    for cold_start_s in cold_starts {
        costs(&trace, cold_start_s)?;
    }
    Ok(())
}

/// Prints the errors of forecasts.
fn errors(trace: &Trace) {
    for ahead_s in [10.0, 30.0] {
        let limits = limits(ahead_s - 1.0, 1_000);
        let mut rates = Recorded { policy: predictive(limits), rates: Vec::new() };
        replay(trace, &mut rates, &Replay::new(limits));
        let error = |forecast: &dyn Fn(f64) -> Option<f64>| {
            let steps = (30..(trace.span_s() / 10.0) as u32).map(|step| f64::from(step) * 10.0);
            let errors = steps.filter_map(|now| Some((forecast(now)? - count(trace, now, now + ahead_s)).powi(2)));
            let errors: Vec<f64> = errors.collect();
            errors.iter().sum::<f64>() / errors.len() as f64
        };
        let averages = [10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0].map(|over_s| {
            (over_s, error(&|now| Some(count(trace, (now - over_s).max(0.0), now) * ahead_s / over_s.min(now))))
        });
        let best = averages.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default();
        let at = |now: f64| {
            let place = rates.rates.partition_point(|(t, _)| *t < now);
            rates.rates.get(place).map(|(_, rate)| rate * ahead_s)
        };
        let of_sessions = error(&|now| at(now));
        println!(
            "arrivals of the next {ahead_s} s: mean squared error {:.2} by the best average ({} s), {of_sessions:.2} by sessions",
            best.1, best.0
        );
    }
}

/// Tasks that arrive in `[from_s, to_s)`.
fn count(trace: &Trace, from_s: f64, to_s: f64) -> f64 {
    let place = |t: f64| trace.tasks().partition_point(|task| task.arrival_s < t);
    (place(to_s) - place(from_s)) as f64
}

/// Prints what the policy costs with and without sessions.
fn costs(trace: &Trace, cold_start_s: f64) -> Result<(), Box<dyn Error>> {
    let (least, _) = least_fixed(trace, limits(cold_start_s, 1));
    let limits = limits(cold_start_s, 2 * least);
    let settings = Replay::new(limits);
    let bound = perfect(trace, &settings).instance_s;
    let with = replay(trace, &mut predictive(limits), &settings).report;
    let without = replay(trace, &mut WithoutSessions(predictive(limits)), &settings).report;
    let alone = trace.tasks().iter().map(|task| TraceTask { session: None, ..*task }).collect();
    let alone = replay(&Trace::new("alone", alone)?, &mut predictive(limits), &settings).report;
    let line = |name: &str, report: &Report| {
        println!(
            "cold start {cold_start_s} s, {name}: {:.2} % late at {:.3}, {:.2} agent-hours",
            100.0 * report.late_share,
            report.instance_s / bound,
            report.instance_s / 3600.0
        );
    };
    line("alone", &alone);
    line("with sessions", &with);
    line("without", &without);
    Ok(())
}

fn limits(cold_start_s: f64, max: u32) -> PolicyLimits {
    PolicyLimits { min: 1, max, cold_start_s, tick_s: 1.0, objective: Objective::default() }
}

fn predictive(limits: PolicyLimits) -> Predictive {
    Predictive::new(PredictiveSettings::default(), limits).expect("defaults are in range")
}

/// A policy whose forecasts by sessions are written down.
struct Recorded {
    policy: Predictive,
    rates: Vec<(f64, f64)>,
}

impl Policy for Recorded {
    fn name(&self) -> &'static str {
        "recorded"
    }

    fn interval_s(&self) -> f64 {
        1.0
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let decision = self.policy.decide(seen);
        self.rates.extend(decision.forecast.and_then(|f| f.sessions_rate_per_s).map(|rate| (seen.t, rate)));
        decision
    }
}

/// A policy that does not learn which task is of which session.
struct WithoutSessions(Predictive);

impl Policy for WithoutSessions {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn interval_s(&self) -> f64 {
        self.0.interval_s()
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let mut seen = seen.clone();
        seen.arrived.iter_mut().for_each(|arrival| arrival.session = None);
        self.0.decide(&seen)
    }
}

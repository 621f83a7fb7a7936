//! How well arrival rates are forecast one cold start ahead, and what a forecast costs: the bank of `predictive` beside
//! automatic exponential smoothing (AutoETS, crate `augurs-ets`) and beside the last value.
//!
//! `cargo run --release -- TRACE...` prints a table in Markdown. Each forecast is made every ten seconds, for the mean
//! rate of the ten seconds that begin one horizon later, and judged on all of them after the first five minutes.

mod contender;
mod score;

use std::{path::Path, process::ExitCode};

use forerunner_sim::Trace;

use crate::{
    contender::{Contender, Ets, LastValue, PredictiveContender},
    score::Score,
};

/// Seconds of a step: a forecast is made, and judged, once in a step.
pub const STEP_S: f64 = 10.0;
/// Steps before forecasts are judged.
const WARM_UP: usize = 30;
/// Steps ahead: two and four are a cold start of 10 s and of 30 s.
const HORIZONS: [usize; 2] = [2, 4];
/// Longest part of a trace that is used, in steps: six hours.
const MOST_STEPS: usize = 2_160;

fn main() -> ExitCode {
    let traces: Vec<String> = std::env::args().skip(1).collect();
    if traces.is_empty() {
        eprintln!("name at least one trace: a CSV with the column `arrival_s`, sorted");
        return ExitCode::from(2);
    }
    println!("| trace | ahead | forecast | mean error | 90 % loss | µs each |");
    println!("|---|---:|---|---:|---:|---:|");
    for path in &traces {
        if let Err(problem) = compare(Path::new(path)) {
            eprintln!("{path}: {problem}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn compare(path: &Path) -> Result<(), forerunner_sim::Error> {
    let trace = Trace::read(path)?;
    let counts = counts(&trace);
    for ahead in HORIZONS {
        let contenders: [Box<dyn Contender>; 3] =
            [Box::new(PredictiveContender::new(ahead)), Box::new(Ets::default()), Box::new(LastValue::default())];
        for mut contender in contenders {
            let score = judge(&counts, ahead, contender.as_mut());
            println!("| {} | {:.0} s | {} | {score} |", trace.name(), ahead as f64 * STEP_S, contender.name());
        }
    }
    Ok(())
}

/// Arrivals in each step.
fn counts(trace: &Trace) -> Vec<u64> {
    let last = trace.tasks().last().map_or(0.0, |task| task.arrival_s);
    let mut counts = vec![0; ((last / STEP_S) as usize + 1).min(MOST_STEPS)];
    for task in trace.tasks() {
        if let Some(count) = counts.get_mut((task.arrival_s / STEP_S) as usize) {
            *count += 1;
        }
    }
    counts
}

/// Shows the counts to the contender one by one, and scores its forecast of the one `ahead` steps later.
fn judge(counts: &[u64], ahead: usize, contender: &mut dyn Contender) -> Score {
    let mut score = Score::default();
    for (step, count) in counts.iter().enumerate() {
        contender.see(*count);
        let Some(truth) = counts.get(step + ahead) else { break };
        let (forecast, spent) = score::timed(|| contender.forecast(ahead));
        if step >= WARM_UP {
            score.add(forecast, *truth as f64 / STEP_S, spent);
        }
    }
    score
}

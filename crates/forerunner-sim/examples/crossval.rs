//! Cross-validates the constants of the tournament: chooses them on one half of the traces and reports on the other.
//!
//! ```text
//! cargo run --release -p forerunner-sim --example crossval -- TRACE.csv.gz … [--cold-start 2,10,30] [--splits 5] [--jobs N]
//! ```
//!
//! Each constant is tried below and above its value, one at a time. The choice is the one with the least mean, over the
//! cells of its half, of ln(cost / perfect) + 10 x (late share beyond 1 %): one percent more late tasks count as a
//! tenth more cost. A split divides the traces, ordered by a hash of its number and their names, into two halves. Each
//! half is used for one choice.

use std::{
    env,
    error::Error,
    hash::{DefaultHasher, Hash, Hasher},
    process::ExitCode,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use forerunner_forecast::{Objective, PolicyLimits, Predictive, PredictiveSettings, Tuning};
use forerunner_sim::{Replay, Trace, least_fixed, perfect, replay};

/// What one percent more late tasks are worth, in the logarithm of cost.
const LATE_PRICE: f64 = 10.0;

struct Arguments {
    traces: Vec<String>,
    cold_starts: Vec<f64>,
    splits: u64,
    jobs: usize,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let jobs = thread::available_parallelism()?.get();
        let mut arguments = Self { traces: Vec::new(), cold_starts: vec![2.0, 10.0, 30.0], splits: 5, jobs };
        while let Some(argument) = given.next() {
            let mut value = || given.next().ok_or(format!("`{argument}` needs a value"));
            match argument.as_str() {
                "--cold-start" => {
                    arguments.cold_starts = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                "--splits" => arguments.splits = value()?.parse()?,
                "--jobs" => arguments.jobs = value()?.parse::<usize>()?.max(1),
                flag if flag.starts_with("--") => return Err(format!("there is no option `{flag}`").into()),
                _ => arguments.traces.push(argument),
            }
        }
        if arguments.traces.len() < 2 {
            return Err("name at least two traces".into());
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    match Arguments::parse(env::args().skip(1)).and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The constants as they are, and with one of them changed.
fn candidates() -> Vec<(String, Tuning)> {
    let kept = Tuning::default();
    let mut candidates = vec![("as they are".to_owned(), kept)];
    let mut add = |name: &str, values: [f64; 2], set: fn(&mut Tuning, f64)| {
        for value in values {
            let mut tuning = kept;
            set(&mut tuning, value);
            candidates.push((format!("{name} {value}"), tuning));
        }
    };
    add("aim", [0.5, 0.8], |tuning, value| tuning.aim = value);
    add("few tasks", [300.0, 3000.0], |tuning, value| tuning.few_tasks = value);
    add("price", [1.5, 6.0], |tuning, value| tuning.price = value);
    add("prior", [300.0, 1200.0], |tuning, value| tuning.prior_s = value);
    add("prior margin", [1.5, 2.5], |tuning, value| tuning.prior_margin = value);
    add("surprise", [0.25, 1.0], |tuning, value| tuning.surprise = value);
    add("again", [2.0, 8.0], |tuning, value| tuning.again = value);
    candidates
}

/// The result of one trace at one cold start with one candidate.
#[derive(Debug, Clone, Copy)]
struct Cell {
    trace: usize,
    late: f64,
    /// Relative to perfect knowledge.
    cost: f64,
}

impl Cell {
    fn loss(&self) -> f64 {
        self.cost.ln() + LATE_PRICE * (self.late - 0.01).max(0.0)
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let traces: Vec<Trace> = arguments.traces.iter().map(Trace::read).collect::<Result<_, _>>()?;
    let candidates = candidates();
    let cells = measure(arguments, &traces, &candidates);
    println!("all traces");
    for ((name, _), cells) in candidates.iter().zip(&cells) {
        println!("  {}", line(name, cells.iter()));
    }
    println!("chosen on one half, reported on the other, beside the constants as they are there");
    for split in 0..arguments.splits {
        let halves = halves(&traces, split);
        for (chosen_on, reported_on) in [(&halves[0], &halves[1]), (&halves[1], &halves[0])] {
            let within = |cells: &[Cell], half: &[usize]| -> Vec<Cell> {
                cells.iter().filter(|cell| half.contains(&cell.trace)).copied().collect()
            };
            let loss = |at: usize| {
                let cells = within(&cells[at], chosen_on);
                cells.iter().map(Cell::loss).sum::<f64>() / cells.len() as f64
            };
            let best = (0..candidates.len()).min_by(|&a, &b| loss(a).total_cmp(&loss(b))).unwrap_or(0);
            println!("  {split} {}", line(&candidates[best].0, within(&cells[best], reported_on).iter()));
            println!("    {}", line(&candidates[0].0, within(&cells[0], reported_on).iter()));
        }
    }
    Ok(())
}

/// For each candidate the cells of all traces and cold starts.
fn measure(arguments: &Arguments, traces: &[Trace], candidates: &[(String, Tuning)]) -> Vec<Vec<Cell>> {
    let wanted: Vec<(usize, f64)> =
        (0..traces.len()).flat_map(|trace| arguments.cold_starts.iter().map(move |&cold| (trace, cold))).collect();
    let measured: Vec<OnceLock<Vec<Cell>>> = wanted.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                while let Some((at, &(trace, cold))) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| wanted.get(at).map(|wanted| (at, wanted)))
                {
                    measured[at].get_or_init(|| cell(&traces[trace], trace, cold, candidates));
                }
            });
        }
    });
    let of = |candidate: usize| measured.iter().filter_map(|cell| cell.get().map(|cells| cells[candidate])).collect();
    (0..candidates.len()).map(of).collect()
}

/// One trace at one cold start, under every candidate.
fn cell(trace: &Trace, index: usize, cold_start_s: f64, candidates: &[(String, Tuning)]) -> Vec<Cell> {
    let objective = Objective::default();
    let limits = PolicyLimits { min: 1, max: u32::MAX, cold_start_s, tick_s: 1.0, objective };
    let limits = PolicyLimits { max: 2 * least_fixed(trace, limits).0, ..limits };
    let settings = Replay::new(limits);
    let perfect_s = perfect(trace, &settings).instance_s;
    let with = |(_, tuning): &(String, Tuning)| {
        let mut policy =
            Predictive::tuned(PredictiveSettings::default(), limits, *tuning).expect("defaults are in range");
        let report = replay(trace, &mut policy, &settings).report;
        Cell { trace: index, late: report.late_share, cost: report.instance_s / perfect_s }
    };
    candidates.iter().map(with).collect()
}

/// Deals the traces to two halves.
fn halves(traces: &[Trace], split: u64) -> [Vec<usize>; 2] {
    let hash = |at: &usize| {
        let mut hasher = DefaultHasher::new();
        (split, traces[*at].name()).hash(&mut hasher);
        hasher.finish()
    };
    let mut order: Vec<usize> = (0..traces.len()).collect();
    order.sort_by_key(hash);
    let second = order.split_off(order.len() / 2);
    [order, second]
}

fn line<'a>(name: &str, cells: impl ExactSizeIterator<Item = &'a Cell> + Clone) -> String {
    let n = cells.len().max(1) as f64;
    let within = |share: f64| 100.0 * cells.clone().filter(|cell| cell.late <= share).count() as f64 / n;
    let late = 100.0 * cells.clone().map(|cell| cell.late).sum::<f64>() / n;
    let cost = (cells.clone().map(|cell| cell.cost.ln()).sum::<f64>() / n).exp();
    let loss = cells.clone().map(Cell::loss).sum::<f64>() / n;
    format!(
        "{name:<18} <= 1.25 %: {:3.0} %  <= 1 %: {:3.0} %  mean late {late:.2} %  cost {cost:.3}  loss {loss:.4}",
        within(0.0125),
        within(0.01),
    )
}

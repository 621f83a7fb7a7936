//! Compares the replay with the project's own reference simulator, whose baseline tables are in `testdata/`.
//!
//! ```text
//! cargo run --release -p forerunner-sim --example compare -- FOLDER [--only RULE,…] [--trace NAME,…] [--rule RULE=KIND]…
//!     [--cells]
//! ```
//!
//! `FOLDER` has the traces as `NAME.csv.gz`. Every rule runs at its own defaults on every trace and cold start of the
//! table, in a pool of at most twice the least fixed size that meets the objective, and its cost is divided by that of
//! `perfect`. Printed are the deviations of late share (in percentage points) and of cost (in per cent) from the table,
//! by rule, and with `--cells` of each cell. `--rule` replaces the settings of a rule of the table.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use forerunner_forecast::{Objective, PolicyKind, PolicyLimits, build};
use forerunner_sim::{Replay, Report, Trace, least_fixed, perfect, replay};

/// What the reference simulator found: the figures of its tables, rounded as printed there.
const REFERENCE: &str = include_str!("../testdata/reference_defaults.csv");

/// The rules of the table as we write them, each at its defaults.
const RULES: [(&str, &str); 11] = [
    ("seed", "utilisation:await_start=true,count_starting=false"),
    ("seed+", "utilisation:count_starting=false"),
    ("hpa", "hpa"),
    ("kpa", "knative"),
    ("keda30", "keda:polling_interval_s=30"),
    ("keda15", "keda:polling_interval_s=15"),
    ("keda5", "keda:polling_interval_s=5"),
    ("ray", "ray-serve"),
    ("keep-alive", "keep-alive"),
    ("sqrt", "sqrt-staffing"),
    ("holt", "holt"),
];

/// One line of the table.
struct Row {
    rule: String,
    /// Absent for the fixed pool, whose late share is not in the table.
    late_percent: Option<f64>,
    cost_ratio: f64,
}

/// A trace and a cold start in whole seconds.
type Cell = (String, u32);

/// One line of the table, with the result of the replay.
struct Compared {
    cell: Cell,
    rule: String,
    reference: (Option<f64>, f64),
    ours: (f64, f64),
}

impl Compared {
    fn cost_deviation(&self) -> f64 {
        100.0 * (self.ours.1 / self.reference.1 - 1.0)
    }

    fn late_deviation(&self) -> f64 {
        self.reference.0.map_or(0.0, |late| self.ours.0 - late)
    }
}

struct Arguments {
    folder: PathBuf,
    only: Vec<String>,
    traces: Vec<String>,
    rules: BTreeMap<String, PolicyKind>,
    cells: bool,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let kinds = RULES.iter().map(|(rule, kind)| Ok(((*rule).to_owned(), kind.parse()?)));
        let rules = kinds.collect::<Result<_, forerunner_forecast::Error>>()?;
        let mut arguments = Self { folder: PathBuf::new(), only: Vec::new(), traces: Vec::new(), rules, cells: false };
        while let Some(argument) = given.next() {
            let mut value = || given.next().ok_or(format!("`{argument}` needs a value"));
            match argument.as_str() {
                "--only" => arguments.only = value()?.split(',').map(str::to_owned).collect(),
                "--trace" => arguments.traces = value()?.split(',').map(str::to_owned).collect(),
                "--rule" => {
                    let text = value()?;
                    let (rule, kind) = text.split_once('=').ok_or("`--rule` takes RULE=KIND")?;
                    arguments.rules.insert(rule.to_owned(), kind.parse()?);
                }
                "--cells" => arguments.cells = true,
                flag if flag.starts_with("--") => return Err(format!("there is no option `{flag}`").into()),
                _ => arguments.folder = argument.into(),
            }
        }
        if arguments.folder.as_os_str().is_empty() {
            return Err("name the folder of the traces".into());
        }
        Ok(arguments)
    }

    fn wants(&self, rule: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == rule)
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

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut table = table()?;
    table.retain(|(trace, _), _| arguments.traces.is_empty() || arguments.traces.contains(trace));
    let compared = on_all_cores(&table.iter().collect::<Vec<_>>(), |(cell, rows)| {
        compare(arguments, cell, rows).map_err(|error| error.to_string())
    })?;
    let mut compared: Vec<Compared> = compared.into_iter().flatten().collect();
    compared.sort_by(|a, b| (&a.cell, &a.rule).cmp(&(&b.cell, &b.rule)));
    if arguments.cells {
        print_cells(&compared);
    }
    print_summary(&compared);
    Ok(())
}

fn table() -> Result<BTreeMap<Cell, Vec<Row>>, Box<dyn Error>> {
    let mut table: BTreeMap<Cell, Vec<Row>> = BTreeMap::new();
    for line in REFERENCE.lines().skip(1) {
        let [trace, cold_start_s, rule, late, cost] = line.split(',').collect::<Vec<_>>()[..] else {
            return Err(format!("not five columns: {line}").into());
        };
        let late_percent = (!late.is_empty()).then(|| late.parse()).transpose()?;
        let row = Row { rule: rule.to_owned(), late_percent, cost_ratio: cost.parse()? };
        table.entry((trace.to_owned(), cold_start_s.parse()?)).or_default().push(row);
    }
    Ok(table)
}

/// Runs `work` for every item, as many at a time as there are cores.
fn on_all_cores<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, String> + Sync,
) -> Result<Vec<R>, String> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(item);
                    results.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).into_iter().collect()
}

fn compare(arguments: &Arguments, cell: &Cell, rows: &[Row]) -> Result<Vec<Compared>, Box<dyn Error>> {
    let trace = Trace::read(trace_path(&arguments.folder, &cell.0))?;
    let cold_start_s = f64::from(cell.1);
    let limits = PolicyLimits { min: 1, max: u32::MAX, cold_start_s, tick_s: 1.0, objective: Objective::default() };
    let (size, fixed) = least_fixed(&trace, limits);
    let limits = PolicyLimits { max: 2 * size, ..limits };
    let bound = perfect(&trace, &Replay::new(limits));
    let mut compared = Vec::new();
    for row in rows.iter().filter(|row| arguments.wants(&row.rule)) {
        let report = match arguments.rules.get(&row.rule) {
            Some(&kind) => replay(&trace, build(kind, limits)?.as_mut(), &Replay::new(limits)).report,
            None => fixed.clone(),
        };
        compared.push(beside(cell, row, &report, &bound));
    }
    Ok(compared)
}

fn trace_path(folder: &Path, trace: &str) -> PathBuf {
    folder.join(format!("{trace}.csv.gz"))
}

fn beside(cell: &Cell, row: &Row, report: &Report, bound: &Report) -> Compared {
    Compared {
        cell: cell.clone(),
        rule: row.rule.clone(),
        reference: (row.late_percent, row.cost_ratio),
        ours: (100.0 * report.late_share, report.instance_s / bound.instance_s),
    }
}

fn print_cells(compared: &[Compared]) {
    println!(
        "trace,cold_start_s,rule,reference_late_percent,late_percent,late_deviation,reference_cost,cost,cost_deviation_percent"
    );
    for row in compared {
        println!(
            "{},{},{},{},{:.2},{:+.2},{:.2},{:.3},{:+.2}",
            row.cell.0,
            row.cell.1,
            row.rule,
            row.reference.0.map_or(String::new(), |late| late.to_string()),
            row.ours.0,
            row.late_deviation(),
            row.reference.1,
            row.ours.1,
            row.cost_deviation(),
        );
    }
}

fn print_summary(compared: &[Compared]) {
    println!(
        "{:<12} {:>5} {:>10} {:>10} {:>10} {:>12} {:>12}",
        "rule", "cells", "cost <= 3%", "mean dev %", "worst %", "late mean pp", "late worst"
    );
    let mut by_rule: BTreeMap<&str, Vec<&Compared>> = BTreeMap::new();
    for row in compared {
        by_rule.entry(&row.rule).or_default().push(row);
    }
    for (rule, rows) in &by_rule {
        print_rule(rule, rows);
    }
    print_rule("all", &compared.iter().collect::<Vec<_>>());
}

fn print_rule(rule: &str, rows: &[&Compared]) {
    let n = rows.len() as f64;
    let within = rows.iter().filter(|row| row.cost_deviation().abs() <= 3.0).count();
    let mean = |of: fn(&Compared) -> f64| rows.iter().map(|row| of(row)).sum::<f64>() / n;
    let worst = |of: fn(&Compared) -> f64| {
        rows.iter().map(|row| of(row)).fold(0.0, |worst: f64, x| if x.abs() > worst.abs() { x } else { worst })
    };
    println!(
        "{rule:<12} {:>5} {:>9.0}% {:>+10.2} {:>+10.2} {:>+12.2} {:>+12.2}",
        rows.len(),
        100.0 * within as f64 / n,
        mean(Compared::cost_deviation),
        worst(Compared::cost_deviation),
        mean(Compared::late_deviation),
        worst(Compared::late_deviation),
    );
}

//! What a measurement found.

use std::fmt::Write;

use serde::Serialize;

use crate::Options;

/// What was measured, row by row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was measured.
    pub name: &'static str,
    /// Threads of the processor that the program may use.
    pub processors: usize,
    /// How often each contender was measured.
    pub repetitions: usize,
    /// How long each sample took, in seconds.
    pub sample_s: f64,
    /// The figures.
    pub rows: Vec<Row>,
    /// What a reader should know about them.
    pub notes: Vec<String>,
}

/// One thing measured beside one reference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What was done.
    pub what: String,
    /// What the figures count.
    pub unit: Unit,
    /// Forerunner's figure: the median.
    pub ours: f64,
    /// The reference; empty for a figure without one.
    pub reference: String,
    /// The reference's figure: the median. Absent if it was not measured.
    pub reference_value: Option<f64>,
    /// Forerunner's figure divided by the reference's, taken pair by pair: the median.
    pub ratio: Option<f64>,
    /// Largest minus smallest, divided by the median: of the ratios, or of Forerunner's figures if there are none.
    pub spread: f64,
    /// What the project asks of this row.
    pub budget: Option<Budget>,
    /// Whether it is met.
    pub met: Option<bool>,
}

/// What figures count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Tasks per second.
    TasksPerS,
    /// Requests per second.
    RequestsPerS,
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// Instructions in user space.
    Instructions,
    /// Bytes.
    Bytes,
}

/// What the project asks of a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// At least this ratio.
    RatioAtLeast(f64),
    /// At most this ratio.
    RatioAtMost(f64),
    /// At least this figure.
    AtLeast(f64),
    /// At most this figure.
    AtMost(f64),
}

impl Unit {
    const fn label(self) -> &'static str {
        match self {
            Self::TasksPerS => "tasks/s",
            Self::RequestsPerS => "req/s",
            Self::Micros => "µs",
            Self::Millis => "ms",
            Self::Instructions => "instr.",
            Self::Bytes => "bytes",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Micros | Self::Millis => format!("{value:.1}"),
            Self::TasksPerS | Self::RequestsPerS | Self::Instructions | Self::Bytes => thousands(value),
        }
    }
}

impl Budget {
    fn is_met(self, ours: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::RatioAtLeast(least) => ratio.map(|ratio| ratio >= least),
            Self::RatioAtMost(most) => ratio.map(|ratio| ratio <= most),
            Self::AtLeast(least) => Some(ours >= least),
            Self::AtMost(most) => Some(ours <= most),
        }
    }

    fn show(self, unit: Unit) -> String {
        match self {
            Self::RatioAtLeast(least) => format!(">= {least:.2} x"),
            Self::RatioAtMost(most) => format!("<= {most:.2} x"),
            Self::AtLeast(least) => format!(">= {}", unit.show(least)),
            Self::AtMost(most) => format!("<= {}", unit.show(most)),
        }
    }
}

impl Row {
    /// Compares samples that were taken side by side.
    pub(crate) fn compare(what: &str, unit: Unit, ours: &[f64], reference: &str, theirs: &[f64]) -> Self {
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        Self {
            what: what.to_owned(),
            unit,
            ours: median(ours),
            reference: reference.to_owned(),
            reference_value: Some(median(theirs)),
            ratio: Some(median(&ratios)),
            spread: spread(&ratios),
            budget: None,
            met: None,
        }
    }

    /// A figure that is compared with nothing, or with something that this program was built without.
    pub(crate) fn alone(what: &str, unit: Unit, ours: &[f64], reference: &str) -> Self {
        Self {
            what: what.to_owned(),
            unit,
            ours: median(ours),
            reference: reference.to_owned(),
            reference_value: None,
            ratio: None,
            spread: spread(ours),
            budget: None,
            met: None,
        }
    }

    pub(crate) fn with_budget(self, budget: Budget) -> Self {
        let met = budget.is_met(self.ours, self.ratio);
        Self { budget: Some(budget), met, ..self }
    }
}

impl Report {
    pub(crate) fn new(name: &'static str, options: &Options, rows: Vec<Row>, notes: Vec<String>) -> Self {
        Self {
            name,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            repetitions: options.repetitions,
            sample_s: options.sample.as_secs_f64(),
            rows,
            notes,
        }
    }

    /// Writes the report as a table for people.
    pub fn table(&self) -> String {
        let header =
            ["WHAT", "OURS", "UNIT", "REFERENCE", "ITS", "RATIO", "SPREAD", "BUDGET", "MET"].map(str::to_owned);
        let lines: Vec<[String; 9]> = std::iter::once(header).chain(self.rows.iter().map(cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 9] = std::array::from_fn(width);
        let mut text = String::new();
        for line in &lines {
            let cells = line.iter().enumerate().map(|(column, cell)| aligned(column, cell, widths[column]));
            let line = cells.collect::<Vec<_>>().join("  ");
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let (count, secs) = (self.repetitions, self.sample_s);
        let _ =
            writeln!(text, "\nMedians of {count} samples of {secs} s, in turns, on {} processors.", self.processors);
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        text
    }
}

/// Columns of numbers are aligned right.
fn aligned(column: usize, cell: &str, width: usize) -> String {
    match column {
        1 | 4 | 5 | 6 => format!("{cell:>width$}"),
        _ => format!("{cell:<width$}"),
    }
}

fn cells(row: &Row) -> [String; 9] {
    let optional = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        row.what.clone(),
        row.unit.show(row.ours),
        row.unit.label().to_owned(),
        row.reference.clone(),
        optional(row.reference_value.map(|value| row.unit.show(value))),
        optional(row.ratio.map(|ratio| format!("{ratio:.2}"))),
        format!("{:.0} %", row.spread * 100.0),
        optional(row.budget.map(|budget| budget.show(row.unit))),
        optional(row.met.map(|met| if met { "yes" } else { "no" }.to_owned())),
    ]
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The middle one, or the mean of the two in the middle; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

fn spread(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::MIN, f64::max);
    let smallest = values.iter().copied().fold(f64::MAX, f64::min);
    let middle = median(values);
    if middle > 0.0 { (largest - smallest) / middle } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let ours = Row::compare("no-op tasks", Unit::TasksPerS, &[900_000.0, 1e6, 1.1e6], "dispatcher", &[2e6; 3]);
        let alone = Row::alone("round trip p50", Unit::Micros, &[12.34], "");
        Report {
            name: "in-process",
            processors: 2,
            repetitions: 3,
            sample_s: 1.0,
            rows: vec![
                ours.with_budget(Budget::RatioAtLeast(0.6)),
                alone.with_budget(Budget::AtMost(20.0)),
                Row::alone("no-op tasks", Unit::TasksPerS, &[5.0], "factory (not built in)")
                    .with_budget(Budget::RatioAtLeast(2.0)),
            ],
            notes: vec!["A note.".to_owned()],
        }
    }

    #[test]
    fn ratios_are_taken_pair_by_pair_and_budgets_judged() {
        let report = report();
        assert_eq!((report.rows[0].ratio, report.rows[0].met), (Some(0.5), Some(false)));
        assert!((report.rows[0].spread - 0.2).abs() < 1e-9);
        assert_eq!(report.rows[1].met, Some(true));
        assert_eq!(report.rows[2].met, None, "what was not measured is neither met nor missed");
    }

    #[test]
    fn a_report_is_a_table_for_people() {
        insta::assert_snapshot!(report().table(), @r"
        WHAT                 OURS  UNIT     REFERENCE                     ITS  RATIO  SPREAD  BUDGET     MET
        no-op tasks     1,000,000  tasks/s  dispatcher              2,000,000   0.50    20 %  >= 0.60 x  no
        round trip p50       12.3  µs                                       -      -     0 %  <= 20.0    yes
        no-op tasks             5  tasks/s  factory (not built in)          -      -     0 %  >= 2.00 x  -

        Medians of 3 samples of 1 s, in turns, on 2 processors.
        A note.
        ");
    }

    #[test]
    fn the_median_of_none_is_zero_and_of_two_their_mean() {
        assert_eq!([median(&[]), median(&[3.0]), median(&[1.0, 2.0])], [0.0, 3.0, 1.5]);
    }
}

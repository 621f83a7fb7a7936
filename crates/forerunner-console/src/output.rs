//! Answers on standard output: tables for people, JSON for programs.

use std::io::IsTerminal;

use clap::ValueEnum;
use comfy_table::{CellAlignment, ContentArrangement, Table, TableStyle};
use serde::Serialize;

use crate::{json, stdio, terminal};

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs: one JSON value.
    Json,
}

/// The form and the destination of answers.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    colours: bool,
}

impl Output {
    /// Colours only on a terminal, and never with `NO_COLOR`.
    pub fn new(format: Format) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { format, colours: std::io::stderr().is_terminal() && std::io::stdout().is_terminal() && !refused }
    }

    /// Returns whether answers are for programs.
    pub const fn is_json(&self) -> bool {
        matches!(self.format, Format::Json)
    }

    /// Writes `value` as JSON, or what `text` makes of it.
    pub fn show<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        match self.format {
            Format::Json => self.line(&json::pretty(&serde_json::to_string(value)?)),
            Format::Table => self.line(text().trim_end()),
        }
    }

    /// Writes one value on one line: for streams of JSON.
    pub fn show_line<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        match self.format {
            Format::Json => self.line(&json::compact(&serde_json::to_string(value)?)),
            Format::Table => self.line(&text()),
        }
    }

    /// Writes a line for people. A reader that has closed the stream, such as `head`, is not an error.
    ///
    /// No character acts on the terminal except for this program's colours.
    pub fn line(&self, text: &str) -> anyhow::Result<()> {
        self.data(&terminal::guard(text))
    }

    /// Writes a file to standard output unchanged. A terminal gets only printable characters.
    pub fn file(&self, text: &str) -> anyhow::Result<()> {
        if std::io::stdout().is_terminal() { self.line(text) } else { self.data(text) }
    }

    fn data(&self, text: &str) -> anyhow::Result<()> {
        Ok(stdio::answer(text).map(drop)?)
    }

    /// Marks text about a failure.
    pub fn bad(&self, text: &str) -> String {
        self.paint(text, "1;31")
    }

    /// Emphasises text.
    pub fn strong(&self, text: &str) -> String {
        self.paint(text, "1")
    }

    /// De-emphasises text.
    pub fn faint(&self, text: &str) -> String {
        self.paint(text, "2")
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Writes a line for people to standard error: an error, or a note beside the answer.
///
/// Nothing in it acts on a terminal.
pub fn note(text: &str) {
    stdio::note(&terminal::guard(text));
}

/// A table without lines: a header and rows, as wide as the terminal allows. A cell has one line.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = lineless();
    table.set_header(header.map(heading));
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| terminal::harmless(&cell))));
    table
}

/// Writes a heading in capitals, but for units that are none of their own in them: the capital of µ is that of m.
fn heading(text: &str) -> String {
    let word = |word: &str| if word.is_ascii() { word.to_ascii_uppercase() } else { word.to_owned() };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// An empty table without lines.
pub fn lineless() -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

/// Writes a table without the padding at the ends of its lines.
pub fn render(table: &Table) -> String {
    let lines: Vec<String> =
        table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Aligns the columns from `first` on to the right: numbers.
pub fn right_from(table: &mut Table, first: usize) {
    table.column_iter_mut().skip(first).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
}

/// Writes names and values below each other. Further lines of a value are indented, so that none looks like a name.
pub fn pairs<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<(&str, String)> = rows.into_iter().collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = rows
        .iter()
        .map(|(name, value)| format!("{name:width$}  {}", hanging(value, width + 2)).trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// Writes text whose lines, except for the first, begin at a column.
pub fn hanging(text: &str, column: usize) -> String {
    terminal::harmless_lines(text).replace('\n', &format!("\n{:column$}", ""))
}

/// Writes seconds with the digits that matter: `12 ms`, `1.20 s`, `3 min 20 s`.
pub fn seconds(value: f64) -> String {
    // A zero has no sign for people; the sum of no values is negative zero.
    match value + 0.0 {
        v if !v.is_finite() => "–".to_owned(),
        v if v < 0.9995 => format!("{:.0} ms", v * 1_000.0),
        v if v < 100.0 => format!("{v:.2} s"),
        v if v < 3_599.5 => format!("{:.0} min {:.0} s", (v.round() / 60.0).floor(), v.round() % 60.0),
        v => {
            let minutes = (v / 60.0).round();
            format!("{:.0} h {:.0} min", (minutes / 60.0).floor(), minutes % 60.0)
        }
    }
}

/// Writes a count with thousands apart: `12,345`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Writes a share as a percentage that never rounds up to 100 %.
pub fn percent(share: f64) -> String {
    let floored = (share * 10_000.0 + 1e-9).floor() / 100.0;
    format!("{floored:.2} %")
}

/// Writes a share of late tasks, to the nearest hundredth of a per cent. A few are never written as none.
///
/// The pages do the same, in `forms.js` of the dashboard.
pub fn late(share: f64) -> String {
    if share > 0.0 && share < 0.000_05 { "< 0.01 %".to_owned() } else { format!("{:.2} %", 100.0 * share) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            [-0.0, 0.0124, 1.2, 59.999, 200.0, 7_199.0, 7_300.0].map(seconds).join(" | "),
            "0 ms | 12 ms | 1.20 s | 60.00 s | 3 min 20 s | 2 h 0 min | 2 h 2 min"
        );
        assert_eq!([0, 999, 1_000, 1_234_567].map(count).join(" "), "0 999 1,000 1,234,567");
        assert_eq!([1.0, 0.99999, 0.99, 0.0].map(percent).join(" "), "100.00 % 99.99 % 99.00 % 0.00 %");
        assert_eq!([0.0, 1e-6, 0.005_746, 1.0].map(late).join(" | "), "0.00 % | < 0.01 % | 0.57 % | 100.00 %");
    }

    #[test]
    fn a_table_has_no_lines_and_no_padding() {
        let mut table = table(["pool", "agents"], [["coder".into(), "12".into()], ["x".into(), "3".into()]]);
        right_from(&mut table, 1);
        insta::assert_snapshot!(render(&table), @r"
        POOL   AGENTS
        coder      12
        x           3
        ");
    }

    #[test]
    fn a_unit_in_a_heading_is_left_as_it_is() {
        let table = table(["encode µs", "snapshot B"], [["1".into(), "2".into()]]);
        assert!(render(&table).starts_with("ENCODE µs  SNAPSHOT B\n"), "{}", render(&table));
    }

    #[test]
    fn no_line_of_a_value_looks_like_another_name_or_row() {
        let text = pairs([("output", "all is well\nstate  succeeded\u{1b}[2J".into()), ("state", "failed".into())]);
        assert_eq!(text, "output  all is well\n        state  succeeded·[2J\nstate   failed");
        assert_eq!(render(&table(["pool"], [["a\nb\u{9b}m".into()]])), "POOL\na·b·m");
    }

    #[test]
    fn pairs_are_aligned() {
        insta::assert_snapshot!(pairs([("id", "1".into()), ("state", "queued".into())]), @r"
        id     1
        state  queued
        ");
    }
}

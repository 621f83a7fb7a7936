//! Answers for people.

use std::time::Duration;

use forerunner_console::output::{Output, count, late, lineless, percent, render, right_from, seconds, table};
use forerunner_core::format_duration;

use super::{
    cell::Cell,
    study::{Row, Study},
};

/// Longest text of settings in a table.
const SETTINGS_WIDTH: usize = 24;
/// Rows of a cell that are bounds, not policies: perfect knowledge and the work alone.
const BOUNDS: usize = 2;

/// A table a cell: every policy with what it cost and how many tasks were late.
pub fn compare(study: &Study, out: &Output) -> String {
    let tables: Vec<String> = (0..study.cells.len()).map(|cell| one(study, cell, out)).collect();
    format!("{}\n\n{}", tables.join("\n\n"), out.faint(&legend(study)))
}

fn one(study: &Study, cell: usize, out: &Output) -> String {
    let rows = study.rows(cell);
    let has_settings = rows.iter().skip(BOUNDS).any(|row| !row.report.params.is_empty());
    let mut table = lineless();
    let is_behind = rows.iter().any(|row| row.report.wait_context_s.max > 0.0);
    let mut header = vec!["POLICY", "MET", "LATE", "COST", "WAIT P99", "PEAK"];
    if is_behind {
        header.push("BEHIND P99");
    }
    if has_settings {
        header.push("SETTINGS");
    }
    table.set_header(header);
    for (index, row) in rows.iter().enumerate() {
        let mut line = line(row).to_vec();
        if is_behind {
            line.push(if index < BOUNDS { "–".to_owned() } else { seconds(row.report.wait_context_s.p99) });
        }
        if has_settings {
            line.push(if index < BOUNDS { String::new() } else { settings(row) });
        }
        table.add_row(line);
    }
    right_from(&mut table, 2);
    if has_settings && let Some(column) = table.column_mut(6 + usize::from(is_behind)) {
        column.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    format!("{}\n{}", out.strong(&title(&study.cells[cell], &rows)), render(&table))
}

fn title(cell: &Cell, rows: &[Row]) -> String {
    let limits = &cell.replay.limits;
    let tasks = rows.first().map_or(0, |row| row.report.tasks);
    format!(
        "{}, cold start {}: {} tasks, {} to {} agents",
        cell.trace,
        duration(limits.cold_start_s),
        count(tasks),
        limits.min,
        limits.max,
    )
}

fn line(row: &Row) -> [String; 6] {
    let report = &row.report;
    [
        format!("{}{}", report.policy, if row.tuned { "*" } else { "" }),
        if row.meets_objective { "yes" } else { "no" }.to_owned(),
        late(report.late_share),
        row.ratio_to_perfect.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
        seconds(report.wait_s.p99),
        count(u64::from(report.peak_pool)),
    ]
}

/// Writes a setting as a person would: `10s`.
fn duration(seconds: f64) -> String {
    format_duration(Duration::from_secs_f64(seconds))
}

fn settings(row: &Row) -> String {
    let params = &row.report.params;
    let shown: String = params.chars().take(SETTINGS_WIDTH).collect();
    let cut = if shown.len() < params.len() { "…" } else { "" };
    format!("{shown}{cut}")
}

fn legend(study: &Study) -> String {
    let Some(cell) = study.cells.first() else { return String::new() };
    let objective = cell.replay.limits.objective;
    let is_behind =
        (0..study.cells.len()).flat_map(|cell| study.rows(cell)).any(|row| row.report.wait_context_s.max > 0.0);
    let behind = match is_behind {
        true => {
            "WAIT counts from when a task could start. BEHIND is the wait before that,\nfor the task before it in its session.\n"
        }
        false => "",
    };
    format!(
        "MET: at least {} of the tasks started within {}. COST: agent-seconds\n\
         relative to `perfect`, which knows the arrivals one cold start ahead and\n\
         all service times.\n{behind}\
         *: settings found in hindsight.",
        percent(objective.share),
        duration(objective.within_s),
    )
}

/// The price of each objective: a table for each trace, cold start and policy.
pub fn what_if(study: &Study, out: &Output) -> String {
    let mut tables = Vec::new();
    for group in groups(study) {
        let cell = &study.cells[group[0].0];
        let base = group[0].1.report.instance_s;
        let rows = group.iter().map(|(cell, row)| price(row, base, study.cells[*cell].least_fixed));
        let header = ["on time", "met", "late", "agent-hours", "cost", "wait p99", "peak", "fixed pool"];
        let mut shown = table(header, rows);
        right_from(&mut shown, 0);
        let title = format!(
            "{}, cold start {}, {}: {} tasks, up to {} agents",
            cell.trace,
            duration(cell.replay.limits.cold_start_s),
            group[0].1.report.policy,
            count(group[0].1.report.tasks),
            cell.replay.limits.max,
        );
        tables.push(format!("{}\n{}", out.strong(&title), render(&shown)));
    }
    let within = study.cells.first().map_or(1.0, |cell| cell.replay.limits.objective.within_s);
    let legend = format!(
        "ON TIME: share of tasks asked to start within {}. COST: agent-hours relative to the first row.\n\
         FIXED POOL: the least constant number of agents that would have met it.",
        duration(within)
    );
    format!("{}\n\n{}", tables.join("\n\n"), out.faint(&legend))
}

fn price(row: &Row, base_s: f64, least_fixed: u32) -> [String; 8] {
    let report = &row.report;
    [
        percent(report.objective.share),
        if row.meets_objective { "yes" } else { "no" }.to_owned(),
        late(report.late_share),
        format!("{:.1}", report.instance_s / 3_600.0),
        if base_s > 0.0 { format!("{:.2}", report.instance_s / base_s) } else { "–".to_owned() },
        seconds(report.wait_s.p99),
        count(u64::from(report.peak_pool)),
        count(u64::from(least_fixed)),
    ]
}

/// Rows with their cells that differ in the objective alone.
fn groups(study: &Study) -> Vec<Vec<(usize, Row)>> {
    let mut groups: Vec<Vec<(usize, Row)>> = Vec::new();
    for cell in 0..study.cells.len() {
        for row in study.rows(cell).into_iter().skip(BOUNDS) {
            let same = |(other, _): &(usize, Row)| {
                let (a, b) = (&study.cells[*other], &study.cells[cell]);
                a.source == b.source && a.replay.limits.cold_start_s == b.replay.limits.cold_start_s
            };
            let fits = |group: &&mut Vec<(usize, Row)>| {
                let (_, first) = &group[0];
                same(&group[0])
                    && (&first.report.policy, &first.report.params) == (&row.report.policy, &row.report.params)
            };
            match groups.iter_mut().find(fits) {
                Some(group) => group.push((cell, row)),
                None => groups.push(vec![(cell, row)]),
            }
        }
    }
    groups
}

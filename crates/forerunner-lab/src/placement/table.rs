//! The figures, for people and for the manual.

use std::fmt::Write;

use forerunner_console::output::{self, count, render, right_from, seconds};
use forerunner_sim::{PlacementPolicy, PlacementReport};
use serde::Serialize;

/// The figures of one policy, and those of `first-ready` at the same rate.
#[derive(Debug, Serialize)]
pub struct Row {
    #[serde(flatten)]
    report: PlacementReport,
    /// Time lost, relative to `first-ready`; absent without it.
    lost_ratio: Option<f64>,
}

impl Row {
    /// Compares reports with the one of `first-ready` at the same rate.
    pub fn all(reports: Vec<PlacementReport>) -> Vec<Self> {
        let lost = |report: &PlacementReport| {
            let same = |other: &&PlacementReport| {
                other.policy == PlacementPolicy::FirstReady.as_str()
                    && other.restore_s_per_mb == report.restore_s_per_mb
            };
            let base = reports.iter().find(same).map(|base| base.wait_and_restore_s);
            base.filter(|base| *base > 0.0).map(|base| report.wait_and_restore_s / base)
        };
        let ratios: Vec<Option<f64>> = reports.iter().map(lost).collect();
        reports.into_iter().zip(ratios).map(|(report, lost_ratio)| Self { report, lost_ratio }).collect()
    }

    fn policy(&self) -> String {
        let how = if self.report.shared_store { " (node-shared)" } else { "" };
        format!("{}{how}", self.report.policy)
    }

    fn cells(&self) -> [String; 9] {
        let Self { report, lost_ratio } = self;
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        [
            format!("{} s/MB", report.restore_s_per_mb),
            self.policy(),
            percent(report.hit_share),
            percent(report.share_of_limit),
            format!("{} MB", count((report.moved_bytes as f64 / 1e6).round() as u64)),
            seconds(report.wait_s),
            seconds(report.restore_s),
            seconds(report.wait_and_restore_s),
            lost_ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
        ]
    }
}

const HEADER: [&str; 9] = ["restore", "policy", "hit", "of limit", "moved", "wait", "restore", "lost", "× first-ready"];

/// Writes the rows as a table.
pub fn text(rows: &[Row]) -> String {
    let Some(Row { report: first, .. }) = rows.first() else { return String::new() };
    let mut table = output::table(HEADER, rows.iter().map(Row::cells));
    right_from(&mut table, 2);
    format!("{}\n\n{}", about(first), render(&table))
}

/// Writes the rows in Markdown.
pub fn markdown(rows: &[Row]) -> String {
    let Some(Row { report: first, .. }) = rows.first() else { return String::new() };
    let mut text = format!("{}\n\n| {} |\n|--:|---|--:|--:|--:|--:|--:|--:|--:|\n", about(first), HEADER.join(" | "));
    for row in rows {
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {} |", row.cells().join(" | "));
    }
    text
}

fn about(report: &PlacementReport) -> String {
    let room = match (report.cache_bytes, report.cache_contexts) {
        (_, Some(contexts)) => format!("{} contexts", count(contexts)),
        (bytes, None) => format!("{} MB", bytes.unwrap_or_default() as f64 / 1e6),
    };
    format!(
        "{}: {} tasks, {} agents with {room} each; limit {:.1} %.",
        report.trace,
        count(report.tasks as u64),
        report.agents,
        report.hit_limit * 100.0,
    )
}

#[cfg(test)]
mod tests {
    use forerunner_sim::{PlacementLoad, PlacementReplay, PlacementTask, replay_placement};

    use super::*;

    #[test]
    fn rows_are_compared_with_first_ready_at_the_same_rate() {
        let task = |(turn, arrival_s): (u32, f64)| PlacementTask {
            arrival_s,
            service_s: 1.0,
            context: turn % 2,
            turn: 0,
            bytes: 1_000_000,
            shared_bytes: if turn < 2 { 0 } else { 1_000_000 },
            base_bytes: 0,
        };
        let load = PlacementLoad::new("day", [(0, 0.0), (1, 0.0), (3, 9.0), (2, 9.5)].map(task).to_vec());
        let settings = PlacementReplay { agents: 2, ..PlacementReplay::default() };
        let policies = [PlacementPolicy::FirstReady, PlacementPolicy::Ours];
        let rows = Row::all(policies.map(|policy| replay_placement(&load, policy, &settings, |_| ())).to_vec());
        insta::assert_snapshot!(text(&rows), @r"
        day: 4 tasks, 2 agents with 4 MB each; limit 50.0 %.

        RESTORE  POLICY          HIT  OF LIMIT  MOVED  WAIT  RESTORE    LOST  × FIRST-READY
        2 s/MB   first-ready   0.0 %     0.0 %   4 MB  0 ms   2.00 s  2.00 s           1.00
        2 s/MB   ours         50.0 %   100.0 %   2 MB  0 ms   1.00 s  1.00 s           0.50
        ");
        assert!(markdown(&rows).contains("| 2 s/MB | ours | 50.0 % | 100.0 % |"), "{}", markdown(&rows));
    }
}

//! The figures of each corpus.

use forerunner_console::output;
use serde::Serialize;

/// What one corpus showed. Bytes are sums over the turns.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub corpus: String,
    /// Turns that were measured.
    pub turns: usize,
    /// Every context as JSON.
    pub full_json_bytes: u64,
    /// Every context packed by zstd at level 3.
    pub zstd3_full_bytes: u64,
    /// Bytes sent to a receiver that has the turn before.
    pub delta_bytes: u64,
    /// The same as JSON, as an agent process sees it: the appended items, or the steps of an edit.
    pub plain_delta_bytes: u64,
    /// Bytes sent to a receiver that has the dictionary and base items only.
    pub cold_bytes: u64,
    /// What edited histories move, against appended ones.
    pub edit_ratio: EditRatio,
    /// From new messages to a frame.
    pub encode_us: Quantiles,
    /// From a whole context in JSON to bytes of zstd at level 3.
    pub zstd3_full_us: Quantiles,
    /// From a frame to the context.
    pub decode_us: Quantiles,
    /// What storing and restoring costs by the compaction rule, against the best plan in hindsight: the worst over 0.01 to
    /// 5 restores a turn and all edits.
    pub compaction_cost_ratio: f64,
}

/// Bytes of an edit, over bytes of appending.
#[derive(Debug, Serialize)]
pub struct EditRatio {
    /// Old tool outputs replaced by stubs.
    pub window: f64,
    /// The middle replaced by a summary.
    pub compaction: f64,
    /// A marker that moves to the last message.
    pub marker: f64,
}

/// Times in microseconds, nearest rank.
#[derive(Debug, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

impl Quantiles {
    /// Of no times, both are 0.
    pub fn of(mut times: Vec<f64>) -> Self {
        times.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * times.len() as f64).ceil() as usize;
            times.get(rank.max(1) - 1).map_or(0.0, |time| (time * 10.0).round() / 10.0)
        };
        Self { p50: at(0.50), p99: at(0.99) }
    }
}

/// Writes the reports for people.
pub fn table(reports: &[Report]) -> String {
    let per_turn = |report: &Report, bytes: u64| bytes as f64 / report.turns.max(1) as f64;
    let share = |report: &Report, bytes: u64| {
        let full = report.full_json_bytes.max(1) as f64;
        format!("{} ({:.2} %)", output::count(per_turn(report, bytes).round() as u64), bytes as f64 / full * 100.0)
    };
    let mut bytes = output::table(
        [
            "corpus",
            "turns",
            "full JSON",
            "zstd-3 of full",
            "cold",
            "delta",
            "as JSON",
            "window",
            "compaction",
            "marker",
        ],
        reports.iter().map(|report| {
            [
                report.corpus.clone(),
                output::count(report.turns as u64),
                output::count(per_turn(report, report.full_json_bytes).round() as u64),
                share(report, report.zstd3_full_bytes),
                share(report, report.cold_bytes),
                share(report, report.delta_bytes),
                share(report, report.plain_delta_bytes),
                format!("{:.2}", report.edit_ratio.window),
                format!("{:.2}", report.edit_ratio.compaction),
                format!("{:.2}", report.edit_ratio.marker),
            ]
        }),
    );
    output::right_from(&mut bytes, 1);
    let both = |times: &Quantiles| format!("{:.0} / {:.0}", times.p50, times.p99);
    let mut times = output::table(
        ["corpus", "encode µs", "zstd-3 of full µs", "decode µs", "compaction ÷ optimum"],
        reports.iter().map(|report| {
            [
                report.corpus.clone(),
                both(&report.encode_us),
                both(&report.zstd3_full_us),
                both(&report.decode_us),
                format!("{:.3}", report.compaction_cost_ratio),
            ]
        }),
    );
    output::right_from(&mut times, 1);
    format!(
        "Bytes a turn, and their share of full JSON; edits against appending\n{}\n\nTimes p50 / p99\n{}",
        output::render(&bytes),
        output::render(&times)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            corpus: "talks".into(),
            turns: 100,
            full_json_bytes: 1_234_500,
            zstd3_full_bytes: 400_000,
            delta_bytes: 17_000,
            plain_delta_bytes: 120_000,
            cold_bytes: 110_000,
            edit_ratio: EditRatio { window: 1.04, compaction: 1.1, marker: 1.2 },
            encode_us: Quantiles { p50: 12.3, p99: 80.0 },
            zstd3_full_us: Quantiles { p50: 70.0, p99: 200.0 },
            decode_us: Quantiles::of(vec![]),
            compaction_cost_ratio: 1.0312,
        }
    }

    #[test]
    fn the_table_has_shares_and_ratios() {
        let table = table(&[report()]);
        for part in [
            "12,345",
            "4,000 (32.40 %)",
            "1,100 (8.91 %)",
            "170 (1.38 %)",
            "1,200 (9.72 %)",
            "1.20",
            "12 / 80",
            "1.031",
        ] {
            assert!(table.contains(part), "{part} in\n{table}");
        }
    }

    #[test]
    fn the_fields_are_the_documented_ones() {
        let json = serde_json::to_value(report()).unwrap();
        let mut fields: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        let mut expected = [
            "corpus",
            "turns",
            "full_json_bytes",
            "zstd3_full_bytes",
            "delta_bytes",
            "plain_delta_bytes",
            "cold_bytes",
            "edit_ratio",
            "encode_us",
            "zstd3_full_us",
            "decode_us",
            "compaction_cost_ratio",
        ];
        expected.sort_unstable();
        fields.sort_unstable();
        assert_eq!(fields, expected);
    }

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let times = Quantiles::of((1..=200).rev().map(f64::from).collect());
        assert_eq!((times.p50, times.p99), (100.0, 198.0));
    }
}

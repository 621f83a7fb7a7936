//! Everything that can be measured can be measured. How fast it is, is no matter of a test.

use forerunner_bench::{Options, Progress, Report, Unit};

type Measurement = fn(&Options, &mut dyn FnMut(Progress)) -> Result<Report, forerunner_bench::Error>;

fn quick(measure: Measurement, name: &str, units: &[Unit]) -> Report {
    let mut heard = Vec::new();
    let report = measure(&Options::quick(), &mut |progress| heard.push(progress)).unwrap();
    assert_eq!((report.name, report.repetitions), (name, 1));
    let last = heard.last().unwrap();
    assert_eq!((last.done, heard.len()), (last.total, last.total + 1), "progress is told sample by sample");
    for row in &report.rows {
        assert!(row.ours > 0.0 && row.ours.is_finite(), "{row:?}");
        assert!(row.ratio.is_none_or(|ratio| ratio > 0.0), "{row:?}");
        assert_eq!(row.ratio.is_some(), row.reference_value.is_some(), "{row:?}");
        assert!(units.contains(&row.unit), "{row:?}");
        assert!(report.table().contains(&row.what));
    }
    report
}

#[test]
fn tasks_in_process_are_measured_with_throughput_and_round_trips() {
    let report = quick(forerunner_bench::in_process, "in-process", &[Unit::TasksPerS, Unit::Micros, Unit::Bytes]);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["rows"][0]["unit"], "tasks_per_s");
    assert!(report.rows.iter().any(|row| row.unit == Unit::Micros && row.met.is_some()));
}

#[test]
fn tasks_over_http_are_measured_beside_a_bare_handler() {
    let report = quick(forerunner_bench::http, "http", &[Unit::RequestsPerS]);
    assert_eq!(report.rows.len(), 3);
}

#[test]
fn tasks_on_disk_are_measured_beside_the_store_and_the_disk() {
    let report = quick(forerunner_bench::durable, "durable", &[Unit::TasksPerS]);
    assert!(report.rows.iter().any(|row| row.reference.starts_with("append")));
}

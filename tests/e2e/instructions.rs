//! `forerunner bench instructions`: the program counts its own instructions below callgrind.

use std::time::Duration;

use forerunner_e2e::Site;

#[actix_rt::test]
async fn instructions_are_counted_beside_those_of_the_references() {
    let site = Site::new();
    let program = site.program().within(Duration::from_secs(300));
    let report = program.run(["bench", "instructions", "--quick", "--output", "json"]).await.ended(0).json();
    let rows = report["rows"].as_array().expect("the report has rows");
    assert_eq!(rows.len(), 4, "{report}");
    for row in rows {
        assert_eq!(row["unit"], "instructions", "{row}");
        // A start costs millions: what is left is what a task costs.
        let (ours, reference) = (row["ours"].as_f64().unwrap(), row["reference_value"].as_f64().unwrap());
        assert!(ours > 1_000.0 && reference > 100.0 && ours.max(reference) < 20e6, "{row}");
        assert_eq!(row["ratio"].as_f64().map(|ratio| (ratio * 1e6).round()), Some((ours / reference * 1e6).round()));
    }
}

#[actix_rt::test]
async fn without_valgrind_the_package_is_named() {
    let site = Site::new();
    let failed = site.program().env("PATH", "/nowhere").run(["bench", "instructions", "--quick"]).await.ended(1);
    assert!(failed.stderr.contains("install the package `valgrind`"), "{}", failed.stderr);
}

//! Compares the documents with the code: metrics, and the code in the README.

use std::{cell::RefCell, fs, path::Path};

use forerunner_http::describe_metrics;
use forerunner_runtime::metrics::{ALL, MetricInfo, MetricKind};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Reads a file of the repository.
fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of the table rows whose first cell is a name in backticks that `is_named` accepts.
fn rows(text: &str, is_named: impl Fn(&str) -> bool) -> Vec<Vec<&str>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").map(str::trim).collect::<Vec<_>>())
        .filter(|cells| cells[0].strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).is_some_and(&is_named))
        .collect()
}

/// Notes what is described, as kind, name and help.
#[derive(Default)]
struct RecordedHelp(RefCell<Vec<(&'static str, String, String)>>);

impl RecordedHelp {
    fn note(&self, kind: &'static str, name: &KeyName, help: &SharedString) {
        self.0.borrow_mut().push((kind, name.as_str().to_owned(), help.to_string()));
    }
}

impl Recorder for RecordedHelp {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.note("counter", &name, &help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.note("gauge", &name, &help);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.note("histogram", &name, &help);
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn row_of(metric: &MetricInfo) -> String {
    let kind = match metric.kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    };
    let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    format!("| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help)
}

#[test]
fn the_manual_of_metrics_has_every_metric_and_no_other() {
    let manual = read("docs/metrics.md");
    for metric in ALL {
        let row = row_of(metric);
        assert!(manual.lines().any(|line| line == row), "docs/metrics.md lacks this row:\n{row}");
    }
    let noted = RecordedHelp::default();
    metrics::with_local_recorder(&noted, describe_metrics);
    let served = noted.0.into_inner();
    for (kind, name, help) in &served {
        let known = rows(&manual, |cell| cell == name);
        let [row] = known.as_slice() else { panic!("docs/metrics.md names {name} {} times", known.len()) };
        assert_eq!((row[1], *row.last().unwrap()), (*kind, help.as_str()), "{name}");
    }
    let documented = rows(&manual, |name| name.starts_with("forerunner_")).len();
    assert_eq!(documented, ALL.len() + served.len(), "docs/metrics.md has metrics that the code has not");
}

#[test]
fn metrics_named_in_the_manuals_exist() {
    let noted = RecordedHelp::default();
    metrics::with_local_recorder(&noted, describe_metrics);
    let served: Vec<_> = noted.0.into_inner().into_iter().map(|(_, name, _)| name).collect();
    for path in ["docs/OPERATIONS.md", "docs/forecasting.md", "README.md"] {
        let text = read(path);
        let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
        for word in words.filter(|word| word.starts_with("forerunner_") && !is_crate(word)) {
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
            let known = ALL.iter().any(|metric| metric.name == name) || served.iter().any(|served| served == name);
            assert!(known, "{path} names {word}, which is no metric");
        }
    }
}

/// Crates are named in log filters.
fn is_crate(word: &str) -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(word.replace('_', "-")).is_dir()
}

#[test]
fn the_code_of_the_readme_is_that_of_the_quick_starts() {
    let readme = read("README.md");
    for (language, path) in
        [("rust", "crates/forerunner/examples/quickstart.rs"), ("python", "docs/quickstart/python.md")]
    {
        let example = read(path);
        let fence = format!("```{language}\n");
        let blocks: Vec<_> = readme.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!blocks.is_empty(), "the README shows no {language}");
        for block in blocks {
            assert!(example.contains(block), "no part of {path}:\n{block}");
        }
    }
}

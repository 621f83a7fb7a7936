//! Finding and reading traces.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use forerunner_console::Usage;
use forerunner_sim::Trace;

use crate::import::{self, ImportArgs};

/// Time at the start that does not count, by default.
const WARM_UP_S: f64 = 300.0;

/// A trace, and how much of its begin does not count.
#[derive(Debug)]
pub struct Source {
    /// The tasks.
    pub trace: Trace,
    /// Seconds at the begin that do not count.
    pub warm_up_s: f64,
}

/// Reads all named traces, and all traces in the named directories. The second value has the messages about them.
///
/// # Errors
/// The first trace that cannot be used, or whose tasks all fall into a warm-up that was asked for.
pub fn read(paths: &[PathBuf], how: &ImportArgs, warm_up_s: Option<f64>) -> anyhow::Result<(Vec<Source>, Vec<String>)> {
    let (mut sources, mut notes) = (Vec::new(), Vec::new());
    if paths.iter().filter(|path| *path == Path::new("-")).count() > 1 {
        bail!(Usage("standard input can be read once; name `-` once".to_owned()));
    }
    for path in files(paths)? {
        let import::ImportedTrace { trace, notes: trace_notes, .. } = import::read(&path, how)?;
        notes.extend(trace_notes);
        let span_s = trace.span_s();
        let warm_up_s = match warm_up_s {
            Some(asked) if span_s < asked => {
                let text = format!(
                    "trace `{}` ends after {span_s:.0} s, within the warm-up of {asked:.0} s, so that no task would count; \
                     use a shorter --warmup",
                    path.display()
                );
                return Err(Usage(text).into());
            }
            None if span_s < WARM_UP_S => {
                notes.push(format!(
                    "trace `{}` ends after {span_s:.0} s: every task counts, without a warm-up",
                    trace.name()
                ));
                0.0
            }
            asked => asked.unwrap_or(WARM_UP_S),
        };
        sources.push(Source { trace, warm_up_s });
    }
    Ok((sources, notes))
}

fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let found = inside(path)?;
            if found.is_empty() {
                bail!(Usage(format!("directory `{}` has no trace; expected are *.csv and *.csv.gz", path.display())));
            }
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// The traces in a directory, by name: files that end in `.csv` or `.csv.gz` and have nothing else before that.
/// `day.blocks.csv.gz` is a companion of `day.csv.gz`, not a trace.
fn inside(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listed = fs::read_dir(directory).with_context(|| format!("cannot list directory `{}`", directory.display()))?;
    let paths: Result<Vec<PathBuf>, _> = listed.map(|entry| Ok::<_, std::io::Error>(entry?.path())).collect();
    let is_trace = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.strip_suffix(".csv.gz").or_else(|| name.strip_suffix(".csv"));
        stem.is_some_and(|stem| !stem.contains('.'))
    };
    let mut traces: Vec<PathBuf> = paths?.into_iter().filter(is_trace).collect();
    traces.sort();
    Ok(traces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_its_traces_and_short_ones_have_no_warm_up() {
        let folder = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
        write("b.csv", "arrival_s,service_s\n0,1\n400,1\n");
        write("a.csv", "arrival_s,service_s\n0,1\n40,1\n");
        write("a.blocks.csv", "companion\n");
        write("README.md", "");
        let all = [folder.path().to_owned()];
        let (sources, notes) = read(&all, &ImportArgs::default(), None).expect("two traces");
        let read_as: Vec<_> = sources.iter().map(|source| (source.trace.name(), source.warm_up_s)).collect();
        assert_eq!(read_as, [("a", 0.0), ("b", 300.0)]);
        assert_eq!(notes, ["trace `a` ends after 40 s: every task counts, without a warm-up"]);
        let refused = read(&all, &ImportArgs::default(), Some(60.0)).expect_err("a is shorter").to_string();
        assert!(refused.contains("use a shorter --warmup"), "{refused}");
    }
}

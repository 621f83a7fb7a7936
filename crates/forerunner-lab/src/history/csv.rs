//! Finished tasks as a trace.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use forerunner_core::Timestamp;

use super::finished::FinishedTask;

/// A trace as text.
#[derive(Debug, PartialEq)]
pub struct TraceText {
    /// The lines.
    pub text: String,
    /// Different contexts in it.
    pub contexts: usize,
}

/// The last two columns are for people and other programs: a replay finds out itself who waits.
const HEADER: &str =
    "arrival_s,service_s,context_tokens,output_tokens,session,announced_s,wait_agent_s,wait_context_s\n";

/// Writes tasks in order of time as a trace. Times are to the microsecond, as in the service.
pub fn write(tasks: &[FinishedTask], keep_context_ids: bool) -> TraceText {
    let mut text = String::from(HEADER);
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    for task in tasks {
        let arrival_s = task.due.since(tasks[0].due).as_secs_f64();
        let session = task.context.as_deref().map_or_else(String::new, |context| {
            let next = numbers.len();
            let number = *numbers.entry(context).or_insert(next);
            if keep_context_ids { quoted(context) } else { number.to_string() }
        });
        let announced_s = task.known_before.map_or_else(String::new, |at| seconds_from(tasks[0].due, at).to_string());
        // Writing to a string does not fail.
        let waits = task.waits_s.map_or_else(|| ",".to_owned(), |(agent, context)| format!("{agent},{context}"));
        let _ = writeln!(text, "{arrival_s},{},,,{session},{announced_s},{waits}", task.service_s);
    }
    TraceText { text, contexts: numbers.len() }
}

/// Seconds from `begin` to `at`, negative before it.
fn seconds_from(begin: Timestamp, at: Timestamp) -> f64 {
    if at < begin { -begin.since(at).as_secs_f64() } else { at.since(begin).as_secs_f64() }
}

/// Quotes a field that needs it (RFC 4180).
fn quoted(field: &str) -> String {
    let needs_it = field.contains([',', '"', '\n', '\r']) || field.trim() != field;
    if needs_it { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}

/// Writes a file, in gzip if its name ends in `.gz`.
pub fn save(path: &Path, text: &str) -> io::Result<()> {
    if path.extension().is_none_or(|extension| extension != "gz") {
        return fs::write(path, text);
    }
    let mut encoder = GzEncoder::new(fs::File::create(path)?, Compression::default());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()?.sync_all()
}

#[cfg(test)]
mod tests {
    use forerunner_sim::Trace;

    use super::*;

    fn tasks() -> Vec<FinishedTask> {
        let task = |micros: i64, service_s, context: Option<&str>| FinishedTask {
            due: Timestamp::from_micros(1_700_000_000_000_000 + micros),
            service_s,
            context: context.map(str::to_owned),
            waits_s: (micros == 2_000_000).then_some((0.25, 1.5)),
            known_before: (micros == 2_000_000).then_some(Timestamp::from_micros(1_699_999_999_500_000)),
        };
        vec![task(0, 2.5, Some("a, \"b\"")), task(1_250_000, 0.125, None), task(2_000_000, 1.0, Some("a, \"b\""))]
    }

    #[test]
    fn contexts_are_numbered_unless_their_ids_are_asked_for() {
        let header = HEADER;
        let written = write(&tasks(), false);
        assert_eq!(
            (written.text, written.contexts),
            (format!("{header}0,2.5,,,0,,,\n1.25,0.125,,,,,,\n2,1,,,0,-0.5,0.25,1.5\n"), 1)
        );
        assert!(write(&tasks(), true).text.contains("0,2.5,,,\"a, \"\"b\"\"\",,,\n"));
    }

    #[test]
    fn what_is_saved_can_be_replayed() {
        let folder = tempfile::tempdir().expect("a directory");
        for (name, keep) in [("day.csv", true), ("day.csv.gz", false)] {
            let path = folder.path().join(name);
            save(&path, &write(&tasks(), keep).text).expect("written");
            let trace = Trace::read(&path).expect("a trace");
            let read: Vec<_> =
                trace.tasks().iter().map(|task| (task.arrival_s, task.service_s, task.session)).collect();
            let announced: Vec<_> = trace.tasks().iter().map(|task| task.announced_s).collect();
            assert_eq!(announced, [None, None, Some(-0.5)]);
            assert_eq!(read, [(0.0, 2.5, Some(0)), (1.25, 0.125, None), (2.0, 1.0, Some(0))]);
        }
    }
}

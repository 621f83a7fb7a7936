//! Recorded tasks: when each arrived, and how long an agent worked on it.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::File,
    io::{BufReader, Cursor, Read},
    path::Path,
};

use csv::StringRecord;
use flate2::read::MultiGzDecoder;

use crate::{Error, conversations};

/// Longest span and longest task, in seconds: a leap year. Greater figures are not seconds since a start, but perhaps
/// since 1970 as in a log, and a replay would hardly end.
const MOST_S: f64 = 366.0 * 86_400.0;

/// Characters of a header that a message quotes at most.
const MOST_QUOTED: usize = 80;

/// One recorded task.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TraceTask {
    /// Seconds from the begin of the trace to the arrival, at least 0.
    pub arrival_s: f64,
    /// Seconds on an agent, at least 0.
    pub service_s: f64,
    /// Size of the context, where recorded.
    pub context_tokens: Option<f64>,
    /// Tokens written, where recorded.
    pub output_tokens: Option<f64>,
    /// Number of the session it belongs to, where recorded: tasks of one session share a context.
    pub session: Option<u32>,
    /// Seconds from the start of the trace to the time when the task was announced: negative before the start, `None`
    /// at its arrival. For tasks that were delayed, retried or scheduled.
    pub announced_s: Option<f64>,
}

/// Recorded tasks in order of arrival, never none.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    name: String,
    tasks: Vec<TraceTask>,
}

impl Trace {
    /// Makes a trace from tasks, sorted by arrival; equal arrivals stay in their order.
    ///
    /// # Errors
    /// [`Error::Empty`] without tasks.
    pub fn new(name: impl Into<String>, mut tasks: Vec<TraceTask>) -> Result<Self, Error> {
        let name = name.into();
        if tasks.is_empty() {
            return Err(Error::Empty { name, from_s: 0.0, to_s: f64::INFINITY });
        }
        // A stable sort needs half as much memory again, and most recordings are in order.
        if !tasks.is_sorted_by(|a, b| a.arrival_s <= b.arrival_s) {
            tasks.sort_by(|a, b| a.arrival_s.total_cmp(&b.arrival_s));
        }
        Ok(Self { name, tasks })
    }

    /// Reads a trace from CSV, plain or in gzip. The first two bytes show which.
    ///
    /// The header names the columns, in any order. `arrival_s` and `service_s` are required; `context_tokens`,
    /// `output_tokens`, `session` and `announced_s` may be missing or empty; others are ignored. Lines may be in any
    /// order. The trace has the name of the file.
    ///
    /// # Errors
    /// Names file, line, column and value of the first that cannot be used.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let broken = |source| Error::Read { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(broken)?);
        // A pipe cannot be opened and read again, and gives its bytes in pieces.
        let mut magic = Vec::new();
        file.by_ref().take(2).read_to_end(&mut magic).map_err(broken)?;
        let is_gzip = magic == [0x1f, 0x8b];
        let whole = Cursor::new(magic).chain(file);
        let tasks = match is_gzip {
            true => rows(path, MultiGzDecoder::new(whole))?,
            false => rows(path, whole)?,
        };
        if tasks.is_empty() {
            return Err(Error::NoTasks { path: path.to_owned() });
        }
        let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self::new(file_name.trim_end_matches(".gz").trim_end_matches(".csv"), tasks)
    }

    /// Name of the trace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tasks in order of arrival.
    pub fn tasks(&self) -> &[TraceTask] {
        &self.tasks
    }

    /// Seconds to the last arrival.
    pub fn span_s(&self) -> f64 {
        self.tasks.last().map_or(0.0, |task| task.arrival_s)
    }

    /// The trace with each task of a session at the time when the one before it ends, if that is later: when it could start
    /// if no task ever waited for an agent.
    pub fn unblocked(&self) -> Cow<'_, Self> {
        if self.tasks.iter().all(|task| task.session.is_none()) {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self { name: self.name.clone(), tasks: conversations::unblocked(&self.tasks) })
    }

    /// The most tasks in service at once if each starts when it could.
    pub fn most_in_service(&self) -> u32 {
        let trace = self.unblocked();
        let begins = trace.tasks.iter().map(|task| (task.arrival_s, 1));
        let ends = trace.tasks.iter().map(|task| (task.arrival_s + task.service_s, -1));
        let mut changes: Vec<(f64, i64)> = begins.chain(ends).collect();
        // Of changes at one time the ends come first: an agent that is free gets the next task.
        changes.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let counts = changes.iter().scan(0, |count, (_, change)| {
            *count += change;
            Some(*count)
        });
        u32::try_from(counts.max().unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// The tasks that arrive in `[from_s, to_s)`, with arrivals counted from `from_s`.
    ///
    /// # Errors
    /// [`Error::Empty`] if there are none.
    pub fn slice(&self, from_s: f64, to_s: f64) -> Result<Self, Error> {
        let inside = self.tasks.iter().filter(|task| (from_s..to_s).contains(&task.arrival_s));
        let moved = |task: &TraceTask| TraceTask {
            arrival_s: task.arrival_s - from_s,
            announced_s: task.announced_s.map(|at| at - from_s),
            ..*task
        };
        let tasks: Vec<_> = inside.map(moved).collect();
        if tasks.is_empty() {
            return Err(Error::Empty { name: self.name.clone(), from_s, to_s });
        }
        Self::new(self.name.clone(), tasks)
    }

    /// The same tasks arriving `factor` times as fast, for `factor` above 0. Durations and lead times of announcements
    /// stay unchanged.
    pub fn sped_up(&self, factor: f64) -> Self {
        debug_assert!(factor > 0.0);
        let faster = |task: &TraceTask| {
            let arrival_s = task.arrival_s / factor;
            TraceTask { arrival_s, announced_s: task.announced_s.map(|at| arrival_s - (task.arrival_s - at)), ..*task }
        };
        Self { name: self.name.clone(), tasks: self.tasks.iter().map(faster).collect() }
    }
}

/// The indexes of the columns.
struct Columns {
    arrival: usize,
    service: usize,
    context: Option<usize>,
    output: Option<usize>,
    session: Option<usize>,
    announced: Option<usize>,
}

impl Columns {
    fn find(path: &Path, header: &StringRecord) -> Result<Self, Error> {
        let place = |column: &str| header.iter().position(|name| name.trim() == column);
        let needed = |column: &'static str| {
            let header: String = header.iter().collect::<Vec<_>>().join(",").chars().take(MOST_QUOTED).collect();
            place(column).ok_or(Error::Column { path: path.to_owned(), column, header })
        };
        Ok(Self {
            arrival: needed("arrival_s")?,
            service: needed("service_s")?,
            context: place("context_tokens"),
            output: place("output_tokens"),
            session: place("session"),
            announced: place("announced_s"),
        })
    }
}

fn rows(path: &Path, text: impl Read) -> Result<Vec<TraceTask>, Error> {
    let broken = |source: csv::Error| match source.is_io_error() {
        true => Error::Read { path: path.to_owned(), source: source.into() },
        false => Error::Format { path: path.to_owned(), source },
    };
    let mut reader = csv::ReaderBuilder::new().from_reader(text);
    let header = reader.headers().map_err(broken)?;
    if header.iter().all(|name| name.trim().is_empty()) {
        return Ok(Vec::new());
    }
    let columns = Columns::find(path, header)?;
    let (mut tasks, mut sessions, mut record) = (Vec::new(), HashMap::new(), StringRecord::new());
    while reader.read_record(&mut record).map_err(broken)? {
        tasks.push(task(path, &columns, &record, &mut sessions)?);
    }
    Ok(tasks)
}

const ARRIVAL: &str = "seconds since the begin of the trace, from 0 to 31622400 (a year)";
const ANNOUNCED: &str = "seconds since the begin of the trace, at most `arrival_s`; leave it empty for a task that \
                         nobody announced";
const SERVICE: &str = "seconds on an agent, from 0 to 31622400 (a year)";

fn task(
    path: &Path,
    columns: &Columns,
    record: &StringRecord,
    sessions: &mut HashMap<String, u32>,
) -> Result<TraceTask, Error> {
    let number_between = |least: f64, most: f64, expected: &'static str, column: &'static str, at: usize| {
        let value = record.get(at).unwrap_or_default().trim();
        value.parse().ok().filter(|x: &f64| (least..=most).contains(x)).ok_or_else(|| Error::Value {
            path: path.to_owned(),
            line: record.position().map_or(0, csv::Position::line),
            column,
            value: value.to_owned(),
            expected,
        })
    };
    let seconds = |column, at, expected| number_between(0.0, MOST_S, expected, column, at);
    let number = |column, at| number_between(0.0, f64::MAX, "a number of at least 0", column, at);
    let given = |at: Option<usize>| at.filter(|&at| record.get(at).is_some_and(|value| !value.trim().is_empty()));
    let optional = |column, at| given(at).map(|at| number(column, at)).transpose();
    let new = sessions.len() as u32;
    let session = given(columns.session).map(|at| *sessions.entry(record[at].to_owned()).or_insert(new));
    let arrival_s = seconds("arrival_s", columns.arrival, ARRIVAL)?;
    let announced_s =
        given(columns.announced).map(|at| number_between(-MOST_S, arrival_s, ANNOUNCED, "announced_s", at));
    Ok(TraceTask {
        arrival_s,
        service_s: seconds("service_s", columns.service, SERVICE)?,
        context_tokens: optional("context_tokens", columns.context)?,
        output_tokens: optional("output_tokens", columns.output)?,
        session,
        announced_s: announced_s.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn parsed(text: &str) -> Result<Vec<TraceTask>, Error> {
        rows(Path::new("day.csv"), text.as_bytes())
    }

    #[test]
    fn columns_are_found_by_name_and_may_be_empty() {
        let tasks =
            parsed("session,service_s,arrival_s,context_tokens\nb,2.5,1.0,\na,1,0.5,800\nb,1,2,9\n").expect("valid");
        assert_eq!(tasks.len(), 3);
        assert_eq!((tasks[0].service_s, tasks[0].context_tokens, tasks[0].session), (2.5, None, Some(0)));
        assert_eq!((tasks[1].context_tokens, tasks[1].session, tasks[2].session), (Some(800.0), Some(1), Some(0)));
        assert_eq!(tasks[0].output_tokens, None);
    }

    #[test]
    fn what_was_announced_moves_with_its_arrival() {
        let tasks = parsed("arrival_s,service_s,announced_s\n90,1,-10\n100,1,\n120,1,60.5\n").expect("valid");
        let announced = |tasks: &[TraceTask]| tasks.iter().map(|task| task.announced_s).collect::<Vec<_>>();
        assert_eq!(announced(&tasks), [Some(-10.0), None, Some(60.5)]);
        let trace = Trace::new("t", tasks).expect("not empty");
        assert_eq!(announced(trace.slice(80.0, 130.0).expect("all").tasks()), [Some(-90.0), None, Some(-19.5)]);
        // 59.5 s before the arrival at 60 s.
        assert_eq!(announced(trace.sped_up(2.0).tasks()), [Some(-55.0), None, Some(0.5)]);
    }

    #[test]
    fn errors_name_file_line_and_value() {
        let cases = [
            (
                "arrival_s,service_s\n1,2\n2,-3\n",
                "trace `day.csv`, line 3: `service_s` is `-3`; write seconds on an agent",
            ),
            ("arrival_s,service_s\nNaN,2\n", "line 2: `arrival_s` is `NaN`"),
            ("arrival_s,service_s\n1699290000,2\n", "write seconds since the begin of the trace, from 0 to"),
            ("arrival_s,service_s\n1,1e300\n", "`service_s` is `1e300`"),
            ("arrival_s,service_s,context_tokens\n1,1,-4\n", "`context_tokens` is `-4`; write a number of at least 0"),
            ("arrival_s,service_s,announced_s\n1,1,2\n", "`announced_s` is `2`; write seconds since the begin"),
            ("arrival_s,work\n1,2\n", "column `service_s` is missing from the header `arrival_s,work`"),
            ("arrival_s,service_s\n1,2,3\n", "trace `day.csv`: CSV error: record 1 (line: 2"),
        ];
        for (text, message) in cases {
            let error = parsed(text).expect_err(text).to_string();
            assert!(error.contains(message), "{error}");
        }
        assert_eq!(
            parsed("").expect("no header, no tasks").len() + parsed("arrival_s,service_s\n").expect("none").len(),
            0
        );
        let error = Trace::read("no/such.csv").expect_err("missing").to_string();
        assert!(error.starts_with("cannot read trace `no/such.csv`"), "{error}");
    }

    #[test]
    fn gzip_and_plain_read_the_same_and_are_sorted() {
        let text = b"arrival_s,service_s\n3,1\n1,2\n";
        let folder = std::env::temp_dir().join(format!("forerunner-trace-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let (plain, packed) = (folder.join("a.csv"), folder.join("a.csv.gz"));
        std::fs::write(&plain, text).expect("written");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).expect("in memory");
        std::fs::write(&packed, encoder.finish().expect("in memory")).expect("written");
        let traces = [Trace::read(&plain).expect("valid"), Trace::read(&packed).expect("valid")];
        std::fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(traces[0], traces[1]);
        assert_eq!((traces[0].name(), traces[0].span_s(), traces[0].tasks()[0].arrival_s), ("a", 3.0, 1.0));
    }

    #[test]
    fn a_slice_starts_at_zero_and_speed_moves_arrivals_only() {
        let tasks = parsed("arrival_s,service_s\n1,9\n5,8\n7,7\n").expect("valid");
        let trace = Trace::new("t", tasks).expect("not empty");
        let slice = trace.slice(4.0, 7.0).expect("one task");
        assert_eq!((slice.tasks().len(), slice.tasks()[0].arrival_s), (1, 1.0));
        assert_eq!((trace.most_in_service(), slice.most_in_service()), (3, 1));
        assert!(trace.slice(8.0, 9.0).expect_err("empty").to_string().contains("between 8 s and 9 s"));
        let fast = trace.sped_up(2.0);
        assert_eq!((fast.span_s(), fast.tasks()[2].service_s), (3.5, 7.0));
    }
}

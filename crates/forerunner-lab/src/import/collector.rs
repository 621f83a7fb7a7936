//! Tasks from cells: times are read, differences taken, bad rows counted.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use forerunner_console::output::count;
use forerunner_sim::TraceTask;

use super::{
    bad_rows::BadRows,
    cells::{Cells, Key},
    mapping::Mapping,
    quote::quote,
    times::{self, MOST_S, Notation, Unit, is_epoch},
};

/// Most tasks of a trace: a replay needs about 200 bytes of memory for each.
const MOST_TASKS: usize = 20_000_000;

const ARRIVAL: &str = "seconds since the begin of the trace, from 0 to 31622400 (a year), or pass --map \
                       arrival=arrival_s,duration=service_s for times of a clock";
const ANNOUNCED: &str = "seconds since the begin of the trace, at most `arrival_s`; leave it empty for a task that \
                         nobody announced";
const SERVICE: &str = "seconds on an agent, from 0 to 31622400 (a year)";
const TIME: &str = "a time: ISO 8601, epoch seconds (ms, µs, ns) of the years 2000 to 2099, or seconds from a begin";
const DURATION: &str = "a duration of at least 0, in seconds or with a unit";
const NUMBER: &str = "a number of at least 0";

/// The tasks of one recording.
#[derive(Debug)]
pub struct Recording {
    /// With arrivals counted from the first one.
    pub tasks: Vec<TraceTask>,
    /// Notes about how the recording was read.
    pub notes: Vec<String>,
    /// Seconds from 1970 to the first arrival, where times are of the calendar.
    pub began_s: Option<f64>,
}

/// Collects the tasks of one recording.
#[derive(Debug)]
pub struct Collector {
    place: String,
    skip_bad: bool,
    tasks: Vec<TraceTask>,
    /// Numbers of sessions, by the hashes of their names: names may be long, and there may be millions.
    sessions: HashMap<u64, u32>,
    bad: BadRows,
    rows: u64,
    /// Rows whose times are from a begin, and of the calendar, each with the first line.
    clocks: [(u64, u64); 2],
    /// The column with the arrivals, and how its first time was written.
    pub notation: Option<(String, Notation)>,
    is_native: bool,
    /// What is counted in messages: `line`, or `object` where a value may span several lines.
    pub unit: &'static str,
    /// Notes about how the recording was read.
    pub notes: Vec<String>,
}

impl Collector {
    /// Begins with no task. `place` names the recording in messages.
    pub fn new(place: String, skip_bad: bool) -> Self {
        Self {
            place,
            skip_bad,
            tasks: Vec::new(),
            sessions: HashMap::new(),
            bad: BadRows::default(),
            rows: 0,
            clocks: [(0, 0); 2],
            notation: None,
            is_native: false,
            unit: "line",
            notes: Vec::new(),
        }
    }

    /// An empty one for the same recording.
    pub fn beside(&self) -> Self {
        Self::new(self.place.clone(), self.skip_bad)
    }

    /// Names the recording, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Rows so far, usable or not.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Usable rows so far.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Takes over the bad rows that another collector of the same recording counted.
    pub fn merge_bad(&mut self, other: Self) {
        self.rows += other.rows;
        self.bad.join(other.bad);
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When there are more tasks than a replay has memory for.
    pub fn add(&mut self, line: u64, cells: &Cells, mapping: &Mapping) -> Result<(), String> {
        self.rows += 1;
        self.is_native = mapping.native;
        match self.task(line, cells, mapping) {
            Ok(task) if self.tasks.len() < MOST_TASKS => self.tasks.push(task),
            Ok(_) => {
                return Err(format!(
                    "trace `{}`, {} {line}: it has more than {} tasks; cut it into parts",
                    self.place,
                    self.unit,
                    count(MOST_TASKS as u64)
                ));
            }
            Err(why) => self.bad.add(1, || format!("trace `{}`, {} {line}: {why}", self.place, self.unit)),
        }
        Ok(())
    }

    /// Counts a row that has no cells.
    pub fn add_bad(&mut self, line: u64, why: impl FnOnce() -> String) {
        self.rows += 1;
        self.bad.add(1, || format!("trace `{}`, {} {line}: {}", self.place, self.unit, why()));
    }

    /// Counts a row that has no cells, with a message of its own.
    pub fn add_bad_as(&mut self, why: impl FnOnce() -> String) {
        self.rows += 1;
        self.bad.add(1, || format!("trace `{}`: {}", self.place, why()));
    }

    fn task(&mut self, line: u64, cells: &Cells, mapping: &Mapping) -> Result<TraceTask, String> {
        let (arrival_s, service_s) = match mapping.native {
            true => native(cells)?,
            false => self.mapped(line, cells, mapping)?,
        };
        let number = |key: Key| {
            let read = |text: &str| text.parse().ok().filter(|x: &f64| (0.0..=f64::MAX).contains(x));
            cells.get(key).map(|text| read(text).ok_or_else(|| wrong(mapping.name(key), text, NUMBER))).transpose()
        };
        let (context_tokens, output_tokens) = (number(Key::Tokens)?, number(Key::OutputTokens)?);
        let announced_s = announced(cells, mapping, arrival_s)?;
        let session = cells.get(Key::Session).map(|name| self.session(name));
        Ok(TraceTask { arrival_s, service_s, context_tokens, output_tokens, session, announced_s })
    }

    /// Arrival and duration by the columns that were mapped.
    fn mapped(&mut self, line: u64, cells: &Cells, mapping: &Mapping) -> Result<(f64, f64), String> {
        let time = |key: Key| -> Result<Option<(f64, Notation)>, String> {
            let Some(column) = mapping.get(key) else { return Ok(None) };
            let text = cells.get(key).ok_or_else(|| format!("`{}` is missing or empty; write {TIME}", column.name))?;
            let unit = column.unit;
            times::time(text, unit).map(Some).ok_or_else(|| wrong(&column.name, text, TIME))
        };
        let (arrival, start) = (time(Key::Arrival)?, if needs_start(mapping) { time(Key::Start)? } else { None });
        let Some((arrival_s, notation)) = arrival.or(start) else { return Err("it has no arrival".to_owned()) };
        let service_s = match mapping.get(Key::Duration) {
            Some(column) => {
                let unit = column.unit.or_else(|| Unit::of_column(&column.name));
                let text = cells
                    .get(Key::Duration)
                    .ok_or_else(|| format!("`{}` is missing or empty; write {DURATION}", column.name))?;
                times::duration(text, unit).ok_or_else(|| wrong(&column.name, text, DURATION))?
            }
            None => {
                let begin = start.map_or(arrival_s, |(at, _)| at);
                let (end, _) = time(Key::End)?.ok_or("it has no end")?;
                let name = mapping.name(Key::End);
                // Microseconds since 1970 have no more digits than these.
                let took = ((end - begin) * 1e6).round() / 1e6;
                if !(0.0..=MOST_S).contains(&took) {
                    return Err(format!(
                        "`{name}` is {took} s after the start; write a time after it, by the same clock"
                    ));
                }
                took
            }
        };
        let clock = &mut self.clocks[usize::from(is_epoch(arrival_s))];
        clock.0 += 1;
        if clock.0 == 1 {
            clock.1 = line;
        }
        let key = if arrival.is_some() { Key::Arrival } else { Key::Start };
        self.notation.get_or_insert_with(|| (mapping.name(key).to_owned(), notation));
        Ok((arrival_s, service_s))
    }

    fn session(&mut self, name: &str) -> u32 {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let new = self.sessions.len() as u32;
        *self.sessions.entry(hasher.finish()).or_insert(new)
    }

    /// Returns the tasks, with arrivals counted from the first one, and the notes.
    ///
    /// # Errors
    /// When there is no task, too many rows are bad, or the tasks span more than a year.
    pub fn finish(mut self) -> Result<Recording, String> {
        if self.rows == 0 {
            return Err(format!(
                "trace `{}` has no tasks; write a line `arrival_s,service_s` and below it one line a task",
                self.place
            ));
        }
        self.drop_other_clock();
        let bad = std::mem::take(&mut self.bad);
        let left_out = bad.judge(&self.place, self.rows, self.skip_bad)?;
        let began_s = if self.is_native { None } else { Some(self.shift_to_begin()?).filter(|first| is_epoch(*first)) };
        self.notes.extend(left_out);
        Ok(Recording { tasks: self.tasks, notes: self.notes, began_s })
    }

    /// Times from a begin and times of the calendar cannot be compared. The rarer ones are bad rows.
    fn drop_other_clock(&mut self) {
        let [relative, epoch] = self.clocks;
        if relative.0 == 0 || epoch.0 == 0 {
            return;
        }
        let stays_epoch = epoch.0 >= relative.0;
        let (rows, line) = if stays_epoch { relative } else { epoch };
        self.tasks.retain(|task| is_epoch(task.arrival_s) == stays_epoch);
        let (place, unit) = (&self.place, self.unit);
        let kind = if stays_epoch { "date" } else { "number of seconds from a begin" };
        self.bad
            .add(rows, || format!("trace `{place}`, {unit} {line}: its time is no {kind}, as those of most rows are"));
    }

    /// Counts arrivals from the first one, and returns when that was.
    fn shift_to_begin(&mut self) -> Result<f64, String> {
        let arrivals = || self.tasks.iter().map(|task| task.arrival_s);
        let (first, last) = (arrivals().fold(f64::INFINITY, f64::min), arrivals().fold(0.0, f64::max));
        if last - first > MOST_S {
            return Err(format!(
                "trace `{}` goes from {} to {}, and a trace has 366 days at most; cut it, or give a unit to --map: arrival=NAME:ms",
                self.place,
                times::show(first),
                times::show(last)
            ));
        }
        if let Some((column, notation)) = &self.notation {
            let begin = if is_epoch(first) {
                format!("; the first task came at {}", times::show(first))
            } else {
                String::new()
            };
            self.notes.push(format!(
                "trace `{}`: `{}` is read as {}{begin}",
                self.place,
                quote(column),
                notation.describe()
            ));
        }
        for task in &mut self.tasks {
            // What is left of the digits of a time of the calendar are microseconds.
            let from_first = |at: f64| ((at - first) * 1e6).round() / 1e6;
            task.arrival_s = from_first(task.arrival_s);
            task.announced_s = task.announced_s.map(|at| from_first(at).min(task.arrival_s));
        }
        Ok(first)
    }
}

/// The start matters where it replaces the arrival, or where the duration is a difference.
fn needs_start(mapping: &Mapping) -> bool {
    mapping.get(Key::Arrival).is_none() || mapping.get(Key::Duration).is_none()
}

fn native(cells: &Cells) -> Result<(f64, f64), String> {
    let seconds = |key: Key, expected| {
        let text = cells.get(key).unwrap_or_default();
        let read = text.parse().ok().filter(|x: &f64| (0.0..=MOST_S).contains(x));
        read.ok_or_else(|| wrong(key.native().unwrap_or_default(), text, expected))
    };
    Ok((seconds(Key::Arrival, ARRIVAL)?, seconds(Key::Duration, SERVICE)?))
}

fn announced(cells: &Cells, mapping: &Mapping, arrival_s: f64) -> Result<Option<f64>, String> {
    let Some(text) = cells.get(Key::Announced) else { return Ok(None) };
    let refuse = |expected| wrong(mapping.name(Key::Announced), text, expected);
    if mapping.native {
        let read = text.parse().ok().filter(|x: &f64| (-MOST_S..=arrival_s).contains(x));
        return read.map(Some).ok_or_else(|| refuse(ANNOUNCED));
    }
    let unit = mapping.get(Key::Announced).and_then(|column| column.unit);
    let (at, _) = times::time(text, unit).ok_or_else(|| refuse(TIME))?;
    // A time of another clock announces nothing.
    Ok((is_epoch(at) == is_epoch(arrival_s) && at < arrival_s).then_some(at))
}

fn wrong(column: &str, value: &str, expected: &str) -> String {
    format!("`{}` is `{}`; write {expected}", quote(column), quote(value))
}

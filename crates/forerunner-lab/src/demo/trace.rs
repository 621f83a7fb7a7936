//! The bundled trace, and the part of it that is replayed.

use std::io::Read;

use anyhow::{Context, ensure};
use flate2::read::GzDecoder;
use forerunner_console::Usage;
use forerunner_sim::{Trace, TraceTask};

/// See `data/README.md` for source, licence and columns.
const BUNDLED: &[u8] = include_bytes!("../../data/azure_llm_conv_2023.csv.gz");
/// Named in the output.
pub const NAME: &str = "Azure LLM inference, conversations, November 2023 (Microsoft, CC BY 4.0)";
/// Most seconds of history for a forecast.
const HISTORY_S: f64 = 600.0;

/// What is replayed, in seconds of the replay: `speed` times shorter than recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// The tasks of the slice, counted from its begin.
    pub tasks: Vec<TraceTask>,
    /// The tasks right before it, counted from the begin of the history.
    pub history: Vec<TraceTask>,
    /// Length of the history.
    pub history_s: f64,
    /// Length of the slice.
    pub span_s: f64,
}

/// Which part is replayed, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// First minute.
    pub from: u32,
    /// How many minutes.
    pub minutes: u32,
    /// How many times faster than recorded.
    pub speed: f64,
    /// 0 as recorded; else draws a variation.
    pub seed: u64,
}

impl Slice {
    /// Cuts a slice out of the bundled trace.
    pub fn cut(cut: Cut) -> anyhow::Result<Self> {
        let all = bundled()?;
        let begin = f64::from(cut.from) * 60.0;
        let end = begin + f64::from(cut.minutes) * 60.0;
        let last = all.last().map_or(0.0, |task| task.arrival_s);
        if end > last.ceil() {
            let text = format!(
                "the bundled trace has {:.0} minutes, so minutes {} to {} are not all in it; use a smaller --from or --minutes",
                (last / 60.0).ceil(),
                cut.from,
                cut.from + cut.minutes,
            );
            return Err(Usage(text).into());
        }
        let history_from = (begin - HISTORY_S).max(0.0);
        let mut tasks = between(&all, begin, end, cut.speed);
        if cut.seed != 0 {
            vary(&mut tasks, 60.0 / cut.speed, cut.seed);
        }
        let history = between(&all, history_from, begin, cut.speed);
        Ok(Self { tasks, history, history_s: (begin - history_from) / cut.speed, span_s: (end - begin) / cut.speed })
    }

    /// Returns the tasks as the simulator reads them.
    pub fn as_trace(&self) -> anyhow::Result<Trace> {
        Trace::new("azure_llm_conv_2023", self.tasks.clone()).context("the slice has no tasks")
    }
}

fn bundled() -> anyhow::Result<Vec<TraceTask>> {
    let mut text = String::new();
    GzDecoder::new(BUNDLED).read_to_string(&mut text).context("the bundled trace cannot be unpacked")?;
    let mut lines = text.lines();
    ensure!(lines.next() == Some("arrival_s,service_s"), "the bundled trace has other columns than expected");
    lines.map(|line| row(line).with_context(|| format!("the bundled trace has a bad line: {line}"))).collect()
}

fn row(line: &str) -> Option<TraceTask> {
    let (arrival, service) = line.split_once(',')?;
    let (arrival_s, service_s) = (arrival.parse().ok()?, service.parse().ok()?);
    Some(TraceTask { arrival_s, service_s, ..TraceTask::default() })
}

fn between(all: &[TraceTask], from: f64, to: f64, speed: f64) -> Vec<TraceTask> {
    let inside = all.iter().filter(|task| (from..to).contains(&task.arrival_s));
    let sped = |task: &TraceTask| TraceTask {
        arrival_s: (task.arrival_s - from) / speed,
        service_s: task.service_s / speed,
        ..*task
    };
    inside.map(sped).collect()
}

/// Deals the service times of each minute to its arrivals anew: another run with the same load.
fn vary(tasks: &mut [TraceTask], minute_s: f64, seed: u64) {
    let mut random = SplitMix(seed);
    for minute in tasks.chunk_by_mut(|a, b| (a.arrival_s / minute_s).floor() == (b.arrival_s / minute_s).floor()) {
        for last in (1..minute.len()).rev() {
            let other = (random.next() % (last as u64 + 1)) as usize;
            let (one, two) = (minute[last].service_s, minute[other].service_s);
            (minute[last].service_s, minute[other].service_s) = (two, one);
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough to shuffle by.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Cut = Cut { from: 22, minutes: 20, speed: 10.0, seed: 0 };

    #[test]
    fn the_bundled_trace_is_whole_and_in_order() {
        let all = bundled().expect("readable");
        assert_eq!(all.len(), 19_104);
        assert!(all.is_sorted_by(|a, b| a.arrival_s <= b.arrival_s));
        assert!(all.iter().all(|task| (0.1..60.0).contains(&task.service_s)));
        assert!(all.last().is_some_and(|task| (3_410.0..3_420.0).contains(&task.arrival_s)));
    }

    #[test]
    fn the_slice_is_twenty_minutes_of_it_ten_times_as_fast() {
        let slice = Slice::cut(DEFAULT).expect("inside the trace");
        assert_eq!((slice.tasks.len(), slice.span_s, slice.history_s), (8_185, 120.0, 60.0));
        assert!(slice.tasks.last().is_some_and(|task| (119.0..120.0).contains(&task.arrival_s)));
        assert!(slice.history.iter().all(|task| (0.0..60.0).contains(&task.arrival_s)));
        let busy: f64 = slice.tasks.iter().map(|task| task.service_s).sum();
        assert!((4_000.0..4_100.0).contains(&busy), "about 34 agents are busy on average: {busy}");
    }

    #[test]
    fn a_seed_changes_the_order_of_the_service_times_and_nothing_else() {
        let recorded = Slice::cut(DEFAULT).expect("inside the trace");
        let varied = Slice::cut(Cut { seed: 7, ..DEFAULT }).expect("inside the trace");
        assert_ne!(recorded, varied);
        assert_eq!(varied, Slice::cut(Cut { seed: 7, ..DEFAULT }).expect("inside the trace"));
        let sorted = |slice: &Slice| {
            let mut times: Vec<u64> = slice.tasks.iter().map(|task| (task.service_s * 1e6).round() as u64).collect();
            times.sort_unstable();
            times
        };
        assert_eq!(sorted(&recorded), sorted(&varied));
    }

    #[test]
    fn minutes_that_are_not_there_are_refused() {
        let error = Slice::cut(Cut { minutes: 36, ..DEFAULT }).expect_err("57 minutes are bundled");
        assert!(error.is::<Usage>());
    }
}

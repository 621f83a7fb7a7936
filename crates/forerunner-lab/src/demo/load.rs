//! The tasks of the demo: waves and scheduled bursts, or a flat load; the same for the same seed.

use std::{fmt::Write, fs, path::Path};

use forerunner_sim::{Trace, TraceTask};

/// Seconds of history that the forecasts have seen when the live part begins.
pub const HISTORY_S: f64 = 1_260.0;
/// How long before it is due a scheduled task is known, in seconds.
const KNOWN_S: f64 = 60.0;
/// A wave every so many seconds, and how long it lasts.
const WAVE_EVERY_S: f64 = 30.0;
const WAVE_S: f64 = 10.0;
/// Tasks a second at the height of a wave, and between waves.
const HIGH: f64 = 6.0;
const LOW: f64 = 0.5;
/// Tasks a second of the flat load.
const FLAT: f64 = 6.0;
/// Scheduled tasks that are due together, how often, and when the first ones are.
const BURST: usize = 20;
const BURST_EVERY_S: f64 = 35.0;
const FIRST_BURST_S: f64 = 31.5;
/// Seconds before the live part without scheduled tasks, so that it begins with agents that are there for the waves.
const CALM_S: f64 = 30.0;
/// Step of the arrival process, in seconds.
const STEP_S: f64 = 0.02;

/// What kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadShape {
    /// Waves, and scheduled bursts between them.
    Waves,
    /// The same rate all the time.
    Flat,
}

/// The tasks of the history and of the live part.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// All tasks, counted from the begin of the history.
    pub trace: Trace,
    /// Seconds of the live part.
    pub span_s: f64,
    /// What kind of load it is.
    pub shape: LoadShape,
}

impl Load {
    /// Makes the load of a live part of `span_s` seconds.
    ///
    /// # Errors
    /// Without a task.
    pub fn new(shape: LoadShape, span_s: f64, seed: u64) -> Result<Self, forerunner_sim::Error> {
        let mut random = Random(seed);
        let mut tasks = flow(shape, HISTORY_S + span_s, &mut random);
        if shape == LoadShape::Waves {
            tasks.extend(bursts(HISTORY_S + span_s, &mut random));
        }
        Ok(Self { trace: Trace::new("demo", tasks)?, span_s, shape })
    }

    /// The tasks of the live part, counted from its begin.
    pub fn live(&self) -> Vec<TraceTask> {
        let live = self.trace.tasks().iter().filter(|task| task.arrival_s >= HISTORY_S);
        let from_begin = |task: &TraceTask| TraceTask {
            arrival_s: task.arrival_s - HISTORY_S,
            announced_s: task.announced_s.map(|at| at - HISTORY_S),
            ..*task
        };
        live.map(from_begin).collect()
    }

    /// When scheduled tasks are due in the live part, and how many.
    pub fn scheduled(&self) -> Vec<(f64, usize)> {
        let mut due: Vec<(f64, usize)> = Vec::new();
        for task in self.live().into_iter().filter(|task| task.announced_s.is_some()) {
            match due.last_mut().filter(|(at, _)| *at == task.arrival_s) {
                Some((_, count)) => *count += 1,
                None => due.push((task.arrival_s, 1)),
            }
        }
        due
    }

    /// Writes all tasks as a trace that `forerunner replay` reads.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let mut text = "arrival_s,service_s,announced_s\n".to_owned();
        for task in self.trace.tasks() {
            let announced = task.announced_s.map_or_else(String::new, |at| at.to_string());
            // Writing to a string does not fail.
            let _ = writeln!(text, "{},{},{announced}", task.arrival_s, task.service_s);
        }
        fs::write(path, text)
    }
}

/// Tasks that nobody scheduled: spaced by the rate, with some jitter, of 0.8 to 1.2 s each.
fn flow(shape: LoadShape, end_s: f64, random: &mut Random) -> Vec<TraceTask> {
    let (mut tasks, mut owed) = (Vec::new(), 0.0);
    for step in 0..(end_s / STEP_S) as u32 {
        let t = f64::from(step) * STEP_S;
        owed += STEP_S * if shape == LoadShape::Flat { FLAT } else { rate(t) };
        while owed >= 1.0 {
            owed -= 1.0;
            let (arrival_s, service_s) = (t + random.between(0.0, 0.3), random.between(0.8, 1.2));
            tasks.push(TraceTask {
                arrival_s: millis(arrival_s),
                service_s: millis(service_s),
                ..TraceTask::default()
            });
        }
    }
    tasks.retain(|task| task.arrival_s < end_s);
    tasks
}

/// Tasks a second at a time: a wave climbs within 2 s, and falls within 2 s.
fn rate(t: f64) -> f64 {
    let in_wave = t % WAVE_EVERY_S - 0.45 * WAVE_EVERY_S;
    let height = (in_wave / 2.0).min((WAVE_S - in_wave) / 2.0).clamp(0.0, 1.0);
    LOW + (HIGH - LOW) * height
}

/// Tasks that are scheduled: many at one time, of 1.3 to 1.8 s each.
fn bursts(end_s: f64, random: &mut Random) -> Vec<TraceTask> {
    let times = (0..).map(|n| FIRST_BURST_S + f64::from(n) * BURST_EVERY_S).take_while(|due| due + 5.0 < end_s);
    let burst = |due: f64| {
        let mut task = || TraceTask {
            arrival_s: due,
            service_s: millis(random.between(1.3, 1.8)),
            announced_s: Some(due - KNOWN_S),
            ..TraceTask::default()
        };
        (0..BURST).map(|_| task()).collect::<Vec<_>>()
    };
    let is_before_live = |due: &f64| (HISTORY_S - CALM_S..HISTORY_S).contains(due);
    times.filter(|due| !is_before_live(due)).flat_map(burst).collect()
}

fn millis(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

/// Pseudo-random numbers: splitmix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        low + (high - low) * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_has_waves_and_bursts_that_are_known_before() {
        let load = Load::new(LoadShape::Waves, 84.0, 1).expect("tasks");
        assert_eq!(load, Load::new(LoadShape::Waves, 84.0, 1).expect("tasks"));
        let live = load.live();
        assert!((150..300).contains(&live.len()), "{}", live.len());
        assert_eq!(load.scheduled(), [(31.5, 20), (66.5, 20)]);
        let between = |from: f64, to: f64| {
            live.iter().filter(|task| task.announced_s.is_none() && (from..to).contains(&task.arrival_s)).count()
        };
        assert!(between(15.5, 21.5) > 30 && between(0.0, 10.0) < 8, "{} {}", between(15.5, 21.5), between(0.0, 10.0));
        let flat = Load::new(LoadShape::Flat, 60.0, 1).expect("tasks");
        assert!(flat.scheduled().is_empty() && (350..=365).contains(&flat.live().len()), "{}", flat.live().len());
    }

    #[test]
    fn what_is_saved_is_read_back_as_it_was() {
        let load = Load::new(LoadShape::Waves, 40.0, 7).expect("tasks");
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("demo.csv");
        load.save(&path).expect("written");
        assert_eq!(Trace::read(&path).expect("a trace"), load.trace);
    }
}

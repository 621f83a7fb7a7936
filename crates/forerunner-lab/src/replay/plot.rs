//! A replay made small enough to be drawn: one bucket a pixel or so, with its least, mean and greatest.

use forerunner_sim::{Outcome, TimelinePoint, Trace};
use serde::{Serialize, Serializer};

use super::{cell::Cell, watch::Change};

/// Most buckets of a plot: about one a pixel.
const MOST_BUCKETS: usize = 1000;
/// Most changes of the wanted size in the list.
const MOST_CHANGES: usize = 600;
/// Fewest buckets of a plot, and changes in its list, however many plots a page has.
const LEAST: usize = 100;
/// Bytes that the plots of a page may have together.
const PAGE_BYTES: usize = 2_200_000;
/// The size of a bucket and of a change, measured on pages of recorded traces.
const BUCKET_BYTES: usize = 110;
const CHANGE_BYTES: usize = 190;
/// Span over which arrivals are counted for the least and the greatest rate.
const RATE_SPAN_S: f64 = 10.0;

/// How much of one cell the page has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlotBudget {
    buckets: usize,
    changes: usize,
}

impl PlotBudget {
    /// Shares the page among plots.
    pub fn shared_by(plots: usize) -> Self {
        let bytes = PAGE_BYTES / plots.max(1);
        let fit = |most: usize, each: usize| (bytes / 2 / each).clamp(LEAST, most);
        Self { buckets: fit(MOST_BUCKETS, BUCKET_BYTES), changes: fit(MOST_CHANGES, CHANGE_BYTES) }
    }
}

/// Least, mean and greatest value of each bucket; `NaN`, written as null, for an empty one.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Series {
    #[serde(serialize_with = "rounded")]
    low: Vec<f64>,
    #[serde(serialize_with = "rounded")]
    mid: Vec<f64>,
    #[serde(serialize_with = "rounded")]
    high: Vec<f64>,
}

/// A change of the wanted size, as written on the page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mark {
    #[serde(serialize_with = "rounded_one")]
    t: f64,
    before: u32,
    desired: u32,
    reason: &'static str,
    detail: String,
}

/// How one policy did in one cell. Bucket `i` spans `[i, i + 1) × width_s`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plot {
    width_s: f64,
    buckets: usize,
    /// Arrivals per second.
    arrivals: Series,
    /// Arrivals per second that were expected, at the time they were expected for; `None` without a forecast.
    forecast: Option<Series>,
    desired: Series,
    warm: Series,
    busy: Series,
    depth: Series,
    /// Seconds from arrival to start, by arrival.
    waits: Series,
    /// Late tasks, by arrival.
    late: Vec<u32>,
    changes: Vec<Mark>,
    /// Changes there were, listed or not.
    all_changes: usize,
}

impl Plot {
    /// Makes a replay small.
    pub fn of(trace: &Trace, outcome: &Outcome, changes: Vec<Change>, cell: &Cell, budget: PlotBudget) -> Self {
        let limits = &cell.replay.limits;
        let end_s = outcome.timeline.last().map_or(0.0, |point| point.t).max(cell.span_s).max(1.0);
        let buckets = budget.buckets.min((end_s / limits.tick_s).ceil().max(1.0) as usize);
        let grid = Grid { width_s: end_s / buckets as f64, buckets };
        let of = |value: fn(&TimelinePoint) -> f64| grid.series(outcome.timeline.iter().map(|p| (p.t, value(p))));
        let ahead_s = limits.cold_start_s + limits.tick_s;
        let waits = || outcome.waits.iter().copied();
        let late = waits().filter(|(_, wait_s)| *wait_s > limits.objective.within_s).map(|(arrival_s, _)| arrival_s);
        let all_changes = changes.len();
        Self {
            width_s: grid.width_s,
            buckets,
            arrivals: grid.rates(trace),
            forecast: grid.forecast(&outcome.timeline, ahead_s),
            desired: of(|p| f64::from(p.desired)),
            warm: of(|p| f64::from(p.ready + p.busy)),
            busy: of(|p| f64::from(p.busy)),
            depth: of(|p| f64::from(p.depth)),
            waits: grid.series(waits()),
            late: grid.counts(late),
            changes: largest(changes, budget.changes),
            all_changes,
        }
    }
}

/// The greatest changes, in order of time.
fn largest(mut changes: Vec<Change>, most: usize) -> Vec<Mark> {
    if changes.len() > most {
        changes.sort_by_key(|change| std::cmp::Reverse(change.before.abs_diff(change.desired)));
        changes.truncate(most);
        changes.sort_by(|a, b| a.t.total_cmp(&b.t));
    }
    let mark = |change: Change| Mark {
        t: change.t,
        before: change.before,
        desired: change.desired,
        reason: change.reason.as_str(),
        detail: change.detail,
    };
    changes.into_iter().map(mark).collect()
}

/// Buckets of equal width from time 0.
#[derive(Debug, Clone, Copy)]
struct Grid {
    width_s: f64,
    buckets: usize,
}

impl Grid {
    fn bucket(&self, t: f64) -> usize {
        ((t / self.width_s) as usize).min(self.buckets - 1)
    }

    fn series(&self, points: impl Iterator<Item = (f64, f64)>) -> Series {
        let mut series = Series {
            low: vec![f64::NAN; self.buckets],
            mid: vec![0.0; self.buckets],
            high: vec![f64::NAN; self.buckets],
        };
        let mut counts = vec![0u32; self.buckets];
        for (t, value) in points {
            let bucket = self.bucket(t);
            // `min` and `max` return the number where the other is NaN.
            series.low[bucket] = series.low[bucket].min(value);
            series.high[bucket] = series.high[bucket].max(value);
            series.mid[bucket] += value;
            counts[bucket] += 1;
        }
        for (sum, count) in series.mid.iter_mut().zip(counts) {
            *sum /= f64::from(count);
        }
        series
    }

    fn counts(&self, times: impl Iterator<Item = f64>) -> Vec<u32> {
        times.fold(vec![0; self.buckets], |mut counts, t| {
            counts[self.bucket(t)] += 1;
            counts
        })
    }

    /// Arrivals per second, counted over spans of ten seconds or one bucket, whichever is less.
    fn rates(&self, trace: &Trace) -> Series {
        let per_bucket = (self.width_s / RATE_SPAN_S).floor().max(1.0);
        let fine = Self { width_s: self.width_s / per_bucket, buckets: self.buckets * per_bucket as usize };
        let counts = fine.counts(trace.tasks().iter().map(|task| task.arrival_s));
        let middle = |index: usize| (index as f64 + 0.5) * fine.width_s;
        self.series(counts.iter().enumerate().map(|(i, count)| (middle(i), f64::from(*count) / fine.width_s)))
    }

    /// The forecast with its band, moved to the time it was made for.
    fn forecast(&self, timeline: &[TimelinePoint], ahead_s: f64) -> Option<Series> {
        let points = || timeline.iter().filter(|p| p.t + ahead_s < self.width_s * self.buckets as f64);
        let mean = |value: fn(&TimelinePoint) -> Option<f64>| {
            self.series(points().filter_map(|p| Some((p.t + ahead_s, value(p)?)))).mid
        };
        timeline.iter().any(|point| point.rate_forecast.is_some()).then(|| Series {
            low: mean(|p| p.rate_low),
            mid: mean(|p| p.rate_forecast),
            high: mean(|p| p.rate_high),
        })
    }
}

/// Rounds to four significant digits: more than is visible, in a third of the bytes.
fn round(value: f64) -> Option<f64> {
    if !value.is_finite() {
        return None;
    }
    if value == 0.0 {
        return Some(0.0);
    }
    let scale = 10f64.powf(3.0 - value.abs().log10().floor());
    Some((value * scale).round() / scale)
}

/// A number as short as JSON allows: whole numbers without a point.
#[derive(Serialize)]
#[serde(untagged)]
enum Short {
    Whole(i64),
    Broken(f64),
}

fn short(value: f64) -> Option<Short> {
    let rounded = round(value)?;
    let is_whole = rounded.fract() == 0.0 && rounded.abs() < 1e15;
    Some(if is_whole { Short::Whole(rounded as i64) } else { Short::Broken(rounded) })
}

fn rounded<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| short(*value)))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn rounded_one<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    ((value * 10.0).round() / 10.0).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use forerunner_forecast::ReasonCode;

    use super::*;

    #[test]
    fn buckets_keep_extremes_and_holes() {
        let grid = Grid { width_s: 10.0, buckets: 3 };
        let series = grid.series([(0.0, 1.0), (9.0, 5.0), (29.0, 2.0), (35.0, 4.0)].into_iter());
        assert_eq!((series.low[0], series.mid[0], series.high[0]), (1.0, 3.0, 5.0));
        assert_eq!((series.low[2], series.high[2]), (2.0, 4.0), "what is past the end falls into the last");
        assert_eq!(
            serde_json::to_string(&series).expect("numbers"),
            r#"{"low":[1,null,2],"mid":[3,null,3],"high":[5,null,4]}"#
        );
    }

    #[test]
    fn numbers_keep_four_digits() {
        let text: Vec<String> = [0.0, 12.0, 123.456, 0.012_345_6, 98_765.4, f64::NAN]
            .map(|value| serde_json::to_string(&short(value)).expect("a number"))
            .to_vec();
        assert_eq!(text, ["0", "12", "123.5", "0.01235", "98770", "null"]);
    }

    #[test]
    fn the_greatest_changes_are_kept_in_order() {
        let change =
            |t: f64, before, desired| Change { t, before, desired, reason: ReasonCode::Surge, detail: String::new() };
        let marks = largest(vec![change(1.0, 1, 9), change(2.0, 9, 8), change(3.0, 8, 2)], 2);
        assert_eq!(marks.iter().map(|mark| mark.t).collect::<Vec<_>>(), [1.0, 3.0]);
        assert!(PlotBudget::shared_by(1).buckets == MOST_BUCKETS && PlotBudget::shared_by(100).buckets >= 100);
    }
}

//! The last hour of a pool in slots of five seconds: expected and actual load of each slot.

use std::collections::VecDeque;

use forerunner_core::{AgentCounts, Timestamp};
use forerunner_forecast::Forecast;

use crate::{
    queue::wait_histogram::WaitHistogram,
    status::{ForecastPoint, HistoryPoint, Recent},
};

/// Length of a slot, in microseconds.
const SLOT_US: i64 = 5_000_000;
/// The same in seconds.
pub(crate) const SLOT_S: f64 = SLOT_US as f64 / 1e6;
/// Number of past slots: an hour. A slot has 2.3 KiB at most, and usually some 200 bytes.
const PAST: i64 = 720;
/// Number of future slots with a forecast: ten minutes.
const AHEAD: i64 = 120;
/// A forecast also fills at most this many skipped slots before it, as after a new measurement of the cold start.
const SKIPPED: i64 = 12;
/// Number of slots that the current arrival rate is computed from.
const NOW: usize = 3;
/// Number of slots that the recent waits are computed from: five minutes.
const LATELY: usize = 60;

/// One sample of queue and pool.
#[derive(Debug, Clone, Default)]
pub(crate) struct TimelinePoint {
    pub(crate) at: Timestamp,
    /// Seconds since the sample before.
    pub(crate) span_s: f64,
    pub(crate) arrivals: u64,
    /// For an agent.
    pub(crate) waits: WaitHistogram,
    /// For the task before in the context.
    pub(crate) context_waits: WaitHistogram,
    pub(crate) depth: u32,
    /// The size that the pool applies.
    pub(crate) desired: u32,
    /// The size that the policy wants.
    pub(crate) advised: u32,
    pub(crate) agents: AgentCounts,
    pub(crate) forecast: Option<Forecast>,
}

impl TimelinePoint {
    /// Arrivals per second since the sample before.
    pub(crate) fn rate_per_s(&self) -> f64 {
        self.arrivals as f64 / self.span_s.max(0.001)
    }

    /// Returns the point in the form that callers receive.
    pub(crate) fn to_point(&self) -> ForecastPoint {
        let forecast = self.forecast.unwrap_or_default();
        ForecastPoint {
            at: self.at,
            rate_per_s: self.rate_per_s(),
            expected_per_s: forecast.rate_per_s,
            low_per_s: forecast.rate_low,
            high_per_s: forecast.rate_high,
            depth: self.depth,
            desired: self.advised,
            ready: self.agents.ready,
            busy: self.agents.busy,
            starting: self.agents.starting,
        }
    }
}

/// Values that cannot be summed: they apply until they change.
#[derive(Debug, Clone, Copy)]
struct Levels {
    depth: u32,
    desired: u32,
    advised: u32,
    agents: AgentCounts,
}

/// Expected arrivals per second, with the lower and upper bound.
#[derive(Debug, Clone, Copy)]
struct Expected {
    rate: f64,
    low: f64,
    high: f64,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    /// Seconds of the slot that were sampled.
    sampled_s: f64,
    arrivals: f64,
    waits: WaitHistogram,
    context_waits: WaitHistogram,
    greatest_depth: u32,
    levels: Option<Levels>,
    expected: Option<Expected>,
}

/// Consecutive slots, bounded.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// Number of the first slot, counted from 1970.
    first: i64,
    slots: VecDeque<Slot>,
    /// The slot of the newest sample, and its levels.
    newest: Option<(i64, Levels)>,
    /// The slot of the newest forecast.
    forecast_slot: Option<i64>,
}

impl Timeline {
    pub(crate) fn note(&mut self, point: &TimelinePoint) {
        let number = number_of(point.at);
        self.begin(number);
        self.fill_levels(number);
        self.spread(point, number);
        let levels =
            Levels { depth: point.depth, desired: point.desired, advised: point.advised, agents: point.agents };
        let slot = self.slot(number);
        slot.waits.absorb(&point.waits);
        slot.context_waits.absorb(&point.context_waits);
        slot.greatest_depth = slot.greatest_depth.max(point.depth);
        slot.levels = Some(levels);
        self.newest = Some((number, levels));
        if let Some(forecast) = point.forecast {
            self.place_forecast(point.at, number, forecast);
        }
        self.forget(number);
    }

    /// Starts a new timeline if the time is far from all slots: at first, and after the clock was set.
    fn begin(&mut self, number: i64) {
        // Clocks are corrected by small amounts all the time.
        let known = self.newest.is_some_and(|(newest, _)| (-SKIPPED..=PAST).contains(&(number - newest)));
        if !known {
            *self = Self { first: number, ..Self::default() };
        }
    }

    /// Fills slots that a policy with a long period skipped: the levels did not change there.
    fn fill_levels(&mut self, number: i64) {
        let Some((newest, levels)) = self.newest else { return };
        for between in newest + 1..number {
            let slot = self.slot(between);
            slot.levels = Some(levels);
            slot.greatest_depth = levels.depth;
        }
    }

    /// Distributes the arrivals over the slots of the time since the sample before.
    fn spread(&mut self, point: &TimelinePoint, number: i64) {
        let at_us = point.at.as_micros();
        let from_us = (at_us - (point.span_s * 1e6) as i64).max(self.first * SLOT_US);
        let span_us = at_us - from_us;
        if span_us <= 0 {
            // The first sample: the start of its period is unknown.
            return;
        }
        for part in from_us.div_euclid(SLOT_US)..=number {
            let (begin, end) = (from_us.max(part * SLOT_US), at_us.min((part + 1) * SLOT_US));
            let share = (end - begin).max(0) as f64;
            let slot = self.slot(part);
            slot.sampled_s += share / 1e6;
            slot.arrivals += point.arrivals as f64 * share / span_us as f64;
        }
    }

    /// Stores a forecast in the slots that it is for.
    fn place_forecast(&mut self, at: Timestamp, number: i64, forecast: Forecast) {
        let for_us = at.as_micros().saturating_add((forecast.horizon_s.clamp(0.0, 3_600.0) * 1e6) as i64);
        let target = for_us.div_euclid(SLOT_US).clamp(number, number + AHEAD);
        let before = self.forecast_slot.filter(|before| *before < target && target - before <= SKIPPED);
        let Forecast { rate_per_s: rate, rate_low: low, rate_high: high, .. } = forecast;
        for slot in before.map_or(target, |before| before + 1)..=target {
            self.slot(slot).expected = Some(Expected { rate, low, high });
        }
        self.forecast_slot = Some(target);
    }

    fn forget(&mut self, number: i64) {
        while self.first <= number - PAST && self.slots.pop_front().is_some() {
            self.first += 1;
        }
    }

    /// Returns the slot with this number, or the first slot for a lower number. Callers stay within [`PAST`] and
    /// [`AHEAD`] of the existing slots.
    fn slot(&mut self, number: i64) -> &mut Slot {
        let place = usize::try_from(number - self.first).unwrap_or(0);
        if place >= self.slots.len() {
            self.slots.resize_with(place + 1, Slot::default);
        }
        &mut self.slots[place]
    }

    /// Returns the last `minutes` before `now`, and the forecast after it.
    pub(crate) fn points(&self, now: Timestamp, minutes: u32) -> Vec<HistoryPoint> {
        let from = number_of(now) - i64::from(minutes) * 60 * 1_000_000 / SLOT_US;
        let numbered = self.slots.iter().enumerate().map(|(place, slot)| (self.first + place as i64, slot));
        numbered.filter(|(number, _)| *number > from).map(|(number, slot)| slot.point(number)).collect()
    }

    /// Returns the waits of the tasks that began in these minutes: for an agent, and for the task before.
    pub(crate) fn waits(&self, now: Timestamp, minutes: u32) -> (WaitHistogram, WaitHistogram) {
        let from = number_of(now) - i64::from(minutes) * 60 * 1_000_000 / SLOT_US;
        let skipped = usize::try_from(from + 1 - self.first).unwrap_or(0);
        sum_waits(self.slots.iter().skip(skipped))
    }

    /// Returns the start of the timeline.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.newest.map(|_| Timestamp::from_micros(self.first * SLOT_US))
    }

    /// Returns the current load.
    pub(crate) fn recent(&self) -> Recent {
        let Some((newest, _)) = self.newest else { return Recent::default() };
        let sampled = usize::try_from(newest + 1 - self.first).unwrap_or(0);
        let last = |count: usize| self.slots.iter().take(sampled).skip(sampled.saturating_sub(count));
        let sum = |of: fn(&Slot) -> f64, count: usize| last(count).map(of).sum::<f64>();
        let now_s = sum(|slot| slot.sampled_s, NOW);
        let (waits, context_waits) = sum_waits(last(LATELY));
        Recent {
            rate_per_s: (now_s > 0.0).then(|| rounded(sum(|slot| slot.arrivals, NOW) / now_s)),
            span_s: rounded(sum(|slot| slot.sampled_s, LATELY)),
            started: waits.started(),
            late: waits.late(),
            wait_s: waits.summary(),
            wait_context_s: context_waits.summary(),
        }
    }
}

impl Slot {
    fn point(&self, number: i64) -> HistoryPoint {
        let level = |of: fn(&Levels) -> u32| self.levels.as_ref().map(of);
        let expected = |of: fn(&Expected) -> f64| self.expected.as_ref().map(of).map(rounded);
        HistoryPoint {
            at: Timestamp::from_micros(number * SLOT_US),
            rate_per_s: (self.sampled_s > 0.0).then(|| rounded(self.arrivals / self.sampled_s)),
            expected_per_s: expected(|band| band.rate),
            low_per_s: expected(|band| band.low),
            high_per_s: expected(|band| band.high),
            depth: level(|levels| levels.depth),
            greatest_depth: self.levels.map(|_| self.greatest_depth),
            desired: level(|levels| levels.desired),
            advised: level(|levels| levels.advised),
            ready: level(|levels| levels.agents.ready),
            busy: level(|levels| levels.agents.busy),
            starting: level(|levels| levels.agents.starting),
            cooldown: level(|levels| levels.agents.cooldown),
            started: self.waits.started(),
            late: self.waits.late(),
            wait_s: self.waits.summary(),
            wait_context_s: self.context_waits.summary(),
        }
    }
}

fn sum_waits<'a>(slots: impl Iterator<Item = &'a Slot>) -> (WaitHistogram, WaitHistogram) {
    slots.fold(Default::default(), |(mut agent, mut context), slot| {
        agent.absorb(&slot.waits);
        context.absorb(&slot.context_waits);
        (agent, context)
    })
}

fn number_of(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(SLOT_US)
}

/// Rounds to four decimal places: further digits are noise, and long in JSON.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds from the start of a slot.
    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + (seconds * 1e6) as i64)
    }

    fn point(seconds: f64, span_s: f64, arrivals: u64) -> TimelinePoint {
        TimelinePoint { at: at(seconds), span_s, arrivals, ..TimelinePoint::default() }
    }

    fn rates(timeline: &Timeline, now: f64) -> Vec<Option<f64>> {
        timeline.points(at(now), 60).iter().map(|point| point.rate_per_s).collect()
    }

    #[test]
    fn arrivals_are_counted_where_they_came() {
        let mut timeline = Timeline::default();
        timeline.note(&point(0.0, 1.0, 9));
        for second in 1..=7 {
            timeline.note(&point(f64::from(second), 1.0, 2));
        }
        // The first sample does not know its period. The newest slot has two seconds so far.
        assert_eq!(rates(&timeline, 7.0), [Some(2.0), Some(2.0)]);
        assert_eq!(timeline.recent().rate_per_s, Some(2.0));
    }

    #[test]
    fn a_rare_look_tells_of_all_slots_since_the_one_before() {
        let mut timeline = Timeline::default();
        timeline.note(&TimelinePoint { depth: 3, ..point(0.0, 1.0, 0) });
        timeline.note(&TimelinePoint { depth: 5, ..point(20.0, 20.0, 60) });
        let points = timeline.points(at(20.0), 60);
        assert_eq!(rates(&timeline, 20.0)[..4], [Some(3.0); 4]);
        let depths: Vec<_> = points.iter().map(|point| point.depth.unwrap()).collect();
        assert_eq!(depths, [3, 3, 3, 3, 5]);
    }

    #[test]
    fn a_forecast_stands_where_it_is_for_and_reaches_beyond_now() {
        let mut timeline = Timeline::default();
        let expecting = |seconds: f64, horizon_s: f64, rate_per_s: f64| {
            let forecast = Forecast { horizon_s, rate_per_s, ..Forecast::default() };
            TimelinePoint { forecast: Some(forecast), ..point(seconds, 1.0, 0) }
        };
        timeline.note(&expecting(0.0, 11.0, 4.0));
        timeline.note(&expecting(1.0, 21.0, 6.0));
        let expected: Vec<_> =
            timeline.points(at(1.0), 60).iter().map(|point| (point.expected_per_s, point.desired)).collect();
        assert_eq!(expected, [(None, Some(0)), (None, None), (Some(4.0), None), (Some(6.0), None), (Some(6.0), None)]);
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let mut timeline = Timeline::default();
        for second in 0..8_000 {
            let forecast = Forecast { horizon_s: 9_999.0, ..Forecast::default() };
            timeline.note(&TimelinePoint { forecast: Some(forecast), ..point(f64::from(second), 1.0, 1) });
        }
        assert!(timeline.slots.len() as i64 <= PAST + AHEAD + 1, "{}", timeline.slots.len());
        let past = |minutes| timeline.points(at(7_999.0), minutes).iter().filter(|p| p.rate_per_s.is_some()).count();
        assert_eq!((past(60), past(15), past(1)), (720, 180, 12));
    }

    #[test]
    fn a_clock_that_is_set_begins_a_new_timeline() {
        let mut timeline = Timeline::default();
        timeline.note(&point(0.0, 1.0, 1));
        timeline.note(&point(1.0, 1.0, 1));
        for elsewhere in [1e9, -1e6] {
            timeline.note(&point(elsewhere, 1.0, 1));
            assert_eq!(timeline.slots.len(), 1);
        }
    }

    #[test]
    fn waits_are_those_of_the_minutes_asked_for() {
        let mut timeline = Timeline::default();
        let waited = |seconds: f64, wait_s: f64| {
            let mut waits = WaitHistogram::default();
            waits.note(wait_s, wait_s > 1.0);
            TimelinePoint { waits, ..point(seconds, 1.0, 0) }
        };
        timeline.note(&waited(0.0, 8.0));
        timeline.note(&waited(400.0, 0.5));
        let over = |minutes| timeline.waits(at(400.0), minutes).0;
        assert_eq!((over(15).started(), over(15).late(), over(5).started(), over(5).late()), (2, 1, 1, 0));
        let recent = timeline.recent();
        assert_eq!((recent.started, recent.late, recent.wait_s.unwrap().max), (1, 0, 0.5));
    }
}

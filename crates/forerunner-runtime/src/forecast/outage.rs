//! The size of a pool during an outage of what its agents depend on, and until the backlog of it is done.
//!
//! More agents would not help: they would only send more to what fails. Fewer would have to be started again.

use std::{collections::VecDeque, time::Duration};

use forerunner_core::{CircuitState, DependencyReport, IdMap, Timestamp};
use forerunner_forecast::{Decision, Forecast, Observation, ReasonCode};

/// The size that a pool had before an outage is the least of so long before it was certain: what fails is soon tried again,
/// and must not pass for more load.
const BEFORE: Duration = Duration::from_secs(5);
/// For how long a pool does not grow because an outage may have begun, and how long not again after that.
const SUSPECTED: Duration = Duration::from_secs(10);
const TRUSTED: Duration = Duration::from_secs(60);
/// How long after the last task of its backlog began an outage is over: what ran at once then is no sign of load.
const DONE: Duration = Duration::from_secs(30);
/// Seconds for which an arrival is followed: an outage is noticed sooner.
const FOLLOWED_S: f64 = 30.0;
/// How long the backlog of an outage may take to reach a new low. After that more comes than the agents can do.
const STUCK: Duration = Duration::from_secs(300);
/// A partial outage that lasts for longer is how things are: the pool may grow by another tenth.
const REBASE: Duration = Duration::from_secs(900);

/// Sizes between which a pool stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) least: u32,
    pub(super) most: u32,
}

impl Bounds {
    /// The same within the bounds of the pool, which an operator may change during an outage.
    pub(super) fn clamped(self, min: u32, max: u32) -> Self {
        let least = if self.least == 0 { 0 } else { self.least.clamp(min, max.max(min)) };
        Self { least, most: self.most.clamp(min, max.max(min)) }
    }
}

/// What is known of the queue when a size is decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'a> {
    pub(super) now: Timestamp,
    pub(super) dependency: &'a DependencyReport,
    pub(super) is_suspicious: bool,
    pub(super) desired: u32,
    pub(super) depth: u64,
}

/// Remembers the size before an outage.
#[derive(Debug, Default)]
pub(super) struct OutageSize {
    /// Sizes of the last seconds, oldest first.
    recent: Vec<(Timestamp, u32)>,
    /// Since when an outage is suspected, and the size then.
    suspected: Option<(Timestamp, u32)>,
    fixed: Option<FixedSize>,
}

#[derive(Debug, Clone, Copy)]
struct FixedSize {
    size: u32,
    /// While it lasts: since when it is partial. Then: when a task last waited.
    since: Timestamp,
    /// The lowest backlog since the outage ended, and when it was reached.
    low: Option<(u64, Timestamp)>,
}

impl OutageSize {
    /// Records the present state; returns the bounds of the size, if an outage sets any.
    pub(super) fn observe(&mut self, moment: &Moment<'_>) -> Option<Bounds> {
        let Moment { now, dependency, is_suspicious, desired, depth } = *moment;
        if self.fixed.is_none() {
            self.recent.retain(|(at, _)| now.since(*at) <= BEFORE);
            self.recent.push((now, desired));
        }
        let recent = self.recent.iter().map(|(_, size)| *size).min().unwrap_or(desired);
        let suspected = self.suspected.filter(|(at, _)| now.since(*at) <= TRUSTED);
        let before = suspected.map_or(recent, |(_, size)| size.min(recent));
        let is_closed = dependency.state == CircuitState::Closed;
        let Some(fixed) = &mut self.fixed else {
            if !is_closed {
                self.fixed = Some(FixedSize { size: before, since: now, low: None });
                return Some(bounds(before));
            }
            return self.suspect(is_suspicious, before, now);
        };
        if is_closed {
            if depth > 0 || fixed.low.is_none() {
                fixed.since = now;
            }
            let low = fixed.low.filter(|(low, _)| depth >= *low).unwrap_or((depth, now));
            fixed.low = Some(low);
            if now.since(fixed.since) >= DONE || now.since(low.1) > STUCK {
                *self = Self::default();
                return None;
            }
        } else {
            fixed.low = None;
            if dependency.limit.is_none() {
                fixed.since = now;
            } else if now.since(fixed.since) > REBASE {
                (fixed.size, fixed.since) = (desired, now);
            }
        }
        self.fixed.map(|fixed| bounds(fixed.size))
    }

    /// While an outage may have begun the pool does not grow, for a while.
    fn suspect(&mut self, is_suspicious: bool, before: u32, now: Timestamp) -> Option<Bounds> {
        let since = self.suspected.map(|(at, _)| now.since(at));
        match since {
            None if !is_suspicious => None,
            Some(since) if since > TRUSTED && !is_suspicious => {
                self.suspected = None;
                None
            }
            Some(since) if since > SUSPECTED => None,
            _ if !is_suspicious => None,
            _ => {
                self.suspected.get_or_insert((now, before));
                Some(Bounds { least: 0, ..bounds(before) })
            }
        }
    }

    /// Whether an outage fixes the pool's size.
    pub(super) const fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }
}

/// An outage neither needs fewer agents nor more than a tenth more.
const fn bounds(size: u32) -> Bounds {
    Bounds { least: size, most: size + size / 10 }
}

/// Removes the effects of the outage from an observation: tasks that wait because of it, start late and run at once. A
/// task that waits is not a long one: so arrivals are counted and not followed.
pub(super) fn without_outage(seen: &Observation, forecast: Option<&Forecast>) -> Observation {
    let usual = forecast.map_or(seen.in_flight, |known| (known.rate_per_s * known.service_s).round() as u32);
    let agents = seen.in_flight.saturating_add(seen.ready);
    // As many tasks in the system as usual: those that cannot be on agents now wait.
    let in_flight = usual.min(seen.in_flight);
    Observation {
        queue_depth: usual - in_flight,
        started: 0,
        late: 0,
        in_flight,
        ready: agents - in_flight,
        peak_concurrency: usual,
        arrived: Vec::new(),
        ..seen.clone()
    }
}

/// Arrivals of the last seconds that have not completed.
#[derive(Debug, Default)]
pub(super) struct OpenArrivals(VecDeque<(u64, f64)>);

impl OpenArrivals {
    /// Records arrivals and completions.
    pub(super) fn observe(&mut self, seen: &Observation) {
        self.0.extend(seen.arrived.iter().map(|arrival| (arrival.task, arrival.at)));
        if !seen.completed.is_empty() {
            let done: IdMap<u64, ()> = seen.completed.iter().map(|(task, _)| (*task, ())).collect();
            self.0.retain(|(task, _)| !done.contains_key(task));
        }
        while self.0.front().is_some_and(|(_, at)| at + FOLLOWED_S < seen.t) {
            self.0.pop_front();
        }
    }

    /// As an outage begins: those that it caught count as tasks of a usual duration, not as ones that take as long as it.
    pub(super) fn caught(&mut self, forecast: Option<&Forecast>) -> Vec<(u64, f64)> {
        let service_s = forecast.map(|known| known.service_s);
        let caught = std::mem::take(&mut self.0);
        caught.into_iter().filter_map(|(task, _)| Some((task, service_s?))).collect()
    }
}

/// Limits a decision to the bounds of an outage, and adds that to its reason.
pub(super) fn within(decision: Decision, bounds: Bounds, dependency: &DependencyReport) -> Decision {
    let desired = decision.desired.clamp(bounds.least, bounds.most);
    if bounds.least == 0 && desired == decision.desired {
        return decision;
    }
    let why = match (dependency.state, &dependency.error) {
        (CircuitState::Closed, _) if bounds.least == 0 => "tasks begin to fail alike".to_owned(),
        (CircuitState::Closed, _) => "the backlog of an outage is being worked off".to_owned(),
        (state, error) => format!(
            "what the agents depend on fails (dependency circuit {}): {}",
            state.as_str().replace('_', "-"),
            error.as_deref().unwrap_or("no error is known")
        ),
    };
    let detail = format!("{why}; the pool stays at {desired} agents; without that: {}", decision.detail);
    Decision { desired, reason: ReasonCode::Outage, detail, ..decision }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    /// Seconds, state of the circuit, suspicion, size, backlog; and the bounds that are expected.
    type Row = (u64, &'static str, u32, u64, Option<(u32, u32)>);

    fn run(rows: &[Row]) {
        let mut size = OutageSize::default();
        for (seconds, state, desired, depth, expected) in rows {
            let (state_of, limit) = match *state {
                "open" => (CircuitState::Open, None),
                "limited" => (CircuitState::HalfOpen, Some(5)),
                _ => (CircuitState::Closed, None),
            };
            let dependency = DependencyReport { state: state_of, limit, ..DependencyReport::default() };
            let moment = Moment {
                now: START + Duration::from_secs(*seconds),
                dependency: &dependency,
                is_suspicious: *state == "suspicious",
                desired: *desired,
                depth: *depth,
            };
            let found = size.observe(&moment).map(|bounds| (bounds.least, bounds.most));
            assert_eq!(found, *expected, "{seconds} s, {state}");
        }
    }

    #[test]
    fn the_size_before_an_outage_holds_until_its_backlog_is_done() {
        run(&[
            (0, "closed", 20, 0, None),
            (1, "suspicious", 20, 5, Some((0, 22))),
            (3, "open", 24, 40, Some((20, 22))),
            (60, "limited", 22, 300, Some((20, 22))),
            (90, "closed", 22, 200, Some((20, 22))),
            (120, "closed", 22, 1, Some((20, 22))),
            (149, "closed", 22, 0, Some((20, 22))),
            (150, "closed", 22, 0, None),
            (151, "closed", 30, 100, None),
        ]);
    }

    #[test]
    fn a_backlog_that_does_not_shrink_sets_the_pool_free() {
        run(&[
            (0, "closed", 20, 0, None),
            (1, "open", 20, 40, Some((20, 22))),
            (60, "closed", 20, 200, Some((20, 22))),
            (300, "closed", 20, 201, Some((20, 22))),
            (361, "closed", 20, 202, None),
        ]);
    }

    #[test]
    fn errors_that_never_end_do_not_keep_a_pool_small_for_ever() {
        run(&[
            (0, "limited", 20, 0, Some((20, 22))),
            (800, "limited", 22, 40, Some((20, 22))),
            (901, "limited", 22, 40, Some((22, 24))),
        ]);
        run(&[
            (0, "suspicious", 20, 0, Some((0, 22))),
            (10, "suspicious", 22, 0, Some((0, 22))),
            (11, "suspicious", 22, 0, None),
            (60, "suspicious", 22, 0, None),
            (61, "closed", 22, 0, None),
        ]);
        run(&[
            (0, "closed", 20, 0, None),
            (1, "suspicious", 20, 0, Some((0, 22))),
            (9, "limited", 22, 0, Some((20, 22))),
        ]);
    }
}

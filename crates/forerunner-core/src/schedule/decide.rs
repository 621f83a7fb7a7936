//! What to do about a schedule now.

use std::time::Duration;

use super::{CatchUp, Overlap, Schedule, ScheduleState};
use crate::Timestamp;

/// An occurrence that is later than this was missed; until then it is late, and is submitted whatever `catch_up` is.
pub const GRACE: Duration = Duration::from_secs(60);
/// Most occurrences that are caught up after an outage.
pub const MAX_CATCH_UP: usize = 1_000;
/// Skipped occurrences are counted up to this many at once.
const MOST_COUNTED: usize = 10_000;
/// A schedule whose decided occurrences are further ahead than this was driven by a wrong clock.
const WRONG_CLOCK: Duration = Duration::from_secs(86_400);
/// The shortest span of time.
const INSTANT: Duration = Duration::from_micros(1);

/// Why occurrences are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// A task of an earlier one has not ended.
    Overlap,
    /// A later one is due as well, and would cancel it.
    Superseded,
    /// They were missed.
    Missed,
}

impl SkipReason {
    /// Returns the name used in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::Superseded => "superseded",
            Self::Missed => "missed",
        }
    }
}

/// What to do about a schedule now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this time; nothing at all with `None`.
    Wait(Option<Timestamp>),
    /// Submit the task of an occurrence.
    Fire {
        /// Its time, before jitter.
        occurrence: Timestamp,
        /// When it was due.
        due: Timestamp,
        /// Cancel the tasks of earlier occurrences first.
        cancels: bool,
    },
    /// Skip occurrences.
    Skip {
        /// All up to here.
        until: Timestamp,
        /// How many they are, counted up to 10,000.
        occurrences: u64,
        /// Why.
        reason: SkipReason,
    },
    /// Forget what was decided ahead of this time: the clock was wrong. Idempotency keys still identify the occurrences
    /// that were submitted.
    SetBack(Timestamp),
}

/// Decides about the first undecided occurrence of a schedule. `is_active` is whether a task of it has not ended.
///
/// Each step but [`Step::Wait`] decides at least one occurrence, or sets the state back to `now`.
pub fn next_step(schedule: &Schedule, state: &ScheduleState, is_active: bool, now: Timestamp) -> Step {
    let definition = schedule.definition();
    if !definition.enabled {
        return Step::Wait(None);
    }
    if state.decided > now + WRONG_CLOCK {
        return Step::SetBack(now);
    }
    let Some(first) = schedule.next_after(state.decided) else { return Step::Wait(None) };
    let due = schedule.due(first);
    if due > now {
        return Step::Wait(Some(due));
    }
    if now.since(due) > GRACE
        && let Some(skip) = missed(schedule, state, first, now)
    {
        return skip;
    }
    let has_next = || schedule.next_after(first).is_some_and(|next| schedule.due(next) <= now);
    let skip = |reason| Step::Skip { until: first, occurrences: 1, reason };
    match definition.overlap {
        Overlap::Skip if is_active => skip(SkipReason::Overlap),
        Overlap::CancelRunning if has_next() => skip(SkipReason::Superseded),
        overlap => Step::Fire { occurrence: first, due, cancels: is_active && overlap == Overlap::CancelRunning },
    }
}

/// What of missed occurrences, of which `first` is the oldest, is skipped; `None` if the first is to come.
fn missed(schedule: &Schedule, state: &ScheduleState, first: Timestamp, now: Timestamp) -> Option<Step> {
    let timing = schedule.timing();
    // Those up to here are missed, whatever their jitter; later ones are decided one by one.
    let end = now - GRACE - schedule.jitter() - INSTANT;
    let until = match schedule.definition().catch_up {
        CatchUp::None => end.max(first),
        CatchUp::Latest => {
            let until = end.max(first);
            match timing.next_after(until).is_some_and(|next| schedule.due(next) <= now) {
                true => until,
                false => *timing.newest(first, end, 1).first()? - INSTANT,
            }
        }
        CatchUp::All if timing.count(state.decided, end, MAX_CATCH_UP + 1) <= MAX_CATCH_UP => return None,
        CatchUp::All => *timing.newest(state.decided, end, MAX_CATCH_UP).last()? - INSTANT,
    };
    let occurrences = timing.count(state.decided, until, MOST_COUNTED) as u64;
    Some(Step::Skip { until, occurrences, reason: SkipReason::Missed })
}

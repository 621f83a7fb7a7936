//! What came at this time of the day before, and of the week before.
//!
//! A rise that came at the same minute on two days is expected on the third, and so is one that came a week ago and on some
//! other day since. Nothing else is: one surprise is no pattern. How often such expectations came true is counted, and
//! those that mostly did not are dropped. Only rises are recalled, for the few minutes until the pool has seen for itself.

mod habit;
mod minutes;
mod text;

use serde::{Deserialize, Serialize};

pub(crate) use self::habit::Habit;
use self::{
    habit::{Days, Rise},
    minutes::{DAY, MINUTE_S, Minutes, minute_of},
};
use crate::rate::sane;

/// Minutes after a rise for which it is recalled: until then the pool has seen it, or it does not come.
const RECALLED_FOR: u64 = 6;
/// How many minutes ahead a rise is searched for, at most.
const FARTHEST: u64 = 60;
/// Part of the past that counts on when another expectation was judged: some twenty are remembered.
const KEEP_JUDGED: f64 = 0.95;
/// Least share of expectations that came true for more of them to be acted upon.
const TRUSTED: f64 = 0.5;
/// Most seconds since the begin that are believed.
const MOST_S: f64 = 1e13;

/// What is recalled at the horizon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CalendarRate {
    /// Tasks per second.
    pub rate: f64,
    pub habit: Habit,
}

/// Counts by the minute, and how far what they recall can be trusted.
///
/// Its clock runs on while the node is down: seconds since the first observation ever, saved across restarts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calendar {
    now: f64,
    minutes: Minutes,
    day: HitRate,
    week: HitRate,
    /// The minutes between which a rise was last searched for, and the result.
    #[serde(skip)]
    searched: Option<(u64, u64)>,
    #[serde(skip)]
    found: Option<CalendarRate>,
}

impl Calendar {
    /// Seconds since the first observation, as of the last one.
    pub fn now(&self) -> f64 {
        self.now
    }

    /// Advances by seconds that no node observed.
    pub fn skip(&mut self, seconds: f64) {
        self.now = sane(self.now + seconds).clamp(self.now, MOST_S);
    }

    /// Observes that `arrivals` tasks came in the `dt` seconds before `now`, and searches `horizon_s` ahead.
    pub fn observe(&mut self, now: f64, dt: f64, arrivals: f64, horizon_s: f64) {
        let now = sane(now).clamp(self.now, MOST_S);
        let from = (now - dt.max(0.0)).clamp(self.now, now);
        let before = self.minutes.current();
        self.minutes.observe(from, now, arrivals);
        self.now = now;
        let minute = self.minutes.current();
        if minute != before {
            self.judge();
        }
        let until = minute_of(now + horizon_s.max(0.0)).min(minute + FARTHEST);
        if self.searched != Some((minute, until)) {
            self.searched = Some((minute, until));
            self.found = self.recall(until);
        }
    }

    /// What to expect at the horizon because it came before; `None` where nothing rises, or what rose before cannot be
    /// trusted to come again.
    pub fn recalled(&self) -> Option<CalendarRate> {
        self.found
    }

    fn recall(&self, until: u64) -> Option<CalendarRate> {
        let trusted = |habit: Habit| self.hit_rate(habit).is_trusted();
        let rates = Habit::ALL.into_iter().filter(|habit| trusted(*habit)).filter_map(|habit| {
            let rise = self.expected(habit, until)?;
            Some(CalendarRate { rate: rise.peak / MINUTE_S, habit })
        });
        rates.max_by(|one, other| one.rate.total_cmp(&other.rate))
    }

    /// The rise that a habit makes expect between now and a minute ahead, at today's level.
    fn expected(&self, habit: Habit, until: u64) -> Option<Rise> {
        let days = Days { minutes: &self.minutes, from: self.minutes.current(), until, before: RECALLED_FOR };
        days.expected(habit)
    }

    /// A minute is over: judges what was expected of it.
    fn judge(&mut self) {
        let current = self.minutes.current();
        for habit in Habit::ALL {
            let expected = self.expected(habit, current + 1);
            let came = current.checked_sub(1).and_then(|minute| self.minutes.count(minute));
            self.hit_rate_mut(habit).judge(current, expected, came);
        }
    }

    fn hit_rate(&self, habit: Habit) -> &HitRate {
        match habit {
            Habit::Day => &self.day,
            Habit::Week => &self.week,
        }
    }

    fn hit_rate_mut(&mut self, habit: Habit) -> &mut HitRate {
        match habit {
            Habit::Day => &mut self.day,
            Habit::Week => &mut self.week,
        }
    }

    /// Whether this can have come about.
    pub fn is_sound(&self) -> bool {
        (0.0..=MOST_S).contains(&self.now)
            && self.minutes.is_sound()
            && self.minutes.current() <= minute_of(self.now)
            && self.day.is_sound()
            && self.week.is_sound()
    }
}

/// How often rises that were expected came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct HitRate {
    came: f64,
    stayed_away: f64,
    /// Whether a rise was expected a minute ago.
    expecting: bool,
    awaited: Option<ExpectedRise>,
}

/// A rise that is due.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct ExpectedRise {
    /// The minute from which on it is not expected any more.
    until: u64,
    /// Tasks a minute that are taken for it: half-way up.
    least: f64,
    came: bool,
    /// Minutes known since.
    seen: u64,
}

impl HitRate {
    /// Scores the minute that is over, in which `count` tasks came, and sets what is `expected` now.
    fn judge(&mut self, current: u64, expected: Option<Rise>, count: Option<f64>) {
        if let (Some(awaited), Some(count)) = (&mut self.awaited, count) {
            awaited.seen += 1;
            awaited.came |= count >= awaited.least;
        }
        if let Some(awaited) = self.awaited.filter(|awaited| current >= awaited.until || awaited.came) {
            self.awaited = None;
            // What nobody observed was neither right nor wrong.
            if awaited.came || awaited.seen >= RECALLED_FOR / 2 {
                self.came = KEEP_JUDGED * self.came + if awaited.came { 1.0 } else { 0.0 };
                self.stayed_away = KEEP_JUDGED * self.stayed_away + if awaited.came { 0.0 } else { 1.0 };
            }
        }
        let expecting = expected.is_some();
        if let Some(rise) = expected.filter(|_| !self.expecting && self.awaited.is_none()) {
            let until = current + RECALLED_FOR + 2;
            self.awaited = Some(ExpectedRise { until, least: rise.half_way(), came: false, seen: 0 });
        }
        self.expecting = expecting;
    }

    /// Whether what is expected mostly came; the first time the two sightings before it speak for it.
    fn is_trusted(&self) -> bool {
        self.came + 1.0 >= TRUSTED * (self.came + 1.0 + self.stayed_away)
    }

    fn is_sound(&self) -> bool {
        let counts = [self.came, self.stayed_away, self.awaited.map_or(0.0, |awaited| awaited.least)];
        counts.iter().all(|count| count.is_finite() && *count >= 0.0)
            && self.awaited.is_none_or(|awaited| awaited.seen <= DAY)
    }
}

#[cfg(test)]
mod tests;

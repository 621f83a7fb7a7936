//! Rises that past days make expect.

use super::minutes::{DAY, Minutes, differ};

/// Least ratio of the level after a rise to that before.
const RISE: f64 = 1.5;
/// Ten-minute counts of the last hour, which give today's level relative to the past days.
const TENS: u64 = 6;
/// Tasks added to each of them, so that few tasks prove little.
const FEW: f64 = 5.0;
/// Minutes of today that are searched for the expected rise: the pool knows already what came in them.
const SHOWN_WITHIN: u64 = 60;
/// Range of the ratio of today's level to that of the past days.
const RATIO: (f64, f64) = (0.5, 2.0);

/// What makes a rise expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// It came yesterday and the day before.
    Day,
    /// It came a week ago, and at least on one day since.
    Week,
}

impl Habit {
    pub const ALL: [Self; 2] = [Self::Day, Self::Week];

    /// The habit in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Day => "what came at this time yesterday",
            Self::Week => "what came at this time a week ago",
        }
    }
}

/// A rise within a few minutes, in tasks a minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rise {
    /// Before it.
    pub base: f64,
    pub peak: f64,
}

impl Rise {
    /// Tasks a minute from which on the rise has come.
    pub fn half_way(&self) -> f64 {
        0.5 * (self.base + self.peak)
    }

    fn times(self, ratio: f64) -> Self {
        Self { base: ratio * self.base, peak: ratio * self.peak }
    }
}

/// The minutes of today in which a rise would matter, and the same minutes of past days.
pub(super) struct Days<'a> {
    pub minutes: &'a Minutes,
    /// The current minute, and the last one that is searched.
    pub from: u64,
    pub until: u64,
    /// Minutes before `from` that a rise may begin in.
    pub before: u64,
}

impl Days<'_> {
    /// The rise that a habit makes expect, at today's level; `None` where the last hour has shown as much, since bursts that
    /// come and go all day come at the time of yesterday's by chance.
    pub fn expected(&self, habit: Habit) -> Option<Rise> {
        self.recalled(habit).filter(|rise| !self.has_shown(rise.half_way()))
    }

    fn recalled(&self, habit: Habit) -> Option<Rise> {
        match habit {
            Habit::Day => {
                let rise = self.on_both(1, 2)?;
                // A week ago two such days were followed by one without: it is the day before a weekend.
                let ends = self.on_both(8, 9).is_some() && self.is_calm(7);
                (!ends).then(|| rise.times(self.ratio(&[1, 2])))
            }
            Habit::Week => {
                let rise = self.on(7)?;
                let again = (1..7).any(|day| self.on(day).is_some());
                // Yesterday what had come a week before stayed away: the week has another shape now.
                let over = self.on(8).is_some() && self.is_calm(1);
                (again && !over).then(|| rise.times(self.ratio(&[7])))
            }
        }
    }

    /// Whether so many tasks a minute came in the hour before the rise may have begun.
    fn has_shown(&self, least: f64) -> bool {
        let end = self.from.saturating_sub(self.before);
        (end.saturating_sub(SHOWN_WITHIN)..end).any(|minute| self.minutes.count(minute) >= Some(least))
    }

    /// The rise so many days ago.
    fn on(&self, day: u64) -> Option<Rise> {
        self.rise(|minute| self.peak(day, minute))
    }

    /// The rise to a level that both days then had, to the mean of both.
    fn on_both(&self, one: u64, other: u64) -> Option<Rise> {
        let both = |minute| Some(self.peak(one, minute)?.min(self.peak(other, minute)?));
        let rise = self.rise(both)?;
        let greatest = |day| (self.from..=self.until).filter_map(|minute| self.peak(day, minute)).fold(0.0, f64::max);
        // The geometric mean: a freak among the two counts for little.
        Some(Rise { peak: rise.peak.max((greatest(one) * greatest(other)).sqrt()), ..rise })
    }

    /// Whether it is known that nothing rose so many days ago.
    fn is_calm(&self, day: u64) -> bool {
        self.peak(day, self.from).is_some() && self.on(day).is_none()
    }

    fn peak(&self, day: u64, minute: u64) -> Option<f64> {
        self.minutes.peak(minute.checked_sub(day * DAY)?)
    }

    /// The greatest rise of a series to a minute that is not over yet.
    fn rise(&self, level: impl Fn(u64) -> Option<f64>) -> Option<Rise> {
        let mut base = f64::INFINITY;
        for minute in self.from.saturating_sub(self.before)..self.from {
            base = base.min(level(minute).unwrap_or(f64::INFINITY));
        }
        let mut greatest: Option<Rise> = None;
        for minute in self.from..=self.until {
            let Some(peak) = level(minute) else { continue };
            let clear = base.is_finite() && peak >= RISE * base && differ(peak, base);
            if clear && greatest.is_none_or(|greatest| greatest.peak < peak) {
                greatest = Some(Rise { base, peak });
            }
            base = base.min(peak);
        }
        greatest
    }

    /// Today's level as a ratio to the mean of that of past days: the middle one of the ratios of ten-minute counts, so
    /// that a burst in the last hour does not count.
    fn ratio(&self, days: &[u64]) -> f64 {
        let mut ratios = [1.0; TENS as usize];
        for (ten, ratio) in ratios.iter_mut().enumerate() {
            let (mut today, mut then) = (FEW, FEW);
            for back in 1..=10 {
                let Some(minute) = self.from.checked_sub(10 * ten as u64 + back) else { continue };
                let past = days.iter().map(|day| self.minutes.count(minute.checked_sub(day * DAY)?));
                let Some(past) = past.sum::<Option<f64>>() else { continue };
                let Some(now) = self.minutes.count(minute) else { continue };
                today += now;
                then += past / days.len() as f64;
            }
            *ratio = today / then;
        }
        ratios.sort_by(f64::total_cmp);
        let middle = TENS as usize / 2;
        (0.5 * (ratios[middle - 1] + ratios[middle])).clamp(RATIO.0, RATIO.1)
    }
}

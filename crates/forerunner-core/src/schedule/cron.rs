//! Cron expressions in a time zone: which moments they name when clocks change.
//!
//! An expression that names hours (`30 2 * * *`) names times of day: each of them comes once on each of its dates. One
//! that a change of clocks leaves out comes when the clocks have changed; one that comes twice comes the first time. An
//! expression of every hour (`*/15 * * * *`) continues by elapsed time: it follows the clock through both passes of an
//! hour that comes twice, and an hour that is left out takes no time.

use std::cmp::Ordering;

use croner::{
    Cron, CronDateTime, Resolution, Weekday,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    SignedDuration,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};

use crate::{Error, Timestamp, ids::shortened};

/// Longest cron expression, in bytes.
pub const MAX_CRON_BYTES: usize = 256;
/// Hours of an expression of every hour.
const EVERY_HOUR: usize = 24;
/// Changes of clocks that the search passes for one occurrence: more than two a year for the years that an expression
/// can be silent (a leap day on one day of the week: 40).
const MOST_CHANGES: usize = 256;

/// A cron expression, and the time zone whose clocks it means.
#[derive(Debug, Clone)]
pub(crate) struct CronTiming {
    cron: Cron,
    zone: TimeZone,
    names_hours: bool,
}

impl CronTiming {
    /// Reads an expression of five fields, or six with seconds first, and the name of a zone in the IANA database.
    ///
    /// # Errors
    /// [`Error::Schedule`] with the field, the value and the remedy.
    pub(crate) fn parse(expression: &str, zone: &str) -> Result<Self, Error> {
        let refused = |rule: String| Error::Schedule { field: "cron", value: shortened(expression), rule };
        if expression.len() > MAX_CRON_BYTES {
            return Err(refused(format!("it has {} bytes; use {MAX_CRON_BYTES} at most", expression.len())));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.trim_end_matches('.');
            refused(format!(
                "{reason}; write minute, hour, day of the month, month and day of the week, such as `30 2 * * 1-5`, \
                 with seconds before them if need be"
            ))
        })?;
        let names_hours = cron.pattern.hours.values().len() < EVERY_HOUR;
        let zone = zone_of(zone)?;
        Ok(Self { cron, zone, names_hours })
    }

    /// The first occurrence after a moment; `None` if there is none before the year 5000.
    pub(crate) fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_microsecond(after.as_micros()).ok()?;
        let next = if self.names_hours { self.next_named(after) } else { self.next_elapsed(after) };
        next.map(|next| Timestamp::from_micros(next.as_microsecond()))
    }

    /// Of times of day: the first whose moment is later. Later times of day never have earlier moments.
    fn next_named(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let mut seen = self.zone.to_datetime(after);
        if let Some(end) = self.end_of_second_pass(after, seen) {
            // Those up to there have come in the first pass.
            seen = end.checked_sub(SignedDuration::from_secs(1)).ok()?;
        }
        loop {
            seen = self.cron.find_next_occurrence(&Civil(seen), false).ok()?.0;
            let moment = self.moment_of(seen)?;
            if moment > after {
                return Some(moment);
            }
        }
    }

    /// If the clock shows a time for the second time: until which time of day it does.
    fn end_of_second_pass(&self, at: jiff::Timestamp, shown: DateTime) -> Option<DateTime> {
        let ambiguous = self.zone.to_ambiguous_timestamp(shown);
        let AmbiguousOffset::Fold { before, after } = ambiguous.offset() else { return None };
        if self.zone.to_offset(at) != after {
            return None;
        }
        let next = at.checked_add(SignedDuration::from_nanos(1)).ok()?;
        let change = self.zone.preceding(next).next()?.timestamp();
        Some(before.to_datetime(change))
    }

    /// When it is a time of day: the first time if it comes twice, when clocks have changed if it is left out.
    fn moment_of(&self, shown: DateTime) -> Option<jiff::Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(shown);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } => {
                let before = ambiguous.earlier().ok()?;
                Some(self.zone.following(before).next()?.timestamp())
            }
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
        }
    }

    /// Of every hour: from one change of clocks to the next, time passes evenly.
    fn next_elapsed(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let (mut from, mut inclusive) = (after, false);
        for _ in 0..MOST_CHANGES {
            let offset = self.zone.to_offset(from);
            let found = self.cron.find_next_occurrence(&Civil(offset.to_datetime(from)), inclusive).ok()?.0;
            let moment = offset.to_timestamp(found).ok()?;
            match self.zone.following(from).next().map(|change| change.timestamp()) {
                Some(change) if change <= moment => (from, inclusive) = (change, true),
                _ => return Some(moment),
            }
        }
        None
    }
}

/// Finds a zone by its name.
fn zone_of(name: &str) -> Result<TimeZone, Error> {
    let refused = |rule: &str| Error::Schedule { field: "time_zone", value: shortened(name), rule: rule.to_owned() };
    TimeZoneDatabase::bundled()
        .get(name)
        .map_err(|_| refused("the IANA database has no such zone; use a name such as Europe/Berlin or UTC"))
}

/// What clocks show, for a search that knows no zone.
#[derive(Debug, Clone, Copy)]
struct Civil(DateTime);

impl CronDateTime for Civil {
    fn to_civil(&self) -> croner::CivilDateTime {
        let (date, time) = (self.0.date(), self.0.time());
        croner::CivilDateTime::new(
            croner::CivilDate::from_parts_unchecked(date.year().into(), date.month() as u32, date.day() as u32),
            croner::CivilTime::from_parts_unchecked(time.hour() as u32, time.minute() as u32, time.second() as u32),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(self.0.weekday().to_sunday_zero_offset() as u32)
    }

    fn resolve_civil(&self, civil: croner::CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let part = |part: u32| i8::try_from(part).map_err(|_| CronError::InvalidDate);
        let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
        let (month, day) = (part(civil.month())?, part(civil.day())?);
        let (hour, minute, second) = (part(civil.hour())?, part(civil.minute())?, part(civil.second())?);
        let shown = DateTime::new(year, month, day, hour, minute, second, 0).map_err(|_| CronError::InvalidDate)?;
        Ok(Resolution::Single(Self(shown)))
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

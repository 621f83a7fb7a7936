//! Laws: no occurrence is skipped or doubled, over a year in several zones, and over a clock that jumps.

use std::{collections::BTreeSet, time::Duration};

use jiff::{
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};
use proptest::prelude::*;

use super::{
    tests::{at, cron, schedule},
    *,
};
use crate::{TaskId, Timestamp};

const ZONES: [&str; 7] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Asia/Beirut",
    "Pacific/Apia",
    "UTC",
];
const DAY_US: i64 = 86_400_000_000;
const HALF_HOUR: Duration = Duration::from_secs(1_800);

/// Every time of day on the half hour of a span of dates, in order, with the moment at which it is to come.
fn named(zone: &TimeZone, from: DateTime, half_hours: i64) -> Vec<(DateTime, Timestamp)> {
    let shown = (0..half_hours).map(|n| from.saturating_add(jiff::SignedDuration::from_mins(30 * n)));
    let moment = |shown: DateTime| {
        let ambiguous = zone.to_ambiguous_timestamp(shown);
        let earlier = ambiguous.earlier().unwrap();
        let moment = match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } => zone.following(earlier).next().unwrap().timestamp(),
            _ => earlier,
        };
        Timestamp::from_micros(moment.as_microsecond())
    };
    shown.map(|shown| (shown, moment(shown))).collect()
}

/// Walks a schedule from occurrence to occurrence.
fn walked(schedule: &Schedule, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    schedule.timing().between(from, until).collect()
}

#[test]
fn over_three_years_each_named_time_of_day_comes_once_and_each_elapsed_half_hour_once() {
    let (first, days) = (jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0), 3 * 365);
    for name in ZONES {
        let zone = TimeZoneDatabase::bundled().get(name).unwrap();
        let all = named(&zone, first, days * 48);
        let (from, until) = (all[0].1 - Duration::from_secs(1), all[all.len() - 1].1);
        for hour in [0, 1, 2, 3, 23] {
            let expected: BTreeSet<_> =
                all.iter().filter(|(shown, _)| i32::from(shown.hour()) == hour).map(|(_, moment)| *moment).collect();
            let daily = schedule(cron(&format!("0,30 {hour} * * *"), name), "2025-01-01T00:00:00Z");
            let found = walked(&daily, from, until);
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{name}, hour {hour}");
        }
        let steady = schedule(cron("0,30 * * * *", name), "2025-01-01T00:00:00Z");
        let found = walked(&steady, from, from + Duration::from_secs(400 * 86_400));
        assert!(found.windows(2).all(|pair| pair[1].since(pair[0]) == HALF_HOUR), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// From any moment on the next occurrence is the first one of the whole walk that is later.
    #[test]
    fn where_a_walk_begins_changes_nothing(
        zone in 0..ZONES.len(),
        hours in prop::sample::select(vec!["*", "2", "0,1,23", "*/3", "1-3"]),
        minutes in prop::sample::select(vec!["0", "15,45", "*/20", "59"]),
        change in 0..12_i64,
        offset_s in -200_000..200_000_i64,
    ) {
        let zone_of = TimeZoneDatabase::bundled().get(ZONES[zone]).unwrap();
        let begun: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let changes: Vec<_> = zone_of.following(begun).take(12).map(|change| change.timestamp().as_microsecond()).collect();
        let near = changes.get(change as usize).copied().unwrap_or(begun.as_microsecond());
        let middle = Timestamp::from_micros(near);
        let schedule = schedule(cron(&format!("{minutes} {hours} * * *"), ZONES[zone]), "2025-01-01T00:00:00Z");
        let all = walked(&schedule, middle - Duration::from_secs(300_000), middle + Duration::from_secs(400_000));
        prop_assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        let from = Timestamp::from_micros(near + offset_s * 1_000_000);
        let expected = all.iter().copied().find(|time| *time > from);
        prop_assert_eq!(schedule.next_after(from), expected);
    }

    /// Whatever the clock does, within a day, no occurrence is decided twice, and none is left out.
    #[test]
    fn over_a_clock_that_jumps_each_occurrence_is_decided_once(
        jumps in prop::collection::vec(prop_oneof![4 => 1..40_i64, 1 => -40_000..40_000_i64], 1..60),
        catch_up in prop::sample::select(vec![CatchUp::None, CatchUp::Latest, CatchUp::All]),
        overlap in prop::sample::select(vec![Overlap::Skip, Overlap::Queue, Overlap::CancelRunning]),
        jitter_s in 0..20_u64,
        is_active in any::<bool>(),
    ) {
        let begun = at("2027-03-27T20:00:00Z");
        let definition = ScheduleDefinition {
            catch_up,
            overlap,
            jitter: Some(Duration::from_secs(jitter_s)),
            ..cron("* * * * *", "Europe/Berlin")
        };
        let schedule = schedule(definition, "2027-01-01T00:00:00Z");
        let mut state = ScheduleState::new(begun);
        let (mut now, mut fired, mut skipped) = (begun, Vec::new(), 0);
        for jump in jumps {
            let jumped = now.as_micros() + jump * 1_000_000;
            now = Timestamp::from_micros(jumped.clamp(begun.as_micros() - DAY_US / 2, begun.as_micros() + DAY_US / 2));
            let mut steps = 0;
            loop {
                steps += 1;
                prop_assert!(steps < 10_000, "it decides without end");
                let before = state.decided;
                match next_step(&schedule, &state, is_active, now) {
                    Step::Wait(next) => {
                        prop_assert!(next.is_some_and(|next| next > now));
                        break;
                    }
                    Step::Fire { occurrence, due, .. } => {
                        prop_assert!(due <= now && due >= occurrence);
                        fired.push(occurrence);
                        let run = LastRun { occurrence, submitted_at: now, task: TaskId::from_parts(now, 1) };
                        state = state.fired(run, &[], false);
                    }
                    Step::Skip { until, occurrences, .. } => {
                        skipped += occurrences;
                        prop_assert!(until <= now);
                        state = state.skipped(until, occurrences);
                    }
                    Step::SetBack(_) => prop_assert!(false, "no jump is that far"),
                }
                prop_assert!(state.decided > before, "each step decides something");
            }
        }
        prop_assert!(fired.windows(2).all(|pair| pair[0] < pair[1]), "none twice, and in order");
        let all = walked(&schedule, begun, state.decided).len() as u64;
        prop_assert_eq!(fired.len() as u64 + skipped, all, "none left out");
        prop_assert_eq!((state.fired, state.skipped), (fired.len() as u64, skipped));
    }

    /// The newest of a span are the last ones of a walk through it.
    #[test]
    fn the_newest_are_the_last_of_a_walk(
        expression in prop::sample::select(vec!["*/7 * * * * *", "5 */3 * * *", "* * 3 * * *", "0 0 1 * *"]),
        begin_s in 0..3_000_000_i64,
        span_s in 0..300_000_i64,
        most in 1..40_usize,
    ) {
        let schedule = schedule(cron(expression, "Europe/Berlin"), "2026-01-01T00:00:00Z");
        let after = Timestamp::from_micros(at("2027-03-01T00:00:00Z").as_micros() + begin_s * 1_000_000);
        let until = after + Duration::from_secs(span_s as u64);
        let all: Vec<_> = walked(&schedule, after, until).into_iter().rev().take(most).collect();
        prop_assert_eq!(schedule.timing().newest(after, until, most), all);
    }
}

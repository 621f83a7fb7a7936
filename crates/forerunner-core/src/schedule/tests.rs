//! Tables: expressions over changes of clocks, what is refused, and what is decided when.

use std::time::Duration;

use jiff::tz::TimeZoneDatabase;

use super::*;
use crate::{Error, Payload, PoolName, ScheduleName, TaskId, Timestamp};

const BERLIN: &str = "Europe/Berlin";
const NEW_YORK: &str = "America/New_York";
const LORD_HOWE: &str = "Australia/Lord_Howe";
/// Its clocks change at midnight: the day of the spring change begins at 01:00.
const SANTIAGO: &str = "America/Santiago";

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn definition(change: impl FnOnce(&mut ScheduleDefinition)) -> ScheduleDefinition {
    let (name, pool) = (ScheduleName::new("nightly").unwrap(), PoolName::new("coder").unwrap());
    let mut definition = ScheduleDefinition::new(name, pool, Payload::null());
    change(&mut definition);
    definition
}

pub(super) fn cron(expression: &str, zone: &str) -> ScheduleDefinition {
    definition(|new| (new.cron, new.time_zone) = (Some(expression.to_owned()), Some(zone.to_owned())))
}

pub(super) fn schedule(definition: ScheduleDefinition, created_at: &str) -> Schedule {
    Schedule::new(definition, at(created_at)).unwrap()
}

/// What the clocks of the zone show at the occurrences of a stretch of time: day and time, and the offset in hours.
fn shown(expression: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
    let schedule = schedule(cron(expression, zone), from);
    let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
    let times = schedule.timing().between(at(from), at(until));
    let shown = times.map(|time| {
        let time = jiff::Timestamp::from_microsecond(time.as_micros()).unwrap();
        let offset_min = zone.to_offset(time).seconds() / 60;
        let (hours, minutes) = (offset_min / 60, offset_min.abs() % 60);
        format!("{} {hours:+03}:{minutes:02}", zone.to_datetime(time).strftime("%d %H:%M"))
    });
    shown.collect()
}

#[test]
fn in_spring_a_time_of_day_that_is_left_out_comes_when_the_clocks_have_changed() {
    // 2027-03-28, 02:00 becomes 03:00 in Berlin.
    let berlin = |expression| shown(expression, BERLIN, "2027-03-27T12:00:00Z", "2027-03-29T03:00:00Z");
    assert_eq!(berlin("30 2 * * *"), ["28 03:00 +02:00", "29 02:30 +02:00"]);
    assert_eq!(berlin("0 0,2 * * *"), ["28 00:00 +01:00", "28 03:00 +02:00", "29 00:00 +02:00", "29 02:00 +02:00"]);
    assert_eq!(berlin("*/30 2 * * *"), ["28 03:00 +02:00", "29 02:00 +02:00", "29 02:30 +02:00"]);
    assert_eq!(berlin("0 3 * * *"), ["28 03:00 +02:00", "29 03:00 +02:00"], "it is not left out");
    // 2027-03-14, 02:00 becomes 03:00 in New York.
    let new_york = shown("15 2 * * *", NEW_YORK, "2027-03-13T12:00:00Z", "2027-03-15T12:00:00Z");
    assert_eq!(new_york, ["14 03:00 -04:00", "15 02:15 -04:00"]);
    // 2027-10-03, 02:00 becomes 02:30 on Lord Howe.
    let lord_howe = shown("15 2 * * *", LORD_HOWE, "2027-10-02T00:00:00Z", "2027-10-03T20:00:00Z");
    assert_eq!(lord_howe, ["03 02:30 +11:00", "04 02:15 +11:00"]);
    // 2027-09-05, 00:00 becomes 01:00 in Santiago.
    let santiago = shown("0 0 * * *", SANTIAGO, "2027-09-04T05:00:00Z", "2027-09-06T12:00:00Z");
    assert_eq!(santiago, ["05 01:00 -03:00", "06 00:00 -03:00"]);
    let sundays = shown("0 0 * * SUN", SANTIAGO, "2027-09-01T05:00:00Z", "2027-09-13T12:00:00Z");
    assert_eq!(sundays, ["05 01:00 -03:00", "12 00:00 -03:00"]);
}

#[test]
fn in_autumn_a_time_of_day_that_comes_twice_counts_the_first_time() {
    // 2027-10-31, 03:00 becomes 02:00 in Berlin.
    let berlin = |expression| shown(expression, BERLIN, "2027-10-30T12:00:00Z", "2027-11-01T02:00:00Z");
    assert_eq!(berlin("30 2 * * *"), ["31 02:30 +02:00", "01 02:30 +01:00"]);
    assert_eq!(
        berlin("*/30 2,3 * * *"),
        [
            "31 02:00 +02:00",
            "31 02:30 +02:00",
            "31 03:00 +01:00",
            "31 03:30 +01:00",
            "01 02:00 +01:00",
            "01 02:30 +01:00",
            "01 03:00 +01:00"
        ]
    );
    // 2027-11-07, 02:00 becomes 01:00 in New York.
    let new_york = shown("30 1 * * *", NEW_YORK, "2027-11-06T12:00:00Z", "2027-11-08T12:00:00Z");
    assert_eq!(new_york, ["07 01:30 -04:00", "08 01:30 -05:00"]);
    // 2027-04-04, 02:00 becomes 01:30 on Lord Howe.
    let lord_howe = shown("45 1 * * *", LORD_HOWE, "2027-04-03T00:00:00Z", "2027-04-04T20:00:00Z");
    assert_eq!(lord_howe, ["04 01:45 +11:00", "05 01:45 +10:30"]);
    // 2027-04-04, 00:00 becomes 23:00 of the day before in Santiago.
    let santiago = shown("30 23 * * *", SANTIAGO, "2027-04-03T12:00:00Z", "2027-04-05T12:00:00Z");
    assert_eq!(santiago, ["03 23:30 -03:00", "04 23:30 -04:00"]);
}

#[test]
fn an_expression_of_every_hour_goes_on_by_elapsed_time() {
    let spring = shown("*/30 * * * *", BERLIN, "2027-03-28T00:15:00Z", "2027-03-28T01:45:00Z");
    assert_eq!(spring, ["28 01:30 +01:00", "28 03:00 +02:00", "28 03:30 +02:00"]);
    let autumn = shown("0 * * * *", BERLIN, "2027-10-30T23:30:00Z", "2027-10-31T02:30:00Z");
    assert_eq!(autumn, ["31 02:00 +02:00", "31 02:00 +01:00", "31 03:00 +01:00"]);
    let lord_howe = shown("*/15 * * * *", LORD_HOWE, "2027-04-03T14:25:00Z", "2027-04-03T15:35:00Z");
    assert_eq!(
        lord_howe,
        ["04 01:30 +11:00", "04 01:45 +11:00", "04 01:30 +10:30", "04 01:45 +10:30", "04 02:00 +10:30"]
    );
}

#[test]
fn seconds_names_of_days_and_last_days_are_understood() {
    assert_eq!(shown("*/20 * * * * *", "UTC", "2027-01-01T00:00:00Z", "2027-01-01T00:01:00Z").len(), 3);
    assert_eq!(
        shown("0 9 L * *", "UTC", "2027-02-01T00:00:00Z", "2027-03-31T23:00:00Z"),
        ["28 09:00 +00:00", "31 09:00 +00:00"]
    );
    assert_eq!(shown("0 9 * * MON#1", "UTC", "2027-02-01T10:00:00Z", "2027-03-31T23:00:00Z"), ["01 09:00 +00:00"]);
    assert_eq!(shown("@daily", "UTC", "2027-02-01T10:00:00Z", "2027-02-02T10:00:00Z"), ["02 00:00 +00:00"]);
    // As in POSIX: the first of the month, and each Monday.
    assert_eq!(
        shown("0 0 1 * MON", "UTC", "2027-02-27T00:00:00Z", "2027-03-08T01:00:00Z"),
        ["01 00:00 +00:00", "08 00:00 +00:00"]
    );
}

#[test]
fn an_interval_counts_from_its_start_and_one_time_comes_once() {
    let every = |start: Option<&str>| {
        definition(|new| (new.every, new.starts_at) = (Some(Duration::from_secs(600)), start.map(at)))
    };
    let made = "2027-01-01T00:00:00Z";
    assert_eq!(schedule(every(None), made).next_after(at(made)), Some(at("2027-01-01T00:10:00Z")));
    let later = schedule(every(Some("2027-01-02T00:00:00Z")), made);
    assert_eq!(later.next_after(at(made)), Some(at("2027-01-02T00:00:00Z")));
    assert_eq!(later.next_after(at("2027-01-02T00:00:00Z")), Some(at("2027-01-02T00:10:00Z")));
    let once = schedule(definition(|new| new.at = Some(at("2027-01-03T00:00:00Z"))), made);
    assert_eq!(once.next_after(at(made)), Some(at("2027-01-03T00:00:00Z")));
    assert_eq!(once.next_after(at("2027-01-03T00:00:00Z")), None);
}

#[test]
fn what_is_not_valid_is_refused_with_the_field_the_value_and_the_remedy() {
    let fault = |definition| Schedule::new(definition, at("2027-01-01T00:00:00Z")).unwrap_err().to_string();
    let too_long = format!("0 0 {} * *", "1,".repeat(200) + "1");
    for (definition, parts) in [
        (cron("0 0 30 2 *", "UTC"), ["cron `0 0 30 2 *`", "no date matches it"]),
        (cron("0 25 * * *", "UTC"), ["cron `0 25 * * *`", "such as `30 2 * * 1-5`"]),
        (cron("hourly", "UTC"), ["cron `hourly`", "write minute, hour"]),
        (cron("", "UTC"), ["cron ``", "write minute, hour"]),
        (cron("0 0 1 1 * * 2030", "UTC"), ["cron", "5 or 6 fields"]),
        (cron(&too_long, "UTC"), ["use 256 at most", "it has"]),
        (cron("0 0 * * *", "Mars/Olympus"), ["time_zone `Mars/Olympus`", "such as Europe/Berlin"]),
        (definition(|_| {}), ["none of them", "give one of `cron`, `every` and `at`"]),
        (
            definition(|new| (new.every, new.at) = (Some(Duration::from_secs(9)), Some(at("2028-01-01T00:00:00Z")))),
            ["more than one", "give one of"],
        ),
        (definition(|new| new.every = Some(Duration::from_millis(999))), ["every `999ms`", "use 1s to"]),
        (
            definition(|new| (new.every, new.time_zone) = (Some(Duration::from_secs(9)), Some(BERLIN.to_owned()))),
            ["time_zone `Europe/Berlin`", "goes with `cron` only"],
        ),
        (
            definition(|new| {
                (new.at, new.starts_at) = (Some(at("2028-01-01T00:00:00Z")), Some(at("2028-01-01T00:00:00Z")))
            }),
            ["starts_at", "goes with `every` only"],
        ),
        (
            ScheduleDefinition { jitter: Some(Duration::from_secs(61)), ..cron("* * * * *", "UTC") },
            ["jitter `61s`", "occurrences are 1m apart"],
        ),
        (
            ScheduleDefinition { expires_after: Some(Duration::ZERO), ..cron("* * * * *", "UTC") },
            ["expires_after `0s`", "use more than 0s"],
        ),
    ] {
        let fault = fault(definition);
        assert!(parts.iter().all(|part| fault.contains(part)), "{parts:?} in {fault}");
    }
    let error = Schedule::new(cron("0 0 31 4,6,9,11 *", "UTC"), at("2027-01-01T00:00:00Z")).unwrap_err();
    assert!(matches!(error, Error::Schedule { field: "cron", .. }));
    assert!(Schedule::new(cron("0 0 29 2 MON#5", "UTC"), at("2027-01-01T00:00:00Z")).is_ok(), "rare, and it comes");
}

#[test]
fn a_definition_survives_its_text_form() {
    let full = ScheduleDefinition {
        jitter: Some(Duration::from_secs(30)),
        labels: [("team".to_owned(), "docs".to_owned())].into(),
        overlap: Overlap::CancelRunning,
        catch_up: CatchUp::All,
        enabled: false,
        ..cron("30 2 * * *", BERLIN)
    };
    let text = serde_json::to_string(&full).unwrap();
    assert!(text.contains(r#""overlap":"cancel_running","catch_up":"all","jitter":"30s""#), "{text}");
    assert_eq!(serde_json::from_str::<ScheduleDefinition>(&text).unwrap(), full);
    let least: ScheduleDefinition = serde_json::from_str(r#"{"name":"a","pool":"b","every":"1h","input":1}"#).unwrap();
    assert_eq!((least.overlap, least.catch_up, least.enabled), (Overlap::Skip, CatchUp::Latest, true));
    assert!(serde_json::from_str::<ScheduleDefinition>(r#"{"name":"a","pool":"b","input":1,"often":1}"#).is_err());
}

#[test]
fn the_task_of_an_occurrence_is_named_after_it() {
    let definition =
        ScheduleDefinition { expires_after: Some(Duration::from_secs(3_600)), ..cron("30 2 * * *", "UTC") };
    let name = definition.name.clone();
    let due = at("2027-01-01T02:30:00Z");
    let key = key_of(&name, due, false);
    assert_eq!(key.as_str(), "schedule:nightly:2027-01-01T02:30:00.000000Z");
    assert_eq!(name_in_key(key.as_str()), Some("nightly"));
    assert_eq!(name_in_key(key_of(&name, due, true).as_str()), Some("nightly"));
    assert_eq!(name_in_key("mine"), None);
    let task = schedule(definition, "2026-01-01T00:00:00Z").task(due, key);
    assert_eq!((task.run_at, task.deadline), (Some(due), Some(at("2027-01-01T03:30:00Z"))));
    assert_eq!(task.labels["schedule"], "nightly");
}

#[test]
fn jitter_is_within_its_bound_differs_and_is_the_same_each_time() {
    let made = "2027-01-01T00:00:00Z";
    let jittered = ScheduleDefinition { jitter: Some(Duration::from_secs(600)), ..cron("0 * * * *", "UTC") };
    let schedule = schedule(jittered, made);
    let times: Vec<_> = schedule.timing().between(at(made), Timestamp::MAX).take(200).collect();
    let delays: Vec<_> = times.iter().map(|time| schedule.due(*time).since(*time)).collect();
    assert!(delays.iter().all(|delay| *delay < Duration::from_secs(600)));
    let mean = delays.iter().sum::<Duration>().as_secs_f64() / 200.0;
    assert!((240.0..360.0).contains(&mean), "{mean}");
    assert_eq!(
        schedule.due(at("2027-01-01T01:00:00Z")),
        at("2027-01-01T01:07:02.358Z"),
        "on every node and in every version"
    );
}

/// What is decided step by step until nothing is to do, as (what, time of day, count).
fn steps(definition: ScheduleDefinition, decided: &str, active: bool, now: &str) -> Vec<(&'static str, String, u64)> {
    let schedule = schedule(definition, "2026-01-01T00:00:00Z");
    let (mut state, mut active) = (ScheduleState::new(at(decided)), active);
    let task = TaskId::from_parts(at(now), 1);
    let time = |at: Timestamp| at.to_string()[11..19].to_owned();
    let mut all = Vec::new();
    loop {
        match next_step(&schedule, &state, active, at(now)) {
            Step::Wait(_) => return all,
            Step::Fire { occurrence, cancels, .. } => {
                all.push((if cancels { "cancel and fire" } else { "fire" }, time(occurrence), 1));
                let run = LastRun { occurrence, submitted_at: at(now), task };
                (state, active) = (state.fired(run, &[], false), true);
            }
            Step::Skip { until, occurrences, reason } => {
                all.push((reason.as_str(), time(until), occurrences));
                state = state.skipped(until, occurrences);
            }
            Step::SetBack(to) => {
                all.push(("set back", time(to), 0));
                state.decided = to;
            }
        }
    }
}

#[test]
fn what_happens_to_occurrences_that_meet() {
    let with = |overlap| ScheduleDefinition { overlap, ..cron("0 * * * *", "UTC") };
    let on_time = |overlap, active| steps(with(overlap), "2027-01-01T03:00:00Z", active, "2027-01-01T04:00:00.5Z");
    let four = || "04:00:00".to_owned();
    assert_eq!(on_time(Overlap::Skip, false), [("fire", four(), 1)]);
    assert_eq!(on_time(Overlap::Skip, true), [("overlap", four(), 1)]);
    assert_eq!(on_time(Overlap::Queue, true), [("fire", four(), 1)]);
    assert_eq!(on_time(Overlap::CancelRunning, false), [("fire", four(), 1)]);
    assert_eq!(on_time(Overlap::CancelRunning, true), [("cancel and fire", four(), 1)]);
    // Three at once, each a few seconds late.
    let late = |overlap| {
        let definition = ScheduleDefinition { overlap, ..cron("*/10 * * * * *", "UTC") };
        let steps = steps(definition, "2027-01-01T03:59:40Z", false, "2027-01-01T04:00:11Z");
        steps.into_iter().map(|(what, ..)| what).collect::<Vec<_>>()
    };
    assert_eq!(late(Overlap::Queue), ["fire", "fire", "fire"]);
    assert_eq!(late(Overlap::Skip), ["fire", "overlap", "overlap"]);
    assert_eq!(late(Overlap::CancelRunning), ["superseded", "superseded", "fire"]);
}

#[test]
fn what_happens_to_occurrences_that_were_missed() {
    let with = |catch_up| ScheduleDefinition { catch_up, overlap: Overlap::Queue, ..cron("0 * * * *", "UTC") };
    let fired = |hour: u32| ("fire", format!("{hour:02}:00:00"), 1);
    // Five hours without a node, half an hour past the last occurrence.
    let outage = |catch_up| steps(with(catch_up), "2027-01-01T01:00:00Z", false, "2027-01-01T06:30:00Z");
    assert_eq!(outage(CatchUp::None), [("missed", "06:28:59".to_owned(), 5)]);
    assert_eq!(outage(CatchUp::Latest), [("missed", "05:59:59".to_owned(), 4), fired(6)]);
    assert_eq!(outage(CatchUp::All), [fired(2), fired(3), fired(4), fired(5), fired(6)]);
    // The same, and the last is only late.
    let late = |catch_up| steps(with(catch_up), "2027-01-01T01:00:00Z", false, "2027-01-01T06:00:59Z");
    assert_eq!(late(CatchUp::None), [("missed", "05:59:58".to_owned(), 4), fired(6)]);
    assert_eq!(late(CatchUp::Latest), [("missed", "05:59:58".to_owned(), 4), fired(6)]);
    assert_eq!(late(CatchUp::All).len(), 5);
    // One that is late comes whatever is said.
    for catch_up in [CatchUp::None, CatchUp::Latest, CatchUp::All] {
        let one = steps(with(catch_up), "2027-01-01T01:00:00Z", false, "2027-01-01T02:01:00Z");
        assert_eq!(one, [fired(2)], "{catch_up:?}");
    }
}

#[test]
fn what_is_caught_up_is_bounded_and_years_of_seconds_are_decided_at_once() {
    let with = |catch_up| ScheduleDefinition { catch_up, overlap: Overlap::Queue, ..cron("* * * * * *", "UTC") };
    let (decided, now) = (at("2027-01-01T00:00:00Z"), at("2028-01-01T00:00:00Z"));
    let every_second = schedule(with(CatchUp::All), "2026-01-01T00:00:00Z");
    let Step::Skip { until, occurrences, reason } = next_step(&every_second, &ScheduleState::new(decided), false, now)
    else {
        panic!("all but the newest are skipped");
    };
    assert_eq!((occurrences, reason), (10_000, SkipReason::Missed), "counted up to 10,000");
    // Those of the last minute are late, not missed.
    let caught_up = every_second.timing().between(until, now - GRACE - Duration::from_secs(1)).count();
    assert_eq!(caught_up, MAX_CATCH_UP);
    let next = next_step(&every_second, &ScheduleState::new(until), false, now);
    assert!(matches!(next, Step::Fire { .. }), "{next:?}");
    // Dense for an hour a day, and silent since.
    let dense = ScheduleDefinition { catch_up: CatchUp::All, ..cron("* * 2 1 1 *", "UTC") };
    let dense = steps(
        ScheduleDefinition { overlap: Overlap::Queue, ..dense },
        "2026-06-01T00:00:00Z",
        false,
        "2027-12-01T00:00:00Z",
    );
    assert_eq!((dense[0].2, dense.len()), (2_600, 1 + MAX_CATCH_UP));
}

#[test]
fn a_clock_that_was_ahead_for_days_does_not_silence_a_schedule() {
    let hourly = || cron("0 * * * *", "UTC");
    let ahead = |decided| steps(hourly(), decided, false, "2027-01-01T04:00:30Z");
    assert_eq!(ahead("2027-01-01T23:00:00Z"), [], "it waits until the clock is there");
    assert_eq!(ahead("2028-01-01T00:00:00Z"), [("set back", "04:00:30".to_owned(), 0)]);
    let off = ScheduleDefinition { enabled: false, ..hourly() };
    assert_eq!(steps(off, "2027-01-01T00:00:00Z", false, "2027-01-01T04:00:30Z"), []);
}

#[test]
fn what_comes_is_listed_up_to_a_time() {
    let made = "2027-01-01T00:00:00Z";
    let hourly = schedule(cron("0 * * * *", "UTC"), made);
    let (now, until) = (at("2027-01-01T00:59:00Z"), at("2027-01-01T03:00:00Z"));
    let hour = |hour: u32| at(&format!("2027-01-01T{hour:02}:00:00Z"));
    assert_eq!(hourly.upcoming(at(made), now, until, 10), [hour(1), hour(2), hour(3)]);
    assert_eq!(hourly.upcoming(hour(2), now, until, 10), [hour(3)]);
    assert_eq!(hourly.upcoming(at(made), now, until, 1), [hour(1)]);
    let off = schedule(ScheduleDefinition { enabled: false, ..cron("0 * * * *", "UTC") }, made);
    assert!(off.upcoming(at(made), now, until, 10).is_empty());
}

use super::*;

const DAY_S: f64 = DAY as f64 * MINUTE_S;
/// Nine in the morning.
const NINE: u64 = 9 * 60;

/// A calendar that has lived through days of minutes, asked at each how far ahead of now.
struct Life {
    calendar: Calendar,
    horizon_s: f64,
}

impl Life {
    fn new(horizon_s: f64) -> Self {
        Self { calendar: Calendar::default(), horizon_s }
    }

    /// Feeds a day of so many tasks each minute. Returns the minutes in which something was recalled, and the greatest
    /// recalled rate.
    fn day(&mut self, count: impl Fn(u64) -> f64) -> (Vec<u64>, f64) {
        let (mut minutes, mut greatest) = (Vec::new(), 0.0f64);
        for minute in 0..DAY {
            for tick in 0..6 {
                let now = self.calendar.now() + 10.0;
                self.calendar.observe(now, 10.0, count(minute) / 6.0, self.horizon_s);
                let Some(recalled) = self.calendar.recalled() else { continue };
                greatest = greatest.max(recalled.rate);
                // At the last tick of a minute the next one begins.
                let at = if tick == 5 { minute + 1 } else { minute };
                if minutes.last() != Some(&at) {
                    minutes.push(at);
                }
            }
        }
        (minutes, greatest)
    }

    fn recalls(&mut self, count: impl Fn(u64) -> f64) -> Vec<u64> {
        self.day(count).0
    }
}

/// Ten tasks a minute before `at`, sixty from then on until midnight.
fn jump(at: u64) -> impl Fn(u64) -> f64 {
    move |minute| if minute < at { 10.0 } else { 60.0 }
}

fn flat(_: u64) -> f64 {
    10.0
}

#[test]
fn what_came_twice_is_recalled_ahead_of_the_third_time_and_for_a_few_minutes() {
    let mut life = Life::new(31.0);
    assert!(life.recalls(jump(NINE)).is_empty());
    assert!(life.recalls(jump(NINE)).is_empty(), "once is no habit");
    let (minutes, rate) = life.day(jump(NINE));
    assert_eq!(minutes, (NINE - 2..NINE + 5).collect::<Vec<_>>());
    assert!((0.95..1.1).contains(&rate), "a task a second: {rate}");
    assert_eq!(life.recalls(flat).len(), 7, "a holiday costs seven minutes");
    assert!(life.recalls(jump(NINE)).is_empty(), "it did not come yesterday");
}

/// The mixing function of SplitMix64 (Steele, Lea and Flood 2014).
fn mixed(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33
}

#[test]
fn before_two_days_are_known_nothing_is_recalled() {
    // Another level each quarter of an hour, the same on both days.
    let jumpy = |minute: u64| (mixed(minute / 15) % 100) as f64;
    let mut life = Life::new(31.0);
    assert!(life.recalls(jumpy).is_empty() && life.recalls(jumpy).is_empty());
    assert!(!life.recalls(jumpy).is_empty(), "on the third day something is");
}

#[test]
fn an_even_load_and_slow_waves_recall_nothing() {
    let wave = |minute: u64| 100.0 + 80.0 * (minute as f64 / DAY as f64 * std::f64::consts::TAU).sin();
    let (mut even, mut waves) = (Life::new(31.0), Life::new(31.0));
    for _ in 0..4 {
        assert_eq!((even.recalls(flat), waves.recalls(wave)), (vec![], vec![]));
    }
}

#[test]
fn a_level_of_today_scales_what_is_recalled() {
    let mut life = Life::new(31.0);
    let half = |minute: u64| 0.5 * jump(NINE)(minute);
    (0..2).for_each(|_| _ = life.recalls(half));
    let (_, rate) = life.day(jump(NINE));
    assert!((0.7..1.1).contains(&rate), "half a task a second, and today is busier: {rate}");
}

#[test]
fn a_jump_that_moves_by_three_minutes_a_day_is_still_met() {
    let mut life = Life::new(31.0);
    for day in 0..6 {
        let at = NINE + 3 * day;
        let recalled = life.recalls(jump(at));
        assert!(day < 2 || recalled.contains(&(at - 1)) && recalled.contains(&at), "day {day}: {recalled:?} for {at}");
    }
}

#[test]
fn after_a_week_working_days_are_told_from_weekends() {
    let mut life = Life::new(31.0);
    let mut recalled = Vec::new();
    for day in 0..21 {
        let works = day % 7 < 5;
        let minutes = life.recalls(|minute| if works { jump(NINE)(minute) } else { flat(minute) });
        recalled.push(!minutes.is_empty());
    }
    let expected: Vec<bool> = (0..21)
        .map(|day| match day {
            0 | 1 | 6 => false,
            // The first Saturday cannot be distinguished from a day after two working days.
            2..=5 => true,
            day => day % 7 < 5,
        })
        .collect();
    assert_eq!(recalled, expected);
}

#[test]
fn clocks_that_change_cost_a_day_or_two() {
    let mut life = Life::new(31.0);
    (0..9).for_each(|_| _ = life.recalls(jump(NINE)));
    let later = NINE + 60;
    let first = life.recalls(jump(later));
    assert!(first.iter().all(|minute| *minute < NINE + 5) && !first.is_empty(), "{first:?}");
    for _ in 0..3 {
        assert_eq!(life.recalls(jump(later)), (later - 2..later + 5).collect::<Vec<_>>(), "not an hour before as well");
    }
    // An hour back: on the second day it is the week before that has it.
    let shapes = [false, true, true].map(|met| (life.recalls(jump(NINE)).contains(&(NINE - 1)), met));
    assert!(shapes.iter().all(|(recalled, met)| recalled == met), "{shapes:?}");
}

#[test]
fn what_comes_by_chance_is_soon_not_trusted() {
    let mut life = Life::new(31.0);
    // Bursts of five minutes, some of them at the times of the days before.
    let mut acted_on = 0;
    for day in 0..20 {
        acted_on +=
            life.recalls(|minute| if mixed(day * 1_000 + minute / 5).is_multiple_of(12) { 90.0 } else { 5.0 }).len();
    }
    assert!(!life.calendar.day.is_trusted() && !life.calendar.week.is_trusted(), "{:?}", life.calendar);
    assert!(acted_on < 60, "{acted_on} minutes of eighteen days");
}

#[test]
fn a_gap_is_unknown_and_the_time_of_day_goes_on_through_it() {
    let mut life = Life::new(31.0);
    (0..2).for_each(|_| _ = life.recalls(jump(NINE)));
    let saved = serde_json::to_string(&life.calendar).expect("plain numbers");
    let mut after = Life { calendar: serde_json::from_str(&saved).expect("own output"), horizon_s: 31.0 };
    assert!(after.calendar.is_sound());
    // Away until half past eight on the third day.
    let now = 2.0 * DAY_S + 8.5 * 3_600.0;
    after.calendar.observe(now, 1.0, 0.0, 31.0);
    let mut recalled = Vec::new();
    for minute in 1..40 {
        after.calendar.observe(now + f64::from(minute) * MINUTE_S, MINUTE_S, 10.0, 31.0);
        if after.calendar.recalled().is_some() {
            recalled.push(minute);
        }
    }
    assert_eq!(recalled, (29..35).collect::<Vec<_>>());
    // A day away: yesterday is unknown, which is no habit, and no quiet day either.
    let mut gone = Life::new(31.0);
    (0..2).for_each(|_| _ = gone.recalls(jump(NINE)));
    gone.calendar.observe(3.0 * DAY_S, 1.0, 0.0, 31.0);
    assert!(gone.recalls(jump(NINE)).is_empty());
}

#[test]
fn a_long_cold_start_looks_as_far_ahead_and_holds_on() {
    let mut life = Life::new(901.0);
    (0..2).for_each(|_| _ = life.recalls(jump(NINE)));
    let recalled = life.recalls(jump(NINE));
    assert_eq!(recalled, (NINE - 16..NINE + 5).collect::<Vec<_>>());
}

#[test]
fn absurd_times_and_counts_leave_it_sound() {
    let mut calendar = Calendar::default();
    for (now, dt, arrivals) in
        [(f64::NAN, 1.0, 1.0), (1e300, 1e300, 1e300), (5.0, f64::NAN, f64::MAX), (1e13, -1.0, 0.0), (-1.0, 0.0, 1.0)]
    {
        calendar.observe(now, dt, arrivals, f64::INFINITY);
        assert!(calendar.is_sound(), "{now} {dt} {arrivals}: {calendar:?}");
        let text = serde_json::to_string(&calendar).expect("plain numbers");
        assert!(serde_json::from_str::<Calendar>(&text).is_ok_and(|read| read.is_sound()), "{text:.200}");
    }
}

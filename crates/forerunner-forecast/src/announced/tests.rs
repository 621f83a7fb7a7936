use super::*;

fn seen(arrivals: u64, announced: &[(f64, u64)]) -> Observation {
    Observation { arrivals, announced: announced.to_vec(), ..Observation::default() }
}

/// Plans 11 s ahead, with tasks of five seconds.
fn load(announcements: &Announcements, now: f64) -> AnnouncedLoad {
    bounded_load(announcements, now, f64::INFINITY)
}

/// The same where only so many agents start at the same time.
fn bounded_load(announcements: &Announcements, now: f64, max_starting: f64) -> AnnouncedLoad {
    let survival = |age: f64| if age < 5.0 { 1.0 } else { 0.0 };
    let still_there = |ahead: f64| (1.0 - ahead / 5.0).max(0.0);
    announcements.load(Ahead {
        now,
        cold_s: 10.0,
        horizon_s: 11.0,
        max_starting,
        starts_per_agent: 1.0,
        survival,
        still_there,
    })
}

#[test]
fn a_burst_is_needed_when_an_agent_asked_for_now_would_be_ready_and_not_before() {
    let mut announcements = Announcements::default();
    // An agent asked for at 46 s is ready when the tasks are done.
    for t in 0..=45 {
        let now = f64::from(t);
        announcements.observe(now, 11.0, false, &seen(0, &[(50.5 - now, 40)]));
        let load = load(&announcements, now);
        let wanted = if t < 40 { 0.0 } else { 40.0 };
        assert_eq!([load.early, load.most(|_| 0.0), load.all], [wanted; 3], "at {t}");
    }
    assert_eq!(announcements.next(45.0), Some((5.5, 40)));
    assert_eq!(announcements.observe(51.0, 11.0, false, &seen(40, &[])), 40, "they come as they were announced");
    assert_eq!(load(&announcements, 51.0).present, 40.0);
    assert_eq!(load(&announcements, 57.0).present, 0.0, "five seconds later they are done");
}

#[test]
fn agents_of_which_few_start_at_the_same_time_start_sooner() {
    let mut announcements = Announcements::default();
    let wanted: Vec<_> = [160.0, 151.5, 150.5, 141.5, 31.5, 30.5, 21.5, 11.5, 10.5]
        .map(|lead_s| {
            announcements.observe(500.0 - lead_s, 11.0, true, &seen(0, &[(lead_s, 500)]));
            bounded_load(&announcements, 500.0 - lead_s, 32.0).early
        })
        .to_vec();
    // Fifteen rounds of 32 agents are 480; each round takes ten seconds.
    assert_eq!(wanted, [20.0, 20.0, 52.0, 52.0, 404.0, 436.0, 436.0, 468.0, 500.0]);
}

#[test]
fn what_is_cancelled_vanishes() {
    let mut announcements = Announcements::default();
    announcements.observe(0.0, 11.0, false, &seen(0, &[(30.0, 40)]));
    announcements.observe(10.0, 11.0, false, &seen(0, &[(20.0, 10)]));
    assert_eq!(announcements.within(10.0, 60.0), 10);
    announcements.observe(11.0, 11.0, false, &seen(0, &[]));
    assert_eq!((announcements.within(11.0, 60.0), announcements.next(11.0)), (0, None));
    assert_eq!(announcements.observe(31.0, 11.0, false, &seen(7, &[])), 0, "what comes then was not announced");
}

#[test]
fn what_became_known_within_the_horizon_is_learned_from() {
    let mut announcements = Announcements::default();
    announcements.observe(0.0, 11.0, false, &seen(0, &[(8.0, 5), (30.0, 3)]));
    assert_eq!((load(&announcements, 0.0).early, load(&announcements, 0.0).all), (0.0, 5.0));
    assert_eq!(announcements.observe(8.5, 11.0, false, &seen(5, &[(21.5, 3)])), 0);
    assert_eq!(announcements.observe(30.5, 11.0, false, &seen(3, &[])), 3, "known for long enough");
}

#[test]
fn what_is_known_at_the_first_observation_was_announced_early() {
    let mut announcements = Announcements::default();
    announcements.observe(0.0, 11.0, true, &seen(0, &[(3.0, 40)]));
    assert_eq!(load(&announcements, 0.0).most(|_| 0.0), 40.0);
    assert_eq!(announcements.observe(3.5, 11.0, false, &seen(40, &[])), 40);
}

#[test]
fn arrivals_of_a_busy_pool_are_told_apart_by_their_number() {
    let mut announcements = Announcements::default();
    announcements.observe(0.0, 11.0, false, &seen(4, &[(20.0, 40)]));
    assert_eq!(announcements.observe(20.2, 11.0, false, &seen(44, &[])), 40);
    assert_eq!(announcements.observe(21.2, 11.0, false, &seen(4, &[])), 0, "each is counted once");
}

#[test]
fn one_task_each_second_is_matched_with_its_own_announcement() {
    let mut announcements = Announcements::default();
    let ahead = |now: f64| -> Vec<(f64, u64)> { (0..60).map(|k| (f64::from(k) + now.ceil() - now, 1)).collect() };
    let mut announced = 0;
    for tick in 0..100 {
        let now = f64::from(tick) + 0.5;
        announced += announcements.observe(now, 11.0, false, &seen(u64::from(tick > 0), &ahead(now)));
    }
    assert_eq!(announced, 88, "of 99, the first eleven of which became known within the horizon");
}

#[test]
fn short_tasks_share_agents() {
    let mut announcements = Announcements::default();
    announcements.observe(0.0, 3.0, false, &seen(0, &[(10.5, 40)]));
    let survival = |age: f64| if age < 0.1 { 1.0 } else { 0.0 };
    let load = announcements.load(Ahead {
        now: 0.0,
        cold_s: 10.0,
        horizon_s: 11.0,
        max_starting: f64::INFINITY,
        starts_per_agent: 8.0,
        survival,
        still_there: survival,
    });
    assert_eq!((load.early, load.early_before_ready), (5.0, 0.0));
}

#[test]
fn absurd_announcements_are_left_out() {
    let mut announcements = Announcements::default();
    let absurd = [(f64::NAN, 4), (f64::INFINITY, 4), (-3.0, 4), (0.0, 4), (2.0, 0), (1e300, u64::MAX), (5.0, u64::MAX)];
    for t in 0..20 {
        announcements.observe(f64::from(t), 11.0, false, &seen(u64::MAX, &absurd));
        assert!(announcements.is_sound());
        let load = load(&announcements, f64::from(t));
        assert!(load.early.is_finite() && load.all.is_finite() && load.present.is_finite(), "{load:?}");
        _ = announcements.within(f64::from(t), 1e9);
    }
}

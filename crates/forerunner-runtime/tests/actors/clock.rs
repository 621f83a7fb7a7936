//! A wall clock that is set while the node runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use forerunner_core::{Clock, ContextId, TaskState, Timestamp};
use forerunner_runtime::{
    VirtualClock,
    testkit::{Act, Rig, Running, Script},
};
use tokio::time::Instant;

const HOUR: i64 = 3_600_000_000;

/// A clock that follows tokio's with an offset in microseconds.
struct SetClock {
    right: VirtualClock,
    off_us: AtomicI64,
}

impl SetClock {
    fn new() -> Arc<Self> {
        let right = VirtualClock::starting_at(Timestamp::from_micros(1_700_000_000_000_000));
        Arc::new(Self { right, off_us: AtomicI64::new(0) })
    }

    fn set(&self, off_us: i64) {
        self.off_us.store(off_us, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.right.now().as_micros() + self.off_us.load(Ordering::Relaxed))
    }
}

#[actix_rt::test]
async fn a_retry_does_not_wait_for_a_clock_that_was_set_back() {
    tokio::time::pause();
    let clock = SetClock::new();
    let script = Script::choosing(|request| if request.attempt < 2 { Act::Fail("busy".into()) } else { Act::Echo });
    let rig = Rig::new().clock(clock.clone()).pool("p", script, |pool| {
        (pool.task.retry_initial, pool.task.retry_max) = (Duration::from_secs(8), Duration::from_secs(8));
    });
    let rig = rig.start().await;
    let task = rig.submit("p", "1").await;
    rig.until_state(task, TaskState::Scheduled).await;
    let mut delayed = Running::task("p", "2");
    delayed.run_at = Some(clock.now() + Duration::from_secs(60));
    let delayed = rig.handle().submit(delayed).await.unwrap().task;
    let failed = Instant::now();
    clock.set(-HOUR);
    let ended = rig.ended(task).await;
    assert_eq!((ended.state, ended.attempt), (TaskState::Succeeded, 2));
    let waited = failed.elapsed();
    assert!((Duration::from_secs(3)..Duration::from_secs(12)).contains(&waited), "{waited:?}");
    assert_eq!(rig.handle().task(delayed.id).await.unwrap().run_at, delayed.run_at, "who submitted it gave the time");
    clock.set(0);
    assert_eq!(rig.ended(delayed.id).await.state, TaskState::Succeeded);
    rig.stop().await;
}

#[actix_rt::test]
async fn a_clock_that_shows_what_cannot_be_stops_nothing() {
    tokio::time::pause();
    let clock = SetClock::new();
    let rig = Rig::new().clock(clock.clone()).pool("p", Script::always(Act::Echo).service("1s"), |_| {}).start().await;
    for years in [8_100, -60] {
        clock.set(years * 365 * 24 * HOUR);
        let task = rig.submit("p", "1").await;
        let ended = rig.ended(task).await;
        assert!(ended.finished_at.unwrap().to_string().starts_with("2023-11-1"), "{ended:?}");
    }
    rig.stop().await;
}

#[actix_rt::test]
async fn what_was_queued_before_the_clock_was_set_back_runs() {
    tokio::time::pause();
    let clock = SetClock::new();
    let rig = Rig::new().clock(clock.clone()).pool("p", Script::always(Act::Echo), |_| {}).start().await;
    rig.handle().pause("p").await.unwrap();
    let mut tasks = vec![rig.submit("p", "1").await];
    for input in ["2", "3"] {
        let mut task = Running::task("p", input);
        task.context = Some(ContextId::new("chat").unwrap());
        tasks.push(rig.handle().submit(task).await.unwrap().task.id);
    }
    clock.set(-HOUR);
    let begun = Instant::now();
    rig.handle().resume("p").await.unwrap();
    for task in tasks {
        let ended = rig.ended(task).await;
        assert_eq!((ended.state, ended.attempt), (TaskState::Succeeded, 1));
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    rig.stop().await;
}

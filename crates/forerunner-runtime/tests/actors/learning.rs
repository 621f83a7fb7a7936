//! A running pool learns: from a recording, from another pool, on all nodes.

use std::{sync::Arc, time::Duration};

use forerunner_core::{PoolName, Timestamp};
use forerunner_forecast::{Observation, PolicyKind, PolicyLimits, build};
use forerunner_runtime::{
    Cause, Error, Lesson, VirtualClock,
    testkit::{Act, Rig, Running, Script},
};
use forerunner_store::{MemoryStore, Store};

use crate::kept_open::KeptOpen;

/// What a policy knows after so many seconds of two tasks/s of four seconds.
fn recording(seconds: u32) -> Lesson {
    let limits = PolicyLimits { min: 1, max: 16, cold_start_s: 5.0, tick_s: 1.0, objective: Default::default() };
    let mut policy = build(PolicyKind::default(), limits).unwrap();
    for t in 0..seconds {
        policy.decide(&Observation {
            t: f64::from(t),
            arrivals: 2,
            completions: 2,
            started: 2,
            mean_service_s: Some(4.0),
            completed: vec![(0, 4.0), (1, 4.0)],
            in_flight: 8,
            ready: 2,
            ..Observation::default()
        });
    }
    Lesson::Recording { saved: policy.save().unwrap(), ended: Duration::from_secs(60) }
}

fn rig() -> Rig {
    Rig::new().pool("p", Script::always(Act::Echo), |pool| pool.max = 16)
}

async fn learned(rig: &Running, pool: &str) -> u64 {
    rig.handle().learned(pool).await.unwrap().tasks
}

#[actix_rt::test]
async fn a_running_pool_learns_and_still_knows_after_a_restart() {
    tokio::time::pause();
    let store: Arc<dyn Store> = Arc::new(KeptOpen(MemoryStore::default()));
    let node = rig().store(store.clone()).start().await;
    node.until_ready("p", 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(learned(&node, "p").await, 0);
    node.handle().teach("p", recording(900)).await.unwrap();
    assert_eq!(learned(&node, "p").await, 1_800);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let decisions = node.handle().decisions("p", 9).await.unwrap();
    let taught = decisions.iter().find(|record| record.cause == Cause::Settings).expect("it decides at once");
    assert!(!taught.decision.detail.contains("still learning"), "{taught:?}");
    assert!(taught.decision.desired <= 16);
    node.stop().await;
    let node = rig().store(store).start().await;
    assert_eq!(learned(&node, "p").await, 1_800);
    node.stop().await;
}

#[actix_rt::test]
async fn what_one_node_is_taught_the_others_know() {
    tokio::time::pause();
    let store: Arc<dyn Store> = Arc::new(KeptOpen(MemoryStore::default()));
    let clock = Arc::new(VirtualClock::starting_at(Timestamp::from_micros(1_700_000_000_000_000)));
    let one = rig().shared(store.clone(), &clock).start().await;
    let two = rig().shared(store.clone(), &clock).start().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    two.handle().teach("p", recording(900)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((learned(&one, "p").await, learned(&two, "p").await), (1_800, 1_800));
    one.stop().await;
    two.stop().await;
}

#[actix_rt::test]
async fn a_pool_begins_with_what_another_one_knows_of_the_same_agents() {
    tokio::time::pause();
    let store: Arc<dyn Store> = Arc::new(KeptOpen(MemoryStore::default()));
    let node = rig().store(store.clone()).start().await;
    node.handle().teach("p", recording(900)).await.unwrap();
    node.stop().await;
    let both = |learn_from: Option<&str>| {
        let learn_from = learn_from.map(|name| PoolName::new(name).unwrap());
        rig().pool("q", Script::always(Act::Echo), |pool| pool.learn_from = learn_from).store(store.clone())
    };
    let node = both(None).start().await;
    assert_eq!(learned(&node, "q").await, 0, "nobody asked");
    node.stop().await;
    let node = both(Some("p")).start().await;
    assert_eq!(learned(&node, "q").await, 1_800);
    let saved = node.handle().learned("p").await.unwrap().saved.unwrap();
    node.handle().teach("q", Lesson::Agents { saved }).await.unwrap();
    assert_eq!(learned(&node, "q").await, 1_800, "once, and not twice");
    node.stop().await;
}

#[actix_rt::test]
async fn a_policy_that_does_not_learn_says_so() {
    tokio::time::pause();
    let fixed: PolicyKind = "fixed:2".parse().unwrap();
    let node = Rig::new().pool("p", Script::always(Act::Echo), |pool| pool.policy = fixed).start().await;
    let refused = node.handle().teach("p", recording(60)).await.unwrap_err();
    assert!(matches!(refused, Error::NotTeachable { policy: "fixed", .. }), "{refused}");
    let unknown = node.handle().teach("x", recording(60)).await.unwrap_err();
    assert!(matches!(unknown, Error::NoPool { .. }), "{unknown}");
    node.stop().await;
}

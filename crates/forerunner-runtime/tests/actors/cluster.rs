//! Several nodes on one store.

use std::{sync::Arc, time::Duration};

use forerunner_core::{TaskState, Timestamp};
use forerunner_runtime::{
    NodeStatus, VirtualClock,
    testkit::{Rig, Running, Script, ScriptedForecast},
};
use forerunner_store::{
    MemoryStore, Store,
    faulty::{Fault, FaultyStore, Schedule, Verb},
};

use crate::kept_open::KeptOpen;

/// What nodes of one cluster share.
struct Site {
    store: Arc<dyn Store>,
    clock: Arc<VirtualClock>,
    forecast: ScriptedForecast,
}

impl Site {
    fn new(agents: u32) -> Self {
        Self {
            store: Arc::new(KeptOpen(MemoryStore::default())),
            clock: Arc::new(VirtualClock::starting_at(Timestamp::from_micros(1_700_000_000_000_000))),
            forecast: ScriptedForecast::wanting(agents),
        }
    }

    async fn node(&self, script: Script) -> Running {
        let rig = Rig::new().forecast(&self.forecast).pool("p", script, |pool| (pool.min, pool.max) = (1, 12));
        rig.shared(self.store.clone(), &self.clock).start().await
    }
}

fn script() -> Script {
    Script::answers("1").service("1s").cold_start("2s")
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// The status of the node itself.
async fn itself(node: &Running) -> NodeStatus {
    let nodes = node.handle().nodes().await.unwrap();
    nodes.into_iter().find(|node| node.this).expect("it knows itself")
}

/// The number of agents of pool `p` on a node, in any state.
async fn agents(node: &Running) -> usize {
    node.handle().agents("p").await.unwrap().len()
}

#[actix_rt::test]
async fn nodes_share_a_pool_and_never_hold_more_than_is_wanted() {
    tokio::time::pause();
    let site = Site::new(6);
    let first = site.node(script()).await;
    sleep(10).await;
    assert_eq!(agents(&first).await, 6);
    assert!(itself(&first).await.leads);
    let second = site.node(script()).await;
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(agents(&first).await + agents(&second).await <= 6, "a node that joins adds none");
    }
    assert_eq!((agents(&first).await, agents(&second).await), (3, 3));
    assert!(!itself(&second).await.leads, "one leads");
    site.forecast.want(9);
    sleep(10).await;
    assert_eq!(agents(&first).await + agents(&second).await, 9);
    assert_eq!(second.handle().pool("p").await.unwrap().agents.ready, 9, "each node answers for all");
    first.stop().await;
    sleep(10).await;
    assert_eq!(agents(&second).await, 9, "who stays takes over");
    assert!(itself(&second).await.leads);
    second.stop().await;
}

#[actix_rt::test]
async fn tasks_run_on_whichever_node_has_an_agent_and_any_node_can_be_asked() {
    tokio::time::pause();
    let site = Site::new(4);
    let (first, second) = (site.node(script()).await, site.node(script()).await);
    sleep(20).await;
    let mut tasks = Vec::new();
    for _ in 0..20 {
        tasks.push(first.submit("p", "1").await);
    }
    for task in &tasks {
        let ended = second.handle().wait(*task, Duration::from_secs(60)).await.unwrap();
        assert_eq!(ended.state, TaskState::Succeeded);
    }
    let (here, there) = (first.log("p").runs(), second.log("p").runs());
    assert_eq!(here.len() + there.len(), 20, "each ran once");
    assert!(!here.is_empty() && !there.is_empty(), "{} here, {} there", here.len(), there.len());
    first.stop().await;
    second.stop().await;
}

#[actix_rt::test]
async fn a_claim_whose_answer_is_lost_is_given_back_by_the_node_that_lives() {
    tokio::time::pause();
    let lost = Fault::Lost(Duration::from_secs(3));
    let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::default()), Schedule::calm()));
    let site = Site { store: store.clone(), ..Site::new(2) };
    let node = site.node(script()).await;
    node.until_ready("p", 2).await;
    let next = store.calls(Verb::Claim) + 1;
    store.reschedule(Schedule::of(move |verb, number| (verb == Verb::Claim && number == next).then_some(lost)));
    let mut tasks = Vec::new();
    for _ in 0..4 {
        tasks.push(node.submit("p", "1").await);
    }
    let begun = tokio::time::Instant::now();
    for task in tasks {
        let ended = node.ended(task).await;
        assert_eq!(
            (ended.state, ended.attempt, ended.crashes),
            (TaskState::Succeeded, 1, 0),
            "it counts as no attempt"
        );
    }
    assert_eq!(node.log("p").runs().len(), 4, "each ran once");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    node.stop().await;
}

#[actix_rt::test]
async fn tasks_that_another_node_took_do_not_fill_the_queue_of_the_one_that_accepted_them() {
    tokio::time::pause();
    let site = Site::new(4);
    let rig = || {
        let rig = Rig::new().forecast(&site.forecast);
        let rig = rig.pool("p", script(), |pool| (pool.min, pool.max, pool.queue.limit) = (1, 12, 10));
        rig.shared(site.store.clone(), &site.clock)
    };
    let (first, second) = (rig().start().await, rig().start().await);
    sleep(20).await;
    for _ in 0..20 {
        for _ in 0..4 {
            first.submit("p", "1").await;
        }
        sleep(3).await;
    }
    assert!(!second.log("p").runs().is_empty());
    assert_eq!(first.handle().pool("p").await.unwrap().waiting, 0);
    first.stop().await;
    second.stop().await;
}

#[actix_rt::test]
async fn a_pool_that_the_leader_does_not_have_is_planned_by_one_that_has_it() {
    tokio::time::pause();
    let site = Site::new(6);
    let other = Rig::new().pool("q", script(), |pool| (pool.min, pool.max) = (1, 12));
    let leader = other.shared(site.store.clone(), &site.clock).start().await;
    sleep(5).await;
    assert!(itself(&leader).await.leads);
    let (first, second) = (site.node(script()).await, site.node(script()).await);
    sleep(20).await;
    assert_eq!((agents(&first).await, agents(&second).await), (3, 3));
    let task = second.submit("p", "1").await;
    assert_eq!(second.ended(task).await.state, TaskState::Succeeded);
    let task = first.submit("p", "1").await;
    let cancelled = leader.handle().cancel(task).await.unwrap();
    assert_eq!(cancelled.id, task, "also a node without the pool can be asked to cancel");
    assert!(leader.handle().unconfigured_pools().is_empty(), "another node has it");
    first.stop().await;
    sleep(10).await;
    assert_eq!(agents(&second).await, 6, "who has the pool goes on");
    for node in [leader, second] {
        node.stop().await;
    }
}

#[actix_rt::test]
async fn bounds_that_another_node_set_are_cut_to_what_this_one_may_have() {
    use forerunner_runtime::PoolPatch;

    tokio::time::pause();
    let site = Site::new(6);
    let wide = Rig::new().forecast(&site.forecast).pool("p", script(), |pool| {
        (pool.min, pool.max, pool.patch_max) = (1, 12, Some(40));
    });
    let wide = wide.shared(site.store.clone(), &site.clock).start().await;
    let narrow = site.node(script()).await;
    sleep(5).await;
    let patch = PoolPatch { min: Some(2), max: Some(40), ..PoolPatch::default() };
    wide.handle().configure("p", patch).await.unwrap();
    sleep(5).await;
    let bounds = async |node: &Running| {
        let pool = node.handle().pool("p").await.unwrap();
        (pool.min, pool.max)
    };
    assert_eq!((bounds(&wide).await, bounds(&narrow).await), ((2, 40), (2, 24)));
    narrow.stop().await;
    let narrow = site.node(script()).await;
    sleep(5).await;
    assert_eq!(bounds(&narrow).await, (2, 24), "also after a restart");
    let back = PoolPatch { max: Some(25), ..PoolPatch::default() };
    assert!(narrow.handle().configure("p", back).await.is_err());
    for node in [wide, narrow] {
        node.stop().await;
    }
}

//! Tasks with contexts get the same agents in a running pool as in a replay.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use forerunner_agents::{SimulatedFactory, SimulatedSpec};
use forerunner_core::{
    AgentId, ContextId, ScaleDownOrder, Task, TaskId,
    placement::{PlacementReason, RestoreCost, Room},
};
use forerunner_forecast::{FixedSettings, PolicyKind};
use forerunner_runtime::{
    PoolSettings,
    testkit::{Rig, Running},
};
use forerunner_sim::{
    PlacementLoad, PlacementPolicy, PlacementReplay, PlacementStart, PlacementTask, Trace, count_placement,
    replay_placement,
};
use tokio::time::{Instant, sleep, sleep_until};

const AGENTS: u32 = 12;
/// The contexts have a sixteenth of the recorded bytes and cost sixteen times as much: the same seconds with less data.
const BLOCK_BYTES: u64 = 16;
const RECORDED_BLOCK_BYTES: u64 = 256;
const CACHE_BYTES: u64 = 4_000_000 * BLOCK_BYTES / RECORDED_BLOCK_BYTES;

fn agents(restore_s_per_mb: f64) -> Arc<SimulatedFactory> {
    let spec = SimulatedSpec {
        cold_start: Duration::ZERO,
        context_memory_bytes: CACHE_BYTES,
        restore_s_per_mb,
        ..SimulatedSpec::default()
    };
    Arc::new(SimulatedFactory::new(spec).unwrap())
}

fn fixed(size: u32) -> impl FnOnce(&mut PoolSettings) {
    move |pool| {
        (pool.min, pool.max, pool.policy) = (size, size, PolicyKind::Fixed(FixedSettings { size }));
        pool.task.timeout = Duration::from_secs(3_600);
    }
}

/// Submits a task after which the context has this many bytes.
async fn submit(node: &Running, context: &str, service_s: f64, shared: u64, bytes: u64) -> TaskId {
    let input = format!(r#"{{"service_s":{service_s},"shared_bytes":{shared},"context_bytes":{bytes}}}"#);
    let mut task = Running::task("coder", &input);
    task.context = Some(ContextId::new(context).unwrap());
    node.handle().submit(task).await.unwrap().task.id
}

async fn ended(node: &Running, id: TaskId) -> Task {
    node.handle().wait(id, Duration::from_secs(86_400)).await.unwrap()
}

fn slice() -> PlacementLoad {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/agentcode_slice.csv");
    PlacementLoad::read(&Trace::read(&file).unwrap(), &file, Some(BLOCK_BYTES)).unwrap()
}

/// Runs the load in a pool. Returns where each task began.
async fn live(load: &PlacementLoad, restore: RestoreCost) -> Vec<PlacementStart> {
    let node = Rig::new().pool_of("coder", agents(restore.s_per_byte * 1e6), fixed(AGENTS)).start().await;
    sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    let mut ids = Vec::new();
    for PlacementTask { arrival_s, service_s, context, shared_bytes, bytes, .. } in load.tasks() {
        sleep_until(begin + Duration::from_secs_f64(*arrival_s)).await;
        ids.push(submit(&node, &format!("s{context}"), *service_s, *shared_bytes, *bytes).await);
    }
    let first = ended(&node, ids[0]).await.submitted_at - Duration::from_secs_f64(load.tasks()[0].arrival_s);
    let (mut starts, mut agents) = (Vec::new(), HashMap::<AgentId, usize>::new());
    for (place, id) in ids.into_iter().enumerate() {
        let task = ended(&node, id).await;
        let count = agents.len();
        let agent = *agents.entry(task.agent.unwrap()).or_insert(count);
        let at_s = task.started_at.unwrap().since(first).as_secs_f64();
        starts.push(PlacementStart { task: place, agent, at_s });
    }
    starts.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    starts
}

#[actix::test]
async fn a_pool_hits_as_much_as_the_replay_of_the_same_trace() {
    tokio::time::pause();
    let load = slice();
    for (s_per_mb, at_least) in [(2.0, 0.70), (10.0, 0.75)] {
        let restore =
            RestoreCost { fixed_s: 0.0, s_per_byte: s_per_mb / 1e6 * (RECORDED_BLOCK_BYTES / BLOCK_BYTES) as f64 };
        let settings = PlacementReplay {
            agents: AGENTS,
            room: Room::of_bytes(CACHE_BYTES),
            restore,
            one_of_a_context: true,
            ..PlacementReplay::default()
        };
        let replayed = replay_placement(&load, PlacementPolicy::Ours, &settings, |_| ());
        let naive = replay_placement(&load, PlacementPolicy::FirstReady, &settings, |_| ());
        let live = count_placement(&load, &live(&load, restore).await, &settings);
        let shares = format!(
            "{s_per_mb} s/MB: live {:.3}, replay {:.3}, first ready {:.3}; lost live {:.3} s, replay {:.3} s",
            live.share_of_limit,
            replayed.share_of_limit,
            naive.share_of_limit,
            live.wait_and_restore_s,
            replayed.wait_and_restore_s
        );
        println!("{shares}");
        assert_eq!(live.tasks, load.tasks().len());
        assert!((live.hit_share - replayed.hit_share).abs() < 0.05, "{shares}");
        assert!(live.share_of_limit > at_least && naive.share_of_limit < 0.6, "{shares}");
    }
}

#[actix::test]
async fn the_reason_is_kept_and_a_task_waits_for_the_busy_agent_that_holds_its_context() {
    tokio::time::pause();
    // Restoring a context of 4 kB takes 8 s.
    let node = Rig::new().pool_of("coder", agents(2_000.0), fixed(2)).start().await;
    sleep(Duration::from_secs(1)).await;
    let blue = submit(&node, "blue", 10.0, 0, 4_000).await;
    for context in ["red", "green"] {
        let id = submit(&node, context, 1.0, 0, 4_000).await;
        ended(&node, id).await;
    }
    let owner = ended(&node, blue).await.agent;
    // Red keeps its agent busy, so green goes to the other one. The cost of a restore is unknown so far.
    let red = submit(&node, "red", 10.0, 4_000, 4_000).await;
    let lesson = submit(&node, "green", 1.0, 4_000, 4_000).await;
    assert_eq!(ended(&node, lesson).await.agent, owner);
    let other_agent = ended(&node, red).await.agent;
    let green = submit(&node, "green", 1.0, 4_000, 4_000).await;
    sleep(Duration::from_millis(250)).await;
    let placed = node.handle().placement(green).await.unwrap();
    let record = placed.placement.unwrap();
    assert_eq!((record.reason, Some(record.chosen.agent)), (PlacementReason::Warm, owner));
    assert!(placed.why.contains("the agent had its context"), "{}", placed.why);
    let other = record.others.iter().find(|other| Some(other.agent) == other_agent).unwrap();
    assert!(other.cost_s >= other.restore_s && !other.busy, "{other:?}");
    // The agent that has blue as well is busy with green. The other one is idle, but a restore takes 8 s.
    let blue = submit(&node, "blue", 1.0, 4_000, 4_000).await;
    sleep(Duration::from_millis(250)).await;
    let waiting = node.handle().placement(blue).await.unwrap();
    assert!(waiting.placement.is_none() && waiting.why.contains("waits"), "{}", waiting.why);
    ended(&node, blue).await;
    let record = node.handle().placement(blue).await.unwrap().placement.unwrap();
    assert_eq!(Some(record.chosen.agent), owner);
    assert!((0.5..1.0).contains(&record.deferred_s) && record.chosen.missing_bytes == 0, "{record:?}");
    let other = record.others.iter().find(|other| Some(other.agent) == other_agent).unwrap();
    assert!((other.restore_s - 8.0).abs() < 0.5 && other.missing_bytes >= 4_000, "{other:?}");
    let plain = node.submit("coder", "1").await;
    ended(&node, plain).await;
    let plain = node.handle().placement(plain).await.unwrap();
    assert!(plain.placement.is_none() && plain.why.contains("no context"), "{}", plain.why);
}

#[actix::test]
async fn a_task_that_never_ran_is_told_what_it_waits_for_or_why_it_did_not() {
    tokio::time::pause();
    let node = Rig::new().pool_of("coder", agents(0.0), fixed(1)).start().await;
    sleep(Duration::from_secs(1)).await;
    let why = async |id| node.handle().placement(id).await.unwrap().why;
    node.handle().pause("coder").await.unwrap();
    let [waits, cancelled] = [submit(&node, "red", 1.0, 0, 40).await, submit(&node, "red", 1.0, 0, 40).await];
    let mut later = Running::task("coder", "1");
    later.run_at = Some(node.handle().task(waits).await.unwrap().submitted_at + Duration::from_secs(60));
    let later = node.handle().submit(later).await.unwrap().task.id;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(why(waits).await, "its pool is paused; resume it with `forerunner pool resume coder`");
    assert!(why(later).await.starts_with("it is not due before "), "{}", why(later).await);
    node.handle().cancel(cancelled).await.unwrap();
    assert_eq!(why(cancelled).await, "it never ran: it was cancelled while it waited");
    sleep(Duration::from_secs(60)).await;
    assert!(why(later).await.starts_with("its pool is paused"), "{}", why(later).await);
    node.handle().resume("coder").await.unwrap();
    ended(&node, later).await;
    ended(&node, waits).await;
    assert!(why(waits).await.starts_with("no other agent was idle"), "{}", why(waits).await);
    let [first, second] = [submit(&node, "blue", 5.0, 0, 40).await, submit(&node, "blue", 5.0, 0, 40).await];
    sleep(Duration::from_secs(1)).await;
    let expected = format!("it waits for its conversation: task {first} comes first, and runs now");
    assert_eq!(why(second).await, expected);
    let other = submit(&node, "green", 1.0, 0, 40).await;
    assert_eq!(why(other).await, "it waits for an agent", "the one agent is busy with another conversation");
    ended(&node, second).await;
}

#[actix::test]
async fn scale_down_lets_the_agent_go_that_holds_least() {
    tokio::time::pause();
    for (scale_down, keeps_large) in [(ScaleDownOrder::LeastValuable, true), (ScaleDownOrder::OldestIdle, false)] {
        let settings = move |pool: &mut PoolSettings| {
            fixed(2)(pool);
            (pool.scale_down, pool.cooldown) = (scale_down, Duration::from_secs(1));
        };
        let node = Rig::new().pool_of("coder", agents(2_000.0), settings).start().await;
        sleep(Duration::from_secs(1)).await;
        let both = [submit(&node, "large", 1.0, 0, 40_000).await, submit(&node, "small", 2.0, 0, 400).await];
        let mut held = Vec::new();
        for id in both {
            held.push(ended(&node, id).await.agent.unwrap());
        }
        assert_ne!(held[0], held[1]);
        let patch = forerunner_runtime::PoolPatch { min: Some(1), max: Some(1), ..Default::default() };
        node.handle().configure("coder", patch).await.unwrap();
        sleep(Duration::from_secs(5)).await;
        let left: Vec<_> = node.handle().agents("coder").await.unwrap().into_iter().map(|agent| agent.id).collect();
        assert_eq!(left, [if keeps_large { held[0] } else { held[1] }], "{scale_down:?}");
    }
}

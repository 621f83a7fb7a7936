//! A2 and B5: one of three nodes is killed repeatedly while tasks arrive; every other time it is the leader.

use std::time::Duration;

use forerunner_e2e::{Client, Counts, History, Nodes, PgServer, Seeded, count, eventually, holds};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    super::load::Load,
    rig::{self, LEASE, RESCUED, SOON, Times},
};

const NODES: usize = 3;
const AGENTS: u32 = 9;
const CONNECTIONS: u64 = 12;
/// Seconds of a task that is to be lost with its node.
const LONG_S: f64 = 4.0;
/// Until tasks of a lost node run elsewhere (p99): as if its lease had to end, and a second in which that is noticed.
const BUDGET: Duration = Duration::from_secs(16);

/// What was measured in one cluster.
#[derive(Default)]
struct Measured {
    recoveries: Vec<Duration>,
    leaders: Vec<Duration>,
    /// Tasks to be lost that were submitted.
    long: u64,
    /// Submissions that were made again.
    repeated: u64,
    counts: Counts,
}

#[actix_rt::test]
async fn nothing_is_lost_by_kills_of_one_of_three_nodes() {
    // Most of the time of a kill is a lease that runs out, so several clusters are broken side by side.
    let clusters = count(1, 5);
    let (tasks, kills) = (count(2_000, 100_000), count(2, 50));
    let runs = (0..clusters).map(|cluster| one_cluster(cluster, tasks / clusters, kills / clusters));
    let runs = join_all(runs).await;
    let counts: Counts = runs.iter().map(|run| run.counts).sum();
    let long: u64 = runs.iter().map(|run| run.long).sum();
    assert_eq!(counts.acknowledged as u64, tasks + long + clusters * rig::WAITING);
    assert_eq!(counts.succeeded, counts.acknowledged, "{counts:?}");
    let repeated: u64 = runs.iter().map(|run| run.repeated).sum();
    let (recoveries, leaders): (Vec<_>, Vec<_>) = runs.into_iter().map(|run| (run.recoveries, run.leaders)).unzip();
    let (recoveries, leaders) = (Times(recoveries.concat()), Times(leaders.concat()));
    println!(
        "A2: {kills} kills in {clusters} clusters, {counts:?}, {repeated} submissions repeated; tasks of the lost node run \
         elsewhere after {recoveries}; the budget is {BUDGET:?} (p99); B5: another leads after {leaders}",
    );
    assert!(recoveries.share(0.5) <= LEASE + Duration::from_secs(5), "a lease is what it takes at most: {recoveries}");
}

/// Breaks three nodes of their own, on a database of their own.
async fn one_cluster(seed: u64, tasks: u64, kills: u64) -> Measured {
    let server = PgServer::start(true);
    let mut nodes = rig::start(&server.database(), NODES, AGENTS).await;
    let load = Load::on(nodes.clients(), History::of(nodes.site(0)));
    let mut chance = Seeded::new(0xa2 + seed);
    let mut measured = Measured::default();
    for kill in 0..kills {
        let (before, until) = (tasks * kill / kills, tasks * (kill + 1) / kills);
        // At most half of the tasks arrive before the kill; the rest arrives after it.
        let moment = before + chance.below((until - before) / 2);
        let submitting = load.submit_all(CONNECTIONS, until, 0.01);
        let breaking = kill_one(&mut nodes, &load, kill, moment, &mut chance, &mut measured);
        futures_util::join!(breaking, submitting);
    }
    rig::note_depths(&nodes, &load).await;
    load.see_all_ended(SOON * count(2, 10) as u32).await;
    measured.repeated = load.repeated.get();
    measured.counts = rig::judge(nodes, &load, AGENTS).await;
    measured
}

/// Kills a node once so many submissions were acknowledged, measures what becomes of its tasks, and starts it again.
async fn kill_one(
    nodes: &mut Nodes,
    load: &Load,
    kill: u64,
    moment: u64,
    chance: &mut Seeded,
    measured: &mut Measured,
) {
    eventually("tasks come in", RESCUED * 10, async || holds(load.acknowledged() >= moment)).await;
    let victim = victim(nodes, kill, chance).await;
    let client = nodes.node(victim.place).client();
    let lost = at_work(&client, load, kill, measured).await;
    nodes.kill(victim.place);
    let killed = Instant::now();
    load.history.borrow_mut().node_down(&nodes.effects(), rig::CLUSTER);
    let rest = nodes.clients();
    load.turn_to_all(rest.clone());
    let recovered = join_all(lost.iter().map(|(task, attempt)| recovery(&rest[0], task, *attempt, killed)));
    let (recovered, leads) = futures_util::join!(recovered, another_leads(&rest[1], &victim, killed));
    measured.recoveries.extend(recovered.into_iter().flatten());
    measured.leaders.extend(leads);
    nodes.restart(victim.place).await;
    load.turn_to_all(nodes.clients());
    rig::balanced(&rest[0], NODES, AGENTS).await;
}

/// Gives a node work that is lost with it. Returns the tasks on its agents, with the attempt.
///
/// All agents together get a task each, at once. On a busy machine the tasks may have ended before the check, or be on
/// other nodes, and are then followed by more.
async fn at_work(client: &Client, load: &Load, kill: u64, measured: &mut Measured) -> Vec<(String, u64)> {
    let mut long = Vec::new();
    let begun = Instant::now();
    loop {
        let round = measured.long;
        let submit = async |number: u64| {
            let key = format!("long-{kill}-{number}");
            load.submit_one(&key, &json!({ "service_s": LONG_S }), || client.clone()).await
        };
        long.extend(join_all((0..u64::from(AGENTS)).map(|number| submit(round + number))).await);
        measured.long += u64::from(AGENTS);
        let submitted = Instant::now();
        while submitted.elapsed().as_secs_f64() < LONG_S {
            let running = running(client).await;
            if running.iter().any(|(task, _)| long.contains(task)) {
                return running;
            }
            assert!(begun.elapsed() < SOON, "the node is at work on none of {}", long.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

struct Victim {
    place: usize,
    id: String,
    leads: bool,
}

/// By turns the node that leads and any other.
async fn victim(nodes: &Nodes, kill: u64, chance: &mut Seeded) -> Victim {
    let leader = eventually("somebody leads", SOON, async || rig::leader(&nodes.node(0).client()).await).await;
    let first = chance.below(NODES as u64) as usize;
    for place in (0..NODES).map(|step| (first + step) % NODES) {
        let id = rig::id(&nodes.node(place).client()).await;
        let leads = id == leader;
        if leads == kill.is_multiple_of(2) {
            return Victim { place, id, leads };
        }
    }
    unreachable!("one leads and two do not");
}

/// The tasks on a node's agents, with the attempt.
async fn running(client: &Client) -> Vec<(String, u64)> {
    let agents = client.get("/v1/pools/work/agents").await;
    let tasks = agents["agents"].as_array().into_iter().flatten().filter_map(|agent| agent["task"].as_str());
    let tasks: Vec<String> = tasks.map(str::to_owned).collect();
    let read = join_all(tasks.iter().map(|task| client.get(format!("/v1/tasks/{task}")))).await;
    let attempt = |task: Value| task["attempt"].as_u64().unwrap_or_default();
    tasks
        .into_iter()
        .zip(read)
        .filter(|(_, task)| task["finished_at"].is_null())
        .map(|(id, task)| (id, attempt(task)))
        .collect()
}

/// How long after the kill a task runs again; `None` if it had ended before.
async fn recovery(client: &Client, task: &str, attempt: u64, killed: Instant) -> Option<Duration> {
    let path = format!("/v1/tasks/{task}");
    eventually("a task of the lost node runs elsewhere", RESCUED, async || {
        let now = client.get(&path).await;
        let again = now["attempt"].as_u64() > Some(attempt);
        let ended = !now["finished_at"].is_null();
        (again || ended).then(|| again.then(|| killed.elapsed()))
    })
    .await
}

/// How long after the kill another node leads; `None` if the lost one did not.
async fn another_leads(client: &Client, victim: &Victim, killed: Instant) -> Option<Duration> {
    if !victim.leads {
        return None;
    }
    let taken = eventually("another node leads", RESCUED, async || {
        rig::leader(client).await.filter(|leader| *leader != victim.id).map(|_| killed.elapsed())
    });
    Some(taken.await)
}

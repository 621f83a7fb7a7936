//! A1: the node is killed repeatedly while tasks arrive.

use std::time::Duration;

use forerunner_e2e::{Pool, Seeded, Service, Site, count, eventually, holds};

use super::load::{Load, TIMEOUT};

const AGENTS: u32 = 8;
const CONNECTIONS: u64 = 12;
const SEED: u64 = 0xf0_4e;
const CHILDREN_GONE: Duration = Duration::from_secs(2);
const NODE: &str = "node";

/// How much is done and broken.
struct Plan {
    tasks: u64,
    kills: u64,
}

impl Plan {
    /// Kills while tasks still arrive; the others hit a node that only works off its backlog.
    const fn under_load(&self) -> u64 {
        self.kills * 3 / 4
    }
}

#[actix_rt::test]
async fn nothing_that_was_acknowledged_is_lost_by_kills_of_the_node() {
    let plan = Plan { tasks: count(10_000, 100_000), kills: count(20, 200) };
    let site = Site::new();
    let pool = Pool::writing("work", &site.effects()).fixed(AGENTS).set("task.retry_initial = \"20ms\"");
    // A task may be hit by several kills; only so many that chance alone cannot reach the limit make it dead here.
    let site = site.with("log.level = \"warn\"", &[pool.set("task.max_crashes = 12\ntask.max_attempts = 30")]);
    let service = site.serve().await;
    let load = Load::new(&site, &service);
    let submitting = load.submit_all(CONNECTIONS, plan.tasks, 0.002);
    let ((service, starts), ()) = futures_util::join!(kill_repeatedly(&site, service, &load, &plan), submitting);
    let tasks = load.see_all_ended(TIMEOUT * count(2, 10) as u32).await;
    assert_eq!(service.stop(TIMEOUT).await, 0);
    let mut history = load.history.borrow_mut();
    history.take(&site.effects(), NODE);
    history.orphans(&site);
    history.count_running("work", AGENTS.into());
    let counts = history.check();
    assert_eq!(counts.acknowledged as u64, plan.tasks);
    assert_eq!(counts.succeeded, counts.acknowledged, "{counts:?}");
    let lost: u64 = tasks.iter().filter_map(|task| task["crashes"].as_u64()).sum();
    println!(
        "A1: {} kills, {counts:?}, {lost} attempts lost with their node, {} submissions repeated; {}",
        plan.kills,
        load.repeated.get(),
        Starts(starts),
    );
}

/// Kills the node at moments that are even on average and random in each case, and starts it again each time.
async fn kill_repeatedly(site: &Site, mut service: Service, load: &Load, plan: &Plan) -> (Service, Vec<Duration>) {
    let mut chance = Seeded::new(SEED);
    let mut starts = Vec::new();
    for kill in 0..plan.kills {
        let share = plan.tasks / (plan.under_load() + 1);
        let after = (share * (kill + 1)).min(plan.tasks - 1) - chance.below(share / 2);
        eventually("tasks come in", TIMEOUT * 2, async || holds(load.acknowledged() >= after)).await;
        tokio::time::sleep(Duration::from_micros(chance.below(40_000))).await;
        service.kill();
        site.empty(CHILDREN_GONE).await;
        load.history.borrow_mut().node_down(&site.effects(), NODE);
        let begun = tokio::time::Instant::now();
        service = site.serve().await;
        load.turn_to(&service);
        eventually("it is ready", TIMEOUT, async || {
            let answer = load.client().call(forerunner_e2e::Call::get("/readyz")).await;
            holds(answer.is_ok_and(|answer| answer.status == 200))
        })
        .await;
        starts.push(begun.elapsed());
        observe(load).await;
    }
    (service, starts)
}

/// What has ended stays as it ended, also across the next kill.
async fn observe(load: &Load) {
    let page = load.client().get("/v1/tasks?state=succeeded&limit=20").await;
    for task in page["tasks"].as_array().into_iter().flatten() {
        let id = task["id"].as_str().unwrap_or_default();
        let task = load.client().get(format!("/v1/tasks/{id}")).await;
        load.history.borrow_mut().saw(&task);
    }
}

/// Times from a start to being ready, for people.
struct Starts(Vec<Duration>);

impl std::fmt::Display for Starts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut times = self.0.clone();
        times.sort_unstable();
        let (Some(middle), Some(last)) = (times.get(times.len() / 2), times.last()) else { return Ok(()) };
        write!(f, "ready after a start: {middle:.2?} in the middle, {last:.2?} at most")
    }
}

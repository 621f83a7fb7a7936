//! The live part: the same tasks to both pools, at true speed.

use std::{cell::RefCell, rc::Rc, time::Duration};

use anyhow::ensure;
use forerunner_forecast::Objective;
use forerunner_sim::TraceTask;
use serde_json::Value;
use tokio::time::{Instant, interval, sleep};

use super::{
    load::Load,
    report::{RunConditions, RunStats, count_live},
    side::{DemoSample, PoolSample},
    submit::{Submissions, submit_all},
};

/// How often the pools are asked, and the screen is drawn.
const PERIOD: Duration = Duration::from_millis(250);
/// Time limit for the agents to become ready, beyond a cold start.
const WARM_UP: Duration = Duration::from_secs(30);
/// Time limit for the last tasks, once all are submitted.
const LAST_TASKS: Duration = Duration::from_secs(30);

/// Which of the two pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolRole {
    /// Forerunner's.
    Ours,
    /// That of the other rule.
    Theirs,
}

impl PoolRole {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Ours, Self::Theirs];
}

/// A task of the demo.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Submission {
    /// Seconds on an agent.
    pub service_s: f64,
    /// In how much time it is due; `None` at once.
    pub due_in: Option<Duration>,
    /// The conversation that it belongs to, and what its turn adds to it.
    pub turn: Option<(String, String)>,
}

/// The service that runs the load, with its two pools.
pub trait Service {
    /// Returns the kind of its store.
    fn store(&self) -> &str;

    /// Reads the status of a pool.
    fn pool(&self, which: PoolRole) -> impl Future<Output = anyhow::Result<Value>>;

    /// Submits a task and returns it as it was stored.
    fn submit(&self, which: PoolRole, task: &Submission) -> impl Future<Output = anyhow::Result<Value>>;

    /// Reads a task.
    fn task(&self, id: &str) -> impl Future<Output = anyhow::Result<Value>>;

    /// Reads all tasks of a pool.
    fn tasks(&self, which: PoolRole) -> impl Future<Output = anyhow::Result<Vec<Value>>>;

    /// Reads the agents of a pool.
    fn agents(&self, which: PoolRole) -> impl Future<Output = anyhow::Result<Vec<Value>>>;

    /// Kills the process of an agent.
    fn kill(&self, pid: u32) -> anyhow::Result<()>;
}

/// What shows the moments while they pass.
pub trait View {
    /// Shows the newest moment; `false` ends the demo.
    fn show(&mut self, past: &[DemoSample]) -> anyhow::Result<bool>;
}

/// What the live part yields.
pub struct LivePart {
    /// The closing figures of both pools.
    pub figures: [RunStats; 2],
    /// What they were measured with.
    pub run: RunConditions,
    /// All moments.
    pub past: Vec<DemoSample>,
}

/// Waits until `begin`, submits the live part of the load to both pools, and reads the outcome back.
///
/// # Errors
/// When the agents do not become ready in time, or the service does not answer.
pub async fn live(
    service: &impl Service,
    load: &Load,
    begin: Instant,
    cold_start: Duration,
    view: &mut impl View,
) -> anyhow::Result<Option<LivePart>> {
    let begun = Instant::now();
    for which in PoolRole::BOTH {
        warm_up(service, which, cold_start + WARM_UP).await?;
    }
    tokio::time::sleep_until(begin).await;
    let warm = [service.pool(PoolRole::Ours).await?, service.pool(PoolRole::Theirs).await?];
    let begin = Instant::now();
    let tasks = load.live();
    let submissions = Rc::new(RefCell::new(Submissions::default()));
    let watched = watch(service, load, &tasks, begin, &submissions, &warm, view);
    let (past, ()) =
        tokio::join!(watched, submit_all(&tasks, begin, &submissions, async |task| both(service, task, begin).await));
    let Some(past) = past? else { return Ok(None) };
    let duration_s = begin.elapsed().as_secs_f64();
    let mut figures = Vec::new();
    for (at, which) in PoolRole::BOTH.into_iter().enumerate() {
        let end = service.pool(which).await?;
        let peak = past.iter().map(|moment| moment.sides[at].agents()).max().unwrap_or(0);
        let name = end["policy"].as_str().unwrap_or_default().to_owned();
        let read = service.tasks(which).await?;
        let agent_seconds = past.last().map_or(0.0, |moment| moment.sides[at].agent_seconds);
        let cost = PoolCost {
            agent_seconds,
            scale_ups: less(&end, &warm[at], "scale_ups"),
            scale_downs: less(&end, &warm[at], "scale_downs"),
        };
        figures.push(count_live(name, &read, tasks.len() as u64, Objective::default(), cost, peak));
    }
    let submissions = submissions.take();
    let agents_at_start = PoolSample::read(&warm[0]).agents();
    let measured = past.last().and_then(|moment| moment.sides[0].cold_start_s);
    let run = RunConditions {
        duration_s,
        waited_s: (begin - begun).as_secs_f64(),
        store: service.store().to_owned(),
        agents_at_start,
        cold_start_s: cold_start.as_secs_f64(),
        measured_cold_start_s: measured,
        submissions,
    };
    let Ok(figures) = <[RunStats; 2]>::try_from(figures) else { anyhow::bail!("there are two pools") };
    Ok(Some(LivePart { figures, run, past }))
}

/// What a pool has cost in the live part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolCost {
    /// Seconds that the agents existed.
    pub agent_seconds: f64,
    /// Decisions to grow.
    pub scale_ups: u64,
    /// Decisions to shrink.
    pub scale_downs: u64,
}

fn less(end: &Value, begin: &Value, name: &str) -> u64 {
    let at = |pool: &Value| pool[name].as_u64().unwrap_or(0);
    at(end).saturating_sub(at(begin))
}

/// Submits a task to both pools at once. A scheduled one is submitted when it becomes known, with its due time.
async fn both(service: &impl Service, task: &TraceTask, begin: Instant) -> anyhow::Result<()> {
    let due = begin + Duration::from_secs_f64(task.arrival_s);
    let due_in = task.announced_s.map(|_| due.saturating_duration_since(Instant::now()));
    let submission = Submission { service_s: task.service_s, due_in, turn: None };
    let (ours, theirs) =
        tokio::join!(service.submit(PoolRole::Ours, &submission), service.submit(PoolRole::Theirs, &submission));
    ours.and(theirs).map(drop)
}

/// Waits until all agents that a pool begins with are ready.
async fn warm_up(service: &impl Service, which: PoolRole, limit: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let side = PoolSample::read(&service.pool(which).await?);
        if side.ready > 0 && side.starting == 0 {
            return Ok(());
        }
        ensure!(begun.elapsed() < limit, "the agents did not become ready in time: {} are starting", side.starting);
        sleep(Duration::from_millis(20)).await;
    }
}

/// Shows the run until the last task has ended; `None` if the view ended it.
async fn watch(
    service: &impl Service,
    load: &Load,
    tasks: &[TraceTask],
    begin: Instant,
    so_far: &Rc<RefCell<Submissions>>,
    warm: &[Value; 2],
    view: &mut impl View,
) -> anyhow::Result<Option<Vec<DemoSample>>> {
    let due = tasks.len() as u64;
    let before = [PoolSample::read(&warm[0]).agent_seconds, PoolSample::read(&warm[1]).agent_seconds];
    let mut past: Vec<DemoSample> = Vec::new();
    // What each pool had cost when its last task ended: a pool that is done does not wait for the other one.
    let mut done = [None, None];
    let mut rhythm = interval(PERIOD);
    let give_up = begin + Duration::from_secs_f64(load.span_s) + LAST_TASKS;
    loop {
        rhythm.tick().await;
        let (ours, theirs) = tokio::join!(service.pool(PoolRole::Ours), service.pool(PoolRole::Theirs));
        let mut sides = [PoolSample::read(&ours?), PoolSample::read(&theirs?)];
        let refused = so_far.borrow().refused;
        let submitted = tasks.partition_point(|task| task.arrival_s <= begin.elapsed().as_secs_f64()) as u64;
        for (at, side) in sides.iter_mut().enumerate() {
            side.agent_seconds -= before[at];
            if submitted == due && side.finished + refused >= due {
                side.agent_seconds = *done[at].get_or_insert(side.agent_seconds);
            }
        }
        past.push(DemoSample { t: begin.elapsed().as_secs_f64(), submitted, sides });
        if !view.show(&past)? {
            return Ok(None);
        }
        if done.iter().all(Option::is_some) || Instant::now() > give_up {
            return Ok(Some(past));
        }
    }
}

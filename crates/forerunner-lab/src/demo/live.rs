//! The live run: warm up, submit, observe, count.

use std::{cell::RefCell, rc::Rc, time::Duration};

use anyhow::ensure;
use forerunner_console::{
    fields,
    output::{self, Output},
};
use forerunner_forecast::PolicyLimits;
use serde_json::Value;
use tokio::time::{Instant, interval, sleep};

use super::{
    report::{Figures, Run, count_live},
    submit::{Submissions, submit_all},
    trace::Slice,
    view::{Moment, View},
};

/// How often the view is drawn and the peak updated.
const LOOK: Duration = Duration::from_millis(200);
/// Time limit for the pool to become warm, beyond a cold start.
const WARM_UP: Duration = Duration::from_secs(20);
/// Time limit for the last tasks, once all are submitted.
const LAST_TASKS: Duration = Duration::from_secs(60);
/// Seconds that the arrival rate of the view is averaged over.
const RATE_SPAN_S: f64 = 2.0;

/// The service that runs the slice, and its pool.
pub trait Service {
    /// Returns where it listens.
    fn address(&self) -> &str;

    /// Returns the kind of its store.
    fn store(&self) -> &str;

    /// Reads the status of the pool.
    fn pool(&self) -> impl Future<Output = anyhow::Result<Value>>;

    /// Submits a task that occupies an agent for so many seconds.
    fn submit(&self, service_s: f64) -> impl Future<Output = anyhow::Result<()>>;

    /// Reads all tasks of the pool.
    fn tasks(&self) -> impl Future<Output = anyhow::Result<Vec<Value>>>;
}

/// Its result.
pub struct Live {
    /// The closing figures.
    pub figures: Figures,
    /// What they were measured with.
    pub run: Run,
}

/// Waits until the pool is warm, replays the slice, and reads the outcome back.
///
/// # Errors
/// When the agents do not become ready in time, or the service does not answer.
pub async fn live(service: &impl Service, slice: &Slice, limits: PolicyLimits, out: &Output) -> anyhow::Result<Live> {
    let warm = warm_up(service, Duration::from_secs_f64(limits.cold_start_s) + WARM_UP).await?;
    let agents_at_start = agents(&warm);
    let history = if slice.history.is_empty() || agents_at_start <= limits.min {
        "no history"
    } else {
        "the minutes before, as after a restart"
    };
    output::note(&format!(
        "The forecast knows {history}.\n{agents_at_start} agents are warm at the start. {}\n",
        out.faint(service.address())
    ));
    let begin = Instant::now();
    let submissions = Rc::new(RefCell::new(Submissions::default()));
    let (peak, ()) = tokio::join!(
        watch(service, slice, begin, &submissions),
        submit_all(&slice.tasks, begin, &submissions, async |task| service.submit(task.service_s).await),
    );
    let peak = peak?;
    let duration_s = begin.elapsed().as_secs_f64();
    let end = service.pool().await?;
    let tasks = service.tasks().await?;
    let due = slice.tasks.len() as u64;
    let figures = count_live(&tasks, due, limits.objective, &since(&end, &warm), peak.max(agents_at_start));
    let submissions = submissions.take();
    Ok(Live { figures, run: Run { duration_s, store: service.store().to_owned(), agents_at_start, submissions } })
}

fn agents(pool: &Value) -> u32 {
    Moment::read(pool, 0.0, 0, 0.0).agents()
}

/// Waits until all agents that the pool begins with are ready.
async fn warm_up(service: &impl Service, limit: Duration) -> anyhow::Result<Value> {
    let begun = Instant::now();
    loop {
        let status = service.pool().await?;
        let now = Moment::read(&status, 0.0, 0, 0.0);
        if now.ready > 0 && now.starting == 0 {
            return Ok(status);
        }
        ensure!(begun.elapsed() < limit, "the agents did not become ready in time: {} of {}", now.ready, now.desired);
        sleep(Duration::from_millis(20)).await;
    }
}

/// Shows the run until the last task has ended; returns the most agents there were at once.
async fn watch(
    service: &impl Service,
    slice: &Slice,
    begin: Instant,
    so_far: &Rc<RefCell<Submissions>>,
) -> anyhow::Result<u32> {
    let due = slice.tasks.len() as u64;
    let mut view = View::new(due);
    let mut rhythm = interval(LOOK);
    let mut peak = 0;
    let give_up = begin + Duration::from_secs_f64(slice.span_s) + LAST_TASKS;
    loop {
        rhythm.tick().await;
        let status = service.pool().await?;
        let elapsed_s = begin.elapsed().as_secs_f64();
        let (submitted, refused) = {
            let so_far = so_far.borrow();
            (so_far.accepted + so_far.refused, so_far.refused)
        };
        let now = Moment::read(&status, elapsed_s, submitted, rate(slice, elapsed_s));
        peak = peak.max(now.agents());
        let done = submitted == due && now.finished + refused >= due;
        view.show(now);
        if done || Instant::now() > give_up {
            drop(view);
            return Ok(peak);
        }
    }
}

/// Arrivals per second of the slice right before a moment.
fn rate(slice: &Slice, now_s: f64) -> f64 {
    let span_s = RATE_SPAN_S.min(now_s).max(0.1);
    let until = |s: f64| slice.tasks.partition_point(|task| task.arrival_s <= s);
    (until(now_s) - until(now_s - span_s)) as f64 / span_s
}

/// What the pool has cost since it was warm: what the simulated runs are counted from as well.
fn since(end: &Value, begin: &Value) -> Value {
    let mut spent = end.clone();
    let less = |name: &str| fields::number(end, name).unwrap_or(0.0) - fields::number(begin, name).unwrap_or(0.0);
    spent["agent_seconds"] = Value::from(less("agent_seconds"));
    for name in ["scale_ups", "scale_downs"] {
        spent[name] = Value::from(less(name) as u64);
    }
    spent
}

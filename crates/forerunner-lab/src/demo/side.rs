//! The two pools as the service shows them, moment by moment.

use forerunner_console::fields::number;
use serde_json::Value;

/// One pool at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolSample {
    /// Agents that are starting.
    pub starting: u32,
    /// Agents that are warm and idle, those on their way out included.
    pub ready: u32,
    /// Agents with a task.
    pub busy: u32,
    /// Tasks that are due and wait.
    pub waiting: u32,
    /// Tasks that ended.
    pub finished: u64,
    /// Share of the tasks that started on time; `None` before the first one.
    pub on_time_share: Option<f64>,
    /// Agent-seconds since the live part began.
    pub agent_seconds: f64,
    /// Why the pool is as large as it is.
    pub why: String,
    /// Seconds that a cold start took, at the median; `None` before the first one.
    pub cold_start_s: Option<f64>,
}

impl PoolSample {
    /// Reads the status of a pool.
    pub fn read(pool: &Value) -> Self {
        let whole = |path: &str| number(pool, path).unwrap_or(0.0) as u32;
        Self {
            starting: whole("agents.starting"),
            ready: whole("agents.ready") + whole("agents.cooldown"),
            busy: whole("agents.busy"),
            waiting: whole("depth"),
            finished: number(pool, "finished").unwrap_or(0.0) as u64,
            on_time_share: number(pool, "on_time_share"),
            agent_seconds: number(pool, "agent_seconds").unwrap_or(0.0),
            why: pool["decision"]["detail"].as_str().unwrap_or_default().to_owned(),
            cold_start_s: number(pool, "cold_start_s.p50"),
        }
    }

    /// Agents there are, whatever they do.
    pub const fn agents(&self) -> u32 {
        self.starting + self.ready + self.busy
    }

    /// Tasks that need an agent now.
    pub const fn demand(&self) -> u32 {
        self.busy + self.waiting
    }
}

/// Both pools at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DemoSample {
    /// Seconds since the live part began.
    pub t: f64,
    /// Tasks submitted to each of them.
    pub submitted: u64,
    /// Forerunner's pool and the other one.
    pub sides: [PoolSample; 2],
}

/// Seconds before `due_s` at which the pool had begun to start agents for `tasks` scheduled tasks: more than half of
/// them. `None` if it began later.
pub fn lead_s(past: &[DemoSample], side: usize, due_s: f64, tasks: usize) -> Option<f64> {
    let quiet = |moment: &&DemoSample| (due_s - 12.0..due_s - 8.0).contains(&moment.t);
    let base = past.iter().filter(quiet).map(|moment| moment.sides[side].agents()).max()?;
    let enough = base.max(1) + (tasks as u32).div_ceil(4);
    let first = past.iter().find(|m| m.t > due_s - 8.0 && m.sides[side].agents() >= enough)?;
    (first.t < due_s).then_some(due_s - first.t)
}

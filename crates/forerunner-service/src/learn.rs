//! Teaching a pool's forecast: from a recording, or from another pool with the same agents.

use std::{collections::HashMap, time::Duration};

use forerunner_core::{Timestamp, format_duration};
use forerunner_lab::seed::train_policy;
use forerunner_runtime::{LearnedForecast, Lesson, UntaughtPolicy};
use forerunner_sim::{Trace, TraceTask};
use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    problem_kind::ProblemKind,
    service::Service,
    worker_thread::{LONGEST_REPLAY, run_on_thread},
};

/// Most tasks of a recording.
pub const MOST_RECORDED: usize = 100_000;
/// Longest span of a recording, in seconds: as far back as a forecast remembers.
pub const MOST_RECORDED_S: f64 = 10.0 * 86_400.0;
/// Longest task of a recording, in seconds.
const MOST_SERVICE_S: f64 = 366.0 * 86_400.0;
/// When to retry while another history is replayed.
const RETRY: Duration = Duration::from_secs(5);

/// What a pool is to learn from: `tasks`, or `from_pool`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LearnRequest {
    /// The tasks of a recording, in any order.
    #[serde(default)]
    pub tasks: Option<Vec<RecordedTask>>,
    /// When the last of them was due; now if it is absent. The forecast learns habits of a time of day from it.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// Another pool with the same agents, whose durations, sessions and cold start the pool takes up.
    #[serde(default)]
    pub from_pool: Option<String>,
    /// Learns from the recording also where the pool has learned from more tasks already.
    #[serde(default)]
    pub replace: bool,
}

/// A task of a recording.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordedTask {
    /// When it was due, in seconds since the begin of the recording.
    pub arrival_s: f64,
    /// Seconds on an agent.
    pub service_s: f64,
    /// Tasks with the same text share a context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// When it became known, in the same seconds; absent for a task that nobody announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced_s: Option<f64>,
}

/// What a pool has learned.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LearnReport {
    /// The pool.
    pub pool: String,
    /// Its policy.
    pub policy: &'static str,
    /// Tasks of the recording, or those that the other pool has learned from.
    pub tasks: u64,
    /// Seconds from the first to the last task of the recording; absent with `from_pool`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_s: Option<f64>,
    /// The other pool; absent for a recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_pool: Option<String>,
    /// Tasks that the pool had learned from before.
    pub tasks_before: u64,
}

impl Service {
    /// Teaches a pool's forecast. A recording is replayed in virtual time under the pool's policy, which takes seconds, and runs for
    /// one caller at a time.
    ///
    /// # Errors
    /// The pool does not exist; the request names neither or both sources, or a recording that cannot be used; the pool knows more
    /// itself; its policy does not learn; another caller's replay runs.
    pub async fn learn(&self, pool: &str, request: LearnRequest) -> Result<LearnReport, Error> {
        self.own_pool(pool)?;
        let LearnRequest { tasks, ended_at, from_pool, replace } = request;
        let known = self.handle().learned(pool).await?;
        match (tasks, from_pool) {
            (Some(tasks), None) => self.learn_tasks(pool, known, tasks, ended_at, replace).await,
            (None, Some(other)) => self.learn_from_pool(pool, known, other).await,
            _ => Err(invalid("name `tasks` of a recording, or `from_pool`, and not both".to_owned())),
        }
    }

    async fn learn_tasks(
        &self,
        pool: &str,
        known: LearnedForecast,
        tasks: Vec<RecordedTask>,
        ended_at: Option<Timestamp>,
        replace: bool,
    ) -> Result<LearnReport, Error> {
        let now = self.time();
        let ended_at = ended_at.unwrap_or(now);
        if ended_at > now {
            return Err(invalid(format!("`ended_at` is {ended_at}, and it is {now}; name a time in the past")));
        }
        let trace = recording(tasks)?;
        let (count, span_s) = (trace.tasks().len() as u64, trace.span_s());
        if known.tasks > count && !replace {
            return Err(knows_more(pool, known.tasks, count));
        }
        let UntaughtPolicy { policy, limits } = self.handle().untaught_policy(pool).await?;
        // A replay takes seconds: one at a time leaves the other cores to the pools.
        let turn = self.what_if_lock().try_lock_owned().map_err(|_| busy())?;
        let saved = run_on_thread(turn, move |stop| {
            let trained = train_policy(policy, limits, &trace, span_s, &|| stop.is_due());
            (!stop.is_due()).then(|| trained.policy.save())
        });
        let saved = saved.await?.ok_or_else(too_long)?.ok_or_else(|| does_not_learn(pool, known.policy))?;
        self.handle().teach(pool, Lesson::Recording { saved, ended: now.since(ended_at) }).await?;
        Ok(report(pool, &known, count, Some(span_s), None))
    }

    async fn learn_from_pool(&self, pool: &str, known: LearnedForecast, other: String) -> Result<LearnReport, Error> {
        self.own_pool(&other)?;
        if other == pool {
            return Err(invalid(format!("`from_pool` is `{other}`, the pool itself; name another pool")));
        }
        let theirs = self.handle().learned(&other).await?;
        if theirs.policy != known.policy {
            let detail = format!(
                "pool `{pool}` has policy `{}` and pool `{other}` has `{}`; a policy learns from its like",
                known.policy, theirs.policy
            );
            return Err(not_learnable(pool, detail));
        }
        let saved = theirs.saved.ok_or_else(|| does_not_learn(pool, known.policy))?;
        if theirs.tasks == 0 {
            let detail = format!("pool `{other}` has learned from no task yet; ask again once some have run");
            return Err(not_learnable(pool, detail));
        }
        self.handle().teach(pool, Lesson::Agents { saved }).await?;
        Ok(report(pool, &known, theirs.tasks, None, Some(other)))
    }
}

/// Checks the tasks of a recording, and moves its begin to the first one.
fn recording(tasks: Vec<RecordedTask>) -> Result<Trace, Error> {
    if tasks.is_empty() || tasks.len() > MOST_RECORDED {
        return Err(invalid(format!("`tasks` has {} tasks; send 1 to {MOST_RECORDED}, the newest ones", tasks.len())));
    }
    if let Some((at, name, value, rule)) = tasks.iter().enumerate().find_map(|(at, task)| fault(at, task)) {
        return Err(invalid(format!("`tasks[{at}].{name}` is {value}; use {rule}")));
    }
    let first_s = tasks.iter().map(|task| task.arrival_s).fold(f64::INFINITY, f64::min);
    let last_s = tasks.iter().map(|task| task.arrival_s).fold(0.0, f64::max);
    if last_s - first_s > MOST_RECORDED_S {
        let longest = format_duration(Duration::from_secs(MOST_RECORDED_S as u64));
        return Err(invalid(format!(
            "`tasks` covers {:.0} s; send at most {longest}, the newest part",
            last_s - first_s
        )));
    }
    let mut sessions: HashMap<String, u32> = HashMap::new();
    let tasks = tasks.into_iter().map(|RecordedTask { arrival_s, service_s, session, announced_s }| {
        let next = sessions.len() as u32;
        TraceTask {
            arrival_s: arrival_s - first_s,
            service_s,
            session: session.map(|session| *sessions.entry(session).or_insert(next)),
            announced_s: announced_s.map(|at| at - first_s),
            ..TraceTask::default()
        }
    });
    Trace::new("recording", tasks.collect()).map_err(|error| invalid(error.to_string()))
}

/// What is wrong with a task: its number, the member, its value, and what to use.
fn fault(at: usize, task: &RecordedTask) -> Option<(usize, &'static str, f64, &'static str)> {
    let RecordedTask { arrival_s, service_s, announced_s, .. } = *task;
    if !(0.0..=1e12).contains(&arrival_s) {
        return Some((at, "arrival_s", arrival_s, "seconds since the begin of the recording, from 0"));
    }
    if !(0.0..=MOST_SERVICE_S).contains(&service_s) {
        return Some((at, "service_s", service_s, "seconds on an agent, from 0 to 31622400 (a year)"));
    }
    let announced_s = announced_s.filter(|known_s| !(-1e12..=arrival_s).contains(known_s))?;
    Some((at, "announced_s", announced_s, "seconds since the begin of the recording, at most `arrival_s`"))
}

fn report(
    pool: &str,
    known: &LearnedForecast,
    tasks: u64,
    span_s: Option<f64>,
    from_pool: Option<String>,
) -> LearnReport {
    LearnReport { pool: pool.to_owned(), policy: known.policy, tasks, span_s, from_pool, tasks_before: known.tasks }
}

fn invalid(detail: String) -> Error {
    Error::new(ProblemKind::InvalidValue, detail)
}

fn not_learnable(pool: &str, detail: String) -> Error {
    Error::new(ProblemKind::NotLearnable, detail).with("pool", pool)
}

fn knows_more(pool: &str, own: u64, tasks: u64) -> Error {
    let detail = format!(
        "pool `{pool}` has learned from {own} tasks already, and the recording has {tasks}; repeat it with `replace` (`--replace`) to \
         learn from it all the same"
    );
    not_learnable(pool, detail)
}

fn does_not_learn(pool: &str, policy: &str) -> Error {
    not_learnable(pool, format!("policy `{policy}` of pool `{pool}` does not learn; `predictive` does"))
}

fn busy() -> Error {
    let detail = "the node replays another history, and replays one at a time; try again later";
    Error::new(ProblemKind::Busy, detail).retry_after(RETRY)
}

fn too_long() -> Error {
    let longest = format_duration(LONGEST_REPLAY);
    let detail =
        format!("the replay took more than {longest}; send fewer tasks, or try again when the node is less busy");
    Error::new(ProblemKind::Busy, detail).retry_after(RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(arrival_s: f64, service_s: f64) -> RecordedTask {
        RecordedTask { arrival_s, service_s, session: None, announced_s: None }
    }

    #[test]
    fn a_recording_begins_with_its_first_task_and_numbers_its_sessions() {
        let chat =
            |arrival_s, session: &str| RecordedTask { session: Some(session.to_owned()), ..task(arrival_s, 2.0) };
        let late = RecordedTask { announced_s: Some(90.0), ..task(112.0, 1.0) };
        let trace = recording(vec![late, chat(105.0, "b"), chat(100.0, "a"), chat(110.0, "b")]).expect("valid");
        let seen: Vec<_> = trace.tasks().iter().map(|task| (task.arrival_s, task.session, task.announced_s)).collect();
        assert_eq!(
            seen,
            [(0.0, Some(1), None), (5.0, Some(0), None), (10.0, Some(0), None), (12.0, None, Some(-10.0))]
        );
    }

    #[test]
    fn what_cannot_be_learned_from_is_named_with_its_value() {
        let cases = [
            (vec![], "`tasks` has 0 tasks; send 1 to 100000"),
            (vec![task(0.0, 1.0), task(-1.0, 1.0)], "`tasks[1].arrival_s` is -1; use seconds since the begin"),
            (vec![task(0.0, f64::NAN)], "`tasks[0].service_s` is NaN; use seconds on an agent"),
            (vec![task(0.0, 1e9)], "`tasks[0].service_s` is 1000000000"),
            (vec![RecordedTask { announced_s: Some(2.0), ..task(1.0, 1.0) }], "`tasks[0].announced_s` is 2; use"),
            (vec![task(0.0, 1.0), task(864_001.0, 1.0)], "`tasks` covers 864001 s; send at most 10d"),
            (vec![task(0.0, 1.0); MOST_RECORDED + 1], "`tasks` has 100001 tasks"),
        ];
        for (tasks, message) in cases {
            let error = recording(tasks).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}

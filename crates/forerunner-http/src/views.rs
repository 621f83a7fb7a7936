//! Shapes of requests and answers, apart from the types they are made from.
//!
//! Statuses of pools, agents, decisions, forecasts and contexts are made to be shown, and answered as they are.

use std::time::Duration;

use forerunner_core::{
    ContextCost, ContextId, ErrorKind, IdempotencyKey, Labels, NewTask, Payload, PoolName, Priority, Task, TaskError,
    TaskId, TaskState, Timestamp, human_duration,
};
use forerunner_runtime::{AgentStatus, ContextStatus, DecisionRecord, NodeStatus, PoolStatus};
use serde::{Deserialize, Serialize};

use crate::fields;

/// Body of a submission. The input is checked but not built up.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskBody {
    #[serde(deserialize_with = "fields::input")]
    input: Payload,
    context: Option<ContextId>,
    #[serde(default)]
    priority: Priority,
    run_at: Option<Timestamp>,
    deadline: Option<Timestamp>,
    #[serde(default, deserialize_with = "fields::timeout")]
    timeout: Option<Duration>,
    #[serde(default, deserialize_with = "fields::max_attempts")]
    max_attempts: Option<u32>,
    #[serde(default, deserialize_with = "fields::labels")]
    labels: Labels,
}

impl TaskBody {
    /// Builds what the runtime is asked for.
    pub(crate) fn into_task(self, pool: PoolName, idempotency_key: Option<IdempotencyKey>) -> NewTask {
        NewTask {
            pool,
            input: self.input,
            context: self.context,
            priority: self.priority,
            run_at: self.run_at,
            deadline: self.deadline,
            timeout: self.timeout,
            max_attempts: self.max_attempts,
            labels: self.labels,
            idempotency_key,
        }
    }
}

/// A task as answered. What is not known, or not asked for, is left out.
#[derive(Serialize)]
pub(crate) struct TaskView<'a> {
    id: TaskId,
    pool: &'a str,
    state: TaskState,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_cost: Option<&'a ContextCost>,
    priority: u8,
    attempt: u32,
    max_attempts: u32,
    #[serde(skip_serializing_if = "is_zero")]
    crashes: u32,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    labels: &'a Labels,
    submitted_at: Timestamp,
    run_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<Timestamp>,
    #[serde(with = "human_duration")]
    timeout: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
}

/// Why an attempt ended without an output.
#[derive(Serialize)]
struct ErrorView<'a> {
    kind: ErrorKind,
    message: &'a str,
}

impl<'a> TaskView<'a> {
    /// Everything.
    pub(crate) fn full(task: &'a Task) -> Self {
        Self { input: Some(&task.input), ..Self::with_output(task) }
    }

    /// Without the input, which the submitter has.
    pub(crate) fn with_output(task: &'a Task) -> Self {
        Self { output: task.output.as_ref(), ..Self::brief(task) }
    }

    /// Without payloads, whose size would leave a page unbounded.
    pub(crate) fn brief(task: &'a Task) -> Self {
        // A task that waits for a retry has a start, but that of the attempt before.
        let began = task.started_at.filter(|_| task.state == TaskState::Running || task.state.is_terminal());
        Self {
            id: task.id,
            pool: task.pool.as_str(),
            state: task.state,
            input: None,
            output: None,
            error: task.error.as_ref().map(ErrorView::of),
            context: task.context.as_ref().map(ContextId::as_str),
            context_cost: task.context_cost.as_deref(),
            priority: task.priority.get(),
            attempt: task.attempt,
            max_attempts: task.retry.max_attempts,
            crashes: task.crashes,
            labels: &task.labels,
            submitted_at: task.submitted_at,
            run_at: task.run_at,
            deadline: task.deadline,
            timeout: task.timeout,
            started_at: task.started_at,
            finished_at: task.finished_at,
            wait_s: began.and_then(|_| task.wait()).map(|wait| wait.as_secs_f64()),
            service_s: began.zip(task.finished_at).map(|(began, ended)| ended.since(began).as_secs_f64()),
            agent: task.agent.map(|agent| agent.to_string()),
        }
    }
}

impl<'a> ErrorView<'a> {
    fn of(error: &'a TaskError) -> Self {
        Self { kind: error.kind, message: &error.message }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Query of a listing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TasksQuery {
    pub(crate) pool: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) cursor: Option<String>,
    pub(crate) limit: Option<String>,
}

/// A page of tasks; `next` is the cursor of the one that follows.
#[derive(Serialize)]
pub(crate) struct TasksView<'a> {
    pub(crate) tasks: Vec<TaskView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// The nodes that share the store.
#[derive(Serialize)]
pub(crate) struct NodesView {
    pub(crate) nodes: Vec<NodeStatus>,
}

/// How many agents of a pool nodes should make room for, and what that follows from.
#[derive(Serialize)]
pub(crate) struct ScalerView {
    /// The greater of the tasks that run or wait and the agents that the forecast wants, within the pool's bounds.
    pub(crate) agents: u64,
    pub(crate) running: u64,
    pub(crate) queued: u64,
    pub(crate) forecast: u32,
}

#[derive(Serialize)]
pub(crate) struct PoolsView {
    pub(crate) pools: Vec<PoolStatus>,
}

#[derive(Serialize)]
pub(crate) struct AgentsView {
    pub(crate) agents: Vec<AgentStatus>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DecisionsQuery {
    pub(crate) limit: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    pub(crate) minutes: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct DecisionsView {
    pub(crate) decisions: Vec<DecisionRecord>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContextQuery {
    pub(crate) pool: Option<String>,
}

/// Query of a listing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContextsQuery {
    pub(crate) pool: Option<String>,
    pub(crate) cursor: Option<String>,
    pub(crate) limit: Option<String>,
}

/// A page of contexts; `next` is the cursor of the one that follows.
#[derive(Serialize)]
pub(crate) struct ContextsView {
    pub(crate) contexts: Vec<ContextStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct ReadyView {
    pub(crate) status: &'static str,
    pub(crate) store: &'static str,
}

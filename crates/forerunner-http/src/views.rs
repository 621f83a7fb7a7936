//! Shapes of answers and queries, apart from the types they are made from.
//!
//! Statuses of pools, agents, decisions, forecasts and contexts are made to be shown, and answered as they are.

use std::{collections::BTreeMap, time::Duration};

use forerunner_core::{
    AgentId, AgentRequest, ApiKeyName, AttemptRecord, ContextCost, ContextId, ErrorKind, Labels, Payload, PoolName,
    Priority, Task, TaskError, TaskId, TaskState, Timestamp, human_duration,
};
use forerunner_service::status::{
    AgentStatus, ContextStatus, DecisionRecord, NodeStatus, PoolStatus, UnconfiguredPool,
};
use forerunner_service::{ScheduleStatus, auth::ApiKeyStatus};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    error::ProblemView,
    schema::{DurationText, ProblemSchema},
};

/// What became of the tasks of a batch.
#[derive(Serialize, ToSchema)]
#[schema(as = BatchOutcome)]
pub(crate) struct BatchView<'a> {
    /// Durable tasks: new ones, and those with a known key.
    pub(crate) accepted: usize,
    /// Tasks that are not.
    pub(crate) refused: usize,
    /// One for each task, in the order of the request.
    pub(crate) results: Vec<ResultView<'a>>,
}

/// What became of one task of a batch: `task` or `problem`.
#[derive(Serialize, ToSchema)]
#[schema(as = TaskOutcome)]
pub(crate) struct ResultView<'a> {
    /// What a submission of the task alone would have been answered with: 202, 200, or the status of the problem.
    pub(crate) status: u16,
    /// The task as accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) task: Option<TaskView<'a>>,
    /// Whether the task was known by its key; omitted if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) replayed: bool,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ProblemSchema)]
    pub(crate) problem: Option<ProblemView<'a>>,
}

/// A task in an answer. Unknown and unrequested members are omitted.
#[derive(Serialize, ToSchema)]
#[schema(as = Task)]
pub(crate) struct TaskView<'a> {
    /// Its id.
    id: TaskId,
    /// Its pool.
    #[schema(value_type = PoolName)]
    pool: &'a str,
    /// The tenant that it belongs to; omitted if that is `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = forerunner_core::TenantName, nullable = false)]
    tenant: Option<&'a str>,
    /// The name of the key by which it was submitted; omitted if no key was needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = forerunner_core::ApiKeyName, nullable = false)]
    submitted_by: Option<&'a str>,
    /// The name of the key by which it was cancelled; omitted otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = forerunner_core::ApiKeyName, nullable = false)]
    cancelled_by: Option<&'a str>,
    /// Its state.
    state: TaskState,
    /// The input for the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Payload)]
    input: Option<&'a Payload>,
    /// The result of a task that succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Payload)]
    output: Option<&'a Payload>,
    /// Why the newest attempt ended without an output.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = TaskError)]
    error: Option<ErrorView<'a>>,
    /// The conversation it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ContextId)]
    context: Option<&'a str>,
    /// The cost of its context in the newest attempt that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ContextCost)]
    context_cost: Option<&'a ContextCost>,
    /// How urgent it is: 0 (last) to 9 (first).
    #[schema(value_type = Priority)]
    priority: u8,
    /// Attempts begun.
    attempt: u32,
    /// Attempts in all.
    max_attempts: u32,
    /// Attempts that crashed the agent or the node; omitted if 0.
    #[serde(skip_serializing_if = "is_zero")]
    crashes: u32,
    /// Pairs to filter by; omitted if there are none.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    labels: &'a Labels,
    /// What makes its submission repeatable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = forerunner_core::IdempotencyKey)]
    idempotency_key: Option<&'a str>,
    /// The task whose agent submitted it, if the submission named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    parent: Option<TaskId>,
    /// The number of its ancestors; omitted if 0.
    #[serde(skip_serializing_if = "is_zero")]
    depth: u32,
    /// When it was accepted.
    submitted_at: Timestamp,
    /// When it may run, or run again.
    run_at: Timestamp,
    /// Not after this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    deadline: Option<Timestamp>,
    /// Longest run of one attempt.
    #[serde(with = "human_duration")]
    #[schema(value_type = DurationText)]
    timeout: Duration,
    /// When the newest attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    finished_at: Option<Timestamp>,
    /// Seconds from being due to the start of the newest attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    wait_s: Option<f64>,
    /// The part of it in which it waited for an agent: what counts for the objective. Absent while a task with a context runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    wait_agent_s: Option<f64>,
    /// The part before that, in which it waited for the task before it in its context.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    wait_context_s: Option<f64>,
    /// Seconds from there to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    service_s: Option<f64>,
    /// What agents of the task asked, oldest first. A task in state `waiting` waits for the answer to the last one. Omitted if
    /// they asked nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    requests: Vec<AgentRequest>,
    /// What its agents used in all attempts, such as `input_tokens`. Omitted if they reported nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = BTreeMap<String, u64>, nullable = false)]
    usage: Option<&'a BTreeMap<String, u64>>,
    /// The trace that it belongs to, in the form of W3C Trace Context.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    traceparent: Option<&'a str>,
    /// The agent of the newest attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = AgentId)]
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
        let idempotency_key = task.idempotency_key.as_ref().map(|key| key.as_str());
        Self { input: Some(&task.input), idempotency_key, ..Self::with_output(task) }
    }

    /// Without the input, which the submitter has.
    pub(crate) fn with_output(task: &'a Task) -> Self {
        let requests = AgentRequest::list(task.requests.as_deref());
        Self { output: task.output.as_ref(), requests, ..Self::brief(task) }
    }

    /// Everything that a caller sees.
    pub(crate) fn seen(task: &'a Task, sees_payloads: bool) -> Self {
        if sees_payloads {
            return Self::full(task);
        }
        Self { input: None, output: None, requests: Vec::new(), ..Self::full(task) }
    }

    /// Without payloads, whose size would make a page unbounded.
    pub(crate) fn brief(task: &'a Task) -> Self {
        // A task that waits for a retry has a start, but that of the attempt before.
        let began = task.started_at.filter(|_| task.state == TaskState::Running || task.state.is_terminal());
        Self {
            id: task.id,
            pool: task.pool.as_str(),
            tenant: Some(task.tenant.as_str()).filter(|_| !task.tenant.is_default()),
            submitted_by: task.spec.as_ref().and_then(|spec| spec.submitted_by.as_ref()).map(ApiKeyName::as_str),
            cancelled_by: cancelled_by(task),
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
            idempotency_key: None,
            parent: task.parent,
            depth: task.depth,
            submitted_at: task.submitted_at,
            run_at: task.run_at,
            deadline: task.deadline,
            timeout: task.timeout,
            started_at: task.started_at,
            finished_at: task.finished_at,
            wait_s: began.and_then(|_| task.wait()).map(|wait| wait.as_secs_f64()),
            wait_agent_s: began.and_then(|_| task.wait_context().and(task.wait_agent())).map(|wait| wait.as_secs_f64()),
            wait_context_s: began.and_then(|_| task.wait_context()).map(|wait| wait.as_secs_f64()),
            service_s: began.zip(task.finished_at).map(|(began, ended)| ended.since(began).as_secs_f64()),
            requests: Vec::new(),
            usage: task.report.as_ref().map(|report| &report.usage).filter(|usage| !usage.is_empty()),
            traceparent: task.spec.as_ref().and_then(|spec| spec.traceparent.as_deref()),
            agent: task.agent.map(|agent| agent.to_string()),
        }
    }
}

/// Who cancelled a task. A task that ended otherwise was not cancelled, whoever asked for it.
fn cancelled_by(task: &Task) -> Option<&str> {
    let report = task.report.as_ref().filter(|_| task.state == TaskState::Cancelled)?;
    report.cancelled_by.as_ref().map(ApiKeyName::as_str)
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

/// A page of tasks; `next` is the cursor of the next page.
#[derive(Serialize, ToSchema)]
#[schema(as = TaskPage)]
pub(crate) struct TasksView<'a> {
    /// The tasks.
    pub(crate) tasks: Vec<TaskView<'a>>,
    /// The cursor of the next page; omitted on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) next: Option<String>,
}

/// The attempts of a task.
#[derive(Serialize, ToSchema)]
#[schema(as = AttemptList)]
pub(crate) struct AttemptsView {
    /// The attempts, oldest first.
    pub(crate) attempts: Vec<AttemptRecord>,
}

/// The nodes that share the store.
#[derive(Serialize, ToSchema)]
#[schema(as = NodeList)]
pub(crate) struct NodesView {
    /// The nodes.
    pub(crate) nodes: Vec<NodeStatus>,
}

/// Pools.
#[derive(Serialize, ToSchema)]
#[schema(as = PoolList)]
pub(crate) struct PoolsView {
    /// The pools.
    pub(crate) pools: Vec<PoolStatus>,
    /// Pools with unfinished tasks that no node has in its configuration; omitted if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) unconfigured: Vec<UnconfiguredPool>,
}

/// Agents of a pool.
#[derive(Serialize, ToSchema)]
#[schema(as = AgentList)]
pub(crate) struct AgentsView {
    /// The agents.
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

/// Decisions of a pool.
#[derive(Serialize, ToSchema)]
#[schema(as = DecisionList)]
pub(crate) struct DecisionsView {
    /// The decisions.
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

/// A page of contexts; `next` is the cursor of the next page.
#[derive(Serialize, ToSchema)]
#[schema(as = ContextPage)]
pub(crate) struct ContextsView {
    /// The contexts.
    pub(crate) contexts: Vec<ContextStatus>,
    /// The cursor of the next page; omitted on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) next: Option<String>,
}

/// Which schedules to list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SchedulesQuery {
    pub(crate) cursor: Option<String>,
    pub(crate) limit: Option<String>,
}

/// A page of schedules.
#[derive(Serialize, ToSchema)]
#[schema(as = SchedulePage)]
pub(crate) struct SchedulesView {
    /// The schedules.
    pub(crate) schedules: Vec<ScheduleStatus>,
    /// The cursor of the page that follows; left out on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) next: Option<String>,
}

/// Reports that the node accepts traffic.
#[derive(Serialize, ToSchema)]
#[schema(as = Readiness)]
pub(crate) struct ReadyView {
    /// `ready`.
    pub(crate) status: &'static str,
    /// The kind of store; omitted without a key where one is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) store: Option<&'static str>,
    /// What an operator should check, although the node accepts traffic; omitted if there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) warnings: Vec<String>,
}

impl ReadyView {
    pub(crate) const fn of(store: Option<&'static str>, warnings: Vec<String>) -> Self {
        Self { status: "ready", store, warnings }
    }
}

/// The keys that the node knows.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKeyList)]
pub(crate) struct ApiKeysView {
    /// The keys, by name and age.
    pub(crate) keys: Vec<ApiKeyStatus>,
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
#[schema(as = NewApiKeySecret)]
pub(crate) struct MadeView<'a> {
    /// The key itself. It is shown now, and never again.
    pub(crate) secret: &'a str,
    /// What is stored of it.
    pub(crate) key: ApiKeyStatus,
}

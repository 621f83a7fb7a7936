//! The status types: what a handle returns about tasks, agents, pools and decisions.

mod forecast;
mod history;

use std::collections::BTreeMap;

use forerunner_core::{
    AgentCounts, AgentId, AgentState, ContextId, DependencyReport, NodeId, PoolName, ScheduleName, StartStatus, Task,
    TaskId, TaskState, TenantName, Timestamp, placement::PlacementRecord,
};
use forerunner_forecast::Objective;
use forerunner_store::TaskCounts;
use serde::{Deserialize, Serialize, Serializer};

pub use forerunner_core::{TaskEvent, TaskEventKind};
pub use forerunner_forecast::Cause;

pub use self::forecast::{ColdStart, DecisionRecord, ForecastPoint, ForecastStatus, Inputs};
pub use self::history::{HistoryPoint, PoolHistory, Recent, SizeChange, WaitSummary};

/// One agent instance.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentStatus {
    /// Its id.
    pub id: AgentId,
    /// Its pool.
    pub pool: PoolName,
    /// Its state.
    pub state: AgentState,
    /// The task that it runs.
    pub task: Option<TaskId>,
    /// The tenant of its newest task; omitted if that is `default`, or there was none.
    #[serde(skip_serializing_if = "is_no_tenant")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub tenant: Option<TenantName>,
    /// The context that it used last.
    pub context: Option<ContextId>,
    /// Size of that context, in bytes.
    pub context_bytes: u64,
    /// All contexts that are resident in it, with their versions, the last used one at the end. JSON has only their
    /// number.
    #[serde(rename = "contexts_resident", serialize_with = "as_count")]
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub resident: Vec<(ContextId, u64)>,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it last finished a task, or became ready.
    pub last_used: Option<Timestamp>,
    /// Seconds from its start until it was ready; absent before that.
    pub cold_start_s: Option<f64>,
    /// Number of tasks that it has finished.
    pub tasks: u64,
    /// Its process id, if it has a process of its own.
    pub pid: Option<u32>,
}

#[expect(clippy::ref_option, reason = "serde asks with a reference")]
fn is_no_tenant(tenant: &Option<TenantName>) -> bool {
    tenant.as_ref().is_none_or(TenantName::is_default)
}

/// An agent may have hundreds of resident contexts, and a pool hundreds of agents.
fn as_count<S: Serializer>(list: &[(ContextId, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(list.len() as u64)
}

/// Whether a pool starts tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PoolState {
    /// It starts tasks.
    Running,
    /// It is paused: tasks wait, agents stay warm.
    Paused,
    /// Agents failed too often: the pool starts none until `until`.
    CircuitOpen {
        /// When the next agent is started.
        until: Timestamp,
        /// Why the last agent failed.
        reason: String,
    },
    /// What the agents depend on fails: no task starts but probes.
    DependencyOpen {
        /// When the next probe starts.
        until: Timestamp,
        /// The error of the last failure.
        reason: String,
    },
}

impl PoolState {
    /// The state of a pool whose dependency circuit has the reported state. A pause by hand, and agents that do not
    /// start, come first.
    pub(crate) fn with_dependency(self, dependency: &DependencyReport, now: Timestamp) -> Self {
        match self {
            Self::Running if dependency.is_down() => Self::DependencyOpen {
                until: dependency.until.unwrap_or(now),
                reason: dependency.error.clone().unwrap_or_default(),
            },
            other => other,
        }
    }
}

/// Whether decisions are applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Decisions are applied.
    #[default]
    Act,
    /// Decisions are only recorded and shown.
    Advise,
}

/// The status of a pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolStatus {
    /// Its name.
    pub name: PoolName,
    /// The kind of its agents, such as `rust`, `process` or `simulated`.
    pub kind: &'static str,
    /// Whether it starts tasks.
    #[serde(flatten)]
    pub state: PoolState,
    /// The circuit that opens when what the agents depend on fails.
    pub dependency: DependencyReport,
    /// Least number of agents.
    pub min: u32,
    /// Greatest number of agents.
    pub max: u32,
    /// Wanted number of agents.
    pub desired: u32,
    /// The policy that decides.
    pub policy: &'static str,
    /// Whether its decisions are applied.
    pub mode: Mode,
    /// The operator's objective.
    pub objective: Objective,
    /// Agents by state.
    pub agents: AgentCounts,
    /// Busy share of the warm agents, 0 to 1.
    pub utilisation: f64,
    /// Tasks that are due and wait for an agent.
    pub depth: u64,
    /// Tasks that wait: claimable, delayed, or behind another of their context.
    pub waiting: u64,
    /// Tasks that run.
    pub running: u64,
    /// The limit of waiting tasks.
    pub queue_limit: u64,
    /// Bytes of the inputs of tasks that have not ended.
    pub input_bytes: u64,
    /// The limit of these bytes.
    pub input_limit_bytes: u64,
    /// Bytes of the pool's contexts in the store, at the last measurement.
    pub context_bytes: u64,
    /// The limit above which no new context may start.
    pub context_limit_bytes: u64,
    /// Seconds that an idle agent stays that is not needed.
    pub cooldown_s: f64,
    /// Median and 90th percentile of recent cold starts, in seconds.
    pub cold_start_s: Option<ColdStart>,
    /// How many agents start at the same time on this node, and what was measured of it.
    pub starts: StartStatus,
    /// Share of tasks that started on time since the node started; absent before the first.
    pub on_time_share: Option<f64>,
    /// The current load.
    pub recent: Recent,
    /// Tasks that ended since the node started.
    pub finished: u64,
    /// Agents that decisions started, since the node started.
    pub scale_ups: u64,
    /// Agents that decisions stopped, since the node started.
    pub scale_downs: u64,
    /// Seconds that the agents have existed, summed: the cost of the pool.
    pub agent_seconds: f64,
    /// The newest decision.
    pub decision: Option<DecisionRecord>,
}

/// A pool with unfinished tasks that no node has in its configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnconfiguredPool {
    /// Its name.
    pub name: PoolName,
    /// Always false: it marks the pool as not configured.
    pub configured: bool,
    /// Tasks that wait for an agent.
    pub queued: u64,
    /// Tasks that are not due yet.
    pub scheduled: u64,
    /// Tasks that a node runs, or ran when it was lost.
    pub running: u64,
}

impl UnconfiguredPool {
    pub(crate) fn new(name: PoolName, counts: &TaskCounts) -> Self {
        let of = |state| counts.by_state.get(&state).copied().unwrap_or_default();
        Self {
            name,
            configured: false,
            queued: of(TaskState::Queued),
            scheduled: of(TaskState::Scheduled),
            running: of(TaskState::Running),
        }
    }

    /// Returns the number of its unfinished tasks.
    pub const fn unfinished(&self) -> u64 {
        self.queued + self.scheduled + self.running
    }
}

/// A change to a running pool. Omitted members stay unchanged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PoolPatch {
    /// Least number of agents.
    pub min: Option<u32>,
    /// Greatest number of agents.
    pub max: Option<u32>,
    /// Whether decisions are applied.
    pub mode: Option<Mode>,
}

impl PoolPatch {
    /// Returns the change with bounds of at most `ceiling`. It comes from a store or another node, which may have a
    /// different configuration.
    pub(crate) fn clamped(self, ceiling: u32, pool: &PoolName) -> Self {
        let clamped =
            Self { min: self.min.map(|min| min.min(ceiling)), max: self.max.map(|max| max.min(ceiling)), ..self };
        if clamped != self {
            tracing::warn!(
                %pool,
                min = ?self.min,
                max = ?self.max,
                ceiling,
                "the cluster-wide bounds of the pool exceed this node's configuration and are reduced to its ceiling; raise \
                 patch_max, or set lower bounds"
            );
        }
        clamped
    }
}

/// The result of a submission.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The accepted task, or the current state of the task that was accepted before.
    pub task: Task,
    /// False if the same submission was accepted before.
    pub created: bool,
}

/// A context.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContextStatus {
    /// Its id.
    pub id: ContextId,
    /// The tenant that it belongs to; omitted if that is `default`.
    #[serde(skip_serializing_if = "TenantName::is_default")]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub tenant: TenantName,
    /// The pool whose tasks use it.
    pub pool: PoolName,
    /// The number of its commits.
    pub version: u64,
    /// Size, in bytes.
    pub size_bytes: u64,
    /// Number of items.
    pub items: u64,
    /// Bytes of its chain in the store.
    pub stored_bytes: u64,
    /// Bytes of the shared objects that its chain refers to.
    pub shared_bytes: u64,
    /// Frames of its chain.
    pub frames: u64,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Agents where it is resident in its newest version.
    pub warm_on: Vec<AgentId>,
}

/// The placement of a task.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlacementStatus {
    /// The task.
    pub task: TaskId,
    /// Its pool.
    pub pool: PoolName,
    /// Its state.
    pub state: TaskState,
    /// The schedule that submitted it.
    pub schedule: Option<ScheduleName>,
    /// The agent that runs the task, or ran it last.
    pub agent: Option<AgentId>,
    /// The node of this agent.
    pub node: Option<NodeId>,
    /// What the choice was based on. Absent for a task without a context, for a waiting task, and for a placement that
    /// was on another node or too long ago.
    pub placement: Option<PlacementRecord>,
    /// The reason, in a sentence.
    pub why: String,
}

/// A page of contexts.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ContextPage {
    /// In the order of pool and id.
    pub contexts: Vec<ContextStatus>,
    /// Whether more contexts follow.
    pub more: bool,
}

/// A node that shares the store.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeStatus {
    /// Its id.
    pub id: NodeId,
    /// The version of the program.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// Whether it is the leader.
    pub leads: bool,
    /// Whether it is the node that answers.
    pub this: bool,
    /// Its agents, by pool.
    pub pools: BTreeMap<PoolName, AgentCounts>,
}

/// Whether a node accepts traffic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Readiness {
    /// Whether it can.
    pub ready: bool,
    /// Why it cannot.
    pub reasons: Vec<String>,
    /// What an operator should check, although the node accepts traffic.
    pub warnings: Vec<String>,
    /// The kind of the store.
    pub store: &'static str,
}

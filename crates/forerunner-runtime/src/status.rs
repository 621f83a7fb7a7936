//! How things stand: what a handle answers about tasks, agents, pools and decisions.

mod history;

use std::collections::BTreeMap;

use forerunner_core::{
    AgentCounts, AgentId, AgentState, ContextId, NodeId, PoolName, Task, TaskId, TaskState, Timestamp,
    placement::PlacementRecord,
};
use forerunner_forecast::{Decision, Forecast, Objective};
use forerunner_store::TaskCounts;
use serde::{Deserialize, Serialize, Serializer};

pub use forerunner_core::{TaskEvent, TaskEventKind};
pub use forerunner_forecast::Cause;

pub use self::history::{HistoryPoint, PoolHistory, Recent, SizeChange, WaitSummary};

/// One agent instance.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentStatus {
    /// Its id.
    pub id: AgentId,
    /// Its pool.
    pub pool: PoolName,
    /// Where it stands.
    pub state: AgentState,
    /// The task it runs.
    pub task: Option<TaskId>,
    /// The context it holds warm.
    pub context: Option<ContextId>,
    /// Size of that context, in bytes.
    pub context_bytes: u64,
    /// All contexts that it holds and their versions, the one used last at the end; in JSON how many they are.
    #[serde(rename = "contexts_held", serialize_with = "as_count")]
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub holds: Vec<(ContextId, u64)>,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// When it last finished a task, or became ready.
    pub last_used: Option<Timestamp>,
    /// Seconds from being asked for to being ready; absent while starting.
    pub cold_start_s: Option<f64>,
    /// Tasks it has finished.
    pub tasks: u64,
    /// Its process id, if it has a process of its own.
    pub pid: Option<u32>,
}

/// An agent may hold hundreds of contexts, and a pool have hundreds of agents.
fn as_count<S: Serializer>(list: &[(ContextId, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(list.len() as u64)
}

/// Whether a pool gives out work.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PoolState {
    /// It does.
    Running,
    /// It was paused: tasks wait, agents stay warm.
    Paused,
    /// Agents failed too often: none is started until the time given.
    CircuitOpen {
        /// When the next agent is tried.
        until: Timestamp,
        /// Why the last one failed.
        reason: String,
    },
}

/// Whether decisions are carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Decisions are carried out.
    #[default]
    Act,
    /// Decisions are only kept and shown.
    Advise,
}

/// How a pool stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolStatus {
    /// Its name.
    pub name: PoolName,
    /// What its agents are: `rust`, `process`, `simulated`.
    pub kind: &'static str,
    /// Whether it gives out work.
    #[serde(flatten)]
    pub state: PoolState,
    /// Fewest agents.
    pub min: u32,
    /// Most agents.
    pub max: u32,
    /// Agents wanted now.
    pub desired: u32,
    /// The policy that decides.
    pub policy: &'static str,
    /// Whether its decisions are carried out.
    pub mode: Mode,
    /// What the operator asks for.
    pub objective: Objective,
    /// Agents by state.
    pub agents: AgentCounts,
    /// Busy share of the warm agents, 0 to 1.
    pub utilisation: f64,
    /// Tasks that an agent could take now.
    pub depth: u64,
    /// Tasks that wait: claimable, delayed, or behind another of their context.
    pub waiting: u64,
    /// Tasks that run.
    pub running: u64,
    /// The most tasks that may wait.
    pub queue_limit: u64,
    /// Bytes of the inputs of tasks that have not ended.
    pub input_bytes: u64,
    /// The most that they may be.
    pub input_limit_bytes: u64,
    /// Bytes that the contexts of the pool take in the store, as measured last.
    pub context_bytes: u64,
    /// From how many on none begins.
    pub context_limit_bytes: u64,
    /// Seconds that an idle agent that is not needed waits to be taken back.
    pub cooldown_s: f64,
    /// Median and 90th percentile of recent cold starts, in seconds.
    pub cold_start_s: Option<ColdStart>,
    /// Share of tasks that started on time since the node started; absent before the first.
    pub on_time_share: Option<f64>,
    /// How it went just now.
    pub recent: Recent,
    /// Tasks that ended since the node started.
    pub finished: u64,
    /// Agents asked for, and agents stopped, by decisions since the node started.
    pub scale_ups: u64,
    /// Agents stopped by decisions since the node started.
    pub scale_downs: u64,
    /// Seconds of agents' lives so far, summed: what the pool has cost.
    pub agent_seconds: f64,
    /// The newest decision.
    pub decision: Option<DecisionRecord>,
}

/// Recent cold starts, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ColdStart {
    /// Median.
    pub p50: f64,
    /// 90th percentile: what the forecast looks ahead by.
    pub p90: f64,
}

/// What a decision was made from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Inputs {
    /// Tasks that became due since the decision before.
    pub arrivals: u64,
    /// Tasks that left an agent since then.
    pub completions: u64,
    /// Mean seconds on an agent of those.
    pub mean_service_s: Option<f64>,
    /// Mean context size of those, in tokens (4 bytes each).
    pub mean_context_tokens: Option<f64>,
    /// Tasks waiting for an agent.
    pub depth: u32,
    /// Agents by state.
    pub agents: AgentCounts,
    /// Cold start it looked ahead by, in seconds.
    pub cold_start_s: f64,
}

/// A decision, kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DecisionRecord {
    /// Counts the pool's decisions from 1.
    pub seq: u64,
    /// When it was made.
    pub at: Timestamp,
    /// What made it due.
    pub cause: Cause,
    /// What it was made from.
    pub inputs: Inputs,
    /// Agents wanted before.
    pub before: u32,
    /// The decision.
    #[serde(flatten)]
    pub decision: Decision,
    /// Whether it is carried out.
    pub mode: Mode,
}

/// What a pool expects.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForecastStatus {
    /// When it was made.
    pub at: Timestamp,
    /// The policy that made it.
    pub policy: &'static str,
    /// The newest forecast, for policies that forecast.
    pub forecast: Option<Forecast>,
    /// The recent past: what was, and what had been expected.
    pub history: Vec<ForecastPoint>,
}

/// One moment of a pool's recent past.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForecastPoint {
    /// When.
    pub at: Timestamp,
    /// Arrivals per second, averaged since the point before.
    pub rate_per_s: f64,
    /// Expected arrivals per second at the horizon.
    pub expected_per_s: f64,
    /// Lower edge of the band.
    pub low_per_s: f64,
    /// Upper edge of the band.
    pub high_per_s: f64,
    /// Tasks waiting.
    pub depth: u32,
    /// Agents wanted.
    pub desired: u32,
    /// Agents warm and idle.
    pub ready: u32,
    /// Agents running a task.
    pub busy: u32,
    /// Agents warming up.
    pub starting: u32,
}

/// A pool that has unfinished tasks and is in the configuration of no node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnconfiguredPool {
    /// Its name.
    pub name: PoolName,
    /// Always false: the pool is apart from those that are configured.
    pub configured: bool,
    /// Tasks that wait for an agent.
    pub queued: u64,
    /// Tasks that wait for their time.
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

    /// Returns how many of its tasks have not ended.
    pub const fn unfinished(&self) -> u64 {
        self.queued + self.scheduled + self.running
    }
}

/// A change to a running pool. What is left out stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PoolPatch {
    /// Fewest agents.
    pub min: Option<u32>,
    /// Most agents.
    pub max: Option<u32>,
    /// Whether decisions are carried out.
    pub mode: Option<Mode>,
}

impl PoolPatch {
    /// The same with bounds that are no higher than `ceiling`: it comes from a store, or a node, that does not know this
    /// node's configuration.
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

/// What became of a submission.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The task as accepted, or as it stands if it was known.
    pub task: Task,
    /// False if the same submission had been accepted before.
    pub created: bool,
}

/// A context.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContextStatus {
    /// Its id.
    pub id: ContextId,
    /// The pool whose tasks use it.
    pub pool: PoolName,
    /// Counts its commits.
    pub version: u64,
    /// Size, in bytes.
    pub size_bytes: u64,
    /// Number of items.
    pub items: u64,
    /// Bytes of its chain in the store.
    pub stored_bytes: u64,
    /// Bytes of what its chain names and shares with other contexts.
    pub shared_bytes: u64,
    /// Frames of its chain.
    pub frames: u64,
    /// When it was last committed.
    pub updated_at: Timestamp,
    /// Agents that hold it warm.
    pub warm_on: Vec<AgentId>,
}

/// Why a task went where it went.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlacementStatus {
    /// The task.
    pub task: TaskId,
    /// Its pool.
    pub pool: PoolName,
    /// Its state.
    pub state: TaskState,
    /// The agent that runs it, or ran it last.
    pub agent: Option<AgentId>,
    /// The node that has this agent.
    pub node: Option<NodeId>,
    /// What was weighed; absent for a task without a context, one that waits, and one that another node placed or that was
    /// placed too long ago.
    pub placement: Option<PlacementRecord>,
    /// In a sentence.
    pub why: String,
}

/// A page of contexts.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ContextPage {
    /// By pool and id.
    pub contexts: Vec<ContextStatus>,
    /// Whether others follow.
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
    /// It plans for all.
    pub leads: bool,
    /// It is the node that was asked.
    pub this: bool,
    /// Its agents, by pool.
    pub pools: BTreeMap<PoolName, AgentCounts>,
}

/// Whether a node can take traffic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Readiness {
    /// It can.
    pub ready: bool,
    /// Why it cannot.
    pub reasons: Vec<String>,
    /// What somebody should look at, although the node takes traffic.
    pub warnings: Vec<String>,
    /// The store's kind.
    pub store: &'static str,
}

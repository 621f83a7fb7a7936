//! Tasks: what was submitted, their state, and how they ended.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    AgentId, ContextCost, ContextId, Error, IdempotencyKey, LeaseEpoch, Next, NodeId, Payload, PoolName, RetryPolicy,
    TaskId, Timestamp,
};

/// The urgency of a task: 0 (last) to 9 (first), by default 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Priority(u8);

impl Priority {
    /// The most urgent priority.
    pub const MAX: Self = Self(9);

    /// Checks and wraps a priority.
    ///
    /// # Errors
    /// [`Error::Priority`] above 9.
    pub fn new(value: u64) -> Result<Self, Error> {
        match u8::try_from(value) {
            Ok(level) if level <= Self::MAX.0 => Ok(Self(level)),
            _ => Err(Error::Priority { value }),
        }
    }

    /// Returns the number, 0 to 9.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(4)
    }
}

impl TryFrom<u64> for Priority {
    type Error = Error;

    fn try_from(value: u64) -> Result<Self, Error> {
        Self::new(value)
    }
}

impl From<Priority> for u64 {
    fn from(priority: Priority) -> Self {
        u64::from(priority.0)
    }
}

/// The state of a task.
///
/// ```text
/// scheduled ──due──▶ queued ──leased──▶ running ──▶ succeeded
///     ▲                 │                  │  ├────▶ failed      (not worth a retry)
///     └──── backoff ────┼──────────────────┤  └────▶ dead        (attempts or crashes spent)
///                       ▼                  ▼
///               cancelled, expired ◀───────┘
/// ```
///
/// From every state a task becomes `damaged` when the store can no longer read its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(description = "The state of a task."))]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for its `run_at`: a delay that was asked for, or the backoff before a retry.
    Scheduled,
    /// Waits for an agent, or for the task of the same context ahead of it.
    Queued,
    /// Leased to an agent.
    Running,
    /// Ended with an output.
    Succeeded,
    /// Ended with an error that a retry would not cure.
    Failed,
    /// Ended by request.
    Cancelled,
    /// Passed its deadline.
    Expired,
    /// Ran out of attempts, or crashed its agent too often. Can be retried by hand.
    Dead,
    /// Set aside, because its row in the store cannot be read. Can be redriven once the row is repaired.
    Damaged,
}

impl TaskState {
    /// All states, in the order of a task's life.
    pub const ALL: [Self; 9] = [
        Self::Scheduled,
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Dead,
        Self::Damaged,
    ];

    /// Returns the name used in JSON, metrics and stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Dead => "dead",
            Self::Damaged => "damaged",
        }
    }

    /// Returns whether nothing more happens by itself.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Scheduled | Self::Queued | Self::Running)
    }

    /// Returns whether a task may be sent back to the queue by hand.
    pub const fn can_be_retried(self) -> bool {
        matches!(self, Self::Failed | Self::Dead | Self::Cancelled | Self::Expired | Self::Damaged)
    }

    /// Returns whether a task may change from this state to `next`. A retry by hand is the only way out of an end,
    /// except for `damaged`: there the row returns to its earlier state, or the task is cancelled.
    pub const fn can_become(self, next: Self) -> bool {
        use TaskState::{Cancelled, Damaged, Dead, Expired, Failed, Queued, Running, Scheduled, Succeeded};
        if matches!(next, Damaged) {
            return !matches!(self, Damaged);
        }
        matches!(
            (self, next),
            (Scheduled, Queued | Cancelled | Expired)
                | (Queued, Running | Cancelled | Expired)
                | (Running, Scheduled | Queued | Succeeded | Failed | Cancelled | Expired | Dead)
                | (Failed | Dead | Cancelled | Expired, Queued)
                | (Damaged, Queued | Succeeded | Failed | Cancelled | Expired | Dead)
        )
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TaskState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| Error::State { value: text.to_owned() })
    }
}

/// Free key-value pairs that a listing can filter by.
pub type Labels = BTreeMap<String, String>;

/// What a submitter asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// The pool whose agents can do it.
    pub pool: PoolName,
    /// What the agent is given.
    pub input: Payload,
    /// The conversation it belongs to: tasks of one context run one at a time, in order.
    pub context: Option<ContextId>,
    /// How urgent it is.
    pub priority: Priority,
    /// Not before this time.
    pub run_at: Option<Timestamp>,
    /// Not after this time.
    pub deadline: Option<Timestamp>,
    /// Longest run of one attempt; by default the pool's limit.
    pub timeout: Option<Duration>,
    /// Attempts in all; by default the pool's limit.
    pub max_attempts: Option<u32>,
    /// Free pairs to filter by.
    pub labels: Labels,
    /// Makes the submission repeatable.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The task whose agent submits it, if it is one's child: it is one level deeper.
    pub parent: Option<TaskId>,
}

impl NewTask {
    /// A task with nothing but a pool and an input.
    pub fn new(pool: PoolName, input: Payload) -> Self {
        Self {
            pool,
            input,
            context: None,
            priority: Priority::default(),
            run_at: None,
            deadline: None,
            timeout: None,
            max_attempts: None,
            labels: Labels::new(),
            idempotency_key: None,
            parent: None,
        }
    }
}

/// Why an attempt ended without an output. The name is part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The agent answered with an error.
    AgentError,
    /// The agent's code panicked.
    AgentPanicked,
    /// The agent, or its process, went away during the attempt.
    AgentLost,
    /// The agent broke the protocol, or went over a bound.
    AgentProtocol,
    /// The attempt ran longer than its timeout.
    Timeout,
    /// The deadline passed.
    DeadlineExceeded,
    /// Someone asked for it to stop.
    Cancelled,
    /// The input does not fit the agent's type.
    InvalidInput,
    /// The output or the context is over its limit.
    TooLarge,
    /// The node went away during the attempt.
    NodeLost,
    /// The context could not be restored.
    ContextLost,
    /// The row of the task in the store cannot be read.
    Damaged,
}

impl ErrorKind {
    /// Returns the name used in JSON, metrics and stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentError => "agent_error",
            Self::AgentPanicked => "agent_panicked",
            Self::AgentLost => "agent_lost",
            Self::AgentProtocol => "agent_protocol",
            Self::Timeout => "timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Cancelled => "cancelled",
            Self::InvalidInput => "invalid_input",
            Self::TooLarge => "too_large",
            Self::NodeLost => "node_lost",
            Self::ContextLost => "context_lost",
            Self::Damaged => "damaged",
        }
    }

    /// Returns whether the attempt crashed the agent or its node: such a task is quarantined early. An agent that broke
    /// the protocol is stopped, so it counts too.
    pub const fn is_crash(self) -> bool {
        matches!(self, Self::AgentPanicked | Self::AgentLost | Self::AgentProtocol | Self::NodeLost)
    }

    /// Returns whether the attempt may have cost its agent: the agent crashed, or was stopped since it did not end in time.
    pub const fn costs_agent(self) -> bool {
        matches!(self, Self::AgentPanicked | Self::AgentLost | Self::AgentProtocol | Self::Timeout)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an attempt, or a task, ended without an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskError {
    /// The kind, for programs.
    pub kind: ErrorKind,
    /// What happened, for people.
    pub message: String,
    /// The last lines that the agent wrote to standard error. They are stored with the attempt, not with the error of
    /// the task.
    #[serde(skip)]
    pub log: Option<Box<str>>,
    /// Whether the agent says that what it depends on failed. It is for the pool, and not stored.
    #[serde(skip)]
    pub dependency: Option<DependencyFault>,
}

/// What an agent knows of a failure of what it depends on, such as a model provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DependencyFault {
    /// How long the dependency asks callers to wait, as in the header `Retry-After` of HTTP.
    pub retry_after: Option<Duration>,
}

impl TaskError {
    /// Builds an error.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), log: None, dependency: None }
    }

    /// Blames what the agent depends on.
    pub fn with_dependency(self, dependency: Option<DependencyFault>) -> Self {
        Self { dependency, ..self }
    }

    /// Adds the last lines that the agent wrote to standard error.
    pub fn with_log(self, log: Option<String>) -> Self {
        Self { log: log.map(String::into_boxed_str), ..self }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

/// A task as the store has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// The pool it waits in.
    pub pool: PoolName,
    /// Its state.
    pub state: TaskState,
    /// What the agent is given.
    pub input: Payload,
    /// The conversation it belongs to.
    pub context: Option<ContextId>,
    /// How urgent it is.
    pub priority: Priority,
    /// Version of its context when the newest attempt was leased; 0 for a new context, or none.
    pub context_version: u64,
    /// Which context of that name it was then: one that is deleted and begun anew has another number. 0 as above.
    pub context_born: u64,
    /// The cost of giving its agent the context, once an attempt with a context has ended.
    pub context_cost: Option<Box<ContextCost>>,
    /// When it was accepted.
    pub submitted_at: Timestamp,
    /// When it may run (again); `submitted_at` unless delayed.
    pub run_at: Timestamp,
    /// Not after this time.
    pub deadline: Option<Timestamp>,
    /// Longest run of one attempt.
    pub timeout: Duration,
    /// How often and how soon it is tried again.
    pub retry: RetryPolicy,
    /// Free pairs to filter by.
    pub labels: Labels,
    /// What makes its submission repeatable.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The task whose agent submitted it, if the submission named it.
    pub parent: Option<TaskId>,
    /// The number of tasks above it: 0 without a parent. The store sets it when it accepts the task.
    pub depth: u32,
    /// Attempts begun so far.
    pub attempt: u32,
    /// Attempts that crashed the agent or the node, or made the agent break the protocol.
    pub crashes: u32,
    /// The newest lease.
    pub epoch: LeaseEpoch,
    /// When the newest attempt began.
    pub started_at: Option<Timestamp>,
    /// When it reached a terminal state.
    pub finished_at: Option<Timestamp>,
    /// The agent of the newest attempt.
    pub agent: Option<AgentId>,
    /// The node of the newest attempt.
    pub node: Option<NodeId>,
    /// The result of a task that succeeded.
    pub output: Option<Payload>,
    /// Why the newest attempt ended without an output.
    pub error: Option<TaskError>,
}

impl Task {
    /// A task as accepted at `now`: `scheduled` if it is to wait, else `queued`, and not tried yet.
    ///
    /// `timeout` and `retry` are the pool's, for what the submission left open.
    pub fn accepted(id: TaskId, new: NewTask, now: Timestamp, timeout: Duration, retry: RetryPolicy) -> Self {
        let run_at = new.run_at.unwrap_or(now).max(now);
        Self {
            id,
            pool: new.pool,
            state: if run_at > now { TaskState::Scheduled } else { TaskState::Queued },
            input: new.input,
            context: new.context,
            priority: new.priority,
            context_version: 0,
            context_born: 0,
            context_cost: None,
            submitted_at: now,
            run_at,
            deadline: new.deadline,
            timeout: new.timeout.unwrap_or(timeout),
            retry: RetryPolicy { max_attempts: new.max_attempts.unwrap_or(retry.max_attempts).max(1), ..retry },
            labels: new.labels,
            idempotency_key: new.idempotency_key,
            parent: new.parent,
            depth: 0,
            attempt: 0,
            crashes: 0,
            epoch: LeaseEpoch::default(),
            started_at: None,
            finished_at: None,
            agent: None,
            node: None,
            output: None,
            error: None,
        }
    }

    /// Seconds from being due to the start of the newest attempt, if there was one.
    pub fn wait(&self) -> Option<Duration> {
        self.started_at.map(|started| started.since(self.run_at.max(self.submitted_at)))
    }

    /// Makes what [`crate::after_attempt`] decided true.
    pub fn apply(&mut self, next: &Next, now: Timestamp) {
        match next {
            Next::Finish { state, output, error } => {
                self.state = *state;
                self.output.clone_from(output);
                self.error.clone_from(error);
                self.finished_at = Some(now);
                self.crashes += u32::from(error.as_ref().is_some_and(|error| error.kind.is_crash()));
            }
            Next::Retry { run_at, error, crash, counts } => {
                self.state = if *run_at > now { TaskState::Scheduled } else { TaskState::Queued };
                self.run_at = *run_at;
                self.error = Some(error.clone());
                self.crashes += u32::from(*crash);
                self.attempt = self.attempt.saturating_sub(u32::from(!counts));
            }
            Next::Release => {
                self.state = TaskState::Queued;
                self.attempt = self.attempt.saturating_sub(1);
                self.started_at = None;
            }
        }
    }

    /// Returns whether an attempt may have crashed an agent, so that the next may crash another. The loss of a node
    /// proves nothing about the tasks that it ran.
    pub fn is_suspect(&self) -> bool {
        match self.error.as_ref().map(|error| error.kind) {
            Some(kind) if kind.costs_agent() => true,
            Some(ErrorKind::NodeLost) => self.crashes > 1,
            _ => self.crashes > 0,
        }
    }

    /// Returns whether one crash more ends it, after others.
    pub fn is_on_last_life(&self) -> bool {
        self.crashes > 0 && self.crashes + 1 >= self.retry.max_crashes
    }

    /// Returns whether `now` is past the deadline.
    pub fn is_past_deadline(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }
}

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// With an output.
    Succeeded(Payload),
    /// With an error that another attempt may cure.
    Failed(TaskError),
    /// With an error that no other attempt would cure.
    Rejected(TaskError),
    /// Stopped by request.
    Cancelled,
    /// Released untouched: the attempt does not count.
    Released,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_left_only_by_redriving() {
        for from in TaskState::ALL.into_iter().filter(|state| state.is_terminal()) {
            for to in TaskState::ALL {
                let is_mended = from == TaskState::Damaged && to.is_terminal();
                let allowed =
                    (from.can_be_retried() && to == TaskState::Queued) || to == TaskState::Damaged || is_mended;
                let allowed = allowed && (from, to) != (TaskState::Damaged, TaskState::Damaged);
                assert_eq!(from.can_become(to), allowed, "{from} to {to}");
            }
        }
    }

    #[test]
    fn names_survive_their_text_form() {
        for state in TaskState::ALL {
            assert_eq!(state.as_str().parse::<TaskState>().unwrap(), state);
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
        }
    }

    #[test]
    fn a_task_takes_what_its_submitter_left_open_from_the_pool() {
        let (now, id) = (Timestamp::from_micros(5), TaskId::from_parts(Timestamp::default(), 1));
        let new = NewTask::new(PoolName::new("p").unwrap(), Payload::null());
        let pool = (Duration::from_secs(60), RetryPolicy::default());
        let task = Task::accepted(id, new.clone(), now, pool.0, pool.1);
        assert_eq!((task.state, task.run_at, task.timeout, task.retry), (TaskState::Queued, now, pool.0, pool.1));
        let later = Timestamp::from_micros(9);
        let own = NewTask { run_at: Some(later), timeout: Some(Duration::from_secs(1)), max_attempts: Some(0), ..new };
        let task = Task::accepted(id, own, now, pool.0, pool.1);
        assert_eq!((task.state, task.run_at, task.submitted_at), (TaskState::Scheduled, later, now));
        assert_eq!((task.timeout, task.retry.max_attempts), (Duration::from_secs(1), 1));
    }

    #[test]
    fn a_task_is_suspect_once_it_may_have_cost_an_agent() {
        use ErrorKind::{AgentError, AgentLost, AgentPanicked, AgentProtocol, NodeLost, Timeout};
        let now = Timestamp::from_micros(5);
        let new = NewTask::new(PoolName::new("p").unwrap(), Payload::null());
        let fresh =
            Task::accepted(TaskId::from_parts(now, 1), new, now, Duration::from_secs(60), RetryPolicy::default());
        for (crashes, newest, suspect) in [
            (0, None, false),
            (0, Some(AgentError), false),
            (0, Some(Timeout), true),
            (1, Some(AgentLost), true),
            (1, Some(AgentPanicked), true),
            (1, Some(AgentProtocol), true),
            (1, Some(AgentError), true),
            (1, Some(NodeLost), false),
            (2, Some(NodeLost), true),
        ] {
            let error = newest.map(|kind| TaskError::new(kind, "no"));
            let task = Task { crashes, error, ..fresh.clone() };
            assert_eq!(task.is_suspect(), suspect, "{crashes} crashes, {newest:?}");
        }
    }

    #[test]
    fn payloads_are_not_nested_deeper_than_agents_can_read() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for (text, accepted) in [
            (nested(Payload::MAX_NESTING), true),
            (nested(Payload::MAX_NESTING + 1), false),
            (nested(100_000), false),
            (format!("{:?}", "[{".repeat(1_000)), true),
            (r#"["\"[[", {"]": []}]"#.to_owned(), true),
            (format!("[{}0]", "[],{},".repeat(1_000)), true),
        ] {
            let shown: String = text.chars().take(40).collect();
            assert_eq!(Payload::parse(&text).is_ok(), accepted, "parsed: {shown}");
            assert_eq!(serde_json::from_str::<Payload>(&text).is_ok(), accepted, "read: {shown}");
        }
    }

    #[test]
    fn priorities_end_at_nine() {
        assert_eq!(Priority::new(9).unwrap(), Priority::MAX);
        assert!(Priority::new(10).unwrap_err().to_string().contains("0 (last) to 9 (first)"));
    }
}

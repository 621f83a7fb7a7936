//! A task as the store has it.

use std::time::Duration;

use crate::{
    AgentId, ContextCost, ContextId, ErrorKind, IdempotencyKey, Labels, LeaseEpoch, NewTask, NodeId, Payload, PoolName,
    Priority, RetryPolicy, TaskError, TaskId, TaskReport, TaskSpec, TaskState, TenantName, Timestamp,
};

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
    /// When the turn before it in its context ended, as far as its claim knew. Not stored: what it waited for that is part of
    /// `context_cost` later.
    pub context_free_at: Option<Timestamp>,
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
    /// The tenant that it belongs to.
    pub tenant: TenantName,
    /// The other fields of its submission.
    pub spec: Option<Box<TaskSpec>>,
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
    /// What its agent asked: a JSON list, with the answers once there are some.
    pub requests: Option<Box<Payload>>,
    /// What its end adds to the result.
    pub report: Option<Box<TaskReport>>,
}

impl Task {
    /// A task as accepted at `now`: `scheduled` if it is to wait, else `queued`, and not tried yet.
    ///
    /// `timeout` and `retry` are the pool's, for what the submission left open.
    #[inline]
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
            context_free_at: None,
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
            tenant: new.tenant,
            spec: new.spec,
            attempt: 0,
            crashes: 0,
            epoch: LeaseEpoch::default(),
            started_at: None,
            finished_at: None,
            agent: None,
            node: None,
            output: None,
            error: None,
            requests: None,
            report: None,
        }
    }

    /// Seconds from being due to the start of the newest attempt, if there was one.
    pub fn wait(&self) -> Option<Duration> {
        self.started_at.map(|started| started.since(self.run_at.max(self.submitted_at)))
    }

    /// The part of [`wait`](Self::wait) in which it waited for the task before it in its context, as far as it is known:
    /// without a context there is none.
    pub fn wait_context(&self) -> Option<Duration> {
        let wait = self.wait()?;
        let due = self.run_at.max(self.submitted_at);
        let by_claim = self.context_free_at.map(|free_at| free_at.since(due));
        let stored = self.context_cost.as_ref().map(|cost| Duration::try_from_secs_f64(cost.wait_context_s));
        let part = by_claim.or(stored.map(Result::unwrap_or_default));
        part.or(self.context.is_none().then_some(Duration::ZERO)).map(|part| part.min(wait))
    }

    /// The part of [`wait`](Self::wait) in which it waited for an agent: from when it could start. Agents can help this one.
    pub fn wait_agent(&self) -> Option<Duration> {
        Some(self.wait()?.saturating_sub(self.wait_context().unwrap_or_default()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ContextCost;

    #[test]
    fn a_wait_is_divided_between_the_turn_before_and_the_agents() {
        let at = |seconds: i64| Timestamp::from_micros(1_700_000_000_000_000 + 1_000_000 * seconds);
        let new = NewTask::new(PoolName::new("p").unwrap(), Payload::null());
        let id = TaskId::from_parts(at(0), 1);
        let fresh = Task::accepted(id, new, at(0), Duration::from_secs(60), RetryPolicy::default());
        let began = Task { started_at: Some(at(10)), ..fresh.clone() };
        let context = Some(ContextId::new("c").unwrap());
        let cost = |wait_context_s| Some(Box::new(ContextCost { wait_context_s, ..ContextCost::default() }));
        let parts = |task: &Task| [task.wait_context(), task.wait_agent()].map(|part| part.map(|part| part.as_secs()));
        for (free_at, cost, expected) in [
            (None, None, [None, Some(10)]),
            (Some(at(7)), None, [Some(7), Some(3)]),
            (Some(at(-5)), None, [Some(0), Some(10)]),
            (Some(at(99)), None, [Some(10), Some(0)]),
            (None, cost(4.0), [Some(4), Some(6)]),
            (None, cost(f64::NAN), [Some(0), Some(10)]),
        ] {
            let task = Task { context: context.clone(), context_free_at: free_at, context_cost: cost, ..began.clone() };
            assert_eq!(parts(&task), expected, "{free_at:?}");
        }
        assert_eq!(parts(&began), [Some(0), Some(10)], "without a context there is nothing to wait for");
        assert_eq!(parts(&fresh), [None, None]);
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
}

//! What a submitter asks for.

use std::{collections::BTreeMap, time::Duration};

use crate::{ContextId, IdempotencyKey, Payload, PoolName, Priority, TaskId, TaskSpec, TenantName, Timestamp};

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
    /// The tenant that it belongs to.
    pub tenant: TenantName,
    /// The other fields of the submission.
    pub spec: Option<Box<TaskSpec>>,
}

impl NewTask {
    /// A task with nothing but a pool and an input.
    #[inline]
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
            tenant: TenantName::default(),
            spec: None,
        }
    }

    /// Makes the task a part of a trace, if there is one.
    #[must_use]
    pub fn traced(mut self, traceparent: Option<String>) -> Self {
        if traceparent.is_some() {
            self.spec.get_or_insert_default().traceparent = traceparent;
        }
        self
    }
}

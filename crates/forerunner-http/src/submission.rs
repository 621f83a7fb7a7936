//! Shapes of tasks that are submitted, alone and in batches.

use std::time::Duration;

use forerunner_core::{ContextId, IdempotencyKey, Labels, NewTask, Payload, PoolName, Priority, TaskId, Timestamp};
use forerunner_service::TaskChange;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{error::Problem, fields, problems, schema::DurationText};

/// The fields of a submitted task, alone and in a batch. serde cannot detect unknown fields in a flattened struct, so
/// the macro repeats the fields.
macro_rules! task_body {
    ($(#[$doc:meta])* $name:ident { $($(#[$of_more:meta])* $more:ident: $kind:ty,)* }) => {
        #[derive(Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        $(#[$doc])*
        pub(crate) struct $name {
            /// Any JSON value, handed to the agent as it is.
            #[serde(deserialize_with = "fields::input")]
            input: Payload,
            /// The conversation it belongs to; its tasks run one at a time, in order.
            context: Option<ContextId>,
            /// The priority; 4 by default.
            #[serde(default, deserialize_with = "fields::or_default")]
            priority: Priority,
            /// Not before this time.
            run_at: Option<Timestamp>,
            /// Not after this time; then the task is `expired`.
            deadline: Option<Timestamp>,
            /// Longest run of one attempt, at most 365 days; by default the pool's `task.timeout`.
            #[serde(default, deserialize_with = "fields::timeout")]
            #[schema(value_type = Option<DurationText>)]
            timeout: Option<Duration>,
            /// Most attempts; by default the pool's `task.max_attempts`.
            #[serde(default, deserialize_with = "fields::max_attempts")]
            #[schema(minimum = 1)]
            max_attempts: Option<u32>,
            /// Pairs of text to filter by: 64 at most, names and values of 256 bytes at most.
            #[serde(default, deserialize_with = "fields::labels")]
            #[schema(value_type = std::collections::BTreeMap<String, String>)]
            labels: Labels,
            /// The task whose agent submits this one. The child is one level deeper, and rejected beyond
            /// `node.max_depth`.
            parent: Option<TaskId>,
            $($(#[$of_more])* $more: $kind,)*
        }

        impl $name {
            fn task(self, pool: PoolName, idempotency_key: Option<IdempotencyKey>) -> NewTask {
                NewTask {
                    context: self.context,
                    priority: self.priority,
                    run_at: self.run_at,
                    deadline: self.deadline,
                    timeout: self.timeout,
                    max_attempts: self.max_attempts,
                    labels: self.labels,
                    idempotency_key,
                    parent: self.parent,
                    ..NewTask::new(pool, self.input)
                }
            }
        }
    };
}

task_body! {
    /// A task to submit.
    // The input is checked but not built up.
    #[schema(as = Submission)]
    TaskBody {}
}

task_body! {
    /// A task to submit in a batch.
    #[schema(as = BatchSubmission)]
    BatchTask {
        /// Makes the task repeatable: unique within the pool.
        idempotency_key: Option<IdempotencyKey>,
    }
}

/// The answer to what an agent asked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Answer)]
pub(crate) struct AnswerBody {
    /// The id of the question, from `requests` of the task.
    pub(crate) request: String,
    /// The answer: the id or the kind of an option, `allow` or `reject`; any JSON value if the question has no options.
    #[serde(deserialize_with = "fields::input")]
    pub(crate) answer: Payload,
}

/// A change of a waiting task. Omitted members stay unchanged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TaskPatch {
    /// How urgent it is.
    priority: Option<Priority>,
    /// Not before this time. `now`, or a past time, makes it due at once.
    #[schema(value_type = Option<String>)]
    run_at: Option<String>,
    /// Another pool of this node that the task is to wait in; changed alone.
    pool: Option<PoolName>,
}

/// What is to change of a task.
pub(crate) enum Change {
    /// How it waits.
    Wait(TaskChange),
    /// Where.
    Pool(PoolName),
}

impl TaskPatch {
    /// Builds the runtime's form.
    pub(crate) fn into_change(self, now: Timestamp) -> Result<Change, Problem> {
        if let Some(pool) = self.pool {
            if self.priority.is_none() && self.run_at.is_none() {
                return Ok(Change::Pool(pool));
            }
            let detail = "`pool` is changed alone; send priority and run_at in another call";
            return Err(Problem::new(problems::INVALID_VALUE, detail));
        }
        let run_at = match self.run_at.as_deref() {
            Some("now") => Some(now),
            Some(text) => Some(text.parse()?),
            None => None,
        };
        if self.priority.is_none() && run_at.is_none() {
            let detail = "nothing to change; send priority, run_at, or both, or send pool";
            return Err(Problem::new(problems::INVALID_VALUE, detail));
        }
        Ok(Change::Wait(TaskChange { priority: self.priority, run_at }))
    }
}

impl TaskBody {
    /// Builds the runtime's form.
    pub(crate) fn into_task(self, pool: PoolName, idempotency_key: Option<IdempotencyKey>) -> NewTask {
        self.task(pool, idempotency_key)
    }
}

impl BatchTask {
    /// Builds the runtime's form.
    pub(crate) fn into_task(mut self, pool: PoolName) -> NewTask {
        let key = self.idempotency_key.take();
        self.task(pool, key)
    }
}

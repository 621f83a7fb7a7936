//! What a call can be refused for: the one table behind the answers of every front.

/// What a caller is to make of a problem. Each front maps it to its own codes, in one place.
///
/// Exhaustive on purpose: a front that does not map a new class does not compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The request is invalid, whatever the state of the node.
    Invalid,
    /// The caller has shown no valid key.
    Unauthenticated,
    /// The caller's key does not suffice.
    Forbidden,
    /// What it names does not exist.
    NotFound,
    /// The state of what it names does not allow it.
    Conflict,
    /// It exceeds a limit.
    TooLarge,
    /// It is well formed, and contradicts what the node has stored.
    FailedPrecondition,
    /// A queue, or another shared good, is at its limit. The same request may succeed later.
    Overloaded,
    /// The node failed.
    Internal,
    /// The node, or its store, accepts no requests at present.
    Unavailable,
}

impl ErrorClass {
    /// Returns whether the node, and not the request, is the reason.
    pub const fn is_of_the_node(self) -> bool {
        matches!(self, Self::Internal | Self::Unavailable)
    }
}

macro_rules! problem_kinds {
    ($($kind:ident $class:ident $name:literal $title:literal $remedy:literal;)*) => {
        /// A kind of problem. Its name is part of every API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ProblemKind {
            $(#[doc = concat!($title, ".")] $kind,)*
        }

        impl ProblemKind {
            /// Every kind, by class. The place of a kind is its number.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Returns what a caller is to make of it.
            pub const fn class(self) -> ErrorClass {
                match self { $(Self::$kind => ErrorClass::$class,)* }
            }

            /// Returns its name, for programs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// Returns its name, the same for each occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }

            /// Returns what to do about it.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$kind => $remedy,)* }
            }
        }
    };
}

problem_kinds! {
    InvalidValue Invalid "invalid-value" "A value is not acceptable"
        "Correct the value as the detail says.";
    InvalidQuery Invalid "invalid-query" "The query string does not fit the call"
        "Correct the parameter named; use cursors of `next` unchanged.";
    Unauthenticated Unauthenticated "unauthenticated" "The call needs a valid key"
        "Send a valid key as `Authorization: Bearer KEY`; the detail says what is wrong with the one sent.";
    Forbidden Forbidden "forbidden" "The key may not do this"
        "Use a key that has what `needs` names, or ask for one.";
    NoPool NotFound "no-pool" "There is no such pool"
        "Use one of the pools listed at `/v1/pools`.";
    NoTask NotFound "no-task" "There is no such task"
        "Check the id; ended tasks are removed after their retention.";
    NoContext NotFound "no-context" "There is no such context"
        "Check the id and the pool; a context exists once a task of it has succeeded and added to it.";
    NoDecision NotFound "no-decision" "There is no such decision"
        "List the decisions of the pool; the node stores only recent ones.";
    NoSchedule NotFound "no-schedule" "There is no such schedule"
        "Use one of the schedules listed at `/v1/schedules`.";
    NoApiKey NotFound "no-api-key" "There is no such key"
        "Use one of the keys listed at `/v1/keys`.";
    WrongState Conflict "wrong-state" "The state of the task does not allow it"
        "Read the task and decide again.";
    NotMovable Conflict "not-movable" "The task cannot go to that pool"
        "Leave it in its pool, or follow the detail.";
    NoHistory Conflict "no-history" "The pool has no history to replay"
        "Ask again once tasks of the pool have run.";
    NotLearnable Conflict "not-learnable" "The pool cannot learn from that"
        "Follow the detail.";
    ContextInUse Conflict "context-in-use" "A task of the context has not ended"
        "Wait for the task named in `task`, or cancel it.";
    ScheduleConflict Conflict "schedule-conflict" "The schedule is there already, or was changed meanwhile"
        "Read the schedule named in `schedule` and decide again.";
    ApiKeyConflict Conflict "api-key-conflict" "The key is there already, or its state does not allow it"
        "List the keys and decide again.";
    PayloadTooLarge TooLarge "payload-too-large" "The body, or the input in it, is over its limit"
        "Send less than `limit` bytes, or raise the limit.";
    BatchTooLarge TooLarge "batch-too-large" "The batch has too many tasks"
        "Send at most `limit` tasks at once.";
    KeyReused FailedPrecondition "idempotency-key-reused" "The idempotency key was used for another task"
        "Use a new key for a new task; the task that has it is named in `task`.";
    NoParent FailedPrecondition "no-parent" "The parent of the task does not exist"
        "Name a task that has not been removed, or leave `parent` out.";
    TooDeep FailedPrecondition "too-deep" "The task has too many ancestors"
        "End the chain of tasks that submit tasks, or raise `node.max_depth`.";
    SchedulesFull FailedPrecondition "schedules-full" "There are as many schedules as there may be"
        "Delete schedules that are over, or raise `node.max_schedules`.";
    ApiKeysFull FailedPrecondition "api-keys-full" "There are as many keys as there may be"
        "Revoke keys that nobody uses; a node removes them 30 days later.";
    QueueFull Overloaded "queue-full" "The queue of the pool is at its limit"
        "Try again after `Retry-After`, or raise `queue.limit`.";
    BytesFull Overloaded "queue-bytes-full" "The inputs of the pool's unfinished tasks are at their limit"
        "Try again after `Retry-After`, send smaller inputs, or raise `queue.limit_bytes`.";
    ContextsFull Overloaded "contexts-full" "The contexts of the pool are at their limit, and this one would be new"
        "Continue a context that exists, or ask the operator to delete contexts, set `node.context_retention` or \
         raise `contexts.limit_bytes`.";
    TenantLimit Overloaded "tenant-limit" "The tenant, or the key, is at one of its limits"
        "Try again after `Retry-After`, or ask the operator to raise the limit that `limited` names.";
    Busy Overloaded "busy" "The node runs this call for another client"
        "Try again after `Retry-After`.";
    Internal Internal "internal" "The node failed"
        "Read the log of the node; the same call will probably fail again.";
    OutcomeUnknown Internal "outcome-unknown" "Whether the call took effect is unknown"
        "Read the task or the list before you repeat it; a submission with an idempotency key can be repeated safely.";
    NotReady Unavailable "not-ready" "The node accepts no traffic"
        "Send it to another node; `reasons` says why.";
    NoRoom Unavailable "overloaded" "The node has no room for another request"
        "Try again after `Retry-After`, or raise the limit named.";
    ShuttingDown Unavailable "shutting-down" "The node is shutting down"
        "Send the task to another node, or try again after `Retry-After`.";
    StoreUnavailable Unavailable "store-unavailable" "The store cannot read or write at the moment"
        "Try again after `Retry-After`.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_has_a_name_of_its_own_and_is_found_by_its_number() {
        let names: BTreeSet<_> = ProblemKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), ProblemKind::ALL.len());
        for (index, kind) in ProblemKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index, "{}", kind.name());
        }
    }

    #[test]
    fn only_failures_of_the_node_are_its_own_fault() {
        let own = ProblemKind::ALL.iter().filter(|kind| kind.class().is_of_the_node());
        let names: Vec<_> = own.map(|kind| kind.name()).collect();
        let expected = ["internal", "outcome-unknown", "not-ready", "overloaded", "shutting-down", "store-unavailable"];
        assert_eq!(names, expected);
    }
}

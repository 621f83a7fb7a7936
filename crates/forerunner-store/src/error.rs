//! What can go wrong in a store.

use forerunner_core::{ContextId, IdempotencyKey, LeaseEpoch, PoolName, TaskId, TaskState};

/// A store could not do what it was asked to.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot write or read just now.
    #[error("the {store} store is not available: {reason}; retry later")]
    Unavailable {
        /// Which store.
        store: &'static str,
        /// The message of the engine.
        reason: String,
    },
    /// The connection broke during a commit: what was asked for may have been done, or not.
    #[error(
        "the {store} store failed during a commit: {reason}; the outcome is unknown, read the state before you repeat \
         the call"
    )]
    OutcomeUnknown {
        /// Which store.
        store: &'static str,
        /// The message of the engine.
        reason: String,
    },
    /// There is no space left.
    #[error("the {store} store is full: {reason}; free space, then the store recovers by itself")]
    Full {
        /// Which store.
        store: &'static str,
        /// The message of the engine.
        reason: String,
    },
    /// The data was written by a newer version.
    #[error(
        "the store at {place} has schema version {found}, this program knows up to {known}; run a newer forerunner, nothing was changed"
    )]
    NewerSchema {
        /// Where the store is.
        place: String,
        /// The version found.
        found: i64,
        /// The newest version known.
        known: i64,
    },
    /// Nodes of an earlier version use the store, which this program is to migrate.
    #[error(
        "the store at {place} is in use by nodes of an earlier version ({nodes}); stop them and start this node again (one that was killed counts for 15 s), nothing was changed"
    )]
    OlderNodes {
        /// Where the store is.
        place: String,
        /// The ids of those nodes.
        nodes: String,
    },
    /// Another node has the store open.
    #[error("the store at {place} is in use by another process; stop it, or use another store for this node")]
    InUse {
        /// Where the store is.
        place: String,
    },
    /// There cannot be a store at this place.
    #[error(
        "cannot use {place} for a store: {reason}; name a file in a directory that exists and where this user may write"
    )]
    Place {
        /// Where the store was to be.
        place: String,
        /// The message of the system.
        reason: String,
    },
    /// The file has other names or is mounted alone, so that its log could be parted from it.
    #[error("cannot use {place} for a store: {reason}; nothing was changed")]
    Name {
        /// Where the store was to be.
        place: String,
        /// What is wrong with the name, and what to do.
        reason: String,
    },
    /// The data cannot be read back.
    #[error("the store at {place} is damaged: {reason}; restore a copy, nothing was changed")]
    Damaged {
        /// Where the store is.
        place: String,
        /// What was found.
        reason: String,
    },
    /// A row cannot be read; others can.
    #[error("a row of the {store} store cannot be read: {reason}; repair it, or remove what it belongs to")]
    Unreadable {
        /// Which store.
        store: &'static str,
        /// What could not be read.
        reason: String,
    },
    /// The address names no store that this build has.
    #[error("cannot open a `{scheme}` store: {reason}; use {forms}")]
    Address {
        /// The part before the colon. The rest is not shown, since it may contain a password.
        scheme: String,
        /// What is wrong with it.
        reason: String,
        /// What is accepted.
        forms: &'static str,
    },
    /// The database cannot store every text.
    #[error(
        "the database `{database}` has the encoding {encoding}, which cannot encode every text; create one with \
         ENCODING 'UTF8' and TEMPLATE template0"
    )]
    Encoding {
        /// Its name.
        database: String,
        /// Its encoding.
        encoding: String,
    },
    /// The store was closed.
    #[error("the {store} store is closed; start the node again")]
    Closed {
        /// Which store.
        store: &'static str,
    },
}

impl StoreError {
    /// Returns whether the same call may succeed later.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::OutcomeUnknown { .. } | Self::Full { .. })
    }
}

/// Why a task was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The idempotency key was used for something else.
    #[error("idempotency key `{key}` was used for task {task} with another body; use a new key for a new task")]
    KeyReused {
        /// The key.
        key: IdempotencyKey,
        /// The task that has it.
        task: TaskId,
    },
    /// The task would begin a context, and its pool has no room for another.
    #[error(
        "pool `{pool}` stores {stored_bytes} bytes of contexts, limit {limit_bytes}, so context `{context}` cannot begin; delete \
         contexts, set node.context_retention, or raise contexts.limit_bytes"
    )]
    ContextsFull {
        /// The pool.
        pool: PoolName,
        /// The context that would begin.
        context: ContextId,
        /// Bytes that are stored, as measured last.
        stored_bytes: u64,
        /// Most bytes.
        limit_bytes: u64,
    },
    /// The parent that the task names is not there.
    #[error("the parent {parent} does not exist; name a task that has not been removed, or leave `parent` out")]
    NoParent {
        /// The parent.
        parent: TaskId,
    },
    /// The task is too deep.
    #[error(
        "a child of task {parent} would have depth {depth}, limit {limit}; end the chain of tasks that submit tasks, or raise \
         node.max_depth"
    )]
    TooDeep {
        /// The parent.
        parent: TaskId,
        /// The depth that the task would have.
        depth: u32,
        /// The greatest depth.
        limit: u32,
    },
    /// The store cannot store a value of the task.
    #[error("the store cannot store the task: {reason}; change its input, labels, key or context")]
    Unstorable {
        /// The message of the engine.
        reason: String,
    },
}

/// A settle, or another call for a lease, came after the lease had ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the lease with epoch {} of task {task} has ended; stop working on it", epoch.0)]
pub struct LeaseLost {
    /// The task.
    pub task: TaskId,
    /// The epoch of the lease that has ended.
    pub epoch: LeaseEpoch,
}

/// A task or context that was asked for is not there, or not in a fitting state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateConflict {
    /// There is no such task.
    #[error("there is no task {task}; it may have been removed after its retention")]
    NoTask {
        /// The id asked for.
        task: TaskId,
    },
    /// The task's state does not allow it.
    #[error("task {task} is {state}, so it cannot be {wish}")]
    WrongState {
        /// The task.
        task: TaskId,
        /// Its state.
        state: TaskState,
        /// What was wished: `cancelled` or `retried`.
        wish: &'static str,
    },
    /// The task's row still cannot be read.
    #[error("task {task} cannot be read: {reason}; repair its row in the store, or cancel it")]
    Damaged {
        /// The task.
        task: TaskId,
        /// What could not be read.
        reason: String,
    },
    /// There is no such context.
    #[error("there is no context `{context}` in pool `{pool}`")]
    NoContext {
        /// The pool asked.
        pool: PoolName,
        /// The id asked for.
        context: ContextId,
    },
    /// A task of the context has not ended.
    #[error("context `{context}` is in use by task {task}; cancel it or wait for it first")]
    ContextInUse {
        /// The context.
        context: ContextId,
        /// A task of it that has not ended.
        task: TaskId,
    },
}

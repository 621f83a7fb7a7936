//! What can be noted of a run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One lease of a task as visible from outside: the attempt, and the agent.
///
/// Attempts count up. An attempt can have two agents when a claim was lost with its node before it was on disk. Of two
/// with the same number, the one that began later is the newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch {
    /// The number of the attempt, or of the lease where the store itself is watched.
    pub number: u64,
    /// The process id of the agent.
    pub holder: u64,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A client got the answer that its submission is this task.
    Acked {
        /// Its idempotency key.
        key: String,
        /// The task.
        task: String,
    },
    /// A submission ended without an answer: it may or may not have created a task.
    Unanswered {
        /// Its idempotency key, which the task has as the label `key`, if it has one.
        key: String,
    },
    /// An agent began to work, by its own file.
    Started {
        /// On which task.
        task: String,
        /// Under which lease.
        epoch: Epoch,
        /// On which node.
        node: String,
    },
    /// An agent had its effect, according to its own file.
    Effect {
        /// For which task.
        task: String,
        /// Under which lease.
        epoch: Epoch,
    },
    /// A task was seen to have ended.
    Ended {
        /// Which one.
        task: String,
        /// `succeeded`, `failed`, `cancelled`, `expired` or `dead`.
        state: String,
        /// When, by the store.
        at: String,
        /// The lease whose result was accepted, if there is a result.
        epoch: Option<Epoch>,
    },
    /// A task had not ended at the end of the run.
    Open {
        /// Which one.
        task: String,
        /// In which state it was.
        state: String,
    },
    /// A node and all its agents are dead; claims that were not on disk are lost.
    NodeDown {
        /// Which node.
        node: String,
    },
    /// Something that is bounded was counted.
    Counted {
        /// What: `running of pool work`, `running of tenant blue`.
        what: String,
        /// How many there were.
        count: u64,
        /// The most there may be.
        limit: u64,
    },
    /// Without changes, the metric of a queue's depth was compared with the rows of the store.
    Depth {
        /// Which pool.
        pool: String,
        /// The value of the metric.
        metric: u64,
        /// How many rows there were.
        rows: u64,
    },
    /// A process was still there after its node had ended.
    Orphan {
        /// Its id.
        pid: u32,
        /// Its command line.
        command: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

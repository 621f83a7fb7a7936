//! What can be noted of a run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One lease of a task, as it is known from outside: the attempt, and who had it.
///
/// Attempts count up. An attempt can have two holders when a claim died with its node before it was on disk; of two with
/// the same number, the one that began later is the newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch {
    /// The number of the attempt, or of the lease where the store itself is watched.
    pub number: u64,
    /// Who holds it: the process id of an agent.
    pub holder: u64,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A client was told that its submission is this task.
    Acked {
        /// Its idempotency key.
        key: String,
        /// The task.
        task: String,
    },
    /// A submission was given up without an answer: it made a task, or it did not.
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
    /// An agent did what it was asked to, by its own file.
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
        /// Whose result was accepted, if it has a result.
        epoch: Option<Epoch>,
    },
    /// When all was said to be over, a task had not ended.
    Open {
        /// Which one.
        task: String,
        /// In which state it was.
        state: String,
    },
    /// A node and all its agents are dead; what had been claimed and not written is forgotten.
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
    /// While nothing changed, the metric of a queue's depth was compared with the rows of the store.
    Depth {
        /// Which pool.
        pool: String,
        /// What the metric said.
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

//! Schedules as a store has them: texts that it passes on, under a revision.

use forerunner_core::ScheduleName;

use crate::{Refusal, Submission};

/// A schedule as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSchedule {
    /// Its name.
    pub name: ScheduleName,
    /// Differs after each change.
    pub revision: u64,
    /// What it is: JSON.
    pub definition: String,
    /// How far it is: JSON.
    pub state: String,
}

/// A change of one schedule, with the task that it submits, if it does: both are done, or neither.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleWrite {
    /// Which schedule.
    pub name: ScheduleName,
    /// The revision that is changed; `None` if there is to be no schedule of that name.
    pub expected: Option<u64>,
    /// What is to be stored. `None` removes the schedule.
    pub next: Option<NextRevision>,
    /// The task of an occurrence.
    pub task: Option<Submission>,
    /// Most schedules; a new one beyond that is refused.
    pub most: usize,
}

/// What is to be stored of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextRevision {
    /// Differs from all revisions that the schedule, or one of its name before it, had.
    pub revision: u64,
    /// What it is: JSON. `None` leaves it as it is.
    pub definition: Option<String>,
    /// How far it is: JSON.
    pub state: String,
}

/// Why a schedule was not changed. Then no task was submitted either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleConflict {
    /// Another one has the name.
    #[error("there is a schedule `{name}` already; change it, or use another name")]
    Exists {
        /// The name.
        name: ScheduleName,
    },
    /// There is no schedule of the name.
    #[error("there is no schedule `{name}`; `forerunner schedule list` shows those that there are")]
    NotFound {
        /// The name.
        name: ScheduleName,
    },
    /// Somebody else has changed it.
    #[error("schedule `{name}` was changed by somebody else; read it and try again")]
    Changed {
        /// The name.
        name: ScheduleName,
    },
    /// There are as many as there may be.
    #[error("there are {most} schedules, as many as there may be; delete some, or raise node.max_schedules")]
    Full {
        /// Most schedules.
        most: usize,
    },
    /// The task was not accepted.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

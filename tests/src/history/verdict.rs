//! What can be wrong with a history, and what one without a fault amounts to.

use std::{fmt, iter::Sum};

use super::Event;

/// A property of every run, whatever fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// I1: what was acknowledged has exactly one end.
    OneEnd,
    /// I2: at most one result of a task is accepted.
    OneResult,
    /// I3: the accepted result is that of the newest lease.
    NewestResult,
    /// I4: results of two leases of a task are never both accepted.
    OneLease,
    /// I5: no more run than the pool or the tenant may have.
    Bounds,
    /// I6: the depth that is shown is the number of rows.
    Depth,
    /// I7: no process outlives its node.
    Orphans,
    /// K: a key makes one task, and there is no task without a submission.
    Keys,
    /// R: no lease is worked on twice in one life of a node, and a result is that of a run that there was.
    Runs,
}

impl Invariant {
    /// Its short name, as the documentation has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneEnd => "I1",
            Self::OneResult => "I2",
            Self::NewestResult => "I3",
            Self::OneLease => "I4",
            Self::Bounds => "I5",
            Self::Depth => "I6",
            Self::Orphans => "I7",
            Self::Keys => "K",
            Self::Runs => "R",
        }
    }
}

/// A violated invariant, and the events that show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// What is wrong, in words.
    pub why: String,
    /// The events that show it, in their order.
    pub events: Vec<Event>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant.name(), self.why)?;
        self.events.iter().try_for_each(|event| write!(f, "\n    {event}"))
    }
}

/// What a history without a fault amounts to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tasks that were acknowledged.
    pub acknowledged: usize,
    /// Tasks that ended, those of unanswered submissions included.
    pub ended: usize,
    /// Those that succeeded.
    pub succeeded: usize,
    /// Those that are dead.
    pub dead: usize,
    /// Runs that agents began, those that died with their node or agent included.
    pub runs: usize,
    /// Runs of a lease that the store lost: its node died before the claim was written.
    pub forgotten: usize,
}

impl Sum for Counts {
    /// What several histories amount to.
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            acknowledged: sum.acknowledged + one.acknowledged,
            ended: sum.ended + one.ended,
            succeeded: sum.succeeded + one.succeeded,
            dead: sum.dead + one.dead,
            runs: sum.runs + one.runs,
            forgotten: sum.forgotten + one.forgotten,
        })
    }
}

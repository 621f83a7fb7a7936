//! What the writer has to know of a request before it runs it.

use forerunner_core::NodeId;

/// Where a request runs. Each lane has a connection of its own, if the node may have so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// What ends tasks, and all that may have to be done in the order of the calls.
    Ordered,
    /// What begins tasks.
    Begins,
    /// Requests that may take a while, or come from a timer.
    Clock,
}

impl Lane {
    pub const ALL: [Self; 3] = [Self::Ordered, Self::Begins, Self::Clock];
}

/// What kind of request it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Class {
    pub lane: Lane,
    /// It has to see what was begun before it was asked, in whichever lane.
    pub follows: bool,
    /// It changes nothing, so that it may be asked twice.
    pub only_reads: bool,
    /// A crash of the database server may lose it: a claim is then made again under an epoch that the clock makes
    /// greater, and nothing depends on the rest. Reads have nothing to lose.
    pub is_forgettable: bool,
    /// It finds its tasks one by one through an index, however few there seem to be.
    pub walks_an_index: bool,
    /// It may take so long that nothing should wait for the locks of its group: it reads past rows that a vacuum has
    /// left.
    pub is_long: bool,
    /// It is one statement as a rule, and no other of its group has to be over before.
    pub is_one_statement: bool,
    /// Whose lease it renews along with its own work.
    pub claims_for: Option<NodeId>,
}

impl Class {
    /// Changes something, after all that was asked before.
    pub const WRITE: Self = Self {
        lane: Lane::Ordered,
        follows: true,
        only_reads: false,
        is_forgettable: false,
        walks_an_index: false,
        is_long: false,
        is_one_statement: false,
        claims_for: None,
    };
    /// Reads, after all that was asked before.
    pub const READ: Self = Self::WRITE.reading();
    /// It comes from a timer, and waits for nothing.
    pub const CLOCK: Self = Self { lane: Lane::Clock, follows: false, ..Self::WRITE };
    /// Ends attempts.
    pub const SETTLE: Self = Self { follows: false, walks_an_index: true, ..Self::WRITE };
    /// Notes which agents run which tasks.
    pub const ASSIGN: Self = Self { is_forgettable: true, is_one_statement: true, ..Self::SETTLE };

    /// Claims the first tasks for a node.
    pub const fn claim(node: NodeId) -> Self {
        Self { lane: Lane::Begins, claims_for: Some(node), ..Self::ASSIGN }
    }

    pub const fn reading(self) -> Self {
        Self { only_reads: true, is_forgettable: true, ..self }
    }

    pub const fn forgettable(self) -> Self {
        Self { is_forgettable: true, ..self }
    }

    pub const fn walking(self) -> Self {
        Self { walks_an_index: true, ..self }
    }

    pub const fn long(self) -> Self {
        Self { is_long: true, follows: true, ..self }
    }
}

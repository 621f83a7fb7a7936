//! The cancellation of a running attempt by its agent's actor.

use std::{cell::Cell, rc::Rc, sync::Arc};

use tokio_util::sync::CancellationToken;

/// Why a running attempt is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CancelReason {
    /// A client cancelled the task.
    TaskCancelled,
    /// The agent, or its node, stops.
    AgentStops,
    /// Another node has the lease, or will have it.
    LeaseLost,
}

/// Cancels one attempt. Clones cancel the same attempt.
#[derive(Clone)]
pub(crate) struct CancelHandle {
    /// Shared: a clone of the token itself takes a lock.
    token: Arc<CancellationToken>,
    reason: Rc<Cell<Option<CancelReason>>>,
}

impl Default for CancelHandle {
    fn default() -> Self {
        Self { token: Arc::new(CancellationToken::new()), reason: Rc::new(Cell::new(None)) }
    }
}

impl CancelHandle {
    /// Asks the attempt to stop. The first reason is final.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        if self.reason.get().is_none() {
            self.reason.set(Some(reason));
        }
        self.token.cancel();
    }

    /// Asks the attempt to stop because its time is up. This sets no reason.
    pub(super) fn time_out(&self) {
        self.token.cancel();
    }

    /// Returns whether the attempt was asked to stop.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns the first reason from outside.
    pub(super) fn reason(&self) -> Option<CancelReason> {
        self.reason.get()
    }

    /// Resolves when the attempt is asked to stop.
    pub(super) async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Returns the token that the agent's own code observes.
    pub(super) const fn token(&self) -> &Arc<CancellationToken> {
        &self.token
    }
}

//! When a chain is compacted, that is, replaced by a fresh base: rent or buy.

use crate::{Frame, Snapshot};

/// What storing and fetching one frame costs besides its bytes, as bytes: a row, a round trip, a header.
pub const FRAME_OVERHEAD_BYTES: usize = 256;

/// A finished turn, about to be stored as a delta or as a fresh base.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// The turn as a delta on the chain's tip.
    pub delta: &'a Frame,
    /// The snapshot that it yields.
    pub next: &'a Snapshot,
    /// How often a chain of this pool is restored from the store, per turn: a moving average, 0 or more. A value that
    /// is negative or not finite counts as 0; the hard caps apply anyway.
    pub restores_per_turn: f64,
    /// Estimated size in bytes of a full frame of `next`. Encode one now and then: the ratio to the snapshot's size
    /// improves as a context grows, so scaling an old base's size misleads.
    pub fresh_base_bytes: usize,
}

/// Why a chain should be compacted. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum CompactionReason {
    /// One more frame would be over the limit.
    Length {
        /// Frames, this turn's included.
        frames: usize,
        /// The limit.
        limit: usize,
    },
    /// What the frames unpack to would be over the limit.
    RestoredSize {
        /// Bytes, this turn's included.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// More than half of what the frames unpack to is no longer in the context, and more than 256 KiB.
    DeadBytes {
        /// Bytes that a restore unpacks and drops.
        dead: usize,
        /// Bytes that a restore unpacks.
        decoded: usize,
    },
    /// Reading the long chain has cost about as much as a fresh base would.
    Debt {
        /// What reading it has cost beyond reading a fresh base.
        debt: f64,
        /// What writing a fresh base costs beyond writing the delta.
        price: f64,
    },
}

/// What the turn would add to the debt if it were stored as a delta: p · max(0, C − F).
///
/// C is the size of the chain with the delta, F that of a fresh base, both with their overhead per frame, and p the
/// restores per turn.
pub(crate) fn rent(chain_bytes: usize, turn: &Turn<'_>) -> f64 {
    let with_delta = chain_bytes + turn.delta.as_bytes().len() + FRAME_OVERHEAD_BYTES;
    let excess = with_delta.saturating_sub(turn.fresh_base_bytes.saturating_add(FRAME_OVERHEAD_BYTES));
    let restores = if turn.restores_per_turn.is_finite() { turn.restores_per_turn.max(0.0) } else { 0.0 };
    restores * excess as f64
}

/// Buys when the rent paid reaches the price: compacts when debt + this turn's rent ≥ F − d, d the delta's size.
///
/// The deterministic ski-rental rule (Karlin et al. 1988), on bytes written and read.
pub(crate) fn debt_is_due(debt: f64, rent: f64, turn: &Turn<'_>) -> Option<CompactionReason> {
    let debt = debt + rent;
    let price = turn.fresh_base_bytes as f64 - turn.delta.as_bytes().len() as f64;
    (debt >= price).then_some(CompactionReason::Debt { debt, price })
}

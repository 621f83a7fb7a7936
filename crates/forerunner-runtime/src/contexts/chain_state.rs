//! A context in memory, and what of it is stored after a turn.

use std::collections::BTreeMap;

use forerunner_context::{BaseProbe, Chain, CompactionReason, Error, Frame, Item, Snapshot, Turn};
use forerunner_core::{ContextId, TaskId};
use forerunner_store::{ContextCommit, ContextVersion, SharedObject, SharedObjectKind, born_of};

use super::{
    PoolCodecs,
    compaction::{Compaction, CompactionResult, CompactionSlot},
};

/// A chain within this many frames of its limit is compacted in the background, before a turn must do it.
const FRAMES_LEFT: usize = 16;

/// The shared objects that a stored chain refers to.
pub(super) type Named = BTreeMap<(SharedObjectKind, [u8; 32]), SharedObject>;

/// A context in the node's memory: its items, and the state of the stored chain that yields them.
///
/// Cloning shares the items.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    pub(crate) context: ContextId,
    /// Distinguishes contexts that had the same name one after the other. 0 before the first commit, and for contexts
    /// older than these numbers.
    pub(super) born: u64,
    /// The stored version of `snapshot`; 0 for none.
    pub(crate) version: u64,
    pub(crate) snapshot: Snapshot,
    /// What agents receive instead if some of them cannot read `snapshot`. The next change stores it.
    pub(super) repaired: Option<Snapshot>,
    pub(super) chain_state: Option<ChainState>,
}

/// The state of a stored chain.
#[derive(Debug, Clone)]
pub(super) struct ChainState {
    pub(super) chain: Chain,
    pub(super) probe: BaseProbe,
    pub(super) named: Named,
    /// The compaction in flight, and the frames that were stored since it began.
    slot: Option<(CompactionSlot, Vec<PendingFrame>)>,
}

/// A frame that was stored while a compaction was in flight.
#[derive(Debug, Clone)]
struct PendingFrame {
    delta: Frame,
    pieces: Vec<SharedObject>,
}

/// The result of a turn.
pub(crate) struct Commit {
    pub(crate) commit: ContextCommit,
    /// The context as it is once the commit is stored.
    pub(crate) memory: Memory,
    /// The compaction that the chain then needs, in the background.
    pub(crate) compaction: Option<Compaction>,
    /// Whether the frame replaced a chain at its limit.
    pub(crate) compacted: bool,
}

impl Memory {
    /// A context of which nothing is stored.
    pub(crate) fn new(context: ContextId) -> Self {
        Self { context, born: 0, version: 0, snapshot: Snapshot::new(), repaired: None, chain_state: None }
    }

    /// The items as agents receive them.
    pub(crate) fn readable(&self) -> &Snapshot {
        self.repaired.as_ref().unwrap_or(&self.snapshot)
    }

    /// The version, for comparison with the stored one.
    pub(crate) const fn context_version(&self) -> ContextVersion {
        ContextVersion { born: self.born, version: self.version }
    }

    /// Number of frames of the stored chain.
    pub(crate) fn chain_frames(&self) -> usize {
        self.chain_state.as_ref().map_or(0, |chain_state| chain_state.chain.len())
    }

    /// Computes what `task` has to store to change the context to `next`. Returns `None` if nothing changed.
    ///
    /// # Errors
    /// When the context, or its change, is larger than its limits allow.
    pub(crate) fn advance(&self, next: Snapshot, task: TaskId, codecs: &PoolCodecs) -> Result<Option<Commit>, Error> {
        if next.root() == self.snapshot.root() {
            return Ok(None);
        }
        let born = if self.version == 0 { born_of(task) } else { self.born };
        let step = match &self.chain_state {
            None => Step::base(&self.context, &next, codecs)?,
            Some(chain_state) => chain_state.clone().step(self, &next, codecs)?,
        };
        let commit = ContextCommit {
            context: self.context.clone(),
            born,
            parent_version: self.version,
            full: step.frame.header().parent.is_none(),
            frame: step.frame.into_bytes(),
            size_bytes: next.size_bytes() as u64,
            items: next.len() as u64,
            pieces: step.pieces,
        };
        let compacted = commit.full && self.version > 0;
        let (context, version) = (self.context.clone(), self.version + 1);
        let memory =
            Self { context, born, version, snapshot: next, repaired: None, chain_state: Some(step.chain_state) };
        let compaction = step.compaction.map(|(turn, slot)| Compaction { memory: memory.clone(), turn, slot });
        Ok(Some(Commit { commit, memory, compaction, compacted }))
    }
}

/// What the store has to do for a turn.
struct Step {
    frame: Frame,
    pieces: Vec<SharedObject>,
    chain_state: ChainState,
    compaction: Option<(TurnOutcome, CompactionSlot)>,
}

/// A turn that was stored as a delta. Compaction judges it again when the size of a fresh snapshot is known.
#[derive(Debug)]
pub(crate) struct TurnOutcome {
    /// The chain before the turn.
    pub(super) before: Chain,
    pub(super) delta: Frame,
    pub(super) restores_per_turn: f64,
    /// Whether the chain must be replaced, whatever a snapshot costs.
    pub(super) is_long: bool,
}

impl Step {
    /// A snapshot that replaces the whole chain.
    fn base(context: &ContextId, next: &Snapshot, codecs: &PoolCodecs) -> Result<Self, Error> {
        let codec = codecs.writer(context, next.items(), true);
        let frame = codec.full(next)?;
        let pieces = codecs.pieces(context, &codec)?;
        let chain_state = ChainState::of_base(&frame, next, &pieces)?;
        Ok(Self { frame, pieces, chain_state, compaction: None })
    }
}

impl ChainState {
    pub(super) fn new(chain: Chain, probe: BaseProbe, named: Named) -> Self {
        Self { chain, probe, named, slot: None }
    }

    /// The state of a new chain.
    pub(super) fn of_base(base: &Frame, snapshot: &Snapshot, pieces: &[SharedObject]) -> Result<Self, Error> {
        let chain = Chain::start(base, snapshot.limits())?;
        Ok(Self::new(chain, BaseProbe::new(base, snapshot), by_name(pieces)))
    }

    /// Stores the turn as a delta, unless the chain is at its limit.
    fn step(mut self, memory: &Memory, next: &Snapshot, codecs: &PoolCodecs) -> Result<Step, Error> {
        self.apply_compaction(next);
        let codec = codecs.writer(&memory.context, new_items(&memory.snapshot, next), false);
        let delta = codec.delta(&memory.snapshot, next)?;
        self.probe.count_turn();
        let restores_per_turn = codecs.restores_per_turn();
        let fresh_base_bytes = self.probe.estimate(next.size_bytes());
        let turn = Turn { delta: &delta, next, restores_per_turn, fresh_base_bytes };
        let before = self.chain.clone();
        let advice = before.should_compact(&turn);
        if self.chain.append(&turn).is_err() {
            return Step::base(&memory.context, next, codecs);
        }
        let is_long = self.chain.len() + FRAMES_LEFT > next.limits().chain_frames;
        let is_long = is_long || matches!(advice, Some(CompactionReason::DeadBytes { .. }));
        let pieces = codecs.pieces(&memory.context, &codec)?;
        self.named.extend(by_name(&pieces));
        let is_due = advice.is_some() || is_long || self.probe.is_due(next.size_bytes());
        let compaction = (is_due && self.slot.is_none()).then(|| {
            let slot = CompactionSlot::default();
            self.slot = Some((slot.clone(), Vec::new()));
            (TurnOutcome { before, delta: delta.clone(), restores_per_turn, is_long }, slot)
        });
        if let (None, Some((_, since))) = (&compaction, &mut self.slot) {
            since.push(PendingFrame { delta: delta.clone(), pieces: pieces.clone() });
        }
        Ok(Step { frame: delta, pieces, chain_state: self, compaction })
    }

    /// Applies the result of a compaction, if it has ended.
    fn apply_compaction(&mut self, next: &Snapshot) {
        let Some((slot, since)) = &self.slot else { return };
        let Some(result) = slot.take() else { return };
        match result {
            CompactionResult::Failed => {}
            CompactionResult::Probed(probe) => self.probe = probe,
            CompactionResult::Compacted(chain_state) => {
                let mut chain = chain_state.chain;
                // The accounting of read costs starts anew, as after a restore.
                let appended = since.iter().try_for_each(|PendingFrame { delta, .. }| {
                    chain.append(&Turn { delta, next, restores_per_turn: 0.0, fresh_base_bytes: 0 })
                });
                if appended.is_ok() {
                    (self.chain, self.probe) = (chain, chain_state.probe);
                    self.named = chain_state.named;
                    self.named.extend(since.iter().flat_map(|later| by_name(&later.pieces)));
                }
            }
        }
        self.slot = None;
    }
}

/// The items of `next` after those that it shares with `parent`.
fn new_items<'a>(parent: &Snapshot, next: &'a Snapshot) -> &'a [Item] {
    let common = parent.items().iter().zip(next.items()).take_while(|(old, new)| old == new).count();
    &next.items()[common..]
}

pub(super) fn by_name(pieces: &[SharedObject]) -> Named {
    pieces.iter().map(|piece| ((piece.kind, piece.name), piece.clone())).collect()
}

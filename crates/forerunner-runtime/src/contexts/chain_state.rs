//! A context in memory, and what of it is stored after a turn.

use std::collections::BTreeMap;

use forerunner_context::{BaseProbe, Chain, Error, Frame, Item, Rebase, Snapshot, Turn};
use forerunner_core::{ContextId, TaskId};
use forerunner_store::{ContextCommit, HeldVersion, SharedObject, SharedObjectKind, born_of};

use super::{
    PoolCodecs,
    compaction::{Compaction, CompactionResult, CompactionSlot},
};

/// A chain this close to its longest is replaced in the background, before it must be in the turn.
const FRAMES_LEFT: usize = 16;

/// The pieces that a stored chain names.
pub(super) type Named = BTreeMap<(SharedObjectKind, [u8; 32]), SharedObject>;

/// A context as the node holds it: the items, and the account of the chain in the store that leads to them.
///
/// Cloning shares the items.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    pub(crate) context: ContextId,
    /// Which context of that name; 0 until its first commit is under way, and for those older than such numbers.
    pub(super) born: u64,
    /// The stored version that `snapshot` is; 0 for none.
    pub(crate) version: u64,
    pub(crate) snapshot: Snapshot,
    /// What agents are given instead, if not all of them could read `snapshot`. The next change stores it.
    pub(super) mended: Option<Snapshot>,
    pub(super) account: Option<ChainState>,
}

/// What is known of a stored chain.
#[derive(Debug, Clone)]
pub(super) struct ChainState {
    pub(super) chain: Chain,
    pub(super) probe: BaseProbe,
    pub(super) named: Named,
    /// A fresh base under way, and the frames since.
    tending: Option<(CompactionSlot, Vec<PendingFrame>)>,
}

/// A frame that was stored while a fresh base was under way.
#[derive(Debug, Clone)]
struct PendingFrame {
    delta: Frame,
    pieces: Vec<SharedObject>,
}

/// What a turn leaves.
pub(crate) struct Commit {
    pub(crate) commit: ContextCommit,
    /// What is held once it is stored.
    pub(crate) held: Memory,
    /// What should be done about the chain once it is stored, in the background.
    pub(crate) tend: Option<Compaction>,
    /// Whether the frame took the place of a chain at once, which was at a bound.
    pub(crate) rebased: bool,
}

impl Memory {
    /// A context of which nothing is stored.
    pub(crate) fn new(context: ContextId) -> Self {
        Self { context, born: 0, version: 0, snapshot: Snapshot::new(), mended: None, account: None }
    }

    /// The items as agents are given them.
    pub(crate) fn readable(&self) -> &Snapshot {
        self.mended.as_ref().unwrap_or(&self.snapshot)
    }

    /// The version that it is, to be compared with the stored one.
    pub(crate) const fn held(&self) -> HeldVersion {
        HeldVersion { born: self.born, version: self.version }
    }

    /// Frames of the stored chain.
    pub(crate) fn chain_frames(&self) -> usize {
        self.account.as_ref().map_or(0, |account| account.chain.len())
    }

    /// Says what to store so that the context becomes `next` by `task`. `None` if nothing changed.
    ///
    /// # Errors
    /// When the context, or its change, is larger than its limits allow.
    pub(crate) fn advance(&self, next: Snapshot, task: TaskId, book: &PoolCodecs) -> Result<Option<Commit>, Error> {
        if next.root() == self.snapshot.root() {
            return Ok(None);
        }
        let born = if self.version == 0 { born_of(task) } else { self.born };
        let step = match &self.account {
            None => Step::base(&self.context, &next, book)?,
            Some(account) => account.clone().step(self, &next, book)?,
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
        let rebased = commit.full && self.version > 0;
        let (context, version) = (self.context.clone(), self.version + 1);
        let held = Self { context, born, version, snapshot: next, mended: None, account: Some(step.account) };
        let tend = step.tend.map(|(turn, tending)| Compaction { memory: held.clone(), turn, tending });
        Ok(Some(Commit { commit, held, tend, rebased }))
    }
}

/// The store's side of a turn.
struct Step {
    frame: Frame,
    pieces: Vec<SharedObject>,
    account: ChainState,
    tend: Option<(TurnOutcome, CompactionSlot)>,
}

/// A turn that was stored as a delta, to be judged again once the size of a fresh base is known.
#[derive(Debug)]
pub(crate) struct TurnOutcome {
    /// The chain before it.
    pub(super) before: Chain,
    pub(super) delta: Frame,
    pub(super) restores_per_turn: f64,
    /// Whether the chain is to be replaced whatever a base costs.
    pub(super) is_long: bool,
}

impl Step {
    /// A base that replaces whatever was there.
    fn base(context: &ContextId, next: &Snapshot, book: &PoolCodecs) -> Result<Self, Error> {
        let codec = book.writer(context, next.items(), true);
        let frame = codec.full(next)?;
        let pieces = book.pieces(&codec)?;
        let account = ChainState::of_base(&frame, next, &pieces)?;
        Ok(Self { frame, pieces, account, tend: None })
    }
}

impl ChainState {
    pub(super) fn new(chain: Chain, probe: BaseProbe, named: Named) -> Self {
        Self { chain, probe, named, tending: None }
    }

    /// The account of a chain that begins.
    pub(super) fn of_base(base: &Frame, snapshot: &Snapshot, pieces: &[SharedObject]) -> Result<Self, Error> {
        let chain = Chain::start(base, snapshot.limits())?;
        Ok(Self::new(chain, BaseProbe::new(base, snapshot), by_name(pieces)))
    }

    /// Stores the turn as a delta, unless the chain is at a bound.
    fn step(mut self, memory: &Memory, next: &Snapshot, book: &PoolCodecs) -> Result<Step, Error> {
        self.take_in(next);
        let codec = book.writer(&memory.context, new_items(&memory.snapshot, next), false);
        let delta = codec.delta(&memory.snapshot, next)?;
        self.probe.count_turn();
        let restores_per_turn = book.restores_per_turn();
        let fresh_base_bytes = self.probe.estimate(next.size_bytes());
        let turn = Turn { delta: &delta, next, restores_per_turn, fresh_base_bytes };
        let before = self.chain.clone();
        let wish = before.should_rebase(&turn);
        if self.chain.append(&turn).is_err() {
            return Step::base(&memory.context, next, book);
        }
        let is_long = self.chain.len() + FRAMES_LEFT > next.limits().chain_frames;
        let is_long = is_long || matches!(wish, Some(Rebase::DeadBytes { .. }));
        let pieces = book.pieces(&codec)?;
        self.named.extend(by_name(&pieces));
        let is_due = wish.is_some() || is_long || self.probe.is_due(next.size_bytes());
        let tend = (is_due && self.tending.is_none()).then(|| {
            let tending = CompactionSlot::default();
            self.tending = Some((tending.clone(), Vec::new()));
            (TurnOutcome { before, delta: delta.clone(), restores_per_turn, is_long }, tending)
        });
        if let (None, Some((_, since))) = (&tend, &mut self.tending) {
            since.push(PendingFrame { delta: delta.clone(), pieces: pieces.clone() });
        }
        Ok(Step { frame: delta, pieces, account: self, tend })
    }

    /// Takes in what became of a fresh base, if it is there.
    fn take_in(&mut self, next: &Snapshot) {
        let Some((tending, since)) = &self.tending else { return };
        let Some(tended) = tending.take() else { return };
        match tended {
            CompactionResult::Failed => {}
            CompactionResult::Probed(probe) => self.probe = probe,
            CompactionResult::Rebased(account) => {
                let mut chain = account.chain;
                // No rent for these: the account begins anew, as after a restore.
                let appended = since.iter().try_for_each(|PendingFrame { delta, .. }| {
                    chain.append(&Turn { delta, next, restores_per_turn: 0.0, fresh_base_bytes: 0 })
                });
                if appended.is_ok() {
                    (self.chain, self.probe) = (chain, account.probe);
                    self.named = account.named;
                    self.named.extend(since.iter().flat_map(|later| by_name(&later.pieces)));
                }
            }
        }
        self.tending = None;
    }
}

/// The items of `next` behind those that it has in common with `parent`.
fn new_items<'a>(parent: &Snapshot, next: &'a Snapshot) -> &'a [Item] {
    let common = parent.items().iter().zip(next.items()).take_while(|(old, new)| old == new).count();
    &next.items()[common..]
}

pub(super) fn by_name(pieces: &[SharedObject]) -> Named {
    pieces.iter().map(|piece| ((piece.kind, piece.name), piece.clone())).collect()
}

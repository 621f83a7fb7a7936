//! Fresh bases, made in the background: a turn never waits for one.

use std::sync::Arc;

use parking_lot::Mutex;

use forerunner_context::{BaseProbe, Error, Frame, Turn};
use forerunner_core::PoolName;
use forerunner_store::{ContextBase, SharedObject, Store};
use tokio::sync::Semaphore;

use super::{
    PoolCodecs,
    chain_state::{ChainState, Memory, TurnOutcome},
};
use crate::{blocking, metrics::ContextMetrics};

/// A chain to look after: to encode a fresh base, and to store it if that pays.
pub(crate) struct Compaction {
    pub(super) memory: Memory,
    pub(super) turn: TurnOutcome,
    pub(super) tending: CompactionSlot,
}

/// Where the outcome is left, for the next turn to take in.
#[derive(Debug, Clone, Default)]
pub(crate) struct CompactionSlot(Arc<Mutex<Option<CompactionResult>>>);

/// What came of it.
#[derive(Debug)]
pub(super) enum CompactionResult {
    /// Nothing: it may be tried again.
    Failed,
    /// The chain stays; the size of a base is known.
    Probed(BaseProbe),
    /// The chain was replaced.
    Rebased(Box<ChainState>),
}

impl CompactionSlot {
    pub(super) fn take(&self) -> Option<CompactionResult> {
        self.0.lock().take()
    }

    fn leave(&self, tended: CompactionResult) {
        *self.0.lock() = Some(tended);
    }
}

/// What looking after chains works with.
#[derive(Clone)]
pub(crate) struct CompactorDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) pool: PoolName,
    pub(crate) book: Arc<PoolCodecs>,
    pub(crate) metrics: ContextMetrics,
    /// Bounds how many bases of a node are encoded at once.
    pub(crate) permits: Arc<Semaphore>,
}

/// A base that was encoded.
struct Encoded {
    frame: Frame,
    pieces: Vec<SharedObject>,
}

impl Compaction {
    /// Does it on the pool of blocking threads, once there is a permit.
    pub(crate) fn spawn(self, tools: CompactorDeps) {
        tokio::spawn(async move { self.finish(&tools).await });
    }

    /// Does it, and leaves the outcome for the next turn. Answers whether the chain was replaced.
    pub(crate) async fn finish(self, tools: &CompactorDeps) -> bool {
        let tending = self.tending.clone();
        let tended = self.run(tools).await;
        let is_rebased = matches!(tended, CompactionResult::Rebased(_));
        tending.leave(tended);
        is_rebased
    }

    async fn run(self, tools: &CompactorDeps) -> CompactionResult {
        let Ok(_permit) = tools.permits.acquire().await else { return CompactionResult::Failed };
        let Self { memory, turn, .. } = self;
        let book = Arc::clone(&tools.book);
        let encoded = blocking::run(move || encode(&memory, &book).map(|encoded| (memory, encoded))).await;
        let (memory, encoded) = match encoded {
            Ok(Ok(encoded)) => encoded,
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot encode a snapshot of a context for compaction");
                return CompactionResult::Failed;
            }
            Err(_) => return CompactionResult::Failed,
        };
        if !pays(&turn, &memory, &encoded) {
            return CompactionResult::Probed(BaseProbe::new(&encoded.frame, &memory.snapshot));
        }
        store(memory, encoded, tools).await
    }
}

fn encode(memory: &Memory, book: &PoolCodecs) -> Result<Encoded, Error> {
    let codec = book.writer(&memory.context, memory.snapshot.items(), true);
    let frame = codec.full(&memory.snapshot)?;
    Ok(Encoded { frame, pieces: book.pieces(&codec)? })
}

/// Whether the chain should be replaced, now that the size of a base is known.
fn pays(turn: &TurnOutcome, memory: &Memory, encoded: &Encoded) -> bool {
    let fresh_base_bytes = encoded.frame.as_bytes().len();
    let TurnOutcome { before, delta, restores_per_turn, is_long } = turn;
    let turn = Turn { delta, next: &memory.snapshot, restores_per_turn: *restores_per_turn, fresh_base_bytes };
    *is_long || before.should_rebase(&turn).is_some()
}

async fn store(memory: Memory, encoded: Encoded, tools: &CompactorDeps) -> CompactionResult {
    let Encoded { frame, pieces } = encoded;
    let Ok(account) = ChainState::of_base(&frame, &memory.snapshot, &pieces) else { return CompactionResult::Failed };
    let bytes = frame.as_bytes().len() as u64;
    let base = ContextBase {
        pool: tools.pool.clone(),
        context: memory.context.clone(),
        born: memory.born,
        version: memory.version,
        frame: frame.into_bytes(),
        pieces,
    };
    match tools.store.rebase(base).await {
        Ok(true) => {
            tools.metrics.rebased(bytes);
            CompactionResult::Rebased(Box::new(account))
        }
        // It was deleted, or replaced in a turn.
        Ok(false) => CompactionResult::Failed,
        Err(error) => {
            tracing::warn!(context = %memory.context, %error, "cannot store the compacted snapshot of a context");
            CompactionResult::Failed
        }
    }
}

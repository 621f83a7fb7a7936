//! Compaction: fresh snapshots, encoded in the background. No turn waits for one.

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

/// A chain to compact: encode a fresh snapshot, and store it if that pays.
pub(crate) struct Compaction {
    pub(super) memory: Memory,
    pub(super) turn: TurnOutcome,
    pub(super) slot: CompactionSlot,
}

/// Where a compaction leaves its result for the next turn.
#[derive(Debug, Clone, Default)]
pub(crate) struct CompactionSlot(Arc<Mutex<Option<CompactionResult>>>);

/// The result of a compaction.
#[derive(Debug)]
pub(super) enum CompactionResult {
    /// Nothing changed. A later turn may try again.
    Failed,
    /// The chain remains; the size of a snapshot is measured.
    Probed(BaseProbe),
    /// The chain was replaced.
    Compacted(Box<ChainState>),
}

impl CompactionSlot {
    pub(super) fn take(&self) -> Option<CompactionResult> {
        self.0.lock().take()
    }

    fn put(&self, result: CompactionResult) {
        *self.0.lock() = Some(result);
    }
}

/// What compactions work with.
#[derive(Clone)]
pub(crate) struct CompactorDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) pool: PoolName,
    pub(crate) codecs: Arc<PoolCodecs>,
    pub(crate) metrics: ContextMetrics,
    /// Limits how many snapshots a node encodes at the same time.
    pub(crate) permits: Arc<Semaphore>,
}

/// An encoded snapshot.
struct Encoded {
    frame: Frame,
    pieces: Vec<SharedObject>,
}

impl Compaction {
    /// Runs the compaction on the pool of blocking threads, as soon as there is a permit.
    pub(crate) fn spawn(self, deps: CompactorDeps) {
        tokio::spawn(async move { self.finish(&deps).await });
    }

    /// Runs the compaction and leaves the result for the next turn. Returns whether the chain was replaced.
    pub(crate) async fn finish(self, deps: &CompactorDeps) -> bool {
        let slot = self.slot.clone();
        let result = self.run(deps).await;
        let is_compacted = matches!(result, CompactionResult::Compacted(_));
        slot.put(result);
        is_compacted
    }

    async fn run(self, deps: &CompactorDeps) -> CompactionResult {
        let Ok(_permit) = deps.permits.acquire().await else { return CompactionResult::Failed };
        let Self { memory, turn, .. } = self;
        let codecs = Arc::clone(&deps.codecs);
        let encoded = blocking::run(move || encode(&memory, &codecs).map(|encoded| (memory, encoded))).await;
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
        store(memory, encoded, deps).await
    }
}

fn encode(memory: &Memory, codecs: &PoolCodecs) -> Result<Encoded, Error> {
    let codec = codecs.writer(&memory.context, memory.snapshot.items(), true);
    let frame = codec.full(&memory.snapshot)?;
    Ok(Encoded { frame, pieces: codecs.pieces(&memory.context, &codec)? })
}

/// Whether to replace the chain, now that the size of a snapshot is known.
fn pays(turn: &TurnOutcome, memory: &Memory, encoded: &Encoded) -> bool {
    let fresh_base_bytes = encoded.frame.as_bytes().len();
    let TurnOutcome { before, delta, restores_per_turn, is_long } = turn;
    let turn = Turn { delta, next: &memory.snapshot, restores_per_turn: *restores_per_turn, fresh_base_bytes };
    *is_long || before.should_compact(&turn).is_some()
}

async fn store(memory: Memory, encoded: Encoded, deps: &CompactorDeps) -> CompactionResult {
    let Encoded { frame, pieces } = encoded;
    let Ok(chain_state) = ChainState::of_base(&frame, &memory.snapshot, &pieces) else {
        return CompactionResult::Failed;
    };
    let bytes = frame.as_bytes().len() as u64;
    let base = ContextBase {
        pool: deps.pool.clone(),
        context: memory.context.clone(),
        born: memory.born,
        version: memory.version,
        frame: frame.into_bytes(),
        pieces,
    };
    match deps.store.rebase(base).await {
        Ok(true) => {
            deps.metrics.compacted(bytes);
            CompactionResult::Compacted(Box::new(chain_state))
        }
        // The context was deleted, or a turn replaced its chain.
        Ok(false) => CompactionResult::Failed,
        Err(error) => {
            tracing::warn!(context = %memory.context, %error, "cannot store the compacted snapshot of a context");
            CompactionResult::Failed
        }
    }
}

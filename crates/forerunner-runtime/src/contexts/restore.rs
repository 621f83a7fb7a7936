//! Restores contexts from the store.

use std::sync::Arc;

use forerunner_context::{BaseProbe, Chain, Error, Limits, Snapshot};
use forerunner_core::{ContextCost, ContextId, ContextSource, ErrorKind, PoolName};
use forerunner_store::{ContextRead, ContextVersion, Store, StoredContext};
use tokio::time::Instant;

use super::{
    Memory, NodeContexts, PoolCodecs,
    chain_state::{ChainState, by_name},
};
use crate::{
    agent::{AgentError, items},
    blocking,
};

/// Chains of at least this size are decoded outside of the actors' thread.
const LARGE_BYTES: usize = 64 << 10;

/// A restored context, and the cost of the restore.
pub(crate) struct RestoredContext {
    pub(crate) memory: Memory,
    pub(crate) cost: ContextCost,
    /// Whether it was prefetched.
    pub(crate) was_prefetched: bool,
}

/// The sources of a pool's contexts: the node's cache and the store.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) pool: &'a PoolName,
    pub(crate) node: &'a NodeContexts,
}

/// A context that was read from the store.
struct Restored {
    memory: Memory,
    /// `New`, `Delta` or `Store`.
    source: ContextSource,
    /// Number of encoded bytes that were read.
    bytes: u64,
}

impl Source<'_> {
    /// Restores a context in the version of the claim: from the agent's copy `cached`, from the node's cache, or from the
    /// store.
    ///
    /// # Errors
    /// `ContextLost` when the store fails, or the stored context cannot be read.
    pub(crate) async fn restore_context(
        &self,
        context: ContextId,
        wanted: ContextVersion,
        cached: Option<Memory>,
        codecs: &Arc<PoolCodecs>,
    ) -> Result<RestoredContext, AgentError> {
        let is_wanted = |memory: &Memory| memory.context_version() == wanted;
        let cached = cached.filter(|cached| cached.context == context);
        let at_hand = |memory, source| {
            let cost = ContextCost { source, ..ContextCost::default() };
            RestoredContext { memory, cost, was_prefetched: false }
        };
        let warm = match cached {
            Some(memory) if is_wanted(&memory) => at_hand(memory, ContextSource::Agent),
            _ if wanted.version == 0 => at_hand(Memory::new(context), ContextSource::New),
            cached => {
                let found = self.node.find(self.pool, &context);
                let was_prefetched = found.as_ref().is_some_and(|found| found.was_prefetched);
                match found.map(|found| found.memory).or(cached) {
                    Some(memory) if is_wanted(&memory) && was_prefetched => {
                        // The store was read for this turn, by the prefetch.
                        codecs.note_turn(ContextSource::Store);
                        return Ok(RestoredContext { was_prefetched, ..at_hand(memory, ContextSource::Node) });
                    }
                    Some(memory) if is_wanted(&memory) => at_hand(memory, ContextSource::Node),
                    cached => self.read_stored(context, cached, codecs).await?,
                }
            }
        };
        codecs.note_turn(warm.cost.source);
        Ok(warm)
    }

    /// Restores a context in its stored version into the node's cache.
    ///
    /// # Errors
    /// As [`Source::restore_context`].
    pub(super) async fn prefetch(
        &self,
        context: ContextId,
        codecs: &Arc<PoolCodecs>,
    ) -> Result<ContextCost, AgentError> {
        let cached = self.node.find(self.pool, &context).map(|found| found.memory);
        let RestoredContext { memory, cost, .. } = self.read_stored(context, cached, codecs).await?;
        if memory.version > 0 {
            codecs.note_restore(memory.snapshot.size_bytes() as u64, cost.restore_s);
            self.node.insert_prefetched(self.pool, memory);
        }
        Ok(cost)
    }

    async fn read_stored(
        &self,
        context: ContextId,
        cached: Option<Memory>,
        codecs: &Arc<PoolCodecs>,
    ) -> Result<RestoredContext, AgentError> {
        let begun = Instant::now();
        let Restored { memory, source, bytes } = self.restore(context, cached, codecs).await?;
        let restore_s = begun.elapsed().as_secs_f64();
        let cost = ContextCost { source, restored_bytes: bytes, restore_s, ..ContextCost::default() };
        Ok(RestoredContext { memory, cost, was_prefetched: false })
    }

    /// Reads a context, or only the frames after the version `cached`.
    async fn restore(
        &self,
        context: ContextId,
        cached: Option<Memory>,
        codecs: &Arc<PoolCodecs>,
    ) -> Result<Restored, AgentError> {
        if let Some(cached) = cached {
            let cached_version = Some(cached.context_version());
            let read = ContextRead { pool: self.pool.clone(), context: context.clone(), held: cached_version };
            let Some(stored) = read_from(self.store, read).await? else { return Ok(nothing(context)) };
            // The copy does not belong to this chain: the whole context is read.
            if let Ok(restored) = decode(stored, Some(cached), codecs).await {
                return Ok(restored);
            }
        }
        let read = ContextRead::whole(self.pool.clone(), context.clone());
        let Some(stored) = read_from(self.store, read).await? else { return Ok(nothing(context)) };
        decode(stored, None, codecs).await.map_err(|error| lost(&context, &error.to_string()))
    }
}

async fn read_from(store: &dyn Store, read: ContextRead) -> Result<Option<StoredContext>, AgentError> {
    let context = read.context.clone();
    store.context(read).await.map_err(|error| lost(&context, &error.to_string()))
}

fn nothing(context: ContextId) -> Restored {
    Restored { memory: Memory::new(context), source: ContextSource::New, bytes: 0 }
}

async fn decode(stored: StoredContext, cached: Option<Memory>, codecs: &Arc<PoolCodecs>) -> Result<Restored, Error> {
    let bytes: usize = stored.frames.iter().map(Vec::len).chain(stored.pieces.iter().map(|one| one.bytes.len())).sum();
    if bytes < LARGE_BYTES {
        return decode_here(stored, cached, codecs, bytes);
    }
    let codecs = Arc::clone(codecs);
    let decoded = blocking::run(move || decode_here(stored, cached, &codecs, bytes)).await;
    // Decoding never panics; a panic counts as an empty answer.
    decoded.unwrap_or(Err(Error::EmptyChain))
}

fn decode_here(
    stored: StoredContext,
    cached: Option<Memory>,
    codecs: &PoolCodecs,
    bytes: usize,
) -> Result<Restored, Error> {
    let cached =
        cached.filter(|cached| stored.after > 0 && stored.after == cached.version && cached.chain_state.is_some());
    let source = if cached.is_some() { ContextSource::Delta } else { ContextSource::Store };
    let (snapshot, chain_state) = match cached {
        Some(cached) => apply_frames(&stored, cached, codecs)?,
        None => whole(&stored, codecs)?,
    };
    let StoredContext { context, born, version, .. } = stored;
    let repaired = items::readable(&context, &snapshot);
    let memory = Memory { context, born, version, snapshot, repaired, chain_state: Some(chain_state) };
    Ok(Restored { memory, source, bytes: bytes as u64 })
}

fn whole(stored: &StoredContext, codecs: &PoolCodecs) -> Result<(Snapshot, ChainState), Error> {
    let codec = codecs.reader(&stored.context, stored.pieces.iter())?;
    let (chain, snapshot) = Chain::resume_with(&codec, frames(stored), &Limits::default())?;
    let (encoded, inserted) = chain.base_bytes();
    // A snapshot's size is what it contains and what it refers to.
    let probe = BaseProbe::of_sizes(encoded, inserted + codec.bases().size_bytes());
    Ok((snapshot, ChainState::new(chain, probe, by_name(&stored.pieces))))
}

/// Applies the frames to the copy `cached`. Each frame names its parent, so a copy of another chain is an error.
fn apply_frames(stored: &StoredContext, cached: Memory, codecs: &PoolCodecs) -> Result<(Snapshot, ChainState), Error> {
    let mut chain_state = cached.chain_state.ok_or(Error::EmptyChain)?;
    chain_state.named.extend(by_name(&stored.pieces));
    let codec = codecs.reader(&stored.context, chain_state.named.values())?;
    let (chain, snapshot) = chain_state.chain.resume_from(&codec, &cached.snapshot, frames(stored))?;
    stored.frames.iter().for_each(|_| chain_state.probe.count_turn());
    Ok((snapshot, ChainState::new(chain, chain_state.probe, chain_state.named)))
}

fn frames(stored: &StoredContext) -> impl Iterator<Item = &[u8]> {
    stored.frames.iter().map(Vec::as_slice)
}

fn lost(context: &ContextId, reason: &str) -> AgentError {
    let message = format!("context `{context}` could not be restored: {reason}");
    AgentError::new(ErrorKind::ContextLost, message, true, true)
}

#[cfg(test)]
mod tests {
    use forerunner_context::Item;
    use forerunner_core::{TaskId, Timestamp};

    use super::*;

    #[test]
    fn a_stored_context_that_not_every_agent_can_read_is_mended_and_stored_so_with_its_next_change() {
        let (codecs, task) = (PoolCodecs::new(None), TaskId::from_parts(Timestamp::default(), 1));
        let items = [br#"{"text":"cut \ud83d"}"#.as_slice(), b"1"].map(Item::new);
        let spoilt = Snapshot::from_items(items, Limits::default()).unwrap();
        let empty = Memory::new(ContextId::new("talk").unwrap());
        let stored = empty.advance(spoilt, task, &codecs).unwrap().unwrap().commit;
        let stored = StoredContext {
            context: stored.context,
            born: stored.born,
            version: 1,
            size_bytes: stored.size_bytes,
            items: stored.items,
            updated_at: Timestamp::default(),
            after: 0,
            frames: vec![stored.frame],
            pieces: stored.pieces,
        };
        let restored = decode_here(stored, None, &codecs, 0).unwrap().memory;
        let given = restored.readable().clone();
        assert_eq!(given.items()[0].bytes(), br#"{"text":"cut \ufffd"}"#);
        let cached = restored.advance(given.clone(), task, &codecs).unwrap().expect("it is stored").memory;
        assert_eq!((cached.readable(), cached.version), (&given, 2));
        assert!(cached.advance(given, task, &codecs).unwrap().is_none(), "nothing is left to repair");
    }
}

//! Reading contexts back from the store.

use std::sync::Arc;

use forerunner_context::{BaseProbe, Chain, Error, Limits, Snapshot};
use forerunner_core::{ContextId, ContextSource, ErrorKind, PoolName};
use forerunner_store::{ContextRead, Store, StoredContext};

use super::{
    ContextBook, Memory,
    memory::{Account, by_name},
};
use crate::agent::AgentError;

/// From this size on a chain is decoded where it holds up nobody.
const LARGE_BYTES: usize = 64 << 10;

/// A context that was read.
pub(crate) struct Restored {
    pub(crate) memory: Memory,
    /// `New`, `Delta` or `Store`.
    pub(crate) source: ContextSource,
    /// Encoded bytes that were read.
    pub(crate) bytes: u64,
}

/// Reads a context, or what came after the version that is held.
///
/// # Errors
/// `ContextLost` when the store fails, or what it holds cannot be read.
pub(crate) async fn restore(
    store: &dyn Store,
    pool: PoolName,
    context: ContextId,
    held: Option<Memory>,
    book: &Arc<ContextBook>,
) -> Result<Restored, AgentError> {
    if let Some(held) = held {
        let read = ContextRead { pool: pool.clone(), context: context.clone(), held: Some(held.held()) };
        let Some(stored) = read_from(store, read).await? else { return Ok(nothing(context)) };
        // What is held may be of no use after all, and then all of it is read below or here.
        if let Ok(restored) = decode(stored, Some(held), book).await {
            return Ok(restored);
        }
    }
    let read = ContextRead::whole(pool, context.clone());
    let Some(stored) = read_from(store, read).await? else { return Ok(nothing(context)) };
    decode(stored, None, book).await.map_err(|error| lost(&context, &error.to_string()))
}

async fn read_from(store: &dyn Store, read: ContextRead) -> Result<Option<StoredContext>, AgentError> {
    let context = read.context.clone();
    store.context(read).await.map_err(|error| lost(&context, &error.to_string()))
}

fn nothing(context: ContextId) -> Restored {
    Restored { memory: Memory::new(context), source: ContextSource::New, bytes: 0 }
}

async fn decode(stored: StoredContext, held: Option<Memory>, book: &Arc<ContextBook>) -> Result<Restored, Error> {
    let bytes: usize = stored.frames.iter().map(Vec::len).chain(stored.pieces.iter().map(|one| one.bytes.len())).sum();
    if bytes < LARGE_BYTES {
        return decode_here(stored, held, book, bytes);
    }
    let book = Arc::clone(book);
    let decoded = tokio::task::spawn_blocking(move || decode_here(stored, held, &book, bytes)).await;
    // It panicked, which it never does: as good as an empty answer.
    decoded.unwrap_or(Err(Error::EmptyChain))
}

fn decode_here(
    stored: StoredContext,
    held: Option<Memory>,
    book: &ContextBook,
    bytes: usize,
) -> Result<Restored, Error> {
    let held = held.filter(|held| stored.after > 0 && stored.after == held.version && held.account.is_some());
    let source = if held.is_some() { ContextSource::Delta } else { ContextSource::Store };
    let (snapshot, account) = match held {
        Some(held) => follow(&stored, held, book)?,
        None => whole(&stored, book)?,
    };
    let StoredContext { context, born, version, .. } = stored;
    let memory = Memory { context, born, version, snapshot, account: Some(account) };
    Ok(Restored { memory, source, bytes: bytes as u64 })
}

fn whole(stored: &StoredContext, book: &ContextBook) -> Result<(Snapshot, Account), Error> {
    let codec = book.reader(stored.pieces.iter())?;
    let (chain, snapshot) = Chain::resume_with(&codec, frames(stored), &Limits::default())?;
    let (encoded, inserted) = chain.base_bytes();
    // What the base yields is what it inserts and what it names.
    let probe = BaseProbe::of_sizes(encoded, inserted + codec.bases().size_bytes());
    Ok((snapshot, Account::new(chain, probe, by_name(&stored.pieces))))
}

/// Goes on from what is held. Each frame names its parent, so what is held and does not belong is refused.
fn follow(stored: &StoredContext, held: Memory, book: &ContextBook) -> Result<(Snapshot, Account), Error> {
    let mut account = held.account.ok_or(Error::EmptyChain)?;
    account.named.extend(by_name(&stored.pieces));
    let codec = book.reader(account.named.values())?;
    let (chain, snapshot) = account.chain.resume_from(&codec, &held.snapshot, frames(stored))?;
    stored.frames.iter().for_each(|_| account.probe.count_turn());
    Ok((snapshot, Account::new(chain, account.probe, account.named)))
}

fn frames(stored: &StoredContext) -> impl Iterator<Item = &[u8]> {
    stored.frames.iter().map(Vec::as_slice)
}

fn lost(context: &ContextId, reason: &str) -> AgentError {
    let message = format!("context `{context}` could not be restored: {reason}");
    AgentError::new(ErrorKind::ContextLost, message, true, true)
}

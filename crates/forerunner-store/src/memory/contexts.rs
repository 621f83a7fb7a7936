//! Contexts in memory: frames by version, and pieces that are counted.

use std::collections::{BTreeMap, HashMap};

use forerunner_core::{ContextId, PoolName, Timestamp};

use super::state::State;
use crate::{
    ContextBase, ContextCommit, ContextFilter, ContextRead, ContextSummary, ContextVersion, SharedObject,
    SharedObjectKind, StateConflict, StoredContext, rules,
};

type PieceKey = (SharedObjectKind, [u8; 32]);

/// The contexts of one pool.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    kept: BTreeMap<ContextId, Kept>,
    pieces: HashMap<PieceKey, (SharedObject, usize)>,
}

#[derive(Debug)]
struct Kept {
    born: u64,
    version: u64,
    size_bytes: u64,
    items: u64,
    updated_at: Timestamp,
    /// By the version that each yields.
    frames: BTreeMap<u64, Vec<u8>>,
    /// The pieces that the frames name, with the newest version that is known to.
    named: HashMap<PieceKey, u64>,
}

impl Contexts {
    /// The birth and the version of a context; zeros for none.
    pub fn version(&self, context: &ContextId) -> (u64, u64) {
        self.kept.get(context).map_or((0, 0), |kept| (kept.born, kept.version))
    }

    /// When a context was changed last.
    pub fn updated_at(&self, context: &ContextId) -> Option<Timestamp> {
        self.kept.get(context).map(|kept| kept.updated_at)
    }

    /// The size of a context, in bytes; 0 for none.
    pub fn size_bytes(&self, context: &ContextId) -> u64 {
        self.kept.get(context).map_or(0, |kept| kept.size_bytes)
    }

    /// The bytes of all frames and pieces.
    pub fn stored_bytes(&self) -> u64 {
        let frames = self.kept.values().flat_map(|kept| kept.frames.values()).map(|frame| frame.len() as u64);
        let pieces = self.pieces.values().map(|(piece, _)| piece.bytes.len() as u64);
        frames.chain(pieces).sum()
    }

    /// Stores a new version of a context, unless it does not follow the stored one.
    pub fn commit(&mut self, commit: ContextCommit, now: Timestamp) -> bool {
        let ContextCommit { context, born, parent_version, frame, full, size_bytes, items, pieces } = commit;
        let follows = match self.version(&context) {
            (_, 0) => parent_version == 0,
            stored => stored == (born, parent_version),
        };
        if !follows {
            return false;
        }
        let version = parent_version + 1;
        let kept = self.kept.entry(context).or_insert_with(|| Kept {
            born,
            version: 0,
            size_bytes: 0,
            items: 0,
            updated_at: now,
            frames: BTreeMap::new(),
            named: HashMap::new(),
        });
        (kept.version, kept.size_bytes, kept.items, kept.updated_at) = (version, size_bytes, items, now);
        let former = if full { std::mem::take(&mut kept.named) } else { HashMap::new() };
        if full {
            kept.frames.clear();
        }
        kept.frames.insert(version, frame);
        name(&mut self.pieces, &mut kept.named, pieces, version);
        let_go(&mut self.pieces, former.into_keys());
        true
    }

    /// Replaces the frames up to a version, unless they are not there.
    pub fn rebase(&mut self, base: ContextBase) -> bool {
        let ContextBase { context, born, version, frame, pieces, .. } = base;
        let Some(kept) = self.kept.get_mut(&context).filter(|kept| kept.born == born) else { return false };
        if !kept.frames.contains_key(&version) {
            return false;
        }
        kept.frames.retain(|later, _| *later > version);
        kept.frames.insert(version, frame);
        let (former, later) = std::mem::take(&mut kept.named).into_iter().partition(|(_, since)| *since <= version);
        let former: HashMap<PieceKey, u64> = former;
        kept.named = later;
        name(&mut self.pieces, &mut kept.named, pieces, version);
        let_go(&mut self.pieces, former.into_keys());
        true
    }

    pub fn read(&self, context: ContextId, held: Option<ContextVersion>) -> Option<StoredContext> {
        let kept = self.kept.get(&context)?;
        let first = kept.frames.keys().next().copied().unwrap_or(0);
        let follows = |held: &ContextVersion| held.born == kept.born && (first..=kept.version).contains(&held.version);
        let after = held.filter(follows).map_or(0, |held| held.version);
        let named = kept.named.iter().filter(|(_, since)| **since > after);
        let mut pieces: Vec<_> =
            named.filter_map(|(key, _)| self.pieces.get(key).map(|(piece, _)| piece.clone())).collect();
        pieces.sort_unstable_by_key(|piece| (piece.kind, piece.name));
        Some(StoredContext {
            context,
            born: kept.born,
            version: kept.version,
            size_bytes: kept.size_bytes,
            items: kept.items,
            updated_at: kept.updated_at,
            after,
            frames: kept.frames.range(after + 1..).map(|(_, frame)| frame.clone()).collect(),
            pieces,
        })
    }

    fn list(&self, filter: &ContextFilter) -> Vec<ContextSummary> {
        let is_asked = |id: &ContextId| {
            filter.context.as_ref().is_none_or(|only| only == id)
                && filter.after.as_ref().is_none_or(|after| id > after)
                && filter.is_of_tenant(id)
        };
        let found = self.kept.iter().filter(|(id, _)| is_asked(id)).take(filter.limit.clamp(1, rules::PAGE_LIMIT + 1));
        found.map(|(id, kept)| self.summary(id, kept)).collect()
    }

    fn summary(&self, id: &ContextId, kept: &Kept) -> ContextSummary {
        let pieces = kept.named.keys().filter_map(|key| self.pieces.get(key));
        ContextSummary {
            context: id.clone(),
            version: kept.version,
            size_bytes: kept.size_bytes,
            items: kept.items,
            frames: kept.frames.len() as u64,
            frame_bytes: kept.frames.values().map(|frame| frame.len() as u64).sum(),
            piece_bytes: pieces.map(|(piece, _)| piece.bytes.len() as u64).sum(),
            updated_at: kept.updated_at,
        }
    }

    /// Removes a context; answers whether it was there.
    fn remove(&mut self, context: &ContextId) -> bool {
        let Some(kept) = self.kept.remove(context) else { return false };
        let_go(&mut self.pieces, kept.named.into_keys());
        true
    }
}

/// Notes that a context names pieces since a version, counted once each.
fn name(
    all: &mut HashMap<PieceKey, (SharedObject, usize)>,
    named: &mut HashMap<PieceKey, u64>,
    pieces: Vec<SharedObject>,
    version: u64,
) {
    for piece in pieces {
        let key = (piece.kind, piece.name);
        match named.get_mut(&key) {
            Some(since) => *since = version.max(*since),
            None => {
                named.insert(key, version);
                all.entry(key).or_insert_with(|| (piece, 0)).1 += 1;
            }
        }
    }
}

/// Notes that a context names pieces no more, and drops those that none does.
fn let_go(all: &mut HashMap<PieceKey, (SharedObject, usize)>, former: impl Iterator<Item = PieceKey>) {
    for key in former {
        let Some((_, uses)) = all.get_mut(&key) else { continue };
        *uses -= 1;
        if *uses == 0 {
            all.remove(&key);
        }
    }
}

impl State {
    pub fn context(&self, read: ContextRead) -> Option<StoredContext> {
        self.pools[self.pool(&read.pool)? as usize].contexts.read(read.context, read.held)
    }

    pub fn contexts(&self, filter: &ContextFilter) -> Vec<ContextSummary> {
        self.pool(&filter.pool).map_or_else(Vec::new, |pool| self.pools[pool as usize].contexts.list(filter))
    }

    pub fn rebase(&mut self, base: ContextBase) -> bool {
        self.pool(&base.pool).is_some_and(|pool| self.pools[pool as usize].contexts.rebase(base))
    }

    pub fn delete_context(&mut self, pool: PoolName, context: ContextId) -> Result<(), StateConflict> {
        let Some(index) = self.pool(&pool) else { return Err(StateConflict::NoContext { pool, context }) };
        let found = &mut self.pools[index as usize];
        if let Some(slot) = found.lines.get(&context).and_then(|line| line.any()) {
            return Err(StateConflict::ContextInUse { context, task: self.slots.at(slot).task.id });
        }
        match found.contexts.remove(&context) {
            true => Ok(()),
            false => Err(StateConflict::NoContext { pool, context }),
        }
    }

    pub fn expire_contexts(&mut self, before: Timestamp, limit: usize) -> usize {
        let mut removed = 0;
        for pool in &mut self.pools {
            let old = pool.contexts.kept.iter().filter(|(id, kept)| {
                kept.updated_at < before && pool.lines.get(*id).is_none_or(|line| line.any().is_none())
            });
            let old: Vec<_> = old.map(|(id, _)| id.clone()).take(limit - removed).collect();
            removed += old.iter().filter(|id| pool.contexts.remove(id)).count();
        }
        removed
    }
}

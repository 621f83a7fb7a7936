//! The node's cache of contexts, for all its agents. It has each item once, within a limit.

use std::collections::{BTreeMap, HashMap};

use parking_lot::{Mutex, MutexGuard};

use forerunner_context::{Error, ItemStore};
use forerunner_core::{ContextId, PoolName};

use super::Memory;

type Key = (PoolName, ContextId);

/// A cache of contexts, limited by the bytes of their distinct items. It evicts the least recently used context first.
///
/// An agent that continues a conversation of another agent gets the context from here instead of the store.
#[derive(Debug)]
pub(crate) struct NodeContexts(Mutex<CacheState>);

#[derive(Debug)]
struct CacheState {
    items: ItemStore,
    contexts: HashMap<Key, (Memory, u64)>,
    /// The contexts in the order of their last use.
    uses: BTreeMap<u64, Key>,
    clock: u64,
    limit_bytes: usize,
    /// Prefetched contexts that were not used yet, with their sizes.
    prefetched: HashMap<Key, usize>,
}

/// A cached context.
pub(crate) struct Found {
    pub(crate) memory: Memory,
    /// Whether it was prefetched and is used for the first time.
    pub(crate) was_prefetched: bool,
}

/// Prefetched contexts may use one part in this number of the limit.
const PREFETCH_SHARE: usize = 4;

impl NodeContexts {
    /// Creates an empty cache for at most `limit_bytes` of items.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        let items = ItemStore::new(limit_bytes);
        let (contexts, uses, prefetched) = (HashMap::new(), BTreeMap::new(), HashMap::new());
        Self(Mutex::new(CacheState { items, contexts, uses, clock: 0, limit_bytes, prefetched }))
    }

    /// Caches a context and returns it with its items shared with the other cached contexts.
    pub(crate) fn insert(&self, pool: &PoolName, memory: Memory) -> Memory {
        let mut state = self.lock();
        let key = (pool.clone(), memory.context.clone());
        let Some(snapshot) = state.add_items(&memory, &key) else { return memory };
        state.drop_context(&key);
        let memory = Memory { snapshot, ..memory };
        state.insert(key, memory.clone());
        memory
    }

    /// Caches a prefetched context, unless the cache has a version that is at least as new.
    pub(super) fn insert_prefetched(&self, pool: &PoolName, memory: Memory) {
        let mut state = self.lock();
        let key = (pool.clone(), memory.context.clone());
        let is_old = |(now, _): &(Memory, u64)| {
            now.context_version().born == memory.context_version().born && now.version >= memory.version
        };
        if state.contexts.get(&key).is_some_and(is_old) {
            return;
        }
        let size = memory.snapshot.size_bytes();
        let Some(snapshot) = state.add_items(&memory, &key) else { return };
        state.drop_context(&key);
        state.prefetched.insert(key.clone(), size);
        state.insert(key, Memory { snapshot, ..memory });
    }

    /// Bytes that further prefetched contexts may use.
    pub(super) fn prefetch_room(&self) -> u64 {
        let state = self.lock();
        let unused: usize = state.prefetched.values().sum();
        (state.limit_bytes / PREFETCH_SHARE).saturating_sub(unused) as u64
    }

    /// Returns the cached version of a context, without counting a use.
    pub(super) fn version(&self, pool: &PoolName, context: &ContextId) -> Option<u64> {
        self.lock().contexts.get(&(pool.clone(), context.clone())).map(|(memory, _)| memory.version)
    }

    /// Returns a cached context and counts a use.
    pub(crate) fn find(&self, pool: &PoolName, context: &ContextId) -> Option<Found> {
        let mut state = self.lock();
        let key = (pool.clone(), context.clone());
        let (memory, used) = state.contexts.remove(&key)?;
        state.uses.remove(&used);
        let was_prefetched = state.prefetched.remove(&key).is_some();
        state.insert(key, memory.clone());
        Some(Found { memory, was_prefetched })
    }

    /// Evicts a context.
    pub(crate) fn evict(&self, pool: &PoolName, context: &ContextId) {
        self.lock().drop_context(&(pool.clone(), context.clone()));
    }

    /// Returns the number of contexts, and the bytes of distinct items.
    pub(crate) fn size(&self) -> (usize, usize) {
        let state = self.lock();
        (state.contexts.len(), state.items.size_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, CacheState> {
        self.0.lock()
    }
}

impl CacheState {
    /// Adds the items of a context. Evicts other contexts for space, but not the same one, which shares most of the
    /// items.
    fn add_items(&mut self, memory: &Memory, key: &Key) -> Option<forerunner_context::Snapshot> {
        loop {
            match self.items.acquire(&memory.snapshot) {
                Ok(snapshot) => return Some(snapshot),
                Err(Error::StoreFull { .. }) => {
                    let oldest = self.uses.values().find(|other| *other != key).cloned();
                    // A context that exceeds the limit is not cached, and its cached version is outdated.
                    let victim = oldest.unwrap_or_else(|| key.clone());
                    if !self.drop_context(&victim) {
                        return None;
                    }
                }
                Err(_) => return None,
            }
        }
    }

    fn insert(&mut self, key: Key, memory: Memory) {
        self.clock += 1;
        self.uses.insert(self.clock, key.clone());
        self.contexts.insert(key, (memory, self.clock));
    }

    /// Returns whether the context was cached.
    fn drop_context(&mut self, key: &Key) -> bool {
        let Some((memory, used)) = self.contexts.remove(key) else { return false };
        self.uses.remove(&used);
        self.prefetched.remove(key);
        let given = self.items.release(&memory.snapshot);
        debug_assert!(given.is_ok(), "cached contexts have their items in the item store");
        true
    }
}

#[cfg(test)]
mod tests {
    use forerunner_context::Snapshot;

    use super::*;

    fn memory(name: &str, version: u64, texts: &[&str]) -> Memory {
        let mut snapshot = Snapshot::new();
        texts.iter().for_each(|text| snapshot.push(text.repeat(10)).unwrap());
        Memory { version, snapshot, ..Memory::new(ContextId::new(name).unwrap()) }
    }

    fn found(contexts: &NodeContexts, name: &str) -> Option<u64> {
        contexts.find(&pool(), &ContextId::new(name).unwrap()).map(|found| found.memory.version)
    }

    fn pool() -> PoolName {
        PoolName::new("p").unwrap()
    }

    #[test]
    fn the_newest_version_is_held_and_shared_items_once() {
        let contexts = NodeContexts::new(1_000);
        contexts.insert(&pool(), memory("a", 1, &["s", "x"]));
        contexts.insert(&pool(), memory("b", 1, &["s", "y"]));
        contexts.insert(&pool(), memory("a", 2, &["s", "x", "z"]));
        assert_eq!((found(&contexts, "a"), found(&contexts, "b"), found(&contexts, "c")), (Some(2), Some(1), None));
        assert_eq!(contexts.size(), (2, 40));
        let other = PoolName::new("other").unwrap();
        assert!(contexts.find(&other, &ContextId::new("a").unwrap()).is_none());
        contexts.evict(&pool(), &ContextId::new("a").unwrap());
        assert_eq!((found(&contexts, "a"), contexts.size().0), (None, 1));
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let contexts = NodeContexts::new(30);
        for name in ["a", "b", "c"] {
            contexts.insert(&pool(), memory(name, 1, &[name]));
        }
        assert_eq!(found(&contexts, "a"), Some(1));
        contexts.insert(&pool(), memory("d", 1, &["d"]));
        let there = ["a", "b", "c", "d"].map(|name| found(&contexts, name).is_some());
        assert_eq!(there, [true, false, true, true]);
    }

    #[test]
    fn a_context_over_the_bound_is_not_kept_and_its_old_version_goes() {
        let contexts = NodeContexts::new(30);
        contexts.insert(&pool(), memory("a", 1, &["a"]));
        let cached = contexts.insert(&pool(), memory("a", 2, &["a", "b", "c", "d"]));
        assert_eq!((cached.version, cached.snapshot.len()), (2, 4));
        assert_eq!(found(&contexts, "a"), None);
    }

    #[test]
    fn what_is_restored_ahead_has_a_quarter_of_the_room_until_it_is_used() {
        let contexts = NodeContexts::new(400);
        assert_eq!(contexts.prefetch_room(), 100);
        contexts.insert_prefetched(&pool(), memory("a", 3, &["a", "b"]));
        assert_eq!(contexts.prefetch_room(), 80);
        let context = ContextId::new("a").unwrap();
        assert!(contexts.find(&pool(), &context).unwrap().was_prefetched);
        assert!(!contexts.find(&pool(), &context).unwrap().was_prefetched);
        assert_eq!(contexts.prefetch_room(), 100);
    }

    #[test]
    fn what_is_restored_ahead_takes_the_place_of_nothing_newer() {
        let contexts = NodeContexts::new(400);
        contexts.insert(&pool(), memory("a", 4, &["a"]));
        for version in [3, 4] {
            contexts.insert_prefetched(&pool(), memory("a", version, &["b"]));
            assert_eq!((found(&contexts, "a"), contexts.prefetch_room()), (Some(4), 100));
        }
        contexts.insert_prefetched(&pool(), memory("a", 5, &["b"]));
        assert_eq!(contexts.prefetch_room(), 90);
        contexts.insert(&pool(), memory("a", 6, &["c"]));
        assert_eq!((contexts.prefetch_room(), contexts.size().0), (100, 1));
    }
}

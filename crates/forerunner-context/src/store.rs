//! The items of all contexts on a node, each stored once.

use std::collections::{BTreeMap, HashMap};

use crate::{Error, Item, ItemHash, Snapshot};

/// The items of all contexts of a node's agents: one copy of each, with a reference count, within a bound in bytes.
///
/// A context is acquired when an agent gets it and released when the agent evicts it. Items without references stay
/// while there is room, those released last for longest, so that a context that returns is still there. It is neither a
/// lock nor a cache of frames: put it behind a lock to share it between threads.
///
/// ```
/// use forerunner_context::{ItemStore, Snapshot};
///
/// let mut store = ItemStore::new(1_000);
/// let [mut one, mut other] = [Snapshot::new(), Snapshot::new()];
/// one.push("the system prompt")?;
/// other.push("the system prompt")?;
/// let one = store.acquire(&one)?;
/// let other = store.acquire(&other)?;
/// assert_eq!(store.size_bytes(), 17);
/// assert!(std::ptr::eq(one.items()[0].bytes(), other.items()[0].bytes()));
/// # Ok::<(), forerunner_context::Error>(())
/// ```
#[derive(Debug)]
pub struct ItemStore {
    limit_bytes: usize,
    items: HashMap<ItemHash, StoredItem>,
    /// Items without references, by the time of their release.
    idle: BTreeMap<u64, ItemHash>,
    size_bytes: usize,
    idle_bytes: usize,
    /// Counts releases: later is larger.
    clock: u64,
}

#[derive(Debug)]
struct StoredItem {
    item: Item,
    /// How often contexts in use have it.
    uses: usize,
    /// Its place among the idle ones, while there are no uses.
    idle_since: u64,
}

impl ItemStore {
    /// Makes an empty store for at most `limit_bytes` of items.
    pub fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, items: HashMap::new(), idle: BTreeMap::new(), size_bytes: 0, idle_bytes: 0, clock: 0 }
    }

    /// Acquires a context, and returns it with its items shared with all others that have them.
    ///
    /// Drops items without references for room, those released first first. Release the result with
    /// [`ItemStore::release`].
    ///
    /// # Errors
    /// [`Error::StoreFull`] when the items in use leave no room; the store is then unchanged.
    pub fn acquire(&mut self, snapshot: &Snapshot) -> Result<Snapshot, Error> {
        self.make_room(snapshot)?;
        let items: Vec<Item> = snapshot.items().iter().map(|item| self.acquire_item(item)).collect();
        Snapshot::from_items(items, *snapshot.limits())
    }

    /// Releases an acquired context, once.
    ///
    /// # Errors
    /// [`Error::NotInUse`] for an item that no context in use has; the store is then unchanged.
    pub fn release(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let mut given: HashMap<&ItemHash, usize> = HashMap::new();
        snapshot.items().iter().for_each(|item| *given.entry(item.hash()).or_default() += 1);
        let lacks =
            |(hash, uses): &(&&ItemHash, &usize)| self.items.get(**hash).is_none_or(|items| items.uses < **uses);
        if let Some((hash, _)) = given.iter().find(lacks) {
            return Err(Error::NotInUse { hash: **hash });
        }
        snapshot.items().iter().for_each(|item| self.release_item(item.hash()));
        Ok(())
    }

    /// Finds an item that is at hand, in use or idle.
    pub fn get(&self, hash: &ItemHash) -> Option<&Item> {
        self.items.get(hash).map(|items| &items.item)
    }

    /// Returns the bytes of all items at hand: never more than the limit.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Returns the bytes of the items without references: what can be dropped.
    pub fn idle_bytes(&self) -> usize {
        self.idle_bytes
    }

    /// Returns how many items are at hand.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Drops idle items until those of `snapshot` fit. Its own idle items stay.
    fn make_room(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let mut wanted: HashMap<&ItemHash, usize> = HashMap::new();
        snapshot.items().iter().for_each(|item| {
            wanted.insert(item.hash(), item.size_bytes());
        });
        let is_used = |hash: &ItemHash| self.items.get(hash).is_some_and(|items| items.uses > 0);
        let used_bytes = self.size_bytes - self.idle_bytes;
        let more_bytes: usize = wanted.iter().filter(|(hash, _)| !is_used(hash)).map(|(_, bytes)| bytes).sum();
        if used_bytes.saturating_add(more_bytes) > self.limit_bytes {
            return Err(Error::StoreFull { bytes: more_bytes, used_bytes, limit: self.limit_bytes });
        }
        let new = wanted.iter().filter(|(hash, _)| !self.items.contains_key(**hash));
        let new_bytes: usize = new.map(|(_, bytes)| bytes).sum();
        while self.size_bytes + new_bytes > self.limit_bytes {
            let Some((&since, _)) = self.idle.iter().find(|(_, hash)| !wanted.contains_key(hash)) else { break };
            self.drop_idle(since);
        }
        Ok(())
    }

    fn drop_idle(&mut self, since: u64) {
        if let Some(dropped) = self.idle.remove(&since).and_then(|hash| self.items.remove(&hash)) {
            self.size_bytes -= dropped.item.size_bytes();
            self.idle_bytes -= dropped.item.size_bytes();
        }
    }

    fn acquire_item(&mut self, item: &Item) -> Item {
        let items = self.items.entry(*item.hash()).or_insert_with(|| {
            self.size_bytes += item.size_bytes();
            self.idle_bytes += item.size_bytes();
            StoredItem { item: item.clone(), uses: 0, idle_since: u64::MAX }
        });
        if items.uses == 0 {
            self.idle.remove(&items.idle_since);
            self.idle_bytes -= item.size_bytes();
        }
        items.uses += 1;
        items.item.clone()
    }

    fn release_item(&mut self, hash: &ItemHash) {
        let Some(items) = self.items.get_mut(hash) else { return };
        items.uses -= 1;
        if items.uses == 0 {
            items.idle_since = self.clock;
            self.idle.insert(self.clock, *hash);
            self.idle_bytes += items.item.size_bytes();
            self.clock += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// One item of ten bytes a letter.
    fn context(letters: &str) -> Snapshot {
        let mut snapshot = Snapshot::new();
        letters.chars().for_each(|letter| snapshot.push(letter.to_string().repeat(10)).unwrap());
        snapshot
    }

    fn at_hand(store: &ItemStore, letter: &str) -> bool {
        store.get(context(letter).items()[0].hash()).is_some()
    }

    #[test]
    fn items_are_held_once_and_as_long_as_someone_has_them() {
        let mut store = ItemStore::new(40);
        let (one, other) = (store.acquire(&context("abb")).unwrap(), store.acquire(&context("bc")).unwrap());
        assert_eq!((store.len(), store.size_bytes(), store.idle_bytes()), (3, 30, 0));
        assert!(std::ptr::eq(one.items()[1].bytes(), other.items()[0].bytes()));
        store.release(&one).unwrap();
        assert_eq!((store.size_bytes(), store.idle_bytes()), (30, 10), "b is still in use");
    }

    #[test]
    fn what_was_given_back_first_makes_room_first() {
        let mut store = ItemStore::new(30);
        for letter in ["a", "b", "c"] {
            let acquired = store.acquire(&context(letter)).unwrap();
            store.release(&acquired).unwrap();
        }
        let again = store.acquire(&context("a")).unwrap();
        store.release(&again).unwrap();
        store.acquire(&context("de")).unwrap();
        assert_eq!(["a", "b", "c", "d", "e"].map(|letter| at_hand(&store, letter)), [true, false, false, true, true]);
    }

    #[test]
    fn items_in_use_are_not_dropped_and_a_full_store_says_so() {
        let mut store = ItemStore::new(30);
        let acquired = store.acquire(&context("ab")).unwrap();
        let refused = Error::StoreFull { bytes: 20, used_bytes: 20, limit: 30 };
        assert_eq!(store.acquire(&context("acd")), Err(refused));
        assert_eq!((store.len(), store.size_bytes()), (2, 20));
        store.release(&acquired).unwrap();
        assert!(store.acquire(&context("acd")).is_ok());
        assert!(!at_hand(&store, "b"));
    }

    #[test]
    fn giving_back_more_than_was_taken_is_an_error() {
        let mut store = ItemStore::new(100);
        store.acquire(&context("ab")).unwrap();
        let hash = *context("b").items()[0].hash();
        assert_eq!(store.release(&context("bb")), Err(Error::NotInUse { hash }));
        assert_eq!(store.release(&context("ab")), Ok(()));
        assert!(matches!(store.release(&context("a")), Err(Error::NotInUse { .. })));
    }

    proptest! {
        #[test]
        fn the_account_is_right_after_any_moves(moves in vec((any::<bool>(), "[a-f]{0,5}"), 0..60)) {
            let mut store = ItemStore::new(50);
            let mut acquired = Vec::new();
            for (gives_back, letters) in moves {
                if gives_back && !acquired.is_empty() {
                    store.release(&acquired.remove(0)).unwrap();
                } else if let Ok(snapshot) = store.acquire(&context(&letters)) {
                    acquired.push(snapshot);
                }
                let used: std::collections::HashSet<_> =
                    acquired.iter().flat_map(|snapshot| snapshot.items()).map(|item| *item.hash()).collect();
                prop_assert!(store.size_bytes() <= 50);
                prop_assert_eq!(store.size_bytes(), store.len() * 10);
                prop_assert_eq!(store.size_bytes() - store.idle_bytes(), used.len() * 10);
                prop_assert!(used.iter().all(|hash| store.get(hash).is_some()));
            }
        }
    }
}

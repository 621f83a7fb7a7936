//! Items that many contexts share: system prompts, tool schemas, common answers of tools.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use crate::{Error, Item, ItemHash, ItemTag, Snapshot};

/// Smaller items cost less to send than to share.
pub const MIN_BASE_BYTES: usize = 64;

/// An immutable set of items that sender and receiver share, so that a frame names them instead of containing them.
///
/// Cloning shares it. A frame names single items, so the two sides need not have the same set. The receiver needs the
/// named items; its error names one that it lacks. An item must stay for as long as stored frames name it.
#[derive(Debug, Clone, Default)]
pub struct BaseItems(Arc<BTreeMap<ItemTag, Item>>);

impl BaseItems {
    /// Builds the set of `items`. Of two that share a tag, by chance of 1 in 2⁶⁴ a pair, the first stays.
    pub fn new(items: impl IntoIterator<Item = Item>) -> Self {
        let mut set = BTreeMap::new();
        for item in items {
            set.entry(item.hash().tag()).or_insert(item);
        }
        Self(Arc::new(set))
    }

    /// Promotes the items of more than [`MIN_BASE_BYTES`] that occur in at least two of the sessions.
    ///
    /// If `max_bytes` cannot contain all, those that saved most, by size times sessions, go first. The same sessions
    /// give the same set.
    pub fn common<'a>(sessions: impl IntoIterator<Item = &'a Snapshot>, max_bytes: usize) -> Self {
        let mut seen: HashMap<ItemHash, (Item, usize)> = HashMap::new();
        for session in sessions {
            let mut counted = HashSet::new();
            for item in session.items().iter().filter(|item| item.size_bytes() > MIN_BASE_BYTES) {
                if counted.insert(*item.hash()) {
                    seen.entry(*item.hash()).or_insert_with(|| (item.clone(), 0)).1 += 1;
                }
            }
        }
        let mut common: Vec<_> = seen.into_values().filter(|(_, sessions)| *sessions >= 2).collect();
        common.sort_unstable_by_key(|(item, sessions)| {
            (std::cmp::Reverse(item.size_bytes().saturating_mul(*sessions)), *item.hash())
        });
        let mut left = max_bytes;
        Self::new(common.into_iter().map(|(item, _)| item).filter(|item| match left.checked_sub(item.size_bytes()) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        }))
    }

    /// Returns whether exactly this item is in the set.
    pub fn contains(&self, item: &Item) -> bool {
        self.0.get(&item.hash().tag()) == Some(item)
    }

    /// Finds an item by the name that a frame gives it.
    ///
    /// # Errors
    /// [`Error::BaseItem`] when it is not at hand: ask the sender for it.
    pub fn get(&self, tag: ItemTag) -> Result<&Item, Error> {
        self.0.get(&tag).ok_or(Error::BaseItem { tag })
    }

    /// Returns the items, in the order of their tags.
    pub fn iter(&self) -> impl Iterator<Item = &Item> {
        self.0.values()
    }

    /// Returns how many items there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the size of all items in bytes.
    pub fn size_bytes(&self) -> usize {
        self.iter().map(Item::size_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    fn session(texts: &[&str]) -> Snapshot {
        Snapshot::from_items(texts.iter().map(|text| Item::new(text.as_bytes())), Limits::default()).unwrap()
    }

    #[test]
    fn long_items_of_two_sessions_are_promoted() {
        let [system, schema, own] = ["s", "t", "o"].map(|text| text.repeat(100));
        let one = session(&[&system, "short", &schema, &own, &own]);
        let other = session(&[&system, "short", &schema]);
        let set = BaseItems::common([&one, &other], 1_000);
        assert_eq!((set.len(), set.size_bytes()), (2, 200));
        assert!(set.contains(&one.items()[0]) && set.contains(&one.items()[2]));
        assert!(!set.contains(&one.items()[3]), "twice in one session is one session");
    }

    #[test]
    fn the_bound_keeps_what_saves_most() {
        let [long, common] = [("l", 100), ("c", 90)].map(|(text, times)| text.repeat(times));
        let sessions = [session(&[&long, &common]), session(&[&long, &common]), session(&[&common])];
        let set = BaseItems::common(&sessions, 100);
        assert_eq!((set.len(), set.size_bytes()), (1, 90));
    }

    #[test]
    fn an_item_that_is_missing_is_asked_for_by_name() {
        let item = Item::new(b"a system prompt".as_slice());
        let tag = item.hash().tag();
        assert_eq!(BaseItems::default().get(tag), Err(Error::BaseItem { tag }));
        assert_eq!(BaseItems::new([item.clone()]).get(tag), Ok(&item));
    }
}

//! A whole context at one moment.

use std::{fmt, sync::OnceLock};

use crate::{Error, Item, Limits, Root, RootTag};

/// A whole context at one moment: items in order, within its [`Limits`].
///
/// Cloning shares the items. Two snapshots are equal when their items are; limits do not count.
#[derive(Clone, Default)]
pub struct Snapshot {
    items: Vec<Item>,
    size_bytes: usize,
    /// Computed when first asked for: pushing n items then costs n steps, not n².
    root: OnceLock<Root>,
    limits: Limits,
}

impl Snapshot {
    /// Builds an empty snapshot with the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Builds an empty snapshot.
    pub fn with_limits(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Builds a snapshot of `items`, as after a compaction or any other edit.
    ///
    /// # Errors
    /// [`Error::Items`] or [`Error::DecodedSize`] when `items` do not fit into `limits`.
    pub fn from_items(items: impl IntoIterator<Item = Item>, limits: Limits) -> Result<Self, Error> {
        let mut snapshot = Self::with_limits(limits);
        items.into_iter().try_for_each(|item| snapshot.push_item(item))?;
        Ok(snapshot)
    }

    /// Appends a copy of `bytes` as one item. On an error the snapshot is unchanged.
    ///
    /// # Errors
    /// [`Error::Items`] or [`Error::DecodedSize`] when the snapshot is full.
    pub fn push(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
        let bytes = bytes.as_ref();
        self.check_room(bytes.len())?;
        self.append(Item::new(bytes));
        Ok(())
    }

    /// Appends an item and shares its bytes. On an error the snapshot is unchanged.
    ///
    /// # Errors
    /// [`Error::Items`] or [`Error::DecodedSize`] when the snapshot is full.
    pub fn push_item(&mut self, item: Item) -> Result<(), Error> {
        self.check_room(item.size_bytes())?;
        self.append(item);
        Ok(())
    }

    fn check_room(&self, item_bytes: usize) -> Result<(), Error> {
        self.limits.check_items(self.items.len() + 1)?;
        self.limits.check_decoded(self.size_bytes.saturating_add(item_bytes))
    }

    fn append(&mut self, item: Item) {
        self.size_bytes += item.size_bytes();
        self.items.push(item);
        self.root = OnceLock::new();
    }

    /// Returns the items in order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Returns the number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the sum of the sizes of all items, in bytes. Items that occur twice count twice.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Returns the limits of this snapshot and of frames made of it.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the name of this list of items. Hashes 32 bytes an item when first called after a change.
    pub fn root(&self) -> Root {
        *self.root.get_or_init(|| Root::of(&self.items))
    }

    /// Checks that this is the snapshot that a frame names.
    pub(crate) fn verify(&self, expected: RootTag) -> Result<(), Error> {
        let found = self.root().tag();
        if found != expected {
            return Err(Error::Root { expected, found });
        }
        Ok(())
    }
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        self.items == other.items
    }
}

impl Eq for Snapshot {}

impl fmt::Debug for Snapshot {
    /// Shows size and root: contents are private and large.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Snapshot");
        shown.field("items", &self.len()).field("size_bytes", &self.size_bytes).field("root", &self.root()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(texts: &[&str]) -> Snapshot {
        let mut snapshot = Snapshot::new();
        texts.iter().for_each(|text| snapshot.push(text).unwrap());
        snapshot
    }

    #[test]
    fn the_root_names_items_and_their_order() {
        let root = snapshot(&["a", "b"]).root();
        assert_eq!(root, snapshot(&["a", "b"]).root());
        for other in [&["b", "a"][..], &["ab"], &["a"], &["a", "b", ""], &[]] {
            assert_ne!(root, snapshot(other).root(), "{other:?}");
        }
    }

    #[test]
    fn a_push_changes_the_root_of_the_clone_only() {
        let before = snapshot(&["a"]);
        let root = before.root();
        let mut after = before.clone();
        after.push("b").unwrap();
        assert_eq!(before.root(), root);
        assert_ne!(after.root(), root);
        assert_eq!((after.len(), after.size_bytes()), (2, 2));
    }

    #[test]
    fn a_full_snapshot_refuses_an_item_and_stays_as_it_was() {
        let limits = Limits { items: 2, decoded_bytes: 5, ..Limits::default() };
        let mut full = Snapshot::with_limits(limits);
        full.push("abc").unwrap();
        assert_eq!(full.push("def"), Err(Error::DecodedSize { bytes: 6, limit: 5 }));
        full.push("d").unwrap();
        let before = full.clone();
        assert_eq!(full.push(""), Err(Error::Items { items: 3, limit: 2 }));
        assert_eq!(full, before);
    }
}

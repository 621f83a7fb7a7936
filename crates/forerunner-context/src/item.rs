//! One piece of a context.

use std::{fmt, sync::Arc};

/// One piece of a context, named by its content: a message, a system prompt, a tool schema, a map of metadata.
///
/// Cloning shares the bytes. Two items are equal when their hashes are.
#[derive(Clone)]
pub struct Item {
    bytes: Arc<[u8]>,
    hash: ItemHash,
}

impl Item {
    /// Wraps bytes and hashes them. An [`Arc`] is used without a copy; other sources are copied once.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let hash = ItemHash::of(&bytes);
        Self { bytes, hash }
    }

    /// Returns the content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the content without copying it.
    pub fn shared_bytes(&self) -> Arc<[u8]> {
        Arc::clone(&self.bytes)
    }

    /// Returns the name of the content.
    pub fn hash(&self) -> &ItemHash {
        &self.hash
    }

    /// Returns the size of the content in bytes.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl AsRef<Item> for Item {
    fn as_ref(&self) -> &Item {
        self
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for Item {}

impl fmt::Debug for Item {
    /// Shows size and hash: contents are private and large.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item").field("size_bytes", &self.size_bytes()).field("hash", &self.hash).finish()
    }
}

/// BLAKE3-256 of an item's bytes. All 32 bytes, since items may be shared between contexts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemHash([u8; 32]);

impl ItemHash {
    /// Hashes the bytes of an item.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Returns the 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the part by which a frame names a base item.
    pub const fn tag(&self) -> ItemTag {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        ItemTag([a, b, c, d, e, f, g, h])
    }
}

/// The first 8 bytes of an [`ItemHash`].
///
/// Enough to find an item in a set of base items. What proves it is the root of the result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemTag(pub(crate) [u8; 8]);

impl fmt::Display for ItemTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for ItemTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for ItemHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for ItemHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// Writes bytes as lower-case hexadecimal.
pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_its_content() {
        let item = Item::new(b"hello".as_slice());
        assert_eq!(item, Item::new(b"hello".to_vec()));
        assert_ne!(item, Item::new(b"hello ".as_slice()));
        assert_eq!((item.bytes(), item.size_bytes()), (b"hello".as_slice(), 5));
        // The published BLAKE3 hash of the empty input.
        let empty = Item::new([]).hash().to_string();
        assert_eq!(empty, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    }

    #[test]
    fn a_clone_shares_its_bytes_and_hides_them_from_logs() {
        let item = Item::new(b"secret".as_slice());
        assert!(Arc::ptr_eq(&item.shared_bytes(), &item.clone().shared_bytes()));
        assert!(!format!("{item:?}").contains("secret"));
    }
}

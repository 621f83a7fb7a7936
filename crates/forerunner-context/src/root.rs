//! The name of a list of items.

use std::fmt;

use crate::{Item, item::write_hex};

/// Names a list of items: 16 bytes of BLAKE3 over their hashes in order.
///
/// In derive-key mode with the context string [`Root::DOMAIN`], so that no item can pass for a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Root([u8; 16]);

impl Root {
    /// The context string of the derive-key mode.
    pub const DOMAIN: &'static str = "forerunner-context snapshot root v1";

    /// Returns the 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns the part by which a frame names its result.
    pub const fn tag(&self) -> RootTag {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        RootTag([a, b, c, d, e, f, g, h])
    }

    pub(crate) fn of(items: &[Item]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(Self::DOMAIN);
        for item in items {
            hasher.update(item.hash().as_bytes());
        }
        let mut root = [0; 16];
        hasher.finalize_xof().fill(&mut root);
        Self(root)
    }
}

/// The first 8 bytes of a [`Root`]: a frame names its resulting snapshot by them.
///
/// 64 bits and not 128, since a turn is often under 150 bytes in all. A result that differs by accident passes with a
/// chance of 1 in 2⁶⁴, after it has passed the frame's checksum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootTag(pub(crate) [u8; 8]);

impl RootTag {
    /// Wraps a tag read from a store.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Returns the 8 bytes.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// Returns the part by which a delta names its parent.
    pub const fn parent(&self) -> ParentTag {
        let [a, b, c, d, ..] = self.0;
        ParentTag([a, b, c, d])
    }
}

/// The first 4 bytes of a parent's [`Root`].
///
/// Enough to detect a wrong parent early and by name. The tag of the result makes it impossible: a parent that shares
/// these bytes by chance (1 in 4·10⁹) yields [`Error::Root`](crate::Error::Root) instead of
/// [`Error::Parent`](crate::Error::Parent).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ParentTag(pub(crate) [u8; 4]);

/// Shows a name as lower-case hexadecimal.
macro_rules! shown_as_hex {
    ($($name:ty)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }
    )*};
}

shown_as_hex!(Root RootTag ParentTag);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_documented_one_and_the_tags_are_its_beginnings() {
        let mut hashes = Vec::new();
        for text in ["a", "b"] {
            hashes.extend_from_slice(blake3::hash(text.as_bytes()).as_bytes());
        }
        let expected = blake3::derive_key("forerunner-context snapshot root v1", &hashes);
        let root = Root::of(&["a", "b"].map(|text| Item::new(text.as_bytes())));
        assert_eq!(root.as_bytes(), &expected[..16]);
        assert_eq!(root.tag().as_bytes(), &expected[..8]);
        assert!(root.to_string().starts_with(&root.tag().parent().to_string()));
    }
}

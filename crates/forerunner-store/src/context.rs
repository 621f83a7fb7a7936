//! Contexts in a store: a chain of frames, and the shared objects that frames name instead of containing them.

use std::{fmt, sync::Arc};

use forerunner_core::{ContextId, PoolName, TaskId, TenantName, Timestamp};

/// A new version of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextCommit {
    /// Which context of the task's pool.
    pub context: ContextId,
    /// Which context of that name: [`born_of`] the task that begins it. Refused as a lost lease when the stored one
    /// differs, as after it was deleted and begun anew.
    pub born: u64,
    /// The version this one follows; 0 for none. Refused as a lost lease when the stored one differs.
    pub parent_version: u64,
    /// The encoded frame.
    pub frame: Vec<u8>,
    /// Whether the frame needs no other. A full frame replaces all frames before it, and the objects that only they
    /// named.
    pub full: bool,
    /// Size of the whole context after it, in bytes.
    pub size_bytes: u64,
    /// Number of items after it.
    pub items: u64,
    /// All objects that the frame names, those of earlier frames included: a base may replace them at any time.
    pub pieces: Vec<SharedObject>,
}

impl ContextCommit {
    /// Returns the bytes of its frame and of its objects.
    pub fn added_bytes(&self) -> u64 {
        let pieces: usize = self.pieces.iter().map(|piece| piece.bytes.len()).sum();
        (self.frame.len() + pieces) as u64
    }
}

/// A fresh base for the frames up to a version, made outside of a task: it yields the same context as they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextBase {
    /// Of which pool.
    pub pool: PoolName,
    /// Which context.
    pub context: ContextId,
    /// Which context of that name.
    pub born: u64,
    /// The version that the frame yields. It replaces all frames up to this one; later ones stay.
    pub version: u64,
    /// The encoded frame, which needs no other.
    pub frame: Vec<u8>,
    /// What the frame names.
    pub pieces: Vec<SharedObject>,
}

/// Bytes that frames name instead of containing them, stored once for all contexts of a pool.
///
/// A shared object stays as long as the chain of a context needs it, and is removed with the last one.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedObject {
    /// What it is.
    pub kind: SharedObjectKind,
    /// BLAKE3-256 of its content.
    pub name: [u8; 32],
    /// The bytes, in whatever form its writer likes.
    pub bytes: Arc<[u8]>,
}

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SharedObjectKind {
    /// An item of contexts, such as a system prompt.
    Item = 0,
    /// A dictionary that payloads are packed with.
    Dictionary = 1,
}

impl SharedObjectKind {
    /// The kind with a number, as stored.
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::Item),
            1 => Some(Self::Dictionary),
            _ => None,
        }
    }
}

impl fmt::Debug for SharedObject {
    /// Shows kind and size: contents are private and large.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedObject")
            .field("kind", &self.kind)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// A question for a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextRead {
    /// Of which pool.
    pub pool: PoolName,
    /// Which context.
    pub context: ContextId,
    /// The version that the caller has: then only the frames after it are read, if they are still there.
    pub held: Option<ContextVersion>,
}

impl ContextRead {
    /// Asks for all of it.
    pub const fn whole(pool: PoolName, context: ContextId) -> Self {
        Self { pool, context, held: None }
    }
}

/// A version of a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContextVersion {
    /// Which context of that name.
    pub born: u64,
    /// Which version of it.
    pub version: u64,
}

/// A context as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredContext {
    /// Its id.
    pub context: ContextId,
    /// Which context of that name: one that is deleted and begun anew has another number.
    pub born: u64,
    /// Counts its commits from 1.
    pub version: u64,
    /// Size of the whole, in bytes.
    pub size_bytes: u64,
    /// Number of items.
    pub items: u64,
    /// When it was last committed.
    pub updated_at: Timestamp,
    /// The version that the frames follow: the one that the caller has, or 0 if they begin with a base.
    pub after: u64,
    /// The frames, oldest first.
    pub frames: Vec<Vec<u8>>,
    /// The objects that the frames name, without those that the caller knows from its version.
    pub pieces: Vec<SharedObject>,
}

/// Which contexts to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextFilter {
    /// Of this pool.
    pub pool: PoolName,
    /// Of this tenant; of all if there is none.
    pub tenant: Option<TenantName>,
    /// Only this one.
    pub context: Option<ContextId>,
    /// After this one, in the order of their ids' bytes: the last of the page before.
    pub after: Option<ContextId>,
    /// At most this many, 1 to 1,001: one more than a page, to see whether another page follows.
    pub limit: usize,
}

impl ContextFilter {
    /// Returns whether a context belongs to the tenant of the filter.
    pub(crate) fn is_of_tenant(&self, context: &ContextId) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| context.tenant().unwrap_or(TenantName::DEFAULT) == tenant.as_str())
    }

    /// Returns the name behind which the page begins.
    pub fn behind(&self) -> &str {
        let of_tenant = self.tenant.as_ref().filter(|tenant| !tenant.is_default()).map_or("", TenantName::as_str);
        self.after.as_ref().map_or(of_tenant, ContextId::as_str)
    }

    /// Returns what stored names of the tenant begin with; empty for the default tenant, whose names have no space.
    pub fn tenant_prefix(&self) -> Option<String> {
        self.tenant.as_ref().map(|tenant| if tenant.is_default() { String::new() } else { format!("{tenant} ") })
    }
}

/// A context, without its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextSummary {
    /// Its id.
    pub context: ContextId,
    /// Counts its commits from 1.
    pub version: u64,
    /// Size of the whole, in bytes.
    pub size_bytes: u64,
    /// Number of items.
    pub items: u64,
    /// Frames of its chain.
    pub frames: u64,
    /// Bytes of these.
    pub frame_bytes: u64,
    /// Bytes of the pieces that it names; others may name them too.
    pub piece_bytes: u64,
    /// When it was last committed.
    pub updated_at: Timestamp,
}

/// The number of a context that a task begins: the same for each attempt of it, another for any other task.
pub fn born_of(task: TaskId) -> u64 {
    let (high, low) = task.as_uuid().as_u64_pair();
    // Stores have it as a signed number; 0 is for contexts that are older than these numbers.
    ((high.rotate_left(17) ^ low) & (u64::MAX >> 1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_that_different_tasks_begin_are_told_apart() {
        let task = |number| TaskId::from_parts(Timestamp::default(), number);
        assert_eq!(born_of(task(5)), born_of(task(5)));
        assert_ne!(born_of(task(5)), born_of(task(6)));
        assert!([task(0), task(u128::MAX)].map(born_of).iter().all(|born| (1..=u64::MAX >> 1).contains(born)));
    }
}

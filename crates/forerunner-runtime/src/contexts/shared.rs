//! The items that several contexts of a pool have in common, encoded for the store.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use forerunner_context::{BaseItems, Codec, Error, Item, ItemHash, Snapshot};
use forerunner_core::ContextId;
use forerunner_store::{SharedObject, SharedObjectKind};

/// Smaller items are stored in each frame that inserts them: a reference and a row would cost about as much.
const MIN_SHARED_BYTES: usize = 256;
/// Items of at least this size are stored separately when a snapshot is written, so that no later snapshot repeats
/// them.
const LARGE_BYTES: usize = 64 << 10;
/// Most items that are remembered. The first seen are dropped first.
const MAX_SEEN: usize = 65_536;
/// Most bytes of encoded items that are remembered.
const MAX_PACKED_BYTES: usize = 32 << 20;

/// Remembers which items occurred in which contexts. Dropping one costs bytes, and nothing else.
#[derive(Debug, Default)]
pub(super) struct SharedItems {
    seen: HashMap<ItemHash, Seen>,
    order: VecDeque<ItemHash>,
    packed_bytes: usize,
}

#[derive(Debug)]
struct Seen {
    /// The context where the item occurred first; `None` once there are two.
    only_in: Option<ContextId>,
    /// The encoded item, once a frame referred to it.
    packed: Option<Arc<[u8]>>,
}

impl SharedItems {
    /// Notes that a context has these items. Returns those that its next frame should refer to instead of repeating
    /// them.
    pub fn pick(&mut self, context: &ContextId, items: &[Item], is_base: bool) -> BaseItems {
        let picked = items.iter().filter(|item| item.size_bytes() >= MIN_SHARED_BYTES).filter(|item| {
            let is_shared = self.note(context, item.hash());
            is_shared || (is_base && item.size_bytes() >= LARGE_BYTES)
        });
        BaseItems::new(picked.cloned().collect::<Vec<_>>())
    }

    /// Notes that the store has an item as a shared object, so that several contexts may have it.
    pub fn note_stored(&mut self, hash: &ItemHash, packed: &Arc<[u8]>) {
        self.entry(hash, None).only_in = None;
        self.remember_packed(hash, packed);
    }

    /// Returns whether another context has the item as well.
    fn note(&mut self, context: &ContextId, hash: &ItemHash) -> bool {
        let seen = self.entry(hash, Some(context));
        if seen.only_in.as_ref().is_some_and(|only| only != context) {
            seen.only_in = None;
        }
        seen.only_in.is_none()
    }

    fn entry(&mut self, hash: &ItemHash, context: Option<&ContextId>) -> &mut Seen {
        if !self.seen.contains_key(hash) {
            self.make_room();
            self.order.push_back(*hash);
        }
        self.seen.entry(*hash).or_insert_with(|| Seen { only_in: context.cloned(), packed: None })
    }

    fn make_room(&mut self) {
        while self.seen.len() >= MAX_SEEN || self.packed_bytes > MAX_PACKED_BYTES {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(seen) = self.seen.remove(&oldest) {
                self.packed_bytes -= seen.packed.map_or(0, |packed| packed.len());
            }
        }
    }

    /// Returns the item as a shared object.
    ///
    /// # Errors
    /// When the item does not fit into a frame.
    pub fn piece(&mut self, item: &Item) -> Result<SharedObject, Error> {
        let known = self.seen.get(item.hash()).and_then(|seen| seen.packed.clone());
        let bytes = match known {
            Some(bytes) => bytes,
            None => {
                let bytes: Arc<[u8]> = pack(item)?.into();
                self.remember_packed(item.hash(), &bytes);
                bytes
            }
        };
        Ok(SharedObject { kind: SharedObjectKind::Item, name: *item.hash().as_bytes(), bytes })
    }

    fn remember_packed(&mut self, hash: &ItemHash, bytes: &Arc<[u8]>) {
        if let Some(seen) = self.seen.get_mut(hash)
            && seen.packed.is_none()
        {
            seen.packed = Some(Arc::clone(bytes));
            self.packed_bytes += bytes.len();
        }
    }
}

/// Encodes an item as a full frame without references, which every reader of frames can read.
fn pack(item: &Item) -> Result<Vec<u8>, Error> {
    let mut alone = Snapshot::new();
    alone.push_item(item.clone())?;
    Ok(Codec::default().full(&alone)?.into_bytes())
}

/// Decodes an item of a shared object.
///
/// # Errors
/// When the bytes are not a full frame of one item.
pub(super) fn unpack(bytes: &[u8]) -> Result<Item, Error> {
    let alone = Codec::default().apply(bytes, &Snapshot::new())?;
    match alone.items() {
        [item] => Ok(item.clone()),
        items => Err(Error::Items { items: items.len(), limit: 1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(letter: char, size: usize) -> Item {
        Item::new(letter.to_string().repeat(size).into_bytes())
    }

    fn context(name: &str) -> ContextId {
        ContextId::new(name).unwrap()
    }

    #[test]
    fn an_item_is_named_once_two_contexts_have_it() {
        let mut shared = SharedItems::default();
        let [system, short, large] = [item('s', 1_000), item('x', 100), item('l', LARGE_BYTES)];
        let items = [system.clone(), short, large.clone()];
        assert_eq!(shared.pick(&context("a"), &items, false).len(), 0);
        assert_eq!(shared.pick(&context("a"), &items, false).len(), 0, "the same context again");
        assert!(shared.pick(&context("a"), &items, true).contains(&large), "large, in a base");
        let picked = shared.pick(&context("b"), &items, false);
        assert!(picked.contains(&system) && picked.contains(&large) && picked.len() == 2);
        assert_eq!(shared.pick(&context("a"), &items, false).len(), 2);
    }

    #[test]
    fn what_the_store_has_is_named_at_once() {
        let mut shared = SharedItems::default();
        let system = item('s', 1_000);
        shared.note_stored(system.hash(), &pack(&system).unwrap().into());
        assert_eq!(shared.pick(&context("a"), std::slice::from_ref(&system), false).len(), 1);
    }

    #[test]
    fn a_piece_is_the_item_alone() {
        let mut shared = SharedItems::default();
        let system = item('s', 1_000);
        shared.pick(&context("a"), std::slice::from_ref(&system), false);
        let piece = shared.piece(&system).unwrap();
        assert_eq!(unpack(&piece.bytes).unwrap(), system);
        assert_eq!(&piece.name, system.hash().as_bytes());
        assert!(Arc::ptr_eq(&piece.bytes, &shared.piece(&system).unwrap().bytes), "packed once");
        assert!(unpack(&piece.bytes[1..]).is_err());
        assert!(unpack(&Codec::default().full(&Snapshot::new()).unwrap().into_bytes()).is_err());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut shared = SharedItems::default();
        for number in 0..MAX_SEEN as u64 + 10 {
            let item = Item::new(number.to_le_bytes().repeat(40));
            shared.pick(&context("a"), &[item], false);
        }
        assert_eq!((shared.seen.len(), shared.order.len()), (MAX_SEEN, MAX_SEEN));
    }
}

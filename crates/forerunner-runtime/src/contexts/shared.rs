//! Which items the contexts of a pool have in common, and these items packed for the store.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use forerunner_context::{BaseItems, Codec, Error, Item, ItemHash, Snapshot};
use forerunner_core::ContextId;
use forerunner_store::{SharedObject, SharedObjectKind};

/// Smaller items are stored in each frame that inserts them: a name and a row of their own cost about as much.
const MIN_SHARED_BYTES: usize = 256;
/// Items from this size on are stored apart when a base is written, shared or not, so that no later base holds them again.
const LARGE_BYTES: usize = 64 << 10;
/// Items remembered at most; the first seen are forgotten first.
const MAX_SEEN: usize = 65_536;
/// Bytes of packed items remembered at most.
const MAX_PACKED_BYTES: usize = 32 << 20;

/// Remembers which items were seen in which contexts. Forgetting one costs bytes, and nothing else.
#[derive(Debug, Default)]
pub(super) struct SharedItems {
    seen: HashMap<ItemHash, Seen>,
    order: VecDeque<ItemHash>,
    packed_bytes: usize,
}

#[derive(Debug)]
struct Seen {
    /// The context that it was seen in first; none once there are two.
    only_in: Option<ContextId>,
    /// It as a piece, once a frame named it.
    packed: Option<Arc<[u8]>>,
}

impl SharedItems {
    /// Notes that a context has these items, and picks those that its next frame should name instead of holding them.
    pub fn pick(&mut self, context: &ContextId, items: &[Item], is_base: bool) -> BaseItems {
        let picked = items.iter().filter(|item| item.size_bytes() >= MIN_SHARED_BYTES).filter(|item| {
            let is_shared = self.note(context, item.hash());
            is_shared || (is_base && item.size_bytes() >= LARGE_BYTES)
        });
        BaseItems::new(picked.cloned().collect::<Vec<_>>())
    }

    /// Notes that more than one context may have an item: the store has it as a piece.
    pub fn note_stored(&mut self, hash: &ItemHash, packed: &Arc<[u8]>) {
        self.entry(hash, None).only_in = None;
        self.keep_packed(hash, packed);
    }

    /// Answers whether another context has the item as well.
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

    /// The item as a piece.
    ///
    /// # Errors
    /// When the item does not fit into a frame.
    pub fn piece(&mut self, item: &Item) -> Result<SharedObject, Error> {
        let known = self.seen.get(item.hash()).and_then(|seen| seen.packed.clone());
        let bytes = match known {
            Some(bytes) => bytes,
            None => {
                let bytes: Arc<[u8]> = pack(item)?.into();
                self.keep_packed(item.hash(), &bytes);
                bytes
            }
        };
        Ok(SharedObject { kind: SharedObjectKind::Item, name: *item.hash().as_bytes(), bytes })
    }

    fn keep_packed(&mut self, hash: &ItemHash, bytes: &Arc<[u8]>) {
        if let Some(seen) = self.seen.get_mut(hash)
            && seen.packed.is_none()
        {
            seen.packed = Some(Arc::clone(bytes));
            self.packed_bytes += bytes.len();
        }
    }
}

/// An item alone in a full frame, which names nothing: whoever reads frames reads it.
fn pack(item: &Item) -> Result<Vec<u8>, Error> {
    let mut alone = Snapshot::new();
    alone.push_item(item.clone())?;
    Ok(Codec::default().full(&alone)?.into_bytes())
}

/// Reads an item back from its piece.
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

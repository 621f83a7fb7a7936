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

/// An item of a tenant. Whether another tenant has the same item must not show in the size of a chain.
type OfTenant = (Option<Arc<str>>, ItemHash);

/// Remembers which items occurred in which contexts of a tenant. Dropping one costs bytes, and nothing else.
#[derive(Debug, Default)]
pub(super) struct SharedItems {
    seen: HashMap<OfTenant, Seen>,
    order: VecDeque<OfTenant>,
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
        let tenant = tenant_of(context);
        let picked = items.iter().filter(|item| item.size_bytes() >= MIN_SHARED_BYTES).filter(|item| {
            let is_shared = self.note(context, (tenant.clone(), *item.hash()));
            is_shared || (is_base && item.size_bytes() >= LARGE_BYTES)
        });
        BaseItems::new(picked.cloned().collect::<Vec<_>>())
    }

    /// Notes that a stored context refers to an item as a shared object, so that several contexts may have it.
    pub fn note_stored(&mut self, context: &ContextId, hash: &ItemHash, packed: &Arc<[u8]>) {
        let item = (tenant_of(context), *hash);
        self.entry(item.clone(), None).only_in = None;
        self.remember_packed(&item, packed);
    }

    /// Returns whether another context of the tenant has the item as well.
    fn note(&mut self, context: &ContextId, item: OfTenant) -> bool {
        let seen = self.entry(item, Some(context));
        if seen.only_in.as_ref().is_some_and(|only| only != context) {
            seen.only_in = None;
        }
        seen.only_in.is_none()
    }

    fn entry(&mut self, item: OfTenant, context: Option<&ContextId>) -> &mut Seen {
        if !self.seen.contains_key(&item) {
            self.make_room();
            self.order.push_back(item.clone());
        }
        self.seen.entry(item).or_insert_with(|| Seen { only_in: context.cloned(), packed: None })
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
    pub fn piece(&mut self, context: &ContextId, item: &Item) -> Result<SharedObject, Error> {
        let of_tenant = (tenant_of(context), *item.hash());
        let known = self.seen.get(&of_tenant).and_then(|seen| seen.packed.clone());
        let bytes = match known {
            Some(bytes) => bytes,
            None => {
                let bytes: Arc<[u8]> = pack(item)?.into();
                self.remember_packed(&of_tenant, &bytes);
                bytes
            }
        };
        Ok(SharedObject { kind: SharedObjectKind::Item, name: *item.hash().as_bytes(), bytes })
    }

    fn remember_packed(&mut self, item: &OfTenant, bytes: &Arc<[u8]>) {
        if let Some(seen) = self.seen.get_mut(item)
            && seen.packed.is_none()
        {
            seen.packed = Some(Arc::clone(bytes));
            self.packed_bytes += bytes.len();
        }
    }
}

fn tenant_of(context: &ContextId) -> Option<Arc<str>> {
    context.tenant().map(Arc::from)
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
    fn whether_another_tenant_has_an_item_does_not_show() {
        let mut shared = SharedItems::default();
        let of = |tenant: &str| context("a").of_tenant(&forerunner_core::TenantName::new(tenant).unwrap());
        let secret = item('s', 1_000);
        shared.note_stored(&of("acme"), secret.hash(), &pack(&secret).unwrap().into());
        let mut count = |context: &ContextId| shared.pick(context, std::slice::from_ref(&secret), false).len();
        assert_eq!([count(&of("bolt")), count(&context("a")), count(&of("acme"))], [0, 0, 1]);
    }

    #[test]
    fn what_the_store_has_is_named_at_once() {
        let mut shared = SharedItems::default();
        let system = item('s', 1_000);
        shared.note_stored(&context("z"), system.hash(), &pack(&system).unwrap().into());
        assert_eq!(shared.pick(&context("a"), std::slice::from_ref(&system), false).len(), 1);
    }

    #[test]
    fn a_piece_is_the_item_alone() {
        let mut shared = SharedItems::default();
        let system = item('s', 1_000);
        shared.pick(&context("a"), std::slice::from_ref(&system), false);
        let piece = shared.piece(&context("a"), &system).unwrap();
        assert_eq!(unpack(&piece.bytes).unwrap(), system);
        assert_eq!(&piece.name, system.hash().as_bytes());
        assert!(Arc::ptr_eq(&piece.bytes, &shared.piece(&context("a"), &system).unwrap().bytes), "packed once");
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

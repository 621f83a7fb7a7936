//! The contexts that a simulated agent holds.

use std::collections::HashMap;

use forerunner_context::{Item, ItemHash};
use forerunner_core::{
    ContextId, Timestamp,
    placement::{ResidentEntry, ResidentSet, Room},
};

use crate::agent::{OwnContext, OwnMemory};

/// Contexts by the hashes of their items; the one used longest ago goes first.
#[derive(Debug)]
pub(super) struct SimulatedMemory {
    held: ResidentSet<ContextId>,
    items: HashMap<ContextId, Vec<ItemHash>>,
    room: Room,
}

impl SimulatedMemory {
    /// Nothing, with room for so many bytes.
    pub(super) fn new(room: Room) -> Self {
        Self { held: ResidentSet::new(room), items: HashMap::new(), room }
    }

    /// Bytes of a context that are not held: all behind the items that it begins with here as well.
    pub(super) fn missing_bytes(&self, context: &ContextId, items: &[Item]) -> u64 {
        let held = self.items.get(context).map_or(&[][..], Vec::as_slice);
        let common = held.iter().zip(items).take_while(|(held, item)| *held == item.hash()).count();
        bytes(&items[common..])
    }

    /// Holds a context as it is now.
    pub(super) fn hold(&mut self, context: &ContextId, version: u64, items: &[Item]) {
        let used_at = Timestamp::default();
        self.held.insert(ResidentEntry { context: context.clone(), version, bytes: bytes(items), used_at });
        self.items.insert(context.clone(), items.iter().map(|item| *item.hash()).collect());
        self.items.retain(|context, _| self.held.get(context).is_some());
    }

    /// Forgets a context.
    pub(super) fn forget(&mut self, context: &ContextId) {
        self.held.remove(context);
        self.items.remove(context);
    }

    /// Says what is held.
    pub(super) fn own(&self) -> OwnMemory {
        let own = |held: &ResidentEntry<ContextId>| OwnContext {
            context: held.context.clone(),
            version: held.version,
            bytes: held.bytes,
        };
        OwnMemory { contexts: self.held.iter().map(own).collect(), room: self.room }
    }
}

fn bytes(items: &[Item]) -> u64 {
    items.iter().map(|item| item.size_bytes() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_any_more_is_missing_again() {
        let [red, blue] = ["red", "blue"].map(|name| ContextId::new(name).unwrap());
        let items = |texts: &[&str]| texts.iter().map(|text| Item::new(text.as_bytes())).collect::<Vec<_>>();
        let mut memory = SimulatedMemory::new(Room::of_bytes(8));
        memory.hold(&red, 1, &items(&["1234"]));
        assert_eq!(memory.missing_bytes(&red, &items(&["1234", "56"])), 2);
        assert_eq!(memory.missing_bytes(&red, &items(&["4321", "56"])), 6);
        memory.hold(&blue, 1, &items(&["12345"]));
        assert_eq!(memory.missing_bytes(&red, &items(&["1234"])), 4);
        assert_eq!(memory.own().contexts.len(), 1);
        memory.forget(&blue);
        assert!(memory.own().contexts.is_empty() && memory.items.is_empty());
    }
}

//! The contexts that are resident in a simulated agent.

use std::collections::HashMap;

use forerunner_context::{Item, ItemHash};
use forerunner_core::{
    ContextId, Timestamp,
    placement::{ResidentEntry, ResidentSet, Room},
};
use forerunner_runtime::agent::{ResidentContext, ResidentContexts};

/// Contexts by the hashes of their items. The one used longest ago is evicted first.
#[derive(Debug)]
pub(super) struct Residency {
    resident: ResidentSet<ContextId>,
    items: HashMap<ContextId, Vec<ItemHash>>,
    room: Room,
}

impl Residency {
    /// Creates an empty memory with this room.
    pub(super) fn new(room: Room) -> Self {
        Self { resident: ResidentSet::new(room), items: HashMap::new(), room }
    }

    /// Returns the bytes of a context that are not resident: all behind the items that it begins with here as well.
    pub(super) fn missing_bytes(&self, context: &ContextId, items: &[Item]) -> u64 {
        let resident = self.items.get(context).map_or(&[][..], Vec::as_slice);
        let common = resident.iter().zip(items).take_while(|(hash, item)| *hash == item.hash()).count();
        bytes(&items[common..])
    }

    /// Records that a context is resident as it is now.
    pub(super) fn record(&mut self, context: &ContextId, version: u64, items: &[Item]) {
        let used_at = Timestamp::default();
        self.resident.insert(ResidentEntry { context: context.clone(), version, bytes: bytes(items), used_at });
        self.items.insert(context.clone(), items.iter().map(|item| *item.hash()).collect());
        self.items.retain(|context, _| self.resident.get(context).is_some());
    }

    /// Removes a context.
    pub(super) fn forget(&mut self, context: &ContextId) {
        self.resident.remove(context);
        self.items.remove(context);
    }

    /// Returns the resident contexts.
    pub(super) fn contexts(&self) -> ResidentContexts {
        let context = |resident: &ResidentEntry<ContextId>| ResidentContext {
            context: resident.context.clone(),
            version: resident.version,
            bytes: resident.bytes,
        };
        ResidentContexts { contexts: self.resident.iter().map(context).collect(), room: self.room }
    }
}

fn bytes(items: &[Item]) -> u64 {
    items.iter().map(|item| item.size_bytes() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evicted_context_is_missing_again() {
        let [red, blue] = ["red", "blue"].map(|name| ContextId::new(name).unwrap());
        let items = |texts: &[&str]| texts.iter().map(|text| Item::new(text.as_bytes())).collect::<Vec<_>>();
        let mut residency = Residency::new(Room::of_bytes(8));
        residency.record(&red, 1, &items(&["1234"]));
        assert_eq!(residency.missing_bytes(&red, &items(&["1234", "56"])), 2);
        assert_eq!(residency.missing_bytes(&red, &items(&["4321", "56"])), 6);
        residency.record(&blue, 1, &items(&["12345"]));
        assert_eq!(residency.missing_bytes(&red, &items(&["1234"])), 4);
        assert_eq!(residency.contexts().contexts.len(), 1);
        residency.forget(&blue);
        assert!(residency.contexts().contexts.is_empty() && residency.items.is_empty());
    }
}

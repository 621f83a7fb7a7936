//! What a child keeps of contexts, and the least that brings it up to date.

use std::collections::HashMap;

use forerunner_context::{Item, ItemHash};
use forerunner_core::{ContextId, placement::Room};

use super::edit::{Step, steps};
use crate::agent::{OwnContext, OwnMemory};

/// Most contexts that a child is trusted with, whatever it says of itself: the node remembers what each one holds.
const MAX_CONTEXTS: usize = 1_024;

/// What must be sent before a child holds a context as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Load {
    /// It holds exactly this.
    Nothing,
    /// It holds the first `from` items and calls that state `base`: the others follow.
    Append { base: u64, from: usize },
    /// It holds other items and calls that state `base`: these steps lead from there.
    Edit { base: u64, steps: Vec<Step> },
    /// It holds none of it, or cannot follow an edit.
    Full,
}

/// What one child holds, by the hashes of the items. Remembers 32 bytes an item.
pub(super) struct HeldContexts {
    capacity: usize,
    /// Whether the child follows edits; else it is told of what was appended, or of all.
    edits: bool,
    held: HashMap<ContextId, Held>,
    /// Contexts that are gone, and that the child is yet to be told to drop.
    removed: Vec<ContextId>,
    uses: u64,
}

struct Held {
    /// The version that the child was last told for this context: both sides name the state so.
    version: u64,
    items: Vec<ItemHash>,
    bytes: u64,
    last_use: u64,
}

impl HeldContexts {
    /// Nothing, for a child that keeps `capacity` contexts and may follow edits.
    pub(super) fn new(capacity: u32, edits: bool) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX).min(MAX_CONTEXTS);
        Self { capacity, edits, held: HashMap::new(), removed: Vec::new(), uses: 0 }
    }

    /// Returns whether the child keeps contexts at all.
    pub(super) const fn is_supported(&self) -> bool {
        self.capacity > 0
    }

    /// Decides what to send. By content, since versions are counted where contexts are stored: what a child appended
    /// itself is in place already, whatever version it became.
    pub(super) fn plan(&self, id: &ContextId, items: &[Item]) -> Load {
        let Some(held) = self.held.get(id) else { return Load::Full };
        let is_prefix =
            held.items.len() <= items.len() && held.items.iter().zip(items).all(|(h, item)| h == item.hash());
        match (is_prefix, held.items.len()) {
            (true, count) if count == items.len() => Load::Nothing,
            (true, from) => Load::Append { base: held.version, from },
            (false, _) if self.edits => {
                let steps = steps(&held.items, items);
                let copies = steps.iter().any(|step| matches!(step, Step::Copy(_)));
                if copies { Load::Edit { base: held.version, steps } } else { Load::Full }
            }
            (false, _) => Load::Full,
        }
    }

    /// Forgets and returns the context used longest ago, if there is no room for `id`.
    pub(super) fn make_room(&mut self, id: &ContextId) -> Option<ContextId> {
        if self.held.contains_key(id) || self.held.len() < self.capacity {
            return None;
        }
        let oldest = self.held.iter().min_by_key(|(_, held)| held.last_use).map(|(id, _)| id.clone())?;
        self.held.remove(&oldest);
        Some(oldest)
    }

    /// Remembers that the child holds `items` and calls them `version`.
    pub(super) fn hold(&mut self, id: &ContextId, version: u64, items: &[Item]) {
        self.uses += 1;
        let bytes = items.iter().map(|item| item.size_bytes() as u64).sum();
        let items = items.iter().map(|item| *item.hash()).collect();
        self.held.insert(id.clone(), Held { version, items, bytes, last_use: self.uses });
    }

    /// Returns what the child holds. Its room is counted in contexts.
    pub(super) fn memory(&self) -> OwnMemory {
        let mut held: Vec<_> = self.held.iter().collect();
        held.sort_unstable_by_key(|(_, held)| held.last_use);
        let own = |(id, held): (&ContextId, &Held)| OwnContext {
            context: id.clone(),
            version: held.version,
            bytes: held.bytes,
        };
        OwnMemory { contexts: held.into_iter().map(own).collect(), room: Room::of_contexts(self.capacity as u64) }
    }

    /// Notes that a context is gone for good; the child is to drop it.
    pub(super) fn remove(&mut self, id: &ContextId) {
        if self.held.remove(id).is_some() {
            self.removed.push(id.clone());
        }
    }

    /// Takes a context that the child is to drop.
    pub(super) fn take_removed(&mut self) -> Option<ContextId> {
        self.removed.pop()
    }

    /// Forgets what the child holds of a context: it changed in a way that was not kept.
    pub(super) fn forget(&mut self, id: &ContextId) {
        self.held.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(texts: &[&str]) -> Vec<Item> {
        texts.iter().map(|text| Item::new(text.as_bytes())).collect()
    }

    fn id(text: &str) -> ContextId {
        ContextId::new(text).unwrap()
    }

    #[test]
    fn only_what_is_missing_is_sent() {
        let mut held = HeldContexts::new(2, false);
        held.hold(&id("c"), 7, &items(&["1", "2"]));
        for (now, load) in [
            (&["1", "2"][..], Load::Nothing),
            (&["1", "2", "3"], Load::Append { base: 7, from: 2 }),
            (&["1"], Load::Full),
            (&["1", "3"], Load::Full),
            (&["1", "x", "3"], Load::Full),
            (&[], Load::Full),
        ] {
            assert_eq!(held.plan(&id("c"), &items(now)), load, "{now:?}");
        }
        assert_eq!(held.plan(&id("d"), &[]), Load::Full);
        held.hold(&id("d"), 0, &[]);
        assert_eq!(held.plan(&id("d"), &[]), Load::Nothing);
        held.forget(&id("c"));
        assert_eq!(held.plan(&id("c"), &items(&["1", "2"])), Load::Full);
    }

    #[test]
    fn who_follows_edits_is_sent_them() {
        let mut held = HeldContexts::new(2, true);
        held.hold(&id("c"), 7, &items(&["1", "2", "3"]));
        let steps = vec![Step::Copy(0..1), Step::Insert(1..2), Step::Copy(2..3)];
        for (now, load) in [
            (&["1", "2", "3"][..], Load::Nothing),
            (&["1", "2", "3", "4"], Load::Append { base: 7, from: 3 }),
            (&["1", "x", "3"], Load::Edit { base: 7, steps }),
            (&["2"], Load::Edit { base: 7, steps: vec![Step::Copy(1..2)] }),
            (&["4", "5"], Load::Full),
        ] {
            assert_eq!(held.plan(&id("c"), &items(now)), load, "{now:?}");
        }
    }

    #[test]
    fn a_context_that_is_gone_is_dropped_once() {
        let mut held = HeldContexts::new(2, true);
        held.hold(&id("c"), 7, &[]);
        held.remove(&id("c"));
        held.remove(&id("d"));
        assert_eq!(
            (held.plan(&id("c"), &[]), held.take_removed(), held.take_removed()),
            (Load::Full, Some(id("c")), None)
        );
    }

    #[test]
    fn the_context_used_longest_ago_makes_room() {
        let mut held = HeldContexts::new(2, true);
        held.hold(&id("a"), 1, &[]);
        held.hold(&id("b"), 1, &[]);
        held.hold(&id("a"), 2, &[]);
        assert_eq!(held.make_room(&id("a")), None);
        let full = held.memory();
        let names: Vec<_> = full.contexts.iter().map(|own| (own.context.as_str(), own.version)).collect();
        assert_eq!((names, full.room), (vec![("b", 1), ("a", 2)], Room::of_contexts(2)));
        assert_eq!(held.make_room(&id("c")), Some(id("b")));
        assert_eq!(held.memory().contexts.len(), 1);
        assert_eq!(held.make_room(&id("c")), None);
    }
}

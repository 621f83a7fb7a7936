//! The contexts that are resident in a child, and the least that must be sent to bring one up to date.

use std::collections::HashMap;

use forerunner_context::{Item, ItemHash};
use forerunner_core::{ContextId, placement::Room};
use forerunner_runtime::agent::{ResidentContext, ResidentContexts};

use super::edit::{Step, steps};

/// Most contexts of one child, whatever it announces: the node remembers the items of each.
const MAX_CONTEXTS: usize = 1_024;

/// What must be sent so that a context is resident as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LoadPlan {
    /// Exactly this is resident.
    Nothing,
    /// The first `from` items are resident as version `base`. The others follow.
    Append { base: u64, from: usize },
    /// Other items are resident as version `base`. These steps lead from there.
    Edit { base: u64, steps: Vec<Step> },
    /// Nothing of the context is resident, or the child does not support edits.
    Full,
}

/// Tracks which contexts are resident in one child, by the hashes of their items: 32 bytes an item.
pub(super) struct ResidencyTracker {
    capacity: usize,
    /// Whether the child follows edits. Otherwise it gets the appended items, or all of them.
    follows_edits: bool,
    resident: HashMap<ContextId, Residency>,
    /// Contexts that were removed, and that the child has still to drop.
    removed: Vec<ContextId>,
    uses: u64,
}

/// One resident context.
struct Residency {
    /// The last version that was sent to the child. Both sides name the state by it.
    version: u64,
    items: Vec<ItemHash>,
    bytes: u64,
    last_use: u64,
}

impl ResidencyTracker {
    /// Creates an empty memory, for a child with room for `capacity` contexts.
    pub(super) fn new(capacity: u32, follows_edits: bool) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX).min(MAX_CONTEXTS);
        Self { capacity, follows_edits, resident: HashMap::new(), removed: Vec::new(), uses: 0 }
    }

    /// Returns whether the child has room for contexts at all.
    pub(super) const fn is_supported(&self) -> bool {
        self.capacity > 0
    }

    /// Decides what to send. It compares contents, since the store counts the versions: what a child appended itself is
    /// resident already, whatever version it became.
    pub(super) fn plan(&self, id: &ContextId, items: &[Item]) -> LoadPlan {
        let Some(resident) = self.resident.get(id) else { return LoadPlan::Full };
        let is_prefix = resident.items.len() <= items.len()
            && resident.items.iter().zip(items).all(|(hash, item)| hash == item.hash());
        match (is_prefix, resident.items.len()) {
            (true, count) if count == items.len() => LoadPlan::Nothing,
            (true, from) => LoadPlan::Append { base: resident.version, from },
            (false, _) if self.follows_edits => {
                let steps = steps(&resident.items, items);
                let copies = steps.iter().any(|step| matches!(step, Step::Copy(_)));
                if copies { LoadPlan::Edit { base: resident.version, steps } } else { LoadPlan::Full }
            }
            (false, _) => LoadPlan::Full,
        }
    }

    /// Evicts and returns the context used longest ago, if there is no room for `id`.
    pub(super) fn evict_for(&mut self, id: &ContextId) -> Option<ContextId> {
        if self.resident.contains_key(id) || self.resident.len() < self.capacity {
            return None;
        }
        let by_use = self.resident.iter().min_by_key(|(_, resident)| resident.last_use);
        let oldest = by_use.map(|(id, _)| id.clone())?;
        self.resident.remove(&oldest);
        Some(oldest)
    }

    /// Records that `items` are resident as `version`.
    pub(super) fn record(&mut self, id: &ContextId, version: u64, items: &[Item]) {
        self.uses += 1;
        let bytes = items.iter().map(|item| item.size_bytes() as u64).sum();
        let items = items.iter().map(|item| *item.hash()).collect();
        self.resident.insert(id.clone(), Residency { version, items, bytes, last_use: self.uses });
    }

    /// Returns the resident contexts. The room of a child is counted in contexts.
    pub(super) fn contexts(&self) -> ResidentContexts {
        let mut by_use: Vec<_> = self.resident.iter().collect();
        by_use.sort_unstable_by_key(|(_, resident)| resident.last_use);
        let context = |(id, resident): (&ContextId, &Residency)| ResidentContext {
            context: id.clone(),
            version: resident.version,
            bytes: resident.bytes,
        };
        let contexts = by_use.into_iter().map(context).collect();
        ResidentContexts { contexts, room: Room::of_contexts(self.capacity as u64) }
    }

    /// Records that a context was removed, so that the child has to drop it.
    pub(super) fn remove(&mut self, id: &ContextId) {
        if self.resident.remove(id).is_some() {
            self.removed.push(id.clone());
        }
    }

    /// Returns a context that the child has to drop, once.
    pub(super) fn next_removed(&mut self) -> Option<ContextId> {
        self.removed.pop()
    }

    /// Removes a context: its state in the child is unknown.
    pub(super) fn forget(&mut self, id: &ContextId) {
        self.resident.remove(id);
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
        let mut tracker = ResidencyTracker::new(2, false);
        tracker.record(&id("c"), 7, &items(&["1", "2"]));
        for (now, load) in [
            (&["1", "2"][..], LoadPlan::Nothing),
            (&["1", "2", "3"], LoadPlan::Append { base: 7, from: 2 }),
            (&["1"], LoadPlan::Full),
            (&["1", "3"], LoadPlan::Full),
            (&["1", "x", "3"], LoadPlan::Full),
            (&[], LoadPlan::Full),
        ] {
            assert_eq!(tracker.plan(&id("c"), &items(now)), load, "{now:?}");
        }
        assert_eq!(tracker.plan(&id("d"), &[]), LoadPlan::Full);
        tracker.record(&id("d"), 0, &[]);
        assert_eq!(tracker.plan(&id("d"), &[]), LoadPlan::Nothing);
        tracker.forget(&id("c"));
        assert_eq!(tracker.plan(&id("c"), &items(&["1", "2"])), LoadPlan::Full);
    }

    #[test]
    fn a_child_that_follows_edits_gets_edits() {
        let mut tracker = ResidencyTracker::new(2, true);
        tracker.record(&id("c"), 7, &items(&["1", "2", "3"]));
        let steps = vec![Step::Copy(0..1), Step::Insert(1..2), Step::Copy(2..3)];
        for (now, load) in [
            (&["1", "2", "3"][..], LoadPlan::Nothing),
            (&["1", "2", "3", "4"], LoadPlan::Append { base: 7, from: 3 }),
            (&["1", "x", "3"], LoadPlan::Edit { base: 7, steps }),
            (&["2"], LoadPlan::Edit { base: 7, steps: vec![Step::Copy(1..2)] }),
            (&["4", "5"], LoadPlan::Full),
        ] {
            assert_eq!(tracker.plan(&id("c"), &items(now)), load, "{now:?}");
        }
    }

    #[test]
    fn a_context_that_is_gone_is_dropped_once() {
        let mut tracker = ResidencyTracker::new(2, true);
        tracker.record(&id("c"), 7, &[]);
        tracker.remove(&id("c"));
        tracker.remove(&id("d"));
        assert_eq!(
            (tracker.plan(&id("c"), &[]), tracker.next_removed(), tracker.next_removed()),
            (LoadPlan::Full, Some(id("c")), None)
        );
    }

    #[test]
    fn the_context_used_longest_ago_makes_room() {
        let mut tracker = ResidencyTracker::new(2, true);
        tracker.record(&id("a"), 1, &[]);
        tracker.record(&id("b"), 1, &[]);
        tracker.record(&id("a"), 2, &[]);
        assert_eq!(tracker.evict_for(&id("a")), None);
        let full = tracker.contexts();
        let names: Vec<_> =
            full.contexts.iter().map(|resident| (resident.context.as_str(), resident.version)).collect();
        assert_eq!((names, full.room), (vec![("b", 1), ("a", 2)], Room::of_contexts(2)));
        assert_eq!(tracker.evict_for(&id("c")), Some(id("b")));
        assert_eq!(tracker.contexts().contexts.len(), 1);
        assert_eq!(tracker.evict_for(&id("c")), None);
    }
}

//! Which contexts are sessions of one agent, and whether a session has what the context has.

use std::{collections::HashMap, path::PathBuf};

use forerunner_context::{Item, ItemHash};
use forerunner_core::{ContextId, placement::Room};
use forerunner_runtime::agent::{ResidentContext, ResidentContexts};

/// A session of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    pub id: String,
    /// The name of its working directory, and where that is.
    pub dir: String,
    pub cwd: PathBuf,
}

/// The sessions of one agent that belong to contexts.
#[derive(Debug)]
pub(super) struct SessionTable {
    capacity: usize,
    entries: HashMap<ContextId, Entry>,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    session: Session,
    /// The hash of the items that the session contains.
    content: ItemHash,
    version: u64,
    bytes: u64,
    last_use: u64,
}

impl SessionTable {
    pub fn new(capacity: u32) -> Self {
        Self { capacity: capacity as usize, entries: HashMap::new(), uses: 0 }
    }

    /// Returns the session of a context, and whether it has just these items. Otherwise another agent continued the
    /// conversation, or an attempt failed.
    pub fn find(&self, id: &ContextId, items: &[Item]) -> Option<(Session, bool)> {
        let entry = self.entries.get(id)?;
        Some((entry.session.clone(), entry.content == content(items)))
    }

    /// Notes that a session contains these items.
    pub fn record(&mut self, id: &ContextId, session: Session, version: u64, items: &[Item]) {
        self.uses += 1;
        let bytes = items.iter().map(|item| item.size_bytes() as u64).sum();
        let entry = Entry { session, content: content(items), version, bytes, last_use: self.uses };
        self.entries.insert(id.clone(), entry);
    }

    pub fn remove(&mut self, id: &ContextId) -> Option<Session> {
        self.entries.remove(id).map(|entry| entry.session)
    }

    /// Removes the context used longest ago, if there is no room for `id`. Those in `pinned` stay.
    pub fn evict_for(&mut self, id: &ContextId, pinned: &[&ContextId]) -> Option<Session> {
        if self.entries.contains_key(id) || self.entries.len() < self.capacity {
            return None;
        }
        let free = self.entries.iter().filter(|(id, _)| !pinned.contains(id));
        let oldest = free.min_by_key(|(_, entry)| entry.last_use).map(|(id, _)| id.clone())?;
        self.remove(&oldest)
    }

    pub fn ids(&self) -> impl Iterator<Item = &ContextId> {
        self.entries.keys()
    }

    pub fn contexts(&self) -> ResidentContexts {
        let mut by_use: Vec<_> = self.entries.iter().collect();
        by_use.sort_unstable_by_key(|(_, entry)| entry.last_use);
        let context = |(id, entry): (&ContextId, &Entry)| ResidentContext {
            context: id.clone(),
            version: entry.version,
            bytes: entry.bytes,
        };
        let contexts = by_use.into_iter().map(context).collect();
        ResidentContexts { contexts, room: Room::of_contexts(self.capacity as u64) }
    }
}

fn content(items: &[Item]) -> ItemHash {
    let hashes: Vec<u8> = items.iter().flat_map(|item| *item.hash().as_bytes()).collect();
    ItemHash::of(&hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_current_as_long_as_the_context_is_what_it_was() {
        let mut table = SessionTable::new(2);
        let id = |name: &str| ContextId::new(name).unwrap();
        let session = |id: &str| Session { id: id.into(), dir: "d".into(), cwd: "/w/d".into() };
        let items = [Item::new(b"1".as_slice()), Item::new(b"2".as_slice())];
        table.record(&id("a"), session("s-a"), 1, &items);
        assert_eq!(table.find(&id("a"), &items), Some((session("s-a"), true)));
        assert_eq!(table.find(&id("a"), &items[..1]), Some((session("s-a"), false)));
        table.record(&id("b"), session("s-b"), 1, &items);
        assert_eq!(table.evict_for(&id("b"), &[]), None);
        assert_eq!(table.evict_for(&id("c"), &[&id("a")]), Some(session("s-b")), "the older one waits for an answer");
        assert_eq!(table.contexts().contexts.len(), 1);
    }
}

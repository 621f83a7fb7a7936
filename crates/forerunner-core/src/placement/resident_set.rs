//! The contexts that are resident in an agent.

use super::{Rates, ReturnChances};
use crate::Timestamp;

/// One context that is resident in an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResidentEntry<K> {
    /// The context.
    pub context: K,
    /// The version that is resident.
    pub version: u64,
    /// Its size.
    pub bytes: u64,
    /// When it was last used.
    pub used_at: Timestamp,
}

/// How much an agent has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes of all contexts together.
    pub bytes: u64,
    /// Contexts, however large.
    pub contexts: u64,
}

impl Room {
    /// Room for so many bytes, in however many contexts.
    pub const fn of_bytes(bytes: u64) -> Self {
        Self { bytes, contexts: u64::MAX }
    }

    /// Room for so many contexts, however large.
    pub const fn of_contexts(contexts: u64) -> Self {
        Self { bytes: u64::MAX, contexts }
    }

    /// Room as of `count` agents together.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self { bytes: self.bytes.saturating_mul(count), contexts: self.contexts.saturating_mul(count) }
    }

    const fn fits(self, contexts: u64, bytes: u64) -> bool {
        bytes <= self.bytes && contexts <= self.contexts
    }
}

/// The contexts that are resident in one agent, as many as it has room for. The least recently used is evicted first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResidentSet<K> {
    /// By last use, oldest first.
    contexts: Vec<ResidentEntry<K>>,
    bytes: u64,
    room: Room,
}

impl<K: PartialEq> ResidentSet<K> {
    /// Makes an empty set with this much room.
    pub const fn new(room: Room) -> Self {
        Self { contexts: Vec::new(), bytes: 0, room }
    }

    /// Returns the entry of a context.
    pub fn get(&self, context: &K) -> Option<&ResidentEntry<K>> {
        self.contexts.iter().rev().find(|entry| entry.context == *context)
    }

    /// Returns all entries, the least recently used first.
    pub fn iter(&self) -> impl Iterator<Item = &ResidentEntry<K>> {
        self.contexts.iter()
    }

    /// Returns whether no context is resident.
    pub fn is_empty(&self) -> bool {
        self.contexts.is_empty()
    }

    /// Returns the bytes of all contexts.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Expected bytes that a task of `context`, with `bytes` bytes, displaces. Each other context counts with its
    /// [`Rates::freshness`] if it would be evicted, else with its [`Rates::chance`] of a use while the agent is busy.
    pub fn displacement_bytes(&self, context: Option<&K>, bytes: u64, rates: &Rates, now: Timestamp) -> f64 {
        let own = context.and_then(|context| self.get(context));
        let mut after = (self.bytes - own.map_or(0, |own| own.bytes)).saturating_add(bytes);
        let mut count = (self.contexts.len() + usize::from(own.is_none())) as u64;
        let others = self.contexts.iter().filter(|entry| Some(&entry.context) != context);
        let displaced = others.map(|entry| {
            let age_s = now.since(entry.used_at).as_secs_f64();
            let evicted = !self.room.fits(count, after);
            if evicted {
                (count, after) = (count - 1, after.saturating_sub(entry.bytes));
            }
            entry.bytes as f64 * if evicted { rates.freshness(age_s) } else { rates.chance(age_s) }
        });
        // Not their sum: that of none is -0.
        displaced.fold(0.0, |sum, bytes| sum + bytes)
    }

    /// Bytes of all contexts, each weighted by its [`Rates::freshness`]: what is lost if the agent stops.
    pub fn worth_bytes(&self, rates: &Rates, now: Timestamp) -> f64 {
        let worth =
            |entry: &ResidentEntry<K>| entry.bytes as f64 * rates.freshness(now.since(entry.used_at).as_secs_f64());
        self.contexts.iter().map(worth).sum()
    }

    /// Bytes of all contexts, each weighted by the chance that it is wanted before another agent could be ready.
    pub fn wanted_bytes(&self, chances: &ReturnChances, now: Timestamp) -> f64 {
        let wanted = |held: &ResidentEntry<K>| held.bytes as f64 * chances.at(now.since(held.used_at).as_secs_f64());
        self.contexts.iter().map(wanted).sum()
    }

    /// Adds or replaces a context as the most recently used, and evicts others to make room. A context that does not fit by
    /// itself is not added.
    pub fn insert(&mut self, entry: ResidentEntry<K>) {
        self.remove(&entry.context);
        if !self.room.fits(1, entry.bytes) {
            return;
        }
        self.bytes += entry.bytes;
        self.contexts.push(entry);
        let mut evicted = 0;
        while !self.room.fits((self.contexts.len() - evicted) as u64, self.bytes) {
            self.bytes -= self.contexts[evicted].bytes;
            evicted += 1;
        }
        self.contexts.drain(..evicted);
    }

    /// Removes a context.
    pub fn remove(&mut self, context: &K) {
        if let Some(at) = self.contexts.iter().position(|entry| entry.context == *context) {
            self.bytes -= self.contexts.remove(at).bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(context: u8, bytes: u64) -> ResidentEntry<u8> {
        ResidentEntry { context, version: 1, bytes, used_at: Timestamp::default() }
    }

    fn names(resident: &ResidentSet<u8>) -> Vec<u8> {
        resident.iter().map(|entry| entry.context).collect()
    }

    #[test]
    fn the_least_recently_used_is_evicted_first() {
        let mut resident = ResidentSet::new(Room::of_bytes(10));
        [one(1, 4), one(2, 4), one(1, 5)].into_iter().for_each(|context| resident.insert(context));
        assert_eq!((names(&resident), resident.bytes()), (vec![2, 1], 9));
        resident.insert(one(3, 5));
        assert_eq!(names(&resident), [1, 3]);
        resident.insert(one(4, 11));
        assert_eq!(names(&resident), [1, 3], "what does not fit by itself displaces nothing");
        resident.insert(one(3, 11));
        assert_eq!((names(&resident), resident.bytes()), (vec![1], 5), "but its old version is gone too");
        resident.remove(&1);
        assert!(resident.is_empty() && resident.bytes() == 0);
    }

    #[test]
    fn room_may_be_counted_in_contexts() {
        let mut resident = ResidentSet::new(Room::of_contexts(2));
        [one(1, 4), one(2, 400), one(1, 5), one(3, 1)].into_iter().for_each(|context| resident.insert(context));
        assert_eq!((names(&resident), resident.bytes()), (vec![1, 3], 6));
        let mut none = ResidentSet::new(Room::of_contexts(0));
        none.insert(one(1, 1));
        assert!(none.is_empty());
    }

    #[test]
    fn no_displacement_is_a_plain_zero() {
        let mut resident = ResidentSet::new(Room::of_bytes(10));
        resident.insert(one(1, 4));
        let displaced = resident.displacement_bytes(Some(&1), 4, &Rates::default(), Timestamp::default());
        assert!(displaced == 0.0 && displaced.is_sign_positive(), "{displaced}");
    }

    proptest! {
        #[test]
        fn what_is_expected_to_be_evicted_is_evicted(
            steps in prop::collection::vec((0_u8..12, 1_u64..60), 1..80),
            bytes in 60_u64..200,
            contexts in 1_u64..10,
        ) {
            let room = Room { bytes, contexts };
            let mut resident = ResidentSet::new(room);
            for (context, bytes) in steps {
                let before: Vec<_> = resident.iter().filter(|entry| entry.context != context).copied().collect();
                // With nothing learned, evicted contexts count in full and the others not at all.
                let displaced = resident.displacement_bytes(Some(&context), bytes, &Rates::default(), Timestamp::default());
                resident.insert(one(context, bytes));
                let gone = before.iter().filter(|other| resident.get(&other.context).is_none());
                prop_assert_eq!(displaced, gone.map(|other| other.bytes).sum::<u64>() as f64);
                prop_assert_eq!(resident.iter().last().map(|entry| entry.context), Some(context));
                prop_assert_eq!(resident.bytes(), resident.iter().map(|entry| entry.bytes).sum::<u64>());
                prop_assert!(room.fits(resident.iter().count() as u64, resident.bytes()));
            }
        }
    }
}

//! What an agent holds of contexts.

use super::Rates;
use crate::Timestamp;

/// One context that an agent holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldContext<K> {
    /// Which.
    pub context: K,
    /// In which version.
    pub version: u64,
    /// Its size.
    pub bytes: u64,
    /// When it was last used.
    pub used_at: Timestamp,
}

/// How much an agent can hold at once.
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

    const fn holds(self, contexts: u64, bytes: u64) -> bool {
        bytes <= self.bytes && contexts <= self.contexts
    }
}

/// The contexts that one agent holds: as many as it has room for, and the one used longest ago goes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held<K> {
    /// By last use, oldest first.
    contexts: Vec<HeldContext<K>>,
    bytes: u64,
    room: Room,
}

impl<K: PartialEq> Held<K> {
    /// Nothing, with so much room.
    pub const fn new(room: Room) -> Self {
        Self { contexts: Vec::new(), bytes: 0, room }
    }

    /// Returns what is held of a context.
    pub fn get(&self, context: &K) -> Option<&HeldContext<K>> {
        self.contexts.iter().rev().find(|held| held.context == *context)
    }

    /// Returns all that is held, the one used longest ago first.
    pub fn iter(&self) -> impl Iterator<Item = &HeldContext<K>> {
        self.contexts.iter()
    }

    /// Returns whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.contexts.is_empty()
    }

    /// Returns how many bytes are held.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that a task of `context`, of so many bytes, puts at stake: of each other context its [`Rates::freshness`] if it
    /// would go, else its [`Rates::chance`] to be asked for while the agent is busy.
    pub fn stake_bytes(&self, context: Option<&K>, bytes: u64, rates: &Rates, now: Timestamp) -> f64 {
        let own = context.and_then(|context| self.get(context));
        let mut after = (self.bytes - own.map_or(0, |own| own.bytes)).saturating_add(bytes);
        let mut count = (self.contexts.len() + usize::from(own.is_none())) as u64;
        let others = self.contexts.iter().filter(|held| Some(&held.context) != context);
        let stake = others.map(|held| {
            let age_s = now.since(held.used_at).as_secs_f64();
            let goes = !self.room.holds(count, after);
            if goes {
                (count, after) = (count - 1, after.saturating_sub(held.bytes));
            }
            held.bytes as f64 * if goes { rates.freshness(age_s) } else { rates.chance(age_s) }
        });
        // Not their sum: that of none is -0.
        stake.fold(0.0, |sum, bytes| sum + bytes)
    }

    /// Bytes that are held, each context weighed by its [`Rates::freshness`]: what is lost if the agent stops.
    pub fn worth_bytes(&self, rates: &Rates, now: Timestamp) -> f64 {
        let worth = |held: &HeldContext<K>| held.bytes as f64 * rates.freshness(now.since(held.used_at).as_secs_f64());
        self.contexts.iter().map(worth).sum()
    }

    /// Holds a context from now on, as the one used last, and lets go of others for it. One that does not fit by itself is
    /// not held.
    pub fn hold(&mut self, held: HeldContext<K>) {
        self.forget(&held.context);
        if !self.room.holds(1, held.bytes) {
            return;
        }
        self.bytes += held.bytes;
        self.contexts.push(held);
        let mut gone = 0;
        while !self.room.holds((self.contexts.len() - gone) as u64, self.bytes) {
            self.bytes -= self.contexts[gone].bytes;
            gone += 1;
        }
        self.contexts.drain(..gone);
    }

    /// Lets go of a context.
    pub fn forget(&mut self, context: &K) {
        if let Some(at) = self.contexts.iter().position(|held| held.context == *context) {
            self.bytes -= self.contexts.remove(at).bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(context: u8, bytes: u64) -> HeldContext<u8> {
        HeldContext { context, version: 1, bytes, used_at: Timestamp::default() }
    }

    fn names(held: &Held<u8>) -> Vec<u8> {
        held.iter().map(|held| held.context).collect()
    }

    #[test]
    fn the_one_used_longest_ago_goes_first() {
        let mut held = Held::new(Room::of_bytes(10));
        [one(1, 4), one(2, 4), one(1, 5)].into_iter().for_each(|context| held.hold(context));
        assert_eq!((names(&held), held.bytes()), (vec![2, 1], 9));
        held.hold(one(3, 5));
        assert_eq!(names(&held), [1, 3]);
        held.hold(one(4, 11));
        assert_eq!(names(&held), [1, 3], "what does not fit by itself displaces nothing");
        held.hold(one(3, 11));
        assert_eq!((names(&held), held.bytes()), (vec![1], 5), "but it is not held in its old state either");
        held.forget(&1);
        assert!(held.is_empty() && held.bytes() == 0);
    }

    #[test]
    fn room_may_be_counted_in_contexts() {
        let mut held = Held::new(Room::of_contexts(2));
        [one(1, 4), one(2, 400), one(1, 5), one(3, 1)].into_iter().for_each(|context| held.hold(context));
        assert_eq!((names(&held), held.bytes()), (vec![1, 3], 6));
        let mut none = Held::new(Room::of_contexts(0));
        none.hold(one(1, 1));
        assert!(none.is_empty());
    }

    #[test]
    fn nothing_at_stake_is_a_plain_zero() {
        let mut held = Held::new(Room::of_bytes(10));
        held.hold(one(1, 4));
        let stake = held.stake_bytes(Some(&1), 4, &Rates::default(), Timestamp::default());
        assert!(stake == 0.0 && stake.is_sign_positive(), "{stake}");
    }

    proptest! {
        #[test]
        fn what_is_foretold_to_go_goes(
            steps in prop::collection::vec((0_u8..12, 1_u64..60), 1..80),
            bytes in 60_u64..200,
            contexts in 1_u64..10,
        ) {
            let room = Room { bytes, contexts };
            let mut held = Held::new(room);
            for (context, bytes) in steps {
                let before: Vec<_> = held.iter().filter(|held| held.context != context).copied().collect();
                // With nothing known, what goes counts in full and what stays for nothing.
                let stake = held.stake_bytes(Some(&context), bytes, &Rates::default(), Timestamp::default());
                held.hold(one(context, bytes));
                let gone = before.iter().filter(|other| held.get(&other.context).is_none());
                prop_assert_eq!(stake, gone.map(|other| other.bytes).sum::<u64>() as f64);
                prop_assert_eq!(held.iter().last().map(|held| held.context), Some(context));
                prop_assert_eq!(held.bytes(), held.iter().map(|held| held.bytes).sum::<u64>());
                prop_assert!(room.holds(held.iter().count() as u64, held.bytes()));
            }
        }
    }
}

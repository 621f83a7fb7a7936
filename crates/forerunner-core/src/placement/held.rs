//! What an agent holds of contexts.

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

/// The contexts that one agent holds: at most so many bytes, and the one used longest ago goes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held<K> {
    /// By last use, oldest first.
    contexts: Vec<HeldContext<K>>,
    bytes: u64,
    capacity_bytes: u64,
}

impl<K: PartialEq> Held<K> {
    /// Nothing, with room for so many bytes.
    pub const fn new(capacity_bytes: u64) -> Self {
        Self { contexts: Vec::new(), bytes: 0, capacity_bytes }
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

    /// Returns what would go if `context` came, or grew, to `bytes`: the contexts used longest ago, but never itself.
    pub fn displaced_by<'a>(&'a self, context: &'a K, bytes: u64) -> impl Iterator<Item = &'a HeldContext<K>> {
        let own = self.get(context).map_or(0, |held| held.bytes);
        let mut after = (self.bytes - own).saturating_add(bytes);
        self.contexts.iter().filter(move |held| held.context != *context).take_while(move |held| {
            let too_much = after > self.capacity_bytes;
            after = after.saturating_sub(held.bytes);
            too_much
        })
    }

    /// Holds a context from now on, as the one used last, and lets go of others for it. One that does not fit by itself is
    /// not held.
    pub fn hold(&mut self, held: HeldContext<K>) {
        self.forget(&held.context);
        if held.bytes > self.capacity_bytes {
            return;
        }
        self.bytes += held.bytes;
        self.contexts.push(held);
        let mut gone = 0;
        while self.bytes > self.capacity_bytes {
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
        let mut held = Held::new(10);
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

    proptest! {
        #[test]
        fn what_is_foretold_to_go_goes(
            steps in prop::collection::vec((0_u8..12, 1_u64..60), 1..80),
            capacity in 60_u64..200,
        ) {
            let mut held = Held::new(capacity);
            for (context, bytes) in steps {
                let foretold: Vec<u8> = held.displaced_by(&context, bytes).map(|gone| gone.context).collect();
                let mut expected = names(&held);
                expected.retain(|other| *other != context && !foretold.contains(other));
                expected.push(context);
                held.hold(one(context, bytes));
                prop_assert_eq!(names(&held), expected);
                prop_assert_eq!(held.bytes(), held.iter().map(|held| held.bytes).sum::<u64>());
                prop_assert!(held.bytes() <= capacity);
            }
        }
    }
}

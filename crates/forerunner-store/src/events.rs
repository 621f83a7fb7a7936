//! What happened to a task, numbered so that all nodes agree.
//!
//! A task's life has legs, one for each epoch: the first begins with the submission, each later one with a claim. An
//! event is stored under the epoch and its place in the leg. Within a leg only the node with the lease reports events,
//! so stored numbers grow in the order of events. Epochs are times in microseconds, too large for a number that every
//! JSON reader represents exactly. So readers get the number of the leg instead, counted from 0.

use forerunner_core::{LeaseEpoch, TaskEvent, TaskEventKind, TaskId, Timestamp};

/// Bits of a number for the place in a leg.
const PLACE_BITS: u32 = 20;
/// The place of a leg's first event: submitted or started.
const BEGIN: u64 = 1;
/// The first place of events after the work: the return to the queue, the end, a retry by hand.
const AFTER: u64 = LAST - 1_023;
/// The last place.
const LAST: u64 = (1 << PLACE_BITS) - 1;
/// The stored part of an epoch: with the place it is a positive number of 64 bits. It begins anew after 101 days, so
/// events of a task that is retried across that moment may be in another order.
pub(crate) const EPOCH_MASK: u64 = (1 << (63 - PLACE_BITS)) - 1;
/// Numbers for readers are below this: readers that use doubles, as JavaScript does, can distinguish them.
const PUBLIC_BELOW: u64 = 1 << 53;

/// An event from an agent that is not stored yet.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptEvent {
    /// Of which task.
    pub task: TaskId,
    /// Under which lease.
    pub epoch: LeaseEpoch,
    /// Its number; see [`event_seq`].
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Progress or output.
    pub kind: TaskEventKind,
    /// Remove the task's events under this lease before this number: the room for one task is limited.
    pub forget_before: Option<u64>,
}

/// A task's stored events after some number.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskEvents {
    /// In order.
    pub events: Vec<TaskEvent>,
    /// Nothing will follow them, unless the task is sent back to the queue.
    pub ended: bool,
}

/// The number of an agent's `count`-th event under a lease, counted from 0; `None` when there is no room.
pub fn event_seq(epoch: LeaseEpoch, count: u64) -> Option<u64> {
    let place = BEGIN + 1 + count;
    (place < AFTER).then(|| number(epoch, place))
}

/// The first event of a leg.
pub const fn begin_seq(epoch: LeaseEpoch) -> u64 {
    number(epoch, BEGIN)
}

/// The number of an event after the work, and after `last`, the newest such number of the leg.
pub fn after_seq(epoch: LeaseEpoch, last: Option<u64>) -> u64 {
    let first = number(epoch, AFTER);
    last.map_or(first, |last| (last + 1).clamp(first, number(epoch, LAST)))
}

const fn number(epoch: LeaseEpoch, place: u64) -> u64 {
    ((epoch.0 & EPOCH_MASK) << PLACE_BITS) | place
}

/// The legs of one task, by which its stored numbers are translated.
#[derive(Debug, Default)]
pub struct Legs(std::collections::BTreeSet<u64>);

impl Legs {
    /// Adds the leg of an epoch, or of a stored number's upper bits.
    pub fn add(&mut self, epoch: u64) {
        let epoch = epoch & EPOCH_MASK;
        if epoch > 0 {
            self.0.insert(epoch);
        }
    }

    /// Adds the leg of a stored number.
    pub fn add_of(&mut self, stored: u64) {
        self.add(stored >> PLACE_BITS);
    }

    /// The number for readers of a stored one.
    pub fn public(&self, stored: u64) -> u64 {
        let legs = self.0.range(..=stored >> PLACE_BITS).count() as u64;
        (legs << PLACE_BITS) | (stored & LAST)
    }

    /// The stored number of one that a reader got: 0 for an impossible one, so that the reader gets all events. It also
    /// knows numbers of version 0.1.0, which were the stored ones.
    pub fn stored(&self, public: u64) -> u64 {
        let (leg, place) = (public >> PLACE_BITS, public & LAST);
        if public >= PUBLIC_BELOW {
            let epoch = leg & EPOCH_MASK;
            return if self.0.contains(&epoch) { (epoch << PLACE_BITS) | place } else { 0 };
        }
        let epoch = match leg {
            0 => Some(0),
            leg => self.0.iter().nth(usize::try_from(leg - 1).unwrap_or(usize::MAX)).copied(),
        };
        epoch.map_or(0, |epoch| (epoch << PLACE_BITS) | place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_numbers_are_small_grow_and_lead_back() {
        // Now, in microseconds.
        let epochs = [1_796_000_000_000_000, 1_796_000_000_000_001, 1_796_000_007_000_000];
        let mut legs = Legs::default();
        epochs.iter().for_each(|epoch| legs.add(*epoch));
        let stored: Vec<_> = [0].iter().chain(&epochs).map(|epoch| number(LeaseEpoch(*epoch), AFTER)).collect();
        let public: Vec<_> = stored.iter().map(|stored| legs.public(*stored)).collect();
        assert!(public.is_sorted_by(|a, b| a < b) && public[3] < PUBLIC_BELOW, "{public:?}");
        assert!(stored.iter().all(|stored| i64::try_from(*stored).is_ok()));
        assert_eq!(public.iter().map(|public| legs.stored(*public)).collect::<Vec<_>>(), stored);
        assert_eq!(legs.stored(stored[2]), stored[2], "as in version 0.1.0");
        for unknown in [u64::MAX, 9 << PLACE_BITS, PUBLIC_BELOW, number(LeaseEpoch(77), BEGIN) + PUBLIC_BELOW] {
            assert_eq!(legs.stored(unknown), 0, "{unknown}");
        }
    }

    #[test]
    fn stored_numbers_stay_positive_whatever_the_time() {
        for days in 0..4_000 {
            let epoch = LeaseEpoch(1_796_000_000_000_000 + days * 86_400_000_000);
            assert!(i64::try_from(number(epoch, LAST)).is_ok(), "{days}");
        }
    }

    #[test]
    fn numbers_grow_with_what_happens() {
        let (one, two) = (LeaseEpoch(1), LeaseEpoch(2));
        let numbers = [
            number(LeaseEpoch(0), BEGIN),
            number(one, BEGIN),
            event_seq(one, 0).unwrap(),
            event_seq(one, 1).unwrap(),
            number(one, AFTER),
            number(one, LAST),
            number(two, BEGIN),
        ];
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert!(numbers[0] > 0, "a reader that has seen nothing begins at 0");
        let room = (0..1 << PLACE_BITS).take_while(|count| event_seq(one, *count).is_some()).count() as u64;
        assert_eq!(event_seq(one, room - 1), Some(number(one, AFTER - 1)));
    }
}

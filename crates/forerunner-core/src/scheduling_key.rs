//! The place of a task among the claimable tasks of its pool.

use std::fmt;

use crate::{Priority, TaskId, Timestamp};

/// The place of a task among the claimable tasks of its pool: opaque, ordered, always [`WIDTH`](Self::WIDTH) bytes.
///
/// A lower key is claimed first. Stores compare keys and never read them. The parts, from the first to the last: the
/// urgency (9 - priority), the virtual start of the task in its tenant's share, the due time, and the id. So keys of
/// two tasks are never equal.
///
/// The virtual start is that of start-time fair queueing (Goyal, Vin and Cheng, 1996): it orders the tasks of tenants
/// within one priority. While pools have no shares it is 0, and the due time decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchedulingKey([u8; Self::WIDTH]);

const URGENCY: usize = 1;
const NUMBER: usize = 8;
const ID: usize = 16;

impl SchedulingKey {
    /// The length of a key in bytes.
    pub const WIDTH: usize = URGENCY + NUMBER + NUMBER + ID;
    /// How many urgencies there are.
    pub const URGENCIES: usize = Priority::MAX.get() as usize + 1;

    /// Computes the key of a task. `virtual_start` is 0 where tenants have no shares.
    pub fn new(priority: Priority, virtual_start: u64, due: Timestamp, task: TaskId) -> Self {
        let mut key = Self::first_of(usize::from(Priority::MAX.get() - priority.get()));
        let (start, rest) = key.0[URGENCY..].split_at_mut(NUMBER);
        let (at, id) = rest.split_at_mut(NUMBER);
        start.copy_from_slice(&virtual_start.to_be_bytes());
        // The flipped sign makes bytes compare as the numbers do.
        at.copy_from_slice(&(due.as_micros() ^ i64::MIN).to_be_bytes());
        id.copy_from_slice(task.as_uuid().as_bytes());
        key
    }

    /// Returns the lowest key of an urgency; of [`URGENCIES`](Self::URGENCIES), a key behind those of all tasks.
    pub fn first_of(urgency: usize) -> Self {
        let mut key = [0; Self::WIDTH];
        key[0] = u8::try_from(urgency).unwrap_or(u8::MAX);
        Self(key)
    }

    /// Returns the urgency, 0 for the tasks that go first.
    pub fn urgency(&self) -> usize {
        usize::from(self.0[0]).min(Self::URGENCIES - 1)
    }

    /// Returns the key as a store writes it.
    pub const fn as_bytes(&self) -> &[u8; Self::WIDTH] {
        &self.0
    }

    /// Reads a key from a store; `None` if the length is another one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for SchedulingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SchedulingKey(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(priority: u8, virtual_start: u64, due: i64, id: u128) -> SchedulingKey {
        let priority = Priority::new(priority.into()).unwrap();
        let task = TaskId::from_uuid(uuid::Uuid::from_u128(id));
        SchedulingKey::new(priority, virtual_start, Timestamp::from_micros(due), task)
    }

    #[test]
    fn the_more_urgent_goes_first_then_the_share_then_the_due_time_then_the_id() {
        let in_order = [
            key(9, 7, 9, 9),
            key(4, 0, i64::MIN, 9),
            key(4, 0, -1, 9),
            key(4, 0, 1, 1),
            key(4, 0, 1, 2),
            key(4, 1, 0, 0),
            key(0, 0, 0, 0),
        ];
        assert!(in_order.is_sorted(), "{in_order:?}");
    }

    #[test]
    fn keys_of_an_urgency_are_between_its_first_and_that_of_the_next() {
        for priority in 0..=9 {
            for due in [i64::MIN, 0, i64::MAX] {
                let key = key(priority, u64::MAX, due, u128::MAX);
                let urgency = usize::from(9 - priority);
                assert_eq!(key.urgency(), urgency);
                assert!(SchedulingKey::first_of(urgency) <= key && key < SchedulingKey::first_of(urgency + 1));
            }
        }
    }

    proptest! {
        #[test]
        fn bytes_order_keys_as_their_parts_do(
            one in (0u8..=9, any::<u64>(), any::<i64>(), any::<u128>()),
            two in (0u8..=9, any::<u64>(), any::<i64>(), any::<u128>()),
        ) {
            let [a, b] = [one, two].map(|(priority, start, due, id)| key(priority, start, due, id));
            let parts = |(priority, start, due, id): (u8, u64, i64, u128)| (9 - priority, start, due, id);
            prop_assert_eq!(a.cmp(&b), parts(one).cmp(&parts(two)));
            prop_assert_eq!(a.as_bytes().cmp(b.as_bytes()), a.cmp(&b));
            prop_assert_eq!(SchedulingKey::from_bytes(a.as_bytes()), Some(a));
        }
    }
}

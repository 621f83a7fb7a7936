//! What happened to a task, numbered so that all nodes agree.
//!
//! A task's life is cut into legs, one for each epoch: the first begins with the submission, each other one with a claim. An
//! event's number is made of the epoch and of its place in the leg, and only the holder of the lease says anything in between,
//! so numbers grow with what happened, whoever asks and whoever told.

use forerunner_core::{LeaseEpoch, TaskError, TaskId, TaskState, Timestamp};

/// Bits of a number that say the place in a leg.
const PLACE_BITS: u32 = 20;
/// The place of a leg's first event: submitted or started.
const BEGIN: u64 = 1;
/// The first place of what comes after the work: going back to wait, the end, being sent back by hand.
const AFTER: u64 = LAST - 1_023;
/// The last place.
const LAST: u64 = (1 << PLACE_BITS) - 1;

/// An event of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number: grows, with gaps. Below 2⁵³ for 2³³ attempts of a task.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Happened,
}

/// What happened to a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// It went to a state.
    State {
        /// The state.
        state: TaskState,
        /// Attempts begun.
        attempt: u32,
        /// Why the last attempt ended without an output.
        error: Option<TaskError>,
    },
    /// Its agent told how it goes.
    Progress(String),
    /// Its agent streamed a piece of the output.
    Output(String),
}

/// Something that an agent said, on its way to the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Of which task.
    pub task: TaskId,
    /// Under which lease.
    pub epoch: LeaseEpoch,
    /// Its number; see [`said_seq`].
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Progress or output.
    pub what: Happened,
    /// Forget what the task said under this lease before this number: there is only so much room for one task.
    pub forget_before: Option<u64>,
}

/// A task's events after some number, as far as they are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskEvents {
    /// In order.
    pub events: Vec<Event>,
    /// Nothing will follow them, unless the task is sent back to the queue.
    pub ended: bool,
}

/// The number of what an agent says as the `count`-th thing under a lease, counted from 0; `None` when there is no room.
pub fn said_seq(epoch: LeaseEpoch, count: u64) -> Option<u64> {
    let place = BEGIN + 1 + count;
    (place < AFTER).then(|| number(epoch, place))
}

/// The first event of a leg.
#[cfg(feature = "postgres")]
pub(crate) const fn begin_seq(epoch: LeaseEpoch) -> u64 {
    number(epoch, BEGIN)
}

/// What comes after the work, and after `last`, the newest such number of the leg that was given out.
#[cfg(feature = "postgres")]
pub(crate) fn after_seq(epoch: LeaseEpoch, last: Option<u64>) -> u64 {
    let first = number(epoch, AFTER);
    last.map_or(first, |last| (last + 1).clamp(first, number(epoch, LAST)))
}

const fn number(epoch: LeaseEpoch, place: u64) -> u64 {
    (epoch.0 << PLACE_BITS) | place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_with_what_happens() {
        let (one, two) = (LeaseEpoch(1), LeaseEpoch(2));
        let numbers = [
            number(LeaseEpoch(0), BEGIN),
            number(one, BEGIN),
            said_seq(one, 0).unwrap(),
            said_seq(one, 1).unwrap(),
            number(one, AFTER),
            number(one, LAST),
            number(two, BEGIN),
        ];
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert!(numbers[0] > 0, "a reader that has seen nothing begins at 0");
        let room = (0..1 << PLACE_BITS).take_while(|count| said_seq(one, *count).is_some()).count() as u64;
        assert_eq!(said_seq(one, room - 1), Some(number(one, AFTER - 1)));
    }
}

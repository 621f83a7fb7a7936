//! Which ids this node has sent to the database: a task whose id it has not sent is new.
//!
//! Ids are made by the node that submits a task, and begin with the time. So only a repetition has an id that is known,
//! and the node that repeats is the one that sent it before, if it has not been restarted since.

use std::collections::{HashSet, VecDeque};

use forerunner_core::IdState;
use parking_lot::Mutex;
use uuid::Uuid;

/// How many ids are remembered.
const REMEMBERED: usize = 65_536;

/// The ids that were sent last.
#[derive(Debug, Default)]
pub(crate) struct SentIds(Mutex<Sent>);

#[derive(Debug, Default)]
struct Sent {
    known: HashSet<Uuid, IdState>,
    in_order: VecDeque<Uuid>,
    /// The newest id that is not remembered any more; before it, any id may have been sent.
    forgotten: Option<Uuid>,
}

impl SentIds {
    /// Ids from before `first` count as sent: another process of this node may have sent them.
    pub fn begin_at(&self, first: Uuid) {
        self.0.lock().forgotten = Some(first);
    }

    /// Records ids; returns whether none of them can have been sent before.
    pub fn note(&self, ids: impl Iterator<Item = Uuid>) -> bool {
        let mut sent = self.0.lock();
        let mut are_new = true;
        for id in ids {
            let is_known = !sent.known.insert(id);
            are_new &= !is_known && sent.forgotten.is_none_or(|last| id > last);
            if is_known {
                continue;
            }
            sent.in_order.push_back(id);
            if sent.in_order.len() > REMEMBERED
                && let Some(oldest) = sent.in_order.pop_front()
            {
                sent.known.remove(&oldest);
                sent.forgotten = sent.forgotten.max(Some(oldest));
            }
        }
        are_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn an_id_is_new_once() {
        let sent = SentIds::default();
        assert!(sent.note([3, 1, 2].map(id).into_iter()));
        assert!(!sent.note([4, 2].map(id).into_iter()));
        assert!(!sent.note([4].map(id).into_iter()), "it was in a call with a known one");
    }

    #[test]
    fn ids_from_before_those_that_are_remembered_may_be_known() {
        let sent = SentIds::default();
        let many = REMEMBERED as u128 + 10;
        assert!(sent.note((100..100 + many).map(id)));
        for (number, is_new) in [(99, false), (105, false), (109, false), (100 + many, true)] {
            assert_eq!(sent.note([id(number)].into_iter()), is_new, "{number}");
        }
        let restarted = SentIds::default();
        restarted.begin_at(id(50));
        assert!(!restarted.note([id(49)].into_iter()) && restarted.note([id(51)].into_iter()));
    }
}

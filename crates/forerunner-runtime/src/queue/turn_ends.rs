//! When turns of contexts ended on this node.

use std::collections::{HashMap, VecDeque};

use forerunner_core::{ContextId, Timestamp};

/// Most contexts whose last end is remembered.
const MOST: usize = 16_384;

/// When the last turn of each context ended here. The store has the end of a turn that changed its context; this has
/// the others as well, such as failed ones.
#[derive(Debug, Default)]
pub(super) struct TurnEnds {
    ends: HashMap<ContextId, Timestamp>,
    /// In order of time; entries that a later one replaced are skipped.
    order: VecDeque<(ContextId, Timestamp)>,
}

impl TurnEnds {
    /// Notes the end of a turn.
    pub(super) fn note(&mut self, context: &ContextId, at: Timestamp) {
        self.ends.insert(context.clone(), at);
        self.order.push_back((context.clone(), at));
        while self.order.len() > MOST {
            let Some((oldest, at)) = self.order.pop_front() else { return };
            if self.ends.get(&oldest) == Some(&at) {
                self.ends.remove(&oldest);
            }
        }
    }

    /// Returns when the last turn of a context ended here.
    pub(super) fn last(&self, context: &ContextId) -> Option<Timestamp> {
        self.ends.get(context).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_end_of_each_context_is_known_and_their_number_is_bounded() {
        let name = |number: usize| ContextId::new(format!("c{number}")).unwrap();
        let at = |seconds: usize| Timestamp::from_micros(seconds as i64 * 1_000_000);
        let mut ends = TurnEnds::default();
        ends.note(&name(1), at(1));
        ends.note(&name(1), at(2));
        assert_eq!((ends.last(&name(1)), ends.last(&name(2))), (Some(at(2)), None));
        (2..MOST).for_each(|number| ends.note(&name(number), at(number + 1)));
        assert_eq!(ends.last(&name(1)), Some(at(2)), "its newer entry is still there");
        ends.note(&name(MOST), at(MOST + 1));
        ends.note(&name(MOST + 1), at(MOST + 2));
        assert_eq!((ends.last(&name(1)), ends.ends.len()), (None, MOST));
    }
}

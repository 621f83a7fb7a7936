//! The text right before a payload, which both sides build from the parent.

use crate::{Dictionary, Item, Op, Snapshot};

/// How much of the end of the dictionary's text is referred to. Its tables are what helps; 32 KiB would save 1 % more
/// for half as much time again.
pub const DICTIONARY_BYTES: usize = 8 * 1024;
/// How much of the end of the parent is referred to.
pub const LOG_BYTES: usize = 32 * 1024;
/// How much of what the edit removed is referred to.
pub const REMOVED_BYTES: usize = 32 * 1024;

/// Builds the reference for a delta on `parent`: tables and end of the dictionary if any, then the end of what the edit removed, then the
/// end of the parent.
///
/// A reference costs less the nearer it is to the payload, so text that is likely to recur is last. An item that is at
/// the end of the parent, even in part, is not repeated among the removed ones.
pub(crate) fn reference(dictionary: Option<&Dictionary>, parent: &Snapshot, ops: &[Op]) -> Vec<u8> {
    let items = parent.items();
    let log = tail(items, LOG_BYTES);
    let before_log = &items[..log.first_item];
    let gone = removed(before_log, ops);
    let gone = tail(&gone, REMOVED_BYTES);
    let (tables, text) =
        dictionary.map_or((&[][..], &[][..]), |dictionary| dictionary.tables_and_tail(DICTIONARY_BYTES));
    let mut reference = Vec::with_capacity(tables.len() + text.len() + gone.bytes + log.bytes);
    reference.extend_from_slice(tables);
    reference.extend_from_slice(text);
    gone.put(&mut reference);
    log.put(&mut reference);
    reference
}

/// The last bytes of a list of items.
struct Tail<'a, T> {
    items: &'a [T],
    /// The first one that is used, if only in part.
    first_item: usize,
    /// Bytes of it that are left out.
    skipped: usize,
    bytes: usize,
}

fn tail<T: AsRef<Item>>(items: &[T], limit: usize) -> Tail<'_, T> {
    let (mut first_item, mut bytes) = (items.len(), 0);
    while first_item > 0 && bytes < limit {
        first_item -= 1;
        bytes += items[first_item].as_ref().size_bytes();
    }
    let skipped = bytes.saturating_sub(limit);
    Tail { items: &items[first_item..], first_item, skipped, bytes: bytes - skipped }
}

impl<T: AsRef<Item>> Tail<'_, T> {
    fn put(&self, out: &mut Vec<u8>) {
        let mut skipped = self.skipped;
        for item in self.items {
            out.extend_from_slice(&item.as_ref().bytes()[skipped..]);
            skipped = 0;
        }
    }
}

/// Returns the items that no operation copies, in order.
fn removed<'a>(items: &'a [Item], ops: &[Op]) -> Vec<&'a Item> {
    let copies = ops.iter().filter_map(|op| match op {
        Op::Copy { start, len } => Some((*start, start.saturating_add(*len))),
        _ => None,
    });
    let mut copies: Vec<_> = copies.collect();
    copies.sort_unstable();
    let (mut gone, mut at) = (Vec::new(), 0);
    for (start, end) in copies {
        gone.extend(items.get(at..start.min(items.len())).unwrap_or_default());
        at = at.max(end);
    }
    gone.extend(items.get(at..).unwrap_or_default());
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, train::tests::dictionary};

    fn snapshot(items: &[String]) -> Snapshot {
        Snapshot::from_items(items.iter().map(|text| Item::new(text.as_bytes())), Limits::default()).unwrap()
    }

    fn copy(start: usize, len: usize) -> Op {
        Op::Copy { start, len }
    }

    #[test]
    fn a_short_parent_is_the_reference_and_nothing_is_in_it_twice() {
        let parent = snapshot(&["one".into(), "two".into()]);
        assert_eq!(reference(None, &parent, &[]), b"onetwo");
        let dictionary = dictionary();
        let built = reference(Some(&dictionary), &parent, &[copy(0, 2)]);
        assert!(built.ends_with(b"onetwo") && built.starts_with(&dictionary.bytes()[..8]));
        assert!(built.len() <= dictionary.bytes().len() + 6);
    }

    #[test]
    fn of_a_long_parent_stay_what_was_removed_and_the_end() {
        let items = ["gone", "kept", "gone too", &"x".repeat(10), &"y".repeat(LOG_BYTES - 5)].map(str::to_owned);
        let parent = snapshot(&items);
        let expected = ["gonegone too", "xxxxx", &items[4]].concat();
        for ops in [[copy(1, 1), copy(4, 1)], [copy(4, 1), copy(1, 1)]] {
            assert!(reference(None, &parent, &ops) == expected.as_bytes());
        }
    }

    #[test]
    fn what_was_removed_is_bounded_too() {
        let items = ["a".repeat(10), "b".repeat(REMOVED_BYTES - 3), "c".repeat(LOG_BYTES)];
        let built = reference(None, &snapshot(&items), &[]);
        assert_eq!(built.len(), REMOVED_BYTES + LOG_BYTES);
        assert!(built.starts_with(b"aaab"));
    }
}

//! The steps from the items that are resident in a child to those of a context: runs to copy and items to insert.

use std::{collections::HashMap, ops::Range};

use forerunner_context::{Item, ItemHash};

/// A step of an edit. The new items are those of all steps, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Resident items, by their places.
    Copy(Range<usize>),
    /// Other items, by their places among the new ones.
    Insert(Range<usize>),
}

/// Finds the steps from the resident items to `items`, however they were changed.
///
/// The cost is linear in both: the common start, the common end, and between them runs of items that are resident
/// anywhere.
pub(super) fn steps(resident: &[ItemHash], items: &[Item]) -> Vec<Step> {
    let start = resident.iter().zip(items).take_while(|(hash, item)| *hash == item.hash()).count();
    let ends = resident[start..].iter().rev().zip(items[start..].iter().rev());
    let end = ends.take_while(|(hash, item)| *hash == item.hash()).count();
    let mut steps = Vec::new();
    push(&mut steps, Step::Copy(0..start));
    let places = places(resident, &items[start..items.len() - end]);
    let mut next = None;
    for (at, item) in items.iter().enumerate().take(items.len() - end).skip(start) {
        // The run continues where it can: of two equal items, the one that follows makes the longer copy.
        let follows = next.filter(|&place| resident.get(place) == Some(item.hash()));
        match follows.or_else(|| places.get(item.hash()).copied().flatten()) {
            Some(place) => {
                push(&mut steps, Step::Copy(place..place + 1));
                next = Some(place + 1);
            }
            None => push(&mut steps, Step::Insert(at..at + 1)),
        }
    }
    push(&mut steps, Step::Copy(resident.len() - end..resident.len()));
    steps
}

/// The first place of each wanted item among the resident ones, if there is one.
fn places<'a>(resident: &[ItemHash], wanted: &'a [Item]) -> HashMap<&'a ItemHash, Option<usize>> {
    let mut places: HashMap<_, _> = wanted.iter().map(|item| (item.hash(), None)).collect();
    for (at, hash) in resident.iter().enumerate() {
        if let Some(place @ None) = places.get_mut(hash) {
            *place = Some(at);
        }
    }
    places
}

/// Adds a step, joined with the one before if it continues it.
fn push(steps: &mut Vec<Step>, step: Step) {
    match (steps.last_mut(), step) {
        (_, Step::Copy(range) | Step::Insert(range)) if range.is_empty() => {}
        (Some(Step::Copy(last)), Step::Copy(range)) if last.end == range.start => last.end = range.end,
        (Some(Step::Insert(last)), Step::Insert(range)) if last.end == range.start => last.end = range.end,
        (_, step) => steps.push(step),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn items(text: &str) -> Vec<Item> {
        text.bytes().map(|byte| Item::new([byte])).collect()
    }

    fn hashes(text: &str) -> Vec<ItemHash> {
        items(text).iter().map(|item| *item.hash()).collect()
    }

    /// Shows steps as `start-end` of the resident items, and the inserted text.
    fn shown(old: &str, new: &str) -> String {
        let show = |step: &Step| match step {
            Step::Copy(range) => format!("{}-{}", range.start, range.end),
            Step::Insert(range) => new[range.clone()].to_owned(),
        };
        steps(&hashes(old), &items(new)).iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_kind_of_edit_has_few_steps() {
        for (old, new, expected) in [
            ("", "", ""),
            ("", "ab", "ab"),
            ("ab", "", ""),
            ("abc", "abc", "0-3"),
            ("abc", "abcde", "0-3 de"),
            ("abcdef", "abXdef", "0-2 X 3-6"),
            ("abcdef", "aSef", "0-1 S 4-6"),
            ("abcdef", "def", "3-6"),
            ("abcdef", "defabc", "3-6 0-3"),
            ("aab", "aaab", "0-2 0-1 2-3"),
        ] {
            assert_eq!(shown(old, new), expected, "{old} → {new}");
        }
    }

    proptest! {
        #[test]
        fn the_steps_lead_to_the_items(old in vec(0u8..6, 0..20), new in vec(0u8..9, 0..20)) {
            let of = |bytes: &[u8]| bytes.iter().map(|byte| Item::new([*byte])).collect::<Vec<_>>();
            let (old, new) = (of(&old), of(&new));
            let resident: Vec<_> = old.iter().map(|item| *item.hash()).collect();
            let mut found = Vec::new();
            for step in steps(&resident, &new) {
                match step {
                    Step::Copy(range) => found.extend_from_slice(&old[range]),
                    Step::Insert(range) => found.extend_from_slice(&new[range]),
                }
            }
            prop_assert_eq!(found, new);
        }
    }
}

//! The steps that turn the items a child holds into those of a context, and back: runs to copy, items to insert.

use std::{collections::HashMap, ops::Range};

use forerunner_context::{Item, ItemHash};

/// A step of an edit: the new items are those of all steps, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Items that are held, by their places.
    Copy(Range<usize>),
    /// Items that are not, by their places among the new ones.
    Insert(Range<usize>),
}

/// Finds the steps from what is held to `items`, whatever was done to them: appended, cut, replaced, moved, summed up.
///
/// Linear in both: the common start, the common end, and in between runs of items that are held anywhere.
pub(super) fn steps(held: &[ItemHash], items: &[Item]) -> Vec<Step> {
    let start = held.iter().zip(items).take_while(|(held, item)| *held == item.hash()).count();
    let ends = held[start..].iter().rev().zip(items[start..].iter().rev());
    let end = ends.take_while(|(held, item)| *held == item.hash()).count();
    let mut steps = Vec::new();
    push(&mut steps, Step::Copy(0..start));
    let places = places(held, &items[start..items.len() - end]);
    let mut next = None;
    for (at, item) in items.iter().enumerate().take(items.len() - end).skip(start) {
        // The run goes on where it can: of two equal items, the one that follows makes the longer copy.
        let follows = next.filter(|&place| held.get(place) == Some(item.hash()));
        match follows.or_else(|| places.get(item.hash()).copied().flatten()) {
            Some(place) => {
                push(&mut steps, Step::Copy(place..place + 1));
                next = Some(place + 1);
            }
            None => push(&mut steps, Step::Insert(at..at + 1)),
        }
    }
    push(&mut steps, Step::Copy(held.len() - end..held.len()));
    steps
}

/// Where each wanted item is first held, if at all.
fn places<'a>(held: &[ItemHash], wanted: &'a [Item]) -> HashMap<&'a ItemHash, Option<usize>> {
    let mut places: HashMap<_, _> = wanted.iter().map(|item| (item.hash(), None)).collect();
    for (at, hash) in held.iter().enumerate() {
        if let Some(place @ None) = places.get_mut(hash) {
            *place = Some(at);
        }
    }
    places
}

/// Adds a step, joined with the one before if it goes on from there.
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

    /// Shows steps as `start-end` of what is held, and the inserted text.
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
            let held: Vec<_> = old.iter().map(|item| *item.hash()).collect();
            let mut found = Vec::new();
            for step in steps(&held, &new) {
                match step {
                    Step::Copy(range) => found.extend_from_slice(&old[range]),
                    Step::Insert(range) => found.extend_from_slice(&new[range]),
                }
            }
            prop_assert_eq!(found, new);
        }
    }
}

//! Laws of any context and any edit.

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

use crate::{Chain, Codec, Delta, Error, Frame, Item, Limits, Snapshot};

/// What a turn may do to a context.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    Append(Vec<Vec<u8>>),
    Replace(Index, Vec<u8>),
    Compact(Index, Index, Vec<u8>),
    Move(Index, Index),
    Repeat(Index),
    Anything(Vec<Vec<u8>>),
}

/// Short contents of few letters, so that items often recur, and now and then one worth packing.
fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(0u8..3, 0..4), 1 => (any::<u8>(), 1usize..400).prop_map(|(byte, len)| vec![byte; len])]
}

pub(crate) fn contents() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(content(), 0..12)
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => contents().prop_map(Edit::Append),
        2 => (any::<Index>(), content()).prop_map(|(at, new)| Edit::Replace(at, new)),
        1 => (any::<Index>(), any::<Index>(), content()).prop_map(|(from, to, new)| Edit::Compact(from, to, new)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Edit::Move(from, to)),
        1 => any::<Index>().prop_map(Edit::Repeat),
        1 => contents().prop_map(Edit::Anything),
    ]
}

pub(crate) fn snapshot(contents: Vec<Vec<u8>>) -> Snapshot {
    Snapshot::from_items(contents.into_iter().map(Item::new), Limits::default()).unwrap()
}

impl Edit {
    pub(crate) fn of(self, before: &Snapshot) -> Snapshot {
        let mut items = before.items().to_vec();
        let len = items.len();
        match self {
            Self::Append(new) => items.extend(new.into_iter().map(Item::new)),
            Self::Anything(new) => return snapshot(new),
            _ if len == 0 => {}
            Self::Replace(at, new) => items[at.index(len)] = Item::new(new),
            Self::Repeat(at) => items.push(items[at.index(len)].clone()),
            Self::Move(from, to) => {
                let item = items.remove(from.index(len));
                items.insert(to.index(len), item);
            }
            Self::Compact(from, to, new) => {
                let (from, to) = (from.index(len), to.index(len));
                items.splice(from.min(to)..from.max(to), [Item::new(new)]);
            }
        }
        Snapshot::from_items(items, Limits::default()).unwrap()
    }
}

/// Snapshots after each turn of a history, the first of any contents.
fn history() -> impl Strategy<Value = Vec<Snapshot>> {
    (contents(), vec(edit(), 1..12)).prop_map(|(first, edits)| {
        let mut snapshots = vec![snapshot(first)];
        for edit in edits {
            let next = edit.of(&snapshots[snapshots.len() - 1]);
            snapshots.push(next);
        }
        snapshots
    })
}

fn frames(snapshots: &[Snapshot]) -> Vec<Vec<u8>> {
    let base = Frame::full(&snapshots[0]).unwrap().into_bytes();
    let deltas = snapshots.windows(2).map(|pair| Frame::delta(&pair[0], &pair[1]).unwrap().into_bytes());
    std::iter::once(base).chain(deltas).collect()
}

fn restore(frames: &[Vec<u8>]) -> Result<Snapshot, Error> {
    Chain::restore(frames.iter().map(Vec::as_slice), &Limits::default())
}

proptest! {
    #[test]
    fn applying_a_diff_gives_the_snapshot(before in contents(), after in contents(), edit in edit()) {
        let before = snapshot(before);
        for next in [snapshot(after), edit.of(&before)] {
            let delta = Delta::diff(&before, &next);
            let applied = delta.apply(&before).unwrap();
            prop_assert_eq!(&applied, &next);
            prop_assert_eq!(applied.size_bytes(), next.size_bytes());
            prop_assert!(delta.ops().len() <= next.len());
        }
    }

    #[test]
    fn each_beginning_of_a_chain_restores_its_root(snapshots in history()) {
        let frames = frames(&snapshots);
        for (k, expected) in snapshots.iter().enumerate() {
            let restored = restore(&frames[..=k]).unwrap();
            prop_assert_eq!(restored.root(), expected.root());
            prop_assert_eq!(&restored, expected);
        }
    }

    #[test]
    fn live_and_replayed_snapshots_are_equal(snapshots in history()) {
        let frames = frames(&snapshots);
        let mut live = Snapshot::new();
        for (k, frame) in frames.iter().enumerate() {
            live = Codec::default().apply(frame, &live).unwrap();
            prop_assert_eq!(&live, &restore(&frames[..=k]).unwrap());
        }
    }

    #[test]
    fn encoding_is_deterministic_and_loses_nothing(snapshots in history()) {
        prop_assert_eq!(frames(&snapshots), frames(&snapshots));
        let frame = Frame::delta(&snapshots[0], &snapshots[1]).unwrap();
        let delta = Codec::default().decode(frame.as_bytes(), &snapshots[0]).unwrap();
        prop_assert_eq!(delta, Delta::diff(&snapshots[0], &snapshots[1]));
    }

    #[test]
    fn a_fresh_base_has_the_root_of_the_chain_it_replaces(snapshots in history()) {
        let restored = restore(&frames(&snapshots)).unwrap();
        let base = Frame::full(&restored).unwrap();
        prop_assert_eq!(base.header().root, restored.root().tag());
        prop_assert_eq!(restore(&[base.into_bytes()]).unwrap(), restored);
    }

    #[test]
    fn a_damaged_chain_is_an_error(snapshots in history(), frame in any::<Index>(), at in any::<Index>(), flip in 1u8..) {
        let mut frames = frames(&snapshots);
        let frame = frame.index(frames.len());
        let at = at.index(frames[frame].len());
        let good = frames[frame].clone();
        frames[frame][at] ^= flip;
        prop_assert!(restore(&frames).is_err());
        frames[frame] = good;
        frames[frame].truncate(at);
        prop_assert!(restore(&frames).is_err());
    }

    #[test]
    fn a_forged_byte_never_yields_another_snapshot(snapshots in history(), at in any::<Index>(), flip in 1u8..) {
        let mut forged = frames(&snapshots[..2]).remove(1);
        let end = forged.len() - 4;
        forged[at.index(end)] ^= flip;
        let checksum = blake3::hash(&forged[..end]);
        forged[end..].copy_from_slice(&checksum.as_bytes()[..4]);
        if let Ok(next) = Codec::default().apply(&forged, &snapshots[0]) {
            prop_assert_eq!(&next, &snapshots[1]);
        }
    }

    #[test]
    fn a_wrong_parent_is_an_error(snapshots in history(), other in contents()) {
        let other = snapshot(other);
        prop_assume!(other != snapshots[0]);
        let refused = Delta::diff(&snapshots[0], &snapshots[1]).apply(&other);
        prop_assert!(matches!(refused, Err(Error::Parent { .. })), "{:?}", refused);
    }

    #[test]
    fn no_bytes_make_decoding_panic(start in select(vec![&b"\xfc"[..], b"FCX\x01"]), bytes in vec(any::<u8>(), 0..200)) {
        // A right start and a right checksum, so that the bytes between are what is tried.
        let mut forged = [start, &bytes].concat();
        let hash = blake3::hash(&forged);
        forged.extend_from_slice(&hash.as_bytes()[..4]);
        let limits = Limits { decoded_bytes: 1 << 20, ..Limits::default() };
        let _ = Codec::default().apply(&forged, &Snapshot::with_limits(limits));
    }
}

//! What turns one snapshot into the next.

use std::{collections::HashMap, fmt};

use crate::{BaseItems, Error, Item, ItemHash, Op, ParentTag, RootTag, Snapshot};

/// What turns one snapshot into the next, or nothing into a first one.
///
/// The sum of its inserts is its payload: it comes from [`Delta::diff`], [`Delta::full`] or a checked frame only.
#[derive(Clone, PartialEq, Eq)]
pub struct Delta {
    /// Absent when the delta starts from nothing.
    pub(crate) parent: Option<ParentTag>,
    pub(crate) root: RootTag,
    pub(crate) ops: Vec<Op>,
    pub(crate) payload: Vec<u8>,
}

impl Delta {
    /// Finds what turns `parent` into `next`, whatever the edit: appended, replaced, moved, dropped or compacted items.
    ///
    /// Linear in the items of both: common start, common end, and in between runs of items that occur anywhere in the
    /// parent, found by hash. The same snapshots give the same result, which is not always the shortest.
    pub fn diff(parent: &Snapshot, next: &Snapshot) -> Self {
        Self::diff_with(parent, next, &BaseItems::default())
    }

    /// As [`Delta::diff`]; names those items that are in `bases` instead of inserting them.
    pub fn diff_with(parent: &Snapshot, next: &Snapshot, bases: &BaseItems) -> Self {
        let (old, new) = (parent.items(), next.items());
        let prefix = common(old.iter(), new.iter());
        let suffix = common(old[prefix..].iter().rev(), new[prefix..].iter().rev());
        let edited = &new[prefix..new.len() - suffix];

        let mut script = Script::new(bases);
        script.copy(0, prefix);
        script.edit(old, edited);
        script.copy(old.len() - suffix, suffix);
        let parent = Some(parent.root().tag().parent());
        Self { parent, root: next.root().tag(), ops: script.ops, payload: script.payload }
    }

    /// Builds `snapshot` from nothing.
    pub fn full(snapshot: &Snapshot) -> Self {
        Self::full_with(snapshot, &BaseItems::default())
    }

    /// As [`Delta::full`]; names those items that are in `bases` instead of inserting them.
    pub fn full_with(snapshot: &Snapshot, bases: &BaseItems) -> Self {
        let mut script = Script::new(bases);
        snapshot.items().iter().for_each(|item| script.add(item));
        Self { parent: None, root: snapshot.root().tag(), ops: script.ops, payload: script.payload }
    }

    /// Builds the next snapshot, which gets the limits of `parent` and shares its items.
    ///
    /// A full delta uses nothing but the limits of `parent`.
    ///
    /// # Errors
    /// [`Error::Parent`] when made from another snapshot, [`Error::CopyRange`] or [`Error::Root`] when the delta
    /// contradicts itself, [`Error::Items`] or [`Error::DecodedSize`] when the result is over the limits.
    pub fn apply(&self, parent: &Snapshot) -> Result<Snapshot, Error> {
        self.check_parent(parent)?;
        let next = self.replay(parent)?;
        next.verify(self.root)?;
        Ok(next)
    }

    fn check_parent(&self, parent: &Snapshot) -> Result<(), Error> {
        self.parent.map_or(Ok(()), |expected| check_parent(expected, parent.root().tag()))
    }

    /// Builds the next snapshot without comparing roots: a chain does that once, at its end.
    pub(crate) fn replay(&self, parent: &Snapshot) -> Result<Snapshot, Error> {
        let old = if self.is_full() { &[] } else { parent.items() };
        let mut next = Snapshot::with_limits(*parent.limits());
        let mut payload = self.payload.as_slice();
        for op in &self.ops {
            match op {
                Op::Copy { start, len } => copy(old, *start, *len, &mut next)?,
                Op::Insert { lens } => payload = insert(payload, lens, &mut next)?,
                Op::Base { items } => items.iter().try_for_each(|item| next.push_item(item.clone()))?,
            }
        }
        Ok(next)
    }

    /// Returns whether the delta starts from nothing.
    pub fn is_full(&self) -> bool {
        self.parent.is_none()
    }

    /// Returns whether an item of the parent is missing in the result, judged by the number of copies.
    pub(crate) fn drops_items(&self, parent: &Snapshot) -> bool {
        let copied = self.ops.iter().map(|op| if let Op::Copy { len, .. } = op { *len } else { 0 });
        copied.sum::<usize>() < parent.len()
    }

    /// Returns the name of the parent, absent for a full delta.
    pub fn parent(&self) -> Option<ParentTag> {
        self.parent
    }

    /// Returns the name of the result.
    pub fn root(&self) -> RootTag {
        self.root
    }

    /// Returns the steps in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Returns the bytes of all inserted items, one after the other.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

impl fmt::Debug for Delta {
    /// Shows the steps and the payload's size: contents are private and large.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Delta");
        shown.field("parent", &self.parent).field("root", &self.root).field("ops", &self.ops);
        shown.field("payload_bytes", &self.payload.len()).finish()
    }
}

/// # Errors
/// [`Error::Parent`] when `found` is not the snapshot that a delta names.
pub(crate) fn check_parent(expected: ParentTag, found: RootTag) -> Result<(), Error> {
    if expected != found.parent() {
        return Err(Error::Parent { expected, found: found.parent() });
    }
    Ok(())
}

/// Counts how many items two lists have in common before they differ.
fn common<'a>(old: impl Iterator<Item = &'a Item>, new: impl Iterator<Item = &'a Item>) -> usize {
    old.zip(new).take_while(|(old, new)| old == new).count()
}

fn copy(old: &[Item], start: usize, len: usize, next: &mut Snapshot) -> Result<(), Error> {
    let run = start.checked_add(len).and_then(|end| old.get(start..end));
    let run = run.ok_or(Error::CopyRange { start, len, items: old.len() })?;
    run.iter().try_for_each(|item| next.push_item(item.clone()))
}

/// Pushes items cut from the front of `payload` and returns the rest.
fn insert<'a>(mut payload: &'a [u8], lens: &[usize], next: &mut Snapshot) -> Result<&'a [u8], Error> {
    for &len in lens {
        let Some((item, rest)) = payload.split_at_checked(len) else {
            return Err(Error::InsertSum { inserted_bytes: len, declared_bytes: payload.len() });
        };
        next.push(item)?;
        payload = rest;
    }
    Ok(payload)
}

/// Collects steps, joining those that continue the one before.
struct Script<'a> {
    bases: &'a BaseItems,
    ops: Vec<Op>,
    payload: Vec<u8>,
}

impl<'a> Script<'a> {
    fn new(bases: &'a BaseItems) -> Self {
        Self { bases, ops: Vec::new(), payload: Vec::new() }
    }

    /// Writes `edited` as runs of `old` where they occur there, else as inserts.
    fn edit(&mut self, old: &[Item], edited: &[Item]) {
        let first = first_positions(old, edited);
        let mut run_end = None;
        for item in edited {
            // The run continues where it can: of two equal items, the one that follows makes the longer copy.
            let follows = run_end.filter(|&at| old.get(at) == Some(item));
            match follows.or_else(|| first.get(item.hash()).copied().flatten()) {
                Some(at) => {
                    self.copy(at, 1);
                    run_end = Some(at + 1);
                }
                None => self.add(item),
            }
        }
    }

    fn add(&mut self, item: &Item) {
        if self.bases.contains(item) { self.name(item) } else { self.insert(item) }
    }

    fn name(&mut self, item: &Item) {
        match self.ops.last_mut() {
            Some(Op::Base { items }) => items.push(item.clone()),
            _ => self.ops.push(Op::Base { items: vec![item.clone()] }),
        }
    }

    fn copy(&mut self, start: usize, len: usize) {
        if len == 0 {
            return;
        }
        match self.ops.last_mut() {
            Some(Op::Copy { start: before, len: run }) if *before + *run == start => *run += len,
            _ => self.ops.push(Op::Copy { start, len }),
        }
    }

    fn insert(&mut self, item: &Item) {
        self.payload.extend_from_slice(item.bytes());
        match self.ops.last_mut() {
            Some(Op::Insert { lens }) => lens.push(item.size_bytes()),
            _ => self.ops.push(Op::Insert { lens: vec![item.size_bytes()] }),
        }
    }
}

/// Finds the first place of each wanted item in `old`, if there is one.
///
/// Indexes the wanted items instead of the old ones: a turn adds few to many. The map uses the default hasher, since a
/// writer of items can choose hashes that collide in a weaker one.
fn first_positions<'a>(old: &[Item], wanted: &'a [Item]) -> HashMap<&'a ItemHash, Option<usize>> {
    let mut first: HashMap<_, _> = wanted.iter().map(|item| (item.hash(), None)).collect();
    for (at, item) in old.iter().enumerate() {
        if let Some(position @ None) = first.get_mut(item.hash()) {
            *position = Some(at);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    /// One item a character.
    fn snapshot(text: &str) -> Snapshot {
        Snapshot::from_items(text.bytes().map(|byte| Item::new([byte])), Limits::default()).unwrap()
    }

    /// Shows a delta as `parent range | inserted text`.
    fn shown(old: &str, new: &str) -> String {
        let delta = Delta::diff(&snapshot(old), &snapshot(new));
        assert_eq!(delta.apply(&snapshot(old)).unwrap(), snapshot(new));
        let mut payload = delta.payload();
        let mut show = |op: &Op| match op {
            Op::Copy { start, len } => format!("{start}+{len}"),
            Op::Insert { lens } => {
                let (inserted, rest) = payload.split_at(lens.len());
                payload = rest;
                String::from_utf8_lossy(inserted).into_owned()
            }
            Op::Base { items } => format!("base {}", items.len()),
        };
        delta.ops().iter().map(&mut show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_kind_of_edit_has_a_short_script() {
        for (old, new, script) in [
            ("", "", ""),
            ("", "abc", "abc"),
            ("abc", "", ""),
            ("abc", "abc", "0+3"),
            ("abc", "abcde", "0+3 de"),
            ("abcdef", "abXdef", "0+2 X 3+3"),
            ("abcdef", "aSef", "0+1 S 4+2"),
            ("abcdef", "def", "3+3"),
            ("abcdef", "defabc", "3+3 0+3"),
            ("abcdef", "aXcdYf", "0+1 X 2+2 Y 5+1"),
            ("abc", "abcb", "0+3 1+1"),
            ("aab", "aaab", "0+2 0+1 2+1"),
            ("abac", "XacY", "X 0+1 3+1 Y"),
        ] {
            assert_eq!(shown(old, new), script, "{old} → {new}");
        }
    }

    #[test]
    fn of_two_equal_items_the_one_that_continues_the_run_is_copied() {
        assert_eq!(shown("xabyaac", "Qaac"), "Q 4+3");
        assert_eq!(shown("pqrpsz", "QpsR"), "Q 0+1 4+1 R");
        assert_eq!(shown("apbpz", "XbpY"), "X 2+2 Y");
    }

    #[test]
    fn base_items_are_named_and_the_parent_comes_first() {
        let (old, new) = (snapshot("ab"), snapshot("abxybz"));
        let bases = BaseItems::new(snapshot("bxy").items().iter().cloned());
        let delta = Delta::diff_with(&old, &new, &bases);
        let [x, y] = [&new.items()[2], &new.items()[3]].map(Item::clone);
        let expected = [
            Op::Copy { start: 0, len: 2 },
            Op::Base { items: vec![x, y] },
            Op::Copy { start: 1, len: 1 },
            Op::Insert { lens: vec![1] },
        ];
        assert_eq!((delta.ops(), delta.payload()), (&expected[..], &b"z"[..]));
        assert_eq!(delta.apply(&old).unwrap(), new);
        assert_eq!(Delta::full_with(&new, &bases).apply(&old).unwrap(), new);
    }

    #[test]
    fn a_wrong_parent_is_an_error() {
        let delta = Delta::diff(&snapshot("abc"), &snapshot("abcd"));
        let [expected, found] = ["abc", "abx"].map(|text| snapshot(text).root().tag().parent());
        assert_eq!(delta.apply(&snapshot("abx")), Err(Error::Parent { expected, found }));
    }

    #[test]
    fn a_delta_that_contradicts_itself_is_an_error() {
        let (old, new) = (snapshot("abc"), snapshot("abcd"));
        let delta = Delta::diff(&old, &new);
        let with = |ops: Vec<Op>| Delta { ops, ..delta.clone() }.apply(&old);
        let range = Error::CopyRange { start: 1, len: 3, items: 3 };
        assert_eq!(with(vec![Op::Copy { start: 1, len: 3 }]), Err(range));
        assert!(matches!(with(vec![Op::Copy { start: usize::MAX, len: 2 }]), Err(Error::CopyRange { .. })));
        assert!(matches!(with(vec![Op::Insert { lens: vec![2] }]), Err(Error::InsertSum { .. })));
        assert!(matches!(with(vec![Op::Copy { start: 0, len: 3 }]), Err(Error::Root { .. })));
    }

    #[test]
    fn copies_count_against_the_limits() {
        let old = snapshot("abc");
        let ops = vec![Op::Copy { start: 0, len: 3 }; 3];
        let delta = Delta { ops, ..Delta::diff(&old, &old) };
        let tight = |limits| delta.apply(&Snapshot::from_items(old.items().iter().cloned(), limits).unwrap());
        let limits = Limits { items: 8, ..Limits::default() };
        assert_eq!(tight(limits), Err(Error::Items { items: 9, limit: 8 }));
        let limits = Limits { decoded_bytes: 8, ..Limits::default() };
        assert_eq!(tight(limits), Err(Error::DecodedSize { bytes: 9, limit: 8 }));
    }

    #[test]
    fn a_full_delta_ignores_what_was_there() {
        let delta = Delta::full(&snapshot("abc"));
        assert_eq!(delta.apply(&snapshot("xyz")).unwrap(), snapshot("abc"));
        assert!(delta.is_full());
    }
}

//! A base and the deltas on it.

use crate::{
    Codec, CompactionReason, Error, FRAME_OVERHEAD_BYTES, Frame, Header, Limits, RootTag, Snapshot, Turn,
    compaction::{debt_is_due, rent},
    delta::check_parent,
    frame::Packed,
};

/// Unpacking so much in vain takes a fraction of a millisecond: too little to replace a chain of short deltas.
const FREE_DEAD_BYTES: usize = 256 * 1024;

/// The account of a stored chain: how long it is, what it costs to read, where it ends.
///
/// It contains no frames: those are in the store. The writer of a context has its chain and asks
/// [`Chain::should_compact`] at the end of each turn. It then either appends the turn's delta or starts anew with a full
/// frame.
///
/// ```
/// use forerunner_context::{Chain, Frame, Snapshot, Turn};
///
/// let mut snapshot = Snapshot::new();
/// snapshot.push("the system prompt ".repeat(500))?;
/// let mut chain = Chain::start(&Frame::full(&snapshot)?, snapshot.limits())?;
///
/// let mut next = snapshot.clone();
/// next.push("a question")?;
/// let delta = Frame::delta(&snapshot, &next)?;
/// let turn = Turn { delta: &delta, next: &next, restores_per_turn: 0.1, fresh_base_bytes: 400 };
/// match chain.should_compact(&turn) {
///     None => chain.append(&turn)?,
///     Some(_reason) => chain = Chain::start(&Frame::full(&next)?, next.limits())?,
/// }
/// assert_eq!((chain.len(), chain.tip()), (2, next.root().tag()));
/// # Ok::<(), forerunner_context::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    limits: Limits,
    frames: usize,
    encoded_bytes: usize,
    decoded_bytes: usize,
    base_bytes: usize,
    base_decoded_bytes: usize,
    tip: RootTag,
    /// What reading the chain has cost beyond reading a fresh base, in bytes.
    debt_bytes: f64,
}

impl Chain {
    /// Restores the snapshot at the end of a chain: a full frame, then deltas in order.
    ///
    /// The snapshot gets `limits`.
    ///
    /// # Errors
    /// As [`Chain::resume_with`].
    pub fn restore<'a>(frames: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Result<Snapshot, Error> {
        Self::restore_with(&Codec::default(), frames, limits)
    }

    /// As [`Chain::restore`], for frames that name dictionaries or base items.
    ///
    /// # Errors
    /// As [`Chain::resume_with`].
    pub fn restore_with<'a>(
        codec: &Codec,
        frames: impl IntoIterator<Item = &'a [u8]>,
        limits: &Limits,
    ) -> Result<Snapshot, Error> {
        Self::resume_with(codec, frames, limits).map(|(_, snapshot)| snapshot)
    }

    /// Restores the snapshot at the end of a chain, and the chain's account so that it can grow. Its debt starts at 0.
    ///
    /// # Errors
    /// As [`Chain::resume_with`].
    pub fn resume<'a>(frames: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Result<(Self, Snapshot), Error> {
        Self::resume_with(&Codec::default(), frames, limits)
    }

    /// As [`Chain::resume`], for frames that name dictionaries or base items.
    ///
    /// Each frame must name the one before as its parent; the list of items is compared with its root once, at the end.
    ///
    /// # Errors
    /// [`Error::EmptyChain`], [`Error::Root`] when the result is not what the last frame names, or
    /// [`Error::InChain`] with the index of the first frame that is refused and the reason.
    pub fn resume_with<'a>(
        codec: &Codec,
        frames: impl IntoIterator<Item = &'a [u8]>,
        limits: &Limits,
    ) -> Result<(Self, Snapshot), Error> {
        let in_chain = |index| move |cause| Error::InChain { index, cause: Box::new(cause) };
        let mut frames = frames.into_iter();
        let base = frames.next().ok_or(Error::EmptyChain)?;
        let (mut chain, mut snapshot) = Self::open(codec, base, limits).map_err(in_chain(0))?;
        for (index, delta) in (1..).zip(frames) {
            snapshot = chain.follow(codec, delta, &snapshot).map_err(in_chain(index))?;
        }
        snapshot.verify(chain.tip)?;
        Ok((chain, snapshot))
    }

    /// Continues from `end`, the snapshot at the end of this chain, with the frames after it.
    ///
    /// # Errors
    /// [`Error::Parent`] when `end` is another snapshot; otherwise as [`Chain::resume_with`].
    pub fn resume_from<'a>(
        mut self,
        codec: &Codec,
        end: &Snapshot,
        frames: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Self, Snapshot), Error> {
        check_parent(self.tip.parent(), end.root().tag())?;
        let mut snapshot = end.clone();
        for (index, delta) in (self.frames..).zip(frames) {
            let followed = self.follow(codec, delta, &snapshot);
            snapshot = followed.map_err(|cause| Error::InChain { index, cause: Box::new(cause) })?;
        }
        snapshot.verify(self.tip)?;
        Ok((self, snapshot))
    }

    fn open(codec: &Codec, base: &[u8], limits: &Limits) -> Result<(Self, Snapshot), Error> {
        let base = Packed::parse(base, codec, limits)?;
        let chain = Self::begin(&base.header, base.encoded_bytes, limits)?;
        let nothing = Snapshot::with_limits(*limits);
        let snapshot = base.unpack(&nothing)?.replay(&nothing)?;
        Ok((chain, snapshot))
    }

    /// Admits the frame before its payload is unpacked, so that a chain over its limits costs nothing more.
    fn follow(&mut self, codec: &Codec, delta: &[u8], parent: &Snapshot) -> Result<Snapshot, Error> {
        let delta = Packed::parse(delta, codec, &self.limits)?;
        self.admit(&delta.header, delta.encoded_bytes)?;
        delta.unpack(parent)?.replay(parent)
    }

    /// Starts a chain with a full frame.
    ///
    /// # Errors
    /// [`Error::NoBase`] when `base` is a delta, [`Error::ChainLength`] or [`Error::RestoredSize`] when `limits` have
    /// no room for it.
    pub fn start(base: &Frame, limits: &Limits) -> Result<Self, Error> {
        Self::begin(base.header(), base.as_bytes().len(), limits)
    }

    fn begin(header: &Header, encoded_bytes: usize, limits: &Limits) -> Result<Self, Error> {
        if header.parent.is_some() {
            return Err(Error::NoBase);
        }
        limits.check_chain(1)?;
        limits.check_restored(header.decoded_bytes)?;
        let Header { root: tip, decoded_bytes, .. } = *header;
        Ok(Self {
            limits: *limits,
            frames: 1,
            encoded_bytes,
            decoded_bytes,
            base_bytes: encoded_bytes,
            base_decoded_bytes: decoded_bytes,
            tip,
            debt_bytes: 0.0,
        })
    }

    /// Adds a turn's delta to the account. On an error the chain is unchanged.
    ///
    /// # Errors
    /// [`Error::SecondBase`] when the frame is full, [`Error::Parent`] when it does not follow the tip,
    /// [`Error::ChainLength`] or [`Error::RestoredSize`] when the chain could not be restored afterwards.
    pub fn append(&mut self, turn: &Turn<'_>) -> Result<(), Error> {
        let rent = rent(self.cost_bytes(), turn);
        self.admit(turn.delta.header(), turn.delta.as_bytes().len())?;
        self.debt_bytes += rent;
        Ok(())
    }

    fn admit(&mut self, header: &Header, encoded_bytes: usize) -> Result<(), Error> {
        let expected = header.parent.ok_or(Error::SecondBase)?;
        check_parent(expected, self.tip)?;
        let decoded_bytes = self.decoded_bytes.saturating_add(header.decoded_bytes);
        self.limits.check_chain(self.frames + 1)?;
        self.limits.check_restored(decoded_bytes)?;
        self.frames += 1;
        self.encoded_bytes += encoded_bytes;
        self.decoded_bytes = decoded_bytes;
        self.tip = header.root;
        Ok(())
    }

    /// Decides whether the turn should be stored as a fresh base, and returns the reason.
    ///
    /// Hard caps go first: frames and bytes over the limits, or more than half of the bytes and 256 KiB no longer
    /// needed. Then rent or buy: each turn adds p · max(0, C − F) to a debt, and the chain is replaced when the debt
    /// reaches F − d. C is the chain's size with this delta, F a fresh base's, d the delta's, p the restores per turn.
    /// With a good estimate of F, the cost in bytes written and read stays near that of the best plan in hindsight.
    pub fn should_compact(&self, turn: &Turn<'_>) -> Option<CompactionReason> {
        self.cap(turn).or_else(|| debt_is_due(self.debt_bytes, rent(self.cost_bytes(), turn), turn))
    }

    fn cap(&self, turn: &Turn<'_>) -> Option<CompactionReason> {
        let frames = self.frames + 1;
        if frames > self.limits.chain_frames {
            return Some(CompactionReason::Length { frames, limit: self.limits.chain_frames });
        }
        let decoded = self.decoded_bytes.saturating_add(turn.delta.header().decoded_bytes);
        if decoded > self.limits.restored_bytes {
            return Some(CompactionReason::RestoredSize { bytes: decoded, limit: self.limits.restored_bytes });
        }
        let dead = decoded.saturating_sub(turn.next.size_bytes());
        (dead > decoded / 2 && dead > FREE_DEAD_BYTES).then_some(CompactionReason::DeadBytes { dead, decoded })
    }

    /// What one restore reads, with the overhead of each frame.
    fn cost_bytes(&self) -> usize {
        self.encoded_bytes + self.frames * FRAME_OVERHEAD_BYTES
    }

    /// Returns the number of frames, base included: at least 1.
    #[allow(clippy::len_without_is_empty, reason = "a chain has a base, so it is never empty")]
    pub fn len(&self) -> usize {
        self.frames
    }

    /// Returns the size of all frames in bytes.
    pub fn encoded_bytes(&self) -> usize {
        self.encoded_bytes
    }

    /// Returns the size in bytes of all items that the frames insert, dead ones included.
    pub fn decoded_bytes(&self) -> usize {
        self.decoded_bytes
    }

    /// Returns the sizes in bytes of the base, encoded, and of the items that it inserts.
    pub fn base_bytes(&self) -> (usize, usize) {
        (self.base_bytes, self.base_decoded_bytes)
    }

    /// Returns the snapshot that the chain ends with.
    pub fn tip(&self) -> RootTag {
        self.tip
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Item;

    fn snapshot(texts: &[&str]) -> Snapshot {
        let items = texts.iter().map(|text| Item::new(text.as_bytes()));
        Snapshot::from_items(items, Limits::default()).unwrap()
    }

    /// Three snapshots and the chain that leads to the last.
    fn story() -> ([Snapshot; 3], [Vec<u8>; 3]) {
        let [a, b, c] = [snapshot(&["a"]), snapshot(&["a", "b"]), snapshot(&["c", "b"])];
        let frames = [Frame::full(&a), Frame::delta(&a, &b), Frame::delta(&b, &c)];
        ([a, b, c], frames.map(|frame| frame.unwrap().into_bytes()))
    }

    fn restore(frames: &[&[u8]]) -> Result<Snapshot, Error> {
        Chain::restore(frames.iter().copied(), &Limits::default())
    }

    fn in_chain(index: usize, cause: Error) -> Result<Snapshot, Error> {
        Err(Error::InChain { index, cause: Box::new(cause) })
    }

    #[test]
    fn frames_restore_in_their_order_only() {
        let ([a, b, c], [base, first, second]) = story();
        assert_eq!(restore(&[&base]).unwrap(), a);
        assert_eq!(restore(&[&base, &first]).unwrap(), b);
        assert_eq!(restore(&[&base, &first, &second]).unwrap(), c);
        assert_eq!(restore(&[]), Err(Error::EmptyChain));
        assert_eq!(restore(&[&first]), in_chain(0, Error::NoBase));
        assert_eq!(restore(&[&base, &base]), in_chain(1, Error::SecondBase));
        let [expected, found] = [&b, &a].map(|snapshot| snapshot.root().tag().parent());
        let wrong = Error::Parent { expected, found };
        assert_eq!(restore(&[&base, &second]), in_chain(1, wrong));
    }

    #[test]
    fn a_chain_resumes_from_a_snapshot_of_its_end() {
        let ([a, b, c], frames) = story();
        let [base, first, second] = frames.each_ref().map(Vec::as_slice);
        let all = Chain::resume([base, first, second], &Limits::default()).unwrap();
        let resumed = |frames: &[&[u8]]| Chain::resume(frames.iter().copied(), &Limits::default()).unwrap();
        for (known, more) in
            [(&[base][..], &[first, second][..]), (&[base, first], &[second]), (&[base, first, second], &[])]
        {
            let (chain, snapshot) = resumed(known);
            let continued = chain.resume_from(&Codec::default(), &snapshot, more.iter().copied()).unwrap();
            assert_eq!(continued, all);
        }
        let (chain, _) = resumed(&[base]);
        let wrong = chain.clone().resume_from(&Codec::default(), &b, [first]);
        let [expected, found] = [&a, &b].map(|snapshot| snapshot.root().tag().parent());
        assert_eq!(wrong, Err(Error::Parent { expected, found }));
        let skipped = chain.resume_from(&Codec::default(), &a, [second]);
        assert!(matches!(skipped, Err(Error::InChain { index: 1, .. })), "{skipped:?}");
        assert_eq!(all.1, c);
    }

    #[test]
    fn an_error_names_the_frame() {
        let (_, [base, mut first, second]) = story();
        first[9] ^= 1;
        let text = restore(&[&base, &first, &second]).unwrap_err().to_string();
        assert!(text.starts_with("frame 1 of the chain: frame of "), "{text}");
    }

    #[test]
    fn a_chain_over_a_limit_is_not_restored() {
        let (_, frames) = story();
        let under = |limits: Limits| Chain::restore(frames.iter().map(Vec::as_slice), &limits);
        let limits = Limits { chain_frames: 2, ..Limits::default() };
        assert_eq!(under(limits), in_chain(2, Error::ChainLength { frames: 3, limit: 2 }));
        let limits = Limits { restored_bytes: 2, ..Limits::default() };
        assert_eq!(under(limits), in_chain(2, Error::RestoredSize { bytes: 3, limit: 2 }));
    }

    #[test]
    fn the_account_is_the_same_live_and_restored() {
        let ([a, b, c], bytes) = story();
        let mut chain = Chain::start(&Frame::full(&a).unwrap(), a.limits()).unwrap();
        for (parent, next) in [(&a, &b), (&b, &c)] {
            let delta = Frame::delta(parent, next).unwrap();
            chain.append(&Turn { delta: &delta, next, restores_per_turn: 0.0, fresh_base_bytes: 100 }).unwrap();
        }
        let (restored, snapshot) = Chain::resume(bytes.iter().map(Vec::as_slice), &Limits::default()).unwrap();
        assert_eq!((restored, snapshot), (chain, c));
    }

    /// Appends one small item a turn until a rule stops it, and returns the turn and the rule.
    fn run(limits: Limits, restores_per_turn: f64, fresh_base_bytes: usize) -> (usize, CompactionReason) {
        let mut now = Snapshot::with_limits(limits);
        let mut chain = Chain::start(&Frame::full(&now).unwrap(), &limits).unwrap();
        for turn_no in 1.. {
            let mut next = now.clone();
            next.push(format!("turn {turn_no:04}")).unwrap();
            let delta = Frame::delta(&now, &next).unwrap();
            let turn = Turn { delta: &delta, next: &next, restores_per_turn, fresh_base_bytes };
            if let Some(reason) = chain.should_compact(&turn) {
                return (turn_no, reason);
            }
            chain.append(&turn).unwrap();
            now = next;
        }
        unreachable!("the length of a chain is limited")
    }

    #[test]
    fn a_chain_that_is_never_read_grows_to_its_limit() {
        for never in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(
                run(Limits::default(), never, 10_000),
                (256, CompactionReason::Length { frames: 257, limit: 256 })
            );
        }
        let limits = Limits { restored_bytes: 40, ..Limits::default() };
        assert_eq!(run(limits, 0.0, 10_000), (5, CompactionReason::RestoredSize { bytes: 45, limit: 40 }));
    }

    #[test]
    fn the_more_a_chain_is_read_the_sooner_it_is_replaced() {
        let turn = |restores| run(Limits::default(), restores, 10_000).0;
        let turns = [0.01, 0.2, 1.0, 5.0].map(turn);
        assert!(turns.is_sorted_by(|a, b| a > b), "{turns:?}");
        // One frame is about 296 bytes with overhead, so a chain passes the base of 10,256 at turn 33. From there the
        // debt grows by 296·p more each turn and reaches 10,000 after about √(2·10,000 / (296·p)) turns.
        let expected = |restores: f64| 33.0 + (20_000.0 / (296.0 * restores)).sqrt();
        for (restores, turn) in [0.2, 1.0, 5.0].into_iter().zip(&turns[1..]) {
            assert!((*turn as f64 - expected(restores)).abs() < 3.0, "{restores}: {turn}, {}", expected(restores));
        }
    }

    #[test]
    fn a_base_no_larger_than_the_delta_is_bought_at_once() {
        assert!(matches!(run(Limits::default(), 0.0, 10), (1, CompactionReason::Debt { .. })));
    }

    #[test]
    fn mostly_dead_bytes_are_dropped_at_once() {
        let reason = |dead: usize| {
            let long = snapshot(&["x", &"o".repeat(dead)]);
            let short = snapshot(&["x", "a summary"]);
            let chain = Chain::start(&Frame::full(&long).unwrap(), long.limits()).unwrap();
            let delta = Frame::delta(&long, &short).unwrap();
            chain.should_compact(&Turn {
                delta: &delta,
                next: &short,
                restores_per_turn: 0.0,
                fresh_base_bytes: 10_000,
            })
        };
        let (dead, decoded) = (FREE_DEAD_BYTES + 1, FREE_DEAD_BYTES + 11);
        assert_eq!(reason(dead), Some(CompactionReason::DeadBytes { dead, decoded }));
        assert_eq!(reason(FREE_DEAD_BYTES), None, "so little work is no reason");
    }
}

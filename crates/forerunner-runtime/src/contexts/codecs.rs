//! The codec of a pool's contexts, and the measured cost of restoring them.

use parking_lot::{Mutex, MutexGuard};

use forerunner_context::{BaseItems, Codec, Dictionary, Error, Item};
use forerunner_core::{
    ContextId, ContextSource,
    placement::{RestoreCost, RestoreMeter},
};
use forerunner_store::{SharedObject, SharedObjectKind};

use super::shared::{SharedItems, unpack};

/// Assumed reads from the store per turn before the first measurement: one turn in five runs on another agent.
const RESTORES_PER_TURN: f64 = 0.2;
/// Weight of a turn in the average of restores per turn.
const WEIGHT: f64 = 0.01;

/// The codec and the measurements of a pool's contexts. Its agents share them.
#[derive(Debug)]
pub(crate) struct PoolCodecs {
    dictionary: Option<Dictionary>,
    shared: Mutex<SharedItems>,
    measured: Mutex<Measured>,
}

impl PoolCodecs {
    /// Creates a codec that compresses with this dictionary, if there is one.
    pub(crate) fn new(dictionary: Option<Dictionary>) -> Self {
        Self { dictionary, shared: Mutex::default(), measured: Mutex::default() }
    }

    /// The dictionary that it compresses with.
    pub(crate) const fn dictionary(&self) -> Option<&Dictionary> {
        self.dictionary.as_ref()
    }

    /// Returns the codec for the next frame of a context. The frame refers to those of `items` that are stored once for
    /// all contexts.
    pub(super) fn writer(&self, context: &ContextId, items: &[Item], is_base: bool) -> Codec {
        let bases = lock(&self.shared).pick(context, items, is_base);
        let codec = Codec::default().with_prefix().with_bases(bases);
        match &self.dictionary {
            // This is the codec's only dictionary, so its name cannot be in use.
            Some(dictionary) => codec.clone().with_dictionary(dictionary.clone()).unwrap_or(codec),
            None => codec,
        }
    }

    /// The shared objects that a frame of such a codec may refer to.
    ///
    /// # Errors
    /// When an item does not fit into a frame of its own.
    pub(super) fn pieces(&self, context: &ContextId, codec: &Codec) -> Result<Vec<SharedObject>, Error> {
        let mut shared = lock(&self.shared);
        let items = codec.bases().iter().map(|item| shared.piece(context, item));
        let dictionary = codec.dictionary().map(|dictionary| {
            let name = *blake3::hash(dictionary.bytes()).as_bytes();
            Ok(SharedObject { kind: SharedObjectKind::Dictionary, name, bytes: dictionary.bytes().into() })
        });
        items.chain(dictionary).collect()
    }

    /// Returns the codec that reads frames which refer to these objects.
    ///
    /// # Errors
    /// When an object does not have the form of its kind.
    pub(super) fn reader<'a>(
        &self,
        context: &ContextId,
        pieces: impl Iterator<Item = &'a SharedObject>,
    ) -> Result<Codec, Error> {
        let mut codec = Codec::default();
        let mut items = Vec::new();
        let mut shared = lock(&self.shared);
        for piece in pieces {
            match piece.kind {
                SharedObjectKind::Item => {
                    let item = unpack(&piece.bytes)?;
                    shared.note_stored(context, item.hash(), &piece.bytes);
                    items.push(item);
                }
                SharedObjectKind::Dictionary => codec = codec.knowing(Dictionary::load(&piece.bytes[..])?)?,
            }
        }
        Ok(codec.with_bases(BaseItems::new(items)))
    }

    /// Notes the source of a turn's context.
    pub(crate) fn note_turn(&self, source: ContextSource) {
        let is_restore = matches!(source, ContextSource::Delta | ContextSource::Store);
        let mut measured = lock(&self.measured);
        measured.restores_per_turn += WEIGHT * (f64::from(u8::from(is_restore)) - measured.restores_per_turn);
    }

    /// Notes how long it took to make this many missing bytes resident in an agent.
    pub(crate) fn note_restore(&self, bytes: u64, seconds: f64) {
        lock(&self.measured).restores.add(bytes, seconds);
    }

    /// The number of reads from the store per turn.
    pub(super) fn restores_per_turn(&self) -> f64 {
        lock(&self.measured).restores_per_turn
    }

    /// The measured cost of making missing bytes resident in an agent.
    pub(crate) fn restore_cost(&self) -> RestoreCost {
        lock(&self.measured).restores.cost()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

#[derive(Debug)]
struct Measured {
    restores_per_turn: f64,
    restores: RestoreMeter,
}

impl Default for Measured {
    fn default() -> Self {
        Self { restores_per_turn: RESTORES_PER_TURN, restores: RestoreMeter::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_a_restore_is_what_was_measured() {
        let codecs = PoolCodecs::new(None);
        assert_eq!(codecs.restore_cost(), RestoreCost::default());
        for bytes in [1_000, 50_000, 200_000, 10_000, 400_000].repeat(10) {
            codecs.note_restore(bytes, 0.01 + 2e-6 * bytes as f64);
        }
        let cost = codecs.restore_cost();
        assert!((cost.fixed_s - 0.01).abs() < 1e-6 && (cost.s_per_byte - 2e-6).abs() < 1e-9, "{cost:?}");
        assert!((cost.seconds(1_000_000) - 2.01).abs() < 1e-3);
    }

    #[test]
    fn restores_a_turn_follow_what_happens() {
        let codecs = PoolCodecs::new(None);
        assert!((codecs.restores_per_turn() - RESTORES_PER_TURN).abs() < 1e-12);
        (0..1_000).for_each(|_| codecs.note_turn(ContextSource::Agent));
        assert!(codecs.restores_per_turn() < 0.001);
        (0..1_000).for_each(|_| codecs.note_turn(ContextSource::Store));
        assert!(codecs.restores_per_turn() > 0.999);
    }
}

//! What a pool knows of its contexts: how to pack them, and what restoring them has cost.

use std::sync::{Mutex, MutexGuard, PoisonError};

use forerunner_context::{BaseItems, Codec, Dictionary, Error, Item};
use forerunner_core::{ContextId, ContextSource};
use forerunner_store::{Piece, PieceKind};

use super::shared::{SharedItems, unpack};

/// How often a context is read from the store per turn, until it is measured: one turn in five finds its agent gone.
const RESTORES_PER_TURN: f64 = 0.2;
/// Weight of a turn in the average of restores per turn, and of a restore in the line through what they took.
const WEIGHT: f64 = 0.01;
/// Weight of a restore in the line through what restores took.
const RESTORE_WEIGHT: f64 = 0.05;

/// What a pool knows of its contexts. Shared by its agents.
#[derive(Debug)]
pub(crate) struct ContextBook {
    dictionary: Option<Dictionary>,
    shared: Mutex<SharedItems>,
    measured: Mutex<Measured>,
}

impl ContextBook {
    /// A book that packs with this dictionary, if any.
    pub(crate) fn new(dictionary: Option<Dictionary>) -> Self {
        Self { dictionary, shared: Mutex::default(), measured: Mutex::default() }
    }

    /// The codec for the next frame of a context: it names those of `items` that are stored for all contexts.
    pub(super) fn writer(&self, context: &ContextId, items: &[Item], is_base: bool) -> Codec {
        let bases = lock(&self.shared).pick(context, items, is_base);
        let codec = Codec::default().with_prefix().with_bases(bases);
        match &self.dictionary {
            // The only one it knows, so that none has the same name.
            Some(dictionary) => codec.clone().with_dictionary(dictionary.clone()).unwrap_or(codec),
            None => codec,
        }
    }

    /// The pieces that a frame made by such a codec may name.
    ///
    /// # Errors
    /// When an item does not fit into a frame of its own.
    pub(super) fn pieces(&self, codec: &Codec) -> Result<Vec<Piece>, Error> {
        let mut shared = lock(&self.shared);
        let items = codec.bases().iter().map(|item| shared.piece(item));
        let dictionary = codec.dictionary().map(|dictionary| {
            let name = *blake3::hash(dictionary.bytes()).as_bytes();
            Ok(Piece { kind: PieceKind::Dictionary, name, bytes: dictionary.bytes().into() })
        });
        items.chain(dictionary).collect()
    }

    /// The codec that reads frames that name these pieces.
    ///
    /// # Errors
    /// When a piece is not what its kind says.
    pub(super) fn reader<'a>(&self, pieces: impl Iterator<Item = &'a Piece>) -> Result<Codec, Error> {
        let mut codec = Codec::default();
        let mut items = Vec::new();
        let mut shared = lock(&self.shared);
        for piece in pieces {
            match piece.kind {
                PieceKind::Item => {
                    let item = unpack(&piece.bytes)?;
                    shared.note_stored(item.hash(), &piece.bytes);
                    items.push(item);
                }
                PieceKind::Dictionary => codec = codec.knowing(Dictionary::load(&piece.bytes[..])?)?,
            }
        }
        Ok(codec.with_bases(BaseItems::new(items)))
    }

    /// Notes where the context of a turn came from.
    pub(crate) fn note_turn(&self, source: ContextSource) {
        let is_restore = matches!(source, ContextSource::Delta | ContextSource::Store);
        let mut measured = lock(&self.measured);
        measured.restores_per_turn += WEIGHT * (f64::from(u8::from(is_restore)) - measured.restores_per_turn);
    }

    /// Notes that making an agent hold this many bytes that it lacked took so long.
    pub(crate) fn note_restore(&self, bytes: u64, seconds: f64) {
        lock(&self.measured).line.add(bytes as f64, seconds);
    }

    /// How often a context is read from the store per turn.
    pub(super) fn restores_per_turn(&self) -> f64 {
        lock(&self.measured).restores_per_turn
    }

    /// What it costs to make an agent hold bytes that it lacks, as measured.
    pub(crate) fn restore_cost(&self) -> RestoreCost {
        lock(&self.measured).line.fit()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What it costs to make an agent hold a context, as measured in its pool: `fixed_s` + bytes · `s_per_byte` seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct RestoreCost {
    /// Seconds that each restore takes, whatever its size; 0 or more.
    pub fixed_s: f64,
    /// Seconds for each byte that the agent lacks; 0 or more.
    pub s_per_byte: f64,
    /// Restores that were measured.
    pub samples: u64,
}

impl RestoreCost {
    /// Returns the seconds that `bytes` are expected to take.
    pub fn seconds(&self, bytes: u64) -> f64 {
        self.fixed_s + self.s_per_byte * bytes as f64
    }
}

#[derive(Debug)]
struct Measured {
    restores_per_turn: f64,
    line: Line,
}

impl Default for Measured {
    fn default() -> Self {
        Self { restores_per_turn: RESTORES_PER_TURN, line: Line::default() }
    }
}

/// The line through points of which later ones weigh more: least squares over exponentially fading weights.
#[derive(Debug, Default)]
struct Line {
    points: u64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
}

impl Line {
    fn add(&mut self, x: f64, y: f64) {
        self.points += 1;
        // The first points weigh the same, as in a plain mean.
        let weight = RESTORE_WEIGHT.max(1.0 / self.points as f64);
        let towards = |mean: &mut f64, value: f64| *mean += weight * (value - *mean);
        towards(&mut self.x, x);
        towards(&mut self.y, y);
        towards(&mut self.xx, x * x);
        towards(&mut self.xy, x * y);
    }

    fn fit(&self) -> RestoreCost {
        let variance = self.xx - self.x * self.x;
        let slope = if variance > 1e-6 * self.xx.max(1.0) { (self.xy - self.x * self.y) / variance } else { 0.0 };
        // All of one size, or falling with it: then the mean seconds a byte say most.
        let mean = if self.x > 0.0 { self.y / self.x } else { 0.0 };
        let slope = if slope > 0.0 { slope.min(mean) } else { mean };
        RestoreCost { fixed_s: (self.y - slope * self.x).max(0.0), s_per_byte: slope, samples: self.points }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_a_restore_is_the_line_through_what_was_measured() {
        let book = ContextBook::new(None);
        assert_eq!(book.restore_cost(), RestoreCost::default());
        for bytes in [1_000, 50_000, 200_000, 10_000, 400_000].repeat(10) {
            book.note_restore(bytes, 0.01 + 2e-6 * bytes as f64);
        }
        let cost = book.restore_cost();
        assert!((cost.fixed_s - 0.01).abs() < 1e-6 && (cost.s_per_byte - 2e-6).abs() < 1e-9, "{cost:?}");
        assert!((cost.seconds(1_000_000) - 2.01).abs() < 1e-3);
    }

    #[test]
    fn restores_of_one_size_say_what_a_byte_costs() {
        let book = ContextBook::new(None);
        (0..20).for_each(|_| book.note_restore(1_000, 0.5));
        let cost = book.restore_cost();
        assert!((cost.seconds(1_000) - 0.5).abs() < 1e-9 && cost.s_per_byte > 0.0, "{cost:?}");
    }

    #[test]
    fn restores_a_turn_follow_what_happens() {
        let book = ContextBook::new(None);
        assert!((book.restores_per_turn() - RESTORES_PER_TURN).abs() < 1e-12);
        (0..1_000).for_each(|_| book.note_turn(ContextSource::Agent));
        assert!(book.restores_per_turn() < 0.001);
        (0..1_000).for_each(|_| book.note_turn(ContextSource::Store));
        assert!(book.restores_per_turn() > 0.999);
    }
}

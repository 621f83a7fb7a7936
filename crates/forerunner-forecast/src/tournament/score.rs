//! Sums that forget: what happened in about the last hour and the last four.

use serde::{Deserialize, Serialize};

use super::tuning::Tuning;
use crate::rate::sane;

/// Time constants, in seconds.
pub(crate) const WINDOWS_S: [f64; 2] = [3600.0, 14_400.0];

/// How much of a sum is left after `dt` seconds, for each window.
pub(crate) fn keep(dt: f64) -> [f64; 2] {
    WINDOWS_S.map(|tau_s| (-dt.max(0.0) / tau_s).exp())
}

/// One decayed sum a window.
///
/// Written down in single precision: there are thousands of them, and a choice between rules does not hang on the eighth
/// digit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f32; 2]", into = "[f32; 2]")]
pub(crate) struct Sums([f64; 2]);

impl From<[f32; 2]> for Sums {
    fn from(sums: [f32; 2]) -> Self {
        Self(sums.map(f64::from))
    }
}

impl From<Sums> for [f32; 2] {
    fn from(Sums(sums): Sums) -> Self {
        // No sum exceeds single precision, unless an input is nonsense.
        sums.map(|sum| sum.min(f64::from(f32::MAX)) as f32)
    }
}

impl Sums {
    /// Forgets by `keep` and adds `more`.
    pub fn add(&mut self, keep: [f64; 2], more: f64) {
        for (sum, keep) in self.0.iter_mut().zip(keep) {
            *sum = sane(*sum * keep + more).max(0.0);
        }
    }

    /// Sum of the shorter window.
    pub fn short(&self) -> f64 {
        self.0[0]
    }

    /// Sum of the longer window.
    pub fn long(&self) -> f64 {
        self.0[1]
    }

    pub fn is_sound(&self) -> bool {
        self.0.iter().all(|sum| sum.is_finite() && *sum >= 0.0)
    }
}

/// What a rule would have cost, and how many tasks it would have started late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Score {
    pub cost_s: Sums,
    pub late: Lateness,
}

/// Seconds of a block: lateness within one counts as having one cause.
const BLOCK_S: f64 = 300.0;

/// Late tasks, and how many of them came at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lateness {
    all: Sums,
    block: Sums,
    worst: Sums,
}

impl Lateness {
    /// Forgets by `keep` and adds `more` late tasks.
    pub fn add(&mut self, keep: [f64; 2], more: f64) {
        self.all.add(keep, more);
        self.block.add(keep, more);
        self.worst.add(keep, 0.0);
    }

    /// Ends a block.
    pub fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        for (worst, block) in self.worst.0.iter_mut().zip(block.0) {
            *worst = worst.max(block);
        }
    }

    /// All late tasks.
    pub fn all(&self) -> &Sums {
        &self.all
    }

    /// Late tasks, the worst block counted by how much it was like others: in full once it came again.
    pub fn expected(&self, tuning: &Tuning) -> Sums {
        let mut expected = self.all;
        for (i, expected) in expected.0.iter_mut().enumerate() {
            let worst = self.worst.0[i].max(self.block.0[i]).min(*expected);
            let rest = *expected - worst;
            *expected = rest + (tuning.surprise * worst + tuning.again * rest).min(worst);
        }
        expected
    }

    pub fn is_sound(&self) -> bool {
        self.all.is_sound() && self.block.is_sound() && self.worst.is_sound()
    }
}

/// Whether a block ended between two times.
pub(crate) fn block_ended(from: f64, to: f64) -> bool {
    (from / BLOCK_S).floor() < (to / BLOCK_S).floor()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_short_and_close() {
        let mut sums = Sums::default();
        sums.add([1.0; 2], 1.0 / 3.0);
        sums.add([1.0; 2], 12_345.0);
        let text = serde_json::to_string(&sums).expect("plain numbers");
        assert!(text.len() < 24, "{text}");
        let read: Sums = serde_json::from_str(&text).expect("own output");
        assert!((read.long() / sums.long() - 1.0).abs() < 1e-7 && read.is_sound());
        let mut absurd = Sums::default();
        absurd.add([1.0; 2], f64::MAX);
        let text = serde_json::to_string(&absurd).expect("plain numbers");
        assert!(serde_json::from_str::<Sums>(&text).is_ok_and(|read| read.is_sound()), "{text}");
    }

    #[test]
    fn one_surprise_counts_half_until_it_comes_again() {
        let still = [1.0; 2];
        let mut late = Lateness::default();
        late.add(still, 60.0);
        assert_eq!(late.expected(&Tuning::default()).long(), 30.0);
        late.end_block();
        late.add(still, 5.0);
        assert_eq!(late.expected(&Tuning::default()).long(), 5.0 + 30.0 + 20.0);
        late.add(still, 10.0);
        assert_eq!((late.expected(&Tuning::default()).long(), late.all().long()), (75.0, 75.0), "it is a pattern");
        // What has faded counts less, and nothing counts more than there was.
        late.add([0.5; 2], 0.0);
        assert!(late.expected(&Tuning::default()).long() <= 0.5 * 75.0 && late.is_sound());
    }
}

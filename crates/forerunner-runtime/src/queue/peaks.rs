//! The greatest value since any earlier moment, for readers that do not reset it for each other.

use std::collections::VecDeque;

/// Values in falling order. Each is the greatest of all values after the one before it.
#[derive(Debug, Clone)]
pub(crate) struct Peaks<T> {
    falling: VecDeque<(u64, T)>,
    most: usize,
}

impl<T: Copy + PartialOrd> Peaks<T> {
    /// Creates an empty list of at most `most` values. The oldest value is dropped for a new one.
    pub(crate) const fn new(most: usize) -> Self {
        Self { falling: VecDeque::new(), most }
    }

    /// Adds a value. Moments must not decrease.
    pub(crate) fn note(&mut self, moment: u64, value: T) {
        while self.falling.back().is_some_and(|(_, lower)| *lower <= value) {
            self.falling.pop_back();
        }
        if self.falling.len() >= self.most {
            self.falling.pop_front();
        }
        self.falling.push_back((moment, value));
    }

    /// Returns the greatest value after a moment.
    pub(crate) fn after(&self, moment: u64) -> Option<T> {
        let place = self.falling.partition_point(|(noted, _)| *noted <= moment);
        self.falling.get(place).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_peak_is_the_greatest_of_what_came_after(values in prop::collection::vec(0_u32..9, 0..40), after in 0_usize..45) {
            let mut peaks = Peaks::new(64);
            for (moment, value) in values.iter().enumerate() {
                peaks.note(moment as u64 + 1, *value);
            }
            prop_assert_eq!(peaks.after(after as u64), values.iter().skip(after).max().copied());
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut peaks = Peaks::new(3);
        (1..=9).for_each(|moment| peaks.note(moment, 100 - moment));
        assert_eq!((peaks.falling.len(), peaks.after(0), peaks.after(8)), (3, Some(93), Some(91)));
    }
}

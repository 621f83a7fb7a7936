//! How long the last agents of a pool took to start.

use std::collections::VecDeque;

use crate::status::ColdStart;

/// Number of cold starts that the percentiles are computed from.
const MOST: usize = 64;

/// The last cold starts, in seconds.
#[derive(Debug, Default)]
pub(super) struct ColdStarts(VecDeque<f64>);

impl ColdStarts {
    /// Adds a cold start.
    pub(super) fn note(&mut self, seconds: f64) {
        self.0.push_back(seconds);
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// Returns the percentiles; `None` before the first start.
    pub(super) fn summary(&self) -> Option<ColdStart> {
        let mut sorted: Vec<f64> = self.0.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let rank = |share: f64| sorted[((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len()) - 1];
        (!sorted.is_empty()).then(|| ColdStart { p50: rank(0.5), p90: rank(0.9) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_last_starts() {
        let mut starts = ColdStarts::default();
        assert_eq!(starts.summary(), None);
        starts.note(7.0);
        assert_eq!(starts.summary(), Some(ColdStart { p50: 7.0, p90: 7.0 }));
        (1..=64).for_each(|second| starts.note(f64::from(second)));
        assert_eq!(starts.summary(), Some(ColdStart { p50: 32.0, p90: 58.0 }));
    }
}

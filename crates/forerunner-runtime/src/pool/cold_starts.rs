//! How long the last agents of a pool took to start.

use std::collections::VecDeque;

use crate::status::ColdStart;

/// Number of cold starts that the percentiles are computed from.
const MOST: usize = 64;

/// Starts beside a few more than the limit count as starts within it.
const TOLERANCE: f64 = 1.25;

/// The last cold starts: seconds, and how many agents started at the same time.
#[derive(Debug, Default)]
pub(super) struct ColdStarts(VecDeque<(f64, f64)>);

impl ColdStarts {
    /// Adds a cold start beside which so many started, on average, with itself.
    pub(super) fn note(&mut self, seconds: f64, at_once: f64) {
        self.0.push_back((seconds, at_once));
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// Returns the percentiles of starts that were no more at once than now may be, if there are any, else of all; `None` before
    /// the first start. What more of them at once took will not happen again.
    pub(super) fn summary(&self, limit: u32) -> Option<ColdStart> {
        let most = f64::from(limit) * TOLERANCE;
        let mut sorted: Vec<f64> = self.0.iter().filter(|start| start.1 <= most).map(|start| start.0).collect();
        if sorted.is_empty() {
            sorted = self.0.iter().map(|start| start.0).collect();
        }
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
        assert_eq!(starts.summary(32), None);
        starts.note(7.0, 1.0);
        assert_eq!(starts.summary(32), Some(ColdStart { p50: 7.0, p90: 7.0 }));
        (1..=64).for_each(|second| starts.note(f64::from(second), 1.0));
        assert_eq!(starts.summary(32), Some(ColdStart { p50: 32.0, p90: 58.0 }));
    }

    #[test]
    fn starts_beside_more_than_may_start_now_do_not_count() {
        let mut starts = ColdStarts::default();
        (0..20).for_each(|_| starts.note(30.0, 20.0));
        assert_eq!(starts.summary(2), Some(ColdStart { p50: 30.0, p90: 30.0 }), "there are no others");
        starts.note(3.0, 1.0);
        starts.note(3.5, 2.1);
        assert_eq!(starts.summary(2), Some(ColdStart { p50: 3.0, p90: 3.5 }));
        assert_eq!(starts.summary(32), Some(ColdStart { p50: 30.0, p90: 30.0 }));
    }
}

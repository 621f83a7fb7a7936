//! How the horizontal pod autoscaler of Kubernetes moves from a proposed size to the next one.

use std::collections::VecDeque;

use crate::{baselines::common::whole, stabilization::SlidingMaximum};

/// Rates and windows of a scaling behaviour.
///
/// Source: `pkg/apis/autoscaling/v2/defaults.go`: up by the greater of 4 pods and 100 % in 15 s without a window, down
/// by 100 % in 15 s to the greatest size proposed in the last 300 s. One hundred per cent down is no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Behaviour {
    pub scale_up_pods: f64,
    pub scale_up_percent: f64,
    pub scale_down_window_s: f64,
}

/// Seconds in which the size may grow by so much.
const PERIOD_S: f64 = 15.0;

/// Sizes proposed and applied in the recent past.
#[derive(Debug, Clone)]
pub(crate) struct Replicas {
    behaviour: Behaviour,
    proposed: SlidingMaximum,
    /// When the pool grew, and by how much.
    growth: VecDeque<(f64, u32)>,
}

impl Replicas {
    pub fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, proposed: SlidingMaximum::default(), growth: VecDeque::new() }
    }

    /// The next size of a pool of `current` agents for which `proposed` would be right, and whether an earlier greater
    /// proposal prevents it from shrinking.
    pub fn next(&mut self, t: f64, current: u32, proposed: u32) -> (u32, bool) {
        self.proposed.push(t, f64::from(proposed));
        let since = t - self.behaviour.scale_down_window_s;
        let greatest = self.proposed.greatest_since(since).map_or(proposed, |(_, size)| size as u32);
        let next = if proposed >= current { proposed } else { greatest.min(current) };
        let next = next.min(self.ceiling(t, current));
        if next > current {
            self.growth.push_back((t, next - current));
        }
        (next, next > proposed)
    }

    /// Most agents that the rates allow now: so much more than at the begin of the period.
    fn ceiling(&mut self, t: f64, current: u32) -> u32 {
        while self.growth.front().is_some_and(|&(at, _)| at <= t - PERIOD_S + 0.5) {
            self.growth.pop_front();
        }
        let grown: u32 = self.growth.iter().map(|&(_, by)| by).sum();
        let before = f64::from(current.saturating_sub(grown));
        let by_percent = before * (1.0 + self.behaviour.scale_up_percent / 100.0);
        whole(by_percent.max(before + self.behaviour.scale_up_pods)).max(current)
    }
}

/// Whether `ratio`, use over target, is close enough to 1 to be ignored.
pub(crate) fn within_tolerance(ratio: f64, tolerance: f64) -> bool {
    (ratio - 1.0).abs() <= tolerance + 1e-12
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Behaviour = Behaviour { scale_up_pods: 4.0, scale_up_percent: 100.0, scale_down_window_s: 300.0 };

    #[test]
    fn growth_is_limited_to_four_or_double_within_fifteen_seconds() {
        let mut replicas = Replicas::new(DEFAULT);
        // time, current, proposed, next
        for (t, current, proposed, next) in [
            (0.0, 1, 40, 5),
            (5.0, 5, 40, 5),
            (15.0, 5, 40, 10),
            (20.0, 10, 40, 10),
            (30.0, 10, 40, 20),
            (45.0, 20, 30, 30),
        ] {
            assert_eq!(replicas.next(t, current, proposed).0, next, "at {t}");
        }
    }

    #[test]
    fn shrinking_goes_to_the_greatest_size_proposed_in_the_window() {
        let mut replicas = Replicas::new(DEFAULT);
        assert_eq!(replicas.next(0.0, 8, 8), (8, false));
        assert_eq!(replicas.next(150.0, 8, 5), (8, true));
        assert_eq!(replicas.next(301.0, 8, 2), (5, true), "8 is forgotten, 5 is not");
        assert_eq!(replicas.next(460.0, 5, 2), (2, false));
    }
}

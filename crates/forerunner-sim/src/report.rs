//! The result of a replay of a policy.

use forerunner_forecast::Objective;
use serde::{Deserialize, Serialize};

/// How long tasks waited, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WaitSummary {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Longest.
    pub max: f64,
}

impl WaitSummary {
    /// Summarises waits, which it sorts. Percentiles are by nearest rank; all zero without any.
    pub fn of(waits: &mut [f64]) -> Self {
        if waits.is_empty() {
            return Self::default();
        }
        waits.sort_unstable_by(f64::total_cmp);
        let n = waits.len();
        let rank = |share: f64| waits[((share * n as f64).ceil() as usize).clamp(1, n) - 1];
        let mean = waits.iter().sum::<f64>() / n as f64;
        Self { mean, p50: rank(0.5), p95: rank(0.95), p99: rank(0.99), max: waits[n - 1] }
    }
}

/// One policy's result on one trace. The same trace, policy and settings give the same report, byte for byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Name of the trace.
    pub trace: String,
    /// Name of the policy.
    pub policy: String,
    /// Its settings, as the caller describes them.
    pub params: String,
    /// Seconds from asking for an agent to its being ready.
    pub cold_start_s: f64,
    /// What counts as late.
    pub objective: Objective,
    /// Tasks counted: those that arrived after the warm-up.
    pub tasks: u64,
    /// Share of them that started later than the objective allows, in [0, 1].
    pub late_share: f64,
    /// How long they waited for an agent, from when they could start.
    pub wait_s: WaitSummary,
    /// How long they waited before that for the end of the task before them in their session.
    #[serde(default)]
    pub wait_context_s: WaitSummary,
    /// Cost: seconds of starting, idle and busy agents after the warm-up.
    pub instance_s: f64,
    /// Seconds that tasks were on agents after the warm-up; the share of the cost that was work.
    pub busy_s: f64,
    /// Most agents at once, starting ones included.
    pub peak_pool: u32,
    /// Decisions that changed the size.
    pub scale_actions: u64,
    /// Changes in the opposite direction of the change before.
    pub reversals: u64,
    /// Changes to a larger size.
    pub scale_ups: u64,
    /// Changes to a smaller size.
    pub scale_downs: u64,
    /// Seconds from the start to the first decision that wanted more agents; `None` if there was none.
    pub first_scale_up_s: Option<f64>,
    /// Seconds from the begin to the first task that had to wait; `None` if there was none.
    pub first_queued_s: Option<f64>,
    /// Share of the policy's forecast bands that contained the actual value; the aim is 0.9. `None` without bands.
    pub band_coverage: Option<f64>,
}

impl Report {
    /// Whether the objective was met.
    pub fn meets_objective(&self) -> bool {
        self.late_share <= 1.0 - self.objective.share + 1e-12
    }
}

/// The state when the policy was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TimelinePoint {
    /// Seconds from the begin.
    pub t: f64,
    /// Wanted agents.
    pub desired: u32,
    /// Idle agents.
    pub ready: u32,
    /// Agents with a task.
    pub busy: u32,
    /// Agents starting.
    pub starting: u32,
    /// Tasks waiting.
    pub depth: u32,
    /// Arrivals per second expected at the horizon, for policies that forecast.
    pub rate_forecast: Option<f64>,
    /// Lower edge of its 90 % band.
    pub rate_low: Option<f64>,
    /// Upper edge of its 90 % band.
    pub rate_high: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut waits: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let summary = WaitSummary::of(&mut waits);
        assert_eq!(summary, WaitSummary { mean: 50.5, p50: 50.0, p95: 95.0, p99: 99.0, max: 100.0 });
        assert_eq!(WaitSummary::of(&mut []), WaitSummary::default());
        assert_eq!(WaitSummary::of(&mut [3.0]).p99, 3.0);
    }
}

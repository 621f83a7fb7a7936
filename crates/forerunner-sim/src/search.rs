//! What a fixed pool would have to be.

use forerunner_forecast::{Fixed, PolicyLimits};

use crate::{
    engine::{Replay, replay},
    report::Report,
    trace::Trace,
};

/// Finds the least fixed pool that meets the objective on `trace`, with its report, after a warm-up of 300 s.
///
/// What a planner with perfect hindsight and no scaling would buy: the yardstick for every policy. `limits` gives
/// objective and cold start; its bounds are ignored.
pub fn least_fixed(trace: &Trace, limits: PolicyLimits) -> (u32, Report) {
    least_fixed_in(trace, &Replay::new(limits))
}

/// Finds the least fixed pool that meets the objective of `settings` on `trace`, with its report.
///
/// The bounds in `settings` are ignored. Bisects over sizes, which is sound because one agent more never makes a
/// first-in-first-out queue later.
pub fn least_fixed_in(trace: &Trace, settings: &Replay) -> (u32, Report) {
    let run = |size: u32| {
        let limits = PolicyLimits { min: size, max: size, ..settings.limits };
        let settings =
            Replay { limits, initial: 0, timeline: false, params: format!("size={size}"), ..settings.clone() };
        replay(trace, &mut Fixed::new(size, limits), &settings).report
    };
    let mut enough = 1;
    let mut best = run(enough);
    while !best.meets_objective() {
        enough *= 2;
        best = run(enough);
    }
    let mut few = enough / 2;
    while enough - few > 1 {
        let middle = few + (enough - few) / 2;
        let report = run(middle);
        if report.meets_objective() {
            (enough, best) = (middle, report);
        } else {
            few = middle;
        }
    }
    (enough, best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::TraceTask;
    use forerunner_forecast::Objective;

    #[test]
    fn three_tasks_at_once_need_three_agents_and_one_after_another_one() {
        let limits = PolicyLimits { min: 1, max: 9, cold_start_s: 1.0, tick_s: 1.0, objective: Objective::default() };
        for (gap_s, size) in [(0.0, 3), (5.0, 1)] {
            let task =
                |i: u32| TraceTask { arrival_s: 400.0 + gap_s * f64::from(i), service_s: 5.0, ..TraceTask::default() };
            let trace = Trace::new("three", (0..3).map(task).collect()).expect("not empty");
            let (least, report) = least_fixed(&trace, limits);
            assert_eq!((least, report.late_share), (size, 0.0));
        }
    }
}

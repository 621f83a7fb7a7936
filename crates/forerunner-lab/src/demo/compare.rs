//! The same slice under other rules, in virtual time.

use forerunner_forecast::{Fixed, PolicyKind, PolicyLimits, UtilisationSettings, build};
use forerunner_sim::{Replay, Report, Trace, replay};

use super::report::Figures;

/// Replays the slice under the rule of thresholds and under fixed pools. All start with the agents that the live run
/// started with.
pub fn compare(trace: &Trace, limits: PolicyLimits, begin: u32, live_peak: u32) -> anyhow::Result<Vec<Figures>> {
    let thresholds = PolicyKind::Utilisation(UtilisationSettings::default());
    let mut rule = build(thresholds, limits)?;
    let settings = Replay { initial: begin.saturating_sub(limits.min), warm_up_s: 0.0, ..Replay::new(limits) };
    let reactive = replay(trace, rule.as_mut(), &settings).report;
    let at_peak = fixed(trace, limits, live_peak.max(1));
    let (least, enough) = least_fixed(trace, limits, live_peak.max(1));
    Ok(vec![
        Figures::simulated("utilisation", &reactive),
        Figures::simulated(format!("fixed at {live_peak}"), &at_peak),
        Figures::simulated(format!("fixed at {least}"), &enough),
    ])
}

fn fixed(trace: &Trace, limits: PolicyLimits, size: u32) -> Report {
    let limits = PolicyLimits { min: size, max: size, ..limits };
    let settings = Replay { warm_up_s: 0.0, ..Replay::new(limits) };
    replay(trace, &mut Fixed::new(size, limits), &settings).report
}

/// Finds the smallest fixed pool that meets the objective by bisection: a larger pool is never later.
fn least_fixed(trace: &Trace, limits: PolicyLimits, guess: u32) -> (u32, Report) {
    let mut enough = guess;
    while !fixed(trace, limits, enough).meets_objective() {
        enough *= 2;
    }
    let mut few = 0;
    while enough - few > 1 {
        let middle = few + (enough - few) / 2;
        if fixed(trace, limits, middle).meets_objective() { enough = middle } else { few = middle }
    }
    (enough, fixed(trace, limits, enough))
}

//! The same tasks in virtual time: how `forerunner replay` sizes a pool for them.

use forerunner_forecast::{FixedSettings, Objective, PolicyKind, PolicyLimits, build};
use forerunner_sim::{AsLive, Outcome, Replay, Report, TimelinePoint, least_fixed_in, replay};

use super::load::{HISTORY_S, Load};
use crate::seed::offered_load;

/// Replays the whole load under a rule; the history is its warm-up.
///
/// # Errors
/// When the rule rejects its settings or the limits.
pub fn confirm(
    load: &Load,
    kind: PolicyKind,
    limits: PolicyLimits,
    cooldown_s: f64,
) -> Result<Report, forerunner_forecast::Error> {
    let mut policy = build(kind, limits)?;
    let settings = Replay { timeline: true, ..settings(load, limits, cooldown_s) };
    let Outcome { report, timeline, .. } = replay(&load.trace, policy.as_mut(), &settings);
    Ok(of_live_part(report, &timeline))
}

/// Counts sizes and their changes in the live part alone, as they are counted there.
fn of_live_part(report: Report, timeline: &[TimelinePoint]) -> Report {
    let live = &timeline[timeline.partition_point(|point| point.t < HISTORY_S)..];
    let size = |point: &TimelinePoint| point.ready + point.busy + point.starting;
    let changes = |grows: bool| {
        let pairs = live.windows(2).filter(|pair| pair[0].desired != pair[1].desired);
        pairs.filter(|pair| (pair[1].desired > pair[0].desired) == grows).count() as u64
    };
    Report {
        peak_pool: live.iter().map(size).max().unwrap_or(0),
        scale_ups: changes(true),
        scale_downs: changes(false),
        ..report
    }
}

/// The least fixed pool that meets the objective in the live part, and what it costs there. Only hindsight knows it.
pub fn least_fixed(load: &Load, limits: PolicyLimits) -> (u32, Report) {
    let settings = Replay { as_live: None, ..settings(load, limits, 0.0) };
    least_fixed_in(&load.trace, &settings)
}

/// The rule of a fixed pool.
pub const fn fixed(size: u32) -> PolicyKind {
    PolicyKind::Fixed(FixedSettings { size })
}

fn settings(load: &Load, limits: PolicyLimits, cooldown_s: f64) -> Replay {
    Replay {
        warm_up_s: HISTORY_S,
        initial: offered_load(&load.trace, HISTORY_S),
        as_live: Some(AsLive { cooldown_s }),
        ..Replay::new(PolicyLimits { objective: Objective::default(), ..limits })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::load::LoadShape, *};

    fn limits() -> PolicyLimits {
        PolicyLimits { min: 1, max: 60, cold_start_s: 4.0, tick_s: 1.0, objective: Objective::default() }
    }

    #[test]
    fn on_waves_and_scheduled_bursts_the_forecast_is_on_time_and_cheaper_than_a_fixed_pool() {
        let load = Load::new(LoadShape::Waves, 84.0, 1).expect("tasks");
        let ours = confirm(&load, PolicyKind::default(), limits(), 5.0).expect("valid");
        assert!(ours.meets_objective(), "{ours:?}");
        let (_, fixed) = least_fixed(&load, limits());
        assert!(ours.instance_s < 0.8 * fixed.instance_s, "{} {}", ours.instance_s, fixed.instance_s);
        for rule in ["hpa", "keda", "knative", "utilisation"] {
            let theirs = confirm(&load, rule.parse().expect("a rule"), limits(), 5.0).expect("valid");
            assert!(theirs.late_share > 3.0 * ours.late_share.max(0.01), "{rule}: {}", theirs.late_share);
        }
    }

    #[test]
    fn on_a_flat_load_a_fixed_pool_wins() {
        let load = Load::new(LoadShape::Flat, 60.0, 1).expect("tasks");
        let ours = confirm(&load, PolicyKind::default(), limits(), 5.0).expect("valid");
        let (size, fixed) = least_fixed(&load, limits());
        assert!(
            fixed.meets_objective() && fixed.instance_s < ours.instance_s,
            "{size}: {} {}",
            fixed.instance_s,
            ours.instance_s
        );
    }
}

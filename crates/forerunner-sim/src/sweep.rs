//! Every rule at its best: the settings worth trying, and which of them was cheapest in hindsight.

use forerunner_forecast::{Error, PolicyKind, PolicyLimits, build};

use crate::{
    engine::{Replay, replay},
    report::Report,
    trace::Trace,
};

/// One setting of one rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The rule with this setting.
    pub kind: PolicyKind,
    /// What is set, as in `target=0.7,scale_down_delay_s=300`; empty for the defaults.
    pub params: String,
}

impl Setting {
    fn read(policy: &str, params: String) -> Result<Self, Error> {
        Ok(Self { kind: format!("{policy}:{params}").parse()?, params })
    }

    /// Replays `trace` under this setting from one warm-up of 300 s on; the report names the setting.
    ///
    /// A pure function of its arguments: a caller with several cores can run several at once.
    ///
    /// # Errors
    /// [`Error`] when the limits contradict each other.
    pub fn replay(&self, trace: &Trace, limits: PolicyLimits) -> Result<Report, Error> {
        let mut policy = build(self.kind, limits)?;
        let settings = Replay { params: self.params.clone(), ..Replay::new(limits) };
        Ok(replay(trace, policy.as_mut(), &settings).report)
    }
}

/// Shares and tasks an agent: from much headroom to none.
const TARGETS: [f64; 8] = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// The settings of the rule of that name that a sweep tries: its defaults, then the grid of its own parameters.
///
/// The grids span sensible values at cold starts of seconds to a minute: targets from 0.3 to 1, delays from none to ten
/// minutes, margins of 1 to 6 square roots over averages of 15 s to 5 min, times to live of 5 s to 40 min with up to
/// eight spares. The grid is each rule's, not ours: `keep-alive` has the most settings and so the most flattering
/// figure. `predictive` has no grid, since it tunes itself; `fixed` has none, since [`least_fixed`](crate::least_fixed)
/// finds it.
///
/// # Errors
/// [`Error::UnknownPolicy`] for an unknown name.
pub fn grid(policy: &str) -> Result<Vec<Setting>, Error> {
    if policy == "fixed" {
        return Ok(Vec::new());
    }
    let grid = match policy {
        "utilisation" => thresholds(),
        "knative" => pairs("target", &TARGETS, "scale_down_delay_s", &[0.0, 60.0, 300.0]),
        "hpa" => pairs("target", &TARGETS, "scale_down_window_s", &[0.0, 60.0, 300.0]),
        "keda" => {
            let windows = pairs("target", &TARGETS, "scale_down_window_s", &[60.0, 300.0]);
            each(&windows, "polling_interval_s", &[30.0, 15.0, 5.0])
        }
        "ray-serve" => {
            let delays = pairs("target_ongoing_requests", &TARGETS, "downscale_delay_s", &[60.0, 300.0, 600.0]);
            each(&delays, "upscale_delay_s", &[0.0, 30.0])
        }
        "sqrt-staffing" => {
            pairs("beta", &[1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0], "tau_s", &[15.0, 30.0, 60.0, 120.0, 300.0])
        }
        "keep-alive" => {
            let lives = [5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 2400.0];
            pairs("idle_ttl_s", &lives, "spares", &[0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0])
        }
        "holt" => pairs(
            "quantile",
            &[0.9, 0.95, 0.99, 0.995, 0.999, 0.9999],
            "stabilization_s",
            &[0.0, 15.0, 30.0, 60.0, 120.0],
        ),
        _ => Vec::new(),
    };
    std::iter::once(String::new()).chain(grid).map(|params| Setting::read(policy, params)).collect()
}

/// Both thresholds, with starting agents counted or not.
fn thresholds() -> Vec<String> {
    let up = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
    let both: Vec<_> = up
        .iter()
        .flat_map(|up| [0.1, 0.2, 0.4].iter().filter(move |down| *down < up).map(move |down| (up, down)))
        .map(|(up, down)| format!("scale_up_threshold={up},scale_down_threshold={down}"))
        .collect();
    [true, false]
        .iter()
        .flat_map(|count| both.iter().map(move |both| format!("{both},count_starting={count}")))
        .collect()
}

fn pairs(first: &str, firsts: &[f64], second: &str, seconds: &[f64]) -> Vec<String> {
    let singles: Vec<_> = firsts.iter().map(|value| format!("{first}={value}")).collect();
    each(&singles, second, seconds)
}

/// Each of `params` with each of `values` for `key`.
fn each(params: &[String], key: &str, values: &[f64]) -> Vec<String> {
    params.iter().flat_map(|params| values.iter().map(move |value| format!("{params},{key}={value}"))).collect()
}

/// The cheapest of the reports that meet the objective; `None` if none does. Of equally cheap ones the first.
pub fn cheapest<'a>(reports: impl IntoIterator<Item = &'a Report>) -> Option<&'a Report> {
    let good = reports.into_iter().filter(|report| report.meets_objective());
    good.reduce(|best, other| if other.instance_s < best.instance_s { other } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::TraceTask;
    use forerunner_forecast::Objective;

    #[test]
    fn every_rule_has_a_grid_that_can_be_built() {
        let limits = PolicyLimits { min: 1, max: 9, cold_start_s: 2.0, tick_s: 1.0, objective: Objective::default() };
        for &policy in PolicyKind::NAMES {
            let settings = grid(policy).expect("valid settings");
            for (i, setting) in settings.iter().enumerate() {
                assert!(build(setting.kind, limits).is_ok(), "{policy} {}", setting.params);
                assert_eq!(setting.kind.name(), policy);
                assert!(!settings[..i].contains(setting), "{policy} {} twice", setting.params);
            }
        }
        assert_eq!(grid("keep-alive").expect("known").len(), 64);
        assert!(grid("clairvoyant").is_err());
    }

    #[test]
    fn the_cheapest_setting_that_meets_the_objective_wins() {
        let task = |i: u32| TraceTask { arrival_s: f64::from(i), service_s: 3.5, ..TraceTask::default() };
        let trace = Trace::new("steady", (0..1500).map(task).collect()).expect("some tasks");
        let limits = PolicyLimits { min: 1, max: 16, cold_start_s: 2.0, tick_s: 1.0, objective: Objective::default() };
        let settings = grid("knative").expect("known");
        let reports: Vec<_> = settings.iter().map(|setting| setting.replay(&trace, limits).expect("valid")).collect();
        let best = cheapest(&reports).expect("a target of 0.3 has room for everything");
        assert!(best.meets_objective());
        assert!(reports.iter().all(|r| !r.meets_objective() || r.instance_s >= best.instance_s));
        assert!(best.params.starts_with("target="), "{}", best.params);
        assert_eq!(cheapest(&[]), None);
    }
}

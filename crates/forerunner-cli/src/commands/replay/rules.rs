//! Which policies are replayed, and which settings of each a sweep tries.

use forerunner_forecast::PolicyKind;

use super::args::Asked;

/// Values that a sweep tries for one setting.
type Axis = (&'static str, &'static [f64]);

/// Every policy with its defaults. A fixed pool has none: it is given the least size that meets the objective, which
/// only hindsight knows; the second value says so.
pub fn all(least_fixed: u32) -> Vec<(Asked, bool)> {
    let fixed = || Asked { kind: PolicyKind::Fixed { size: least_fixed }, params: least_fixed.to_string() };
    let read = |name: &&str| name.parse().map_or_else(|_| (fixed(), true), |asked| (asked, false));
    PolicyKind::NAMES.iter().map(read).collect()
}

/// The settings that a sweep tries beside those asked for: every combination of the values of [`axes`]. None for rules
/// that are meant to need no tuning.
pub fn grid(policy: &str) -> Vec<Asked> {
    let Some((first, others)) = axes(policy).split_first() else { return Vec::new() };
    let begin: Vec<String> = written(first).collect();
    let texts = others.iter().fold(begin, |texts, axis| {
        texts.iter().flat_map(|text| written(axis).map(move |setting| format!("{text},{setting}"))).collect()
    });
    texts.iter().filter_map(|text| format!("{policy}:{text}").parse().ok()).collect()
}

fn written(axis: &Axis) -> impl Iterator<Item = String> {
    let (name, values) = *axis;
    values.iter().map(move |value| format!("{name}={value}"))
}

/// What people tune about each rule, in the ranges in which it does best on one load or another.
const fn axes(policy: &str) -> &'static [Axis] {
    match policy.as_bytes() {
        b"utilisation" => {
            &[("scale_up_threshold", &[0.5, 0.6, 0.7, 0.8, 0.9]), ("scale_down_threshold", &[0.1, 0.2, 0.3, 0.4])]
        }
        b"knative" => &[
            ("target", &[0.5, 0.6, 0.7, 0.8, 0.9]),
            ("stable_window_s", &[30.0, 60.0, 120.0]),
            ("scale_down_delay_s", &[0.0, 60.0, 300.0, 900.0]),
        ],
        b"hpa" => &[("target", &[0.4, 0.5, 0.6, 0.7, 0.8, 0.9]), ("scale_down_window_s", &[60.0, 300.0, 900.0])],
        b"keda" => &[
            ("target", &[0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
            ("polling_interval_s", &[5.0, 15.0, 30.0]),
            ("scale_down_window_s", &[60.0, 300.0]),
        ],
        b"ray-serve" => &[
            ("target_ongoing_requests", &[0.5, 0.6, 0.7, 0.8, 0.9]),
            ("upscale_delay_s", &[0.0, 10.0, 30.0]),
            ("downscale_delay_s", &[60.0, 300.0, 600.0]),
        ],
        b"sqrt-staffing" => {
            &[("beta", &[1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0]), ("tau_s", &[15.0, 30.0, 60.0, 120.0, 300.0])]
        }
        b"keep-alive" => &[
            ("idle_ttl_s", &[5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 2400.0]),
            ("spares", &[0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0]),
        ],
        b"holt" => &[("z", &[1.28, 1.64, 2.33, 3.0, 4.0, 5.0]), ("hold_s", &[0.0, 15.0, 60.0, 180.0])],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_replayed_once() {
        let all = all(7);
        let names: Vec<&str> = all.iter().map(|(asked, _)| asked.kind.name()).collect();
        assert_eq!(names, PolicyKind::NAMES);
        let fixed = Asked { kind: PolicyKind::Fixed { size: 7 }, params: "7".to_owned() };
        assert!(all.contains(&(fixed, true)), "only a fixed pool needs hindsight: {all:?}");
        assert_eq!(all.iter().filter(|(_, hindsight)| *hindsight).count(), 1);
    }

    #[test]
    fn a_sweep_tries_every_combination_and_all_of_them_can_be_read() {
        for policy in PolicyKind::NAMES {
            let combinations: usize = axes(policy).iter().map(|(_, values)| values.len()).product();
            let expected = if axes(policy).is_empty() { 0 } else { combinations };
            assert_eq!(grid(policy).len(), expected, "{policy}");
        }
        assert_eq!(grid("utilisation")[1].params, "scale_up_threshold=0.5,scale_down_threshold=0.2");
        assert!(grid("predictive").is_empty(), "it is meant to need none");
    }
}

//! Which policies are replayed, and which settings of each a sweep tries.

use forerunner_forecast::{FixedSettings, PolicyKind};

use super::args::PolicyArg;

/// Every policy with its defaults. A fixed pool has none: it gets the least size that meets the objective, which only
/// hindsight knows; the second value marks that.
pub fn all(least_fixed: u32) -> Vec<(PolicyArg, bool)> {
    let fixed =
        || PolicyArg { kind: PolicyKind::Fixed(FixedSettings { size: least_fixed }), params: least_fixed.to_string() };
    let read = |name: &&str| name.parse().map_or_else(|_| (fixed(), true), |asked| (asked, false));
    PolicyKind::NAMES.iter().map(read).collect()
}

/// The settings that a sweep tries beside the requested ones; none for rules without tuning.
pub fn grid(policy: &str) -> Vec<PolicyArg> {
    let tried = forerunner_sim::grid(policy).unwrap_or_default();
    // The first ones are the defaults, which are included anyway.
    tried.into_iter().skip(1).map(|setting| PolicyArg { kind: setting.kind, params: setting.params }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_replayed_once() {
        let all = all(7);
        let names: Vec<&str> = all.iter().map(|(asked, _)| asked.kind.name()).collect();
        assert_eq!(names, PolicyKind::NAMES);
        let fixed = PolicyArg { kind: PolicyKind::Fixed(FixedSettings { size: 7 }), params: "7".to_owned() };
        assert!(all.contains(&(fixed, true)), "only a fixed pool needs hindsight: {all:?}");
        assert_eq!(all.iter().filter(|(_, hindsight)| *hindsight).count(), 1);
    }

    #[test]
    fn a_sweep_tries_the_settings_of_rules_that_have_some() {
        assert!(grid("predictive").is_empty() && grid("fixed").is_empty(), "they are meant to need none");
        let tried = grid("keep-alive");
        assert!(tried.len() > 10 && tried.iter().all(|asked| !asked.params.is_empty()), "{}", tried.len());
    }
}

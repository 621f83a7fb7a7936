//! Which policies are replayed, and which settings of each a sweep tries.

use forerunner_forecast::PolicyKind;

use super::args::Asked;

/// Every policy with its defaults. A fixed pool has none: it is given the least size that meets the objective, which
/// only hindsight knows.
pub fn all(least_fixed: u32) -> Vec<Asked> {
    let read =
        |name: &&str| name.parse().unwrap_or(Asked { kind: fixed(least_fixed), params: least_fixed.to_string() });
    PolicyKind::NAMES.iter().map(read).collect()
}

/// The settings that a sweep tries beside the defaults of a policy.
pub fn grid(_asked: &Asked) -> Vec<Asked> {
    Vec::new()
}

const fn fixed(size: u32) -> PolicyKind {
    PolicyKind::Fixed { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_replayed_once() {
        let all = all(7);
        let names: Vec<&str> = all.iter().map(|asked| asked.kind.name()).collect();
        assert_eq!(names, PolicyKind::NAMES);
        assert!(all.iter().any(|asked| asked.kind == fixed(7) && asked.params == "7"));
    }
}

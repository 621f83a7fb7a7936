//! How likely a context is wanted again before a stopped agent could be replaced.

/// The chance that a context is wanted within the time that a new agent takes to start, by the time since its last use.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReturnChances {
    /// Seconds since the last use, rising, and the chance from there on.
    steps: Vec<(f64, f64)>,
}

impl ReturnChances {
    /// Makes a table of pairs of an age in seconds, rising, and the chance from that age on. Pairs that cannot be are left
    /// out.
    pub fn new(steps: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let can_be = |(age_s, chance): &(f64, f64)| age_s.is_finite() && (0.0..=1.0).contains(chance);
        let mut steps: Vec<_> = steps.into_iter().filter(can_be).collect();
        steps.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { steps }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The chance for a context that was last used so many seconds ago: that of the youngest for one still younger, 0 where
    /// nothing is known.
    pub fn at(&self, age_s: f64) -> f64 {
        let place = self.steps.partition_point(|(begin, _)| *begin <= age_s).saturating_sub(1);
        self.steps.get(place).map_or(0.0, |(_, chance)| *chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_holds_until_the_next_age() {
        let chances = ReturnChances::new([(4.0, 0.5), (0.0, 0.1), (20.0, 0.0), (f64::NAN, 0.3), (9.0, 1.5)]);
        for (age_s, chance) in [(-1.0, 0.1), (0.0, 0.1), (3.9, 0.1), (4.0, 0.5), (19.0, 0.5), (1e9, 0.0)] {
            assert_eq!(chances.at(age_s), chance, "{age_s}");
        }
        assert!(ReturnChances::default().is_empty() && ReturnChances::default().at(1.0) == 0.0);
    }
}

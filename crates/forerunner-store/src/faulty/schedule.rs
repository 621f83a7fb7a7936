//! Which call fails, and how.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::Verb;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It takes effect at once, and its answer comes this much later.
    Slow(Duration),
    /// It answers [`StoreError::Unavailable`](crate::StoreError::Unavailable) and has no effect.
    Before,
    /// It takes effect and yet answers an error: the caller does not know the outcome.
    After,
    /// It takes effect, and its answer is lost; the caller gets an error after this long, as from a time limit on the
    /// call.
    Lost(Duration),
    /// It takes effect and is never answered. No store may do this for ever; it shows which callers wait for which
    /// calls.
    Silent,
}

type Choose = dyn Fn(Verb, u64) -> Option<Fault> + Send + Sync;

/// Decides what goes wrong with each call, by its verb and its number among the calls of that verb, counted from 1.
///
/// The answer depends on nothing else, so that a run can be repeated however its calls interleave.
#[derive(Clone)]
pub struct Schedule(Arc<Choose>);

impl Schedule {
    /// Faults chosen by a function.
    pub fn of(choose: impl Fn(Verb, u64) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self(Arc::new(choose))
    }

    /// No faults.
    pub fn calm() -> Self {
        Self::of(|_, _| None)
    }

    /// Faults at these calls and no others.
    pub fn script(faults: impl IntoIterator<Item = (Verb, u64, Fault)>) -> Self {
        let faults: HashMap<_, _> = faults.into_iter().map(|(verb, number, fault)| ((verb, number), fault)).collect();
        Self::of(move |verb, number| faults.get(&(verb, number)).copied())
    }

    /// Lets `per_mille` of a thousand calls of these verbs fail, each with one of these faults, as the seed has it.
    pub fn seeded(seed: u64, per_mille: u64, verbs: &[Verb], faults: &[Fault]) -> Self {
        let (verbs, faults) = (verbs.to_vec(), faults.to_vec());
        Self::of(move |verb, number| {
            let chance = mix(seed ^ mix(number ^ ((verb as u64) << 56)));
            let hit = verbs.contains(&verb) && !faults.is_empty() && chance % 1_000 < per_mille;
            hit.then(|| faults[(chance >> 32) as usize % faults.len()])
        })
    }

    /// The faults of one schedule, and where it has none those of another.
    pub fn both(first: Self, second: Self) -> Self {
        Self::of(move |verb, number| first.fault(verb, number).or_else(|| second.fault(verb, number)))
    }

    pub(super) fn fault(&self, verb: Verb, number: u64) -> Option<Fault> {
        (self.0)(verb, number)
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
const fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_the_same_each_time_and_hits_the_share_it_was_given() {
        let of = |seed| Schedule::seeded(seed, 100, &[Verb::Claim, Verb::Settle], &[Fault::Before, Fault::After]);
        let faults = |seed: u64| -> Vec<_> {
            let schedule = of(seed);
            (1..=10_000).map(|number| schedule.fault(Verb::Claim, number)).collect()
        };
        assert_eq!(faults(1), faults(1));
        assert_ne!(faults(1), faults(2));
        let hits = faults(1).iter().flatten().count();
        assert!((800..1_200).contains(&hits), "{hits} of 10,000 at 10 %");
        for fault in [Fault::Before, Fault::After] {
            let share = faults(1).iter().flatten().filter(|one| **one == fault).count();
            assert!((300..700).contains(&share), "{share} times {fault:?}");
        }
        assert!((1..=1_000).all(|number| of(1).fault(Verb::Enqueue, number).is_none()), "not one of its verbs");
    }
}

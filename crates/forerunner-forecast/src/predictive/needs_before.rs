//! The needs that outlive a belief that tasks are slower.

use crate::{
    service::{ServiceModel, Shift},
    stabilization::SlidingMaximum,
};

/// What became of the belief about durations in one observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing new.
    None,
    /// Tasks are believed to be slower from now on.
    Slower,
    /// They were believed to be slower, and are not: the change has passed.
    Passed,
    /// The known durations became shorter.
    Faster,
}

impl Turn {
    /// The turn after an observation that settled `shift`, where tasks were believed to be slower before it or not.
    pub fn of(was_slower: bool, service: &ServiceModel, shift: Option<Shift>) -> Self {
        match shift {
            Some(shift) if shift.after_s < shift.before_s => Self::Faster,
            None if was_slower && !service.is_changing() => Self::Passed,
            _ if !was_slower && service.factor() > 1.0 => Self::Slower,
            _ => Self::None,
        }
    }
}

/// The recent needs as they were when tasks were last believed to become slower.
///
/// The need of slower tasks is no reason to retain agents for faster ones. A belief that passes changes nothing about what
/// was needed before it.
#[derive(Debug, Clone, Default)]
pub(super) struct NeedsBefore(SlidingMaximum);

impl NeedsBefore {
    /// Remembers or restores the recent `needs`, or forgets them.
    pub fn follow(&mut self, turn: Turn, needs: &mut SlidingMaximum) {
        match turn {
            Turn::None => {}
            Turn::Slower => self.0 = needs.clone(),
            Turn::Passed => *needs = std::mem::take(&mut self.0),
            Turn::Faster => *needs = SlidingMaximum::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn a_belief_that_passes_leaves_the_needs_from_before_it(
            before in vec(0.0..100.0f64, 0..60),
            meanwhile in vec(0.0..1_000.0f64, 0..60),
            since in 0.0..130.0f64,
        ) {
            let (mut memory, mut needs, mut t) = (NeedsBefore::default(), SlidingMaximum::default(), 0.0);
            let mut push = |needs: &mut SlidingMaximum, more: &[f64]| for need in more {
                t += 1.0;
                needs.push(t, *need);
            };
            push(&mut needs, &before);
            let expected = needs.greatest_since(since);
            memory.follow(Turn::Slower, &mut needs);
            push(&mut needs, &meanwhile);
            memory.follow(Turn::None, &mut needs);
            memory.follow(Turn::Passed, &mut needs);
            prop_assert_eq!(needs.greatest_since(since), expected);
            memory.follow(Turn::Faster, &mut needs);
            prop_assert_eq!(needs.greatest(), None);
        }
    }
}

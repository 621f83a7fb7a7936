//! When the occurrences of a schedule are.

use std::time::Duration;

use super::cron::CronTiming;
use crate::Timestamp;

/// Up to this span occurrences are walked through one by one, to find the newest.
const WALKED: Duration = Duration::from_secs(64);

/// When the occurrences of a schedule are.
#[derive(Debug, Clone)]
pub(crate) enum Timing {
    /// At the times of a cron expression.
    Cron(Box<CronTiming>),
    /// At `from`, and then evenly.
    Every { every: Duration, from: Timestamp },
    /// Once.
    At(Timestamp),
}

impl Timing {
    /// The first occurrence after a moment; `None` if there is none.
    pub(crate) fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(cron) => cron.next_after(after),
            Self::Every { every, from } => next_even(*every, *from, after),
            Self::At(at) => Some(*at).filter(|at| *at > after),
        }
    }

    /// Counts the occurrences after `after` and up to `until`, up to `most`.
    pub(crate) fn count(&self, after: Timestamp, until: Timestamp, most: usize) -> usize {
        self.between(after, until).take(most).count()
    }

    /// The occurrences after `after` and up to `until`.
    pub(crate) fn between(&self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(after), |last| self.next_after(*last)).take_while(move |at| *at <= until)
    }

    /// The last `most` occurrences after `after` and up to `until`, the newest first. The cost grows with `most`, and
    /// hardly with the span.
    pub(crate) fn newest(&self, after: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
        let mut found = Vec::new();
        self.gather(after, until, most, &mut found);
        found
    }

    fn gather(&self, after: Timestamp, until: Timestamp, most: usize, found: &mut Vec<Timestamp>) {
        if found.len() >= most || self.next_after(after).is_none_or(|next| next > until) {
            return;
        }
        let span = until.since(after);
        if span <= WALKED {
            let all: Vec<_> = self.between(after, until).collect();
            let missing = most - found.len();
            return found.extend(all.into_iter().rev().take(missing));
        }
        let middle = after + span / 2;
        self.gather(middle, until, most, found);
        self.gather(after, middle, most, found);
    }
}

fn next_even(every: Duration, from: Timestamp, after: Timestamp) -> Option<Timestamp> {
    if after < from {
        return Some(from);
    }
    let every_us = i64::try_from(every.as_micros()).ok().filter(|every| *every > 0)?;
    let passed = after.as_micros().checked_sub(from.as_micros())? / every_us;
    let next = passed.checked_add(1)?.checked_mul(every_us)?.checked_add(from.as_micros())?;
    Some(Timestamp::from_micros(next)).filter(|next| *next <= Timestamp::MAX)
}

//! Sessions between two turns, counted by how long ago the last one ended.

use std::collections::VecDeque;

use super::pauses::{BEGINS_S, BINS, CLASSES, CLOSED_S};

/// Sessions whose turns ended within this many seconds are counted together.
const GRAIN_S: f64 = 1.0;

/// Sessions whose turns ended at about the same time.
#[derive(Debug, Clone, PartialEq)]
struct Cohort {
    ended_at: f64,
    counts: [u32; CLASSES],
}

/// Idle sessions by class and age. A step in time costs the same for any number of sessions.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Idle {
    /// Oldest first.
    cohorts: VecDeque<Cohort>,
    /// Number of the oldest cohort.
    first: u64,
    /// Number of the oldest cohort in each bin; that of the next one where a bin has none.
    oldest: [u64; BINS],
    counts: [[u32; BINS]; CLASSES],
}

impl Idle {
    /// Counts a session whose turn ended at `now`. Returns the number of its cohort.
    pub fn enter(&mut self, now: f64, class: usize) -> u64 {
        if self.cohorts.back().is_none_or(|last| now >= last.ended_at + GRAIN_S) {
            self.cohorts.push_back(Cohort { ended_at: now, counts: [0; CLASSES] });
        }
        let last = self.cohorts.len() - 1;
        self.cohorts[last].counts[class] += 1;
        let number = self.first + last as u64;
        let bin = self.bin_of(number).unwrap_or(0);
        self.counts[class][bin] += 1;
        number
    }

    /// Removes a session. Returns the bin that it was in; `None` if it was forgotten before.
    pub fn leave(&mut self, cohort: u64, class: usize) -> Option<usize> {
        let bin = self.bin_of(cohort)?;
        let at = usize::try_from(cohort.checked_sub(self.first)?).ok()?;
        let counted = self.cohorts.get_mut(at).map(|cohort| &mut cohort.counts[class]).filter(|count| **count > 0)?;
        *counted -= 1;
        self.counts[class][bin] -= 1;
        Some(bin)
    }

    /// Lets time pass: sessions grow older, and those that have been idle for too long are forgotten.
    pub fn age(&mut self, now: f64) {
        for bin in 0..BINS {
            let end_s = BEGINS_S.get(bin + 1).copied().unwrap_or(CLOSED_S);
            let end = if bin == 0 { self.first + self.cohorts.len() as u64 } else { self.oldest[bin - 1] };
            while self.oldest[bin] < end {
                let cohort = &self.cohorts[(self.oldest[bin] - self.first) as usize];
                if now - cohort.ended_at < end_s {
                    break;
                }
                for (counts, moved) in self.counts.iter_mut().zip(cohort.counts) {
                    counts[bin] -= moved;
                    if bin + 1 < BINS {
                        counts[bin + 1] += moved;
                    }
                }
                self.oldest[bin] += 1;
            }
        }
        while self.first < self.oldest[BINS - 1] {
            self.cohorts.pop_front();
            self.first += 1;
        }
    }

    /// Idle sessions by class and bin.
    pub fn counts(&self) -> &[[u32; BINS]; CLASSES] {
        &self.counts
    }

    fn bin_of(&self, cohort: u64) -> Option<usize> {
        self.oldest.iter().position(|oldest| cohort >= *oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(idle: &Idle) -> u32 {
        idle.counts().iter().flatten().sum()
    }

    #[test]
    fn sessions_grow_older_and_are_forgotten() {
        let mut idle = Idle::default();
        let first = idle.enter(10.0, 2);
        assert_eq!(idle.counts()[2][0], 1);
        idle.age(11.0);
        let second = idle.enter(11.0, 2);
        assert_eq!((idle.counts()[2][0], idle.counts()[2][1]), (1, 1));
        idle.age(30.0);
        assert_eq!(idle.counts()[2][9], 1, "20 s");
        assert_eq!(idle.counts()[2][8], 1, "19 s");
        assert_eq!(idle.leave(second, 2), Some(8));
        assert_eq!(idle.leave(second, 2), None, "it has left");
        idle.age(10.0 + CLOSED_S);
        assert_eq!((total(&idle), idle.leave(first, 2)), (0, None));
        let third = idle.enter(9_000.0, 0);
        assert_eq!((idle.leave(third, 0), total(&idle)), (Some(0), 0));
    }

    #[test]
    fn a_leap_in_time_forgets_all_of_them() {
        let mut idle = Idle::default();
        (0..50).for_each(|k| _ = idle.enter(f64::from(k), k as usize % CLASSES));
        assert_eq!(total(&idle), 50);
        idle.age(1e9);
        assert_eq!((total(&idle), idle.cohorts.len()), (0, 0));
    }
}

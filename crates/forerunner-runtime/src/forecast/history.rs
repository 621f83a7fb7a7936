//! What a forecast keeps: decisions, the recent past, and what survives a restart.

use std::collections::VecDeque;

use forerunner_core::{PoolName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::status::{DecisionRecord, ForecastPoint};

/// Decisions kept.
const DECISIONS: usize = 2_048;
/// Moments of the recent past kept: an hour of seconds.
const POINTS: usize = 3_600;

/// Decisions and the recent past, newest last, bounded.
#[derive(Debug, Default)]
pub(crate) struct History {
    decisions: VecDeque<DecisionRecord>,
    points: VecDeque<ForecastPoint>,
    newest_seq: u64,
}

impl History {
    pub(crate) const fn next_seq(&self) -> u64 {
        self.newest_seq + 1
    }

    /// Keeps a decision. A tick that changes nothing, like the one before it, replaces that one, so that what is kept
    /// reaches far back.
    pub(crate) fn keep(&mut self, decision: DecisionRecord) {
        self.newest_seq = decision.seq;
        let dull = |record: &DecisionRecord| record.before == record.decision.desired;
        if dull(&decision)
            && self.decisions.len() > 1
            && self.decisions.back().is_some_and(|last| dull(last) && last.decision.reason == decision.decision.reason)
        {
            self.decisions.pop_back();
        }
        push_bounded(&mut self.decisions, decision, DECISIONS);
    }

    pub(crate) fn note(&mut self, point: ForecastPoint) {
        push_bounded(&mut self.points, point, POINTS);
    }

    pub(crate) fn newest(&self) -> Option<&DecisionRecord> {
        self.decisions.back()
    }

    pub(crate) fn decisions(&self, limit: usize) -> Vec<DecisionRecord> {
        self.decisions.iter().rev().take(limit).cloned().collect()
    }

    pub(crate) fn decision(&self, seq: u64) -> Option<&DecisionRecord> {
        self.decisions.iter().rev().find(|record| record.seq == seq)
    }

    pub(crate) fn points(&self) -> Vec<ForecastPoint> {
        self.points.iter().copied().collect()
    }
}

fn push_bounded<T>(ring: &mut VecDeque<T>, item: T, most: usize) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(item);
}

/// What survives a restart, as kept in the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SavedHistory {
    /// When the policy last looked before it was saved.
    pub(crate) at: Timestamp,
    /// Which policy wrote it.
    pub(crate) policy: String,
    /// What the policy wrote.
    pub(crate) text: String,
    /// Agents wanted then.
    pub(crate) desired: u32,
    /// The newest decision's number.
    pub(crate) seq: u64,
}

impl SavedHistory {
    pub(crate) fn key(pool: &PoolName) -> String {
        format!("pool/{pool}/history")
    }

    /// The same with the size of a later time.
    pub(crate) fn with(self, size: Option<SavedSize>) -> Self {
        match size.filter(|size| size.seq >= self.seq) {
            Some(SavedSize { desired, seq }) => Self { desired, seq, ..self },
            None => self,
        }
    }
}

/// The part of it that changes all the time, and is written down more often since it is small.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedSize {
    /// Agents wanted.
    pub(crate) desired: u32,
    /// The newest decision's number.
    pub(crate) seq: u64,
}

impl SavedSize {
    pub(crate) fn key(pool: &PoolName) -> String {
        format!("pool/{pool}/size")
    }
}

impl History {
    /// A history that goes on counting where a saved one ended.
    pub(crate) fn after(saved: Option<&SavedHistory>) -> Self {
        Self { newest_seq: saved.map_or(0, |saved| saved.seq), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_written_last_counts() {
        let saved = |seq| SavedHistory {
            at: Timestamp::default(),
            policy: "predictive".to_owned(),
            text: "{}".to_owned(),
            desired: 5,
            seq,
        };
        let size = SavedSize { desired: 9, seq: 40 };
        assert_eq!((saved(30).with(Some(size)).desired, saved(30).with(Some(size)).seq), (9, 40));
        assert_eq!(saved(50).with(Some(size)).desired, 5, "the whole was written later");
        assert_eq!(saved(30).with(None).desired, 5);
    }
}

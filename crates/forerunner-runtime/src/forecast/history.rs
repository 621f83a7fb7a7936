//! The records of a forecast: decisions, the recent past, and what survives a restart.

use std::collections::VecDeque;

use forerunner_core::{PoolName, Timestamp};
use serde::{Deserialize, Serialize};

use super::packed::{pack, unpack};
use crate::status::{Cause, DecisionRecord, ForecastPoint, SizeChange};

/// Number of recorded decisions.
const DECISIONS: usize = 2_048;
/// Number of recorded points of the recent past: an hour of seconds.
const POINTS: usize = 3_600;
/// Most changes of size in one list.
const CHANGES: usize = 300;

/// Decisions and points of the recent past, newest last, bounded.
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

    /// Records a decision. A tick that changes nothing replaces an earlier tick that changed nothing for the same
    /// reason, so that the records reach far back. A decision after a change of settings is never replaced.
    pub(crate) fn record(&mut self, decision: DecisionRecord) {
        self.newest_seq = decision.seq;
        let is_unchanged =
            |record: &DecisionRecord| record.before == record.decision.desired && record.cause != Cause::Settings;
        if is_unchanged(&decision)
            && self.decisions.len() > 1
            && self
                .decisions
                .back()
                .is_some_and(|last| is_unchanged(last) && last.decision.reason == decision.decision.reason)
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

    /// Returns the decision with this number, or the one that replaced it: of consecutive ticks that change nothing
    /// only the newest is recorded.
    pub(crate) fn decision(&self, seq: u64) -> Option<&DecisionRecord> {
        let place = self.decisions.partition_point(|record| record.seq < seq);
        // Numbers before the oldest record are unknown.
        let known = place > 0 || self.decisions.front().is_some_and(|oldest| oldest.seq == seq);
        self.decisions.get(place).filter(|_| known)
    }

    /// Returns the decisions since `from` that wanted another size than the decision before, oldest first, and whether
    /// there were more. A wanted size that is not applied is repeated by each decision, and listed once.
    pub(crate) fn changes(&self, from: Timestamp) -> (Vec<SizeChange>, bool) {
        let asked = self.decisions.iter().scan(None, |last: &mut Option<u32>, record| {
            let repeated = *last == Some(record.decision.desired);
            *last = Some(record.decision.desired);
            Some((record, repeated))
        });
        let is_change = |record: &DecisionRecord| record.before != record.decision.desired && record.at >= from;
        let changes: Vec<_> =
            asked.filter(|(record, repeated)| is_change(record) && !repeated).map(|(record, _)| record).collect();
        let newest = &changes[changes.len().saturating_sub(CHANGES)..];
        (newest.iter().map(|record| change(record)).collect(), newest.len() < changes.len())
    }

    pub(crate) fn points(&self) -> Vec<ForecastPoint> {
        self.points.iter().copied().collect()
    }
}

fn change(record: &DecisionRecord) -> SizeChange {
    SizeChange {
        seq: record.seq,
        at: record.at,
        cause: record.cause,
        before: record.before,
        desired: record.decision.desired,
        reason: record.decision.reason,
        detail: record.decision.detail.clone(),
        mode: record.mode,
    }
}

fn push_bounded<T>(ring: &mut VecDeque<T>, item: T, most: usize) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(item);
}

/// The part of the history that survives a restart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SavedHistory {
    /// When the policy last decided before it was saved.
    pub(crate) at: Timestamp,
    /// The policy that wrote the text.
    pub(crate) policy: String,
    /// The policy's own state.
    pub(crate) text: String,
    /// The wanted number of agents.
    pub(crate) desired: u32,
    /// The number of the newest decision.
    pub(crate) seq: u64,
}

/// The form of [`SavedHistory`] in the store.
#[derive(Debug, Serialize, Deserialize)]
struct StoredHistory {
    at: Timestamp,
    policy: String,
    /// The text itself, as written by versions that did not compress it.
    text: String,
    #[serde(default)]
    packed: Option<String>,
    desired: u32,
    seq: u64,
}

impl SavedHistory {
    pub(crate) fn key(pool: &PoolName) -> String {
        format!("pool/{pool}/history")
    }

    /// Returns the form that is stored.
    pub(crate) fn to_setting(&self) -> Option<String> {
        let Self { at, policy, text, desired, seq } = self;
        let (policy, packed) = (policy.clone(), Some(pack(text)));
        let stored = StoredHistory { at: *at, policy, text: String::new(), packed, desired: *desired, seq: *seq };
        serde_json::to_string(&stored).ok()
    }

    /// Reads the stored form. Text that cannot be unpacked becomes empty; no policy continues from that.
    ///
    /// # Errors
    /// When the text is not such JSON.
    pub(crate) fn from_setting(note: &str) -> Result<Self, serde_json::Error> {
        let StoredHistory { at, policy, text, packed, desired, seq } = serde_json::from_str(note)?;
        let text = packed.map_or(text, |packed| unpack(&packed).unwrap_or_default());
        Ok(Self { at, policy, text, desired, seq })
    }

    /// Replaces the size by one that was saved later.
    pub(crate) fn with(self, size: Option<SavedSize>) -> Self {
        match size.filter(|size| size.seq >= self.seq) {
            Some(SavedSize { desired, seq }) => Self { desired, seq, ..self },
            None => self,
        }
    }
}

/// The part of the history that changes often. It is saved more often, since it is small.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedSize {
    /// The wanted number of agents.
    pub(crate) desired: u32,
    /// The number of the newest decision.
    pub(crate) seq: u64,
}

impl SavedSize {
    pub(crate) fn key(pool: &PoolName) -> String {
        format!("pool/{pool}/size")
    }
}

impl History {
    /// Creates a history whose numbers continue after a saved one.
    pub(crate) fn after(saved: Option<&SavedHistory>) -> Self {
        Self { newest_seq: saved.map_or(0, |saved| saved.seq), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use forerunner_core::AgentCounts;
    use forerunner_forecast::{Decision, ReasonCode};

    use super::*;
    use crate::status::{Inputs, Mode};

    fn decided(seq: u64, before: u32, desired: u32) -> DecisionRecord {
        DecisionRecord {
            seq,
            at: Timestamp::from_micros(seq as i64 * 1_000_000),
            cause: Cause::Tick,
            inputs: Inputs {
                arrivals: 0,
                completions: 0,
                mean_service_s: None,
                start_concurrency: None,
                mean_context_tokens: None,
                depth: 0,
                agents: AgentCounts::default(),
                cold_start_s: 1.0,
            },
            before,
            decision: Decision {
                desired,
                need: 1.0,
                reason: ReasonCode::ForecastUp,
                detail: String::new(),
                rule: "x".into(),
                forecast: None,
            },
            mode: Mode::Act,
        }
    }

    #[test]
    fn a_number_stands_for_the_decision_that_took_its_place() {
        let mut history = History::default();
        for (seq, before, desired) in [(3, 1, 2), (4, 2, 2), (5, 2, 2), (6, 2, 2), (7, 2, 3), (8, 3, 3)] {
            history.record(decided(seq, before, desired));
        }
        let found = |seq| history.decision(seq).map(|record| record.seq);
        assert_eq!([2, 3, 4, 6, 7, 8, 9].map(found), [None, Some(3), Some(6), Some(6), Some(7), Some(8), None]);
    }

    #[test]
    fn a_decision_after_a_change_of_settings_is_never_replaced() {
        let mut history = History::default();
        for seq in 1..=9 {
            let cause = if seq == 4 { Cause::Settings } else { Cause::Tick };
            history.record(DecisionRecord { cause, ..decided(seq, 2, 2) });
        }
        let saved: Vec<_> = history.decisions(9).iter().map(|record| (record.seq, record.cause)).collect();
        assert_eq!(saved[..2], [(9, Cause::Tick), (4, Cause::Settings)]);
    }

    #[test]
    fn changes_of_size_are_listed_once_from_a_time_on() {
        let mut history = History::default();
        for (seq, before, desired) in [(1, 1, 2), (2, 2, 2), (3, 2, 6), (4, 2, 6), (5, 6, 4), (6, 4, 4), (7, 4, 5)] {
            history.record(decided(seq, before, desired));
        }
        let listed = |from: i64| {
            let (changes, more) = history.changes(Timestamp::from_micros(from));
            (changes.iter().map(|change| change.seq).collect::<Vec<_>>(), more)
        };
        assert_eq!(listed(0), (vec![1, 3, 5, 7], false), "4 asks for what 3 asked for");
        assert_eq!(listed(5_000_000), (vec![5, 7], false));
    }

    #[test]
    fn of_many_changes_the_newest_are_listed() {
        let mut history = History::default();
        for seq in 1..=400 {
            history.record(decided(seq, seq as u32, seq as u32 + 1));
        }
        let (changes, more) = history.changes(Timestamp::default());
        assert_eq!((changes.len(), changes[299].seq, more), (300, 400, true));
    }

    #[test]
    fn a_note_is_read_back_also_one_of_a_version_that_did_not_pack() {
        let saved = SavedHistory {
            at: Timestamp::from_micros(5),
            policy: "predictive".to_owned(),
            text: "{\"rates\":[0,0]}".to_owned(),
            desired: 5,
            seq: 7,
        };
        assert_eq!(SavedHistory::from_setting(&saved.to_setting().unwrap()).unwrap(), saved);
        let plain =
            serde_json::json!({ "at": saved.at, "policy": saved.policy, "text": saved.text, "desired": 5, "seq": 7 });
        assert_eq!(SavedHistory::from_setting(&plain.to_string()).unwrap(), saved);
        assert!(SavedHistory::from_setting("{").is_err());
    }

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

//! Notifications between nodes that share a store, so that no node has to wait for its next poll.

use std::collections::BTreeSet;

use forerunner_core::{PoolName, TaskId};
use serde::{Deserialize, Serialize};

/// Most tasks that hints name: more would not fit into one notification of PostgreSQL (8,000 bytes).
const MOST: usize = 160;
/// Most pools that hints name.
const MOST_POOLS: usize = 16;

/// A notification for other nodes. It is only a reason to read the store, which alone has the truth: notifications that
/// are lost, late or repeated do no harm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notification {
    /// Pools with tasks that another node may want to claim.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub work: BTreeSet<PoolName>,
    /// Running tasks that somebody cancelled.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub stops: BTreeSet<TaskId>,
    /// Tasks that ended.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub ended: BTreeSet<TaskId>,
    /// Tasks with new events.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub with_events: BTreeSet<TaskId>,
    /// Settings of a pool changed, or what the leader plans for one.
    #[serde(skip_serializing_if = "is_false")]
    pub settings: bool,
    /// Truncated: every subscriber must poll.
    #[serde(skip_serializing_if = "is_false")]
    pub more: bool,
}

impl Notification {
    /// There may be any news.
    pub fn anything() -> Self {
        Self { settings: true, more: true, ..Self::default() }
    }

    /// A pool has tasks that another node may want.
    pub fn work(pool: PoolName) -> Self {
        Self { work: BTreeSet::from([pool]), ..Self::default() }
    }

    /// Returns whether it is empty.
    pub fn is_empty(&self) -> bool {
        let Self { work, stops, ended, with_events, settings, more } = self;
        work.is_empty() && stops.is_empty() && ended.is_empty() && with_events.is_empty() && !settings && !more
    }

    /// Adds other notifications. If there are too many to name, it sets [`Notification::more`].
    pub fn absorb(&mut self, other: Self) {
        let Self { work, stops, ended, with_events, settings, more } = other;
        self.settings |= settings;
        self.more |= more;
        let mut room = MOST.saturating_sub(self.stops.len() + self.ended.len() + self.with_events.len());
        for (mine, theirs) in [(&mut self.stops, stops), (&mut self.ended, ended), (&mut self.with_events, with_events)]
        {
            for task in theirs {
                if room == 0 {
                    self.more = true;
                    break;
                }
                room -= usize::from(mine.insert(task));
            }
        }
        for pool in work {
            match self.work.len() < MOST_POOLS {
                true => drop(self.work.insert(pool)),
                false => self.more |= !self.work.contains(&pool),
            }
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests {
    use forerunner_core::Timestamp;

    use super::*;

    fn task(number: u128) -> TaskId {
        TaskId::from_parts(Timestamp::from_micros(1_700_000_000_000_000), number)
    }

    #[test]
    fn what_does_not_fit_is_told_of_and_the_rest_fits_into_a_notification() {
        let mut hints = Notification::default();
        assert!(hints.is_empty());
        for number in 0..1_000 {
            hints.absorb(Notification { ended: BTreeSet::from([task(number)]), ..Notification::default() });
            let pool = format!("{number:0>64}");
            hints.absorb(Notification::work(PoolName::new(pool).unwrap()));
        }
        assert!(hints.more);
        assert_eq!((hints.ended.len(), hints.work.len()), (MOST, MOST_POOLS));
        let text = serde_json::to_string(&hints).unwrap();
        assert!(text.len() < 7_900, "{} bytes", text.len());
        assert_eq!(serde_json::from_str::<Notification>(&text).unwrap(), hints);
    }

    #[test]
    fn news_of_a_newer_version_are_ignored() {
        let hints: Notification = serde_json::from_str(r#"{"work":["p"],"weather":"fine"}"#).unwrap();
        assert_eq!(hints, Notification::work(PoolName::new("p").unwrap()));
    }
}

//! What a node knows of the schedules in its store: when each is to be decided next, and what they announce.

use std::collections::{BTreeMap, BTreeSet};

use forerunner_core::{
    PoolName, Schedule, ScheduleDefinition, ScheduleName, ScheduleState, Step, Timestamp, next_step,
};
use forerunner_store::StoredSchedule;
use parking_lot::RwLock;

/// Occurrences of one schedule that are announced at most.
const MOST_ANNOUNCED: usize = 256;

/// The schedules that the node has read last.
#[derive(Debug, Default)]
pub(crate) struct ScheduleBook(RwLock<BTreeMap<ScheduleName, Entry>>);

/// A schedule, as far as it can be read.
#[derive(Debug)]
struct Entry {
    revision: u64,
    known: Option<Known>,
    /// Why its last occurrence could not be submitted.
    problem: Option<String>,
}

/// A schedule, and how far it is.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) revision: u64,
    pub(crate) schedule: Schedule,
    pub(crate) state: ScheduleState,
    /// When the next occurrence is to be decided; `None` if none is.
    pub(super) next: Option<Timestamp>,
}

impl Known {
    /// Reads a schedule from its stored texts.
    ///
    /// # Errors
    /// When a text cannot be read, or its definition is not valid any more.
    pub(crate) fn read(stored: &StoredSchedule, now: Timestamp) -> Result<Self, String> {
        let definition: ScheduleDefinition =
            serde_json::from_str(&stored.definition).map_err(|error| error.to_string())?;
        let state: ScheduleState = serde_json::from_str(&stored.state).map_err(|error| error.to_string())?;
        let schedule = Schedule::new(definition, state.created_at).map_err(|error| error.to_string())?;
        let mut known = Self { revision: stored.revision, schedule, state, next: None };
        known.look_ahead(now);
        Ok(known)
    }

    /// Finds out when it is to be decided next.
    fn look_ahead(&mut self, now: Timestamp) {
        self.next = match next_step(&self.schedule, &self.state, false, now) {
            Step::Wait(next) => next,
            _ => Some(now),
        };
    }

    pub(crate) fn pool(&self) -> &PoolName {
        &self.schedule.definition().pool
    }
}

impl ScheduleBook {
    /// Records which schedules there are; returns those to be read, since they are new or have changed.
    pub(super) fn compare(&self, revisions: &[(ScheduleName, u64)]) -> Vec<ScheduleName> {
        let mut entries = self.0.write();
        let there: BTreeSet<_> = revisions.iter().map(|(name, _)| name).collect();
        entries.retain(|name, _| there.contains(name));
        let is_known = |name, revision| entries.get(name).is_some_and(|entry: &Entry| entry.revision == revision);
        revisions.iter().filter(|(name, revision)| !is_known(name, *revision)).map(|(name, _)| name.clone()).collect()
    }

    /// Records a schedule that was read.
    pub(super) fn learn(&self, stored: &StoredSchedule, now: Timestamp) {
        let name = stored.name.clone();
        let known = Known::read(stored, now).map_err(|error| {
            tracing::error!(schedule = %name, %error, "cannot read a schedule; it submits nothing until it is replaced");
        });
        let mut entries = self.0.write();
        let problem = entries.remove(&name).and_then(|entry| entry.problem);
        entries.insert(name, Entry { revision: stored.revision, known: known.ok(), problem });
    }

    /// Computes the next occurrences anew: the clock was set back.
    pub(super) fn look_ahead(&self, now: Timestamp) {
        self.0.write().values_mut().filter_map(|entry| entry.known.as_mut()).for_each(|known| known.look_ahead(now));
    }

    /// Returns the schedules of which an occurrence is due by `now`.
    pub(super) fn due(&self, now: Timestamp) -> Vec<(ScheduleName, PoolName)> {
        let entries = self.0.read();
        let known = entries.iter().filter_map(|(name, entry)| Some((name, entry.known.as_ref()?)));
        let due = known.filter(|(_, known)| known.next.is_some_and(|next| next <= now));
        due.map(|(name, known)| (name.clone(), known.pool().clone())).collect()
    }

    /// Returns when the next occurrence of any schedule is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.0.read().values().filter_map(|entry| entry.known.as_ref()?.next).min()
    }

    /// Returns how many schedules of each pool are enabled.
    pub(super) fn counts(&self) -> BTreeMap<PoolName, usize> {
        let mut counts = BTreeMap::new();
        for known in self.0.read().values().filter_map(|entry| entry.known.as_ref()) {
            let count: &mut usize = counts.entry(known.pool().clone()).or_default();
            *count += usize::from(known.schedule.definition().enabled);
        }
        counts
    }

    /// Notes why an occurrence could not be submitted, or that one could; returns whether that is new.
    pub(super) fn note_problem(&self, name: &ScheduleName, problem: Option<String>) -> bool {
        let mut entries = self.0.write();
        let Some(entry) = entries.get_mut(name) else { return false };
        let is_new = entry.problem.is_none() && problem.is_some();
        entry.problem = problem;
        is_new
    }

    pub(super) fn problem(&self, name: &ScheduleName) -> Option<String> {
        self.0.read().get(name)?.problem.clone()
    }

    /// Returns in how many seconds from `now` tasks of a pool's schedules come, up to `until`.
    pub(crate) fn announced(&self, pool: &PoolName, now: Timestamp, until: Timestamp) -> Vec<(f64, u64)> {
        let entries = self.0.read();
        let known = entries.values().filter_map(|entry| entry.known.as_ref());
        let near = known.filter(|known| known.pool() == pool && known.next.is_some_and(|next| next <= until));
        let due = near.flat_map(|known| known.schedule.upcoming(known.state.decided, now, until, MOST_ANNOUNCED));
        due.map(|due| (due.since(now).as_secs_f64(), 1)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn stored(name: &str, revision: u64, definition: &str) -> StoredSchedule {
        let state = serde_json::to_string(&ScheduleState::new(at(0))).unwrap();
        StoredSchedule { name: ScheduleName::new(name).unwrap(), revision, definition: definition.to_owned(), state }
    }

    #[test]
    fn a_book_reads_what_changed_and_says_what_is_due_and_announced() {
        let book = ScheduleBook::default();
        let every = stored("a", 7, r#"{"name":"a","pool":"p","every":"10s","input":1}"#);
        let broken = stored("b", 3, "{");
        let revisions = vec![(every.name.clone(), 7), (broken.name.clone(), 3)];
        assert_eq!(book.compare(&revisions).len(), 2);
        book.learn(&every, at(1));
        book.learn(&broken, at(1));
        assert!(book.compare(&revisions).is_empty(), "one that cannot be read is not read again and again");
        assert_eq!((book.next(), book.due(at(9))), (Some(at(10)), vec![]));
        assert_eq!(book.due(at(10)), [(every.name.clone(), PoolName::new("p").unwrap())]);
        let pool = PoolName::new("p").unwrap();
        assert_eq!(book.announced(&pool, at(4), at(30)), [(6.0, 1), (16.0, 1), (26.0, 1)]);
        assert!(book.announced(&PoolName::new("q").unwrap(), at(4), at(30)).is_empty());
        assert_eq!(book.compare(&[(every.name.clone(), 8)]), [every.name]);
    }

    #[test]
    fn a_problem_is_news_once() {
        let book = ScheduleBook::default();
        let every = stored("a", 7, r#"{"name":"a","pool":"p","every":"10s","input":1}"#);
        book.learn(&every, at(1));
        assert!(book.note_problem(&every.name, Some("full: 5".to_owned())));
        assert!(!book.note_problem(&every.name, Some("full: 6".to_owned())));
        assert_eq!(book.problem(&every.name).as_deref(), Some("full: 6"));
        assert!(!book.note_problem(&every.name, None) && book.problem(&every.name).is_none());
    }
}

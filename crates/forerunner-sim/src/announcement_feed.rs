//! The announced tasks of a trace at each moment.

use std::collections::BTreeMap;

use crate::trace::TraceTask;

/// Announcements that an observation lists at most; of more the nearest.
const MOST: usize = 4_096;

/// The announced tasks of a trace, as time passes.
pub(crate) struct AnnouncementFeed {
    /// Future announcements, the next one last: time of the announcement, and arrival of the task.
    to_come: Vec<(f64, f64)>,
    /// Announced tasks that have not arrived, by the bits of their arrival, which sort like times of at least 0.
    known: BTreeMap<u64, u64>,
    /// How many seconds ahead observations list announced tasks.
    ahead_s: f64,
}

impl AnnouncementFeed {
    /// Observations list tasks that arrive within `ahead_s` seconds.
    pub fn new(tasks: &[TraceTask], ahead_s: f64) -> Self {
        let early =
            tasks.iter().filter_map(|task| Some((task.announced_s?, task.arrival_s))).filter(|(at, due)| at < due);
        let mut to_come: Vec<_> = early.collect();
        to_come.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self { to_come, known: BTreeMap::new(), ahead_s }
    }

    /// Lists the announced tasks at `now`: seconds until they arrive, and their number.
    pub fn list(&mut self, now: f64, out: &mut Vec<(f64, u64)>) {
        while let Some((_, due)) = self.to_come.pop_if(|(at, _)| *at <= now) {
            *self.known.entry(due.to_bits()).or_default() += 1;
        }
        while self.known.first_key_value().is_some_and(|(due, _)| f64::from_bits(*due) <= now) {
            self.known.pop_first();
        }
        let ahead = self.known.range(..=(now + self.ahead_s).to_bits()).take(MOST);
        out.extend(ahead.map(|(due, tasks)| (f64::from_bits(*due) - now, *tasks)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_listed_from_its_announcement_to_its_arrival() {
        let task = |arrival_s, announced_s| TraceTask { arrival_s, announced_s, ..TraceTask::default() };
        let tasks = [task(5.0, None), task(30.0, Some(-4.0)), task(40.0, Some(10.0)), task(40.0, Some(12.0))];
        let mut announcements = AnnouncementFeed::new(&tasks, 60.0);
        let mut at = |now| {
            let mut out = Vec::new();
            announcements.list(now, &mut out);
            out
        };
        assert_eq!(at(0.0), [(30.0, 1)]);
        assert_eq!(at(11.0), [(19.0, 1), (29.0, 1)]);
        assert_eq!(at(29.0), [(1.0, 1), (11.0, 2)]);
        assert_eq!(at(30.0), [(10.0, 2)]);
        assert_eq!(at(41.0), []);
    }
}

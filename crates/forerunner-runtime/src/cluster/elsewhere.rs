//! The events of a pool on other nodes, combined from their reports.

use super::report::PoolReport;
use crate::queue::{
    sample::{QueueSample, SAMPLES},
    tail::{Tail, with_sessions},
    totals::QueueTotals,
};

/// What other nodes have counted since this node knew them first, with the last single events.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    totals: QueueTotals,
    arrived: Tail,
    sessions: Tail,
    completed: Tail,
}

impl Elsewhere {
    /// Adds what a node reported at `now_s` beyond its report `before`. If a report lacks some single events, all of
    /// them are dropped, and only their number counts.
    pub(crate) fn add(&mut self, before: &PoolReport, now: &PoolReport, now_s: f64) {
        let counts = now.totals.since(&before.totals);
        let arrived = now.recent.arrived.all_after(before.recent.arrived.end());
        let arrived: Vec<_> = arrived.map(|(task, ago)| (task, now_s - ago)).collect();
        let completed: Vec<_> = now.recent.completed.all_after(before.recent.completed.end()).collect();
        let sessions: Vec<_> = now.recent.sessions.all_after(before.recent.sessions.end()).collect();
        self.totals.add(&counts);
        self.sessions.add(counts.arrivals, &sessions, SAMPLES);
        self.arrived.add(counts.arrivals, &arrived, SAMPLES);
        self.completed.add(counts.completions, &completed, SAMPLES);
    }

    /// Adds the counters to `sample`, with the single events after `seen`.
    pub(crate) fn add_to(&self, sample: &mut QueueSample, seen: &QueueTotals) {
        let long = |(task, value)| (u64::from(task), value);
        sample.mark.elsewhere = self.totals;
        let sessions = self.sessions.all_after(seen.arrivals).collect();
        sample.arrived.extend(with_sessions(self.arrived.all_after(seen.arrivals).collect(), sessions));
        sample.completed.extend(self.completed.all_after(seen.completions).map(long));
        sample.arrived.sort_by(|one, other| one.at.total_cmp(&other.at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::recent::MOST, queue::sample::QueueActivity};

    fn activity(arrived: &[(u64, f64)], completed: &[(u64, f64)]) -> QueueActivity {
        QueueActivity {
            counts: QueueTotals {
                arrivals: arrived.len() as u64,
                completions: completed.len() as u64,
                ..QueueTotals::default()
            },
            arrived: arrived.iter().map(|event| (*event).into()).collect(),
            completed: completed.to_vec(),
            ..QueueActivity::default()
        }
    }

    /// The report of a node at `now_s` after these activities.
    fn report(happened: &[QueueActivity], now_s: f64) -> PoolReport {
        let mut report = PoolReport::default();
        for activity in happened {
            report.totals.add(&activity.counts);
            report.recent.add(activity);
        }
        PoolReport { recent: report.recent.aged_at(now_s), ..report }
    }

    fn read(elsewhere: &Elsewhere, seen: &QueueTotals) -> QueueSample {
        let mut sample = QueueSample::default();
        elsewhere.add_to(&mut sample, seen);
        sample
    }

    #[test]
    fn each_reader_gets_events_once_with_their_age() {
        let one = activity(&[(1, 10.0), (2, 10.5)], &[]);
        let two = activity(&[(3, 11.25)], &[(1, 0.75)]);
        let (first, second) = (report(std::slice::from_ref(&one), 11.0), report(&[one, two], 12.0));
        let mut elsewhere = Elsewhere::default();
        elsewhere.add(&PoolReport::default(), &first, 500.0);
        let seen = read(&elsewhere, &QueueTotals::default()).mark.elsewhere;
        elsewhere.add(&first, &second, 501.0);
        let got = read(&elsewhere, &seen);
        assert_eq!((got.arrived, got.completed), (vec![(3, 500.25).into()], vec![(1, 0.75)]));
        let got = read(&elsewhere, &QueueTotals::default());
        assert_eq!(got.arrived, [(1, 499.0), (2, 499.5), (3, 500.25)].map(Into::into), "who has seen nothing gets all");
        assert_eq!(got.mark.elsewhere.since(&seen).arrivals, 1);
    }

    #[test]
    fn what_is_not_known_in_full_is_not_told() {
        let mut unlisted = activity(&[(1, 1.0)], &[(7, 1.0)]);
        unlisted.counts.arrivals = 2;
        let reported = report(&[unlisted, activity(&[(2, 2.0)], &[])], 9.0);
        let mut elsewhere = Elsewhere::default();
        elsewhere.add(&PoolReport::default(), &reported, 9.0);
        let got = read(&elsewhere, &QueueTotals::default());
        assert_eq!((got.arrived, got.completed), (vec![], vec![(7, 1.0)]));
        assert_eq!(got.mark.elsewhere.arrivals, 3);
        let many: Vec<_> = (0..MOST as u64 + 1).map(|task| (task, 3.0)).collect();
        let reported = report(&[activity(&many, &[])], 9.0);
        let mut elsewhere = Elsewhere::default();
        elsewhere.add(&PoolReport::default(), &reported, 9.0);
        assert_eq!(read(&elsewhere, &QueueTotals::default()).arrived, []);
    }
}

//! Where claims begin, while claimed rows cannot be vacuumed.
//!
//! Claims walk the index of claimable tasks in its order. A claimed row stays at its head until a vacuum, which must
//! retain all rows that the oldest snapshot of any session may see. While one is open for long, each claim would walk
//! past all rows claimed since. So a scan walks all of the index now and then, beside the claims, and claims begin
//! where it found the first task; in between, once a second, a scan walks from there on.
//!
//! Below a cursor there may still be tasks: of a transaction that was in progress during the scan, or re-queued by
//! another node. Tasks of this node lower its cursor at once. A cursor rises only to where two scans found nothing, and
//! any scan that finds a task lowers it. So a task is missed until the next full scan at most, and only by nodes that
//! use cursors, which they do while there are many dead rows.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};

use deadpool_postgres::Object;
use forerunner_core::PoolName;
use tokio::time::Instant;
use tokio_postgres::types::{ToSql, Type};

use crate::rows::QueueKey;

/// Dead rows from which on cursors are used: walking past fewer takes no longer than the rest of a claim.
const MANY: i64 = 10_000;
/// Time between two scans, and between two counts of dead rows. A full scan takes a twentieth of the time at most, up
/// to the longest of these.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Cursors that no scan has confirmed for this long do not count: a scan waits for a vacuum.
const LASTS: Duration = Duration::from_secs(90);

/// How many urgencies there are.
const URGENCIES: usize = 10;
/// When a task became due, and its row: its place among those that are as urgent.
pub(crate) type Place = (i64, i64);
/// Before every task.
const START: Place = (i64::MIN, i64::MIN);

const DEAD: &str = "SELECT pg_stat_get_dead_tuples('ready'::regclass)";

/// What is known of the tasks of one pool and urgency.
#[derive(Debug, Default, Clone, Copy)]
struct ScanCursor {
    /// Where claims begin.
    at: Option<Place>,
    /// The first place that had a task, or may get one, at the newest scan.
    first: Option<Place>,
    /// The last place that was claimed.
    taken: Option<Place>,
    /// The lowest place of a task of this node since the newest scan began, and between that and the one before.
    put: [Option<Place>; 2],
}

impl ScanCursor {
    fn put(&mut self, place: Place) {
        self.at = self.at.map(|at| at.min(place));
        self.put[0] = Some(self.put[0].map_or(place, |put| put.min(place)));
    }

    fn begin_look(&mut self) {
        self.put = [None, self.put[0]];
    }

    /// Records that a scan found its first task there, or none.
    fn raise(&mut self, found: Option<Place>, taken: Option<Place>) {
        let before = self.first;
        self.first = found.or(taken);
        self.at = match (before, self.first) {
            (Some(before), Some(first)) => self.put.into_iter().flatten().chain([before.min(first)]).min(),
            _ => None,
        };
    }
}

type Pool = [ScanCursor; URGENCIES];

/// The floors of one node.
#[derive(Debug, Default)]
pub(crate) struct ScanCursors {
    is_on: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    pools: HashMap<PoolName, Pool>,
    /// The end of the newest full scan.
    looked_at: Option<Instant>,
    /// When the next one may begin.
    next: Option<Instant>,
}

/// Which claimable tasks a node (`$4`) may have at a time (`$2`, or by the clock of the database if `$5`).
macro_rules! may_be_claimed {
    () => {
        "AND (deadline IS NULL OR deadline > $2) AND (preferred_node IS NULL OR preferred_node = $4 OR preferred_until <= \
         CASE WHEN $5 THEN (extract(epoch FROM clock_timestamp()) * 1000000)::int8 ELSE $2 END) "
    };
}
pub(crate) use may_be_claimed;

/// The claimable tasks of a pool (`$1`) from its floors on, in the order of claims, as `r`. `$cursors` is the parameter that
/// [`ScanCursors::of`] answers.
///
/// One walk for each urgency, the most urgent first, and none of those that the limit makes needless.
macro_rules! from_floors {
    ($cursors:literal, $columns:literal, $rest:expr) => {
        concat!(
            "generate_series(0, 9) AS f (urgency), LATERAL (SELECT ",
            $columns,
            " FROM ready WHERE pool = $1 AND ready.urgency = f.urgency AND (due, task) >= (",
            $cursors,
            "[2 * f.urgency + 1], ",
            $cursors,
            "[2 * f.urgency + 2]) ",
            $rest,
            ") r"
        )
    };
}
pub(crate) use from_floors;

/// The first claimable task of each urgency, whether or not it can be claimed just now.
const FIRSTS: &str =
    concat!("SELECT f.urgency, r.due, r.task FROM ", from_floors!("$2", "due, task", "ORDER BY due, task LIMIT 1"));

impl ScanCursors {
    /// Where claims of a pool begin: due and row for each urgency, the most urgent first. None if that is the start.
    pub fn of(&self, pool: &PoolName) -> Option<Vec<i64>> {
        if !self.is_on.load(Ordering::SeqCst) {
            return None;
        }
        let mut known = self.known();
        let is_new = known.looked_at.is_some_and(|at| at.elapsed() < LASTS);
        let cursors = known.pools.entry(pool.clone()).or_default();
        let is_any = is_new && cursors.iter().any(|floor| floor.at.is_some());
        is_any.then(|| cursors.iter().flat_map(|floor| <[i64; 2]>::from(floor.at.unwrap_or(START))).collect())
    }

    /// Notes that a task is about to be claimable.
    pub fn put(&self, pool: &PoolName, urgency: i16, place: Place) {
        self.change(pool, urgency, |floor| floor.put(place));
    }

    /// Notes that a task was claimed.
    pub fn take(&self, spot: &QueueKey) {
        self.change(&spot.pool, spot.urgency(), |floor| floor.taken = floor.taken.max(Some(spot.place())));
    }

    fn change(&self, pool: &PoolName, urgency: i16, change: impl FnOnce(&mut ScanCursor)) {
        if !self.is_on.load(Ordering::SeqCst) {
            return;
        }
        let mut known = self.known();
        let cursors = known.pools.entry(pool.clone()).or_default();
        change(&mut cursors[usize::from(urgency.unsigned_abs()).min(URGENCIES - 1)]);
    }

    /// Scans if there are many dead rows: all of the index, or from the cursors on. Returns the time until the next
    /// scan.
    pub async fn look(&self, client: &Object) -> Result<Duration, tokio_postgres::Error> {
        let dead: i64 = client.query_typed(DEAD, &[]).await?.first().map_or(Ok(0), |row| row.try_get(0))?;
        if dead < MANY {
            self.is_on.store(false, Ordering::SeqCst);
            *self.known() = Known::default();
            return Ok(PAUSES.0);
        }
        self.is_on.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        let is_of_all = self.known().next.is_none_or(|next| next <= begun);
        for (pool, cursors) in self.begin_look() {
            // What a plan made of statistics would do to a table that has changed since is read all of it.
            client.batch_execute("BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off").await?;
            let from = cursors.map(|floor| floor.at.filter(|_| !is_of_all).unwrap_or(START));
            let from: Vec<i64> = from.into_iter().flat_map(<[i64; 2]>::from).collect();
            let params: [(&(dyn ToSql + Sync), Type); 2] = [(&pool.as_str(), Type::TEXT), (&from, Type::INT8_ARRAY)];
            let rows = client.query_typed(FIRSTS, &params).await;
            client.batch_execute("COMMIT").await?;
            let mut found = [None; URGENCIES];
            for row in rows? {
                let (urgency, due, task): (i32, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                found[urgency.unsigned_abs() as usize] = Some((due, task));
            }
            self.end_look(&pool, found, cursors.map(|floor| floor.taken));
        }
        let pause = (begun.elapsed() * 20).clamp(PAUSES.0, PAUSES.1);
        if !is_of_all {
            return Ok(pause);
        }
        let (mut known, now) = (self.known(), Instant::now());
        (known.looked_at, known.next) = (Some(now), Some(now + pause));
        Ok(PAUSES.0)
    }

    /// The pools to scan, and what is known of each.
    fn begin_look(&self) -> Vec<(PoolName, Pool)> {
        let mut known = self.known();
        let begin = |(pool, cursors): (&PoolName, &mut Pool)| {
            cursors.iter_mut().for_each(ScanCursor::begin_look);
            (pool.clone(), *cursors)
        };
        known.pools.iter_mut().map(begin).collect()
    }

    fn end_look(&self, pool: &PoolName, found: [Option<Place>; URGENCIES], taken: [Option<Place>; URGENCIES]) {
        let mut known = self.known();
        let Some(cursors) = known.pools.get_mut(pool) else { return };
        for (floor, (found, taken)) in cursors.iter_mut().zip(found.into_iter().zip(taken)) {
            floor.raise(found, taken);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tasks added since the scan before, tasks claimed by then, and the result of the scan.
    type Peek<'a> = (&'a [Place], Option<Place>, Option<Place>);

    fn floor_after(looks: &[Peek]) -> ScanCursor {
        let mut floor = ScanCursor::default();
        for (puts, taken, found) in looks {
            puts.iter().for_each(|place| floor.put(*place));
            floor.taken = floor.taken.max(*taken);
            floor.begin_look();
            floor.raise(*found, floor.taken);
        }
        floor
    }

    #[test]
    fn a_floor_is_raised_to_where_two_looks_found_nothing() {
        let (five, nine) = (Some((5, 0)), Some((9, 0)));
        let cases: [(&[Peek], _); 7] = [
            (&[(&[], None, five)], None),
            (&[(&[], None, five), (&[], None, nine)], five),
            (&[(&[], None, nine), (&[], None, five)], five),
            // Nothing is there: then from the last claimed place.
            (&[(&[], five, None), (&[], nine, None)], five),
            (&[(&[], None, None), (&[], nine, None)], None),
            // An added task may not be visible to the scans yet.
            (&[(&[], None, five), (&[(3, 0)], None, nine)], Some((3, 0))),
            (&[(&[], None, five), (&[(3, 0)], None, nine), (&[], None, nine)], nine),
        ];
        for (looks, at) in cases {
            assert_eq!(floor_after(looks).at, at, "{looks:?}");
        }
    }

    #[test]
    fn a_floor_is_lowered_at_once_and_raised_again_after_two_looks() {
        let nine: Peek = (&[], None, Some((9, 0)));
        let mut floor = floor_after(&[nine, nine]);
        floor.put((12, 0));
        assert_eq!(floor.at, Some((9, 0)));
        floor.put((4, 0));
        assert_eq!(floor.at, Some((4, 0)));
        let raised = [1, 2, 3].map(|_| {
            floor.begin_look();
            floor.raise(Some((9, 0)), None);
            floor.at
        });
        assert_eq!(raised, [Some((4, 0)), Some((9, 0)), Some((9, 0))]);
    }

    #[test]
    fn floors_that_no_look_confirms_do_not_count() {
        let (cursors, pool) = (ScanCursors::default(), PoolName::new("coder").unwrap());
        cursors.is_on.store(true, Ordering::SeqCst);
        assert_eq!(cursors.of(&pool), None, "nothing is known");
        for _ in 0..2 {
            let (name, known) = cursors.begin_look().pop().expect("it was claimed from");
            cursors.end_look(&name, [Some((7, 1)); URGENCIES], known.map(|floor| floor.taken));
        }
        assert_eq!(cursors.of(&pool), None, "no look is over");
        cursors.known().looked_at = Some(Instant::now());
        assert_eq!(cursors.of(&pool), Some([7, 1].repeat(URGENCIES)));
        cursors.put(&pool, 2, (3, 0));
        assert_eq!(cursors.of(&pool).expect("it is confirmed")[4..6], [3, 0]);
        cursors.known().looked_at = Instant::now().checked_sub(LASTS);
        assert_eq!(cursors.of(&pool), None, "it is long ago");
    }
}

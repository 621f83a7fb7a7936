//! Where claims begin, while many claimed rows are ahead of the claimable ones.
//!
//! Claims walk the index of the queue in its order. A task stays there while it runs, and its dead row until a vacuum,
//! which must retain all rows that the oldest snapshot of any session may see. With many of both, each claim would walk
//! past all of them. So a scan walks all of the index now and then, beside the claims, and claims begin where it found
//! the first task; in between, once a second, a scan walks from there on.
//!
//! Below a cursor there may still be tasks: of a transaction that was in progress during the scan, or re-queued by
//! another node. Tasks of this node lower its cursor at once. A cursor rises only to where two scans found nothing, and
//! any scan that finds a task lowers it. So a task is missed until the next full scan at most, and only by nodes that
//! use cursors.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};

use deadpool_postgres::Object;
use forerunner_core::{PoolName, SchedulingKey};
use tokio::time::Instant;
use tokio_postgres::types::{ToSql, Type};

/// Dead rows from which on cursors are used: walking past fewer takes no longer than the rest of a claim.
const MANY: i64 = 10_000;
/// Time between two scans, and between two counts of dead rows. A full scan takes a twentieth of the time at most, up
/// to the longest of these.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Cursors that no scan has confirmed for this long do not count: a scan waits for a vacuum.
const LASTS: Duration = Duration::from_secs(90);

/// The same for leases of this node, whose rows are in the index as well.
const MANY_LEASES: i64 = 500;

const URGENCIES: usize = SchedulingKey::URGENCIES;

const DEAD: &str = "SELECT pg_stat_get_dead_tuples('live'::regclass)";

/// What is known of the tasks of one pool and urgency.
#[derive(Debug, Default, Clone, Copy)]
struct ScanCursor {
    /// Where claims begin.
    at: Option<SchedulingKey>,
    /// The first place that had a task, or may get one, at the newest scan.
    first: Option<SchedulingKey>,
    /// The last place that was claimed.
    taken: Option<SchedulingKey>,
    /// The lowest place of a task of this node since the newest scan began, and between that and the one before.
    put: [Option<SchedulingKey>; 2],
}

impl ScanCursor {
    fn put(&mut self, key: SchedulingKey) {
        self.at = self.at.map(|at| at.min(key));
        self.put[0] = Some(self.put[0].map_or(key, |put| put.min(key)));
    }

    fn begin_scan(&mut self) {
        self.put = [None, self.put[0]];
    }

    /// Records that a scan found its first task there, or none.
    fn raise(&mut self, found: Option<SchedulingKey>, taken: Option<SchedulingKey>) {
        let before = self.first;
        self.first = found.or(taken);
        self.at = match (before, self.first) {
            (Some(before), Some(first)) => self.put.into_iter().flatten().chain([before.min(first)]).min(),
            _ => None,
        };
    }
}

type Pool = [ScanCursor; URGENCIES];

/// The cursors of one node.
#[derive(Debug, Default)]
pub(crate) struct ScanCursors {
    is_on: AtomicBool,
    /// Leases given to this node, less those that have ended.
    leases: AtomicI64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    pools: HashMap<PoolName, Pool>,
    /// The end of the newest full scan.
    scanned_at: Option<Instant>,
    /// When the next one may begin.
    next: Option<Instant>,
}

/// Which claimable tasks a node (`$4`) may have at a time (`$2`, or by the clock of the database if `$5`).
macro_rules! may_be_claimed {
    () => {
        "AND queue_key IS NOT NULL AND state = 1 AND (deadline IS NULL OR deadline > $2) AND (preferred_node IS NULL OR preferred_node = $4 OR preferred_until <= \
         CASE WHEN $5 THEN (extract(epoch FROM clock_timestamp()) * 1000000)::int8 ELSE $2 END) "
    };
}
pub(crate) use may_be_claimed;

/// The queued tasks of a pool (`$1`) from its cursors on, in the order of claims, as `r`. `$cursors` is the parameter
/// that [`ScanCursors::of`] returns.
///
/// One walk for each urgency, the most urgent first, and none of those that the limit makes needless.
macro_rules! from_floors {
    ($cursors:literal, $columns:literal, $rest:expr) => {
        concat!(
            "generate_series(0, 9) AS f (urgency), LATERAL (SELECT ",
            $columns,
            " FROM live WHERE pool = $1 AND queue_key >= ",
            $cursors,
            "[2 * f.urgency + 1] AND queue_key < ",
            $cursors,
            "[2 * f.urgency + 2] ",
            $rest,
            ") r"
        )
    };
}
pub(crate) use from_floors;

/// The first claimable task of each urgency, whether or not it can be claimed just now.
const FIRSTS: &str =
    concat!("SELECT r.queue_key FROM ", from_floors!("$2", "queue_key", "AND state = 1 ORDER BY queue_key LIMIT 1"));

impl ScanCursors {
    /// Where claims of a pool begin and end: two keys for each urgency, the most urgent first. `None` if claims are to
    /// begin at the start.
    pub fn of(&self, pool: &PoolName) -> Option<Vec<Vec<u8>>> {
        if !self.is_on.load(Ordering::SeqCst) {
            return None;
        }
        let mut known = self.known();
        let is_new = known.scanned_at.is_some_and(|at| at.elapsed() < LASTS);
        let cursors = known.pools.entry(pool.clone()).or_default();
        let is_any = is_new && cursors.iter().any(|cursor| cursor.at.is_some());
        is_any.then(|| bounds(cursors.map(|cursor| cursor.at)))
    }

    /// Notes that leases were given to this node, or have ended if the number is negative.
    pub fn note_leases(&self, count: i64) {
        self.leases.fetch_add(count, Ordering::Relaxed);
    }

    /// Notes that a task is about to be claimable.
    pub fn put(&self, pool: &PoolName, key: SchedulingKey) {
        self.change(pool, key, |cursor| cursor.put(key));
    }

    /// Notes that a task was claimed.
    pub fn take(&self, pool: &PoolName, key: SchedulingKey) {
        self.change(pool, key, |cursor| cursor.taken = cursor.taken.max(Some(key)));
    }

    fn change(&self, pool: &PoolName, key: SchedulingKey, change: impl FnOnce(&mut ScanCursor)) {
        if !self.is_on.load(Ordering::SeqCst) {
            return;
        }
        let mut known = self.known();
        let cursors = known.pools.entry(pool.clone()).or_default();
        change(&mut cursors[key.urgency()]);
    }

    /// Scans if there are many dead or leased rows: all of the index, or from the cursors on. Returns the time until the next
    /// scan.
    pub async fn scan(&self, client: &Object) -> Result<Duration, tokio_postgres::Error> {
        let dead: i64 = client.query_typed(DEAD, &[]).await?.first().map_or(Ok(0), |row| row.try_get(0))?;
        if dead < MANY && self.leases.load(Ordering::Relaxed) < MANY_LEASES {
            self.is_on.store(false, Ordering::SeqCst);
            *self.known() = Known::default();
            return Ok(PAUSES.0);
        }
        self.is_on.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        let is_of_all = self.known().next.is_none_or(|next| next <= begun);
        for (pool, cursors) in self.begin_scan() {
            // What a plan made of statistics would do to a table that has changed since is read all of it.
            client.batch_execute("BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off").await?;
            let from = bounds(cursors.map(|cursor| cursor.at.filter(|_| !is_of_all)));
            let params: [(&(dyn ToSql + Sync), Type); 2] = [(&pool.as_str(), Type::TEXT), (&from, Type::BYTEA_ARRAY)];
            let rows = client.query_typed(FIRSTS, &params).await;
            client.batch_execute("COMMIT").await?;
            let mut found = [None; URGENCIES];
            for row in rows? {
                let key: Option<SchedulingKey> = SchedulingKey::from_bytes(row.try_get(0)?);
                found[key.map_or(0, |key| key.urgency())] = key;
            }
            self.end_scan(&pool, found, cursors.map(|cursor| cursor.taken));
        }
        let pause = (begun.elapsed() * 20).clamp(PAUSES.0, PAUSES.1);
        if !is_of_all {
            return Ok(pause);
        }
        let (mut known, now) = (self.known(), Instant::now());
        (known.scanned_at, known.next) = (Some(now), Some(now + pause));
        Ok(PAUSES.0)
    }

    /// The pools to scan, and what is known of each.
    fn begin_scan(&self) -> Vec<(PoolName, Pool)> {
        let mut known = self.known();
        let begin = |(pool, cursors): (&PoolName, &mut Pool)| {
            cursors.iter_mut().for_each(ScanCursor::begin_scan);
            (pool.clone(), *cursors)
        };
        known.pools.iter_mut().map(begin).collect()
    }

    fn end_scan(
        &self,
        pool: &PoolName,
        found: [Option<SchedulingKey>; URGENCIES],
        taken: [Option<SchedulingKey>; URGENCIES],
    ) {
        let mut known = self.known();
        let Some(cursors) = known.pools.get_mut(pool) else { return };
        for (cursor, (found, taken)) in cursors.iter_mut().zip(found.into_iter().zip(taken)) {
            cursor.raise(found, taken);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }
}

/// Where walks begin, or the start of each urgency, and where each ends.
fn bounds(from: [Option<SchedulingKey>; URGENCIES]) -> Vec<Vec<u8>> {
    let bounds = from.into_iter().enumerate().flat_map(|(urgency, from)| {
        [from.unwrap_or(SchedulingKey::first_of(urgency)), SchedulingKey::first_of(urgency + 1)]
    });
    bounds.map(|key| key.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use forerunner_core::{Priority, TaskId, Timestamp};

    use super::*;

    /// A key of the urgency 5.
    fn key(due: i64) -> SchedulingKey {
        SchedulingKey::new(
            Priority::new(4).unwrap(),
            0,
            Timestamp::from_micros(due),
            TaskId::from_uuid(uuid::Uuid::nil()),
        )
    }

    /// The due times of tasks added since the scan before, of the last claimed one by then, and of the one it found.
    type Scan<'a> = (&'a [i64], Option<i64>, Option<i64>);

    fn cursor_after(scans: &[Scan]) -> ScanCursor {
        let mut cursor = ScanCursor::default();
        for (puts, taken, found) in scans {
            puts.iter().for_each(|due| cursor.put(key(*due)));
            cursor.taken = cursor.taken.max(taken.map(key));
            cursor.begin_scan();
            cursor.raise(found.map(key), cursor.taken);
        }
        cursor
    }

    #[test]
    fn a_cursor_is_raised_to_where_two_scans_found_nothing() {
        let (five, nine) = (Some(5), Some(9));
        let cases: [(&[Scan], _); 7] = [
            (&[(&[], None, five)], None),
            (&[(&[], None, five), (&[], None, nine)], five),
            (&[(&[], None, nine), (&[], None, five)], five),
            // Nothing is there: then from the last claimed place.
            (&[(&[], five, None), (&[], nine, None)], five),
            (&[(&[], None, None), (&[], nine, None)], None),
            // An added task may not be visible to the scans yet.
            (&[(&[], None, five), (&[3], None, nine)], Some(3)),
            (&[(&[], None, five), (&[3], None, nine), (&[], None, nine)], nine),
        ];
        for (scans, at) in cases {
            assert_eq!(cursor_after(scans).at, at.map(key), "{scans:?}");
        }
    }

    #[test]
    fn a_cursor_is_lowered_at_once_and_raised_again_after_two_scans() {
        let nine: Scan = (&[], None, Some(9));
        let mut cursor = cursor_after(&[nine, nine]);
        cursor.put(key(12));
        assert_eq!(cursor.at, Some(key(9)));
        cursor.put(key(4));
        assert_eq!(cursor.at, Some(key(4)));
        let raised = [1, 2, 3].map(|_| {
            cursor.begin_scan();
            cursor.raise(Some(key(9)), None);
            cursor.at
        });
        assert_eq!(raised, [4, 9, 9].map(|due| Some(key(due))));
    }

    #[test]
    fn cursors_that_no_scan_confirms_do_not_count() {
        let (cursors, pool) = (ScanCursors::default(), PoolName::new("coder").unwrap());
        cursors.is_on.store(true, Ordering::SeqCst);
        assert_eq!(cursors.of(&pool), None, "nothing is known");
        for _ in 0..2 {
            let (name, known) = cursors.begin_scan().pop().expect("it was claimed from");
            let mut found = [None; URGENCIES];
            found[5] = Some(key(7));
            cursors.end_scan(&name, found, known.map(|cursor| cursor.taken));
        }
        assert_eq!(cursors.of(&pool), None, "no scan is over");
        cursors.known().scanned_at = Some(Instant::now());
        let from = |cursors: &ScanCursors| cursors.of(&pool).expect("it is confirmed")[10].clone();
        assert_eq!(from(&cursors), key(7).as_bytes());
        cursors.put(&pool, key(3));
        assert_eq!(from(&cursors), key(3).as_bytes());
        cursors.known().scanned_at = Instant::now().checked_sub(LASTS);
        assert_eq!(cursors.of(&pool), None, "it is long ago");
    }
}

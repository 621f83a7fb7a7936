//! Whether other nodes exist at all, which is known before their leases end.
//!
//! A node that listens has a lock of the database in that session. When its process dies, the operating system closes
//! the connection, and the database releases the lock: within milliseconds, where a lease lasts many seconds. A session
//! may also end while its node lives, with the network or with the database. So a node counts as gone only if another
//! one has seen it before, then has found it away at every check for some time, and its lease was not renewed in that
//! time. If this node could not check for a while, the others could not send heartbeats either, and their time begins
//! anew. Where nobody listens, as behind a pooler, leases alone decide.

use std::{collections::HashMap, sync::OnceLock, time::Duration};

use parking_lot::Mutex;

use forerunner_core::NodeId;
use tokio::time::Instant;
use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};

/// The first half of the locks; the other one is a hash of the node. "FrRn" in ASCII.
pub(crate) const CLASS: i32 = 0x4672_526e;

/// A check that comes later than this part of the allowed absence after the one before does not count on it.
const PAUSES: u32 = 3;

/// What this node knows of the others, and reports of itself.
#[derive(Debug)]
pub(crate) struct Liveness {
    own: OnceLock<NodeId>,
    gone_after: Duration,
    others: Mutex<Others>,
}

/// The results of this node's checks.
#[derive(Debug, Default)]
struct Others {
    seen: HashMap<NodeId, Seen>,
    checked_at: Option<Instant>,
}

/// How another node was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    There,
    /// Since when, and until when its lease was to last then.
    Away(Instant, i64),
}

/// A node in the result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub node: NodeId,
    pub lease_until: i64,
    pub is_there: bool,
}

impl Liveness {
    pub fn new(gone_after: Duration) -> Self {
        Self { own: OnceLock::new(), gone_after, others: Mutex::default() }
    }

    /// Acquires the lock of this node in a session, for as long as that lasts; returns whether it has it. It does not
    /// before the first heartbeat, or during a check.
    pub async fn acquire(&self, client: &Client) -> Result<bool, tokio_postgres::Error> {
        let Some(own) = self.own.get() else { return Ok(false) };
        let sql = "SELECT pg_try_advisory_lock($1, hashtext($2::uuid::text))";
        let params: [(&(dyn ToSql + Sync), Type); 2] = [(&CLASS, Type::INT4), (own.as_uuid(), Type::UUID)];
        let rows = client.query_typed(sql, &params).await?;
        rows.first().map_or(Ok(false), |row| row.try_get(0))
    }

    /// Sets which node this is: the first one that sends a heartbeat.
    pub fn note_own(&self, own: NodeId) {
        self.own.get_or_init(|| own);
    }

    /// Records the result of a check of all other nodes; returns which are gone.
    pub fn note(&self, found: &[Found], now: Instant) -> Vec<Found> {
        let mut others = self.others.lock();
        let checked_at = others.checked_at.replace(now);
        let is_continuous = checked_at.is_some_and(|at| now.duration_since(at) <= self.gone_after / PAUSES);
        let others = &mut others.seen;
        others.retain(|node, _| found.iter().any(|found| found.node == *node));
        let mut gone = Vec::new();
        for found in found {
            let seen = match (found.is_there, others.get(&found.node)) {
                (true, _) => Seen::There,
                // Never seen there: it may be one that does not listen.
                (false, None) => continue,
                (false, Some(Seen::Away(since, until))) if is_continuous && *until == found.lease_until => {
                    Seen::Away(*since, *until)
                }
                (false, Some(_)) => Seen::Away(now, found.lease_until),
            };
            others.insert(found.node, seen);
            if matches!(seen, Seen::Away(since, _) if now.duration_since(since) >= self.gone_after) {
                gone.push(*found);
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(8);

    /// Checks once a second; returns at which check the node was gone.
    fn gone_at(checks: &[(bool, i64)]) -> Vec<usize> {
        let (liveness, begun) = (Liveness::new(AFTER), Instant::now());
        let node = NodeId::from_uuid(uuid::Uuid::max());
        let gone = checks.iter().enumerate().filter(|(second, (is_there, lease_until))| {
            let found = Found { node, lease_until: *lease_until, is_there: *is_there };
            !liveness.note(&[found], begun + Duration::from_secs(*second as u64)).is_empty()
        });
        gone.map(|(second, _)| second).collect()
    }

    #[test]
    fn a_node_that_stays_away_without_a_heartbeat_is_gone() {
        let mut all = vec![(true, 1); 2];
        all.extend(vec![(false, 1); 10]);
        assert_eq!(gone_at(&all), [10, 11], "first seen away at 2");
    }

    #[test]
    fn a_node_that_sends_heartbeats_or_comes_back_is_not_gone() {
        let beats: Vec<_> = (0..30).map(|second| (second == 0, second)).collect();
        assert_eq!(gone_at(&beats), [0; 0]);
        let comes_back: Vec<_> = (0..30).map(|second| (second % 8 == 0, 1)).collect();
        assert_eq!(gone_at(&comes_back), [0; 0]);
    }

    #[test]
    fn who_could_not_beat_because_the_database_was_away_has_its_time_again() {
        let liveness = Liveness::new(AFTER);
        let node = NodeId::from_uuid(uuid::Uuid::max());
        let begun = Instant::now();
        let is_gone = |is_there, second: f64| {
            let found = [Found { node, lease_until: 1, is_there }];
            !liveness.note(&found, begun + Duration::from_secs_f64(second)).is_empty()
        };
        assert!(!is_gone(true, 0.0) && !is_gone(false, 1.0));
        // No node could check, or send a heartbeat, for ten seconds.
        assert!(!is_gone(false, 11.0) && !is_gone(false, 13.0) && !is_gone(false, 15.0) && !is_gone(false, 17.0));
        assert!(is_gone(false, 19.0));
    }

    #[test]
    fn who_was_never_there_is_left_to_its_lease() {
        assert_eq!(gone_at(&[(false, 1); 30]), [0; 0]);
    }

    #[test]
    fn who_left_is_forgotten() {
        let liveness = Liveness::new(AFTER);
        let node = NodeId::from_uuid(uuid::Uuid::max());
        let found = |is_there| [Found { node, lease_until: 1, is_there }];
        let begun = Instant::now();
        assert_eq!(liveness.note(&found(true), begun), []);
        assert_eq!(liveness.note(&[], begun), []);
        assert_eq!(liveness.note(&found(false), begun), []);
        for second in 0..20 {
            let now = begun + Duration::from_secs(second);
            assert_eq!(liveness.note(&found(false), now), [], "it was not seen since it came again");
        }
    }
}

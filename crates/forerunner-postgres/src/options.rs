//! How the store is opened.

use std::time::Duration;

/// How a [`PostgresStore`](crate::PostgresStore) is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Most connections of this node, at least 1; by default 4. One is for maintenance; the others, one to three, run
    /// operations. One more receives notifications.
    pub connections: usize,
    /// Longest time to get a connection; by default 3 s.
    pub connect_timeout: Duration,
    /// Longest silence of the database in a transaction: until it has begun, the connection included, then in each
    /// statement and in the commit; by default 5 s. The server gets the same limit, and sent bytes may stay
    /// unacknowledged for as long.
    pub call_timeout: Duration,
    /// Time between two vacuums of the tables that change with every task, by one node at a time; by default 30 s.
    pub vacuum_every: Duration,
    /// Whether leases follow the clock of the database, as they must when several nodes share it. On by default. If
    /// off, they follow the times of the callers.
    pub database_time: bool,
    /// How long a node whose session has ended may be away without a heartbeat, until another node that listens ends
    /// its leases; by default 8 s. A lease ends after [`LEASE`](forerunner_store::LEASE) in any case.
    pub gone_after: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            connections: 4,
            connect_timeout: Duration::from_secs(3),
            call_timeout: Duration::from_secs(5),
            vacuum_every: Duration::from_secs(30),
            database_time: true,
            gone_after: Duration::from_secs(8),
        }
    }
}

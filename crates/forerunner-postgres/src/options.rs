//! How the store is opened.

use std::time::Duration;

/// How a [`PostgresStore`](crate::PostgresStore) is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Most connections of this node, at least 1; 4 unless said. One cleans up, the others run operations, three at most, one at
    /// least. One more hears other nodes.
    pub connections: usize,
    /// Longest time to get a connection; 3 s unless said.
    pub connect_timeout: Duration,
    /// Longest silence of the database in a transaction: until it has begun, a connection for it included, then in each
    /// statement and in the commit; 5 s unless said. The server is told the same, and it is how long sent bytes may stay
    /// unacknowledged.
    pub call_timeout: Duration,
    /// Time between two rounds of vacuuming the tables that change with every task, by one node at a time; 30 s unless said.
    pub vacuum_every: Duration,
    /// Whether leases follow the clock of the database, as they must when several nodes share it. On unless said; off,
    /// they follow the times that callers give.
    pub database_time: bool,
    /// How long a node whose session has ended may be away, without a beat, until its leases are ended by another one that
    /// listens; 8 s unless said. A lease ends after [`LEASE`](forerunner_store::LEASE) in any case.
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

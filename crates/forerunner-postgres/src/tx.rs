//! A transaction over a connection: sending statements, and the notifications once it is committed.
//!
//! Nothing here knows a table. The files above it have the statements, and `unit_of_work` runs them as one.

use std::{
    pin::pin,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};

use forerunner_core::TaskId;
use forerunner_store::Notification;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use crate::{
    failure::{Fault, Sql, ends_connection, reason},
    link::Link,
    node_state::NodeState,
    unread::Unread,
};

/// A parameter with its type, so that no statement has to be prepared under a name first.
pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// Why a statement that did not end in time was given up.
pub(crate) const SLOW: &str = "the database did not answer in time";

/// The connection inside a transaction.
pub(crate) struct Tx<'a> {
    pub link: &'a Link,
    /// When the server must have answered next, and the longest time between two of its answers.
    pub deadline: (Mutex<Instant>, Duration),
    /// Whether leases follow the clock of the database rather than the caller's.
    pub database_time: bool,
    /// The beginning of the transaction, until the first statement has included it: one round trip less.
    pub opening: Mutex<Option<String>>,
    /// The commit is sent together with the statements. So no request may depend on an answer: such requests are left
    /// open.
    pub is_short: bool,
    /// It ran before and was rolled back: what was new then may be known now.
    pub is_repeated: bool,
    /// The lease of this node was renewed a moment ago.
    pub is_renewed: bool,
    /// What the node knows in addition to the contents of the database.
    pub node: &'a NodeState,
    /// How many more tasks are claimable than when the transaction began.
    pub gained: AtomicI64,
    /// The notifications for other nodes once all is committed.
    pub hints: Mutex<Notification>,
    /// What could not be read, to be set aside once this is over.
    pub unread: Mutex<Vec<Unread>>,
}

impl Tx<'_> {
    pub async fn query(&self, sql: &str, params: &[Param<'_>]) -> Sql<Vec<Row>> {
        let Some(begin) = self.take_opening() else { return self.ask(sql, params).await };
        // Both are sent at once; the server runs them in order.
        let (begun, rows) = tokio::join!(self.send(&begin), self.ask(sql, params));
        begun.map_err(|error| match ends_connection(&error) {
            true => Fault::NotBegun(reason(&error)),
            false => Fault::OutcomeUnknown(reason(&error)),
        })?;
        rows
    }

    /// Sends a statement when it is polled first, by its name if it has one.
    async fn ask(&self, sql: &str, params: &[Param<'_>]) -> Sql<Vec<Row>> {
        let client = self.link.client();
        let rows = match self.link.named(sql) {
            Some(statement) => {
                let values: Vec<_> = params.iter().map(|(value, _)| *value).collect();
                client.query(&statement, &values).await
            }
            None => {
                self.link.want(sql, params.iter().map(|(_, kind)| kind.clone()));
                client.query_typed(sql, params).await
            }
        };
        self.note_heard();
        Ok(rows?)
    }

    /// Sends what begins or ends the transaction when it is polled first.
    pub async fn send(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        let sent = self.link.client().batch_execute(sql).await;
        self.note_heard();
        sent
    }

    fn note_heard(&self) {
        *self.deadline.0.lock() = Instant::now() + self.deadline.1;
    }

    /// Waits for the server, as long as it continues to answer.
    pub async fn with_deadline<T>(&self, work: impl Future<Output = T>) -> Sql<T> {
        let mut work = pin!(work);
        loop {
            let by = *self.deadline.0.lock();
            match timeout_at(by, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) if Instant::now() < *self.deadline.0.lock() => {}
                Err(_) => return Err(Fault::Slow(SLOW)),
            }
        }
    }

    /// What is still to begin the transaction: none once a statement was run.
    pub fn take_opening(&self) -> Option<String> {
        self.opening.lock().take()
    }

    /// Runs a statement that ends in `RETURNING`; answers how many rows it changed.
    pub async fn run(&self, sql: &str, params: &[Param<'_>]) -> Sql<usize> {
        Ok(self.query(sql, params).await?.len())
    }

    pub fn hints(&self) -> MutexGuard<'_, Notification> {
        self.hints.lock()
    }

    /// Notifies others of a task's end.
    pub fn note_end(&self, task: TaskId) {
        self.hints().ended.insert(task);
    }

    /// Notes a task to be set aside once this transaction is over.
    pub fn note_unread(&self, unread: Unread) {
        self.unread.lock().push(unread);
    }

    pub fn gained(&self) -> i64 {
        self.gained.load(Ordering::Relaxed)
    }
}

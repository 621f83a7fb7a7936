//! One group's transaction: the moves that keep tables and orders true together.
//!
//! Locks are taken in this order: the line of a context, then ready rows, then task rows. Where two groups meet in
//! another order, PostgreSQL ends one of them, and it is run again.

use std::{
    pin::pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use forerunner_core::{ContextId, PoolName, TaskError, TaskId, TaskState, Timestamp};
use forerunner_store::Hints;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use crate::{
    affinity::Which,
    bell::Bell,
    damaged::Unread,
    failure::{Fault, Sql, ends_connection, reason},
    floors::Floors,
    history::End,
    link::Link,
    presence::Presence,
    rows::{Spot, Stored, get, optional_time, priority, state, stored_or_damaged, task_columns, time, unread},
};

/// A parameter with its type, so that no statement has to be prepared under a name first.
pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// Why a statement that did not end in time was given up.
pub(crate) const SLOW: &str = "the database did not answer in time";

/// The rank of a task that waits in its context's line. Rank 0, one that runs, is given by the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    Joined = 1,
    Delayed = 2,
}

/// The connection inside a transaction.
pub(crate) struct Tx<'a> {
    pub link: &'a Link,
    /// When the server must have answered next, and the longest time between two of its answers.
    pub patience: (Mutex<Instant>, Duration),
    /// Whether leases follow the clock of the database rather than the caller's.
    pub database_time: bool,
    /// What begins the transaction, until the first statement has taken it along: one way to the server less.
    pub opening: Mutex<Option<String>>,
    /// The commit is sent along with the statements. So nothing may be asked that depends on an answer: what would have to be,
    /// is left open.
    pub is_short: bool,
    /// The lease of this node was renewed a moment ago.
    pub is_renewed: bool,
    /// Knows how many nodes there are to tell.
    pub bell: &'a Bell,
    /// Knows where claims begin.
    pub floors: &'a Floors,
    /// Knows which nodes are there.
    pub presence: &'a Presence,
    /// How many more tasks are claimable than when the transaction began.
    pub gained: AtomicI64,
    /// What the other nodes are to hear of once all is committed.
    pub hints: Mutex<Hints>,
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
            false => Fault::Astray(reason(&error)),
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
        *self.patience.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + self.patience.1;
    }

    /// Waits for work with the server, as long as that goes on answering.
    pub async fn patiently<T>(&self, work: impl Future<Output = T>) -> Sql<T> {
        let mut work = pin!(work);
        loop {
            let by = *self.patience.0.lock().unwrap_or_else(PoisonError::into_inner);
            match timeout_at(by, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) if Instant::now() < *self.patience.0.lock().unwrap_or_else(PoisonError::into_inner) => {}
                Err(_) => return Err(Fault::Slow(SLOW)),
            }
        }
    }

    /// What is still to begin the transaction: none once a statement was run.
    pub fn take_opening(&self) -> Option<String> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Runs a statement that ends in `RETURNING`; answers how many rows it changed.
    pub async fn run(&self, sql: &str, params: &[Param<'_>]) -> Sql<usize> {
        Ok(self.query(sql, params).await?.len())
    }

    /// Reads a task.
    pub async fn find(&self, task: TaskId) -> Sql<Option<Stored>> {
        if let Some(found) = self.find_unfinished(task).await? {
            return Ok(Some(found));
        }
        match self.find_ended(task).await? {
            Some(found) => Ok(Some(found)),
            // It may have been sent back to its queue between the two looks.
            None => self.find_unfinished(task).await,
        }
    }

    /// Reads a task that has not ended, or ended under an earlier version of the schema.
    pub async fn find_unfinished(&self, task: TaskId) -> Sql<Option<Stored>> {
        const SQL: &str = concat!(
            "SELECT ",
            task_columns!("o.output"),
            " FROM tasks t LEFT JOIN inputs i ON i.task = ANY (ARRAY[t.task]) LEFT JOIN outputs o ON o.task = t.task WHERE t.id = $1"
        );
        let rows = self.query(SQL, &[(task.as_uuid(), Type::UUID)]).await?;
        rows.first().map(stored_or_damaged).transpose()
    }

    /// Keeps other transactions out of a context's line until this one ends.
    pub async fn lock_line(&self, pool: &PoolName, context: &ContextId) -> Sql<()> {
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 0))::text";
        self.run(sql, &[(&pool.as_str(), Type::TEXT), (&context.as_str(), Type::TEXT)]).await.map(drop)
    }

    pub fn hints(&self) -> MutexGuard<'_, Hints> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells others of a task's end.
    pub fn tell_end(&self, task: TaskId) {
        self.hints().ended.insert(task);
    }

    pub fn gained(&self) -> i64 {
        self.gained.load(Ordering::Relaxed)
    }

    /// Makes a task claimable.
    pub async fn make_ready(&self, spot: &Spot) -> Sql<()> {
        let sql = "INSERT INTO ready (pool, urgency, due, task, deadline) VALUES ($1, $2, $3, $4, $5) RETURNING task";
        let deadline = spot.deadline.map(Timestamp::as_micros);
        let (urgency, due) = (spot.urgency(), spot.due.as_micros());
        let params = [
            (&spot.pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&urgency, Type::INT2),
            (&due, Type::INT8),
            (&spot.row, Type::INT8),
            (&deadline, Type::INT8),
        ];
        self.floors.put(&spot.pool, urgency, spot.place());
        self.run(sql, &params).await?;
        self.gained.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Makes a claimable task not so. [`Fault::Again`] when another node has claimed it meanwhile.
    pub async fn make_unready(&self, spot: &Spot) -> Sql<()> {
        let sql = "DELETE FROM ready WHERE pool = $1 AND urgency = $2 AND due = $3 AND task = $4 RETURNING task";
        let (urgency, due) = (spot.urgency(), spot.due.as_micros());
        let params = [
            (&spot.pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&urgency, Type::INT2),
            (&due, Type::INT8),
            (&spot.row, Type::INT8),
        ];
        if self.run(sql, &params).await? == 0 {
            return Err(Fault::Again);
        }
        self.gained.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    /// When the last of a line became due; none if nobody is in it.
    pub async fn last_due(&self, pool: &PoolName, context: &ContextId) -> Sql<Option<Timestamp>> {
        let sql = "SELECT due FROM line WHERE pool = $1 AND context = $2 AND rank <= 1 \
                   ORDER BY rank DESC, due DESC LIMIT 1";
        let rows = self.query(sql, &[(&pool.as_str(), Type::TEXT), (&context.as_str(), Type::TEXT)]).await?;
        rows.first().map(|row| time(row, 0)).transpose()
    }

    /// The task of a line that may be claimed: the first that became due, if it is queued and none runs.
    pub async fn head(&self, pool: &PoolName, context: &ContextId) -> Sql<Option<Spot>> {
        let sql = "SELECT l.rank, t.state, l.task, t.priority, l.due, t.deadline, t.id \
                   FROM line l JOIN tasks t ON t.task = ANY (ARRAY[l.task]) WHERE l.pool = $1 AND l.context = $2 \
                   ORDER BY l.rank, l.due, l.task LIMIT 1";
        let rows = self.query(sql, &[(&pool.as_str(), Type::TEXT), (&context.as_str(), Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let read = || {
            if get::<i16>(row, 0)? != Rank::Joined as i16 || state(row, 1)? != TaskState::Queued {
                return Ok(None);
            }
            let (due, deadline) = (time(row, 4)?, optional_time(row, 5)?);
            let priority = priority(row, 3)?.get();
            Ok(Some(Spot { pool: pool.clone(), row: get(row, 2)?, priority, due, deadline }))
        };
        read().map_err(|fault| unread(row, [2, 6], fault))
    }

    /// Makes the right task of a line claimable after a change; `before` is what [`head`](Self::head) said before it.
    pub async fn advance(&self, pool: &PoolName, context: &ContextId, before: Option<&Spot>) -> Sql<()> {
        let head = self.head(pool, context).await?;
        if head.as_ref().map(|spot| spot.row) == before.map(|spot| spot.row) {
            return Ok(());
        }
        if let Some(before) = before {
            self.make_unready(before).await?;
        }
        if let Some(head) = head {
            self.make_ready(&head).await?;
            self.leave_to_holder(&Which::Row(head.row)).await?;
        }
        Ok(())
    }

    /// Puts a task into a line.
    pub async fn enter_line(&self, spot: &Spot, context: &ContextId, rank: Rank) -> Sql<()> {
        let sql = "INSERT INTO line (pool, context, rank, due, task) VALUES ($1, $2, $3, $4, $5) RETURNING task";
        let (rank, due) = (rank as i16, spot.due.as_micros());
        let params = [
            (&spot.pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&context.as_str(), Type::TEXT),
            (&rank, Type::INT2),
            (&due, Type::INT8),
            (&spot.row, Type::INT8),
        ];
        self.run(sql, &params).await.map(drop)
    }

    /// Takes a task out of a line, whatever its rank.
    pub async fn leave_line(&self, spot: &Spot, context: &ContextId) -> Sql<()> {
        let sql =
            "DELETE FROM line WHERE pool = $1 AND context = $2 AND rank IN (0, 1, 2) AND task = $3 RETURNING task";
        self.in_line(sql, spot, context).await
    }

    /// Gives a task in a line that does not run, or no longer, a place among those that became due.
    pub async fn join(&self, spot: &Spot, context: &ContextId) -> Sql<()> {
        let sql =
            "UPDATE line SET rank = 1 WHERE pool = $1 AND context = $2 AND rank <> 1 AND task = $3 RETURNING task";
        self.in_line(sql, spot, context).await
    }

    /// Runs a statement on a task in a line: its pool, context and row are the parameters.
    async fn in_line(&self, sql: &str, spot: &Spot, context: &ContextId) -> Sql<()> {
        let params = [
            (&spot.pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&context.as_str(), Type::TEXT),
            (&spot.row, Type::INT8),
        ];
        self.run(sql, &params).await.map(drop)
    }

    /// Ends a task that waits; answers whether it was claimable.
    pub async fn end_waiting(
        &self,
        spot: &Spot,
        context: Option<&ContextId>,
        (from, to): (TaskState, TaskState),
        error: &TaskError,
        now: Timestamp,
    ) -> Sql<bool> {
        let before = match context {
            Some(context) => {
                self.lock_line(&spot.pool, context).await?;
                self.head(&spot.pool, context).await?
            }
            None => None,
        };
        if context.is_none() && from == TaskState::Queued {
            self.make_unready(spot).await?;
        }
        let error = Some(error);
        self.end(&End { row: spot.row, from, epoch: None, to, at: now, error, output: None, crashes: None }).await?;
        let Some(context) = context else { return Ok(from == TaskState::Queued) };
        self.leave_line(spot, context).await?;
        self.advance(&spot.pool, context, before.as_ref()).await?;
        Ok(before.is_some_and(|before| before.row == spot.row))
    }
}

//! The lines of contexts: their tasks in order, of which the first alone may be claimed.
//!
//! Locks are acquired in this order: the queue of a context, then ready rows, then task rows. If two groups use another
//! order, PostgreSQL ends one of them, and it runs again.

use forerunner_core::{ContextId, PoolName, TaskState, Timestamp};
use tokio_postgres::types::{ToSql, Type};

use crate::{
    affinity::Which,
    failure::Sql,
    rows::{QueueKey, get, optional_time, priority, state, time, unread},
    tx::Tx,
};

/// The rank of a task that waits in its context's line. Rank 0, one that runs, is given by the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    Joined = 1,
    Delayed = 2,
}

impl Tx<'_> {
    /// Locks a context's queue until the transaction ends.
    pub async fn lock_line(&self, pool: &PoolName, context: &ContextId) -> Sql<()> {
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 0))::text";
        self.run(sql, &[(&pool.as_str(), Type::TEXT), (&context.as_str(), Type::TEXT)]).await.map(drop)
    }

    /// When the last of a line became due; none if nobody is in it.
    pub async fn last_due(&self, pool: &PoolName, context: &ContextId) -> Sql<Option<Timestamp>> {
        let sql = "SELECT due FROM context_queue WHERE pool = $1 AND context = $2 AND rank <= 1 \
                   ORDER BY rank DESC, due DESC LIMIT 1";
        let rows = self.query(sql, &[(&pool.as_str(), Type::TEXT), (&context.as_str(), Type::TEXT)]).await?;
        rows.first().map(|row| time(row, 0)).transpose()
    }

    /// The task of a line that may be claimed: the first that became due, if it is queued and none runs.
    pub async fn head(&self, pool: &PoolName, context: &ContextId) -> Sql<Option<QueueKey>> {
        let sql = "SELECT l.rank, t.state, l.task, t.priority, l.due, t.deadline, t.id \
                   FROM context_queue l JOIN tasks t ON t.task = ANY (ARRAY[l.task]) WHERE l.pool = $1 AND l.context = $2 \
                   ORDER BY l.rank, l.due, l.task LIMIT 1";
        let rows = self.query(sql, &[(&pool.as_str(), Type::TEXT), (&context.as_str(), Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let read = || {
            if get::<i16>(row, 0)? != Rank::Joined as i16 || state(row, 1)? != TaskState::Queued {
                return Ok(None);
            }
            let (due, deadline) = (time(row, 4)?, optional_time(row, 5)?);
            let priority = priority(row, 3)?.get();
            Ok(Some(QueueKey { pool: pool.clone(), row: get(row, 2)?, priority, due, deadline }))
        };
        read().map_err(|fault| unread(row, [2, 6], fault))
    }

    /// Makes the right task of a context's queue claimable after a change; `before` is the result of
    /// [`head`](Self::head) before it.
    pub async fn advance(&self, pool: &PoolName, context: &ContextId, before: Option<&QueueKey>) -> Sql<()> {
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
    pub async fn enter_line(&self, spot: &QueueKey, context: &ContextId, rank: Rank) -> Sql<()> {
        let sql =
            "INSERT INTO context_queue (pool, context, rank, due, task) VALUES ($1, $2, $3, $4, $5) RETURNING task";
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

    /// Removes a task from its context's queue, whatever its rank.
    pub async fn leave_line(&self, spot: &QueueKey, context: &ContextId) -> Sql<()> {
        let sql = "DELETE FROM context_queue WHERE pool = $1 AND context = $2 AND rank IN (0, 1, 2) AND task = $3 RETURNING task";
        self.in_line(sql, spot, context).await
    }

    /// Gives a task in a line that does not run, or no longer, a place among those that became due.
    pub async fn join(&self, spot: &QueueKey, context: &ContextId) -> Sql<()> {
        let sql = "UPDATE context_queue SET rank = 1 WHERE pool = $1 AND context = $2 AND rank <> 1 AND task = $3 RETURNING task";
        self.in_line(sql, spot, context).await
    }

    /// Runs a statement on a task in a line: its pool, context and row are the parameters.
    async fn in_line(&self, sql: &str, spot: &QueueKey, context: &ContextId) -> Sql<()> {
        let params = [
            (&spot.pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&context.as_str(), Type::TEXT),
            (&spot.row, Type::INT8),
        ];
        self.run(sql, &params).await.map(drop)
    }
}

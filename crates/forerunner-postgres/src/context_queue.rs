//! The queues of contexts: their unfinished tasks in order, of which the first alone may be claimed.
//!
//! Locks are acquired in this order: the queue of a context, then task rows. If two groups use another order, PostgreSQL
//! ends one of them, and it runs again.

use forerunner_core::{ContextId, PoolName, TaskState, Timestamp};
use tokio_postgres::types::{ToSql, Type};

use crate::{
    failure::Sql,
    rows::{QueueEntry, get, priority, state, time, unread},
    tx::Tx,
};

/// Whether a task of a context runs. The index `live_with_key_by_context` answers it.
macro_rules! has_running {
    ($pool:literal, $context:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM live r WHERE r.context = ",
            $context,
            " AND r.pool = ",
            $pool,
            " AND r.queue_key IS NOT NULL AND r.state = 2)"
        )
    };
}
pub(crate) use has_running;

/// The rank of a task in its context's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// It became due, and may run.
    Joined = 1,
    /// It waits for its first `run_at`.
    Delayed = 2,
}

impl Tx<'_> {
    /// Locks a context's queue until the transaction ends.
    pub async fn lock_context(&self, pool: &PoolName, context: &ContextId) -> Sql<()> {
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 0))::text";
        self.run(sql, &[(&pool.as_str(), Type::TEXT), (&context.as_str(), Type::TEXT)]).await.map(drop)
    }

    /// When the last task of a context's queue became due; `None` if there is none.
    pub async fn last_due(&self, pool: &PoolName, context: &ContextId) -> Sql<Option<Timestamp>> {
        let sql = "SELECT due FROM context_queue WHERE pool = $1 AND context = $2 AND rank <= 1 \
                   ORDER BY rank DESC, due DESC LIMIT 1";
        let rows = self.query(sql, &[(&pool.as_str(), Type::TEXT), (&context.as_str(), Type::TEXT)]).await?;
        rows.first().map(|row| time(row, 0)).transpose()
    }

    /// The task of a context that may be claimed: the first that became due, if it is queued and none runs.
    ///
    /// A task that was delayed can become due before the task that runs. A running task has its key of the queue still,
    /// so one probe of a small index finds it.
    pub async fn head(&self, pool: &PoolName, context: &ContextId) -> Sql<Option<QueueEntry>> {
        let sql = concat!(
            "SELECT q.id, q.rank, t.state, t.priority, q.due \
             FROM context_queue q JOIN live t ON t.id = ANY (ARRAY[q.id]) WHERE q.pool = $1 AND q.context = $2 \
             AND NOT ",
            has_running!("$1", "$2"),
            " ORDER BY q.rank, q.due, q.id LIMIT 1"
        );
        let rows = self.query(sql, &[(&pool.as_str(), Type::TEXT), (&context.as_str(), Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let read = || {
            if get::<i16>(row, 1)? != Rank::Joined as i16 || state(row, 2)? != TaskState::Queued {
                return Ok(None);
            }
            let (priority, due) = (priority(row, 3)?, time(row, 4)?);
            Ok(Some(QueueEntry { pool: pool.clone(), id: get(row, 0)?, priority, due }))
        };
        read().map_err(|fault| unread(row, 0, fault))
    }

    /// Makes the right task of a context's queue claimable after a change; `before` is the result of
    /// [`head`](Self::head) before it.
    pub async fn advance(&self, pool: &PoolName, context: &ContextId, before: Option<&QueueEntry>) -> Sql<()> {
        let head = self.head(pool, context).await?;
        if head.as_ref().map(|entry| entry.id) == before.map(|entry| entry.id) {
            return Ok(());
        }
        if let Some(before) = before {
            self.make_unready(before.id).await?;
        }
        if let Some(head) = head {
            self.make_ready(&head).await?;
            self.leave_to_preferred(&[head.id]).await?;
        }
        Ok(())
    }

    /// Puts a task into its context's queue.
    pub async fn enter_context(&self, entry: &QueueEntry, context: &ContextId, rank: Rank) -> Sql<()> {
        let sql = "INSERT INTO context_queue (pool, context, rank, due, id) VALUES ($1, $2, $3, $4, $5) RETURNING id";
        let (rank, due) = (rank as i16, entry.due.as_micros());
        let params = [
            (&entry.pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&context.as_str(), Type::TEXT),
            (&rank, Type::INT2),
            (&due, Type::INT8),
            (&entry.id, Type::UUID),
        ];
        self.run(sql, &params).await.map(drop)
    }

    /// Removes a task from its context's queue, whatever its rank.
    pub async fn leave_context(&self, entry: &QueueEntry, context: &ContextId) -> Sql<()> {
        let sql =
            "DELETE FROM context_queue WHERE pool = $1 AND context = $2 AND rank IN (1, 2) AND id = $3 RETURNING id";
        self.in_context(sql, entry, context).await
    }

    /// Gives a task that became due its place in its context's queue.
    pub async fn join_context(&self, entry: &QueueEntry, context: &ContextId) -> Sql<()> {
        let sql =
            "UPDATE context_queue SET rank = 1 WHERE pool = $1 AND context = $2 AND rank <> 1 AND id = $3 RETURNING id";
        self.in_context(sql, entry, context).await
    }

    /// Runs a statement on a task in its context's queue: pool, context and id are the parameters.
    async fn in_context(&self, sql: &str, entry: &QueueEntry, context: &ContextId) -> Sql<()> {
        let params = [
            (&entry.pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&context.as_str(), Type::TEXT),
            (&entry.id, Type::UUID),
        ];
        self.run(sql, &params).await.map(drop)
    }
}

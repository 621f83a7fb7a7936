//! Claiming tasks, and renewing the leases of a node.

use std::sync::LazyLock;

use forerunner_core::{LeaseEpoch, NodeId, SchedulingKey, Task, TaskId, Timestamp};
use forerunner_store::{Claim, LEASE, Start};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};
use uuid::Uuid;

use crate::{
    failure::{Fault, Sql},
    rows::{AFTER, get, live_columns, micros, stored},
    scan_cursors::{from_floors, may_be_claimed},
    tx::Tx,
    unread::Unread,
};

/// A claim of the first tasks, from the start of the queue.
static FIRST: LazyLock<String> = LazyLock::new(|| {
    leasing(concat!(
        "SELECT ctid AS at FROM live WHERE pool = $1 ",
        may_be_claimed!(),
        "ORDER BY queue_key LIMIT $3 FOR UPDATE SKIP LOCKED"
    ))
});

/// A claim of the first tasks, from where scans found the first one.
static FROM_FLOORS: LazyLock<String> = LazyLock::new(|| {
    leasing(concat!(
        "SELECT at FROM ",
        from_floors!(
            "$7",
            "ctid AS at",
            concat!(may_be_claimed!(), "ORDER BY queue_key LIMIT $3 FOR UPDATE SKIP LOCKED")
        ),
        " LIMIT $3"
    ))
});

/// A claim of tasks that are named.
static AMONG: LazyLock<String> = LazyLock::new(|| {
    leasing(concat!(
        "SELECT ctid AS at FROM live WHERE id = ANY ($7) AND pool = $1 ",
        may_be_claimed!(),
        "LIMIT $3 FOR UPDATE SKIP LOCKED"
    ))
});

/// Leases the rows that `picked` finds by their place in the table: `picked` has locked them. There is one statement
/// for each way to pick, so that a plain claim only walks the index.
fn leasing(picked: &str) -> String {
    let columns = live_columns();
    let of_context = |column: &str| {
        format!(
            "COALESCE(CASE WHEN t.context IS NOT NULL THEN (SELECT x.{column} FROM contexts x WHERE x.pool = t.pool \
             AND x.name = t.context) END, 0)"
        )
    };
    format!(
        "WITH p AS MATERIALIZED ({picked}) \
         UPDATE live t SET state = 2, epoch = greatest(t.epoch + 1, CASE WHEN $5 THEN \
         (extract(epoch FROM clock_timestamp()) * 1000000)::int8 ELSE 0 END), attempt = t.attempt + 1, \
         started_at = CASE WHEN s.place <= $6 OR t.crashes > 0 THEN $2 END, node = $4, agent = NULL \
         FROM unnest(ARRAY(SELECT at FROM p)) WITH ORDINALITY AS s (at, place) WHERE t.ctid = s.at \
         RETURNING {columns}, {}, {}, {}",
        of_context("version"),
        of_context("born"),
        of_context("updated_at"),
    )
}

impl Tx<'_> {
    pub async fn claim(&self, claim: &Claim) -> Sql<Vec<Task>> {
        self.lease(claim, claim.limit, None).await
    }

    pub async fn claim_ids(&self, claim: &Claim, wanted: &[TaskId]) -> Sql<Vec<Task>> {
        let ids: Vec<_> = wanted.iter().map(|task| *task.as_uuid()).collect();
        self.lease(claim, ids.len(), Some(ids)).await
    }

    /// Leases the first claimable tasks, at most `limit`, or only those that are `among`.
    async fn lease(&self, claim: &Claim, limit: usize, among: Option<Vec<Uuid>>) -> Sql<Vec<Task>> {
        let lasts = claim.lease_until.as_micros().saturating_sub(claim.now.as_micros());
        let (now, limit) = (claim.now.as_micros(), i64::try_from(limit).unwrap_or(i64::MAX));
        let (pool, starts) = (claim.pool.as_str(), i64::try_from(claim.starts).unwrap_or(i64::MAX));
        let mut params = vec![
            (&pool as &(dyn ToSql + Sync), Type::TEXT),
            (&now, Type::INT8),
            (&limit, Type::INT8),
            (claim.node.as_uuid(), Type::UUID),
            (&self.database_time, Type::BOOL),
            (&starts, Type::INT8),
        ];
        let cursors = if among.is_some() { None } else { self.node.cursors.of(&claim.pool) };
        params.extend(among.as_ref().map(|ids| (ids as &(dyn ToSql + Sync), Type::UUID_ARRAY)));
        params.extend(cursors.as_ref().map(|cursors| (cursors as &(dyn ToSql + Sync), Type::BYTEA_ARRAY)));
        let sql = match (&among, &cursors) {
            (Some(_), _) => &AMONG,
            (None, Some(_)) => &FROM_FLOORS,
            (None, None) => &FIRST,
        };
        let claimed = self.query(sql, &params);
        let rows = if self.is_renewed {
            claimed.await?
        } else {
            // Both are sent at once; the server runs them in order.
            let (renewed, rows) = tokio::join!(self.renew(claim.node, claim.lease_until, lasts), claimed);
            renewed?;
            rows?
        };
        self.claimed(&rows)
    }

    /// The tasks that were leased, in the order of the queue.
    fn claimed(&self, rows: &[Row]) -> Sql<Vec<Task>> {
        let mut tasks = Vec::with_capacity(rows.len());
        for row in rows {
            match self.claimed_one(row) {
                Ok(task) => tasks.push(task),
                // It is leased already, and nobody will run it.
                Err(Fault::Damaged(unread)) => self.note_unread(Unread { even_running: true, ..*unread }),
                Err(fault) => return Err(fault),
            }
        }
        tasks.sort_unstable_by_key(|(key, _)| *key);
        Ok(tasks.into_iter().map(|(_, task)| task).collect())
    }

    fn claimed_one(&self, row: &Row) -> Sql<(SchedulingKey, Task)> {
        let claimed = stored(row)?;
        let key = claimed.entry().key();
        self.node.cursors.take(&claimed.task.pool, key);
        let mut task = claimed.task;
        task.context_version = get::<i64>(row, AFTER)?.unsigned_abs();
        task.context_born = get::<i64>(row, AFTER + 1)?.unsigned_abs();
        // A context that is not stored was not changed yet.
        let free_at = get::<i64>(row, AFTER + 2)?;
        task.context_free_at = (free_at > 0).then(|| Timestamp::from_micros(free_at));
        Ok((key, task))
    }

    /// Lets all leases of a node live until `until`, or for so many microseconds by the clock of the database.
    pub async fn renew(&self, node: NodeId, until: Timestamp, lasts: i64) -> Sql<()> {
        let sql = "INSERT INTO nodes AS n (node, lease_until) VALUES ($1, CASE WHEN $2 THEN \
                   (extract(epoch FROM clock_timestamp()) * 1000000)::int8 + $4 ELSE $3 END) \
                   ON CONFLICT (node) DO UPDATE SET lease_until = greatest(n.lease_until, excluded.lease_until), \
                   cleared_at = NULL WHERE n.lease_until < excluded.lease_until OR n.cleared_at IS NOT NULL \
                   RETURNING node";
        let until = until.as_micros();
        let params = [
            (node.as_uuid() as &(dyn ToSql + Sync), Type::UUID),
            (&self.database_time, Type::BOOL),
            (&until, Type::INT8),
            (&lasts, Type::INT8),
        ];
        self.run(sql, &params).await.map(drop)
    }

    /// The heartbeat, outside a claim.
    pub async fn heartbeat(&self, node: NodeId, until: Timestamp) -> Sql<()> {
        self.renew(node, until, micros(LEASE)).await
    }

    /// Notes which agents run which tasks since when.
    pub async fn assign(&self, assignments: &[(TaskId, LeaseEpoch, Start)]) -> Sql<()> {
        if assignments.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = assignments.iter().map(|(task, ..)| *task.as_uuid()).collect();
        let epochs: Vec<_> = assignments.iter().map(|(_, epoch, _)| epoch.0 as i64).collect();
        let agents: Vec<_> = assignments.iter().map(|(.., start)| *start.agent.as_uuid()).collect();
        let times: Vec<_> = assignments.iter().map(|(.., start)| start.at.as_micros()).collect();
        let sql = "UPDATE live t SET agent = s.agent, started_at = COALESCE(t.started_at, s.at) \
                   FROM unnest($1::uuid[], $2::int8[], $3::uuid[], $4::int8[]) AS s (id, epoch, agent, at) \
                   WHERE t.id = ANY (ARRAY[s.id]) AND t.epoch = s.epoch AND t.state = 2 RETURNING t.id";
        let params = [
            (&ids as &(dyn ToSql + Sync), Type::UUID_ARRAY),
            (&epochs, Type::INT8_ARRAY),
            (&agents, Type::UUID_ARRAY),
            (&times, Type::INT8_ARRAY),
        ];
        self.run(sql, &params).await.map(drop)
    }
}

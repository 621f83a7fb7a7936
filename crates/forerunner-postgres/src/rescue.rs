//! Re-queueing the tasks of nodes that are gone, and of leases that have expired.

use forerunner_core::{LeaseEpoch, TaskId, TaskState, Timestamp};
use forerunner_store::{Rescue, Rescued, backend, dies_of_crash, node_lost};
use tokio_postgres::types::Type;

use crate::{
    failure::Sql,
    rows::{Stored, get},
    settle::Retried,
    tx::Tx,
};

impl Tx<'_> {
    pub async fn rescue(&self, rescue: &Rescue) -> Sql<Rescued> {
        let mut rescued = Rescued::default();
        let now = match rescue {
            Rescue::AllBut { now, .. } | Rescue::Expired { now } => *now,
        };
        for (id, epoch) in self.lost(rescue, now).await? {
            if let Some(lease) = self.leased(id, epoch).await? {
                self.reclaim(lease, now, &mut rescued).await?;
            }
        }
        Ok(rescued)
    }

    /// The leases of nodes that are gone, or count as gone.
    async fn lost(&self, rescue: &Rescue, now: Timestamp) -> Sql<Vec<(TaskId, LeaseEpoch)>> {
        let rows = match rescue {
            Rescue::AllBut { node, .. } => {
                let sql = "SELECT id, epoch FROM tasks WHERE state = 2 AND node IS DISTINCT FROM $1 ORDER BY due, task";
                self.query(sql, &[(node.as_uuid(), Type::UUID)]).await?
            }
            Rescue::Expired { .. } => {
                // Between the ids of those that live: what a node had that lives is not read past.
                let sql = "WITH n AS (SELECT node FROM nodes WHERE lease_until >= CASE WHEN $1 THEN \
                           (extract(epoch FROM clock_timestamp()) * 1000000)::int8 ELSE $2 END), \
                           g AS (SELECT node AS above, lead(node) OVER (ORDER BY node) AS below FROM (SELECT node FROM n \
                           UNION SELECT '00000000-0000-0000-0000-000000000000' \
                           UNION SELECT 'ffffffff-ffff-ffff-ffff-ffffffffffff') e) \
                           SELECT t.id, t.epoch FROM g, LATERAL (SELECT id, epoch, due, task FROM tasks \
                           WHERE state = 2 AND node > g.above AND node < g.below OFFSET 0) t ORDER BY t.due, t.task";
                let now = now.as_micros();
                self.query(sql, &[(&self.database_time, Type::BOOL), (&now, Type::INT8)]).await?
            }
        };
        let lost = rows
            .iter()
            .map(|row| Ok((TaskId::from_uuid(get(row, 0)?), LeaseEpoch(get::<i64>(row, 1)?.unsigned_abs()))));
        lost.collect()
    }

    async fn reclaim(&self, mut lease: Stored, now: Timestamp, rescued: &mut Rescued) -> Sql<()> {
        let was_held = lease.task.started_at.is_none();
        lease.task.crashes = backend::crashes_with(lease.task.crashes, was_held);
        if lease.is_to_stop {
            rescued.dead.push(lease.task.id);
            return self.finish(&lease, TaskState::Cancelled, Some(&backend::cancelled()), None, now).await;
        }
        if was_held {
            rescued.requeued.push(lease.task.id);
            self.hints().work.insert(lease.task.pool.clone());
            return self.release(&lease, now).await;
        }
        let error = node_lost();
        if dies_of_crash(lease.task.crashes, &lease.task.retry) {
            rescued.dead.push(lease.task.id);
            return self.finish(&lease, TaskState::Dead, Some(&error), None, now).await;
        }
        rescued.requeued.push(lease.task.id);
        self.hints().work.insert(lease.task.pool.clone());
        let (run_at, crashes) = (lease.task.run_at, lease.task.crashes);
        let retried = Retried { run_at, error: &error, crashes, counts: true };
        self.schedule_retry(&lease, TaskState::Queued, &retried, now).await
    }
}

//! Re-queueing the tasks of nodes that are gone, and of leases that have expired.

use forerunner_core::{
    LeaseEpoch, TaskId, Timestamp,
    transition::{self, Rescuing, Running},
};
use forerunner_store::{Rescue, Rescued};
use tokio_postgres::types::Type;

use crate::{
    failure::Sql,
    rows::{Stored, get},
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

    async fn reclaim(&self, lease: Stored, now: Timestamp, rescued: &mut Rescued) -> Sql<()> {
        let task = &lease.task;
        let (running, has_begun) = (Running::of(task, lease.is_to_stop), task.started_at.is_some());
        let lost = Rescuing { running, has_begun, max_crashes: task.retry.max_crashes };
        let transition = transition::rescue(lost, now);
        if transition.ends() {
            rescued.dead.push(task.id);
        } else {
            rescued.requeued.push(task.id);
            self.hints().work.insert(task.pool.clone());
        }
        self.apply(&lease, &transition, now).await
    }
}

//! Re-queueing the tasks of lost nodes, and of leases that have expired.

use std::time::Duration;

use forerunner_core::{
    LeaseEpoch, TaskId, Timestamp,
    transition::{self, LostTask, Running},
};
use forerunner_store::{Rescue, Rescued};
use tokio_postgres::types::{ToSql, Type};

use crate::{
    failure::Sql,
    rows::{Stored, get, micros},
    tx::Tx,
};

/// How long after a rescue the store searches again for tasks of a lost node.
const CHECKED_AGAIN: Duration = Duration::from_secs(60);

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
    ///
    /// No index has the node of a lease, so finding them reads all tasks that have not ended. That is done when a lease
    /// of a node has ended since, and once a minute in case a claim of it came through later.
    async fn lost(&self, rescue: &Rescue, now: Timestamp) -> Sql<Vec<(TaskId, LeaseEpoch)>> {
        let rows = match rescue {
            Rescue::AllBut { node, .. } => {
                let sql = "SELECT id, epoch FROM live WHERE state = 2 AND node IS DISTINCT FROM $1 ORDER BY due, id";
                self.query(sql, &[(node.as_uuid(), Type::UUID)]).await?
            }
            Rescue::Expired { .. } => {
                if !self.clear_nodes(now).await? {
                    return Ok(Vec::new());
                }
                let sql = "SELECT id, epoch FROM live WHERE state = 2 AND NOT EXISTS (SELECT FROM nodes n \
                           WHERE n.node = live.node AND n.lease_until >= CASE WHEN $1 THEN \
                           (extract(epoch FROM clock_timestamp()) * 1000000)::int8 ELSE $2 END) ORDER BY due, id";
                let now = now.as_micros();
                self.query(sql, &[(&self.database_time, Type::BOOL), (&now, Type::INT8)]).await?
            }
        };
        let lost = rows
            .iter()
            .map(|row| Ok((TaskId::from_uuid(get(row, 0)?), LeaseEpoch(get::<i64>(row, 1)?.unsigned_abs()))));
        lost.collect()
    }

    /// Notes that the nodes whose leases have ended have no task any more, as this rescue will see to. Returns whether
    /// there were any.
    async fn clear_nodes(&self, now: Timestamp) -> Sql<bool> {
        let sql = "WITH c AS (SELECT CASE WHEN $1 THEN (extract(epoch FROM clock_timestamp()) * 1000000)::int8 \
                   ELSE $2 END AS now) UPDATE nodes n SET cleared_at = c.now FROM c WHERE n.lease_until < c.now \
                   AND (n.cleared_at IS NULL OR n.cleared_at < c.now - $3) RETURNING n.node";
        let (now, pause) = (now.as_micros(), micros(CHECKED_AGAIN));
        let params =
            [(&self.database_time as &(dyn ToSql + Sync), Type::BOOL), (&now, Type::INT8), (&pause, Type::INT8)];
        Ok(self.run(sql, &params).await? > 0)
    }

    async fn reclaim(&self, lease: Stored, now: Timestamp, rescued: &mut Rescued) -> Sql<()> {
        let task = &lease.task;
        let (running, has_begun) = (Running::of(task, lease.is_to_stop), task.started_at.is_some());
        let lost = LostTask { running, has_begun, max_crashes: task.retry.max_crashes };
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

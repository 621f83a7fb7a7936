//! Tasks go to the node that has their context warm, if it claims them soon.

use std::time::Duration;

use forerunner_core::{ContextId, NodeId, PoolName};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::{
    failure::Sql,
    rows::{get, micros},
    tx::Tx,
};

/// How long a task is reserved for the node that has its context. The node is notified at once, or finds the task at
/// its next poll, which is once a second.
pub(crate) const AFFINITY_WINDOW: Duration = Duration::from_secs(1);

impl Tx<'_> {
    /// Reserves claimable tasks for the nodes that committed their contexts last, if those nodes live, for a moment.
    pub async fn leave_to_preferred(&self, ids: &[Uuid]) -> Sql<()> {
        let sql = "WITH w AS (SELECT t.id, t.pool, t.context, CASE WHEN $2 THEN \
                   (extract(epoch FROM clock_timestamp()) * 1000000)::int8 ELSE t.due END AS now FROM live t \
                   WHERE t.id = ANY ($1)) UPDATE live r SET preferred_node = c.node, preferred_until = w.now + $3 \
                   FROM w JOIN contexts c ON c.pool = w.pool AND c.name = w.context JOIN nodes n ON n.node = c.node \
                   AND n.report IS NOT NULL AND n.lease_until >= w.now WHERE r.id = ANY (ARRAY[w.id]) RETURNING r.pool";
        let hold = micros(AFFINITY_WINDOW);
        let params =
            [(&ids as &(dyn ToSql + Sync), Type::UUID_ARRAY), (&self.database_time, Type::BOOL), (&hold, Type::INT8)];
        let rows = self.query(sql, &params).await?;
        for row in &rows {
            if let Ok(pool) = PoolName::new(get::<String>(row, 0)?) {
                self.hints().work.insert(pool);
            }
        }
        Ok(())
    }

    /// Records which node has a context warm.
    pub async fn note_holder(&self, pool: &PoolName, context: &ContextId, node: Option<NodeId>) -> Sql<()> {
        let sql = "UPDATE contexts SET node = $3 WHERE pool = $1 AND name = $2 AND node IS DISTINCT FROM $3 \
                   RETURNING context";
        let node = node.map(|node| *node.as_uuid());
        let params =
            [(&pool.as_str() as &(dyn ToSql + Sync), Type::TEXT), (&context.as_str(), Type::TEXT), (&node, Type::UUID)];
        self.run(sql, &params).await.map(drop)
    }
}

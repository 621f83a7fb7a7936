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
pub(crate) const HOLD: Duration = Duration::from_secs(1);

/// Which claimable task, or tasks.
pub(crate) enum Which {
    Row(i64),
    Rows(Vec<i64>),
    Id(Uuid),
}

impl Tx<'_> {
    /// Reserves a claimable task for the node that committed its context last, if that node lives, for a moment.
    pub async fn leave_to_holder(&self, which: &Which) -> Sql<()> {
        let (condition, value): (_, (&(dyn ToSql + Sync), Type)) = match which {
            Which::Row(row) => ("t.task = $1", (row, Type::INT8)),
            Which::Rows(rows) => ("t.task = ANY ($1)", (rows, Type::INT8_ARRAY)),
            Which::Id(id) => ("t.id = $1", (id, Type::UUID)),
        };
        let sql = format!(
            "WITH w AS (SELECT t.pool, t.context, t.priority, t.due, t.task, CASE WHEN $2 THEN \
             (extract(epoch FROM clock_timestamp()) * 1000000)::int8 ELSE t.due END AS now FROM tasks t \
             WHERE {condition}) UPDATE ready r SET preferred_node = c.node, preferred_until = w.now + $3 \
             FROM w JOIN contexts c ON c.pool = w.pool AND c.name = w.context JOIN nodes n ON n.node = c.node \
             AND n.report IS NOT NULL AND n.lease_until >= w.now \
             WHERE r.pool = w.pool AND r.urgency = 9 - w.priority AND r.due = w.due AND r.task = w.task RETURNING r.pool"
        );
        let hold = micros(HOLD);
        let rows = self.query(&sql, &[value, (&self.database_time, Type::BOOL), (&hold, Type::INT8)]).await?;
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

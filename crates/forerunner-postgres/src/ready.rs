//! The claimable tasks: which come in, and which go out unclaimed.

use std::sync::atomic::Ordering;

use forerunner_core::Timestamp;
use tokio_postgres::types::{ToSql, Type};

use crate::{
    failure::{Fault, Sql},
    rows::QueueKey,
    tx::Tx,
};

impl Tx<'_> {
    /// Makes a task claimable.
    pub async fn make_ready(&self, spot: &QueueKey) -> Sql<()> {
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
        self.node.cursors.put(&spot.pool, urgency, spot.place());
        self.run(sql, &params).await?;
        self.gained.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Makes a claimable task not so. [`Fault::Conflict`] when another node has claimed it meanwhile.
    pub async fn make_unready(&self, spot: &QueueKey) -> Sql<()> {
        let sql = "DELETE FROM ready WHERE pool = $1 AND urgency = $2 AND due = $3 AND task = $4 RETURNING task";
        let (urgency, due) = (spot.urgency(), spot.due.as_micros());
        let params = [
            (&spot.pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&urgency, Type::INT2),
            (&due, Type::INT8),
            (&spot.row, Type::INT8),
        ];
        if self.run(sql, &params).await? == 0 {
            return Err(Fault::Conflict);
        }
        self.gained.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
}

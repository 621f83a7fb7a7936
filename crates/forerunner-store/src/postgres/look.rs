//! Choosing among claimable tasks.

use forerunner_core::{Priority, Task, TaskId};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use super::{
    failure::Sql,
    rows::{context, get, name_of, time},
    tx::Tx,
};
use crate::{Candidate, Claim, Look};

impl Tx<'_> {
    pub async fn look(&self, look: &Look) -> Sql<Vec<Candidate>> {
        let sql = "SELECT t.id, t.context, x.version, x.size_bytes, 9 - r.urgency, r.due FROM ready r \
                   JOIN tasks t ON t.task = r.task LEFT JOIN contexts x ON x.pool = r.pool AND x.name = t.context \
                   WHERE r.pool = $1 AND (r.deadline IS NULL OR r.deadline > $2) \
                   AND (r.prefers IS NULL OR r.prefers = $4 OR r.prefers_until <= CASE WHEN $5 THEN \
                   (extract(epoch FROM clock_timestamp()) * 1000000)::int8 ELSE $2 END) \
                   ORDER BY r.urgency, r.due, r.task LIMIT $3";
        let (now, limit) = (look.now.as_micros(), i64::try_from(look.limit).unwrap_or(i64::MAX));
        let params = [
            (&look.pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&now, Type::INT8),
            (&limit, Type::INT8),
            (look.node.as_uuid(), Type::UUID),
            (&self.database_time, Type::BOOL),
        ];
        self.query(sql, &params).await?.iter().map(candidate).collect()
    }

    pub async fn take(&self, claim: &Claim, wanted: &[TaskId]) -> Sql<Vec<Task>> {
        let ids: Vec<_> = wanted.iter().map(|task| *task.as_uuid()).collect();
        self.lease(claim, ids.len(), Some(ids)).await
    }
}

fn candidate(row: &Row) -> Sql<Candidate> {
    Ok(Candidate {
        task: TaskId::from_uuid(get(row, 0)?),
        context: context(row, 1)?,
        context_version: get::<Option<i64>>(row, 2)?.unwrap_or(0).unsigned_abs(),
        context_bytes: get::<Option<i64>>(row, 3)?.unwrap_or(0).unsigned_abs(),
        priority: name_of(Priority::new(u64::from(get::<i32>(row, 4)?.unsigned_abs())))?,
        due: time(row, 5)?,
    })
}

//! Choosing among claimable tasks.

use forerunner_core::{Task, TaskId};
use forerunner_store::{Candidate, Claim, Peek};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use crate::{
    failure::{Fault, Sql},
    rows::{context, get, priority, time, unread},
    scan_cursors::{from_floors, may_be_claimed},
    tx::Tx,
};

impl Tx<'_> {
    pub async fn peek(&self, look: &Peek) -> Sql<Vec<Candidate>> {
        macro_rules! looking {
            ($ready:expr) => {
                concat!(
                    "SELECT t.id, t.context, x.version, x.size_bytes, (9 - r.urgency)::int2, r.due, r.task FROM (",
                    $ready,
                    " LIMIT $3) r JOIN tasks t ON t.task = ANY (ARRAY[r.task]) \
                     LEFT JOIN contexts x ON x.pool = t.pool AND x.name = t.context ORDER BY r.urgency, r.due, r.task"
                )
            };
        }
        const FIRST: &str = looking!(concat!(
            "SELECT urgency, due, task FROM ready WHERE pool = $1 ",
            may_be_claimed!(),
            "ORDER BY urgency, due, task"
        ));
        const FROM_FLOORS: &str = looking!(concat!(
            "SELECT r.urgency, due, task FROM ",
            from_floors!("$6", "urgency, due, task", concat!(may_be_claimed!(), "ORDER BY due, task LIMIT $3"))
        ));
        let (now, limit) = (look.now.as_micros(), i64::try_from(look.limit).unwrap_or(i64::MAX));
        let (cursors, pool) = (self.node.cursors.of(&look.pool), look.pool.as_str());
        let mut params = vec![
            (&pool as &(dyn ToSql + Sync), Type::TEXT),
            (&now, Type::INT8),
            (&limit, Type::INT8),
            (look.node.as_uuid(), Type::UUID),
            (&self.database_time, Type::BOOL),
        ];
        params.extend(cursors.as_ref().map(|cursors| (cursors as &(dyn ToSql + Sync), Type::INT8_ARRAY)));
        let sql = if cursors.is_some() { FROM_FLOORS } else { FIRST };
        let rows = self.query(sql, &params).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            match candidate(row).map_err(|fault| unread(row, [6, 0], fault)) {
                Ok(candidate) => found.push(candidate),
                Err(Fault::Damaged(unread)) => self.note_unread(*unread),
                Err(fault) => return Err(fault),
            }
        }
        Ok(found)
    }

    pub async fn claim_ids(&self, claim: &Claim, wanted: &[TaskId]) -> Sql<Vec<Task>> {
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
        priority: priority(row, 4)?,
        due: time(row, 5)?,
    })
}

//! Choosing among claimable tasks.

use forerunner_core::TaskId;
use forerunner_store::{Candidate, Peek};
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
    pub async fn peek(&self, peek: &Peek) -> Sql<Vec<Candidate>> {
        macro_rules! peeking {
            ($picked:expr) => {
                concat!(
                    "SELECT t.id, t.context, x.version, x.size_bytes, t.priority, t.due FROM (",
                    $picked,
                    " LIMIT $3) t LEFT JOIN contexts x ON x.pool = t.pool AND x.name = t.context ORDER BY t.queue_key"
                )
            };
        }
        const FIRST: &str = peeking!(concat!(
            "SELECT id, pool, context, priority, due, queue_key FROM live WHERE pool = $1 ",
            may_be_claimed!(),
            "ORDER BY queue_key"
        ));
        const FROM_FLOORS: &str = peeking!(concat!(
            "SELECT r.* FROM ",
            from_floors!(
                "$6",
                "id, pool, context, priority, due, queue_key",
                concat!(may_be_claimed!(), "ORDER BY queue_key LIMIT $3")
            )
        ));
        let (now, limit) = (peek.now.as_micros(), i64::try_from(peek.limit).unwrap_or(i64::MAX));
        let (cursors, pool) = (self.node.cursors.of(&peek.pool), peek.pool.as_str());
        let mut params = vec![
            (&pool as &(dyn ToSql + Sync), Type::TEXT),
            (&now, Type::INT8),
            (&limit, Type::INT8),
            (peek.node.as_uuid(), Type::UUID),
            (&self.database_time, Type::BOOL),
        ];
        params.extend(cursors.as_ref().map(|cursors| (cursors as &(dyn ToSql + Sync), Type::BYTEA_ARRAY)));
        let sql = if cursors.is_some() { FROM_FLOORS } else { FIRST };
        let rows = self.query(sql, &params).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            match candidate(row).map_err(|fault| unread(row, 0, fault)) {
                Ok(candidate) => found.push(candidate),
                Err(Fault::Damaged(unread)) => self.note_unread(*unread),
                Err(fault) => return Err(fault),
            }
        }
        Ok(found)
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

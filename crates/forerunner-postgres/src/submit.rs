//! Accepting and claiming.

use std::{
    collections::HashSet,
    sync::{LazyLock, atomic::Ordering},
};

use forerunner_core::{ContextId, IdempotencyKey, LeaseEpoch, NodeId, PoolName, Task, TaskId, TaskState, Timestamp};
use forerunner_store::{
    Claim, EnqueueOutcome, KeyedTask, LEASE, Refusal, Start, Submission,
    backend::{self, Column, Part, cell_of_new, columns_of_new},
};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};
use uuid::Uuid;

use crate::{
    affinity::Which,
    batch::Member,
    failure::{Fault, Sql},
    history::names,
    line::Rank,
    rows::{AFTER, depth, get, label_pairs, micros, stored, task_columns},
    scan_cursors::{from_floors, may_be_claimed},
    tables::earliest_end,
    tx::{Param, Tx},
    unread::Unread,
    values::{Values, array_type},
};

/// A submission, and the place it gets.
struct Placed<'a> {
    submission: &'a Submission,
    state: TaskState,
    due: Timestamp,
    claimable: bool,
    depth: u32,
}

impl<'a> Placed<'a> {
    fn alone(submission: &'a Submission) -> Self {
        let state = backend::first_state(&submission.task);
        let due = backend::first_due(&submission.task);
        Self { submission, state, due, claimable: state == TaskState::Queued, depth: 0 }
    }
}

/// The new rows as columns, one entry a task.
struct Columns {
    id: Vec<Uuid>,
    pool: Vec<String>,
    due: Vec<i64>,
    pairs: Vec<Option<String>>,
    fingerprint: Vec<Option<Vec<u8>>>,
    claimable: Vec<bool>,
    rank: Vec<Option<i16>>,
    /// Those of [`new_columns`].
    others: Vec<Values>,
}

/// The columns that a new task has, besides the store's own.
fn new_columns() -> impl Iterator<Item = &'static Column> {
    columns_of_new(Part::Task).chain(columns_of_new(Part::Input))
}

impl Columns {
    fn of(batch: &[Placed<'_>]) -> Self {
        let mut columns = Self {
            id: Vec::with_capacity(batch.len()),
            pool: Vec::with_capacity(batch.len()),
            due: Vec::with_capacity(batch.len()),
            pairs: Vec::with_capacity(batch.len()),
            fingerprint: Vec::with_capacity(batch.len()),
            claimable: Vec::with_capacity(batch.len()),
            rank: Vec::with_capacity(batch.len()),
            others: new_columns().map(|column| Values::of(column, batch.len())).collect(),
        };
        batch.iter().for_each(|placed| columns.push(placed));
        columns
    }

    fn push(&mut self, placed: &Placed<'_>) {
        let Submission { task, fingerprint, .. } = placed.submission;
        self.id.push(*task.id.as_uuid());
        self.pool.push(task.pool.as_str().to_owned());
        self.due.push(placed.due.as_micros());
        // Arrays of arrays must be of one length, so the pairs travel as one text.
        self.pairs.push(label_pairs(&task.labels).map(|pairs| pairs.join("\n")));
        self.fingerprint.push(fingerprint.map(|hash| hash.to_vec()));
        self.claimable.push(placed.claimable);
        let rank = if placed.state == TaskState::Queued { Rank::Joined } else { Rank::Delayed };
        self.rank.push(task.context.as_ref().map(|_| rank as i16));
        for (values, column) in self.others.iter_mut().zip(new_columns()) {
            values.push(cell_of_new(column, task, placed.state, placed.depth));
        }
    }

    /// The parameters of [`INSERT`].
    fn params<'a>(&'a self, earliest: &'a i64) -> Vec<Param<'a>> {
        let mut params: Vec<Param<'a>> = vec![
            (&self.id, Type::UUID_ARRAY),
            (&self.pool, Type::TEXT_ARRAY),
            (&self.due, Type::INT8_ARRAY),
            (&self.pairs, Type::TEXT_ARRAY),
            (&self.fingerprint, Type::BYTEA_ARRAY),
            (&self.claimable, Type::BOOL_ARRAY),
            (&self.rank, Type::INT2_ARRAY),
            (earliest, Type::INT8),
        ];
        params.extend(self.others.iter().map(Values::param));
        params
    }
}

/// Writes all rows of all tasks whose ids are new, in the order of the columns; answers which they were.
///
/// It has no join that a plan could make slow: each task has its number before it is written, and a hash table shows
/// which were written.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    let (task, input) = (names(columns_of_new(Part::Task)), names(columns_of_new(Part::Input)));
    let places = new_columns().enumerate();
    let arrays: Vec<_> = places.map(|(place, column)| format!("${}::{}", 9 + place, array_type(column))).collect();
    let (arrays, all) = (arrays.join(", "), names(new_columns()));
    format!(
        "WITH s AS MATERIALIZED (SELECT nextval('tasks_task_seq') AS task, s.* FROM unnest($1::uuid[], $2::text[], \
         $3::int8[], $4::text[], $5::bytea[], $6::bool[], $7::int2[], {arrays}) WITH ORDINALITY \
         AS s (id, pool, due, pairs, fingerprint, claimable, rank, {all}, place)), \
         t AS (INSERT INTO tasks (task, id, pool, due, {task}) SELECT task, id, pool, due, {task} FROM s \
         WHERE NOT EXISTS (SELECT FROM history h WHERE h.id = s.id AND h.finished_at >= $8) ORDER BY place \
         ON CONFLICT (id) DO NOTHING RETURNING task, id), \
         n AS MATERIALIZED (SELECT * FROM s WHERE (task IN (SELECT task FROM t)) IS TRUE), \
         i AS (INSERT INTO inputs (task, {input}, label_pairs) \
         SELECT task, {input}, string_to_array(pairs, E'\\n') FROM n), \
         k AS (INSERT INTO idempotency_keys (pool, key, id, fingerprint) \
         SELECT pool, key, id, fingerprint FROM n WHERE key IS NOT NULL), \
         l AS (INSERT INTO context_queue (pool, context, rank, due, task) \
         SELECT pool, context, rank, due, task FROM n WHERE rank IS NOT NULL), \
         r AS (INSERT INTO ready (pool, urgency, due, task, deadline) \
         SELECT pool, 9 - priority, due, task, deadline FROM n WHERE claimable) \
         SELECT id FROM t"
    )
});

impl Tx<'_> {
    /// Accepts tasks: those with neither key nor context many at a time, any other after a lookup.
    async fn enqueue(&self, batch: &[&Submission]) -> Sql<Vec<Option<Result<EnqueueOutcome, Refusal>>>> {
        let mut answers = Vec::with_capacity(batch.len());
        for run in batch.chunk_by(|a, b| is_plain(a) && is_plain(b)) {
            // What is sent along with its commit is plain and distinct.
            if self.is_short || (run.len() > 1 && has_distinct_ids(run)) {
                let placed: Vec<_> = run.iter().map(|submission| Placed::alone(submission)).collect();
                answers.extend(self.insert(&placed).await?);
            } else {
                for submission in run {
                    answers.push(self.accept(submission).await?);
                }
            }
        }
        Ok(answers)
    }

    /// Accepts one task after a lookup. A short transaction leaves one that is known open.
    pub(crate) async fn accept(&self, submission: &Submission) -> Sql<Option<Result<EnqueueOutcome, Refusal>>> {
        if let Some(answer) = self.known_by_key(submission).await? {
            return Ok(Some(answer));
        }
        let mut placed = Placed::alone(submission);
        let task = &submission.task;
        if let Some(parent) = task.parent {
            placed.depth = match backend::child_depth(parent, self.depth_of(parent).await?, submission.bounds) {
                Ok(depth) => depth,
                Err(refusal) => return Ok(Some(Err(refusal))),
            };
        }
        if let Some(context) = &task.context {
            self.lock_line(&task.pool, context).await?;
            if let Some(full) = submission.bounds.contexts_full
                && !self.is_begun(&task.pool, context).await?
            {
                return Ok(Some(Err(backend::contexts_full(&task.pool, context, full))));
            }
            if placed.claimable
                && let Some(last) = self.last_due(&task.pool, context).await?
            {
                // Somebody is ahead. A clock that went back must not let this one push in front.
                (placed.due, placed.claimable) = (placed.due.max(last), false);
            }
        }
        let answer = self.insert(&[placed]).await?.remove(0);
        if matches!(answer, Some(Ok(EnqueueOutcome::New { claimable: true, .. }))) && task.context.is_some() {
            self.leave_to_holder(&Which::Id(*task.id.as_uuid())).await?;
        }
        Ok(answer)
    }

    /// The depth of a task; `None` if it does not exist.
    async fn depth_of(&self, task: TaskId) -> Sql<Option<u32>> {
        let sql = "SELECT depth FROM tasks WHERE id = $1 UNION ALL \
                   SELECT depth FROM history WHERE id = $1 AND finished_at >= $2 LIMIT 1";
        let (id, earliest) = (*task.as_uuid(), earliest_end(*task.as_uuid()));
        let rows = self.query(sql, &[(&id, Type::UUID), (&earliest, Type::INT8)]).await?;
        rows.first().map(|row| depth(row, 0)).transpose()
    }

    /// Whether a context is stored, or is to be by a task that has not ended.
    async fn is_begun(&self, pool: &PoolName, context: &ContextId) -> Sql<bool> {
        let sql = "SELECT 1 FROM contexts WHERE pool = $1 AND name = $2 \
                   UNION ALL SELECT 1 FROM context_queue WHERE pool = $1 AND context = $2 LIMIT 1";
        let rows = self.query(sql, &[(&pool.as_str(), Type::TEXT), (&context.as_str(), Type::TEXT)]).await?;
        Ok(!rows.is_empty())
    }

    async fn known_by_key(&self, submission: &Submission) -> Sql<Option<Result<EnqueueOutcome, Refusal>>> {
        let Some(key) = &submission.task.idempotency_key else { return Ok(None) };
        let Some(KeyedTask { task, fingerprint }) = self.keyed(&submission.task.pool, key).await? else {
            return Ok(None);
        };
        Ok(Some(match fingerprint == submission.fingerprint {
            true => Ok(EnqueueOutcome::Known(Box::new(task))),
            false => Err(Refusal::KeyReused { key: key.clone(), task: task.id }),
        }))
    }

    /// The task that has a key.
    pub async fn keyed(&self, pool: &PoolName, key: &IdempotencyKey) -> Sql<Option<KeyedTask>> {
        let sql = "SELECT id, fingerprint FROM idempotency_keys WHERE pool = $1 AND key = $2";
        let pool = pool.as_str();
        let rows = self.query(sql, &[(&pool, Type::TEXT), (&key.as_str(), Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let id = TaskId::from_uuid(get(row, 0)?);
        // One that cannot be read is of no other submission.
        let fingerprint = get::<Option<Vec<u8>>>(row, 1)?.and_then(|hash| hash.try_into().ok());
        Ok(self.find(id).await?.map(|known| KeyedTask { task: known.task, fingerprint }))
    }

    /// Writes the rows of tasks with distinct ids, unless the ids are known. A short transaction leaves those open.
    async fn insert(&self, batch: &[Placed<'_>]) -> Sql<Vec<Option<Result<EnqueueOutcome, Refusal>>>> {
        let columns = Columns::of(batch);
        let earliest = columns.id.iter().copied().map(earliest_end).min().unwrap_or(0);
        for placed in batch.iter().filter(|placed| placed.claimable) {
            let Task { pool, priority, .. } = &placed.submission.task;
            self.node.cursors.put(pool, i16::from(9 - priority.get()), (placed.due.as_micros(), 0));
        }
        let rows = self.query(&INSERT, &columns.params(&earliest)).await?;
        let new = rows.iter().map(|row| get::<Uuid>(row, 0)).collect::<Sql<HashSet<_>>>()?;
        let mut answers = Vec::with_capacity(batch.len());
        for placed in batch {
            let Placed { state, claimable, depth, .. } = *placed;
            let task = placed.submission.task.id;
            if new.contains(task.as_uuid()) {
                self.gained.fetch_add(i64::from(claimable), Ordering::Relaxed);
                answers.push(Some(Ok(EnqueueOutcome::New { task, state, claimable, depth })));
            } else if self.is_short {
                answers.push(None);
            } else {
                let known = self.find(task).await?.ok_or(Fault::Conflict)?;
                answers.push(Some(Ok(EnqueueOutcome::Known(Box::new(known.task)))));
            }
        }
        Ok(answers)
    }

    pub async fn claim(&self, claim: &Claim) -> Sql<Vec<Task>> {
        self.lease(claim, claim.limit, None).await
    }

    /// Leases the first claimable tasks, at most `limit`, or only those that are `among`.
    pub(crate) async fn lease(&self, claim: &Claim, limit: usize, among: Option<Vec<Uuid>>) -> Sql<Vec<Task>> {
        static FIRST: LazyLock<String> = LazyLock::new(|| {
            leasing(concat!(
                "SELECT ctid AS at FROM ready WHERE pool = $1 ",
                may_be_claimed!(),
                "ORDER BY urgency, due, task LIMIT $3 FOR UPDATE SKIP LOCKED"
            ))
        });
        static FROM_FLOORS: LazyLock<String> = LazyLock::new(|| {
            leasing(concat!(
                "SELECT at FROM ",
                from_floors!(
                    "$7",
                    "ctid AS at",
                    concat!(may_be_claimed!(), "ORDER BY due, task LIMIT $3 FOR UPDATE SKIP LOCKED")
                ),
                " LIMIT $3"
            ))
        });
        // Each by its key: to walk the index for them would be to read past all others.
        static AMONG: LazyLock<String> = LazyLock::new(|| {
            leasing(concat!(
                "SELECT at FROM tasks k, LATERAL (SELECT ctid AS at FROM ready WHERE pool = $1 AND urgency = 9 - k.priority \
                 AND due = k.due AND task = k.task ",
                may_be_claimed!(),
                "LIMIT 1 FOR UPDATE SKIP LOCKED) r WHERE k.id = ANY($7) LIMIT $3"
            ))
        });
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
        params.extend(cursors.as_ref().map(|cursors| (cursors as &(dyn ToSql + Sync), Type::INT8_ARRAY)));
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
        let mut tasks = Vec::with_capacity(rows.len());
        for row in &rows {
            match self.claimed(row) {
                Ok(task) => tasks.push(task),
                // It is leased already, and nobody will run it.
                Err(Fault::Damaged(unread)) => self.note_unread(Unread { even_running: true, ..*unread }),
                Err(fault) => return Err(fault),
            }
        }
        Ok(tasks)
    }

    fn claimed(&self, row: &Row) -> Sql<Task> {
        let claimed = stored(row)?;
        self.node.cursors.take(&claimed.spot());
        let mut task = claimed.task;
        task.context_version = get::<i64>(row, AFTER)?.unsigned_abs();
        task.context_born = get::<i64>(row, AFTER + 1)?.unsigned_abs();
        Ok(task)
    }

    /// Lets all leases of a node live until `until`, or for so many microseconds by the clock of the database.
    pub async fn renew(&self, node: NodeId, until: Timestamp, lasts: i64) -> Sql<()> {
        let sql = "INSERT INTO nodes AS n (node, lease_until) VALUES ($1, CASE WHEN $2 THEN \
                   (extract(epoch FROM clock_timestamp()) * 1000000)::int8 + $4 ELSE $3 END) \
                   ON CONFLICT (node) DO UPDATE SET lease_until = excluded.lease_until \
                   WHERE n.lease_until < excluded.lease_until RETURNING node";
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
        let sql = "UPDATE tasks t SET agent = s.agent, started_at = COALESCE(t.started_at, s.at) \
                   FROM unnest($1::uuid[], $2::int8[], $3::uuid[], $4::int8[]) AS s (id, epoch, agent, at) WHERE t.id = ANY (ARRAY[s.id]) AND t.epoch = s.epoch AND t.state::int4 = 2 RETURNING t.task";
        let params = [
            (&ids as &(dyn ToSql + Sync), Type::UUID_ARRAY),
            (&epochs, Type::INT8_ARRAY),
            (&agents, Type::UUID_ARRAY),
            (&times, Type::INT8_ARRAY),
        ];
        self.run(sql, &params).await.map(drop)
    }
}

impl Member for Submission {
    type Answer = Result<EnqueueOutcome, Refusal>;

    async fn store(tx: &Tx<'_>, members: &[&Self]) -> Sql<Vec<Option<Self::Answer>>> {
        tx.enqueue(members).await
    }

    fn refuse(&mut self, reason: &str, _: bool) -> Option<Self::Answer> {
        Some(Err(Refusal::Unstorable { reason: reason.to_owned() }))
    }
}

/// Leases the rows of `ready` that `picked` finds by their place in the table: nobody changes a claimable row, and a plan
/// could read all of them to find those by their key. There is one statement for each way to pick, so that a plain claim
/// only walks the index.
fn leasing(picked: &str) -> String {
    let columns = task_columns("NULL::text");
    format!(
        "WITH c AS MATERIALIZED ({picked}), \
         r AS (DELETE FROM ready WHERE ctid = ANY (ARRAY(SELECT at FROM c)) RETURNING urgency, due, task), \
         d AS (SELECT task, row_number() OVER (ORDER BY urgency, due, task) AS place FROM r), \
         t AS (UPDATE tasks u SET state = 2, epoch = greatest(u.epoch + 1, CASE WHEN $5 THEN \
         (extract(epoch FROM clock_timestamp()) * 1000000)::int8 ELSE 0 END), attempt = u.attempt + 1, started_at = \
         CASE WHEN d.place <= $6 OR u.crashes > 0 THEN $2 END, \
         node = $4, agent = NULL FROM d WHERE u.task = ANY (ARRAY[d.task]) RETURNING u.*), \
         l AS (UPDATE context_queue q SET rank = 0 FROM t WHERE q.pool = ANY (ARRAY[t.pool]) \
         AND q.context = t.context AND q.rank::int4 = 1 AND q.due = t.due AND q.task = t.task) \
         SELECT {columns}, COALESCE(x.version, 0), COALESCE(x.born, 0) \
         FROM t LEFT JOIN inputs i ON i.task = ANY (ARRAY[t.task]) \
         LEFT JOIN contexts x ON x.pool = t.pool AND x.name = t.context ORDER BY 9 - t.priority, t.due, t.task"
    )
}

/// Whether a submission can be written together with others, without a lookup.
pub(crate) fn is_plain(submission: &Submission) -> bool {
    let Task { idempotency_key, context, parent, .. } = &submission.task;
    idempotency_key.is_none() && context.is_none() && parent.is_none()
}

fn has_distinct_ids(run: &[&Submission]) -> bool {
    let mut seen = HashSet::with_capacity(run.len());
    run.iter().all(|submission| seen.insert(submission.task.id))
}

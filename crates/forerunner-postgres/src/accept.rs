//! Accepting tasks.

use std::{collections::HashSet, sync::atomic::Ordering};

use forerunner_core::{ContextId, IdempotencyKey, PoolName, Task, TaskId};
use forerunner_store::{EnqueueOutcome, KeyedTask, Refusal, Submission, backend};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::{
    batch::Member,
    failure::{Fault, Sql},
    insert::{Accepted, Inserts, Way},
    rows::{depth, get},
    tables::earliest_end,
    tx::Tx,
};

impl Tx<'_> {
    /// Accepts tasks: those with neither key nor context many at a time, any other after a lookup.
    async fn enqueue(&self, batch: &[&Submission]) -> Sql<Vec<Option<Result<EnqueueOutcome, Refusal>>>> {
        let mut answers = Vec::with_capacity(batch.len());
        for run in batch.chunk_by(|a, b| is_plain(a) && is_plain(b)) {
            // What is sent along with its commit is plain and distinct.
            if self.is_short || (run.len() > 1 && has_distinct_ids(run)) {
                let placed: Vec<_> = run.iter().map(|submission| Accepted::alone(submission)).collect();
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
        let mut accepted = Accepted::alone(submission);
        let task = &submission.task;
        if let Some(parent) = task.parent {
            accepted.depth = match backend::child_depth(parent, self.depth_of(parent).await?, submission.bounds) {
                Ok(depth) => depth,
                Err(refusal) => return Ok(Some(Err(refusal))),
            };
        }
        if let Some(context) = &task.context {
            self.lock_context(&task.pool, context).await?;
            if let Some(full) = submission.bounds.contexts_full
                && !self.is_begun(&task.pool, context).await?
            {
                return Ok(Some(Err(backend::contexts_full(&task.pool, context, full))));
            }
            if accepted.claimable
                && let Some(last) = self.last_due(&task.pool, context).await?
            {
                // Somebody is ahead. A clock that went back must not let this one push in front.
                (accepted.due, accepted.claimable) = (accepted.due.max(last), false);
            }
        }
        let answer = self.insert(&[accepted]).await?.remove(0);
        if matches!(answer, Some(Ok(EnqueueOutcome::New { claimable: true, .. }))) && task.context.is_some() {
            self.leave_to_preferred(&[*task.id.as_uuid()]).await?;
        }
        Ok(answer)
    }

    /// The depth of a task; `None` if it does not exist.
    async fn depth_of(&self, task: TaskId) -> Sql<Option<u32>> {
        let sql = "SELECT depth FROM live WHERE id = $1 UNION ALL \
                   SELECT depth FROM ended WHERE id = $1 AND finished_at >= $2 LIMIT 1";
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
    async fn insert(&self, batch: &[Accepted<'_>]) -> Sql<Vec<Option<Result<EnqueueOutcome, Refusal>>>> {
        for accepted in batch.iter().filter(|accepted| accepted.claimable) {
            self.node.cursors.put(&accepted.submission.task.pool, accepted.entry().key());
        }
        let new = self.write_new(batch).await?;
        let mut answers = Vec::with_capacity(batch.len());
        for accepted in batch {
            let Accepted { state, claimable, depth, .. } = *accepted;
            let task = accepted.submission.task.id;
            if new.as_ref().is_none_or(|new| new.contains(task.as_uuid())) {
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

    /// Writes new rows; returns the ids of those that were new, or `None` if all were.
    async fn write_new(&self, batch: &[Accepted<'_>]) -> Sql<Option<HashSet<Uuid>>> {
        let is_plain = batch.iter().all(|accepted| is_plain(accepted.submission));
        let ids = batch.iter().map(|accepted| *accepted.submission.task.id.as_uuid());
        // A statement that met a known id runs again in the other way.
        let are_new = self.node.sent_ids.note(ids) && !self.is_repeated;
        let way = if is_plain && are_new { Way::of_new(batch) } else { Way::Checked };
        let inserts = Inserts::of(batch, way);
        let rows = self.query(inserts.sql(), &inserts.params()).await?;
        if way != Way::Checked {
            return Ok(None);
        }
        rows.iter().map(|row| get(row, 0)).collect::<Sql<_>>().map(Some)
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

/// Whether a submission can be written together with others, without a lookup.
pub(crate) fn is_plain(submission: &Submission) -> bool {
    let Task { idempotency_key, context, parent, .. } = &submission.task;
    idempotency_key.is_none() && context.is_none() && parent.is_none()
}

fn has_distinct_ids(run: &[&Submission]) -> bool {
    let mut seen = HashSet::with_capacity(run.len());
    run.iter().all(|submission| seen.insert(submission.task.id))
}

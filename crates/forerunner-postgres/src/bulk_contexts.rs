//! The queues of the contexts that an operation on many tasks touches.

use std::collections::{BTreeMap, HashMap};

use forerunner_core::{ContextId, PoolName};
use forerunner_store::BulkOutcome;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::{
    bulk::Brief,
    context_queue::has_running,
    failure::Sql,
    rows::{QueueEntry, get, pool, priority, time},
    tx::Tx,
};

/// A context, in its pool.
pub(crate) type PoolContext = (PoolName, ContextId);

/// The contexts of tasks, in one order for all nodes.
pub(crate) fn contexts_of(tasks: &[Brief]) -> Vec<PoolContext> {
    let contexts = tasks.iter().filter_map(|task| Some(((task.entry.pool.clone(), task.context.clone()?), ())));
    contexts.collect::<BTreeMap<_, _>>().into_keys().collect()
}

fn columns(contexts: &[PoolContext]) -> (Vec<&str>, Vec<&str>) {
    contexts.iter().map(|(pool, context)| (pool.as_str(), context.as_str())).unzip()
}

impl Tx<'_> {
    pub(crate) async fn lock_contexts(&self, contexts: &[PoolContext]) -> Sql<()> {
        if contexts.is_empty() {
            return Ok(());
        }
        // In one order for all, so that two of these wait for each other and do not meet in the middle.
        let sql = "SELECT pg_advisory_xact_lock(key)::text FROM (SELECT DISTINCT hashtextextended(pool || '/' || context, 0) \
                   AS key FROM unnest($1::text[], $2::text[]) AS l (pool, context) ORDER BY key) k";
        let (pools, contexts) = columns(contexts);
        self.run(sql, &[(&pools, Type::TEXT_ARRAY), (&contexts, Type::TEXT_ARRAY)]).await.map(drop)
    }

    /// The task of each context that may be claimed, if there is one.
    pub(crate) async fn heads(&self, contexts: &[PoolContext]) -> Sql<HashMap<Uuid, QueueEntry>> {
        if contexts.is_empty() {
            return Ok(HashMap::new());
        }
        let sql = concat!(
            "SELECT h.id, h.pool, h.priority, h.due FROM unnest($1::text[], $2::text[]) \
             AS s (pool, context), LATERAL (SELECT q.id, q.pool, q.rank, q.due, t.state, t.priority \
             FROM context_queue q JOIN live t ON t.id = ANY (ARRAY[q.id]) WHERE q.pool = s.pool \
             AND q.context = s.context ORDER BY q.rank, q.due, q.id LIMIT 1) h WHERE h.rank = 1 AND h.state = 1 \
             AND NOT ",
            has_running!("s.pool", "s.context")
        );
        let (pools, contexts) = columns(contexts);
        let rows = self.query(sql, &[(&pools, Type::TEXT_ARRAY), (&contexts, Type::TEXT_ARRAY)]).await?;
        let mut heads = HashMap::with_capacity(rows.len());
        for row in &rows {
            let id = get(row, 0)?;
            heads.insert(id, QueueEntry { id, pool: pool(row, 1)?, priority: priority(row, 2)?, due: time(row, 3)? });
        }
        Ok(heads)
    }

    /// Removes tasks from the queues of their contexts.
    pub(crate) async fn leave_contexts(&self, tasks: &[Brief]) -> Sql<()> {
        let in_contexts: Vec<_> = tasks.iter().filter_map(|task| Some((task, task.context.clone()?))).collect();
        if in_contexts.is_empty() {
            return Ok(());
        }
        let sql = "DELETE FROM context_queue q USING unnest($1::text[], $2::text[], $3::uuid[]) AS s (pool, context, id) \
                   WHERE q.pool = ANY (ARRAY[s.pool]) AND q.context = ANY (ARRAY[s.context]) AND q.rank IN (1, 2) \
                   AND q.id = s.id RETURNING q.id";
        let ids: Vec<Uuid> = in_contexts.iter().map(|(task, _)| task.entry.id).collect();
        let contexts: Vec<PoolContext> =
            in_contexts.into_iter().map(|(task, context)| (task.entry.pool.clone(), context)).collect();
        let (pools, contexts) = columns(&contexts);
        let params = [
            (&pools as &(dyn ToSql + Sync), Type::TEXT_ARRAY),
            (&contexts, Type::TEXT_ARRAY),
            (&ids, Type::UUID_ARRAY),
        ];
        self.run(sql, &params).await.map(drop)
    }

    /// Makes the right task of each context's queue claimable. `before` is the result of [`heads`](Self::heads) before
    /// the change, without the tasks that have ended.
    pub(crate) async fn advance_many(
        &self,
        contexts: &[PoolContext],
        before: &HashMap<Uuid, QueueEntry>,
        outcome: &mut BulkOutcome,
    ) -> Sql<()> {
        let after = self.heads(contexts).await?;
        let passed: Vec<Uuid> = before.keys().filter(|id| !after.contains_key(id)).copied().collect();
        for id in self.make_many_unready(&passed).await? {
            outcome.pool(&before[&id].pool).claimable -= 1;
        }
        let new: Vec<&QueueEntry> = after.values().filter(|entry| !before.contains_key(&entry.id)).collect();
        self.make_many_ready(&new).await?;
        for entry in new {
            outcome.pool(&entry.pool).claimable += 1;
        }
        Ok(())
    }
}

//! Giving many tasks that wait to another pool.

use std::collections::{HashMap, HashSet};

use forerunner_core::{PoolName, TaskId, TaskState};
use tokio_postgres::types::{ToSql, Type};

use crate::{
    bulk::Brief,
    failure::{Fault, Sql},
    rows::{QueueKey, get},
    tx::Tx,
};
use forerunner_store::{BulkAction, BulkOutcome, BulkRefusal, Obstacle};

impl Tx<'_> {
    /// Gives tasks to another pool; answers those that others changed meanwhile.
    ///
    /// The tasks have no context, so that no line is to be locked.
    pub(crate) async fn move_many(
        &self,
        tasks: Vec<TaskId>,
        to: &PoolName,
        dry_run: bool,
        outcome: &mut BulkOutcome,
    ) -> Sql<Vec<TaskId>> {
        let found = self.unfinished(&tasks).await?;
        let known: HashSet<_> = found.iter().map(|task| task.id).collect();
        self.sort_out(tasks.into_iter().filter(|task| !known.contains(task)).collect(), outcome).await?;
        let keys = self.keys_of(&found).await?;
        let mut taken = self.taken_keys(to, &keys).await?;
        let mut movable = Vec::with_capacity(found.len());
        for task in found {
            let key = keys.get(&task.spot.row);
            match obstacle(&task, key, to, &taken) {
                Some(obstacle) => outcome.refused.push(BulkRefusal { task: task.id, state: task.state, obstacle }),
                None => {
                    // One key of two other pools is good for one task.
                    taken.extend(key.cloned());
                    movable.push(task);
                }
            }
        }
        if dry_run {
            movable.iter().for_each(|task| task.note_done(outcome.pool(&task.spot.pool)));
            return Ok(Vec::new());
        }
        self.change_pool(movable, &keys, to, outcome).await
    }

    async fn change_pool(
        &self,
        movable: Vec<Brief>,
        keys: &HashMap<i64, String>,
        to: &PoolName,
        outcome: &mut BulkOutcome,
    ) -> Sql<Vec<TaskId>> {
        let queued: Vec<_> = movable.iter().filter(|task| task.state == TaskState::Queued).collect();
        let ready = self.unready_many(&queued.iter().map(|task| &task.spot).collect::<Vec<_>>()).await?;
        let is_free = |task: &&Brief| task.state == TaskState::Scheduled || ready.contains(&task.spot.row);
        let moved = self.write_pool(&movable.iter().filter(is_free).collect::<Vec<_>>(), to).await?;
        if ready.iter().any(|row| !moved.contains(row)) {
            return Err(Fault::Conflict);
        }
        let (done, missed): (Vec<_>, Vec<_>) = movable.into_iter().partition(|task| moved.contains(&task.spot.row));
        self.move_keys(&done, keys, to).await?;
        let claimable = done.iter().filter(|task| ready.contains(&task.spot.row));
        let arrived: Vec<QueueKey> = claimable.map(|task| QueueKey { pool: to.clone(), ..task.spot.clone() }).collect();
        self.ready_many(&arrived.iter().collect::<Vec<_>>()).await?;
        for task in done {
            let left = outcome.pool(&task.spot.pool);
            left.claimable -= i64::from(ready.contains(&task.spot.row));
            task.note_done(left);
            let come = outcome.pool(to);
            come.arrived.push(task.id);
            come.arrived_bytes += task.input_bytes;
        }
        if !arrived.is_empty() {
            outcome.pool(to).claimable += arrived.len() as i64;
            self.hints().work.insert(to.clone());
        }
        Ok(missed.into_iter().map(|task| task.id).collect())
    }

    /// Writes another pool to the rows of tasks that are as they were read; answers those rows.
    async fn write_pool(&self, tasks: &[&Brief], to: &PoolName) -> Sql<HashSet<i64>> {
        if tasks.is_empty() {
            return Ok(HashSet::new());
        }
        let sql = "UPDATE tasks t SET pool = $1 FROM unnest($2::int8[], $3::int2[]) AS s (task, was) \
                   WHERE t.task = ANY (ARRAY[s.task]) AND t.state::int4 = s.was RETURNING t.task";
        let rows: Vec<i64> = tasks.iter().map(|task| task.spot.row).collect();
        let states: Vec<i16> = tasks.iter().map(|task| task.state as i16).collect();
        let params =
            [(&to.as_str() as &(dyn ToSql + Sync), Type::TEXT), (&rows, Type::INT8_ARRAY), (&states, Type::INT2_ARRAY)];
        self.rows_of(sql, &params).await
    }

    /// The idempotency keys of tasks, by their rows.
    async fn keys_of(&self, tasks: &[Brief]) -> Sql<HashMap<i64, String>> {
        let sql = "SELECT task, key FROM inputs WHERE task = ANY($1) AND key IS NOT NULL";
        let rows: Vec<i64> = tasks.iter().map(|task| task.spot.row).collect();
        let found = self.query(sql, &[(&rows, Type::INT8_ARRAY)]).await?;
        found.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
    }

    /// Those of the keys that a pool has a task for.
    async fn taken_keys(&self, pool: &PoolName, keys: &HashMap<i64, String>) -> Sql<HashSet<String>> {
        if keys.is_empty() {
            return Ok(HashSet::new());
        }
        let keys: Vec<&str> = keys.values().map(String::as_str).collect();
        let sql = "SELECT key FROM idempotency_keys WHERE pool = $1 AND key = ANY($2)";
        let found = self.query(sql, &[(&pool.as_str(), Type::TEXT), (&keys, Type::TEXT_ARRAY)]).await?;
        found.iter().map(|row| get(row, 0)).collect()
    }

    async fn move_keys(&self, tasks: &[Brief], keys: &HashMap<i64, String>, to: &PoolName) -> Sql<()> {
        let keyed: Vec<_> = tasks.iter().filter_map(|task| Some((task, keys.get(&task.spot.row)?.as_str()))).collect();
        if keyed.is_empty() {
            return Ok(());
        }
        let sql = "UPDATE idempotency_keys k SET pool = $1 FROM unnest($2::text[], $3::text[], $4::uuid[]) AS s (pool, key, id) \
                   WHERE k.pool = ANY (ARRAY[s.pool]) AND k.key = ANY (ARRAY[s.key]) AND k.id = s.id RETURNING k.key";
        let pools: Vec<&str> = keyed.iter().map(|(task, _)| task.spot.pool.as_str()).collect();
        let names: Vec<&str> = keyed.iter().map(|(_, key)| *key).collect();
        let ids: Vec<_> = keyed.iter().map(|(task, _)| *task.id.as_uuid()).collect();
        let params = [
            (&to.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&pools, Type::TEXT_ARRAY),
            (&names, Type::TEXT_ARRAY),
            (&ids, Type::UUID_ARRAY),
        ];
        self.run(sql, &params).await.map(drop)
    }
}

/// Why an unfinished task cannot move to another pool.
fn obstacle(task: &Brief, key: Option<&String>, to: &PoolName, taken: &HashSet<String>) -> Option<Obstacle> {
    let action = BulkAction::Move { to: to.clone(), dry_run: false };
    match task {
        _ if !action.applies_to(task.state) => Some(Obstacle::State),
        _ if task.spot.pool == *to => Some(Obstacle::SamePool),
        _ if task.context.is_some() => Some(Obstacle::Context),
        _ => key.filter(|key| taken.contains(*key)).map(|_| Obstacle::Key),
    }
}

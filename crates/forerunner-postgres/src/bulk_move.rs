//! Giving many tasks that wait to another pool.

use std::collections::{HashMap, HashSet};

use forerunner_core::{PoolName, TaskId};
use forerunner_store::{BulkAction, BulkOutcome, BulkRefusal, Obstacle};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::{bulk::Brief, failure::Sql, rows::get, tx::Tx};

impl Tx<'_> {
    /// Gives tasks to another pool; returns those that others changed meanwhile.
    ///
    /// The tasks have no context, so that no context is to be locked.
    pub(crate) async fn move_many(
        &self,
        tasks: Vec<TaskId>,
        to: &PoolName,
        dry_run: bool,
        outcome: &mut BulkOutcome,
    ) -> Sql<Vec<TaskId>> {
        let found = self.unfinished(&tasks).await?;
        let known: HashSet<_> = found.iter().map(Brief::task).collect();
        self.sort_out(tasks.into_iter().filter(|task| !known.contains(task)).collect(), outcome).await?;
        let keys = self.keys_of(&found).await?;
        let mut taken = self.taken_keys(to, &keys).await?;
        let mut movable = Vec::with_capacity(found.len());
        for task in found {
            let key = keys.get(&task.entry.id);
            match obstacle(&task, key, to, &taken) {
                Some(obstacle) => outcome.refused.push(BulkRefusal { task: task.task(), state: task.state, obstacle }),
                None => {
                    // One key of two other pools is good for one task.
                    taken.extend(key.cloned());
                    movable.push(task);
                }
            }
        }
        if dry_run {
            movable.iter().for_each(|task| task.note_done(outcome.pool(&task.entry.pool)));
            return Ok(Vec::new());
        }
        self.change_pool(movable, &keys, to, outcome).await
    }

    async fn change_pool(
        &self,
        movable: Vec<Brief>,
        keys: &HashMap<Uuid, String>,
        to: &PoolName,
        outcome: &mut BulkOutcome,
    ) -> Sql<Vec<TaskId>> {
        let moved = self.write_pool(&movable, to).await?;
        let (done, missed): (Vec<_>, Vec<_>) = movable.into_iter().partition(|task| moved.contains(&task.entry.id));
        self.move_keys(&done, keys, to).await?;
        let mut arrived = 0;
        for task in done {
            if task.is_claimable {
                self.node.cursors.put(to, task.entry.key());
                arrived += 1;
            }
            let left = outcome.pool(&task.entry.pool);
            left.claimable -= i64::from(task.is_claimable);
            task.note_done(left);
            let target = outcome.pool(to);
            target.arrived.push(task.task());
            target.arrived_bytes += task.input_bytes;
        }
        if arrived > 0 {
            outcome.pool(to).claimable += arrived;
            self.hints().work.insert(to.clone());
        }
        Ok(missed.iter().map(Brief::task).collect())
    }

    /// Writes another pool to tasks that are as they were read; returns those. They keep their places.
    async fn write_pool(&self, tasks: &[Brief], to: &PoolName) -> Sql<Vec<Uuid>> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let sql = "UPDATE live t SET pool = $1 FROM unnest($2::uuid[], $3::int2[]) AS s (id, was) \
                   WHERE t.id = ANY (ARRAY[s.id]) AND t.state = s.was RETURNING t.id";
        let ids: Vec<Uuid> = tasks.iter().map(|task| task.entry.id).collect();
        let states: Vec<i16> = tasks.iter().map(|task| task.state as i16).collect();
        let params =
            [(&to.as_str() as &(dyn ToSql + Sync), Type::TEXT), (&ids, Type::UUID_ARRAY), (&states, Type::INT2_ARRAY)];
        self.ids_of(sql, &params).await
    }

    /// The idempotency keys of tasks, by their ids.
    async fn keys_of(&self, tasks: &[Brief]) -> Sql<HashMap<Uuid, String>> {
        let sql = "SELECT id, key FROM live WHERE id = ANY ($1) AND key IS NOT NULL";
        let ids: Vec<Uuid> = tasks.iter().map(|task| task.entry.id).collect();
        let found = self.query(sql, &[(&ids, Type::UUID_ARRAY)]).await?;
        found.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
    }

    /// Those of the keys that a pool has a task for.
    async fn taken_keys(&self, pool: &PoolName, keys: &HashMap<Uuid, String>) -> Sql<HashSet<String>> {
        if keys.is_empty() {
            return Ok(HashSet::new());
        }
        let keys: Vec<&str> = keys.values().map(String::as_str).collect();
        let sql = "SELECT key FROM idempotency_keys WHERE pool = $1 AND key = ANY($2)";
        let found = self.query(sql, &[(&pool.as_str(), Type::TEXT), (&keys, Type::TEXT_ARRAY)]).await?;
        found.iter().map(|row| get(row, 0)).collect()
    }

    async fn move_keys(&self, tasks: &[Brief], keys: &HashMap<Uuid, String>, to: &PoolName) -> Sql<()> {
        let keyed: Vec<_> = tasks.iter().filter_map(|task| Some((task, keys.get(&task.entry.id)?.as_str()))).collect();
        if keyed.is_empty() {
            return Ok(());
        }
        let sql = "UPDATE idempotency_keys k SET pool = $1 FROM unnest($2::text[], $3::text[], $4::uuid[]) AS s (pool, key, id) \
                   WHERE k.pool = ANY (ARRAY[s.pool]) AND k.key = ANY (ARRAY[s.key]) AND k.id = s.id RETURNING k.key";
        let pools: Vec<&str> = keyed.iter().map(|(task, _)| task.entry.pool.as_str()).collect();
        let names: Vec<&str> = keyed.iter().map(|(_, key)| *key).collect();
        let ids: Vec<_> = keyed.iter().map(|(task, _)| task.entry.id).collect();
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
        _ if task.entry.pool == *to => Some(Obstacle::SamePool),
        _ if task.context.is_some() => Some(Obstacle::Context),
        _ => key.filter(|key| taken.contains(*key)).map(|_| Obstacle::Key),
    }
}

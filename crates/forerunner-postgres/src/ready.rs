//! The claimable tasks: which become so, and which stop being so without a claim.
//!
//! A task is claimable if it is queued and has a key. A claim changes the state only, so the key stays until the task ends.

use std::sync::atomic::Ordering;

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::{
    failure::{Fault, Sql},
    rows::QueueEntry,
    tx::Tx,
};

impl Tx<'_> {
    /// Makes a task claimable.
    pub async fn make_ready(&self, entry: &QueueEntry) -> Sql<()> {
        self.write_keys(&[entry]).await?;
        self.gained.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Makes tasks of the heads of contexts claimable.
    pub async fn make_many_ready(&self, entries: &[&QueueEntry]) -> Sql<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.write_keys(entries).await?;
        self.leave_to_preferred(&entries.iter().map(|entry| entry.id).collect::<Vec<_>>()).await
    }

    async fn write_keys(&self, entries: &[&QueueEntry]) -> Sql<()> {
        let sql = "UPDATE live t SET queue_key = s.key FROM unnest($1::uuid[], $2::bytea[]) AS s (id, key) \
                   WHERE t.id = ANY (ARRAY[s.id]) RETURNING t.id";
        let ids: Vec<Uuid> = entries.iter().map(|entry| entry.id).collect();
        let keys: Vec<_> = entries.iter().map(|entry| entry.key()).collect();
        for (entry, key) in entries.iter().zip(&keys) {
            self.node.cursors.put(&entry.pool, *key);
        }
        let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes().as_slice()).collect();
        let params = [(&ids as &(dyn ToSql + Sync), Type::UUID_ARRAY), (&keys, Type::BYTEA_ARRAY)];
        self.run(sql, &params).await.map(drop)
    }

    /// Makes a claimable task not so. [`Fault::Conflict`] when another node has claimed it meanwhile.
    pub async fn make_unready(&self, id: Uuid) -> Sql<()> {
        if self.make_many_unready(&[id]).await?.is_empty() {
            return Err(Fault::Conflict);
        }
        self.gained.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    /// Makes tasks not claimable; returns those that were.
    pub async fn make_many_unready(&self, ids: &[Uuid]) -> Sql<Vec<Uuid>> {
        let sql = "UPDATE live SET queue_key = NULL WHERE id = ANY ($1) AND queue_key IS NOT NULL AND state = 1 \
                   RETURNING id";
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.ids_of(sql, &[(&ids, Type::UUID_ARRAY)]).await
    }

    /// Those of the tasks that are claimable.
    pub async fn claimable_of(&self, ids: &[Uuid]) -> Sql<Vec<Uuid>> {
        let sql = "SELECT id FROM live WHERE id = ANY ($1) AND queue_key IS NOT NULL AND state = 1";
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.ids_of(sql, &[(&ids, Type::UUID_ARRAY)]).await
    }
}

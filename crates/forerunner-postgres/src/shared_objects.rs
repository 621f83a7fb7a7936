//! Pieces that frames name: counted, so that nodes need no lock of their own to share and to drop them.

use forerunner_core::PoolName;
use forerunner_store::SharedObject;
use tokio_postgres::types::{ToSql, Type};

use crate::{
    failure::{Fault, Sql},
    rows::get,
    tx::Tx,
};

/// Records that the frame of a version names shared objects, and adds the context as a user of the new ones. Returns
/// their entries, and whether all were still there.
///
/// An object that the context uses already is not locked: it stays until the context releases it.
const NAME: &str = "\
WITH p AS MATERIALIZED (
    SELECT p.object, p.kind, p.name FROM shared_objects p
    JOIN unnest($2::int2[], $3::bytea[]) AS w (kind, name) ON p.kind = w.kind AND p.name = w.name WHERE p.pool = $1
), n AS (
    INSERT INTO shared_object_uses (context, object, since) SELECT $4, object, $5 FROM p ORDER BY object
    ON CONFLICT DO NOTHING RETURNING object
), c AS (
    UPDATE shared_objects SET uses = uses + 1 FROM n WHERE shared_objects.object = n.object RETURNING shared_objects.object
), s AS (
    UPDATE shared_object_uses SET since = $5 WHERE context = $4 AND since < $5 AND object IN (SELECT object FROM p)
)
SELECT kind, name, (SELECT count(*) FROM n) = (SELECT count(*) FROM c) FROM p";

const FORGET: &str = "\
WITH u AS (DELETE FROM shared_object_uses WHERE context = $1 AND since <= $2 RETURNING object)
UPDATE shared_objects SET uses = uses - 1 FROM u WHERE shared_objects.object = u.object RETURNING shared_objects.object";

impl Tx<'_> {
    /// Notes what the frame of a version names, and stores what is new: only that travels.
    pub async fn write_names(
        &self,
        pool: &PoolName,
        context: i64,
        version: i64,
        shared_objects: &[SharedObject],
    ) -> Sql<()> {
        if shared_objects.is_empty() {
            return Ok(());
        }
        let known = self.name(pool, context, version, shared_objects).await?;
        let is_known = |object: &&SharedObject| known.contains(&(object.kind as i16, object.name.to_vec()));
        let new: Vec<_> = shared_objects.iter().filter(|object| !is_known(object)).collect();
        for object in &new {
            self.write_object(pool, object).await?;
        }
        if !new.is_empty() {
            self.name(pool, context, version, shared_objects).await?;
        }
        Ok(())
    }

    async fn name(
        &self,
        pool: &PoolName,
        context: i64,
        version: i64,
        shared_objects: &[SharedObject],
    ) -> Sql<Vec<(i16, Vec<u8>)>> {
        let kinds: Vec<i16> = shared_objects.iter().map(|object| object.kind as i16).collect();
        let names: Vec<&[u8]> = shared_objects.iter().map(|object| object.name.as_slice()).collect();
        let params = [
            (&pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&kinds, Type::INT2_ARRAY),
            (&names, Type::BYTEA_ARRAY),
            (&context, Type::INT8),
            (&version, Type::INT8),
        ];
        let rows = self.query(NAME, &params).await?;
        let found = rows.iter().map(|row| match get(row, 2)? {
            true => Ok((get(row, 0)?, get(row, 1)?)),
            // Another node dropped one between the lookup and the count.
            false => Err(Fault::Conflict),
        });
        found.collect()
    }

    async fn write_object(&self, pool: &PoolName, object: &SharedObject) -> Sql<()> {
        // Another node may have stored it meanwhile: then its row is locked, and found the next time.
        let sql = "INSERT INTO shared_objects AS p (pool, kind, name, bytes, uses) VALUES ($1, $2, $3, $4, 0) \
                   ON CONFLICT (pool, kind, name) DO UPDATE SET uses = p.uses RETURNING p.object";
        let (kind, name) = (object.kind as i16, object.name.as_slice());
        let params = [
            (&pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&kind, Type::INT2),
            (&name, Type::BYTEA),
            (&&*object.bytes, Type::BYTEA),
        ];
        self.run(sql, &params).await.map(drop)
    }

    /// Forgets what the frames of a context name, up to a version; answers which shared objects.
    pub async fn forget_names(&self, context: i64, version: i64) -> Sql<Vec<i64>> {
        let rows = self.query(FORGET, &[(&context, Type::INT8), (&version, Type::INT8)]).await?;
        rows.iter().map(|row| get(row, 0)).collect()
    }

    /// Removes those of the shared objects that no context needs.
    pub async fn drop_unnamed(&self, shared_objects: &[i64]) -> Sql<()> {
        if shared_objects.is_empty() {
            return Ok(());
        }
        let sql = "DELETE FROM shared_objects WHERE object = ANY($1) AND uses = 0 RETURNING object";
        self.run(sql, &[(&shared_objects, Type::INT8_ARRAY)]).await.map(drop)
    }
}

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
    SELECT p.piece, p.kind, p.name FROM pieces p
    JOIN unnest($2::int2[], $3::bytea[]) AS w (kind, name) ON p.kind = w.kind AND p.name = w.name WHERE p.pool = $1
), n AS (
    INSERT INTO piece_uses (context, piece, since) SELECT $4, piece, $5 FROM p ORDER BY piece
    ON CONFLICT DO NOTHING RETURNING piece
), c AS (
    UPDATE pieces SET uses = uses + 1 FROM n WHERE pieces.piece = n.piece RETURNING pieces.piece
), s AS (
    UPDATE piece_uses SET since = $5 WHERE context = $4 AND since < $5 AND piece IN (SELECT piece FROM p)
)
SELECT kind, name, (SELECT count(*) FROM n) = (SELECT count(*) FROM c) FROM p";

const FORGET: &str = "\
WITH u AS (DELETE FROM piece_uses WHERE context = $1 AND since <= $2 RETURNING piece)
UPDATE pieces SET uses = uses - 1 FROM u WHERE pieces.piece = u.piece RETURNING pieces.piece";

impl Tx<'_> {
    /// Notes what the frame of a version names, and stores what is new: only that travels.
    pub async fn write_names(&self, pool: &PoolName, context: i64, version: i64, pieces: &[SharedObject]) -> Sql<()> {
        if pieces.is_empty() {
            return Ok(());
        }
        let known = self.name(pool, context, version, pieces).await?;
        let is_known = |piece: &&SharedObject| known.contains(&(piece.kind as i16, piece.name.to_vec()));
        let new: Vec<_> = pieces.iter().filter(|piece| !is_known(piece)).collect();
        for piece in &new {
            self.write_piece(pool, piece).await?;
        }
        if !new.is_empty() {
            self.name(pool, context, version, pieces).await?;
        }
        Ok(())
    }

    async fn name(
        &self,
        pool: &PoolName,
        context: i64,
        version: i64,
        pieces: &[SharedObject],
    ) -> Sql<Vec<(i16, Vec<u8>)>> {
        let kinds: Vec<i16> = pieces.iter().map(|piece| piece.kind as i16).collect();
        let names: Vec<&[u8]> = pieces.iter().map(|piece| piece.name.as_slice()).collect();
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

    async fn write_piece(&self, pool: &PoolName, piece: &SharedObject) -> Sql<()> {
        // Another node may have stored it meanwhile: then its row is locked, and found the next time.
        let sql = "INSERT INTO pieces AS p (pool, kind, name, bytes, uses) VALUES ($1, $2, $3, $4, 0) \
                   ON CONFLICT (pool, kind, name) DO UPDATE SET uses = p.uses RETURNING p.piece";
        let (kind, name) = (piece.kind as i16, piece.name.as_slice());
        let params = [
            (&pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&kind, Type::INT2),
            (&name, Type::BYTEA),
            (&&*piece.bytes, Type::BYTEA),
        ];
        self.run(sql, &params).await.map(drop)
    }

    /// Forgets what the frames of a context name, up to a version; answers which pieces.
    pub async fn forget_names(&self, context: i64, version: i64) -> Sql<Vec<i64>> {
        let rows = self.query(FORGET, &[(&context, Type::INT8), (&version, Type::INT8)]).await?;
        rows.iter().map(|row| get(row, 0)).collect()
    }

    /// Removes those of the pieces that no context needs.
    pub async fn drop_unnamed(&self, pieces: &[i64]) -> Sql<()> {
        if pieces.is_empty() {
            return Ok(());
        }
        let sql = "DELETE FROM pieces WHERE piece = ANY($1) AND uses = 0 RETURNING piece";
        self.run(sql, &[(&pieces, Type::INT8_ARRAY)]).await.map(drop)
    }
}

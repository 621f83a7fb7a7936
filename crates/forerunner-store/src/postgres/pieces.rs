//! Pieces that frames name: counted, so that nodes need no lock of their own to share and to drop them.

use tokio_postgres::types::{ToSql, Type};

use forerunner_core::PoolName;

use super::{failure::Sql, rows::get, tx::Tx};
use crate::Piece;

/// Finds pieces, and keeps others from dropping them. One that is being dropped is not found once it is gone.
const FIND: &str = "\
SELECT p.piece, p.kind, p.name FROM pieces p
JOIN unnest($2::int2[], $3::bytea[]) AS w (kind, name) ON p.kind = w.kind AND p.name = w.name
WHERE p.pool = $1 ORDER BY p.kind, p.name FOR UPDATE OF p";

/// Notes that a context names pieces, and counts those that are new to it.
const USE: &str = "\
WITH n AS (INSERT INTO piece_uses (context, piece, since) SELECT $1, unnest($2::int8[]), $3
    ON CONFLICT DO NOTHING RETURNING piece)
UPDATE pieces SET uses = uses + 1 FROM n WHERE pieces.piece = n.piece RETURNING pieces.piece";

const FORGET: &str = "\
WITH u AS (DELETE FROM piece_uses WHERE context = $1 AND since <= $2 RETURNING piece)
UPDATE pieces SET uses = uses - 1 FROM u WHERE pieces.piece = u.piece RETURNING pieces.piece";

impl Tx<'_> {
    /// Notes what the frame of a version names, and stores what is new: only that travels.
    pub async fn write_names(&self, pool: &PoolName, context: i64, version: i64, pieces: &[Piece]) -> Sql<()> {
        if pieces.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(pieces.len());
        let known = self.find_pieces(pool, pieces).await?;
        for piece in pieces {
            let key = (piece.kind as i16, piece.name.as_slice());
            let found = known.iter().find(|(_, kind, name)| (*kind, name.as_slice()) == key);
            rows.push(match found {
                Some((row, ..)) => *row,
                None => self.write_piece(pool, piece).await?,
            });
        }
        self.run(USE, &[(&context, Type::INT8), (&rows, Type::INT8_ARRAY), (&version, Type::INT8)]).await?;
        let sql =
            "UPDATE piece_uses SET since = $3 WHERE context = $1 AND piece = ANY($2) AND since < $3 RETURNING piece";
        self.run(sql, &[(&context, Type::INT8), (&rows, Type::INT8_ARRAY), (&version, Type::INT8)]).await.map(drop)
    }

    async fn find_pieces(&self, pool: &PoolName, pieces: &[Piece]) -> Sql<Vec<(i64, i16, Vec<u8>)>> {
        let kinds: Vec<i16> = pieces.iter().map(|piece| piece.kind as i16).collect();
        let names: Vec<&[u8]> = pieces.iter().map(|piece| piece.name.as_slice()).collect();
        let params = [
            (&pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&kinds, Type::INT2_ARRAY),
            (&names, Type::BYTEA_ARRAY),
        ];
        let rows = self.query(FIND, &params).await?;
        rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?, get(row, 2)?))).collect()
    }

    async fn write_piece(&self, pool: &PoolName, piece: &Piece) -> Sql<i64> {
        // Another node may have stored it meanwhile: then its row is locked as if it had been found.
        let sql = "INSERT INTO pieces AS p (pool, kind, name, bytes, uses) VALUES ($1, $2, $3, $4, 0) \
                   ON CONFLICT (pool, kind, name) DO UPDATE SET uses = p.uses RETURNING p.piece";
        let (kind, name) = (piece.kind as i16, piece.name.as_slice());
        let params = [
            (&pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&kind, Type::INT2),
            (&name, Type::BYTEA),
            (&&*piece.bytes, Type::BYTEA),
        ];
        get(&self.query(sql, &params).await?[0], 0)
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

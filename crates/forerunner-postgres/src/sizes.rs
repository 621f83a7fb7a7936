//! How many bytes a pool stores: sizes are read without the values.

use forerunner_core::PoolName;
use tokio_postgres::types::Type;

use crate::{failure::Sql, rows::get, tx::Tx};

impl Tx<'_> {
    pub async fn input_bytes(&self, pool: &PoolName) -> Sql<u64> {
        let sql = "SELECT COALESCE(sum(octet_length(i.input)), 0)::int8 FROM tasks t JOIN inputs i ON i.task = t.task \
                   WHERE t.pool = $1 AND t.state < 3";
        self.sum(sql, pool).await
    }

    pub async fn context_bytes(&self, pool: &PoolName) -> Sql<u64> {
        let sql = "SELECT ((SELECT COALESCE(sum(octet_length(f.bytes)), 0) FROM contexts c JOIN frames f \
                   ON f.context = c.context WHERE c.pool = $1) + (SELECT COALESCE(sum(octet_length(x.bytes)), 0) \
                   FROM pieces x WHERE x.pool = $1))::int8";
        self.sum(sql, pool).await
    }

    async fn sum(&self, sql: &str, pool: &PoolName) -> Sql<u64> {
        let rows = self.query(sql, &[(&pool.as_str(), Type::TEXT)]).await?;
        rows.first().map_or(Ok(0), |row| Ok(get::<i64>(row, 0)?.unsigned_abs()))
    }
}

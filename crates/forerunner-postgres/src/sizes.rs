//! How many bytes a pool stores: sizes are read without the values.

use forerunner_core::{PoolName, TaskId, TenantName};
use forerunner_store::TenantUsage;
use tokio_postgres::types::Type;

use crate::{failure::Sql, rows::get, tx::Tx};

impl Tx<'_> {
    pub async fn input_bytes(&self, pool: &PoolName) -> Sql<u64> {
        let sql = "SELECT COALESCE(sum(octet_length(input)), 0)::int8 FROM live WHERE pool = $1 AND state < 3";
        self.sum(sql, pool).await
    }

    pub async fn input_sizes(&self, tasks: &[TaskId]) -> Sql<Vec<(TaskId, u64)>> {
        let sql = "SELECT id, octet_length(input)::int8 FROM live WHERE id = ANY ($1) AND state < 3";
        let ids: Vec<_> = tasks.iter().map(|task| *task.as_uuid()).collect();
        let rows = self.query(sql, &[(&ids, Type::UUID_ARRAY)]).await?;
        rows.iter().map(|row| Ok((TaskId::from_uuid(get(row, 0)?), get::<i64>(row, 1)?.unsigned_abs()))).collect()
    }

    pub async fn tenant_usage(&self, tenant: &TenantName) -> Sql<TenantUsage> {
        // With the condition of the index of tenants, where it applies.
        let by_index = if tenant.is_default() { "" } else { "AND tenant <> 'default'" };
        let sql = format!(
            "SELECT count(*), COALESCE(sum(octet_length(input)), 0)::int8 FROM live WHERE tenant = $1 {by_index} AND state < 3"
        );
        let rows = self.query(&sql, &[(&tenant.as_str(), Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(TenantUsage::default()) };
        let (tasks, bytes) = (get::<i64>(row, 0)?, get::<i64>(row, 1)?);
        Ok(TenantUsage { tasks: tasks.unsigned_abs(), input_bytes: bytes.unsigned_abs() })
    }

    pub async fn context_bytes(&self, pool: &PoolName) -> Sql<u64> {
        let sql = "SELECT ((SELECT COALESCE(sum(octet_length(f.bytes)), 0) FROM contexts c JOIN frames f \
                   ON f.context = c.context WHERE c.pool = $1) + (SELECT COALESCE(sum(octet_length(x.bytes)), 0) \
                   FROM shared_objects x WHERE x.pool = $1))::int8";
        self.sum(sql, pool).await
    }

    async fn sum(&self, sql: &str, pool: &PoolName) -> Sql<u64> {
        let rows = self.query(sql, &[(&pool.as_str(), Type::TEXT)]).await?;
        rows.first().map_or(Ok(0), |row| Ok(get::<i64>(row, 0)?.unsigned_abs()))
    }
}

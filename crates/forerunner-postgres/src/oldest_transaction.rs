//! Why the database retains dead rows, and how many.

use deadpool_postgres::Object;
use forerunner_store::{OldestTransaction, VacuumStatus};
use tokio::time::Instant;
use tokio_postgres::types::{ToSql, Type};

/// The tables whose rows come and go with every task.
const TABLES: [&str; 3] = ["live", "context_queue", "nodes"];
const DEAD: &str = "SELECT t.name, pg_stat_get_dead_tuples(to_regclass(t.name)) FROM unnest($1::text[]) AS t (name)";

/// The owner of the oldest transaction number: a session with a snapshot or with a transaction that wrote, a prepared
/// transaction, or a replication slot. Sessions of other databases do not count, nor do vacuums.
///
/// Of sessions of other roles the number is always to be seen; their state and times only with `pg_read_all_stats`.
const OLDEST: &str = "\
SELECT name, program, role, state, seconds::float8, number, remedy FROM (
    SELECT 'session ' || pid AS name, application_name AS program, usename::text AS role, state,
        extract(epoch FROM clock_timestamp() - xact_start) AS seconds, COALESCE(backend_xmin, backend_xid)::text AS number,
        greatest(age(backend_xmin), age(backend_xid)) AS age, format('SELECT pg_terminate_backend(%s)', pid) AS remedy
    FROM pg_stat_activity a WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND pid <> pg_backend_pid()
        AND (datname IS NULL OR datname = current_database())
        AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum v WHERE v.pid = a.pid)
    UNION ALL
    SELECT 'prepared transaction ' || gid, NULL, owner::text, 'prepared', extract(epoch FROM clock_timestamp() - prepared),
        transaction::text, age(transaction), format('ROLLBACK PREPARED %L', gid)
    FROM pg_prepared_xacts WHERE database = current_database()
    UNION ALL
    SELECT 'replication slot ' || slot_name, NULL, NULL, CASE WHEN active THEN 'active' ELSE 'inactive' END, NULL,
        xmin::text, age(xmin), format('SELECT pg_drop_replication_slot(%L)', slot_name)
    FROM pg_replication_slots WHERE xmin IS NOT NULL
) AS h ORDER BY age DESC, seconds DESC NULLS LAST LIMIT 1";

/// Remembers the owner of the oldest number at the last check: an owner with the same number has had it meanwhile. A
/// session that runs one short statement after the other has a new one each time.
#[derive(Debug, Default)]
pub(crate) struct OpenSnapshots {
    before: Option<(String, String, Instant)>,
}

impl OpenSnapshots {
    /// Asks the database. Costs about a millisecond, whatever there is.
    pub async fn status(&mut self, client: &Object) -> Result<VacuumStatus, tokio_postgres::Error> {
        let tables: [(&(dyn ToSql + Sync), Type); 1] = [(&TABLES.as_slice(), Type::TEXT_ARRAY)];
        let mut dead_rows = Vec::with_capacity(TABLES.len());
        for row in client.query_typed(DEAD, &tables).await? {
            let (name, count): (String, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
            if let (Some(table), Some(count)) = (TABLES.into_iter().find(|table| *table == name), count) {
                dead_rows.push((table, count.unsigned_abs()));
            }
        }
        let oldest = client.query_typed(OLDEST, &[]).await?;
        let holder = oldest.first().map(|row| self.owner(row)).transpose()?.flatten();
        if oldest.is_empty() {
            self.before = None;
        }
        Ok(VacuumStatus { dead_rows, holder, log_bytes: None })
    }

    /// The owner, if it was the same at the check before.
    fn owner(&mut self, row: &tokio_postgres::Row) -> Result<Option<OldestTransaction>, tokio_postgres::Error> {
        let text = |column| row.try_get::<_, Option<String>>(column).map(Option::unwrap_or_default);
        let (name, number, open) = (text(0)?, text(5)?, row.try_get::<_, Option<f64>>(4)?);
        let before = self.before.take().filter(|before| (&before.0, &before.1) == (&name, &number));
        let since = before.as_ref().map_or_else(Instant::now, |before| before.2);
        self.before = Some((name.clone(), number, since));
        let seconds = open.unwrap_or_else(|| since.elapsed().as_secs_f64()).max(0.0);
        let (program, role, state, remedy) = (text(1)?, text(2)?, text(3)?, text(6)?);
        Ok(before.map(|_| OldestTransaction { name, program, role, state, seconds, remedy }))
    }
}

//! The versions of the schema, and how a database gets from one to the next.

use forerunner_store::StoreError;
use tokio_postgres::{Client, types::Type};

use crate::failure::{KIND, reason, unavailable};

/// The statements that lead from version n to version n + 1, for n from 0. Ones that were released never change.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_tasks.sql"),
    include_str!("../migrations/0002_contexts.sql"),
    include_str!("../migrations/0003_nodes.sql"),
    include_str!("../migrations/0004_history.sql"),
    include_str!("../migrations/0005_ids.sql"),
    include_str!("../migrations/0006_damaged.sql"),
    include_str!("../migrations/0007_attempts.sql"),
    include_str!("../migrations/0008_parents.sql"),
    include_str!("../migrations/0009_schedules.sql"),
    include_str!("../migrations/0010_model.sql"),
    include_str!("../migrations/0011_api_keys.sql"),
    LIVE,
    include_str!("../migrations/0013_tenants.sql"),
];

/// The step to one row a task, which `migration` finishes. No node of an earlier version may run beside it.
const LIVE: &str = include_str!("../migrations/0012_live.sql");

/// The newest version known.
pub(crate) const NEWEST: i64 = MIGRATIONS.len() as i64;

/// Lets one node at a time migrate: until its transaction ends. "FrRn" in ASCII.
pub(crate) const LOCK: i64 = 0x4672_526e;

/// Rejects a database that cannot store every text. One in `SQL_ASCII` stores any bytes.
///
/// # Errors
/// [`StoreError::Encoding`].
pub(crate) async fn check_encoding(client: &Client) -> Result<(), StoreError> {
    let sql = "SELECT current_setting('server_encoding'), current_database()::text";
    let failed = |error: tokio_postgres::Error| unavailable(reason(&error));
    let rows = client.query_typed(sql, &[]).await.map_err(failed)?;
    let Some(row) = rows.first() else { return Err(unavailable("the database did not return its encoding")) };
    let (encoding, database): (String, String) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
    if matches!(encoding.as_str(), "UTF8" | "SQL_ASCII") {
        return Ok(());
    }
    Err(StoreError::Encoding { database, encoding })
}

/// Migrates a database to the newest version, all steps in one transaction; returns the version it had.
///
/// # Errors
/// [`StoreError::NewerSchema`] when a newer program has written the database, [`StoreError::OlderNodes`] while nodes of
/// an earlier version run. Nothing is changed then.
pub(crate) async fn migrate(client: &Client) -> Result<i64, StoreError> {
    let failed = |error: tokio_postgres::Error| unavailable(format!("the schema was not changed: {}", reason(&error)));
    client
        .batch_execute(&format!("BEGIN; SET LOCAL lock_timeout = '30s'; SELECT pg_advisory_xact_lock({LOCK})"))
        .await
        .map_err(failed)?;
    let found = version(client).await.map_err(failed)?;
    if found > NEWEST {
        client.batch_execute("ROLLBACK").await.map_err(failed)?;
        return Err(StoreError::NewerSchema { place: KIND.to_owned(), found, known: NEWEST });
    }
    let steps = &MIGRATIONS[usize::try_from(found).unwrap_or(0)..];
    if found > 0 && steps.contains(&LIVE) {
        let nodes = client.query_typed(RUNNING, &[]).await;
        let nodes: Vec<String> = names(nodes.map_err(failed)?).map_err(failed)?;
        if !nodes.is_empty() {
            client.batch_execute("ROLLBACK").await.map_err(failed)?;
            return Err(StoreError::OlderNodes { place: KIND.to_owned(), nodes: nodes.join(", ") });
        }
    }
    for sql in steps {
        client.batch_execute(sql).await.map_err(failed)?;
    }
    if found < NEWEST {
        let note = "CREATE TABLE IF NOT EXISTS meta (only_row int PRIMARY KEY CHECK (only_row = 1), \
                    version bigint NOT NULL, beat bigint NOT NULL);";
        let note = format!(
            "{note} INSERT INTO meta VALUES (1, {NEWEST}, 0) ON CONFLICT (only_row) DO UPDATE SET version = {NEWEST}"
        );
        client.batch_execute(&note).await.map_err(failed)?;
    }
    client.batch_execute("COMMIT").await.map_err(failed)?;
    Ok(found)
}

/// The nodes that have reported within their leases. The tables of leases and reports are those of version 3.
const RUNNING: &str = "\
SELECT node::text FROM nodes WHERE lease_until >= (extract(epoch FROM clock_timestamp()) * 1000000)::int8
AND to_jsonb(nodes)->>'report' IS NOT NULL ORDER BY node LIMIT 10";

fn names(rows: Vec<tokio_postgres::Row>) -> Result<Vec<String>, tokio_postgres::Error> {
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// The version that a database has; 0 for one without our tables.
async fn version(client: &Client) -> Result<i64, tokio_postgres::Error> {
    let rows = client.query_typed("SELECT to_regclass('meta') IS NOT NULL", &[]).await?;
    if !rows[0].try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let only: (&(dyn tokio_postgres::types::ToSql + Sync), Type) = (&1_i32, Type::INT4);
    let rows = client.query_typed("SELECT version FROM meta WHERE only_row = $1", &[only]).await?;
    rows.first().map_or(Ok(0), |row| row.try_get(0))
}

//! The versions of the schema, and how a file gets from one to the next.

use rusqlite::{Connection, TransactionBehavior};

use super::failure::Sql;

/// Marks a SQLite file as ours (`PRAGMA application_id`): "FrRn" in ASCII.
pub(super) const APPLICATION_ID: i32 = 0x4672_526e;

/// The statements that lead from version n to version n + 1, for n from 0. Ones that were released never change.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_tasks.sql"),
    include_str!("../../migrations/sqlite/0002_contexts.sql"),
    include_str!("../../migrations/sqlite/0003_damaged.sql"),
    include_str!("../../migrations/sqlite/0004_attempts.sql"),
    include_str!("../../migrations/sqlite/0005_parents.sql"),
    include_str!("../../migrations/sqlite/0006_schedules.sql"),
    include_str!("../../migrations/sqlite/0007_model.sql"),
    include_str!("../../migrations/sqlite/0008_api_keys.sql"),
    include_str!("../../migrations/sqlite/0009_tenants.sql"),
];

/// The newest version known.
pub(super) const NEWEST: i64 = MIGRATIONS.len() as i64;

/// The version that a file has; 0 for an empty one.
pub(super) fn version(connection: &Connection) -> Sql<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Migrates a file to the newest version, each step in a transaction of its own: a kill leaves the step undone or done.
pub(super) fn migrate(connection: &mut Connection, migrations: &[&str]) -> Sql<()> {
    let from = version(connection)?;
    for (step, sql) in (1_i64..).zip(migrations).filter(|(step, _)| *step > from) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", step)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_that_fails_halfway_leaves_nothing_behind() {
        let mut connection = Connection::open_in_memory().unwrap();
        let broken = ["CREATE TABLE one (a INTEGER) STRICT;", "CREATE TABLE two (a INTEGER) STRICT; SELECT nonsense;"];
        assert!(migrate(&mut connection, &broken).is_err());
        assert_eq!(version(&connection).unwrap(), 1);
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'two'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 0);
        migrate(&mut connection, &[broken[0], "CREATE TABLE two (a INTEGER) STRICT;"]).unwrap();
        assert_eq!(version(&connection).unwrap(), 2);
    }
}

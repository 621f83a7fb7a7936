//! How attempts went that did not succeed. One that succeeds at once writes nothing here.

use std::fmt;

use forerunner_core::{AttemptRecord, TaskId, Timestamp, transition::AttemptEnd};
use rusqlite::{Connection, params, types::Type};

use super::{
    cache::Lease,
    failure::Sql,
    rows::{run, value},
    tx::Tx,
};
use crate::{Start, rules};

/// Reads the attempts of a task; none if there is no such task.
pub(super) fn read(connection: &Connection, task: TaskId) -> Sql<Option<Vec<AttemptRecord>>> {
    let sql = "SELECT CAST(coalesce(a.records, '[]') AS BLOB) FROM tasks t LEFT JOIN attempts a ON a.task = t.task WHERE t.id = ?1";
    let found = value::<Vec<u8>>(connection, sql, [task.as_uuid().as_bytes()])?;
    Ok(found.map(|records| parsed(&task, &records)))
}

impl Tx<'_> {
    /// Stores how an attempt went, if it had begun.
    pub fn note_attempt(&self, lease: &Lease, started: Option<Start>, end: &AttemptEnd, now: Timestamp) -> Sql<()> {
        let Some(at) = lease.started_at.or(started.map(|start| start.at)) else { return Ok(()) };
        let agent = started.map(|start| start.agent);
        let record = rules::attempt_record((lease.attempt, at), (agent, lease.node), end, now);
        let known = value::<Vec<u8>>(
            self.connection,
            "SELECT CAST(records AS BLOB) FROM attempts WHERE task = ?1",
            [lease.row],
        )?;
        let mut records = known.map(|records| parsed(&format_args!("row {}", lease.row), &records)).unwrap_or_default();
        rules::keep_attempt(&mut records, record);
        let text = serde_json::to_string(&records).map_err(|error| unreadable(error.into()))?;
        let sql = "INSERT OR REPLACE INTO attempts (task, records) VALUES (?1, ?2)";
        run(self.connection, sql, params![lease.row, text]).map(drop)
    }
}

/// Reads records. Nothing depends on them: those that cannot be read are dropped, and delay no end of a task.
fn parsed(task: &dyn fmt::Display, records: &[u8]) -> Vec<AttemptRecord> {
    serde_json::from_slice(records).unwrap_or_else(|error| {
        tracing::warn!(%task, %error, "store: cannot read the history of attempts of a task; it counts as empty");
        Vec::new()
    })
}

fn unreadable(error: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error)
}

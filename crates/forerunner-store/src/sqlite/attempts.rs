//! How attempts went that did not succeed. One that succeeds at once writes nothing here.

use forerunner_core::{AttemptRecord, TaskError, TaskId, TaskState, Timestamp};
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
    let sql = "SELECT coalesce(a.records, '[]') FROM tasks t LEFT JOIN attempts a ON a.task = t.task WHERE t.id = ?1";
    value::<String>(connection, sql, [task.as_uuid().as_bytes()])?.map(|text| parsed(&text)).transpose()
}

impl Tx<'_> {
    /// Stores how an attempt went, if it had begun.
    pub fn note_attempt(
        &self,
        lease: &Lease,
        started: Option<Start>,
        end: (TaskState, Option<TaskError>),
        now: Timestamp,
    ) -> Sql<()> {
        let Some(at) = lease.started_at.or(started.map(|start| start.at)) else { return Ok(()) };
        let agent = started.map(|start| start.agent);
        let record = rules::attempt_record((lease.attempt, at), (agent, lease.node), end, now);
        let known = value::<String>(self.connection, "SELECT records FROM attempts WHERE task = ?1", [lease.row])?;
        let mut records = known.map(|text| parsed(&text)).transpose()?.unwrap_or_default();
        rules::keep_attempt(&mut records, record);
        let text = serde_json::to_string(&records).map_err(|error| unreadable(error.into()))?;
        let sql = "INSERT OR REPLACE INTO attempts (task, records) VALUES (?1, ?2)";
        run(self.connection, sql, params![lease.row, text]).map(drop)
    }
}

fn parsed(text: &str) -> Sql<Vec<AttemptRecord>> {
    serde_json::from_str(text).map_err(|error| unreadable(error.into()))
}

fn unreadable(error: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error)
}

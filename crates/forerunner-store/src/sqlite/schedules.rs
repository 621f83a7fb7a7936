//! Schedules.

use forerunner_core::ScheduleName;
use rusqlite::{Connection, params};

use super::{
    failure::Sql,
    rows::{run, value},
    tx::Tx,
};
use crate::{EnqueueOutcome, NextRevision, ScheduleConflict, ScheduleWrite, StoredSchedule};

/// Lists schedules; a name that nobody could have given is left out.
pub(super) fn revisions(connection: &Connection) -> Sql<Vec<(ScheduleName, u64)>> {
    let mut statement = connection.prepare_cached("SELECT name, revision FROM schedules ORDER BY name")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    let mut found = Vec::new();
    for row in rows {
        let (name, revision) = row?;
        found.extend(ScheduleName::new(name).ok().map(|name| (name, revision.cast_unsigned())));
    }
    Ok(found)
}

/// Reads schedules.
pub(super) fn read(connection: &Connection, names: Vec<ScheduleName>) -> Sql<Vec<StoredSchedule>> {
    let mut statement =
        connection.prepare_cached("SELECT revision, definition, state FROM schedules WHERE name = ?1")?;
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let mut rows = statement.query([name.as_str()])?;
        if let Some(row) = rows.next()? {
            let revision = row.get::<_, i64>(0)?.cast_unsigned();
            found.push(StoredSchedule { name, revision, definition: row.get(1)?, state: row.get(2)? });
        }
    }
    Ok(found)
}

impl Tx<'_> {
    pub fn write_schedule(&mut self, write: &ScheduleWrite) -> Sql<Result<Option<EnqueueOutcome>, ScheduleConflict>> {
        let ScheduleWrite { name, expected, next, task, most } = write;
        let sql = "SELECT revision FROM schedules WHERE name = ?1";
        let found = value::<i64>(self.connection, sql, [name.as_str()])?.map(i64::cast_unsigned);
        let name = || name.clone();
        match (expected, found) {
            (None, Some(_)) => return Ok(Err(ScheduleConflict::Exists { name: name() })),
            (None, None) if self.count_schedules()? >= *most => return Ok(Err(ScheduleConflict::Full { most: *most })),
            (Some(_), None) => return Ok(Err(ScheduleConflict::NotFound { name: name() })),
            (Some(expected), Some(found)) if *expected != found => {
                return Ok(Err(ScheduleConflict::Changed { name: name() }));
            }
            _ => {}
        }
        let outcome = match task {
            Some(task) => match self.enqueue(std::slice::from_ref(task))?.remove(0) {
                Ok(outcome) => Some(outcome),
                Err(refusal) => return Ok(Err(refusal.into())),
            },
            None => None,
        };
        self.put_schedule(&name(), next.as_ref())?;
        Ok(Ok(outcome))
    }

    fn count_schedules(&self) -> Sql<usize> {
        let count = value::<i64>(self.connection, "SELECT count(*) FROM schedules", [])?;
        Ok(count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0))
    }

    fn put_schedule(&self, name: &ScheduleName, next: Option<&NextRevision>) -> Sql<()> {
        let Some(NextRevision { revision, definition, state }) = next else {
            return run(self.connection, "DELETE FROM schedules WHERE name = ?1", [name.as_str()]).map(drop);
        };
        let sql = "INSERT INTO schedules (name, revision, definition, state) VALUES (?1, ?2, coalesce(?3, ''), ?4) \
                   ON CONFLICT (name) DO UPDATE SET revision = excluded.revision, \
                   definition = coalesce(?3, definition), state = excluded.state";
        run(self.connection, sql, params![name.as_str(), revision.cast_signed(), definition, state]).map(drop)
    }
}

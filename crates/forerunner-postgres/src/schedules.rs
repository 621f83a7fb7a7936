//! Schedules.

use forerunner_core::ScheduleName;
use forerunner_store::{EnqueueOutcome, NextRevision, ScheduleConflict, ScheduleWrite, StoredSchedule};
use tokio_postgres::types::Type;

use crate::{
    failure::{Fault, Sql},
    rows::{clean, get},
    tx::Tx,
};

impl Tx<'_> {
    /// Lists schedules; a name that nobody could have given is left out.
    pub async fn schedule_revisions(&self) -> Sql<Vec<(ScheduleName, u64)>> {
        let mut found = Vec::new();
        for row in &self.query("SELECT name, revision FROM schedules ORDER BY name", &[]).await? {
            let (name, revision) = (get::<String>(row, 0)?, get::<i64>(row, 1)?);
            found.extend(ScheduleName::new(name).ok().map(|name| (name, revision.cast_unsigned())));
        }
        Ok(found)
    }

    pub async fn schedules_of(&self, names: &[ScheduleName]) -> Sql<Vec<StoredSchedule>> {
        let names: Vec<_> = names.iter().map(ScheduleName::as_str).collect();
        let sql = "SELECT name, revision, definition, state FROM schedules WHERE name = ANY ($1)";
        let mut found = Vec::with_capacity(names.len());
        for row in &self.query(sql, &[(&names, Type::TEXT_ARRAY)]).await? {
            let Ok(name) = ScheduleName::new(get::<String>(row, 0)?) else { continue };
            let revision = get::<i64>(row, 1)?.cast_unsigned();
            found.push(StoredSchedule { name, revision, definition: get(row, 2)?, state: get(row, 3)? });
        }
        Ok(found)
    }

    pub async fn write_schedule(&self, write: &ScheduleWrite) -> Sql<Result<Option<EnqueueOutcome>, ScheduleConflict>> {
        let ScheduleWrite { name, expected, next, task, most } = write;
        let Some(expected) = expected else { return self.make_schedule(name, next.as_ref(), *most).await };
        // The second writer waits here until the first has committed.
        let sql = "SELECT revision FROM schedules WHERE name = $1 FOR UPDATE";
        let rows = self.query(sql, &[(&name.as_str(), Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(Err(ScheduleConflict::NotFound { name: name.clone() })) };
        if get::<i64>(row, 0)?.cast_unsigned() != *expected {
            return Ok(Err(ScheduleConflict::Changed { name: name.clone() }));
        }
        let outcome = match task {
            Some(task) => match self.accept(task).await?.ok_or(Fault::Conflict)? {
                Ok(outcome) => Some(outcome),
                Err(refusal) => return Ok(Err(refusal.into())),
            },
            None => None,
        };
        self.put_schedule(name, next.as_ref()).await?;
        Ok(Ok(outcome))
    }

    async fn put_schedule(&self, name: &ScheduleName, next: Option<&NextRevision>) -> Sql<()> {
        let name = name.as_str();
        let Some(NextRevision { revision, definition, state }) = next else {
            let sql = "DELETE FROM schedules WHERE name = $1 RETURNING name";
            return self.run(sql, &[(&name, Type::TEXT)]).await.map(drop);
        };
        let (revision, definition) = (revision.cast_signed(), definition.as_deref().map(clean));
        let sql = "UPDATE schedules SET revision = $2, definition = coalesce($3, definition), state = $4 \
                   WHERE name = $1 RETURNING name";
        let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] =
            [(&name, Type::TEXT), (&revision, Type::INT8), (&definition, Type::TEXT), (state, Type::TEXT)];
        self.run(sql, &params).await.map(drop)
    }

    async fn make_schedule(
        &self,
        name: &ScheduleName,
        next: Option<&NextRevision>,
        most: usize,
    ) -> Sql<Result<Option<EnqueueOutcome>, ScheduleConflict>> {
        let Some(NextRevision { revision, definition, state }) = next else { return Ok(Ok(None)) };
        // Two that are made at once may go over the bound by one: it protects the nodes, and is no promise.
        let rows =
            self.query("SELECT count(*) FROM schedules WHERE name <> $1", &[(&name.as_str(), Type::TEXT)]).await?;
        let count = rows.first().map(|row| get::<i64>(row, 0)).transpose()?.unwrap_or(0);
        if usize::try_from(count).is_ok_and(|count| count >= most) {
            return Ok(Err(ScheduleConflict::Full { most }));
        }
        let (revision, definition) = (revision.cast_signed(), clean(definition.as_deref().unwrap_or_default()));
        let sql = "INSERT INTO schedules (name, revision, definition, state) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (name) DO NOTHING RETURNING name";
        let text = name.as_str();
        let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] =
            [(&text, Type::TEXT), (&revision, Type::INT8), (&definition, Type::TEXT), (state, Type::TEXT)];
        match self.run(sql, &params).await? {
            0 => Ok(Err(ScheduleConflict::Exists { name: name.clone() })),
            _ => Ok(Ok(None)),
        }
    }
}

//! API keys.

use forerunner_core::ApiKeyId;
use rusqlite::{Connection, params};

use super::{
    failure::Sql,
    rows::{run, value},
    tx::Tx,
};
use crate::{ApiKeyConflict, ApiKeyWrite, StoredApiKey};

/// Reads all keys; one with an id that nobody could have given is left out.
pub(super) fn read(connection: &Connection) -> Sql<Vec<StoredApiKey>> {
    let sql = "SELECT id, revision, definition, last_used_day FROM api_keys ORDER BY id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let Ok(id) = ApiKeyId::new(row.get::<_, String>(0)?) else { continue };
        let revision = row.get::<_, i64>(1)?.cast_unsigned();
        found.push(StoredApiKey { id, revision, definition: row.get(2)?, last_used_day: row.get(3)? });
    }
    Ok(found)
}

impl Tx<'_> {
    pub fn write_api_key(&mut self, write: &ApiKeyWrite) -> Sql<Result<(), ApiKeyConflict>> {
        let id = write.id.as_str();
        let found = value::<i64>(self.connection, "SELECT revision FROM api_keys WHERE id = ?1", [id])?;
        let count = value::<i64>(self.connection, "SELECT count(*) FROM api_keys", [])?.unwrap_or(0);
        if let Err(conflict) = write.check(found.map(i64::cast_unsigned), usize::try_from(count).unwrap_or(0)) {
            return Ok(Err(conflict));
        }
        let Some((revision, definition)) = &write.next else {
            return run(self.connection, "DELETE FROM api_keys WHERE id = ?1", [id]).map(|_| Ok(()));
        };
        let sql = "INSERT INTO api_keys (id, revision, definition) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, definition = excluded.definition";
        run(self.connection, sql, params![id, revision.cast_signed(), definition]).map(|_| Ok(()))
    }

    pub fn note_api_key_use(&mut self, ids: &[ApiKeyId], day: i64) -> Sql<()> {
        let sql = "UPDATE api_keys SET last_used_day = max(coalesce(last_used_day, ?2), ?2) WHERE id = ?1";
        ids.iter().try_for_each(|id| run(self.connection, sql, params![id.as_str(), day]).map(drop))
    }
}

//! API keys.

use forerunner_core::ApiKeyId;
use forerunner_store::{ApiKeyConflict, ApiKeyWrite, StoredApiKey};
use tokio_postgres::types::Type;

use crate::{
    failure::Sql,
    rows::{clean, get},
    tx::Tx,
};

impl Tx<'_> {
    /// Reads all keys; one with an id that nobody could have given is left out.
    pub async fn api_keys(&self) -> Sql<Vec<StoredApiKey>> {
        let sql = "SELECT id, revision, definition, last_used_day FROM api_keys ORDER BY id COLLATE \"C\"";
        let mut found = Vec::new();
        for row in &self.query(sql, &[]).await? {
            let Ok(id) = ApiKeyId::new(get::<String>(row, 0)?) else { continue };
            let revision = get::<i64>(row, 1)?.cast_unsigned();
            found.push(StoredApiKey { id, revision, definition: get(row, 2)?, last_used_day: get(row, 3)? });
        }
        Ok(found)
    }

    pub async fn write_api_key(&self, write: &ApiKeyWrite) -> Sql<Result<(), ApiKeyConflict>> {
        let id = (&write.id.as_str() as _, Type::TEXT);
        // The second writer waits here until the first has committed.
        let found =
            self.query("SELECT revision FROM api_keys WHERE id = $1 FOR UPDATE", std::slice::from_ref(&id)).await?;
        let found = found.first().map(|row| get::<i64>(row, 0)).transpose()?.map(i64::cast_unsigned);
        // Two that are made at once may go over the bound by one: it protects the nodes, and is no promise.
        let count = self.query("SELECT count(*) FROM api_keys", &[]).await?;
        let count = count.first().map(|row| get::<i64>(row, 0)).transpose()?.unwrap_or(0);
        if let Err(conflict) = write.check(found, usize::try_from(count).unwrap_or(0)) {
            return Ok(Err(conflict));
        }
        let Some((revision, definition)) = &write.next else {
            return self.run("DELETE FROM api_keys WHERE id = $1 RETURNING id", &[id]).await.map(|_| Ok(()));
        };
        let (revision, definition) = (revision.cast_signed(), clean(definition));
        let sql = match write.expected {
            Some(_) => "UPDATE api_keys SET revision = $2, definition = $3 WHERE id = $1 RETURNING id",
            None => {
                "INSERT INTO api_keys (id, revision, definition) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING \
                     RETURNING id"
            }
        };
        match self.run(sql, &[id, (&revision, Type::INT8), (&definition, Type::TEXT)]).await? {
            0 => Ok(Err(ApiKeyConflict::Exists { id: write.id.clone() })),
            _ => Ok(Ok(())),
        }
    }

    pub async fn note_api_key_use(&self, ids: &[ApiKeyId], day: i64) -> Sql<()> {
        let ids: Vec<_> = ids.iter().map(ApiKeyId::as_str).collect();
        // In the order of their ids, so that nodes that do the same do not wait for each other in a circle.
        let sql = "WITH used AS (SELECT id FROM api_keys WHERE id = ANY ($1) ORDER BY id FOR UPDATE) \
                   UPDATE api_keys k SET last_used_day = greatest(k.last_used_day, $2) FROM used \
                   WHERE k.id = used.id RETURNING k.id";
        self.run(sql, &[(&ids, Type::TEXT_ARRAY), (&day, Type::INT8)]).await.map(drop)
    }
}

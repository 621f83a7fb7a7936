//! Reading one task, wherever it is.

use std::sync::LazyLock;

use forerunner_core::TaskId;
use tokio_postgres::types::Type;

use crate::{
    failure::Sql,
    rows::{Stored, live_columns, stored_or_damaged},
    tx::Tx,
};

impl Tx<'_> {
    /// Reads a task.
    pub async fn find(&self, task: TaskId) -> Sql<Option<Stored>> {
        if let Some(found) = self.find_unfinished(task).await? {
            return Ok(Some(found));
        }
        match self.find_ended(task).await? {
            Some(found) => Ok(Some(found)),
            // It may have been retried by hand between the two reads.
            None => self.find_unfinished(task).await,
        }
    }

    /// Reads a task that has not ended.
    pub async fn find_unfinished(&self, task: TaskId) -> Sql<Option<Stored>> {
        static SQL: LazyLock<String> =
            LazyLock::new(|| format!("SELECT {} FROM live t WHERE t.id = $1", live_columns()));
        let rows = self.query(&SQL, &[(task.as_uuid(), Type::UUID)]).await?;
        rows.first().map(stored_or_damaged).transpose()
    }
}

//! Read and delete contexts.

use forerunner_core::ContextId;
use forerunner_runtime::{ContextPage, ContextStatus};

use crate::{cursor, error::Error, service::Service};

impl Service {
    /// Lists contexts by pool and id, from behind a cursor. Returns the cursor of the page that follows, if one does.
    ///
    /// # Errors
    /// There is no such pool, the cursor is none, or the store does not answer.
    pub async fn contexts(
        &self,
        pool: Option<&str>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<ContextStatus>, Option<String>), Error> {
        let after = cursor.map(cursor::read_context).transpose()?;
        let pool = self.listed_pool(pool)?;
        let ContextPage { contexts, more } = self.handle().contexts(self.scope().tenant(), pool, after, limit).await?;
        let next = contexts.last().filter(|_| more).map(|last| cursor::after_context(&last.pool, &last.id));
        Ok((contexts.into_iter().map(local).collect(), next))
    }

    /// Returns a context. Without a pool, of the first pool that has the id.
    ///
    /// # Errors
    /// The pool or the context does not exist, or the store does not answer.
    pub async fn context(&self, pool: Option<&str>, id: ContextId) -> Result<ContextStatus, Error> {
        Ok(local(self.handle().context(self.listed_pool(pool)?, self.own_context(&id)).await?))
    }

    /// Removes a context, for good.
    ///
    /// # Errors
    /// As [`Service::context`]; a task of it has not ended.
    pub async fn delete_context(&self, pool: Option<&str>, id: ContextId) -> Result<(), Error> {
        Ok(self.handle().delete_context(self.listed_pool(pool)?, self.own_context(&id)).await?)
    }
}

/// The context by the name that its tenant gave it.
fn local(context: ContextStatus) -> ContextStatus {
    ContextStatus { id: context.id.to_local(), ..context }
}

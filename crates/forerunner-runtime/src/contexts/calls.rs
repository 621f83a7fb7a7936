//! The calls of a handle that concern contexts.

use forerunner_core::{ContextId, PoolName, TenantName, placement::RestoreCost};
use forerunner_store::{ContextFilter, ContextSummary, StateConflict};

use crate::{
    Error, Handle,
    handle::PoolEntry,
    pool::messages::{ForgetContext, ListAgents},
    status::{AgentStatus, ContextPage, ContextStatus},
};

impl Handle {
    /// Describes a context. Without a pool, the first pool that knows the id answers.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`StateConflict::NoContext`], [`Error::Store`].
    pub async fn context(&self, pool: Option<&str>, id: ContextId) -> Result<ContextStatus, Error> {
        for (pool, entry) in self.candidates(pool)? {
            let filter =
                ContextFilter { pool: pool.clone(), tenant: None, context: Some(id.clone()), after: None, limit: 1 };
            let Some(found) = self.shared.deps.store.contexts(filter).await?.pop() else { continue };
            return Ok(status(found, pool, &agents_of(entry).await?));
        }
        Err(self.no_context(pool, id))
    }

    /// Lists contexts by pool and id, at most `limit` (1 to 1,000): those of one tenant or of all, of one pool or of all,
    /// after the last one of the page before.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::Store`].
    pub async fn contexts(
        &self,
        tenant: Option<&TenantName>,
        pool: Option<&str>,
        after: Option<(PoolName, ContextId)>,
        limit: usize,
    ) -> Result<ContextPage, Error> {
        let mut page = ContextPage::default();
        for (name, entry) in self.candidates(pool)? {
            let after = match &after {
                Some((last, _)) if name < *last => continue,
                Some((last, id)) if name == *last => Some(id.clone()),
                _ => None,
            };
            // One context more than requested shows whether another page follows.
            let left = limit + 1 - page.contexts.len();
            let is_first_page = after.is_none();
            let filter =
                ContextFilter { pool: name.clone(), tenant: tenant.cloned(), context: None, after, limit: left };
            let found = self.shared.deps.store.contexts(filter).await?;
            if found.is_empty() && is_first_page && entry.is_none() && pool.is_some() {
                return Err(self.no_pool(name.as_str()));
            }
            let agents = if found.is_empty() { Vec::new() } else { agents_of(entry).await? };
            page.contexts.extend(found.into_iter().map(|found| status(found, name.clone(), &agents)));
            if page.contexts.len() > limit {
                page.more = true;
                page.contexts.truncate(limit);
                break;
            }
        }
        Ok(page)
    }

    /// Deletes a context: from the store, with all objects that no other context uses, and from the memory of this
    /// node's agents. Without a pool, from the first pool that has the id.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`StateConflict::NoContext`], [`StateConflict::ContextInUse`], [`Error::Store`].
    pub async fn delete_context(&self, pool: Option<&str>, id: ContextId) -> Result<(), Error> {
        for (name, entry) in self.candidates(pool)? {
            match self.shared.deps.store.delete_context(name.clone(), id.clone()).await? {
                Err(StateConflict::NoContext { .. }) => {}
                Err(mismatch) => return Err(mismatch.into()),
                Ok(()) => {
                    self.shared.deps.contexts.evict(&name, &id);
                    if let Some(entry) = entry {
                        entry.pool.do_send(ForgetContext(id));
                    }
                    return Ok(());
                }
            }
        }
        Err(self.no_context(pool, id))
    }

    /// Returns the cost of making a context resident in an agent of a pool, as measured on this node.
    ///
    /// # Errors
    /// [`Error::NoPool`].
    pub fn restore_cost(&self, pool: &str) -> Result<RestoreCost, Error> {
        Ok(self.entry(pool)?.codecs.restore_cost())
    }

    fn no_context(&self, pool: Option<&str>, context: ContextId) -> Error {
        match pool {
            Some(pool) if !self.shared.pools.contains_key(pool) => return self.no_pool(pool),
            _ => {}
        }
        let pool = pool.and_then(|pool| PoolName::new(pool).ok()).or_else(|| self.pool_names().into_iter().next());
        match pool {
            Some(pool) => StateConflict::NoContext { pool, context }.into(),
            None => self.no_pool(""),
        }
    }

    /// The named pool, or all pools. Pools that are no longer configured are included, since their contexts are still
    /// stored.
    fn candidates(&self, pool: Option<&str>) -> Result<Vec<(PoolName, Option<&PoolEntry>)>, Error> {
        let pools = &self.shared.pools;
        if let Some(pool) = pool {
            let name = PoolName::new(pool).map_err(|_| self.no_pool(pool))?;
            let entry = pools.get(&name);
            return Ok(vec![(name, entry)]);
        }
        let removed = self.unconfigured_pools().into_iter().map(|pool| (pool.name, None));
        let mut all: Vec<_> = pools.iter().map(|(name, entry)| (name.clone(), Some(entry))).chain(removed).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }
}

async fn agents_of(entry: Option<&PoolEntry>) -> Result<Vec<AgentStatus>, Error> {
    match entry {
        Some(entry) => Ok(entry.ask(&entry.pool, ListAgents).await?.0),
        None => Ok(Vec::new()),
    }
}

fn status(found: ContextSummary, pool: PoolName, agents: &[AgentStatus]) -> ContextStatus {
    let is_warm = |(context, version): &(ContextId, u64)| *context == found.context && *version >= found.version;
    let warm = agents.iter().filter(|agent| agent.resident.iter().any(is_warm));
    ContextStatus {
        tenant: found.context.tenant().and_then(|tenant| TenantName::new(tenant).ok()).unwrap_or_default(),
        pool,
        version: found.version,
        size_bytes: found.size_bytes,
        items: found.items,
        stored_bytes: found.frame_bytes,
        shared_bytes: found.piece_bytes,
        frames: found.frames,
        updated_at: found.updated_at,
        warm_on: warm.map(|agent| agent.id).collect(),
        id: found.context,
    }
}

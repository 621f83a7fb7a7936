//! What the writer has in memory of its own file: leases, counts, names. All of it can be read again.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use forerunner_core::{ContextId, LeaseEpoch, NodeId, PoolName, TaskId, TaskState, Timestamp};
use rusqlite::{Connection, Error, Row};

use super::{
    damaged::astray,
    failure::Sql,
    rows::{
        MOST_COUNTED, context, count, damage_in, damaged_row, epoch, lost_pool, optional_time, optional_uuid,
        pool_name, priority, state, time, uuid, value,
    },
};
use crate::{Start, damage::Damage};

/// Most pools whose names a file may have lost. Pools are numbered from 1, so a number beyond the known ones and these
/// is damage.
const MOST_LOST: i64 = 1_000;

/// Which agent runs which task since when: reported by `assign`, not written until the attempt ends. Readers use it
/// too.
pub(super) type Agents = Arc<Mutex<HashMap<TaskId, (LeaseEpoch, Start)>>>;

/// A task that runs, with all that its end needs: so a settle reads nothing.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub row: i64,
    pub pool: i64,
    pub epoch: LeaseEpoch,
    pub priority: u8,
    pub due: Timestamp,
    pub deadline: Option<Timestamp>,
    pub attempt: u32,
    pub crashes: u32,
    pub max_crashes: u32,
    pub context: Option<ContextId>,
    pub node: Option<NodeId>,
    /// `None` for a task that was claimed ahead.
    pub started_at: Option<Timestamp>,
    /// A client cancelled the task while it ran. The file does not record it: the request is lost with the node.
    pub stop: bool,
}

/// One pool's name and counts.
#[derive(Debug)]
pub(super) struct PoolCache {
    pub name: PoolName,
    pub counts: [i64; TaskState::ALL.len()],
    pub claimable: i64,
}

/// Everything that the writer knows without reading.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub leases: HashMap<TaskId, Lease>,
    /// By pool number, which counts from 1.
    pub pools: Vec<PoolCache>,
    by_name: HashMap<PoolName, i64>,
    pub next_row: i64,
    pub nodes: HashMap<NodeId, Timestamp>,
    pub agents: Agents,
    /// Tasks that were set aside and are not logged yet, because that is not committed.
    pub found: Vec<Damage>,
    /// What could not be read while this was loaded, to be set aside.
    pub unread: Vec<Damage>,
    /// Damaged tasks of pools that the file does not name.
    pub astray: i64,
}

impl Cache {
    /// Reads everything from the file: at the start, and after a group that failed.
    pub fn load(connection: &Connection, agents: Agents) -> Sql<Self> {
        let mut cache = Self { next_row: next_row(connection)?, agents, ..Self::default() };
        cache.load_pools(connection)?;
        cache.load_counts(connection)?;
        cache.load_leases(connection)?;
        let mut statement = connection.prepare_cached("SELECT node, lease_until FROM nodes")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            match (uuid(row, 0), time(row, 1)) {
                (Ok(node), Ok(until)) => drop(cache.nodes.insert(NodeId::from_uuid(node), until)),
                _ => tracing::error!("store: cannot read a node's row; its leases count as expired"),
            }
        }
        drop(rows);
        Ok(cache)
    }

    fn load_pools(&mut self, connection: &Connection) -> Sql<()> {
        let there = value::<i64>(connection, "SELECT count(*) FROM pools", [])?.unwrap_or(0);
        let mut statement = connection.prepare_cached("SELECT pool, name FROM pools ORDER BY pool")?;
        let mut rows = statement.query([])?;
        let (mut lost, mut beyond) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            let pool: i64 = row.get(0)?;
            if !(1..=there + MOST_LOST).contains(&pool) {
                beyond.push(pool);
                continue;
            }
            // Numbers without a row, and names that cannot be read, get a name to be shown by.
            while (self.pools.len() as i64) < pool - 1 {
                lost.push(self.add_lost_pool()?);
            }
            match pool_name(row, 1).ok().filter(|name| self.pool(name).is_none()) {
                Some(name) => drop(self.add_pool(name)),
                None => lost.push(self.add_lost_pool()?),
            }
        }
        if let Some(first) = lost.first() {
            let pools = lost.len();
            tracing::error!(pools, %first, "store: cannot read names of pools; listings show their tasks under substitute names");
        }
        if let Some(first) = beyond.first() {
            let pools = beyond.len();
            tracing::error!(
                pools,
                first,
                "store: ignoring pools with impossible numbers; correct `pool` in the table `pools`"
            );
        }
        Ok(())
    }

    fn add_lost_pool(&mut self) -> Sql<PoolName> {
        let name = lost_pool(self.pools.len() as i64 + 1)?;
        self.add_pool(name.clone());
        Ok(name)
    }

    fn load_counts(&mut self, connection: &Connection) -> Sql<()> {
        let mut has_stray = false;
        let sql = "SELECT pool, state, count(*) FROM tasks GROUP BY pool, state";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (pool, state, count) = (row.get(0)?, state(row, 1), row.get(2)?);
            match (self.pool_at(pool), state) {
                (Ok(pool), Ok(state)) => pool.counts[state.index()] = count,
                (Err(_), Ok(TaskState::Damaged)) => self.astray += count,
                _ => has_stray = true,
            }
        }
        if has_stray {
            self.unread.extend(astray(connection, self.pools.len())?);
        }
        let mut statement = connection.prepare_cached("SELECT pool, count(*) FROM ready GROUP BY pool")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Ok(pool) = self.pool_at(row.get(0)?) {
                pool.claimable = row.get(1)?;
            }
        }
        Ok(())
    }

    fn load_leases(&mut self, connection: &Connection) -> Sql<()> {
        let sql = "SELECT t.id, t.task, t.epoch, t.priority, t.due, t.deadline, t.attempt, t.crashes, i.max_crashes, \
                   t.context, t.node, t.started_at FROM tasks t LEFT JOIN inputs i ON i.task = t.task \
                   WHERE t.pool = ?1 AND t.state = 2";
        for pool in 1..=self.pools.len() as i64 {
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([pool])?;
            while let Some(row) = rows.next()? {
                match read_lease(row, pool).map_err(|error| damaged_row(row, 1, &error)) {
                    Ok((task, lease)) => drop(self.leases.insert(task, lease)),
                    Err(error) => self.unread.push(damage_in(&error).cloned().ok_or(error)?),
                }
            }
        }
        Ok(())
    }

    /// Tasks that are set aside.
    pub fn damaged(&self) -> u64 {
        let of_pools = self.pools.iter().map(|pool| pool.counts[TaskState::Damaged.index()]).sum::<i64>();
        u64::try_from(of_pools + self.astray).unwrap_or(0)
    }

    /// What stays true after a failed group: the data read anew, and the data that is not written with every change.
    pub fn after_roll_back(&mut self, mut read: Self) -> Self {
        for (node, until) in self.nodes.drain() {
            let known = read.nodes.entry(node).or_default();
            *known = until.max(*known);
        }
        read
    }

    /// The number of a pool that has had tasks.
    pub fn pool(&self, name: &PoolName) -> Option<i64> {
        self.by_name.get(name).copied()
    }

    /// Adds a pool; answers its number.
    pub fn add_pool(&mut self, name: PoolName) -> i64 {
        let pool = self.pools.len() as i64 + 1;
        self.by_name.insert(name.clone(), pool);
        self.pools.push(PoolCache { name, counts: [0; TaskState::ALL.len()], claimable: 0 });
        pool
    }

    /// What is known of a pool.
    ///
    /// # Errors
    /// The file speaks of a pool that it does not name.
    pub fn pool_at(&mut self, pool: i64) -> Sql<&mut PoolCache> {
        let found = index_of(pool).and_then(|index| self.pools.get_mut(index));
        found.ok_or(Error::IntegralValueOutOfRange(0, pool))
    }

    /// The name of a pool.
    pub fn pool_name(&self, pool: i64) -> Option<PoolName> {
        Some(self.pools.get(index_of(pool)?)?.name.clone())
    }

    /// Moves a task from one state's count to another's; `None` means that it does not exist.
    pub fn count(&mut self, pool: i64, from: Option<TaskState>, to: Option<TaskState>) -> Sql<()> {
        let pool = self.pool_at(pool)?;
        if let Some(from) = from {
            pool.counts[from.index()] -= 1;
        }
        if let Some(to) = to {
            pool.counts[to.index()] += 1;
        }
        Ok(())
    }

    /// Ends a lease; returns how the attempt began, if that was reported.
    pub fn end_lease(&mut self, task: TaskId) -> Option<Start> {
        let lease = self.leases.remove(&task)?;
        let mut agents = self.agents.lock();
        agents.remove(&task).filter(|(epoch, _)| *epoch == lease.epoch).map(|(_, start)| start)
    }
}

/// The stored entry of a pool; `None` for an impossible number.
fn index_of(pool: i64) -> Option<usize> {
    usize::try_from(pool.checked_sub(1)?).ok()
}

/// The number of the next task: beyond those of all tasks and inputs, except for numbers that leave no room for more.
fn next_row(connection: &Connection) -> Sql<i64> {
    let mut last = 0;
    for sql in ["SELECT max(task) FROM tasks WHERE task < ?1", "SELECT max(task) FROM inputs WHERE task < ?1"] {
        last = value::<Option<i64>>(connection, sql, [MOST_COUNTED as i64])?.flatten().unwrap_or(0).max(last);
    }
    Ok(last + 1)
}

fn read_lease(row: &Row<'_>, pool: i64) -> Sql<(TaskId, Lease)> {
    let lease = Lease {
        row: row.get(1)?,
        pool,
        epoch: epoch(row, 2)?,
        priority: priority(row, 3)?.get(),
        due: time(row, 4)?,
        deadline: optional_time(row, 5)?,
        attempt: count(row, 6)?,
        crashes: count(row, 7)?,
        max_crashes: row.get(8)?,
        context: context(row, 9)?,
        node: optional_uuid(row, 10)?.map(NodeId::from_uuid),
        started_at: optional_time(row, 11)?,
        stop: false,
    };
    Ok((TaskId::from_uuid(uuid(row, 0)?), lease))
}

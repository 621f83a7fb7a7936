//! What readers read.

use std::sync::LazyLock;

use forerunner_core::{PoolName, Task, TaskId, TaskState, TenantName, Timestamp};
use rusqlite::{Connection, Params, Row, params, types::Value};

use super::{
    cache::Agents,
    failure::Sql,
    rows::{AFTER, cost, damage_in, is_set_aside, pool_name, salvaged, stored, task_columns, value},
    select,
};
use crate::{
    DueTasks, TaskFilter, TaskPage, TenantUsage,
    damage::{Damage, unreadable},
    rules,
};

static TASK: LazyLock<String> = LazyLock::new(|| task_where("t.id = ?1"));
static TASK_AT: LazyLock<String> = LazyLock::new(|| task_where("t.task = ?1"));
static TASKS_AFTER: LazyLock<String> =
    LazyLock::new(|| task_where("t.task > ?1 AND (?2 OR t.state < 3) ORDER BY t.task LIMIT ?3"));

/// Places of the columns behind those of a task.
const POOL_NAME: usize = AFTER;
const COST: usize = AFTER + 1;
const REASON: usize = AFTER + 2;

fn task_where(condition: &str) -> String {
    let columns = task_columns("o.output");
    format!(
        "SELECT {columns}, p.name, k.cost, d.reason FROM tasks t LEFT JOIN inputs i ON i.task = t.task \
         LEFT JOIN pools p ON p.pool = t.pool LEFT JOIN outputs o ON o.task = t.task \
         LEFT JOIN context_costs k ON k.task = t.task LEFT JOIN damaged d ON d.task = t.task WHERE {condition}"
    )
}

/// A task as far as it can be read, and what has to be set aside if that is not known yet.
type Read = (Task, Option<Damage>);

/// Reads one task.
pub(super) fn task(connection: &Connection, id: TaskId, agents: &Agents) -> Sql<Option<Read>> {
    one(connection, &TASK, [id.as_uuid().as_bytes()], agents)
}

/// What is wrong with a row; none if it can be read, or is set aside already.
pub(super) fn damage_at(connection: &Connection, row: i64, agents: &Agents) -> Sql<Option<Damage>> {
    Ok(one(connection, &TASK_AT, [row], agents)?.and_then(|(_, damage)| damage))
}

fn one(connection: &Connection, sql: &str, which: impl Params, agents: &Agents) -> Sql<Option<Read>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(which)?;
    rows.next()?.map(|row| read_task(row, agents)).transpose()
}

fn read_task(row: &Row<'_>, agents: &Agents) -> Sql<Read> {
    let name = |_| pool_name(row, POOL_NAME).ok();
    let (mut task, damage) = match stored(row, name) {
        Ok(found) => (found.task, None),
        Err(error) => {
            let damage = damage_in(&error).cloned().ok_or(error)?;
            (salvaged(row, name, &damage)?.task, Some(damage))
        }
    };
    if task.state == TaskState::Damaged && damage.is_none() {
        // What could not be read was replaced, or repaired.
        task.error = Some(unreadable(&row.get::<_, String>(REASON).unwrap_or_default()));
    }
    let damage = damage.filter(|_| !is_set_aside(row));
    // Nothing depends on the cost of the context.
    task.context_cost = cost(row, COST).unwrap_or_default();
    if task.state == TaskState::Running {
        let agents = agents.lock();
        let told = agents.get(&task.id).filter(|(epoch, _)| *epoch == task.epoch);
        task.agent = told.map(|(_, start)| start.agent).or(task.agent);
        task.started_at = task.started_at.or(told.map(|(_, start)| start.at));
    }
    Ok((task, damage))
}

/// Reads rows after one, all or those that have not ended, to see whether they can be read; answers those that cannot, and the last
/// one read if more may follow.
pub(super) fn survey(
    connection: &Connection,
    (after, all, limit): (i64, bool, usize),
    agents: &Agents,
) -> Sql<(Vec<Damage>, Option<i64>)> {
    let mut statement = connection.prepare_cached(&TASKS_AFTER)?;
    let mut rows = statement.query(params![after, all, limit as i64])?;
    let (mut damaged, mut last, mut count) = (Vec::new(), after, 0);
    while let Some(row) = rows.next()? {
        damaged.extend(read_task(row, agents)?.1);
        (last, count) = (row.get(0)?, count + 1);
    }
    Ok((damaged, (count == limit).then_some(last)))
}

/// Reads a page, in one snapshot. What cannot be read is shown as far as it can, whatever state it was in.
pub(super) fn page(connection: &Connection, filter: &TaskFilter, agents: &Agents) -> Sql<(TaskPage, Vec<Damage>)> {
    let snapshot = connection.unchecked_transaction()?;
    let limit = filter.limit.clamp(1, rules::PAGE_LIMIT);
    let mut found = select::matching(&snapshot, filter, limit + 1)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let (mut page, mut damaged) = (TaskPage { tasks: Vec::with_capacity(found.len()), more }, Vec::new());
    for found in found {
        if let Some((task, damage)) = one(&snapshot, &TASK_AT, [found.row], agents)? {
            page.tasks.push(task);
            damaged.extend(damage);
        }
    }
    Ok((page, damaged))
}

/// Counts delayed tasks by the second.
pub(super) fn due_by(connection: &Connection, pool: &PoolName, until: Timestamp) -> Sql<Vec<DueTasks>> {
    let sql = "SELECT min(t.run_at), count(*) - count(t.context) + count(DISTINCT t.context) FROM pools p \
               CROSS JOIN tasks t INDEXED BY tasks_by_run_at ON t.pool = p.pool WHERE p.name = ?1 AND t.state = 0 \
               AND t.run_at <= ?2 GROUP BY t.run_at / 1000000 ORDER BY 1 LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let due = |row: &rusqlite::Row| {
        Ok(DueTasks { at: Timestamp::from_micros(row.get(0)?), tasks: row.get::<_, i64>(1)?.unsigned_abs() })
    };
    statement.query_map(params![pool.as_str(), until.as_micros(), rules::DUE_LIMIT as i64], due)?.collect()
}

/// Sums the inputs of a pool's tasks that have not ended. Sizes are read without the texts.
pub(super) fn input_bytes(connection: &Connection, pool: &PoolName) -> Sql<u64> {
    let sql = "SELECT coalesce(sum(octet_length(i.input)), 0) FROM pools p CROSS JOIN tasks t ON t.pool = p.pool \
               CROSS JOIN inputs i ON i.task = t.task WHERE p.name = ?1 AND t.state < 3";
    Ok(value::<i64>(connection, sql, [pool.as_str()])?.map_or(0, i64::unsigned_abs))
}

/// Reads the sizes of the inputs of tasks that have not ended without the texts, in one snapshot.
pub(super) fn input_sizes(connection: &Connection, tasks: &[TaskId]) -> Sql<Vec<(TaskId, u64)>> {
    let snapshot = connection.unchecked_transaction()?;
    let sql =
        "SELECT octet_length(i.input) FROM tasks t JOIN inputs i ON i.task = t.task WHERE t.id = ?1 AND t.state < 3";
    let mut sizes = Vec::with_capacity(tasks.len());
    for task in tasks {
        let size = value::<Option<i64>>(&snapshot, sql, [task.as_uuid().as_bytes()])?;
        sizes.extend(size.flatten().map(|bytes| (*task, bytes.unsigned_abs())));
    }
    Ok(sizes)
}

/// Counts the unfinished tasks of a tenant. Sizes are read without the texts.
pub(super) fn tenant_usage(connection: &Connection, tenant: &TenantName) -> Sql<TenantUsage> {
    // With the condition of the index of tenants, where it applies.
    let by_index = if tenant.is_default() { "" } else { "AND t.tenant <> 'default'" };
    let sql = format!(
        "SELECT count(*), coalesce(sum(octet_length(i.input)), 0) FROM tasks t JOIN inputs i ON i.task = t.task \
         WHERE t.tenant = ?1 {by_index} AND t.state < 3"
    );
    connection.prepare_cached(&sql)?.query_row([tenant.as_str()], |row| {
        let (tasks, bytes): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(TenantUsage { tasks: tasks.unsigned_abs(), input_bytes: bytes.unsigned_abs() })
    })
}

/// Reads a note.
pub(super) fn note(connection: &Connection, key: &str) -> Sql<Option<String>> {
    let found = value::<Value>(connection, "SELECT text FROM settings WHERE key = ?1", [key]);
    match found {
        Ok(Some(Value::Text(text))) => Ok(Some(text)),
        Err(error) if error.sqlite_error().is_some() => Err(error),
        Ok(None) => Ok(None),
        _ => {
            tracing::error!(key, "store: cannot read a setting; it counts as absent");
            Ok(None)
        }
    }
}

//! What readers read.

use std::sync::PoisonError;

use forerunner_core::{Task, TaskId, TaskState};
use rusqlite::{
    Connection, Params, Row, params, params_from_iter,
    types::{Value, ValueRef},
};

use super::{
    cache::Agents,
    failure::Sql,
    rows::{cost, damage_in, pool_name, salvaged, state, stored, task_columns, value},
};
use crate::{
    TaskFilter, TaskPage,
    damage::{Damage, unreadable},
    rules,
};

macro_rules! task_where {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            task_columns!("o.output"),
            ", p.name, k.cost, d.reason FROM tasks t LEFT JOIN inputs i ON i.task = t.task LEFT JOIN pools p ON p.pool = t.pool ",
            "LEFT JOIN outputs o ON o.task = t.task LEFT JOIN context_costs k ON k.task = t.task LEFT JOIN damaged d ON d.task = t.task WHERE ",
            $condition
        )
    };
}
const TASK: &str = task_where!("t.id = ?1");
const TASK_AT: &str = task_where!("t.task = ?1");
const TASKS_AFTER: &str = task_where!("t.task > ?1 AND (?2 OR t.state < 3) ORDER BY t.task LIMIT ?3");
const POOL_NAME: usize = 28;
const COST: usize = 29;
const REASON: usize = 30;

/// A task as far as it can be read, and what has to be set aside if that is not known yet.
type Read = (Task, Option<Damage>);

/// Reads one task.
pub(super) fn task(connection: &Connection, id: TaskId, agents: &Agents) -> Sql<Option<Read>> {
    one(connection, TASK, [id.as_uuid().as_bytes()], agents)
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
    let damage = damage.filter(|_| !matches!(state(row, 3), Ok(TaskState::Damaged)));
    // Of what the context took nothing depends.
    task.context_cost = cost(row, COST).unwrap_or_default();
    if task.state == TaskState::Running {
        let agents = agents.lock().unwrap_or_else(PoisonError::into_inner);
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
    let mut statement = connection.prepare_cached(TASKS_AFTER)?;
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
    let mut found = matching(&snapshot, filter, limit + 1)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let (mut page, mut damaged) = (TaskPage { tasks: Vec::with_capacity(found.len()), more }, Vec::new());
    for (_, row) in found {
        if let Some((task, damage)) = one(&snapshot, TASK_AT, [row], agents)? {
            page.tasks.push(task);
            damaged.extend(damage);
        }
    }
    Ok((page, damaged))
}

/// The newest ids that match and their rows, each way through the index that suits it.
fn matching(connection: &Connection, filter: &TaskFilter, limit: usize) -> Sql<Vec<(Vec<u8>, i64)>> {
    let pool = match &filter.pool {
        Some(name) => match value::<i64>(connection, "SELECT pool FROM pools WHERE name = ?1", [name.as_str()])? {
            Some(pool) => Some(pool),
            None => return Ok(Vec::new()),
        },
        None => None,
    };
    let state = filter.state.map(|state| state as i64);
    let is_damaged = filter.state == Some(TaskState::Damaged);
    if is_damaged || filter.context.is_some() || filter.label.is_some() || (pool.is_none() && state.is_none()) {
        return newest(connection, filter, (pool, state), limit);
    }
    let pools = match pool {
        Some(pool) => vec![pool],
        None => all_pools(connection)?,
    };
    let states = state.map_or_else(|| (0..TaskState::ALL.len() as i64).collect(), |state| vec![state]);
    let mut ids = Vec::new();
    for pool in pools {
        for state in &states {
            ids.extend(newest(connection, filter, (Some(pool), Some(*state)), limit)?);
        }
    }
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids.truncate(limit);
    Ok(ids)
}

fn all_pools(connection: &Connection) -> Sql<Vec<i64>> {
    connection.prepare_cached("SELECT pool FROM pools")?.query_map([], |row| row.get(0))?.collect()
}

fn newest(
    connection: &Connection,
    filter: &TaskFilter,
    (pool, state): (Option<i64>, Option<i64>),
    limit: usize,
) -> Sql<Vec<(Vec<u8>, i64)>> {
    let mut conditions = Vec::new();
    let mut values = Vec::new();
    let mut require = |condition: &str, value: Value| {
        values.push(value);
        conditions.push(condition.replace('?', &format!("?{}", values.len())));
    };
    let mut source = "tasks t";
    let mut order = "t.id";
    if filter.state == Some(TaskState::Damaged) {
        // Also those of pools that the file does not name.
        source = "damaged d CROSS JOIN tasks t ON t.task = d.task";
    }
    if let Some((key, value)) = &filter.label {
        (source, order) = ("labels l CROSS JOIN tasks t ON t.id = l.id", "l.id");
        require("l.key = ?", Value::from(key.clone()));
        require("l.value = ?", Value::from(value.clone()));
    }
    if let Some(before) = filter.before {
        require(&format!("{order} < ?"), Value::from(before.as_uuid().as_bytes().to_vec()));
    }
    if let Some(context) = &filter.context {
        require("t.context = ?", Value::from(context.as_str().to_owned()));
    }
    if let Some(pool) = pool {
        require("t.pool = ?", Value::from(pool));
    }
    if let Some(state) = state {
        require("t.state = ?", Value::from(state));
    }
    if conditions.is_empty() {
        conditions.push("true".to_owned());
    }
    let conditions = conditions.join(" AND ");
    let sql = format!("SELECT t.id, t.task FROM {source} WHERE {conditions} ORDER BY {order} DESC LIMIT {limit}");
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(values), |row| Ok((bytes(row.get_ref(0)?), row.get(1)?)))?;
    found.collect()
}

/// An id as it stands, whatever it is, to be sorted by.
fn bytes(id: ValueRef<'_>) -> Vec<u8> {
    match id {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes.to_vec(),
        _ => Vec::new(),
    }
}

/// Reads a note.
pub(super) fn note(connection: &Connection, key: &str) -> Sql<Option<String>> {
    let found = value::<Value>(connection, "SELECT text FROM notes WHERE key = ?1", [key]);
    match found {
        Ok(Some(Value::Text(text))) => Ok(Some(text)),
        Err(error) if error.sqlite_error().is_some() => Err(error),
        Ok(None) => Ok(None),
        _ => {
            tracing::error!(key, "store: a note cannot be read; it counts as not there");
            Ok(None)
        }
    }
}

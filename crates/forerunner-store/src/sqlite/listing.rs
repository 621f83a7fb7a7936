//! What readers read.

use std::sync::PoisonError;

use forerunner_core::{Task, TaskId, TaskState};
use rusqlite::{Connection, Row, params_from_iter, types::Value};

use super::{
    cache::Agents,
    failure::Sql,
    rows::{cost, pool_name, stored, task_columns, uuid, value},
};
use crate::{TaskFilter, TaskPage, rules};

const TASK: &str = concat!(
    "SELECT ",
    task_columns!("o.output"),
    ", p.name, k.cost FROM tasks t CROSS JOIN inputs i ON i.task = t.task CROSS JOIN pools p ON p.pool = t.pool ",
    "LEFT JOIN outputs o ON o.task = t.task LEFT JOIN context_costs k ON k.task = t.task WHERE t.id = ?1"
);
const POOL_NAME: usize = 28;
const COST: usize = 29;

/// Reads one task.
pub(super) fn task(connection: &Connection, id: TaskId, agents: &Agents) -> Sql<Option<Task>> {
    let mut statement = connection.prepare_cached(TASK)?;
    let mut rows = statement.query([id.as_uuid().as_bytes()])?;
    rows.next()?.map(|row| read_task(row, agents)).transpose()
}

fn read_task(row: &Row<'_>, agents: &Agents) -> Sql<Task> {
    let name = pool_name(row, POOL_NAME)?;
    let mut task = stored(row, |_| Some(name))?.task;
    task.context_cost = cost(row, COST)?;
    if task.state == TaskState::Running {
        let agents = agents.lock().unwrap_or_else(PoisonError::into_inner);
        let told = agents.get(&task.id).filter(|(epoch, _)| *epoch == task.epoch);
        task.agent = told.map(|(_, start)| start.agent).or(task.agent);
        task.started_at = task.started_at.or(told.map(|(_, start)| start.at));
    }
    Ok(task)
}

/// Reads a page, in one snapshot.
pub(super) fn page(connection: &Connection, filter: &TaskFilter, agents: &Agents) -> Sql<TaskPage> {
    let snapshot = connection.unchecked_transaction()?;
    let limit = filter.limit.clamp(1, rules::PAGE_LIMIT);
    let mut ids = matching(&snapshot, filter, limit + 1)?;
    let more = ids.len() > limit;
    ids.truncate(limit);
    let tasks = ids.into_iter().filter_map(|id| task(&snapshot, id, agents).transpose());
    Ok(TaskPage { tasks: tasks.collect::<Sql<_>>()?, more })
}

/// The newest ids that match, each way through the index that suits it.
fn matching(connection: &Connection, filter: &TaskFilter, limit: usize) -> Sql<Vec<TaskId>> {
    let pool = match &filter.pool {
        Some(name) => match value::<i64>(connection, "SELECT pool FROM pools WHERE name = ?1", [name.as_str()])? {
            Some(pool) => Some(pool),
            None => return Ok(Vec::new()),
        },
        None => None,
    };
    let state = filter.state.map(|state| state as i64);
    if filter.context.is_some() || filter.label.is_some() || (pool.is_none() && state.is_none()) {
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
) -> Sql<Vec<TaskId>> {
    let mut conditions = Vec::new();
    let mut values = Vec::new();
    let mut require = |condition: &str, value: Value| {
        values.push(value);
        conditions.push(condition.replace('?', &format!("?{}", values.len())));
    };
    let mut source = "tasks t";
    let mut order = "t.id";
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
    let sql = format!("SELECT t.id FROM {source} WHERE {conditions} ORDER BY {order} DESC LIMIT {limit}");
    let mut statement = connection.prepare_cached(&sql)?;
    let ids = statement.query_map(params_from_iter(values), |row| uuid(row, 0).map(TaskId::from_uuid))?;
    ids.collect()
}

/// Reads a note.
pub(super) fn note(connection: &Connection, key: &str) -> Sql<Option<String>> {
    value(connection, "SELECT text FROM notes WHERE key = ?1", [key])
}

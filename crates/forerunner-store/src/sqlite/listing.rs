//! What readers read.

use std::sync::PoisonError;

use forerunner_core::{Task, TaskId, TaskState};
use rusqlite::{Connection, Row};

use super::{
    cache::Agents,
    failure::Sql,
    rows::{cost, pool_name, stored, task_columns, value},
    select,
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
    let mut ids = select::matching(&snapshot, filter, limit + 1)?;
    let more = ids.len() > limit;
    ids.truncate(limit);
    let tasks = ids.into_iter().filter_map(|(id, _)| task(&snapshot, id, agents).transpose());
    Ok(TaskPage { tasks: tasks.collect::<Sql<_>>()?, more })
}

/// Reads a note.
pub(super) fn note(connection: &Connection, key: &str) -> Sql<Option<String>> {
    value(connection, "SELECT text FROM notes WHERE key = ?1", [key])
}

//! Finding tasks by a filter, each part through the index that suits it.
//!
//! An index serves the pool, the states, the context, the first label and the window of creation. Further labels and
//! the windows of ends and due times are tested on each task that the index finds.

use forerunner_core::{TaskId, TaskState};
use rusqlite::{
    Connection, Row, params_from_iter,
    types::{Value, ValueRef},
};
use uuid::Uuid;

use super::{
    failure::Sql,
    rows::{state, value},
};
use crate::{TaskFilter, TimeWindow, rules};

/// A task that matches. Its row may contain anything.
pub(super) struct Found {
    /// Its id as stored, to be sorted by.
    id: Vec<u8>,
    pub row: i64,
    state: Option<TaskState>,
}

impl Found {
    fn read(row: &Row<'_>) -> Sql<Self> {
        let id = match row.get_ref(0)? {
            ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        };
        Ok(Self { id, row: row.get(1)?, state: state(row, 2).ok() })
    }

    /// What it is, unless that cannot be read.
    fn named(&self) -> Option<(TaskId, TaskState)> {
        Some((TaskId::from_uuid(Uuid::from_slice(&self.id).ok()?), self.state?))
    }
}

/// Names tasks and their states. One whose id or state cannot be read has no name to be changed by.
pub(super) fn select(connection: &Connection, filter: &TaskFilter) -> Sql<Vec<(TaskId, TaskState)>> {
    let snapshot = connection.unchecked_transaction()?;
    let found = matching(&snapshot, filter, filter.limit.clamp(1, rules::SELECT_LIMIT))?;
    Ok(found.iter().filter_map(Found::named).collect())
}

/// The first tasks that match, in the order of the filter.
pub(super) fn matching(connection: &Connection, filter: &TaskFilter, limit: usize) -> Sql<Vec<Found>> {
    let pool = match &filter.pool {
        Some(name) => match value::<i64>(connection, "SELECT pool FROM pools WHERE name = ?1", [name.as_str()])? {
            Some(pool) => Some(pool),
            None => return Ok(Vec::new()),
        },
        None => None,
    };
    let has_own_index = filter.context.is_some() || !filter.labels.is_empty() || is_of_damaged(filter);
    if has_own_index || (pool.is_none() && filter.states.is_empty()) {
        return first(connection, filter, pool, &filter.states, limit);
    }
    let pools = match pool {
        Some(pool) => vec![pool],
        None => all_pools(connection)?,
    };
    let states = if filter.states.is_empty() { &TaskState::ALL[..] } else { &filter.states };
    let mut found = Vec::new();
    for pool in pools {
        for state in states {
            found.extend(first(connection, filter, Some(pool), std::slice::from_ref(state), limit)?);
        }
    }
    found.sort_unstable_by(|one, other| (&one.id, one.row).cmp(&(&other.id, other.row)));
    found.dedup_by_key(|found| found.row);
    if !filter.oldest_first {
        found.reverse();
    }
    found.truncate(limit);
    Ok(found)
}

/// Whether damaged tasks alone are asked for: those of pools that the file does not name are among them.
fn is_of_damaged(filter: &TaskFilter) -> bool {
    filter.states == [TaskState::Damaged]
}

fn all_pools(connection: &Connection) -> Sql<Vec<i64>> {
    connection.prepare_cached("SELECT pool FROM pools")?.query_map([], |row| row.get(0))?.collect()
}

/// The first tasks of a pool and of some states, both if they are given.
fn first(
    connection: &Connection,
    filter: &TaskFilter,
    pool: Option<i64>,
    states: &[TaskState],
    limit: usize,
) -> Sql<Vec<Found>> {
    let mut conditions = Conditions::default();
    let (source, id) = conditions.sources(filter);
    let (after, before) = filter.id_bounds();
    conditions.compare(&format!("{id} >"), after.map(id_value));
    conditions.compare(&format!("{id} <"), before.map(id_value));
    if let Some(tenant) = &filter.tenant {
        conditions.compare("t.tenant =", Some(Value::from(tenant.as_str().to_owned())));
        // Without it the index of tenants does not count.
        conditions.texts.extend((!tenant.is_default()).then(|| "t.tenant <> 'default'".to_owned()));
    }
    conditions.compare("t.context =", filter.context.as_ref().map(|context| Value::from(context.as_str().to_owned())));
    conditions.compare("t.pool =", pool.map(Value::from));
    conditions.one_of("t.state", states);
    conditions.window("i.submitted_at", &filter.created);
    conditions.window("t.finished_at", &filter.ended);
    conditions.window("t.run_at", &filter.due);
    let order = if filter.oldest_first { "ASC" } else { "DESC" };
    let all = conditions.all();
    let sql = format!("SELECT t.id, t.task, t.state FROM {source} WHERE {all} ORDER BY {id} {order} LIMIT {limit}");
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(params_from_iter(conditions.values), Found::read)?;
    found.collect()
}

/// Conditions with the values that they compare with.
#[derive(Default)]
struct Conditions {
    texts: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// Where tasks are read from, and the column that has their ids.
    fn sources(&mut self, filter: &TaskFilter) -> (String, &'static str) {
        let mut source = "tasks t".to_owned();
        if is_of_damaged(filter) {
            "damaged d CROSS JOIN tasks t ON t.task = d.task".clone_into(&mut source);
        }
        let mut labels = filter.labels.iter();
        let first = labels.next();
        if let Some((key, value)) = first {
            "labels l CROSS JOIN tasks t ON t.id = l.id".clone_into(&mut source);
            self.compare("l.key =", Some(key.clone().into()));
            self.compare("l.value =", Some(value.clone().into()));
        }
        for (key, value) in labels {
            let (key, value) = (self.value(key.clone().into()), self.value(value.clone().into()));
            let other =
                format!("EXISTS (SELECT 1 FROM labels m WHERE m.key = {key} AND m.value = {value} AND m.id = l.id)");
            self.texts.push(other);
        }
        if !filter.created.is_open() {
            source.push_str(" CROSS JOIN inputs i ON i.task = t.task");
        }
        (source, if first.is_some() { "l.id" } else { "t.id" })
    }

    fn value(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("?{}", self.values.len())
    }

    fn compare(&mut self, left: &str, right: Option<Value>) {
        if let Some(right) = right {
            let right = self.value(right);
            self.texts.push(format!("{left} {right}"));
        }
    }

    fn one_of(&mut self, column: &str, states: &[TaskState]) {
        match states {
            [] => {}
            // By which an index of states is walked in the order of ids.
            [state] => self.compare(&format!("{column} ="), Some(Value::from(*state as i64))),
            states => {
                let codes: Vec<_> = states.iter().map(|state| (*state as i64).to_string()).collect();
                self.texts.push(format!("{column} IN ({})", codes.join(", ")));
            }
        }
    }

    fn window(&mut self, column: &str, window: &TimeWindow) {
        self.compare(&format!("{column} >="), window.after.map(|after| Value::from(after.as_micros())));
        self.compare(&format!("{column} <"), window.before.map(|before| Value::from(before.as_micros())));
    }

    fn all(&self) -> String {
        if self.texts.is_empty() { "true".to_owned() } else { self.texts.join(" AND ") }
    }
}

fn id_value(id: TaskId) -> Value {
    Value::from(id.as_uuid().as_bytes().to_vec())
}

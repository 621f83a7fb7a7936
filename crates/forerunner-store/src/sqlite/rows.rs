//! Tasks as columns, and columns as tasks.

use std::{error::Error as StdError, time::Duration};

use forerunner_core::{
    AgentId, ContextCost, ContextId, ErrorKind, IdempotencyKey, Labels, LeaseEpoch, NodeId, Payload, PoolName,
    Priority, RetryPolicy, Task, TaskError, TaskId, TaskState, Timestamp,
};
use rusqlite::{
    Error, Row,
    types::{FromSql, Type},
};
use serde::{Deserialize, de::IntoDeserializer};
use uuid::Uuid;

use super::failure::Sql;
use crate::damage::{self, Damage};

/// The columns that [`stored`] reads, for `tasks t` and `inputs i`.
macro_rules! task_columns {
    ($output:literal) => {
        concat!(
            "t.task, t.id, t.pool, t.state, t.context, t.priority, t.due, t.run_at, t.deadline, t.attempt, t.crashes, ",
            "t.epoch, t.started_at, t.finished_at, t.agent, t.node, t.error_kind, t.error, i.submitted_at, i.timeout, ",
            "i.max_attempts, i.max_crashes, i.backoff_initial, i.backoff_max, i.input, i.labels, i.key, ",
            $output,
            ", t.parent, t.depth"
        )
    };
}
pub(super) use task_columns;

/// A task with the store's own data.
#[derive(Debug)]
pub(super) struct Stored {
    pub row: i64,
    pub pool: i64,
    pub due: Timestamp,
    pub task: Task,
    /// What of it cannot be read, if it was set aside for that.
    pub damage: Option<String>,
}

/// Reads a task from the columns of `task_columns!`; `pool_name` finds the name of its pool.
///
/// # Errors
/// [`Damage`], for [`damage_in`], when a column cannot be read.
pub(super) fn stored(row: &Row<'_>, pool_name: impl FnOnce(i64) -> Option<PoolName>) -> Sql<Stored> {
    sound(row, pool_name).map_err(|error| damaged_row(row, 0, &error))
}

/// As [`stored`], but a task that was set aside is read as far as it can be.
pub(super) fn stored_or_damaged(row: &Row<'_>, pool_name: impl Fn(i64) -> Option<PoolName>) -> Sql<Stored> {
    match stored(row, &pool_name) {
        Err(error) if matches!(state(row, 3), Ok(TaskState::Damaged)) => match damage_in(&error) {
            Some(damage) => salvaged(row, pool_name, damage),
            None => Err(error),
        },
        other => other,
    }
}

/// The readable part of a task that is not readable as a whole. A running one continues: its end needs nothing of the
/// row.
pub(super) fn salvaged(row: &Row<'_>, pool_name: impl FnOnce(i64) -> Option<PoolName>, damage: &Damage) -> Sql<Stored> {
    let pool = row.get(2).unwrap_or(0);
    let id = uuid(row, 1).map_or_else(|_| damage::id_of_row(damage.row), TaskId::from_uuid);
    let name = pool_name(pool).map_or_else(|| lost_pool(pool), Ok)?;
    let mut task = damage::stand_in(id, name, &damage.reason);
    if matches!(state(row, 3), Ok(TaskState::Running)) {
        task.state = TaskState::Running;
    }
    read_into(&mut task.input, json(row, 24));
    read_into(&mut task.context, context(row, 4));
    read_into(&mut task.priority, priority(row, 5));
    read_into(&mut task.submitted_at, time(row, 18));
    read_into(&mut task.run_at, time(row, 7));
    read_into(&mut task.deadline, optional_time(row, 8));
    read_into(&mut task.timeout, duration(row, 19));
    read_into(&mut task.retry, retry(row));
    read_into(&mut task.labels, optional_labels(row, 25));
    read_into(&mut task.idempotency_key, key(row, 26));
    read_into(&mut task.parent, parent(row, 28));
    read_into(&mut task.depth, depth(row, 29));
    read_into(&mut task.attempt, count(row, 9));
    read_into(&mut task.crashes, count(row, 10));
    read_into(&mut task.epoch, epoch(row, 11));
    read_into(&mut task.started_at, optional_time(row, 12));
    read_into(&mut task.finished_at, optional_time(row, 13));
    read_into(&mut task.agent, optional_uuid(row, 14).map(|id| id.map(AgentId::from_uuid)));
    read_into(&mut task.node, optional_uuid(row, 15).map(|id| id.map(NodeId::from_uuid)));
    read_into(&mut task.output, optional_json(row, 27));
    let due = time(row, 6).unwrap_or(task.run_at);
    Ok(Stored { row: damage.row, pool, due, task, damage: Some(damage.reason.clone()) })
}

fn read_into<T>(place: &mut T, found: Sql<T>) {
    if let Ok(found) = found {
        *place = found;
    }
}

/// The substitute name of a pool without a name in the file.
pub(super) fn lost_pool(pool: i64) -> Sql<PoolName> {
    name_of(2, PoolName::new(format!("unnamed-{}", pool.unsigned_abs())))
}

fn sound(row: &Row<'_>, pool_name: impl FnOnce(i64) -> Option<PoolName>) -> Sql<Stored> {
    let pool: i64 = row.get(2)?;
    let name = pool_name(pool).ok_or(Error::IntegralValueOutOfRange(2, pool))?;
    let task = Task {
        id: TaskId::from_uuid(uuid(row, 1)?),
        pool: name,
        state: state(row, 3)?,
        input: json(row, 24)?,
        context: context(row, 4)?,
        priority: priority(row, 5)?,
        context_version: 0,
        context_born: 0,
        context_cost: None,
        submitted_at: time(row, 18)?,
        run_at: time(row, 7)?,
        deadline: optional_time(row, 8)?,
        timeout: duration(row, 19)?,
        retry: retry(row)?,
        labels: optional_labels(row, 25)?,
        idempotency_key: key(row, 26)?,
        parent: parent(row, 28)?,
        depth: depth(row, 29)?,
        attempt: count(row, 9)?,
        crashes: count(row, 10)?,
        epoch: epoch(row, 11)?,
        started_at: optional_time(row, 12)?,
        finished_at: optional_time(row, 13)?,
        agent: optional_uuid(row, 14)?.map(AgentId::from_uuid),
        node: optional_uuid(row, 15)?.map(NodeId::from_uuid),
        output: optional_json(row, 27)?,
        error: error(row)?,
    };
    Ok(Stored { row: row.get(0)?, pool, due: time(row, 6)?, task, damage: None })
}

/// The error for a row that cannot be read, whose number is in a column.
pub(super) fn damaged_row(row: &Row<'_>, number: usize, error: &Error) -> Error {
    let column = |index: usize| row.as_ref().column_name(index).unwrap_or("?").to_owned();
    let reason = match error {
        Error::FromSqlConversionFailure(index, _, cause) => format!("column `{}`: {cause}", column(*index)),
        Error::InvalidColumnType(index, _, Type::Null) => format!("column `{}` is empty", column(*index)),
        Error::InvalidColumnType(index, _, kind) => format!("column `{}` is of type {kind}", column(*index)),
        Error::IntegralValueOutOfRange(index, value) => {
            format!("column `{}` is {value}, which is out of range", column(*index))
        }
        other => other.to_string(),
    };
    // A row without a number is in an index only.
    damaged_task(row.get(number).unwrap_or(0), reason)
}

/// The error for a task that cannot be read, or not be run.
pub(super) fn damaged_task(row: i64, reason: String) -> Error {
    Error::FromSqlConversionFailure(0, Type::Null, Box::new(Damage { row, reason }))
}

/// The row that an error is about, if it cannot be read.
pub(super) fn damage_in(error: &Error) -> Option<&Damage> {
    match error {
        Error::FromSqlConversionFailure(_, _, cause) => cause.downcast_ref(),
        _ => None,
    }
}

pub(super) fn priority(row: &Row<'_>, column: usize) -> Sql<Priority> {
    name_of(column, Priority::new(u64::from(row.get::<_, u8>(column)?)))
}

fn retry(row: &Row<'_>) -> Sql<RetryPolicy> {
    Ok(RetryPolicy {
        max_attempts: row.get(20)?,
        max_crashes: row.get(21)?,
        initial: duration(row, 22)?,
        max: duration(row, 23)?,
    })
}

fn optional_labels(row: &Row<'_>, column: usize) -> Sql<Labels> {
    Ok(optional_text(row, column)?.map(|text| labels(column, text)).transpose()?.unwrap_or_default())
}

fn key(row: &Row<'_>, column: usize) -> Sql<Option<IdempotencyKey>> {
    optional_text(row, column)?.map(|text| name_of(column, IdempotencyKey::new(text))).transpose()
}

fn json(row: &Row<'_>, column: usize) -> Sql<Payload> {
    damage::stored_json(text(row, column)?).map_err(|error| unreadable(column, error))
}

fn optional_json(row: &Row<'_>, column: usize) -> Sql<Option<Payload>> {
    optional_text(row, column)?.map(|_| json(row, column)).transpose()
}

pub(super) fn state(row: &Row<'_>, column: usize) -> Sql<TaskState> {
    let code: u8 = row.get(column)?;
    TaskState::ALL.get(usize::from(code)).copied().ok_or(Error::IntegralValueOutOfRange(column, i64::from(code)))
}

pub(super) fn epoch(row: &Row<'_>, column: usize) -> Sql<LeaseEpoch> {
    number(row, column).map(LeaseEpoch)
}

pub(super) fn uuid(row: &Row<'_>, column: usize) -> Sql<Uuid> {
    row.get::<_, [u8; 16]>(column).map(Uuid::from_bytes)
}

pub(super) fn optional_uuid(row: &Row<'_>, column: usize) -> Sql<Option<Uuid>> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(Uuid::from_bytes))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Sql<Timestamp> {
    let micros = row.get(column)?;
    damage::stored_time(micros).ok_or(Error::IntegralValueOutOfRange(column, micros))
}

/// The greatest number that is accepted as a count: it leaves room to count on, and no store reaches it.
pub(super) const MOST_COUNTED: u64 = 1 << 62;
/// The same for what counts attempts and crashes.
const MOST_TRIES: u64 = 1 << 31;

/// A number that is not negative and may be counted on.
pub(super) fn number(row: &Row<'_>, column: usize) -> Sql<u64> {
    bounded(row, column, MOST_COUNTED)
}

/// How often something was tried.
pub(super) fn count(row: &Row<'_>, column: usize) -> Sql<u32> {
    let count = bounded(row, column, MOST_TRIES)?;
    u32::try_from(count).map_err(|_| Error::IntegralValueOutOfRange(column, i64::MAX))
}

fn parent(row: &Row<'_>, column: usize) -> Sql<Option<TaskId>> {
    Ok(optional_uuid(row, column)?.map(TaskId::from_uuid))
}

/// The depth of a task.
pub(super) fn depth(row: &Row<'_>, column: usize) -> Sql<u32> {
    row.get::<_, Option<i64>>(column)?.map_or(Ok(0), |_| count(row, column))
}

fn bounded(row: &Row<'_>, column: usize, most: u64) -> Sql<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).ok().filter(|value| *value <= most).ok_or(Error::IntegralValueOutOfRange(column, value))
}

/// A number that is not negative.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Sql<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| Error::IntegralValueOutOfRange(column, value))
}

pub(super) fn optional_time(row: &Row<'_>, column: usize) -> Sql<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)?.map(|_| time(row, column)).transpose()
}

pub(super) fn pool_name(row: &Row<'_>, column: usize) -> Sql<PoolName> {
    name_of(column, PoolName::new(text(row, column)?))
}

pub(super) fn context(row: &Row<'_>, column: usize) -> Sql<Option<ContextId>> {
    optional_text(row, column)?.map(|text| name_of(column, ContextId::new(text))).transpose()
}

/// The cost of a task's context, stored as JSON.
pub(super) fn cost(row: &Row<'_>, column: usize) -> Sql<Option<Box<ContextCost>>> {
    let read = |text| serde_json::from_str(text).map_err(|error| unreadable(column, error));
    optional_text(row, column)?.map(read).transpose()
}

/// Microseconds as stored; what is longer than 292,000 years is cut.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn labels_text(labels: &Labels) -> Option<String> {
    (!labels.is_empty()).then(|| serde_json::to_string(labels).unwrap_or_default())
}

pub(super) fn labels(column: usize, text: &str) -> Sql<Labels> {
    serde_json::from_str(text).map_err(|error| unreadable(column, error))
}

fn duration(row: &Row<'_>, column: usize) -> Sql<Duration> {
    unsigned(row, column).map(Duration::from_micros)
}

fn error(row: &Row<'_>) -> Sql<Option<TaskError>> {
    let Some(kind) = optional_text(row, 16)? else { return Ok(None) };
    let kind = ErrorKind::deserialize(kind.into_deserializer());
    let kind = kind.map_err(|error: serde::de::value::Error| unreadable(16, error))?;
    Ok(Some(TaskError::new(kind, optional_text(row, 17)?.unwrap_or_default())))
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Sql<&'a str> {
    row.get_ref(column)?.as_str().map_err(|error| unreadable(column, error))
}

fn optional_text<'a>(row: &'a Row<'_>, column: usize) -> Sql<Option<&'a str>> {
    row.get_ref(column)?.as_str_or_null().map_err(|error| unreadable(column, error))
}

pub(super) fn name_of<T>(column: usize, name: Result<T, forerunner_core::Error>) -> Sql<T> {
    name.map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: impl StdError + Send + Sync + 'static) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// Reads the first column of the only row, if there is one.
pub(super) fn value<T: FromSql>(
    connection: &rusqlite::Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Sql<Option<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(|row| row.get(0)).transpose()
}

/// Runs a statement that changes rows; answers how many.
pub(super) fn run(connection: &rusqlite::Connection, sql: &str, params: impl rusqlite::Params) -> Sql<usize> {
    connection.prepare_cached(sql)?.execute(params)
}

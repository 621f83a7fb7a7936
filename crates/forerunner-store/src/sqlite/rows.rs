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

/// The columns that [`stored`] reads, for `tasks t` and `inputs i`; the output comes last.
macro_rules! task_columns {
    ($output:literal) => {
        concat!(
            "t.task, t.id, t.pool, t.state, t.context, t.priority, t.due, t.run_at, t.deadline, t.attempt, t.crashes, ",
            "t.epoch, t.started_at, t.finished_at, t.agent, t.node, t.error_kind, t.error, i.submitted_at, i.timeout, ",
            "i.max_attempts, i.max_crashes, i.backoff_initial, i.backoff_max, i.input, i.labels, i.key, ",
            $output
        )
    };
}
pub(super) use task_columns;

/// A task with what only the store knows.
#[derive(Debug)]
pub(super) struct Stored {
    pub row: i64,
    pub pool: i64,
    pub due: Timestamp,
    pub task: Task,
}

/// Reads a task from the columns of `task_columns!`; its pool's name is looked up by `pool_name`.
pub(super) fn stored(row: &Row<'_>, pool_name: impl FnOnce(i64) -> Option<PoolName>) -> Sql<Stored> {
    let pool: i64 = row.get(2)?;
    let name = pool_name(pool).ok_or(Error::IntegralValueOutOfRange(2, pool))?;
    let task = Task {
        id: TaskId::from_uuid(uuid(row, 1)?),
        pool: name,
        state: state(row, 3)?,
        input: Payload::trusted(text(row, 24)?),
        context: context(row, 4)?,
        priority: name_of(5, Priority::new(u64::from(row.get::<_, u8>(5)?)))?,
        context_version: 0,
        context_born: 0,
        context_cost: None,
        submitted_at: time(row, 18)?,
        run_at: time(row, 7)?,
        deadline: optional_time(row, 8)?,
        timeout: duration(row, 19)?,
        retry: RetryPolicy {
            max_attempts: row.get(20)?,
            max_crashes: row.get(21)?,
            initial: duration(row, 22)?,
            max: duration(row, 23)?,
        },
        labels: optional_text(row, 25)?.map(|text| labels(25, text)).transpose()?.unwrap_or_default(),
        idempotency_key: optional_text(row, 26)?.map(|text| name_of(26, IdempotencyKey::new(text))).transpose()?,
        attempt: row.get(9)?,
        crashes: row.get(10)?,
        epoch: epoch(row, 11)?,
        started_at: optional_time(row, 12)?,
        finished_at: optional_time(row, 13)?,
        agent: optional_uuid(row, 14)?.map(AgentId::from_uuid),
        node: optional_uuid(row, 15)?.map(NodeId::from_uuid),
        output: optional_text(row, 27)?.map(Payload::trusted),
        error: error(row)?,
    };
    Ok(Stored { row: row.get(0)?, pool, due: time(row, 6)?, task })
}

pub(super) fn state(row: &Row<'_>, column: usize) -> Sql<TaskState> {
    let code: u8 = row.get(column)?;
    TaskState::ALL.get(usize::from(code)).copied().ok_or(Error::IntegralValueOutOfRange(column, i64::from(code)))
}

pub(super) fn epoch(row: &Row<'_>, column: usize) -> Sql<LeaseEpoch> {
    row.get::<_, i64>(column).map(|epoch| LeaseEpoch(epoch as u64))
}

pub(super) fn uuid(row: &Row<'_>, column: usize) -> Sql<Uuid> {
    row.get::<_, [u8; 16]>(column).map(Uuid::from_bytes)
}

pub(super) fn optional_uuid(row: &Row<'_>, column: usize) -> Sql<Option<Uuid>> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(Uuid::from_bytes))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Sql<Timestamp> {
    row.get(column).map(Timestamp::from_micros)
}

pub(super) fn optional_time(row: &Row<'_>, column: usize) -> Sql<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}

pub(super) fn pool_name(row: &Row<'_>, column: usize) -> Sql<PoolName> {
    name_of(column, PoolName::new(text(row, column)?))
}

pub(super) fn context(row: &Row<'_>, column: usize) -> Sql<Option<ContextId>> {
    optional_text(row, column)?.map(|text| name_of(column, ContextId::new(text))).transpose()
}

/// What a task's context took, kept as JSON.
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
    let micros: i64 = row.get(column)?;
    Ok(Duration::from_micros(micros.unsigned_abs()))
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

fn name_of<T>(column: usize, name: Result<T, forerunner_core::Error>) -> Sql<T> {
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

//! Tasks as columns, and columns as tasks.

use std::{error::Error as StdError, time::Duration};

use forerunner_core::{
    AgentId, ContextCost, ContextId, ErrorKind, IdempotencyKey, Labels, LeaseEpoch, NodeId, Payload, PoolName,
    Priority, RetryPolicy, Task, TaskError, TaskId, TaskState, Timestamp,
};
use serde::{Deserialize, de::IntoDeserializer};
use tokio_postgres::{Row, types::FromSqlOwned};
use uuid::Uuid;

use super::failure::{Fault, Sql};

/// The columns that [`stored`] reads, for `tasks t` and `inputs i`; the output comes last.
macro_rules! task_columns {
    ($output:literal) => {
        concat!(
            "t.task, t.id, t.pool, t.state, t.context, t.priority, t.due, t.run_at, t.deadline, t.attempt, t.crashes, ",
            "t.epoch, t.started_at, t.finished_at, t.agent, t.node, t.error_kind, t.error, i.submitted_at, i.timeout, ",
            "i.max_attempts, i.max_crashes, i.backoff_initial, i.backoff_max, i.input, i.labels, i.key, t.stop_epoch, ",
            $output,
            " AS output"
        )
    };
}
pub(super) use task_columns;

/// A task among the claimable ones, or about to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    pub pool: PoolName,
    pub row: i64,
    pub priority: u8,
    pub due: Timestamp,
    pub deadline: Option<Timestamp>,
}

impl Spot {
    pub fn urgency(&self) -> i16 {
        i16::from(9 - self.priority.min(9))
    }

    /// Where it is among those that are as urgent.
    pub fn place(&self) -> (i64, i64) {
        (self.due.as_micros(), self.row)
    }
}

/// A task with what only the store knows.
#[derive(Debug)]
pub(super) struct Stored {
    pub row: i64,
    pub due: Timestamp,
    /// Somebody cancelled it while it ran under its epoch.
    pub is_to_stop: bool,
    pub task: Task,
}

impl Stored {
    pub fn spot(&self) -> Spot {
        let Task { priority, deadline, .. } = self.task;
        Spot { pool: self.task.pool.clone(), row: self.row, priority: priority.get(), due: self.due, deadline }
    }
}

/// Reads a task from the columns of `task_columns!`.
pub(super) fn stored(row: &Row) -> Sql<Stored> {
    let task = Task {
        id: TaskId::from_uuid(get(row, 1)?),
        pool: name_of(PoolName::new(get::<String>(row, 2)?))?,
        state: state(row, 3)?,
        input: Payload::trusted(get::<String>(row, 24)?),
        context: context(row, 4)?,
        priority: name_of(Priority::new(u64::from(get::<i16>(row, 5)?.unsigned_abs())))?,
        context_version: 0,
        context_born: 0,
        context_cost: None,
        submitted_at: time(row, 18)?,
        run_at: time(row, 7)?,
        deadline: optional_time(row, 8)?,
        timeout: duration(row, 19)?,
        retry: RetryPolicy {
            max_attempts: number(row, 20)?,
            max_crashes: number(row, 21)?,
            initial: duration(row, 22)?,
            max: duration(row, 23)?,
        },
        labels: get::<Option<String>>(row, 25)?.map(|text| labels(&text)).transpose()?.unwrap_or_default(),
        idempotency_key: get::<Option<String>>(row, 26)?.map(|text| name_of(IdempotencyKey::new(text))).transpose()?,
        attempt: number(row, 9)?,
        crashes: number(row, 10)?,
        epoch: LeaseEpoch(get::<i64>(row, 11)?.unsigned_abs()),
        started_at: optional_time(row, 12)?,
        finished_at: optional_time(row, 13)?,
        agent: get::<Option<Uuid>>(row, 14)?.map(AgentId::from_uuid),
        node: get::<Option<Uuid>>(row, 15)?.map(NodeId::from_uuid),
        output: get::<Option<String>>(row, 28)?.map(Payload::trusted),
        error: error(row)?,
    };
    let is_to_stop = get::<Option<i64>>(row, 27)? == Some(task.epoch.0 as i64);
    Ok(Stored { row: get(row, 0)?, due: time(row, 6)?, is_to_stop, task })
}

pub(super) fn get<T: FromSqlOwned>(row: &Row, column: usize) -> Sql<T> {
    row.try_get(column).map_err(Fault::from)
}

pub(super) fn state(row: &Row, column: usize) -> Sql<TaskState> {
    let code = get::<i16>(row, column)?;
    let state = usize::try_from(code).ok().and_then(|code| TaskState::ALL.get(code)).copied();
    state.ok_or_else(|| Fault::unreadable(format!("there is no state {code}")))
}

pub(super) fn time(row: &Row, column: usize) -> Sql<Timestamp> {
    get(row, column).map(Timestamp::from_micros)
}

pub(super) fn optional_time(row: &Row, column: usize) -> Sql<Option<Timestamp>> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_micros))
}

pub(super) fn context(row: &Row, column: usize) -> Sql<Option<ContextId>> {
    get::<Option<String>>(row, column)?.map(|text| name_of(ContextId::new(text))).transpose()
}

/// What a task's context took, kept as JSON.
pub(super) fn parsed_cost(text: Option<String>) -> Sql<Option<Box<ContextCost>>> {
    text.map(|text| serde_json::from_str(&text).map_err(unreadable)).transpose()
}

/// Microseconds as stored; what is longer than 292,000 years is cut.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn labels_text(labels: &Labels) -> Option<String> {
    (!labels.is_empty()).then(|| serde_json::to_string(labels).unwrap_or_default())
}

/// A label as one text to be found by.
pub(super) fn label_pair(key: &str, value: &str) -> String {
    serde_json::to_string(&[key, value]).unwrap_or_default()
}

/// A text that PostgreSQL takes: it has no zero character.
pub(super) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn labels(text: &str) -> Sql<Labels> {
    serde_json::from_str(text).map_err(unreadable)
}

fn number(row: &Row, column: usize) -> Sql<u32> {
    u32::try_from(get::<i64>(row, column)?).map_err(unreadable)
}

fn duration(row: &Row, column: usize) -> Sql<Duration> {
    Ok(Duration::from_micros(get::<i64>(row, column)?.unsigned_abs()))
}

fn error(row: &Row) -> Sql<Option<TaskError>> {
    let Some(kind) = get::<Option<String>>(row, 16)? else { return Ok(None) };
    let kind = ErrorKind::deserialize(kind.as_str().into_deserializer());
    let kind = kind.map_err(|error: serde::de::value::Error| unreadable(error))?;
    Ok(Some(TaskError::new(kind, get::<Option<String>>(row, 17)?.unwrap_or_default())))
}

pub(super) fn name_of<T>(name: Result<T, forerunner_core::Error>) -> Sql<T> {
    name.map_err(unreadable)
}

fn unreadable(error: impl StdError) -> Fault {
    Fault::unreadable(error.to_string())
}

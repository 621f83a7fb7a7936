//! Tasks as columns, and columns as tasks.

use std::{error::Error as StdError, fmt, time::Duration};

use forerunner_core::{
    AgentId, ContextCost, ContextId, ErrorKind, IdempotencyKey, Labels, LeaseEpoch, NodeId, Payload, PoolName,
    Priority, RetryPolicy, Task, TaskError, TaskId, TaskState, Timestamp,
};
use forerunner_store::backend::{self, Damage};
use serde::{Deserialize, de::IntoDeserializer};
use tokio_postgres::{Row, types::FromSqlOwned};
use uuid::Uuid;

use crate::{
    failure::{Fault, Sql},
    unread::Unread,
};

/// The columns that [`stored`] reads, for `tasks t` and `inputs i`.
macro_rules! task_columns {
    ($output:literal) => {
        concat!(
            "t.task, t.id, t.pool, t.state, t.context, t.priority, t.due, t.run_at, t.deadline, t.attempt, t.crashes, ",
            "t.epoch, t.started_at, t.finished_at, t.agent, t.node, t.error_kind, t.error, i.submitted_at, i.timeout, ",
            "i.max_attempts, i.max_crashes, i.backoff_initial, i.backoff_max, i.input, i.labels, i.key, t.stop_epoch, ",
            $output,
            " AS output, t.parent, t.depth"
        )
    };
}
pub(crate) use task_columns;

/// A task among the claimable ones, or about to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueKey {
    pub pool: PoolName,
    pub row: i64,
    pub priority: u8,
    pub due: Timestamp,
    pub deadline: Option<Timestamp>,
}

impl QueueKey {
    pub fn urgency(&self) -> i16 {
        i16::from(9 - self.priority.min(9))
    }

    /// Where it is among those that are as urgent.
    pub fn place(&self) -> (i64, i64) {
        (self.due.as_micros(), self.row)
    }
}

/// A task with the store's own data.
#[derive(Debug)]
pub(crate) struct Stored {
    pub row: i64,
    pub due: Timestamp,
    /// Somebody cancelled it while it ran under its epoch.
    pub is_to_stop: bool,
    pub task: Task,
    /// What of it cannot be read.
    pub damage: Option<String>,
}

impl Stored {
    pub fn spot(&self) -> QueueKey {
        let Task { priority, deadline, .. } = self.task;
        QueueKey { pool: self.task.pool.clone(), row: self.row, priority: priority.get(), due: self.due, deadline }
    }
}

/// Reads a task from the columns of `task_columns!`.
///
/// # Errors
/// [`Fault::Damaged`] when a column cannot be read.
pub(crate) fn stored(row: &Row) -> Sql<Stored> {
    sound(row).map_err(|fault| unread(row, [0, 1], fault))
}

/// As [`stored`], but a task that was set aside, or runs, is read as far as it can be.
pub(crate) fn stored_or_damaged(row: &Row) -> Sql<Stored> {
    match stored(row) {
        Err(Fault::Damaged(found)) if matches!(state(row, 3), Ok(TaskState::Damaged | TaskState::Running)) => {
            salvaged(row, &found)
        }
        other => other,
    }
}

/// What can be read of a task that cannot be read whole.
pub(crate) fn salvaged(row: &Row, found: &Unread) -> Sql<Stored> {
    let reason = &found.damage.reason;
    let pool = pool(row, 2).or_else(|_| PoolName::new("unnamed").map_err(unreadable))?;
    let mut task = backend::stand_in(TaskId::from_uuid(found.id), pool, reason);
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
    read_into(&mut task.parent, parent(row, 29));
    read_into(&mut task.depth, depth(row, 30));
    read_into(&mut task.attempt, number(row, 9));
    read_into(&mut task.crashes, number(row, 10));
    read_into(&mut task.epoch, epoch(row, 11));
    read_into(&mut task.started_at, optional_time(row, 12));
    read_into(&mut task.finished_at, optional_time(row, 13));
    read_into(&mut task.agent, agent(row, 14));
    read_into(&mut task.node, node(row, 15));
    read_into(&mut task.output, optional_json(row, 28));
    let due = time(row, 6).unwrap_or(task.run_at);
    let is_to_stop = get::<Option<i64>>(row, 27).ok().flatten() == Some(task.epoch.0 as i64);
    Ok(Stored { row: found.damage.row, due, is_to_stop, task, damage: Some(reason.clone()) })
}

fn read_into<T>(place: &mut T, found: Sql<T>) {
    if let Ok(found) = found {
        *place = found;
    }
}

/// The fault of a row that cannot be read, whose number and id are in these columns.
pub(crate) fn unread(row: &Row, [number, id]: [usize; 2], fault: Fault) -> Fault {
    let reason = match fault {
        Fault::Unreadable(reason) => reason,
        other => return other,
    };
    match (get(row, number), get(row, id)) {
        (Ok(number), Ok(id)) => {
            Fault::Damaged(Box::new(Unread { damage: Damage { row: number, reason }, id, even_running: false }))
        }
        // It is in an index or an order only.
        _ => Fault::Unreadable(reason),
    }
}

fn sound(row: &Row) -> Sql<Stored> {
    let task = Task {
        id: TaskId::from_uuid(get(row, 1)?),
        pool: pool(row, 2)?,
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
        parent: parent(row, 29)?,
        depth: depth(row, 30)?,
        attempt: number(row, 9)?,
        crashes: number(row, 10)?,
        epoch: epoch(row, 11)?,
        started_at: optional_time(row, 12)?,
        finished_at: optional_time(row, 13)?,
        agent: agent(row, 14)?,
        node: node(row, 15)?,
        output: optional_json(row, 28)?,
        error: error(row)?,
    };
    let is_to_stop = get::<Option<i64>>(row, 27)? == Some(task.epoch.0 as i64);
    Ok(Stored { row: get(row, 0)?, due: time(row, 6)?, is_to_stop, task, damage: None })
}

pub(crate) fn get<T: FromSqlOwned>(row: &Row, column: usize) -> Sql<T> {
    row.try_get(column).map_err(|error| {
        let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        wrong(row, column, cause)
    })
}

/// The fault of a column with an impossible value.
fn wrong(row: &Row, column: usize, cause: impl fmt::Display) -> Fault {
    let name = row.columns().get(column).map_or("?", tokio_postgres::Column::name);
    Fault::unreadable(format!("column `{name}`: {cause}"))
}

pub(crate) fn pool(row: &Row, column: usize) -> Sql<PoolName> {
    PoolName::new(get::<String>(row, column)?).map_err(|error| wrong(row, column, error))
}

pub(crate) fn priority(row: &Row, column: usize) -> Sql<Priority> {
    let level = get::<i16>(row, column)?;
    let checked = u64::try_from(level).ok().and_then(|level| Priority::new(level).ok());
    checked.ok_or_else(|| wrong(row, column, format_args!("{level} is not 0 to 9")))
}

fn retry(row: &Row) -> Sql<RetryPolicy> {
    Ok(RetryPolicy {
        max_attempts: number(row, 20)?,
        max_crashes: number(row, 21)?,
        initial: duration(row, 22)?,
        max: duration(row, 23)?,
    })
}

fn optional_labels(row: &Row, column: usize) -> Sql<Labels> {
    let Some(text) = get::<Option<String>>(row, column)? else { return Ok(Labels::new()) };
    serde_json::from_str(&text).map_err(|error| wrong(row, column, error))
}

fn key(row: &Row, column: usize) -> Sql<Option<IdempotencyKey>> {
    let key = get::<Option<String>>(row, column)?.map(IdempotencyKey::new).transpose();
    key.map_err(|error| wrong(row, column, error))
}

fn json(row: &Row, column: usize) -> Sql<Payload> {
    backend::stored_json(&get::<String>(row, column)?).map_err(|error| wrong(row, column, error))
}

fn optional_json(row: &Row, column: usize) -> Sql<Option<Payload>> {
    let Some(text) = get::<Option<String>>(row, column)? else { return Ok(None) };
    backend::stored_json(&text).map(Some).map_err(|error| wrong(row, column, error))
}

fn parent(row: &Row, column: usize) -> Sql<Option<TaskId>> {
    Ok(get::<Option<Uuid>>(row, column)?.map(TaskId::from_uuid))
}

/// The depth of a task.
pub(super) fn depth(row: &Row, column: usize) -> Sql<u32> {
    get::<Option<i64>>(row, column)?.map_or(Ok(0), |_| number(row, column))
}

fn epoch(row: &Row, column: usize) -> Sql<LeaseEpoch> {
    unsigned(row, column).map(LeaseEpoch)
}

fn agent(row: &Row, column: usize) -> Sql<Option<AgentId>> {
    Ok(get::<Option<Uuid>>(row, column)?.map(AgentId::from_uuid))
}

fn node(row: &Row, column: usize) -> Sql<Option<NodeId>> {
    Ok(get::<Option<Uuid>>(row, column)?.map(NodeId::from_uuid))
}

pub(crate) fn state(row: &Row, column: usize) -> Sql<TaskState> {
    let code = get::<i16>(row, column)?;
    let state = usize::try_from(code).ok().and_then(|code| TaskState::ALL.get(code)).copied();
    state.ok_or_else(|| wrong(row, column, format_args!("there is no state {code}")))
}

pub(crate) fn time(row: &Row, column: usize) -> Sql<Timestamp> {
    let micros = get(row, column)?;
    backend::stored_time(micros).ok_or_else(|| wrong(row, column, format_args!("{micros} is no time")))
}

pub(crate) fn optional_time(row: &Row, column: usize) -> Sql<Option<Timestamp>> {
    get::<Option<i64>>(row, column)?.map(|_| time(row, column)).transpose()
}

pub(crate) fn context(row: &Row, column: usize) -> Sql<Option<ContextId>> {
    let context = get::<Option<String>>(row, column)?.map(ContextId::new).transpose();
    context.map_err(|error| wrong(row, column, error))
}

/// The cost of a task's context, stored as JSON.
pub(crate) fn parsed_cost(text: Option<String>) -> Sql<Option<Box<ContextCost>>> {
    text.map(|text| serde_json::from_str(&text).map_err(unreadable)).transpose()
}

/// Microseconds as stored; what is longer than 292,000 years is cut.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn labels_text(labels: &Labels) -> Option<String> {
    (!labels.is_empty()).then(|| serde_json::to_string(labels).unwrap_or_default())
}

/// A label as one text to be found by.
pub(crate) fn label_pair(key: &str, value: &str) -> String {
    serde_json::to_string(&[key, value]).unwrap_or_default()
}

/// A text that PostgreSQL accepts: it has no zero character.
pub(crate) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn number(row: &Row, column: usize) -> Sql<u32> {
    u32::try_from(get::<i64>(row, column)?).map_err(|error| wrong(row, column, error))
}

fn unsigned(row: &Row, column: usize) -> Sql<u64> {
    u64::try_from(get::<i64>(row, column)?).map_err(|error| wrong(row, column, error))
}

fn duration(row: &Row, column: usize) -> Sql<Duration> {
    unsigned(row, column).map(Duration::from_micros)
}

fn error(row: &Row) -> Sql<Option<TaskError>> {
    let Some(kind) = get::<Option<String>>(row, 16)? else { return Ok(None) };
    let kind = ErrorKind::deserialize(kind.as_str().into_deserializer());
    let kind = kind.map_err(|error: serde::de::value::Error| wrong(row, 16, error))?;
    Ok(Some(TaskError::new(kind, get::<Option<String>>(row, 17)?.unwrap_or_default())))
}

fn unreadable(error: impl StdError) -> Fault {
    Fault::unreadable(error.to_string())
}

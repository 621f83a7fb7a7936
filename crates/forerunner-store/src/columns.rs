//! The columns of a task: one table, from which the stores in SQL make their statements and read their rows.
//!
//! A store names its own columns itself: the number of the row, the id, the pool and the place in the queue. All others
//! are in [`COLUMNS`], each with a function that returns the value of a task, and one that sets a value that was read.
//! `SELECT`, `INSERT` and the history follow from it, so a new column is one entry here and one line of a migration.

use std::{borrow::Cow, time::Duration};

use forerunner_core::{
    AgentId, ContextId, ErrorKind, IdempotencyKey, LeaseEpoch, NodeId, Payload, PoolName, Priority, Task, TaskError,
    TaskId, TaskState, TenantName, Timestamp,
};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IntoDeserializer},
};
use uuid::Uuid;

use crate::damage::{blank, stand_in, stored_json, stored_time};

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number of 16 bits.
    Short,
    /// A number of 64 bits.
    Long,
    /// A text.
    Text,
    /// A UUID.
    Id,
}

/// Which table has a column while a task has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `tasks`: narrow, what changes during a task's life.
    Task,
    /// `inputs`: wide, what is written once.
    Input,
    /// `outputs`: written at the end.
    Output,
}

/// A value as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// Of [`Kind::Short`] or [`Kind::Long`].
    Number(i64),
    /// Of [`Kind::Text`].
    Text(Cow<'a, str>),
    /// Of [`Kind::Id`].
    Id(Uuid),
}

/// A column of a task.
#[derive(Debug)]
pub struct Column {
    /// Its name in every table.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its table.
    pub part: Part,
    /// Whether it has no value before the first attempt, so that a new row need not name it.
    pub is_late: bool,
    write: for<'a> fn(&'a Task) -> Cell<'a>,
    read: fn(Cell<'_>, &mut Task) -> Result<(), String>,
}

impl Column {
    /// Returns the value to be stored of a task.
    pub fn cell<'a>(&self, task: &'a Task) -> Cell<'a> {
        (self.write)(task)
    }

    /// Puts a stored value into a task.
    ///
    /// # Errors
    /// Why the value cannot be of this column, with its name.
    pub fn fill(&self, cell: Cell<'_>, task: &mut Task) -> Result<(), String> {
        (self.read)(cell, task).map_err(|reason| format!("column `{}` {reason}", self.name))
    }
}

/// The greatest number that is accepted as an epoch: it leaves room to count on, and no store reaches it.
const MOST_COUNTED: u64 = 1 << 62;
/// The same for what counts attempts and crashes.
const MOST_TRIES: u64 = 1 << 31;

const fn column(
    part: Part,
    kind: Kind,
    name: &'static str,
    write: for<'a> fn(&'a Task) -> Cell<'a>,
    read: fn(Cell<'_>, &mut Task) -> Result<(), String>,
) -> Column {
    Column { name, kind, part, is_late: false, write, read }
}

const fn late(column: Column) -> Column {
    Column { is_late: true, ..column }
}

/// All columns, in the order in which statements name them: those that come first have the first positions of a row.
pub const COLUMNS: &[Column] = {
    use self::{
        Kind::{Id, Long, Short, Text},
        Part::{Input, Output, Task},
    };
    &[
        column(Task, Short, "state", |t| number(t.state.code()), |c, t| set(&mut t.state, c.state())),
        column(
            Task,
            Text,
            "context",
            |t| text(t.context.as_ref().map(ContextId::as_str)),
            |c, t| set(&mut t.context, c.optional(|c| c.named(ContextId::stored))),
        ),
        column(
            Task,
            Short,
            "priority",
            |t| number(t.priority.get()),
            |c, t| set(&mut t.priority, c.count().and_then(|level| Priority::new(level).map_err(is))),
        ),
        column(Task, Long, "run_at", |t| time(t.run_at), |c, t| set(&mut t.run_at, c.time())),
        column(Task, Long, "deadline", |t| times(t.deadline), |c, t| set(&mut t.deadline, c.optional(Cell::time))),
        column(Task, Long, "attempt", |t| number(t.attempt), |c, t| set(&mut t.attempt, c.tries())),
        column(Task, Long, "crashes", |t| number(t.crashes), |c, t| set(&mut t.crashes, c.tries())),
        column(Task, Long, "epoch", |t| number(t.epoch.0 as i64), |c, t| set(&mut t.epoch, c.epoch())),
        late(column(
            Task,
            Long,
            "started_at",
            |t| times(t.started_at),
            |c, t| set(&mut t.started_at, c.optional(Cell::time)),
        )),
        late(column(
            Task,
            Long,
            "finished_at",
            |t| times(t.finished_at),
            |c, t| set(&mut t.finished_at, c.optional(Cell::time)),
        )),
        late(column(
            Task,
            Id,
            "agent",
            |t| id(t.agent.as_ref().map(AgentId::as_uuid)),
            |c, t| set(&mut t.agent, c.optional(|c| c.id().map(AgentId::from_uuid))),
        )),
        late(column(
            Task,
            Id,
            "node",
            |t| id(t.node.as_ref().map(NodeId::as_uuid)),
            |c, t| set(&mut t.node, c.optional(|c| c.id().map(NodeId::from_uuid))),
        )),
        late(column(
            Task,
            Text,
            "error_kind",
            |t| text(t.error.as_ref().map(|error| error.kind.as_str())),
            |c, t| set(&mut t.error, c.optional(Cell::error)),
        )),
        // Behind its kind.
        late(column(
            Task,
            Text,
            "error",
            |t| text(t.error.as_ref().map(|error| error.message.as_str())),
            |c, t| {
                let message = c.optional(Cell::text)?.unwrap_or_default();
                t.error.as_mut().map_or(Ok(()), |error| set(&mut error.message, Ok(message)))
            },
        )),
        column(
            Task,
            Id,
            "parent",
            |t| id(t.parent.as_ref().map(TaskId::as_uuid)),
            |c, t| set(&mut t.parent, c.optional(|c| c.id().map(TaskId::from_uuid))),
        ),
        column(
            Task,
            Long,
            "depth",
            |t| t.parent.map_or(Cell::Null, |_| number(t.depth)),
            |c, t| set(&mut t.depth, c.optional(Cell::tries).map(Option::unwrap_or_default)),
        ),
        column(Task, Text, "tenant", |t| text(Some(t.tenant.as_str())), |c, t| set(&mut t.tenant, c.tenant())),
        late(column(
            Task,
            Text,
            "requests",
            |t| text(t.requests.as_ref().map(|asked| asked.as_str())),
            |c, t| set(&mut t.requests, c.optional(|c| c.json().map(Box::new))),
        )),
        late(column(
            Task,
            Text,
            "report",
            |t| json_cell(t.report.as_ref()),
            |c, t| set(&mut t.report, c.optional(Cell::parsed)),
        )),
        column(Input, Long, "submitted_at", |t| time(t.submitted_at), |c, t| set(&mut t.submitted_at, c.time())),
        column(Input, Long, "timeout", |t| span(t.timeout), |c, t| set(&mut t.timeout, c.span())),
        column(
            Input,
            Long,
            "max_attempts",
            |t| number(t.retry.max_attempts),
            |c, t| set(&mut t.retry.max_attempts, c.number_of_32_bits()),
        ),
        column(
            Input,
            Long,
            "max_crashes",
            |t| number(t.retry.max_crashes),
            |c, t| set(&mut t.retry.max_crashes, c.number_of_32_bits()),
        ),
        column(Input, Long, "backoff_initial", |t| span(t.retry.initial), |c, t| set(&mut t.retry.initial, c.span())),
        column(Input, Long, "backoff_max", |t| span(t.retry.max), |c, t| set(&mut t.retry.max, c.span())),
        column(Input, Text, "input", |t| text(Some(t.input.as_str())), |c, t| set(&mut t.input, c.json())),
        column(Input, Text, "spec", |t| json_cell(t.spec.as_ref()), |c, t| set(&mut t.spec, c.optional(Cell::parsed))),
        column(
            Input,
            Text,
            "labels",
            |t| json_cell(Some(&t.labels).filter(|labels| !labels.is_empty())),
            |c, t| set(&mut t.labels, c.optional(Cell::parsed).map(Option::unwrap_or_default)),
        ),
        column(
            Input,
            Text,
            "key",
            |t| text(t.idempotency_key.as_ref().map(IdempotencyKey::as_str)),
            |c, t| set(&mut t.idempotency_key, c.optional(|c| c.named(IdempotencyKey::stored))),
        ),
        column(
            Output,
            Text,
            "output",
            |t| text(t.output.as_ref().map(|output| output.as_str())),
            |c, t| set(&mut t.output, c.optional(Cell::json)),
        ),
    ]
};

/// Returns the columns of one table.
pub fn columns_of(part: Part) -> impl Iterator<Item = &'static Column> {
    COLUMNS.iter().filter(move |column| column.part == part)
}

/// Returns the columns of one table that a new row has.
pub fn columns_of_new(part: Part) -> impl Iterator<Item = &'static Column> {
    columns_of(part).filter(|column| !column.is_late)
}

/// Returns a list of columns for a statement: what `write` makes of each, with commas between.
pub fn column_list<'a>(columns: impl IntoIterator<Item = &'a Column>, write: impl FnMut(&Column) -> String) -> String {
    columns.into_iter().map(write).collect::<Vec<_>>().join(", ")
}

/// Returns the place of a column among [`COLUMNS`].
///
/// # Panics
/// If there is no column of that name. Statements are made once, so a test of any statement shows it.
pub fn place_of(name: &str) -> usize {
    COLUMNS.iter().position(|column| column.name == name).expect("statements name only columns that there are")
}

/// Returns the value of a column for a task that is accepted in `state`, as so many levels below its first parent.
pub fn cell_of_new<'a>(column: &Column, task: &'a Task, state: TaskState, depth: u32) -> Cell<'a> {
    match column.name {
        "state" => number(state.code()),
        "depth" => task.parent.map_or(Cell::Null, |_| number(depth)),
        _ => column.cell(task),
    }
}

/// Reads a task from the values that `cell` finds for each column and its place in [`COLUMNS`].
///
/// # Errors
/// Those of `cell`; what `wrong` makes of the reason why a value cannot be.
pub fn whole<'a, E>(
    (id, pool): (TaskId, PoolName),
    mut cell: impl FnMut(usize, &Column) -> Result<Cell<'a>, E>,
    wrong: impl Fn(String) -> E,
) -> Result<Task, E> {
    let mut task = blank(id, pool);
    for (place, column) in COLUMNS.iter().enumerate() {
        column.fill(cell(place, column)?, &mut task).map_err(&wrong)?;
    }
    Ok(task)
}

/// Reads what can be read of a task that cannot be read whole. It is damaged, unless it runs: its end needs nothing of
/// the row.
pub fn salvaged<'a, E>(
    (id, pool): (TaskId, PoolName),
    reason: &str,
    mut cell: impl FnMut(usize, &Column) -> Result<Cell<'a>, E>,
) -> Task {
    let mut task = stand_in(id, pool, reason);
    let (error, damaged) = (task.error.clone(), task.state);
    for (place, column) in COLUMNS.iter().enumerate() {
        // A value that cannot be read stays as it is in the substitute.
        let _ = cell(place, column).map(|cell| column.fill(cell, &mut task));
    }
    task.error = error;
    if task.state != TaskState::Running {
        task.state = damaged;
    }
    task
}

fn set<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn is(reason: impl std::fmt::Display) -> String {
    format!("cannot be read: {reason}")
}

fn number(value: impl Into<i64>) -> Cell<'static> {
    Cell::Number(value.into())
}

fn text(value: Option<&str>) -> Cell<'_> {
    value.map_or(Cell::Null, |text| Cell::Text(Cow::Borrowed(text)))
}

fn time(at: Timestamp) -> Cell<'static> {
    Cell::Number(at.as_micros())
}

fn times(at: Option<Timestamp>) -> Cell<'static> {
    at.map_or(Cell::Null, time)
}

/// Microseconds as stored; what is longer than 292,000 years is cut.
fn span(span: Duration) -> Cell<'static> {
    Cell::Number(i64::try_from(span.as_micros()).unwrap_or(i64::MAX))
}

fn id(id: Option<&Uuid>) -> Cell<'static> {
    id.map_or(Cell::Null, |id| Cell::Id(*id))
}

/// A value as JSON. None of ours can fail to have a JSON form.
fn json_cell<T: Serialize + ?Sized>(value: Option<&T>) -> Cell<'static> {
    value.map_or(Cell::Null, |value| Cell::Text(Cow::Owned(serde_json::to_string(value).unwrap_or_default())))
}

impl Cell<'_> {
    /// Names what is there in place of a value of the column's type.
    fn wrong<T>(&self) -> Result<T, String> {
        Err(match self {
            Self::Null => "is empty".to_owned(),
            Self::Number(value) => format!("is the number {value}"),
            Self::Text(_) => "is a text".to_owned(),
            Self::Id(_) => "is a UUID".to_owned(),
        })
    }

    fn optional<T>(self, read: impl FnOnce(Self) -> Result<T, String>) -> Result<Option<T>, String> {
        if self == Self::Null { Ok(None) } else { read(self).map(Some) }
    }

    fn text(self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.into_owned()),
            other => other.wrong(),
        }
    }

    fn json(self) -> Result<Payload, String> {
        match self {
            Self::Text(text) => stored_json(&text).map_err(is),
            other => other.wrong(),
        }
    }

    fn id(self) -> Result<Uuid, String> {
        match self {
            Self::Id(id) => Ok(id),
            other => other.wrong(),
        }
    }

    fn integer(self) -> Result<i64, String> {
        match self {
            Self::Number(value) => Ok(value),
            other => other.wrong(),
        }
    }

    /// A number that is not negative.
    fn count(self) -> Result<u64, String> {
        let value = self.integer()?;
        u64::try_from(value).map_err(|_| out_of_range(value))
    }

    fn up_to(self, most: u64) -> Result<u64, String> {
        let value = self.count()?;
        if value <= most { Ok(value) } else { Err(out_of_range(value)) }
    }

    /// How often something was tried.
    fn tries(self) -> Result<u32, String> {
        self.up_to(MOST_TRIES).map(|value| u32::try_from(value).unwrap_or(u32::MAX))
    }

    fn number_of_32_bits(self) -> Result<u32, String> {
        let value = self.count()?;
        u32::try_from(value).map_err(|_| out_of_range(value))
    }

    fn epoch(self) -> Result<LeaseEpoch, String> {
        self.up_to(MOST_COUNTED).map(LeaseEpoch)
    }

    fn time(self) -> Result<Timestamp, String> {
        let micros = self.integer()?;
        stored_time(micros).ok_or_else(|| format!("is {micros}, which is no time"))
    }

    fn span(self) -> Result<Duration, String> {
        self.count().map(Duration::from_micros)
    }

    fn state(self) -> Result<TaskState, String> {
        let code = self.integer()?;
        TaskState::from_code(code).ok_or_else(|| format!("is {code}, and there is no such state"))
    }

    fn named<T>(self, name: impl FnOnce(String) -> Result<T, forerunner_core::Error>) -> Result<T, String> {
        name(self.text()?).map_err(is)
    }

    fn parsed<T: DeserializeOwned>(self) -> Result<T, String> {
        serde_json::from_str(&self.text()?).map_err(is)
    }

    /// The tenant of most tasks shares its name.
    fn tenant(self) -> Result<TenantName, String> {
        match &self {
            Self::Text(text) if text == TenantName::DEFAULT => Ok(TenantName::default()),
            _ => self.named(TenantName::new),
        }
    }

    /// An error without its message.
    fn error(self) -> Result<TaskError, String> {
        let kind = self.text()?;
        let kind = ErrorKind::deserialize(kind.as_str().into_deserializer());
        kind.map(|kind| TaskError::new(kind, "")).map_err(|error: serde::de::value::Error| is(error))
    }
}

fn out_of_range(value: impl std::fmt::Display) -> String {
    format!("is {value}, which is out of range")
}

#[cfg(test)]
mod tests {
    use forerunner_core::{TaskReport, TaskSpec};

    use super::*;

    #[test]
    fn what_is_written_of_a_task_is_read_back() {
        let pool = PoolName::new("p").unwrap();
        let id = TaskId::from_parts(Timestamp::from_micros(7), 7);
        let plain = stand_in(id, pool, "nothing");
        let error = TaskError::new(ErrorKind::AgentLost, "it is gone");
        let full = Task {
            state: TaskState::Dead,
            context: Some(ContextId::new("c").unwrap()),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            idempotency_key: Some(IdempotencyKey::new("k").unwrap()),
            deadline: Some(Timestamp::from_micros(9)),
            parent: Some(id),
            depth: 3,
            epoch: LeaseEpoch(5),
            started_at: Some(Timestamp::from_micros(8)),
            finished_at: Some(Timestamp::from_micros(9)),
            agent: Some(AgentId::from_uuid(*id.as_uuid())),
            node: Some(NodeId::from_uuid(*id.as_uuid())),
            output: Some(Payload::trusted("[1]")),
            tenant: TenantName::new("acme").unwrap(),
            requests: Some(Box::new(Payload::trusted("[2]"))),
            spec: Some(Box::new(TaskSpec { traceparent: Some("00-1".to_owned()), ..TaskSpec::default() })),
            report: Some(Box::new(TaskReport { usage: [("tokens".to_owned(), 7)].into(), ..TaskReport::default() })),
            error: Some(error),
            ..plain.clone()
        };
        for task in [plain.clone(), full] {
            let mut read = stand_in(task.id, task.pool.clone(), "not read");
            for column in COLUMNS {
                column.fill(column.cell(&task), &mut read).unwrap();
            }
            assert_eq!(read, task);
        }
    }

    #[test]
    fn a_value_that_cannot_be_is_named_with_its_column() {
        let pool = PoolName::new("p").unwrap();
        let mut task = stand_in(TaskId::from_parts(Timestamp::default(), 1), pool, "nothing");
        for (name, cell, reason) in [
            ("state", Cell::Number(77), "column `state` is 77, and there is no such state"),
            ("priority", Cell::Number(10), "column `priority` cannot be read: "),
            ("attempt", Cell::Number(-1), "column `attempt` is -1, which is out of range"),
            ("run_at", Cell::Number(i64::MAX), "which is no time"),
            ("input", Cell::Null, "column `input` is empty"),
            ("input", Cell::Text("{".into()), "column `input` cannot be read: "),
            ("agent", Cell::Text("x".into()), "column `agent` is a text"),
        ] {
            let found = COLUMNS[place_of(name)].fill(cell, &mut task).unwrap_err();
            assert!(found.contains(reason), "{found}");
        }
    }
}

//! Events of a task: derived from its row where that suffices, and stored where the row changes.
//!
//! A row has the submission, the newest start and the end. Stored are events of agents, the ends of attempts that
//! another one followed, and what a retry by hand undoes. So a task that runs once without events costs nothing.

use std::collections::HashMap;

use forerunner_core::{
    ErrorKind, LeaseEpoch, Task, TaskError, TaskEvent, TaskEventKind, TaskId, TaskState, Timestamp, Transition,
};
use forerunner_store::{
    AttemptEvent, TaskEvents,
    backend::{Legs, after_seq, begin_seq},
};
use serde::{Deserialize, de::IntoDeserializer};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};
use uuid::Uuid;

use crate::{
    batch::Member,
    failure::{Fault, Sql},
    rows::{Stored, clean, get, optional_time, state, time},
    tables::{ASKED, LOG, OUTPUT, PROGRESS, earliest_end},
    tx::Tx,
};

/// The row of a task with its stored events, all of one snapshot.
const READ: &str = "\
SELECT t.state, t.epoch, t.attempt, coalesce(t.submitted_at, t.due), t.due, t.started_at, t.finished_at, t.error_kind, t.error,
    (SELECT max(l.seq) FROM events l WHERE l.id = t.id AND l.seq >= $3 + ((t.epoch & 8796093022207) << $4)) AS last,
    e.seq, e.at, e.kind, e.attempt, e.error_kind, e.text
FROM live t LEFT JOIN LATERAL (
    SELECT * FROM events v WHERE v.id = t.id AND v.seq > $2 ORDER BY v.seq LIMIT $5
) e ON true
WHERE t.id = $1 ORDER BY e.seq";

/// The same of an ended task: its row has the ends of its attempts, and `events` has the events of its agents, for a
/// while.
const READ_ENDED: &str = "\
SELECT t.state, t.epoch, t.attempt, coalesce(t.submitted_at, t.due), t.due, t.started_at, t.finished_at, t.error_kind, t.error,
    greatest(
        (SELECT max(l.seq) FROM events l WHERE l.id = t.id AND l.seq >= $3 + ((t.epoch & 8796093022207) << $4)),
        (SELECT max((l->>0)::int8) FROM jsonb_array_elements(t.log) l WHERE (l->>0)::int8 >= $3 + ((t.epoch & 8796093022207) << $4))
    ) AS last,
    e.seq, e.at, e.kind, e.attempt, e.error_kind, e.text
FROM ended t LEFT JOIN LATERAL (
    SELECT v.seq, v.at, v.kind, v.attempt, v.error_kind, v.text FROM events v WHERE v.id = t.id AND v.seq > $2
    UNION ALL
    SELECT (l->>0)::int8, (l->>1)::int8, (l->>2)::int2, (l->>3)::int8, l->>4, l->>5
    FROM jsonb_array_elements(t.log) l WHERE (l->>0)::int8 > $2
    ORDER BY 1 LIMIT $5
) e ON true
WHERE t.id = $1 AND t.finished_at >= $6 ORDER BY e.seq";

/// The newest epoch of a task, and the first numbers of its attempts before.
const LEGS: &str = "\
SELECT t.epoch, ARRAY(SELECT l.seq FROM events l WHERE l.id = t.id AND l.kind = 2) FROM live t WHERE t.id = $1
UNION ALL
SELECT t.epoch, ARRAY(SELECT (l->>0)::int8 FROM jsonb_array_elements(t.log) l WHERE (l->>2)::int8 = 2)
FROM ended t WHERE t.id = $1 AND t.finished_at >= $2";

/// Columns of events to be written.
#[derive(Default)]
struct Rows {
    seq: Vec<i64>,
    at: Vec<i64>,
    kind: Vec<i16>,
    attempt: Vec<Option<i64>>,
    error_kind: Vec<Option<&'static str>>,
    text: Vec<Option<String>>,
}

impl Rows {
    fn state(&mut self, seq: u64, at: Timestamp, state: TaskState, attempt: u32, error: Option<&TaskError>) {
        self.seq.push(seq as i64);
        self.at.push(at.as_micros());
        self.kind.push(state as i16);
        self.attempt.push(Some(i64::from(attempt)));
        self.error_kind.push(error.map(|error| error.kind.as_str()));
        self.text.push(error.map(|error| clean(&error.message)));
    }
}

/// A task that had ended and is sent back to its queue, as it was.
pub(crate) struct Retried {
    pub id: TaskId,
    pub epoch: LeaseEpoch,
    pub attempt: u32,
    pub submitted_at: Timestamp,
    /// When it became due the time before.
    pub due: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub state: TaskState,
    pub error: Option<TaskError>,
}

impl Rows {
    /// What a retry by hand undoes, and the retry. `last` is the newest number after the work that was given out.
    fn retry(&mut self, ended: &Retried, last: Option<u64>, now: Timestamp) {
        let Retried { epoch, attempt, submitted_at, due, state, .. } = *ended;
        self.state(begin_seq(LeaseEpoch(0)), submitted_at, first_state(submitted_at, due), 0, None);
        if let Some(started_at) = ended.started_at.filter(|_| epoch.0 > 0) {
            self.state(begin_seq(epoch), started_at, TaskState::Running, attempt, None);
        }
        let end = after_seq(epoch, last);
        self.state(end, ended.finished_at.unwrap_or(now), state, attempt, ended.error.as_ref());
        self.state(after_seq(epoch, Some(end)), now, TaskState::Queued, 0, None);
    }
}

impl Member for AttemptEvent {
    type Answer = ();

    async fn store(tx: &Tx<'_>, members: &[&Self]) -> Sql<Vec<Option<()>>> {
        tx.append_events(members).await?;
        Ok(vec![Some(()); members.len()])
    }

    /// It is left out.
    fn refuse(&mut self, _: &str, _: bool) -> Option<()> {
        Some(())
    }
}

impl Tx<'_> {
    /// Stores events of agents under leases that have not ended.
    async fn append_events(&self, events: &[&AttemptEvent]) -> Sql<()> {
        let sql = "WITH s AS MATERIALIZED (SELECT s.* \
                   FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[], $5::int2[], $6::text[], $7::int8[]) \
                   AS s (id, epoch, seq, at, kind, text, forget) \
                   JOIN live t ON t.id = ANY (ARRAY[s.id]) AND t.epoch = s.epoch AND t.state = 2), \
                   b AS (UPDATE live t SET started_at = COALESCE(t.started_at, s.at), has_events = true FROM s \
                   WHERE t.id = ANY (ARRAY[s.id]) AND (t.started_at IS NULL OR NOT t.has_events)), \
                   f AS (DELETE FROM events v USING s WHERE v.id = ANY (ARRAY[s.id]) AND v.kind >= $8 AND v.seq < s.forget \
                   AND v.seq > s.forget - (s.forget & $9)) \
                   INSERT INTO events (id, seq, at, kind, text) SELECT id, seq, at, kind, text FROM s \
                   ON CONFLICT (id, seq) DO NOTHING RETURNING id";
        let ids: Vec<_> = events.iter().map(|one| *one.task.as_uuid()).collect();
        let epochs: Vec<_> = events.iter().map(|one| one.epoch.0 as i64).collect();
        let seqs: Vec<_> = events.iter().map(|one| one.seq as i64).collect();
        let times: Vec<_> = events.iter().map(|one| one.at.as_micros()).collect();
        let (kinds, texts): (Vec<_>, Vec<_>) = events.iter().map(|one| words(&one.kind)).unzip();
        let forget: Vec<_> = events.iter().map(|one| one.forget_before.map(|seq| seq as i64)).collect();
        let place = begin_seq(LeaseEpoch(1)) as i64 - begin_seq(LeaseEpoch(0)) as i64 - 1;
        let params = [
            (&ids as &(dyn ToSql + Sync), Type::UUID_ARRAY),
            (&epochs, Type::INT8_ARRAY),
            (&seqs, Type::INT8_ARRAY),
            (&times, Type::INT8_ARRAY),
            (&kinds, Type::INT2_ARRAY),
            (&texts, Type::TEXT_ARRAY),
            (&forget, Type::INT8_ARRAY),
            (&PROGRESS, Type::INT2),
            (&place, Type::INT8),
        ];
        self.run(sql, &params).await?;
        self.hints().with_events.extend(events.iter().map(|one| one.task));
        Ok(())
    }

    /// Writes down an attempt that another one is to follow.
    pub async fn log_return(&self, lease: &Stored, transition: &Transition, now: Timestamp) -> Sql<()> {
        let Task { id, epoch, attempt, started_at, .. } = lease.task;
        let mut rows = Rows::default();
        rows.state(begin_seq(epoch), started_at.unwrap_or(now), TaskState::Running, attempt, None);
        if let TaskEventKind::State { state, attempt, error } = transition.event(attempt) {
            rows.state(after_seq(epoch, None), now, state, attempt, error.as_ref());
        }
        self.hints().with_events.insert(id);
        self.write(id, &rows).await
    }

    /// Writes down that a task whose agent had asked something is in its queue again.
    pub async fn log_answer(&self, task: &Task, now: Timestamp) -> Sql<()> {
        let asked = after_seq(task.epoch, None);
        let mut rows = Rows::default();
        rows.state(after_seq(task.epoch, Some(asked)), now, task.state, task.attempt, None);
        self.hints().with_events.insert(task.id);
        self.write(task.id, &rows).await
    }

    /// Records what a retry by hand undoes in a task that has ended, and the retry. `due` is that of the time before.
    pub async fn log_retry(&self, ended: &Task, due: Timestamp, now: Timestamp) -> Sql<()> {
        let Task { id, epoch, attempt, submitted_at, started_at, finished_at, state, .. } = *ended;
        let error = ended.error.clone();
        let ended = Retried { id, epoch, attempt, submitted_at, due, started_at, finished_at, state, error };
        self.log_retries(&[ended], now).await
    }

    /// The same for many tasks.
    pub async fn log_retries(&self, ended: &[Retried], now: Timestamp) -> Sql<()> {
        let sql = "SELECT s.id, (SELECT max(seq) FROM events v WHERE v.id = s.id AND v.seq >= s.first) \
                   FROM unnest($1::uuid[], $2::int8[]) AS s (id, first)";
        let tasks: Vec<Uuid> = ended.iter().map(|task| *task.id.as_uuid()).collect();
        let firsts: Vec<i64> = ended.iter().map(|task| after_seq(task.epoch, None) as i64).collect();
        let found = self.query(sql, &[(&tasks, Type::UUID_ARRAY), (&firsts, Type::INT8_ARRAY)]).await?;
        let mut lasts = HashMap::with_capacity(found.len());
        for row in &found {
            lasts.insert(get::<Uuid>(row, 0)?, get::<Option<i64>>(row, 1)?.map(i64::unsigned_abs));
        }
        let (mut rows, mut owners) = (Rows::default(), Vec::new());
        for task in ended {
            rows.retry(task, lasts.get(task.id.as_uuid()).copied().flatten(), now);
            owners.resize(rows.seq.len(), *task.id.as_uuid());
            self.hints().with_events.insert(task.id);
        }
        self.write_many(&owners, &rows).await
    }

    async fn write(&self, task: TaskId, rows: &Rows) -> Sql<()> {
        self.write_many(&vec![*task.as_uuid(); rows.seq.len()], rows).await
    }

    /// Writes events, each for the task in the same place.
    async fn write_many(&self, tasks: &[Uuid], rows: &Rows) -> Sql<()> {
        let sql = "WITH t AS (UPDATE live SET has_events = true WHERE id = ANY ($1) AND NOT has_events) \
                   INSERT INTO events (id, seq, at, kind, attempt, error_kind, text) SELECT s.* FROM unnest($1::uuid[], \
                   $2::int8[], $3::int8[], $4::int2[], $5::int8[], $6::text[], $7::text[]) s \
                   ON CONFLICT (id, seq) DO NOTHING RETURNING id";
        let params = [
            (&tasks as &(dyn ToSql + Sync), Type::UUID_ARRAY),
            (&rows.seq, Type::INT8_ARRAY),
            (&rows.at, Type::INT8_ARRAY),
            (&rows.kind, Type::INT2_ARRAY),
            (&rows.attempt, Type::INT8_ARRAY),
            (&rows.error_kind, Type::TEXT_ARRAY),
            (&rows.text, Type::TEXT_ARRAY),
        ];
        self.run(sql, &params).await.map(drop)
    }

    /// Reads events with numbers above `after`.
    pub async fn events(&self, task: TaskId, after: u64, limit: usize) -> Sql<Option<TaskEvents>> {
        let mut legs = self.legs(task).await?;
        let after = legs.stored(after);
        let bits = (begin_seq(LeaseEpoch(1)) - begin_seq(LeaseEpoch(0))).trailing_zeros() as i32;
        let (first_after, limit) = (after_seq(LeaseEpoch(0), None) as i64, limit.clamp(1, 10_000));
        let (known, most) = (i64::try_from(after).unwrap_or(i64::MAX), limit as i64);
        let params = [
            (task.as_uuid() as &(dyn ToSql + Sync), Type::UUID),
            (&known, Type::INT8),
            (&first_after, Type::INT8),
            (&bits, Type::INT4),
            (&most, Type::INT8),
        ];
        let mut rows = self.query(READ, &params).await?;
        if rows.is_empty() {
            let earliest = earliest_end(*task.as_uuid());
            let ended: Vec<_> =
                params.iter().cloned().chain([(&earliest as &(dyn ToSql + Sync), Type::INT8)]).collect();
            rows = self.query(READ_ENDED, &ended).await?;
        }
        let Some(row) = rows.first() else { return Ok(None) };
        let mut events = Vec::with_capacity(rows.len() + 3);
        for row in &rows {
            events.extend(stored_event(row)?);
        }
        let is_all = events.len() < limit;
        let last = events.last().map_or(0, |event| event.seq);
        for event in events_of(row)? {
            // Events after the last one that was read are on the next page.
            let belongs = event.seq > after && (is_all || event.seq <= last);
            if belongs && events.iter().all(|known| known.seq != event.seq) {
                events.push(event);
            }
        }
        events.sort_by_key(|event| event.seq);
        // A leg may have begun since they were read.
        events.iter().for_each(|event| legs.add_of(event.seq));
        events.iter_mut().for_each(|event| event.seq = legs.public(event.seq));
        Ok(Some(TaskEvents { events, ended: is_all && state(row, 0)?.is_terminal() }))
    }

    /// The legs of a task that anything is known of.
    async fn legs(&self, task: TaskId) -> Sql<Legs> {
        let earliest = earliest_end(*task.as_uuid());
        let params = [(task.as_uuid() as &(dyn ToSql + Sync), Type::UUID), (&earliest, Type::INT8)];
        let mut legs = Legs::default();
        for row in &self.query(LEGS, &params).await? {
            legs.add(get::<i64>(row, 0)?.unsigned_abs());
            get::<Vec<i64>>(row, 1)?.iter().for_each(|stored| legs.add_of(stored.unsigned_abs()));
        }
        Ok(legs)
    }
}

/// The events in the row of a task: the submission, the newest start, the end.
fn events_of(row: &Row) -> Sql<Vec<TaskEvent>> {
    let (now, epoch) = (state(row, 0)?, LeaseEpoch(get::<i64>(row, 1)?.unsigned_abs()));
    let attempt = u32::try_from(get::<i64>(row, 2)?).unwrap_or(u32::MAX);
    let (submitted_at, due) = (time(row, 3)?, time(row, 4)?);
    let event =
        |seq, at, state, attempt, error| TaskEvent { seq, at, kind: TaskEventKind::State { state, attempt, error } };
    let mut events = vec![event(begin_seq(LeaseEpoch(0)), submitted_at, first_state(submitted_at, due), 0, None)];
    if let Some(started_at) = optional_time(row, 5)?.filter(|_| epoch.0 > 0) {
        events.push(event(begin_seq(epoch), started_at, TaskState::Running, attempt, None));
    }
    if now == TaskState::Damaged {
        // The row does not have the time when it was found; for a follower nothing comes after it.
        let at = optional_time(row, 5)?.unwrap_or(submitted_at);
        events.push(event(
            after_seq(epoch, get::<Option<i64>>(row, 9)?.map(i64::unsigned_abs)),
            at,
            now,
            attempt,
            None,
        ));
        return Ok(events);
    }
    if let Some(finished_at) = optional_time(row, 6)?.filter(|_| now.is_terminal()) {
        let last = get::<Option<i64>>(row, 9)?.map(i64::unsigned_abs);
        events.push(event(after_seq(epoch, last), finished_at, now, attempt, error(row, 7)?));
    }
    Ok(events)
}

/// The stored event in the last columns, if there is one.
fn stored_event(row: &Row) -> Sql<Option<TaskEvent>> {
    let Some(seq) = get::<Option<i64>>(row, 10)? else { return Ok(None) };
    let kind = match get::<i16>(row, 12)? {
        ASKED => {
            let text: String = get(row, 15)?;
            let request = serde_json::from_str(&text).map_err(|error| Fault::unreadable(error.to_string()))?;
            TaskEventKind::Asked { request }
        }
        LOG => {
            let text: String = get(row, 15)?;
            let line = serde_json::from_str(&text).map_err(|error| Fault::unreadable(error.to_string()))?;
            TaskEventKind::Log { line }
        }
        PROGRESS => TaskEventKind::Progress { text: get(row, 15)? },
        OUTPUT => TaskEventKind::Output { chunk: get(row, 15)? },
        _ => TaskEventKind::State {
            state: state(row, 12)?,
            attempt: u32::try_from(get::<Option<i64>>(row, 13)?.unwrap_or_default()).unwrap_or(u32::MAX),
            error: error(row, 14)?,
        },
    };
    Ok(Some(TaskEvent { seq: seq.unsigned_abs(), at: time(row, 11)?, kind }))
}

/// The error in two columns: kind and message.
pub(crate) fn error(row: &Row, column: usize) -> Sql<Option<TaskError>> {
    let Some(kind) = get::<Option<String>>(row, column)? else { return Ok(None) };
    let kind = ErrorKind::deserialize(kind.as_str().into_deserializer());
    let kind = kind.map_err(|error: serde::de::value::Error| Fault::unreadable(error.to_string()))?;
    Ok(Some(TaskError::new(kind, get::<Option<String>>(row, column + 1)?.unwrap_or_default())))
}

/// The state that a task is submitted in.
fn first_state(submitted_at: Timestamp, due: Timestamp) -> TaskState {
    if due > submitted_at { TaskState::Scheduled } else { TaskState::Queued }
}

/// Kind and text of an agent's event.
fn words(kind: &TaskEventKind) -> (i16, Option<String>) {
    match kind {
        TaskEventKind::Progress { text } => (PROGRESS, Some(clean(text))),
        TaskEventKind::Output { chunk } => (OUTPUT, Some(clean(chunk))),
        TaskEventKind::Asked { request } => (ASKED, Some(clean(&serde_json::to_string(request).unwrap_or_default()))),
        TaskEventKind::Log { line } => (LOG, Some(clean(&serde_json::to_string(line).unwrap_or_default()))),
        TaskEventKind::State { state, .. } => (*state as i16, None),
    }
}

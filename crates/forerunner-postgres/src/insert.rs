//! The statements that write new tasks.
//!
//! Tasks that nobody can have submitted before are written by a bare `INSERT`; where they have all in common but their
//! ids, times and inputs, what they have in common travels once. All others are written by a statement that finds the
//! known ones.

use std::sync::LazyLock;

use forerunner_core::{TaskState, Timestamp};
use forerunner_store::{
    Submission,
    backend::{self, Cell, Column, Part, cell_of_new, column_list, columns_of_new},
};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::{
    context_queue::Rank,
    rows::{QueueEntry, label_pairs},
    tables::{earliest_end, names},
    tx::Param,
    values::{Values, array_type, single_type},
};

/// A submission, and the place it gets.
pub(crate) struct Accepted<'a> {
    pub submission: &'a Submission,
    pub state: TaskState,
    pub due: Timestamp,
    pub claimable: bool,
    pub depth: u32,
}

impl<'a> Accepted<'a> {
    /// A submission that waits for no other task.
    pub fn alone(submission: &'a Submission) -> Self {
        let state = backend::first_state(&submission.task);
        let due = backend::first_due(&submission.task);
        Self { submission, state, due, claimable: state == TaskState::Queued, depth: 0 }
    }

    pub fn entry(&self) -> QueueEntry {
        let task = &self.submission.task;
        QueueEntry { pool: task.pool.clone(), id: *task.id.as_uuid(), priority: task.priority, due: self.due }
    }

    fn cell(&self, column: &Column) -> Cell<'a> {
        cell_of_new(column, &self.submission.task, self.state, self.depth)
    }
}

/// How tasks are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Some may be known, or have a key, a context or a parent.
    Checked,
    /// All are new.
    New,
    /// All are new, and have all in common but [`VARYING`].
    Alike,
}

/// What tasks that are alike differ in, besides id, place and due time.
const VARYING: [&str; 3] = ["run_at", "submitted_at", "input"];

impl Way {
    /// The way for new tasks without key, context and parent.
    pub fn of_new(batch: &[Accepted<'_>]) -> Self {
        let Some((first, others)) = batch.split_first() else { return Self::New };
        let common: Vec<_> = shared_columns().map(|column| (column, first.cell(column))).collect();
        let is_like_first = |other: &Accepted<'_>| {
            other.submission.task.pool == first.submission.task.pool
                && common.iter().all(|(column, cell)| other.cell(column) == *cell)
        };
        if others.iter().all(is_like_first) { Self::Alike } else { Self::New }
    }
}

/// The columns that a new task has, besides the store's own.
fn new_columns() -> impl Iterator<Item = &'static Column> {
    columns_of_new(Part::Task).chain(columns_of_new(Part::Input))
}

fn shared_columns() -> impl Iterator<Item = &'static Column> {
    new_columns().filter(|column| !VARYING.contains(&column.name))
}

fn varying_columns() -> impl Iterator<Item = &'static Column> {
    new_columns().filter(|column| VARYING.contains(&column.name))
}

/// The new rows as parameters of a statement, one entry a task.
pub(crate) struct Inserts {
    way: Way,
    id: Vec<Uuid>,
    pool: Vec<String>,
    due: Vec<i64>,
    key: Vec<Option<Vec<u8>>>,
    pairs: Vec<Option<String>>,
    fingerprint: Vec<Option<Vec<u8>>>,
    rank: Vec<Option<i16>>,
    /// Those of [`new_columns`], or of [`varying_columns`] and then one value of [`shared_columns`].
    others: Vec<Values>,
    earliest: i64,
}

impl Inserts {
    pub fn of(batch: &[Accepted<'_>], way: Way) -> Self {
        let mut inserts = Self {
            way,
            id: Vec::with_capacity(batch.len()),
            pool: Vec::new(),
            due: Vec::with_capacity(batch.len()),
            key: Vec::with_capacity(batch.len()),
            pairs: Vec::new(),
            fingerprint: Vec::new(),
            rank: Vec::new(),
            others: Vec::new(),
            earliest: 0,
        };
        for accepted in batch {
            inserts.id.push(*accepted.submission.task.id.as_uuid());
            inserts.due.push(accepted.due.as_micros());
            inserts.key.push(accepted.claimable.then(|| accepted.entry().key().as_bytes().to_vec()));
        }
        let pools = if way == Way::Alike { &batch[..batch.len().min(1)] } else { batch };
        for accepted in pools {
            let task = &accepted.submission.task;
            inserts.pool.push(task.pool.as_str().to_owned());
            // Arrays of arrays must be of one length, so the pairs travel as one text.
            inserts.pairs.push(label_pairs(&task.labels).map(|pairs| pairs.join("\n")));
        }
        match way {
            Way::Alike => {
                inserts.others.extend(varying_columns().map(|column| values(column, batch)));
                inserts.others.extend(shared_columns().map(|column| values(column, pools)));
            }
            Way::New => inserts.others.extend(new_columns().map(|column| values(column, batch))),
            Way::Checked => {
                inserts.others.extend(new_columns().map(|column| values(column, batch)));
                inserts.add_checked(batch);
            }
        }
        inserts
    }

    fn add_checked(&mut self, batch: &[Accepted<'_>]) {
        for accepted in batch {
            let Submission { task, fingerprint, .. } = accepted.submission;
            self.fingerprint.push(fingerprint.map(|hash| hash.to_vec()));
            let rank = if accepted.state == TaskState::Queued { Rank::Joined } else { Rank::Delayed };
            self.rank.push(task.context.as_ref().map(|_| rank as i16));
        }
        self.earliest = self.id.iter().copied().map(earliest_end).min().unwrap_or(0);
    }

    pub fn sql(&self) -> &'static str {
        match self.way {
            Way::Checked => &CHECKED,
            Way::New => &NEW,
            Way::Alike => &ALIKE,
        }
    }

    pub fn params(&self) -> Vec<Param<'_>> {
        let mut params: Vec<Param<'_>> =
            vec![(&self.id, Type::UUID_ARRAY), (&self.due, Type::INT8_ARRAY), (&self.key, Type::BYTEA_ARRAY)];
        match self.way {
            Way::Alike => {
                params.push((first(&self.pool), Type::TEXT));
                params.push((first(&self.pairs), Type::TEXT));
                let varying = varying_columns().count();
                params.extend(self.others[..varying].iter().map(Values::param));
                params.extend(self.others[varying..].iter().map(Values::only));
            }
            Way::New => {
                params.extend([(&self.pool as &(dyn ToSql + Sync), Type::TEXT_ARRAY), (&self.pairs, Type::TEXT_ARRAY)]);
                params.extend(self.others.iter().map(Values::param));
            }
            Way::Checked => {
                params.extend([
                    (&self.pool as &(dyn ToSql + Sync), Type::TEXT_ARRAY),
                    (&self.pairs, Type::TEXT_ARRAY),
                    (&self.fingerprint, Type::BYTEA_ARRAY),
                    (&self.rank, Type::INT2_ARRAY),
                    (&self.earliest, Type::INT8),
                ]);
                params.extend(self.others.iter().map(Values::param));
            }
        }
        params
    }
}

/// What all rows have in common.
fn first<T: ToSql + Sync>(values: &[T]) -> &(dyn ToSql + Sync) {
    values.first().map_or(&None::<String>, |first| first)
}

fn values(column: &Column, batch: &[Accepted<'_>]) -> Values {
    let mut values = Values::of(column, batch.len());
    batch.iter().for_each(|accepted| values.push(accepted.cell(column)));
    values
}

/// Arrays of columns as parameters from `$first` on.
fn arrays(columns: impl Iterator<Item = &'static Column>, first: usize) -> String {
    let mut places = first..;
    column_list(columns, |column| format!("${}::{}", places.next().unwrap_or_default(), array_type(column)))
}

/// Writes tasks that are alike.
static ALIKE: LazyLock<String> = LazyLock::new(|| {
    let (varying, shared) = (names(varying_columns()), names(shared_columns()));
    let mut places = 6 + varying_columns().count()..;
    let singles = column_list(shared_columns(), |column| {
        format!("${}::{}", places.next().unwrap_or_default(), single_type(column))
    });
    format!(
        "INSERT INTO live (id, due, queue_key, pool, label_pairs, {varying}, {shared}) \
         SELECT id, due, queue_key, $4::text, string_to_array($5::text, E'\\n'), {varying}, {singles} \
         FROM unnest($1::uuid[], $2::int8[], $3::bytea[], {}) AS s (id, due, queue_key, {varying})",
        arrays(varying_columns(), 6)
    )
});

/// Writes new tasks.
static NEW: LazyLock<String> = LazyLock::new(|| {
    let all = names(new_columns());
    format!(
        "INSERT INTO live (id, due, queue_key, pool, label_pairs, {all}) \
         SELECT id, due, queue_key, pool, string_to_array(pairs, E'\\n'), {all} \
         FROM unnest($1::uuid[], $2::int8[], $3::bytea[], $4::text[], $5::text[], {}) \
         AS s (id, due, queue_key, pool, pairs, {all})",
        arrays(new_columns(), 6)
    )
});

/// Writes all rows of all tasks whose ids are new, in the order of the parameters; returns which they were.
static CHECKED: LazyLock<String> = LazyLock::new(|| {
    let all = names(new_columns());
    format!(
        "WITH s AS MATERIALIZED (SELECT * FROM unnest($1::uuid[], $2::int8[], $3::bytea[], $4::text[], $5::text[], \
         $6::bytea[], $7::int2[], {}) WITH ORDINALITY \
         AS s (id, due, queue_key, pool, pairs, fingerprint, rank, {all}, place)), \
         t AS (INSERT INTO live (id, due, queue_key, pool, label_pairs, {all}) \
         SELECT id, due, queue_key, pool, string_to_array(pairs, E'\\n'), {all} FROM s \
         WHERE NOT EXISTS (SELECT FROM ended h WHERE h.id = s.id AND h.finished_at >= $8) ORDER BY place \
         ON CONFLICT (id) DO NOTHING RETURNING id), \
         n AS MATERIALIZED (SELECT * FROM s WHERE (id IN (SELECT id FROM t)) IS TRUE), \
         k AS (INSERT INTO idempotency_keys (pool, key, id, fingerprint) \
         SELECT pool, key, id, fingerprint FROM n WHERE key IS NOT NULL), \
         l AS (INSERT INTO context_queue (pool, context, rank, due, id) \
         SELECT pool, context, rank, due, id FROM n WHERE rank IS NOT NULL) \
         SELECT id FROM t",
        arrays(new_columns(), 9)
    )
});

//! Rows of the order of claimable tasks that disagree with the tasks' own rows: replaced by those.

use forerunner_core::ContextId;
use rusqlite::{Row, params};

use super::{
    failure::Sql,
    rows::{context, damage_in, damaged_row, optional_time, priority, run, time},
    tx::{Rank, Spot, Tx},
};
use crate::damage::Damage;

/// The key of a row of `ready`, but for its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadyKey {
    pub urgency: i64,
    pub due: i64,
    pub row: i64,
}

impl ReadyKey {
    /// Reads the key from three columns of a row, in the order of the fields.
    pub fn read(row: &Row<'_>, first: usize) -> Sql<Self> {
        Ok(Self { urgency: row.get(first)?, due: row.get(first + 1)?, row: row.get(first + 2)? })
    }

    /// Whether it agrees with the task's own row.
    pub fn is_of(&self, spot: &Spot) -> bool {
        (self.urgency, self.due, self.row) == (i64::from(spot.urgency()), spot.due.as_micros(), spot.row)
    }
}

impl Tx<'_> {
    /// Replaces rows of the order that are wrong: each is removed, and its task put where it belongs if it may be claimed.
    ///
    /// What this writes agrees with the tasks, so a later scan finds nothing.
    pub fn correct_ready(&mut self, pool: i64, wrong: &[ReadyKey]) -> Sql<()> {
        let Some(first) = wrong.first() else { return Ok(()) };
        tracing::error!(
            rows = wrong.len(),
            first = first.row,
            "store: repaired the order of claimable tasks, which did not match the tasks"
        );
        for key in wrong {
            // First, so that a kill in between costs no task its place.
            if let Some(damage) = self.place_ready(key.row)? {
                self.set_aside(&[damage])?;
            }
            self.remove_ready(pool, key)?;
        }
        Ok(())
    }

    /// Removes a row of the order by its own key.
    pub fn remove_ready(&mut self, pool: i64, key: &ReadyKey) -> Sql<()> {
        let sql = "DELETE FROM ready WHERE pool = ?1 AND urgency = ?2 AND due = ?3 AND task = ?4";
        let removed = run(self.connection, sql, params![pool, key.urgency, key.due, key.row])?;
        self.cache.pool_at(pool)?.claimable -= removed as i64;
        Ok(())
    }

    /// Puts a queued task, or the first of its line, among the claimable ones; answers what cannot be read.
    fn place_ready(&mut self, row: i64) -> Sql<Option<Damage>> {
        let (spot, context) = match self.queued_at(row) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(error) => return damage_in(&error).cloned().map(Some).ok_or(error),
        };
        let Some(context) = context else { return self.make_ready(&spot).map(|()| None) };
        if !self.has_place(&spot, &context)? {
            self.correct_line(&spot, &context, Rank::Joined)?;
        }
        self.next_of_line(spot.pool, &context)
    }

    fn queued_at(&self, row: i64) -> Sql<Option<(Spot, Option<ContextId>)>> {
        let sql = "SELECT task, pool, priority, due, deadline, context FROM tasks WHERE task = ?1 AND state = 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([row])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let read = || {
            let (due, deadline) = (time(row, 3)?, optional_time(row, 4)?);
            let spot = Spot { pool: row.get(1)?, row: row.get(0)?, priority: priority(row, 2)?.get(), due, deadline };
            Ok((spot, context(row, 5)?))
        };
        let (spot, context) = read().map_err(|error| damaged_row(row, 0, &error))?;
        Ok(self.cache.pool_name(spot.pool).map(|_| (spot, context)))
    }
}

//! Tasks with unreadable rows: set aside, restored once they are repaired, or given up.

use std::{ops::RangeInclusive, sync::LazyLock};

use forerunner_core::{ContextId, Labels, PoolName, Task, TaskId, TaskState, Timestamp, transition};
use rusqlite::{Connection, Error, params, params_from_iter};

use super::{
    failure::Sql,
    listing,
    rows::{damage_in, param, run, state, value},
    tx::{Spot, Tx},
};
use crate::{
    StateConflict,
    columns::{Part, column_list, columns_of},
    damage::{Damage, given_up, id_of_row},
};

const DAMAGED: i64 = TaskState::Damaged as i64;

/// The states in which a task is in no order.
const ENDED: RangeInclusive<i64> = TaskState::Succeeded as i64..=DAMAGED;

/// Statements that remove a row from an order, and how many claimable tasks fewer that makes for each row.
type Order = ([&'static str; 2], i64);

const READY: Order = (
    [
        "DELETE FROM ready WHERE (pool, urgency, due, task) = \
         (SELECT pool, 9 - priority, due, task FROM tasks WHERE task = ?1) RETURNING pool, NULL",
        "DELETE FROM ready WHERE task = ?1 RETURNING pool, NULL",
    ],
    1,
);

const LINE: Order = (
    [
        "DELETE FROM context_queue WHERE (pool, context, due, task) = \
         (SELECT pool, context, due, task FROM tasks WHERE task = ?1) AND rank IN (0, 1, 2) RETURNING pool, context",
        "DELETE FROM context_queue WHERE task = ?1 RETURNING pool, context",
    ],
    0,
);

/// What of a damaged row must be known to move it out of the way.
struct Place {
    pool: i64,
    state: i64,
    has_id: bool,
}

impl Tx<'_> {
    /// Sets tasks aside that cannot be read: nobody claims, sweeps or waits for them any more. Answers how many that were.
    ///
    /// A running task is left to its agent: its end reads nothing of the row.
    pub fn set_aside(&mut self, damages: &[Damage]) -> Sql<usize> {
        let mut left = damages.to_vec();
        let mut done = 0;
        while let Some(damage) = left.pop() {
            if self.cache.leases.values().any(|lease| lease.row == damage.row) {
                self.leave(damage.row, READY)?;
                continue;
            }
            let place = self.place_of(damage.row)?;
            if place.as_ref().is_some_and(|place| ENDED.contains(&place.state)) {
                done += usize::from(self.mark(damage, place)?);
                continue;
            }
            self.leave(damage.row, READY)?;
            let lines = self.leave(damage.row, LINE)?;
            done += usize::from(self.mark(damage, place)?);
            for (pool, context) in
                lines.into_iter().filter_map(|(pool, name)| Some((pool, ContextId::stored(name?).ok()?)))
            {
                // The next of a line may be damaged as well.
                left.extend(self.next_of_line(pool, &context)?);
            }
        }
        Ok(done)
    }

    /// The same for what a reader found a moment ago: a row that was changed since is read again.
    pub fn set_aside_unread(&mut self, found: &[Damage]) -> Sql<usize> {
        let mut unread = Vec::with_capacity(found.len());
        for damage in found {
            unread.extend(listing::damage_at(self.connection, damage.row, &self.cache.agents)?);
        }
        self.set_aside(&unread)
    }

    /// Writes down that a task is damaged; answers whether it was not before.
    fn mark(&mut self, damage: Damage, place: Option<Place>) -> Sql<bool> {
        let Some(place) = place.filter(|place| place.state != DAMAGED) else { return Ok(false) };
        let sql = "INSERT OR REPLACE INTO damaged (task, was, reason) VALUES (?1, ?2, ?3)";
        run(self.connection, sql, params![damage.row, place.state, damage.reason])?;
        run(self.connection, "UPDATE tasks SET state = ?1 WHERE task = ?2", [DAMAGED, damage.row])?;
        if !place.has_id {
            let id = id_of_row(damage.row);
            run(
                self.connection,
                "UPDATE tasks SET id = ?1 WHERE task = ?2",
                params![id.as_uuid().as_bytes(), damage.row],
            )?;
        }
        let was = usize::try_from(place.state).ok().and_then(|code| TaskState::ALL.get(code)).copied();
        match self.cache.pool_at(place.pool) {
            Ok(_) => self.cache.count(place.pool, was, Some(TaskState::Damaged))?,
            Err(_) => self.cache.astray += 1,
        }
        self.cache.found.push(damage);
        Ok(true)
    }

    fn place_of(&self, row: i64) -> Sql<Option<Place>> {
        let sql = "SELECT pool, state, length(id) = 16 FROM tasks WHERE task = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([row])?;
        let Some(found) = rows.next()? else { return Ok(None) };
        let number = |column| found.get(column).unwrap_or(-1);
        Ok(Some(Place { pool: number(0), state: number(1), has_id: found.get(2).unwrap_or(false) }))
    }

    /// Removes a row from one of the orders; returns the pools, and the contexts if it was in queues of contexts.
    fn leave(&mut self, row: i64, order: Order) -> Sql<Vec<(i64, Option<String>)>> {
        // Finds it by the key in the row; only if that fails, by a scan of all.
        for sql in order.0 {
            let mut statement = self.connection.prepare_cached(sql)?;
            let left = statement.query_map([row], |row| Ok((row.get(0)?, row.get(1).ok())))?;
            let left: Vec<(i64, Option<String>)> = left.collect::<Sql<_>>()?;
            if left.is_empty() {
                continue;
            }
            for (pool, _) in &left {
                if let Ok(pool) = self.cache.pool_at(*pool) {
                    pool.claimable -= order.1;
                }
            }
            return Ok(left);
        }
        Ok(Vec::new())
    }

    /// Makes the first of a line claimable, if it may be; answers what is wrong with it if it cannot be read.
    pub(super) fn next_of_line(&mut self, pool: i64, context: &ContextId) -> Sql<Option<Damage>> {
        let head = match self.head(pool, context) {
            Ok(head) => head,
            Err(error) => return damage_in(&error).cloned().map(Some).ok_or(error),
        };
        let Some(spot) = head else { return Ok(None) };
        self.make_ready(&spot).map(|()| None)
    }

    /// Restores a repaired task to its state, if that is an end; returns the reason if its row is still unreadable.
    pub fn take_back_repaired(
        &mut self,
        spot: &Spot,
        task: &mut Task,
        damage: Option<&String>,
    ) -> Sql<Result<(), StateConflict>> {
        if let Some(reason) = damage {
            return Ok(Err(StateConflict::Damaged { task: task.id, reason: reason.clone() }));
        }
        let was = value::<i64>(self.connection, "SELECT was FROM damaged WHERE task = ?1", [spot.row])?;
        run(self.connection, "DELETE FROM damaged WHERE task = ?1", [spot.row])?;
        let was = was.and_then(TaskState::from_code);
        if let Some(was) = was.filter(|was| was.is_terminal() && *was != TaskState::Damaged) {
            run(self.connection, "UPDATE tasks SET state = ?1 WHERE task = ?2", params![was.code(), spot.row])?;
            self.cache.count(spot.pool, Some(TaskState::Damaged), Some(was))?;
            task.state = was;
        }
        Ok(Ok(()))
    }

    /// Gives up a damaged task: what could be read of it is written anew, as a task that was cancelled.
    pub fn give_up(&mut self, spot: &Spot, task: &mut Task, reason: &str, now: Timestamp) -> Sql<()> {
        transition::give_up(given_up(reason), now).apply(task);
        let pool = self.pool_for(spot.pool, &task.pool)?;
        match pool == spot.pool {
            true => self.cache.count(pool, Some(TaskState::Damaged), Some(TaskState::Cancelled))?,
            false => {
                self.cache.astray -= 1;
                self.cache.count(pool, None, Some(TaskState::Cancelled))?;
            }
        }
        self.rewrite(spot.row, pool, spot.due, task)?;
        run(self.connection, "DELETE FROM inputs WHERE task = ?1", [spot.row])?;
        self.insert_input(task, spot.row)?;
        if task.output.is_none() {
            run(self.connection, "DELETE FROM outputs WHERE task = ?1", [spot.row])?;
        }
        self.forget_labels(task.id, &task.labels)?;
        run(self.connection, "DELETE FROM damaged WHERE task = ?1", [spot.row]).map(drop)
    }

    /// The number of a task's pool, or of its substitute.
    fn pool_for(&mut self, number: i64, name: &PoolName) -> Sql<i64> {
        if self.cache.pool_at(number).is_ok() { Ok(number) } else { self.pool_or_new(name) }
    }

    fn rewrite(&self, row: i64, pool: i64, due: Timestamp, task: &Task) -> Sql<()> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let mut place = 3;
            let columns = column_list(columns_of(Part::Task), |column| {
                place += 1;
                format!("{} = ?{place}", column.name)
            });
            format!("UPDATE tasks SET pool = ?2, due = ?3, {columns} WHERE task = ?1")
        });
        let own = [row.into(), pool.into(), due.as_micros().into()];
        let cells = columns_of(Part::Task).map(|column| param(column.cell(task)));
        run(self.connection, &SQL, params_from_iter(own.into_iter().chain(cells))).map(drop)
    }

    /// Removes labels from the index that the task does not have.
    fn forget_labels(&self, id: TaskId, known: &Labels) -> Sql<()> {
        if known.is_empty() {
            run(self.connection, "DELETE FROM labels WHERE id = ?1", [id.as_uuid().as_bytes()])?;
        }
        Ok(())
    }
}

/// Rows that no pool or state leads to: found by a full scan, after counting has met one.
pub(super) fn astray(connection: &Connection, pools: usize) -> Sql<Vec<Damage>> {
    let sql = "SELECT task, state, pool FROM tasks WHERE state NOT BETWEEN -1 AND ?1 OR pool NOT BETWEEN 1 AND ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(params![DAMAGED, pools as i64], |row| {
        let reason = match state(row, 1) {
            Ok(_) => format!("column `pool`: there is no pool {}", row.get(2).unwrap_or(-1_i64)),
            Err(_) => format!("column `state`: there is no state {}", row.get(1).unwrap_or(-1_i64)),
        };
        Ok(Damage { row: row.get(0)?, reason })
    })?;
    found.collect::<Result<Vec<_>, Error>>()
}

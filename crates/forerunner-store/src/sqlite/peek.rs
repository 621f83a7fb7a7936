//! Choosing among claimable tasks.

use std::sync::LazyLock;

use forerunner_core::{Task, TaskId};
use rusqlite::{Row, params};

use super::{
    failure::Sql,
    ready::ReadyKey,
    rows::{Stored, context, damage_in, damaged_row, number, priority, run, stored, task_columns, time, uuid},
    tx::{Spot, Tx},
};
use crate::{Candidate, Claim, Peek, damage::Damage};

/// What the order of claimable tasks leads to first.
#[derive(Default)]
struct Candidates {
    found: Vec<Candidate>,
    damaged: Vec<Damage>,
    /// The keys of the damaged ones.
    unread: Vec<ReadyKey>,
    /// Those that disagree with the task that they name.
    wrong: Vec<ReadyKey>,
}

impl Tx<'_> {
    pub fn peek(&mut self, look: &Peek) -> Sql<Vec<Candidate>> {
        let Some(pool) = self.cache.pool(&look.pool) else { return Ok(Vec::new()) };
        loop {
            if self.claimable(pool)? == 0 {
                return Ok(Vec::new());
            }
            let Candidates { found, damaged, unread, wrong } = self.candidates(pool, look)?;
            if damaged.is_empty() && wrong.is_empty() {
                return Ok(found);
            }
            self.set_aside(&damaged)?;
            unread.iter().try_for_each(|key| self.remove_ready(pool, key))?;
            self.correct_ready(pool, &wrong)?;
        }
    }

    fn candidates(&self, pool: i64, look: &Peek) -> Sql<Candidates> {
        let sql = "SELECT t.id, t.context, x.version, x.size_bytes, t.priority, t.due, r.urgency, r.due, r.task, \
                   t.task, coalesce(t.state = 1 AND t.pool = r.pool, 0) \
                   FROM ready r LEFT JOIN tasks t ON t.task = r.task \
                   LEFT JOIN contexts x ON x.pool = r.pool AND x.name = t.context \
                   WHERE r.pool = ?1 AND (r.deadline IS NULL OR r.deadline > ?2) \
                   ORDER BY r.urgency, r.due, r.task LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let limit = i64::try_from(look.limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![pool, look.now.as_micros(), limit])?;
        let mut candidates = Candidates::default();
        while let Some(row) = rows.next()? {
            let key = ReadyKey::read(row, 6)?;
            match candidate(row).map_err(|error| damaged_row(row, 8, &error)) {
                Ok(found) if is_claimable(row, pool, &key, &found)? => candidates.found.push(found),
                Ok(_) => candidates.wrong.push(key),
                Err(error) => {
                    candidates.damaged.push(damage_in(&error).cloned().ok_or(error)?);
                    candidates.unread.push(key);
                }
            }
        }
        Ok(candidates)
    }

    pub fn claim_ids(&mut self, claim: &Claim, wanted: &[TaskId]) -> Sql<Vec<Task>> {
        let Some(pool) = self.cache.pool(&claim.pool) else {
            self.renew(claim.node, claim.lease_until, false)?;
            return Ok(Vec::new());
        };
        let mut found = Vec::with_capacity(wanted.len());
        for task in wanted {
            found.extend(self.take_one(pool, claim, *task)?);
        }
        self.renew(claim.node, claim.lease_until, !found.is_empty())?;
        found.into_iter().enumerate().map(|(place, stored)| self.lease(stored, claim, place)).collect()
    }

    /// Removes a task from the claimable ones, if it is one of them.
    fn take_one(&mut self, pool: i64, claim: &Claim, task: TaskId) -> Sql<Option<Stored>> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let columns = task_columns("NULL");
            format!(
                "SELECT {columns} FROM tasks t LEFT JOIN inputs i ON i.task = t.task \
                 WHERE t.id = ?1 AND t.pool = ?2 AND t.state = 1 AND (t.deadline IS NULL OR t.deadline > ?3)"
            )
        });
        let found = {
            let mut statement = self.connection.prepare_cached(&SQL)?;
            let mut rows = statement.query(params![task.as_uuid().as_bytes(), pool, claim.now.as_micros()])?;
            rows.next()?.map(|row| stored(row, |_| Some(claim.pool.clone())))
        };
        let Some(found) = found else { return Ok(None) };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                let damage = damage_in(&error).cloned().ok_or(error)?;
                return self.set_aside(&[damage]).map(|_| None);
            }
        };
        let spot = found.spot();
        let sql = "DELETE FROM ready WHERE pool = ?1 AND urgency = ?2 AND due = ?3 AND task = ?4";
        let removed = run(self.connection, sql, params![pool, spot.urgency(), spot.due.as_micros(), spot.row])?;
        self.cache.pool_at(pool)?.claimable -= removed as i64;
        Ok((removed > 0).then_some(found))
    }
}

/// Whether a task may be claimed where the order names it.
fn is_claimable(row: &Row<'_>, pool: i64, key: &ReadyKey, found: &Candidate) -> Sql<bool> {
    let (priority, due) = (found.priority.get(), found.due);
    let spot = Spot { pool, row: row.get(9)?, priority, due, deadline: None };
    Ok(row.get(10)? && key.is_of(&spot))
}

fn candidate(row: &Row<'_>) -> Sql<Candidate> {
    Ok(Candidate {
        task: TaskId::from_uuid(uuid(row, 0)?),
        context: context(row, 1)?,
        // Only a hint here; a claim refuses what cannot be read.
        context_version: number(row, 2).unwrap_or(0),
        context_bytes: number(row, 3).unwrap_or(0),
        priority: priority(row, 4)?,
        due: time(row, 5)?,
    })
}

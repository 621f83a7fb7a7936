//! Tasks with unreadable rows: set aside, restored once they are repaired, or given up.

use std::sync::LazyLock;

use forerunner_core::{ContextId, PoolName, Task, TaskId, TaskState, Timestamp, transition};
use forerunner_store::{
    StateConflict,
    backend::{Column, Damage, Part, column_list, columns_of, given_up},
};
use tokio_postgres::types::{ToSql, Type};

use crate::{
    failure::{Fault, Sql},
    history::{End, names},
    rows::{QueueKey, clean, get, label_pairs},
    tx::{Param, Tx},
    unread::Unread,
    values::Values,
};

const DAMAGED: i16 = TaskState::Damaged as i16;

impl Tx<'_> {
    /// Sets tasks aside that cannot be read: nobody claims, sweeps or waits for them any more. Answers which those were.
    pub async fn set_aside(&self, unread: &[Unread]) -> Sql<Vec<Damage>> {
        let mut left = unread.to_vec();
        let mut done = Vec::new();
        while let Some(one) = left.pop() {
            let Some(lines) = self.move_aside(&one).await? else { continue };
            done.push(one.damage);
            for (pool, context) in lines {
                // The next of a line may be damaged as well.
                left.extend(self.next_of_line(&pool, &context).await?);
            }
        }
        Ok(done)
    }

    /// Marks a task and removes it from all orders; returns the queues of contexts that it was in, or `None` if it was
    /// not to be marked.
    async fn move_aside(&self, one: &Unread) -> Sql<Option<Vec<(PoolName, ContextId)>>> {
        let row = one.damage.row;
        let which = [(&row as &(dyn ToSql + Sync), Type::INT8)];
        let lines = self.query("SELECT pool, context FROM context_queue WHERE task = $1", &which).await?;
        let lines = lines.iter().filter_map(|row| {
            let (pool, context) = (get::<String>(row, 0).ok()?, get::<String>(row, 1).ok()?);
            Some((PoolName::new(pool).ok()?, ContextId::new(context).ok()?))
        });
        let lines: Vec<_> = lines.collect();
        for (pool, context) in &lines {
            self.lock_line(pool, context).await?;
        }
        if !self.mark(one).await? {
            return Ok(None);
        }
        let ready = self.run("DELETE FROM ready WHERE task = $1 RETURNING task", &which).await?;
        self.gained.fetch_sub(ready as i64, std::sync::atomic::Ordering::Relaxed);
        self.run("DELETE FROM context_queue WHERE task = $1 RETURNING task", &which).await?;
        Ok(Some(lines))
    }

    /// Writes down that a task is damaged; answers whether it was not before.
    async fn mark(&self, one: &Unread) -> Sql<bool> {
        const SQL: &str = "\
            WITH t AS (SELECT task, state FROM tasks WHERE id = $2 AND state <> $3 AND (state <> 2 OR $4) FOR UPDATE), \
            h AS (SELECT task, state FROM history WHERE id = $2 AND state <> $3 FOR UPDATE), \
            a AS (UPDATE tasks SET state = $3 FROM t WHERE tasks.task = t.task), \
            b AS (UPDATE history SET state = $3 FROM h WHERE history.id = $2) \
            INSERT INTO damaged (task, id, was, reason) SELECT $1, $2, f.state, $5 \
            FROM (SELECT * FROM t UNION ALL SELECT * FROM h) f LIMIT 1 \
            ON CONFLICT (task) DO UPDATE SET was = excluded.was, reason = excluded.reason RETURNING task";
        let reason = clean(&one.damage.reason);
        let params = [
            (&one.damage.row as &(dyn ToSql + Sync), Type::INT8),
            (&one.id, Type::UUID),
            (&DAMAGED, Type::INT2),
            (&one.even_running, Type::BOOL),
            (&reason, Type::TEXT),
        ];
        let is_new = self.run(SQL, &params).await? > 0;
        if is_new {
            self.tell_end(TaskId::from_uuid(one.id));
        }
        Ok(is_new)
    }

    /// Makes the first of a line claimable, if it may be; answers what is wrong with it if it cannot be read.
    async fn next_of_line(&self, pool: &PoolName, context: &ContextId) -> Sql<Option<Unread>> {
        let spot = match self.head(pool, context).await {
            Ok(Some(spot)) => spot,
            Ok(None) => return Ok(None),
            Err(Fault::Damaged(unread)) => return Ok(Some(*unread)),
            Err(fault) => return Err(fault),
        };
        let is_ready = "SELECT 1 FROM ready WHERE pool = $1 AND urgency = $2 AND due = $3 AND task = $4";
        let (urgency, due) = (spot.urgency(), spot.due.as_micros());
        let params = [
            (&spot.pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&urgency, Type::INT2),
            (&due, Type::INT8),
            (&spot.row, Type::INT8),
        ];
        if self.query(is_ready, &params).await?.is_empty() {
            self.make_ready(&spot).await?;
        }
        self.hints().work.insert(pool.clone());
        Ok(None)
    }

    /// How many tasks are set aside.
    pub async fn count_damaged(&self) -> Sql<u64> {
        let rows = self.query("SELECT count(*) FROM damaged", &[]).await?;
        rows.first().map_or(Ok(0), |row| Ok(get::<i64>(row, 0)?.unsigned_abs()))
    }

    /// Restores a repaired task to its state, if that is an end; returns the reason if its row is still unreadable.
    pub async fn take_back_repaired(
        &self,
        row: i64,
        task: &mut Task,
        damage: Option<&String>,
    ) -> Sql<Result<(), StateConflict>> {
        if let Some(reason) = damage {
            return Ok(Err(StateConflict::Damaged { task: task.id, reason: reason.clone() }));
        }
        let rows = self.query("DELETE FROM damaged WHERE task = $1 RETURNING was", &[(&row, Type::INT8)]).await?;
        let was = rows.first().map(|row| get::<i16>(row, 0)).transpose()?;
        let was = was.and_then(|code| TaskState::from_code(code.into()));
        if let Some(was) = was.filter(|was| was.is_terminal() && *was != TaskState::Damaged) {
            let code = was as i16;
            let params = [(&code as &(dyn ToSql + Sync), Type::INT2), (task.id.as_uuid(), Type::UUID)];
            for table in ["tasks", "history"] {
                self.run(&format!("UPDATE {table} SET state = $1 WHERE id = $2 RETURNING task"), &params).await?;
            }
            task.state = was;
        }
        Ok(Ok(()))
    }

    /// Gives up a damaged task: what could be read of it is written anew, as a task that was cancelled.
    pub async fn give_up(&self, spot: &QueueKey, task: &mut Task, reason: &str, now: Timestamp) -> Sql<()> {
        let end = transition::give_up(given_up(reason), now);
        end.clone().apply(task);
        let is_unfinished = self.rewrite(spot, task).await?;
        if is_unfinished {
            self.rewrite_input(spot.row, task).await?;
            self.end(&End { row: spot.row, epoch: None, transition: &end }).await?;
        } else {
            self.rewrite_ended(spot, task).await?;
        }
        self.run("DELETE FROM damaged WHERE task = $1 RETURNING task", &[(&spot.row, Type::INT8)]).await?;
        self.tell_end(task.id);
        Ok(())
    }

    /// Writes anew what can be read of a task; answers whether it is among those that have not ended.
    async fn rewrite(&self, spot: &QueueKey, task: &Task) -> Sql<bool> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let columns = assigned(rewritten(Part::Task), 4);
            format!("UPDATE tasks SET pool = $2, due = $3, {columns} WHERE task = $1 RETURNING task")
        });
        let (due, cells) = (spot.due.as_micros(), cells(rewritten(Part::Task), task));
        let own: [Param<'_>; 3] = [(&spot.row, Type::INT8), (&task.pool.as_str(), Type::TEXT), (&due, Type::INT8)];
        Ok(self.run(&SQL, &with(&own, &cells)).await? > 0)
    }

    async fn rewrite_input(&self, row: i64, task: &Task) -> Sql<()> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let names = names(columns_of(Part::Input));
            let places: Vec<_> = (3..3 + columns_of(Part::Input).count()).map(|place| format!("${place}")).collect();
            let excluded = column_list(columns_of(Part::Input), |column| format!("{0} = excluded.{0}", column.name));
            format!(
                "INSERT INTO inputs (task, label_pairs, {names}) VALUES ($1, $2, {}) ON CONFLICT (task) \
                 DO UPDATE SET label_pairs = excluded.label_pairs, {excluded} RETURNING task",
                places.join(", ")
            )
        });
        let (pairs, cells) = (label_pairs(&task.labels), cells(columns_of(Part::Input), task));
        let own: [Param<'_>; 2] = [(&row, Type::INT8), (&pairs, Type::TEXT_ARRAY)];
        self.run(&SQL, &with(&own, &cells)).await.map(drop)
    }

    async fn rewrite_ended(&self, spot: &QueueKey, task: &Task) -> Sql<()> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let columns = assigned(rewritten(Part::Task).chain(columns_of(Part::Input)), 6);
            format!(
                "UPDATE history SET pool = $2, due = $3, label_pairs = $4, {columns} WHERE task = $1 AND id = $5 \
                 RETURNING task"
            )
        });
        let (due, pairs) = (spot.due.as_micros(), label_pairs(&task.labels));
        let cells = cells(rewritten(Part::Task).chain(columns_of(Part::Input)), task);
        let own: [Param<'_>; 5] = [
            (&spot.row, Type::INT8),
            (&task.pool.as_str(), Type::TEXT),
            (&due, Type::INT8),
            (&pairs, Type::TEXT_ARRAY),
            (task.id.as_uuid(), Type::UUID),
        ];
        self.run(&SQL, &with(&own, &cells)).await?;
        // The time of its end determines its partition, and stays.
        let sql = "UPDATE history SET state = $1, agent = NULL, node = NULL, output = NULL, cost = NULL, log = NULL, \
                   error_kind = $2, error = $3 WHERE id = $4 RETURNING task";
        let (state, error) = (task.state as i16, task.error.as_ref());
        let (kind, message) = (error.map(|error| error.kind.as_str()), error.map(|error| clean(&error.message)));
        let params = [
            (&state as &(dyn ToSql + Sync), Type::INT2),
            (&kind, Type::TEXT),
            (&message, Type::TEXT),
            (task.id.as_uuid(), Type::UUID),
        ];
        self.run(sql, &params).await.map(drop)
    }
}

/// The columns that are written anew of a task that is given up. Its end writes the others.
fn rewritten(part: Part) -> impl Iterator<Item = &'static Column> {
    const BY_ITS_END: [&str; 6] = ["state", "finished_at", "agent", "node", "error_kind", "error"];
    columns_of(part).filter(|column| !BY_ITS_END.contains(&column.name))
}

/// Assignments of parameters to columns, from `$first` on.
fn assigned(columns: impl IntoIterator<Item = &'static Column>, first: usize) -> String {
    let mut places = first..;
    column_list(columns, |column| format!("{} = ${}", column.name, places.next().unwrap_or_default()))
}

/// The values of columns of a task.
fn cells(columns: impl IntoIterator<Item = &'static Column>, task: &Task) -> Vec<Values> {
    let one = |column: &Column| {
        let mut values = Values::of(column, 1);
        values.push(column.cell(task));
        values
    };
    columns.into_iter().map(one).collect()
}

fn with<'a>(own: &[Param<'a>], cells: &'a [Values]) -> Vec<Param<'a>> {
    own.iter().cloned().chain(cells.iter().map(Values::only)).collect()
}

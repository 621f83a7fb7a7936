//! Tasks with unreadable rows: set aside, restored once they are repaired, or given up.

use std::sync::LazyLock;

use forerunner_core::{ContextId, PoolName, Task, TaskId, TaskState, Timestamp, transition};
use forerunner_store::{
    StateConflict,
    backend::{Column, Part, column_list, columns_of, given_up},
};
use tokio_postgres::types::{ToSql, Type};

use crate::{
    ended::End,
    failure::{Fault, Sql},
    rows::{QueueEntry, clean, get, label_pairs},
    tx::{Param, Tx},
    unread::Unread,
    values::Values,
};

const DAMAGED: i16 = TaskState::Damaged as i16;

impl Tx<'_> {
    /// Sets tasks aside that cannot be read: nobody claims, sweeps or waits for them any more. Returns those that it set
    /// aside, with the reasons.
    pub async fn set_aside(&self, unread: &[Unread]) -> Sql<Vec<(String, String)>> {
        let mut left = unread.to_vec();
        let mut done = Vec::new();
        while let Some(one) = left.pop() {
            let Some(contexts) = self.move_aside(&one).await? else { continue };
            done.push((one.id.to_string(), one.reason));
            for (pool, context) in contexts {
                // The next of a context's queue may be damaged as well.
                left.extend(self.next_of_context(&pool, &context).await?);
            }
        }
        Ok(done)
    }

    /// Marks a task and removes it from all orders; returns the contexts in whose queues it was, or `None` if it was
    /// not to be marked.
    async fn move_aside(&self, one: &Unread) -> Sql<Option<Vec<(PoolName, ContextId)>>> {
        let which = [(&one.id as &(dyn ToSql + Sync), Type::UUID)];
        let rows = self.query("SELECT pool, context FROM context_queue WHERE id = $1", &which).await?;
        let contexts = rows.iter().filter_map(|row| {
            let (pool, context) = (get::<String>(row, 0).ok()?, get::<String>(row, 1).ok()?);
            Some((PoolName::new(pool).ok()?, ContextId::stored(context).ok()?))
        });
        let contexts: Vec<_> = contexts.collect();
        for (pool, context) in &contexts {
            self.lock_context(pool, context).await?;
        }
        let was_claimable = self.claimable_of(&[one.id]).await?.len();
        if !self.mark(one).await? {
            return Ok(None);
        }
        self.gained.fetch_sub(was_claimable as i64, std::sync::atomic::Ordering::Relaxed);
        self.run("DELETE FROM context_queue WHERE id = $1 RETURNING id", &which).await?;
        Ok(Some(contexts))
    }

    /// Writes down that a task is damaged; returns whether it was not before.
    async fn mark(&self, one: &Unread) -> Sql<bool> {
        const SQL: &str = "\
            WITH t AS (SELECT id, state FROM live WHERE id = $1 AND state <> $2 AND (state <> 2 OR $3) FOR UPDATE), \
            h AS (SELECT id, state FROM ended WHERE id = $1 AND state <> $2 FOR UPDATE), \
            a AS (UPDATE live SET state = $2, queue_key = NULL FROM t WHERE live.id = t.id), \
            b AS (UPDATE ended SET state = $2 FROM h WHERE ended.id = $1) \
            INSERT INTO damaged (id, was, reason) SELECT $1, f.state, $4 \
            FROM (SELECT * FROM t UNION ALL SELECT * FROM h) f LIMIT 1 \
            ON CONFLICT (id) DO UPDATE SET was = excluded.was, reason = excluded.reason RETURNING id";
        let reason = clean(&one.reason);
        let params = [
            (&one.id as &(dyn ToSql + Sync), Type::UUID),
            (&DAMAGED, Type::INT2),
            (&one.even_running, Type::BOOL),
            (&reason, Type::TEXT),
        ];
        let is_new = self.run(SQL, &params).await? > 0;
        if is_new {
            self.note_end(TaskId::from_uuid(one.id));
        }
        Ok(is_new)
    }

    /// Makes the first of a context's queue claimable, if it may be; returns what is wrong with it if it cannot be read.
    async fn next_of_context(&self, pool: &PoolName, context: &ContextId) -> Sql<Option<Unread>> {
        let entry = match self.head(pool, context).await {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(None),
            Err(Fault::Damaged(unread)) => return Ok(Some(*unread)),
            Err(fault) => return Err(fault),
        };
        if self.claimable_of(&[entry.id]).await?.is_empty() {
            self.make_ready(&entry).await?;
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
    pub async fn take_back_repaired(&self, task: &mut Task, damage: Option<&String>) -> Sql<Result<(), StateConflict>> {
        if let Some(reason) = damage {
            return Ok(Err(StateConflict::Damaged { task: task.id, reason: reason.clone() }));
        }
        let rows =
            self.query("DELETE FROM damaged WHERE id = $1 RETURNING was", &[(task.id.as_uuid(), Type::UUID)]).await?;
        let was = rows.first().map(|row| get::<i16>(row, 0)).transpose()?;
        let was = was.and_then(|code| TaskState::from_code(code.into()));
        if let Some(was) = was.filter(|was| was.is_terminal() && *was != TaskState::Damaged) {
            let code = was as i16;
            let params = [(&code as &(dyn ToSql + Sync), Type::INT2), (task.id.as_uuid(), Type::UUID)];
            self.run("UPDATE ended SET state = $1 WHERE id = $2 RETURNING id", &params).await?;
            task.state = was;
        }
        Ok(Ok(()))
    }

    /// Gives up a damaged task: what could be read of it is written anew, as a task that was cancelled.
    pub async fn give_up(&self, entry: &QueueEntry, task: &mut Task, reason: &str, now: Timestamp) -> Sql<()> {
        let end = transition::give_up(given_up(reason), now);
        end.clone().apply(task);
        if self.rewrite(entry, task).await? {
            self.end(&End { id: entry.id, epoch: None, transition: &end }).await?;
        } else {
            self.rewrite_ended(entry, task).await?;
        }
        self.run("DELETE FROM damaged WHERE id = $1 RETURNING id", &[(&entry.id, Type::UUID)]).await?;
        self.note_end(task.id);
        Ok(())
    }

    /// Writes anew what can be read of a task; returns whether it is among those that have not ended.
    async fn rewrite(&self, entry: &QueueEntry, task: &Task) -> Sql<bool> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let columns = assigned(rewritten(), 5);
            format!("UPDATE live SET pool = $2, due = $3, label_pairs = $4, {columns} WHERE id = $1 RETURNING id")
        });
        self.write_again(&SQL, entry, task).await
    }

    async fn rewrite_ended(&self, entry: &QueueEntry, task: &Task) -> Sql<()> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let columns = assigned(rewritten(), 5);
            format!("UPDATE ended SET pool = $2, due = $3, label_pairs = $4, {columns} WHERE id = $1 RETURNING id")
        });
        self.write_again(&SQL, entry, task).await?;
        // The time of its end determines its partition, and stays.
        let sql = "UPDATE ended SET state = $1, agent = NULL, node = NULL, output = NULL, cost = NULL, log = NULL, \
                   error_kind = $2, error = $3 WHERE id = $4 RETURNING id";
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

    async fn write_again(&self, sql: &str, entry: &QueueEntry, task: &Task) -> Sql<bool> {
        let (due, pairs) = (entry.due.as_micros(), label_pairs(&task.labels));
        let cells = cells(rewritten(), task);
        let own: [Param<'_>; 4] = [
            (&entry.id, Type::UUID),
            (&task.pool.as_str(), Type::TEXT),
            (&due, Type::INT8),
            (&pairs, Type::TEXT_ARRAY),
        ];
        Ok(self.run(sql, &with(&own, &cells)).await? > 0)
    }
}

/// The columns that are written anew of a task that is given up. Its end writes the others.
fn rewritten() -> impl Iterator<Item = &'static Column> {
    const BY_ITS_END: [&str; 6] = ["state", "finished_at", "agent", "node", "error_kind", "error"];
    let all = columns_of(Part::Task).chain(columns_of(Part::Input));
    all.filter(|column| !BY_ITS_END.contains(&column.name))
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

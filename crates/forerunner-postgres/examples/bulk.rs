//! What operations on many tasks take: so many tasks are cancelled, sent back, cancelled again and deleted in batches of 500,
//! on each store, and listed by several conditions in between.
//!
//! ```console
//! $ cargo run --release -p forerunner-postgres --example bulk -- [TASKS] [TASKS_PER_CONTEXT]
//! ```
//!
//! PostgreSQL is a server of its own that waits for the disk. With TASKS_PER_CONTEXT every task belongs to a context.

#[path = "../tests/pg/mod.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod pg;

use std::{sync::Arc, time::Duration};

use forerunner_core::{ContextId, NewTask, Payload, PoolName, RetryPolicy, Task, TaskId, TaskState, Timestamp};
use forerunner_postgres::{PostgresOptions, PostgresStore};
use forerunner_store::{BulkAction, Store, Submission, TaskFilter, TimeWindow, open};
use pg::PgServer;
use tokio::time::Instant;

/// Tasks of one transaction.
const BATCH: usize = 500;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let tasks = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let per_context = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let directory = tempfile::tempdir()?;
    let server = PgServer::start(true);
    let file = format!("sqlite:{}", directory.path().join("tasks.db").display());
    for address in ["memory:", &file] {
        runtime.block_on(measure(&open(address)?, tasks, per_context))?;
    }
    let postgres: Arc<dyn Store> = Arc::new(PostgresStore::open(&server.database(), PostgresOptions::default())?);
    runtime.block_on(measure(&postgres, tasks, per_context))?;
    Ok(())
}

async fn measure(store: &Arc<dyn Store>, tasks: u64, per_context: u64) -> Outcome<()> {
    for first in (0..tasks).step_by(BATCH) {
        let batch = (first..tasks.min(first + BATCH as u64)).map(|number| submission(number, per_context));
        store.enqueue(batch.collect()).await?;
    }
    println!("{}: {tasks} tasks", store.kind());
    look(store, tasks).await?;
    let waiting = [TaskState::Scheduled, TaskState::Queued];
    for (action, states) in [
        (BulkAction::Cancel, &waiting[..]),
        (BulkAction::Retry, &[TaskState::Cancelled]),
        (BulkAction::Cancel, &waiting[..]),
        (BulkAction::Delete, &[TaskState::Cancelled]),
    ] {
        let begun = Instant::now();
        let (done, longest) = run(store, &action, states).await?;
        println!("  {}: {done} in {:.1?}, the longest batch {longest:.1?}", action.as_str(), begun.elapsed());
    }
    store.close().await?;
    Ok(())
}

/// Pages by conditions that an index serves, and one by a condition that none does.
async fn look(store: &Arc<dyn Store>, tasks: u64) -> Outcome<()> {
    let labels =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let hundred = TaskFilter { limit: 100, ..TaskFilter::default() };
    let created = TimeWindow { after: Some(at(tasks / 2)), before: Some(at(tasks / 2 + 500)) };
    let due = TimeWindow { after: None, before: Some(at(50)) };
    let states = vec![TaskState::Queued, TaskState::Running, TaskState::Dead];
    for (name, filter) in [
        ("pool and three states", TaskFilter { pool: Some(pool()), states, ..hundred.clone() }),
        (
            "a rare label and another",
            TaskFilter { labels: labels(&[("rare", "7"), ("even", "no")]), ..hundred.clone() },
        ),
        ("a window of creation", TaskFilter { pool: Some(pool()), created, ..hundred.clone() }),
        ("a window of due times", TaskFilter { due, ..hundred }),
    ] {
        let begun = Instant::now();
        let found = store.tasks(filter).await?.tasks.len();
        println!("  {name}: {found} in {:.1?}", begun.elapsed());
    }
    Ok(())
}

async fn run(store: &Arc<dyn Store>, action: &BulkAction, states: &[TaskState]) -> Outcome<(usize, Duration)> {
    let oldest_first = action.is_oldest_first();
    let mut filter =
        TaskFilter { pool: Some(pool()), states: states.to_vec(), oldest_first, limit: BATCH, ..TaskFilter::default() };
    let (mut done, mut longest) = (0, Duration::ZERO);
    loop {
        let found = store.select(filter.clone()).await?;
        let Some((last, _)) = found.last().copied() else { return Ok((done, longest)) };
        let ids = found.into_iter().map(|(task, _)| task).collect();
        let begun = Instant::now();
        let outcome = store.bulk(action.clone(), ids, at(1_000_000)).await?;
        longest = longest.max(begun.elapsed());
        done += outcome.pools.values().map(|changed| changed.done.len()).sum::<usize>();
        let place = if oldest_first { &mut filter.after } else { &mut filter.before };
        *place = Some(last);
    }
}

fn submission(number: u64, per_context: u64) -> Submission {
    let input = Payload::trusted(format!("{{\"n\":{number},\"text\":\"{}\"}}", "x".repeat(200)));
    let mut new = NewTask::new(pool(), input);
    new.context = number.checked_div(per_context).and_then(|number| ContextId::new(format!("c{number}")).ok());
    new.labels.insert("rare".to_owned(), (number / 100).to_string());
    new.labels.insert("even".to_owned(), if number.is_multiple_of(2) { "yes" } else { "no" }.to_owned());
    let id = TaskId::from_parts(at(number), u128::from(number) << 64);
    let task = Task::accepted(id, new, at(number), Duration::from_secs(60), RetryPolicy::default());
    Submission::new(task, None)
}

fn pool() -> PoolName {
    PoolName::new("coder").expect("a valid name")
}

/// A time, in milliseconds after an arbitrary start.
fn at(millis: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000) + Duration::from_millis(millis)
}

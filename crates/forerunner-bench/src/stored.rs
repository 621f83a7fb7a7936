//! A store without actors: batches of tasks through it, and queues of any length in it.

use std::{sync::Arc, time::Duration};

use forerunner::SystemClock;
use forerunner_core::{
    Clock, NewTask, Next, NodeId, Payload, PoolName, RetryPolicy, Task, TaskId, TaskState, Timestamp,
};
use forerunner_store::{Claim, Settlement, Store, Submission};
use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::{Error, ours::POOL, service::percentiles};

/// Tasks that are written at once where a queue is filled.
const BATCH: usize = 1_000;
/// Tasks of one claim where claims are timed: what a pool of some size asks for.
const CLAIM: usize = 16;
/// Claims that are timed at least, however long they take.
const CLAIMS: usize = 50;

/// A store with a caller's place in it.
pub(crate) struct Caller {
    store: Arc<dyn Store>,
    pool: PoolName,
    node: NodeId,
    /// The next task's number, and the number of the caller.
    next: u128,
}

impl Caller {
    /// The `number`th caller of a store.
    pub(crate) fn new(store: &Arc<dyn Store>, number: usize) -> Result<Self, Error> {
        let pool = PoolName::new(POOL).map_err(forerunner::Error::from)?;
        let node = NodeId::from_parts(now(), 1);
        Ok(Self { store: Arc::clone(store), pool, node, next: (number as u128) << 40 })
    }

    /// Submits tasks.
    pub(crate) async fn submit(&mut self, count: usize) -> Result<(), Error> {
        let first = self.next;
        self.next += count as u128;
        let tasks = (first..self.next).map(|number| Submission::new(task(&self.pool, number), None));
        self.store.enqueue(tasks.collect()).await?;
        Ok(())
    }

    /// Submits tasks until there are so many more.
    pub(crate) async fn fill(&mut self, count: usize) -> Result<(), Error> {
        let mut left = count;
        while left > 0 {
            let batch = left.min(BATCH);
            self.submit(batch).await?;
            left -= batch;
        }
        Ok(())
    }

    async fn claim(&self, limit: usize) -> Result<Vec<Task>, Error> {
        let (now, pool) = (now(), self.pool.clone());
        let claim =
            Claim { pool, node: self.node, limit, starts: usize::MAX, now, lease_until: now + Duration::from_secs(15) };
        Ok(self.store.claim(claim).await?)
    }

    async fn settle(&self, claimed: Vec<Task>) -> Result<u64, Error> {
        let settled = claimed.into_iter().map(|task| {
            Settlement::new(
                task.id,
                task.epoch,
                now(),
                Next::Finish { state: TaskState::Succeeded, output: Some(task.input), error: None },
            )
        });
        let answers = self.store.settle(settled.collect()).await?;
        Ok(answers.iter().filter(|answer| answer.is_ok()).count() as u64)
    }

    /// Submits, claims and settles batches until the time given; counts tasks.
    pub(crate) async fn cycle(&mut self, batch: usize, until: Instant) -> Result<u64, Error> {
        let mut done = 0;
        while Instant::now() < until {
            self.submit(batch).await?;
            done += self.settle(self.claim(batch).await?).await?;
        }
        Ok(done)
    }

    /// The median and the 99th percentile of claims, in milliseconds. What is claimed is settled and made up for, so that
    /// the queue stays as long as it is.
    pub(crate) async fn time_claims(&mut self, sample: Duration) -> Result<Vec<f64>, Error> {
        let mut millis = Vec::new();
        let until = Instant::now() + sample;
        while millis.len() < CLAIMS || Instant::now() < until {
            let begun = Instant::now();
            let claimed = self.claim(CLAIM).await?;
            millis.push(begun.elapsed().as_secs_f64() * 1e3);
            if claimed.len() != CLAIM {
                return Err(Error::Wrong { who: "the store", what: format!("{} tasks of {CLAIM}", claimed.len()) });
            }
            self.settle(claimed).await?;
            self.submit(CLAIM).await?;
        }
        Ok(percentiles(millis).to_vec())
    }
}

/// Tasks per second with `in_flight` of them under way, in batches of some callers: one batch is made durable while the
/// others are gathered.
pub(crate) async fn throughput(
    store: &Arc<dyn Store>,
    callers: usize,
    in_flight: usize,
    warm_up: Duration,
    sample: Duration,
) -> Result<f64, Error> {
    let mut callers = (0..callers).map(|number| Caller::new(store, number)).collect::<Result<Vec<_>, _>>()?;
    let batch = in_flight / callers.len();
    let mut rate = 0.0;
    for duration in [warm_up, sample] {
        let begun = Instant::now();
        let done = try_join_all(callers.iter_mut().map(|caller| caller.cycle(batch, begun + duration))).await?;
        rate = done.iter().sum::<u64>() as f64 / begun.elapsed().as_secs_f64();
    }
    Ok(rate)
}

fn task(pool: &PoolName, number: u128) -> Task {
    let now = now();
    Task::accepted(
        TaskId::from_parts(now, number),
        NewTask::new(pool.clone(), Payload::trusted(number.to_string())),
        now,
        Duration::from_secs(600),
        RetryPolicy::default(),
    )
}

fn now() -> Timestamp {
    SystemClock.now()
}

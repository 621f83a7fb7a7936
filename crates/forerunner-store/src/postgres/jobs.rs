//! Operations on their way to the writer, and what runs them.

use std::{any::Any, ops::Range};

use forerunner_core::{ContextId, LeaseEpoch, NodeId, PoolName, TaskId, Timestamp};
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{failure::Sql, settle::is_plain_end, submit::is_plain, tx::Tx};
use crate::{
    Beat, Claim, ContextBase, ContextFilter, ContextRead, Look, Rescue, Said, Settlement, Start, StoreError,
    Submission, TaskFilter,
};

/// What is asked of the store.
#[derive(Debug)]
pub(super) enum Ask {
    Enqueue(Vec<Submission>),
    Claim(Claim),
    Look(Look),
    Take(Claim, Vec<TaskId>),
    Settle(Vec<Settlement>),
    Assign(Vec<(TaskId, LeaseEpoch, Start)>),
    Cancel(TaskId, Timestamp),
    Redrive(TaskId, Timestamp),
    Sweep(PoolName, Timestamp),
    Renew(NodeId, Timestamp),
    Beat(Box<Beat>),
    Leases(NodeId, PoolName),
    Leave(NodeId),
    Rescue(Rescue),
    Task(TaskId),
    TasksOf(Vec<TaskId>),
    Tasks(TaskFilter),
    Counts(PoolName),
    Backlog(PoolName),
    Context(ContextRead),
    Contexts(ContextFilter),
    Rebase(Box<ContextBase>),
    ExpireContexts(Timestamp, usize),
    DeleteContext(PoolName, ContextId),
    Say(Vec<Said>),
    Events(TaskId, u64, usize),
    ForgetEvents(Timestamp, usize),
    PutNote(String, Option<String>),
    Note(String),
    Purge(Timestamp, usize),
    Time,
    Check,
}

/// An answer of the type that belongs to the question.
pub(super) type Answer = Box<dyn Any + Send>;

/// A question with where its answer goes.
pub(super) struct Job {
    pub ask: Ask,
    pub reply: oneshot::Sender<Result<Answer, StoreError>>,
}

/// What an operation that takes several statements weighs, in tasks that take a share of one.
const SEVERAL_STATEMENTS: usize = 16;

/// Most statements that are sent together: past this, ever more of them wait for the same turn.
const SENT_TOGETHER: usize = 16;

impl Job {
    /// Whether it may be forgotten when the database server crashes: what a claim gave out is then claimed again, under an
    /// epoch that the clock makes greater, and nobody counts on the rest. Reads have nothing to forget.
    pub fn is_forgettable(&self) -> bool {
        use Ask::{
            Assign, Backlog, Claim, Context, Counts, Events, Leases, Look, Note, Renew, Take, Task, Tasks, TasksOf,
        };
        let asks = matches!(
            &self.ask,
            Task(_) | TasksOf(_) | Tasks(_) | Counts(_) | Backlog(_) | Leases(..) | Events(..) | Context(..) | Look(_)
        );
        asks || matches!(&self.ask, Claim(_) | Take(..) | Assign(_) | Renew(..) | Note(_) | Ask::Time)
    }

    /// Whether it finds its tasks one by one through an index, however few there seem to be.
    pub fn walks_an_index(&self) -> bool {
        matches!(&self.ask, Ask::Claim(_) | Ask::Take(..) | Ask::Look(_) | Ask::Settle(_) | Ask::Assign(_))
    }

    /// Whether it is one statement as a rule, and no other of its group has to be over before.
    fn is_one_statement(&self) -> bool {
        match &self.ask {
            Ask::Enqueue(batch) => batch.iter().all(is_plain),
            Ask::Settle(batch) => batch.iter().all(is_plain_end),
            Ask::Claim(_) | Ask::Assign(_) => true,
            _ => false,
        }
    }

    /// How much work it is: 1 for a task that is written along with others.
    pub fn weight(&self) -> usize {
        match &self.ask {
            Ask::Enqueue(batch) => {
                let weights = batch.iter().map(|one| if is_plain(one) { 1 } else { SEVERAL_STATEMENTS });
                weights.sum::<usize>().max(1)
            }
            Ask::Settle(batch) => batch.len().max(1),
            _ => SEVERAL_STATEMENTS,
        }
    }
}

impl Tx<'_> {
    /// Runs operations in order; those of one kind that follow each other as one. If each is one statement, they are sent
    /// together: the server runs them in the order in which they are sent.
    pub async fn run_all(&self, jobs: &[Job]) -> Sql<Vec<Answer>> {
        let is_alike = |a: &Job, b: &Job| {
            matches!((&a.ask, &b.ask), (Ask::Enqueue(_), Ask::Enqueue(_)) | (Ask::Settle(_), Ask::Settle(_)))
        };
        let runs: Vec<_> = jobs.chunk_by(is_alike).collect();
        let mut answers = Vec::with_capacity(jobs.len());
        if runs.len() <= SENT_TOGETHER && jobs.iter().all(Job::is_one_statement) {
            // Polled in this order, and each sends its statement when it is polled first.
            let all: Vec<Sql<Vec<Answer>>> = join_all(runs.into_iter().map(|run| self.run_alike(run))).await;
            for some in all {
                answers.extend(some?);
            }
        } else {
            for run in runs {
                answers.extend(self.run_alike(run).await?);
            }
        }
        Ok(answers)
    }

    async fn run_alike(&self, run: &[Job]) -> Sql<Vec<Answer>> {
        match &run[0].ask {
            Ask::Enqueue(_) => self.enqueue_all(run).await,
            Ask::Settle(_) => self.settle_all(run).await,
            ask => Ok(vec![self.run_one(ask).await?]),
        }
    }

    async fn enqueue_all(&self, jobs: &[Job]) -> Sql<Vec<Answer>> {
        let parts = jobs.iter().map(|job| if let Ask::Enqueue(batch) = &job.ask { &batch[..] } else { &[] });
        let (all, ranges) = joined(parts);
        Ok(divided(self.enqueue(&all).await?, ranges))
    }

    async fn settle_all(&self, jobs: &[Job]) -> Sql<Vec<Answer>> {
        let parts = jobs.iter().map(|job| if let Ask::Settle(batch) = &job.ask { &batch[..] } else { &[] });
        let (all, ranges) = joined(parts);
        Ok(divided(self.settle(&all).await?, ranges))
    }

    async fn run_one(&self, ask: &Ask) -> Sql<Answer> {
        Ok(match ask {
            Ask::Enqueue(batch) => Box::new(self.enqueue(&batch.iter().collect::<Vec<_>>()).await?),
            Ask::Settle(batch) => Box::new(self.settle(&batch.iter().collect::<Vec<_>>()).await?),
            Ask::Claim(claim) => Box::new(self.claim(claim).await?),
            Ask::Look(look) => Box::new(self.look(look).await?),
            Ask::Take(claim, tasks) => Box::new(self.take(claim, tasks).await?),
            Ask::Assign(assignments) => Box::new(self.assign(assignments).await?),
            Ask::Cancel(task, now) => Box::new(self.cancel(*task, *now).await?),
            Ask::Redrive(task, now) => Box::new(self.redrive(*task, *now).await?),
            Ask::Sweep(pool, now) => Box::new(self.sweep(pool, *now).await?),
            Ask::Renew(node, until) => Box::new(self.heartbeat(*node, *until).await?),
            Ask::Beat(beat) => Box::new(self.take_beat(beat).await?),
            Ask::Leases(node, pool) => Box::new(Some(self.leases(*node, pool).await?)),
            Ask::Leave(node) => Box::new(self.forget_node(*node).await?),
            Ask::Rescue(rescue) => Box::new(self.rescue(rescue).await?),
            Ask::Task(task) => Box::new(self.task(*task).await?),
            Ask::TasksOf(tasks) => Box::new(self.tasks_of(tasks).await?),
            Ask::Tasks(filter) => Box::new(self.tasks(filter).await?),
            Ask::Counts(pool) => Box::new(self.counts(pool).await?),
            Ask::Backlog(pool) => Box::new(self.backlog(pool).await?),
            Ask::Context(read) => Box::new(self.context(read).await?),
            Ask::Contexts(filter) => Box::new(self.contexts(filter).await?),
            Ask::Rebase(base) => Box::new(self.rebase(base).await?),
            Ask::ExpireContexts(before, limit) => Box::new(self.expire_contexts(*before, *limit).await?),
            Ask::DeleteContext(pool, context) => Box::new(self.delete_context(pool, context).await?),
            Ask::Say(said) => Box::new(self.say(said).await?),
            Ask::Events(task, after, limit) => Box::new(self.events(*task, *after, *limit).await?),
            Ask::ForgetEvents(before, limit) => Box::new(self.forget_events(*before, *limit).await?),
            Ask::PutNote(key, text) => Box::new(self.put_note(key, text.as_deref()).await?),
            Ask::Note(key) => Box::new(self.note(key).await?),
            Ask::Purge(before, limit) => Box::new(self.purge(*before, *limit).await?),
            Ask::Time => Box::new(self.time().await?),
            Ask::Check => Box::new(self.beat().await?),
        })
    }
}

/// All entries of all parts, and where each part lies.
fn joined<'a, T>(parts: impl Iterator<Item = &'a [T]>) -> (Vec<&'a T>, Vec<Range<usize>>) {
    let (mut all, mut ranges) = (Vec::new(), Vec::new());
    for part in parts {
        ranges.push(all.len()..all.len() + part.len());
        all.extend(part);
    }
    (all, ranges)
}

/// One answer for each part.
fn divided<T: Send + 'static>(all: Vec<T>, ranges: Vec<Range<usize>>) -> Vec<Answer> {
    let mut all = all.into_iter();
    let parts = ranges.into_iter().map(|range| Box::new(all.by_ref().take(range.len()).collect::<Vec<_>>()) as Answer);
    parts.collect()
}

//! Operations on their way to the writer, and what runs them.

use std::{any::Any, ops::Range};

use forerunner_core::{AgentId, ContextId, LeaseEpoch, NodeId, PoolName, TaskId, Timestamp};
use tokio::sync::oneshot;

use super::{failure::Sql, submit::is_plain, tx::Tx};
use crate::{
    Beat, Claim, ContextBase, ContextFilter, ContextRead, Look, Rescue, Said, Settlement, StoreError, Submission,
    TaskFilter,
};

/// What is asked of the store.
#[derive(Debug)]
pub(super) enum Ask {
    Enqueue(Vec<Submission>),
    Claim(Claim),
    Look(Look),
    Take(Claim, Vec<TaskId>),
    Settle(Vec<Settlement>),
    Assign(Vec<(TaskId, LeaseEpoch, AgentId)>),
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
    /// Runs operations in order; those of one kind that follow each other as one.
    pub async fn run_all(&self, jobs: &[Job]) -> Sql<Vec<Answer>> {
        let mut answers = Vec::with_capacity(jobs.len());
        for run in jobs.chunk_by(|a, b| {
            matches!((&a.ask, &b.ask), (Ask::Enqueue(_), Ask::Enqueue(_)) | (Ask::Settle(_), Ask::Settle(_)))
        }) {
            match &run[0].ask {
                Ask::Enqueue(_) => answers.extend(self.enqueue_all(run).await?),
                Ask::Settle(_) => answers.extend(self.settle_all(run).await?),
                ask => answers.push(self.run_one(ask).await?),
            }
        }
        Ok(answers)
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

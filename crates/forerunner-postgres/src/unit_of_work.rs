//! A group of operations as one transaction: in which of three ways they are sent, and how far they came.

use std::{collections::HashSet, ops::Range};

use forerunner_core::TaskId;
use forerunner_store::{Settlement, StoreError, Submission};
use futures_util::future::join_all;

use crate::{
    failure::{Fault, KIND, Sql, ends_connection, unavailable},
    jobs::{Answer, Ask, Outcome},
    tx::Tx,
};

/// Most statements that are sent together: past this, ever more of them wait for the same turn.
const SENT_TOGETHER: usize = 16;

/// How far a group came.
pub(crate) enum Failure {
    /// Nothing of it is stored.
    Undone(Fault),
    /// The same, and the connection is not to be used again.
    Broken(Fault),
    /// The connection broke, or was too slow, once the commit was sent: it may be stored.
    Unknown(Fault),
    /// There was no connection.
    NotBegun(StoreError),
}

impl Failure {
    /// What a fault of a statement means when the commit was sent behind it, or is part of it.
    ///
    /// If the server itself said no, it did not commit. Where a session is `ones_own`, it says in order what it does, so the last it
    /// says is said before the commit as well; a pooler that lost its server knows nothing of what that did.
    fn of_statement(fault: Fault, ones_own: bool) -> Self {
        match &fault {
            Fault::Engine(error) if error.code().is_some() && (ones_own || !ends_connection(error)) => {
                Self::Undone(fault)
            }
            _ => Self::Unknown(fault),
        }
    }

    /// What a fault of the commit means. The last that a server says before it ends a session may come after it has committed: when
    /// it logs how long that took.
    fn of_commit(fault: Fault) -> Self {
        Self::of_statement(fault, false)
    }

    pub fn explain(&self) -> StoreError {
        match self {
            Self::Undone(fault) | Self::Broken(fault) => fault.explain(),
            Self::NotBegun(error) => error.clone(),
            Self::Unknown(fault) => StoreError::OutcomeUnknown { store: KIND, reason: fault.reason() },
        }
    }

    /// Whether the database said nothing for as long as it may.
    pub const fn is_silence(&self) -> bool {
        matches!(self, Self::Undone(fault) | Self::Broken(fault) | Self::Unknown(fault) if matches!(fault, Fault::Slow(_)))
    }

    /// Whether the connection broke before anything was stored, so that the same can be done over another one.
    pub fn is_broken_off(&self) -> bool {
        match self {
            Self::NotBegun(_) => true,
            Self::Undone(fault) | Self::Broken(fault) => fault.ends_connection() && !self.is_silence(),
            Self::Unknown(_) => false,
        }
    }

    /// Whether the connection may be used again.
    pub fn leaves_connection(&self) -> bool {
        matches!(self, Self::Undone(fault) if !fault.ends_connection())
    }
}

/// Operations of one kind that follow each other, which are run as one.
fn runs<'a, 'b>(asks: &'a [&'b Ask]) -> Vec<&'a [&'b Ask]> {
    let is_alike =
        |a: &&Ask, b: &&Ask| matches!((a, b), (Ask::Enqueue(_), Ask::Enqueue(_)) | (Ask::Settle(_), Ask::Settle(_)));
    asks.chunk_by(is_alike).collect()
}

/// How many statements operations are, if each that runs together is one and no answer has to be known before another: then
/// they, and the commit, can be sent at once.
pub(crate) fn statements(asks: &[&Ask]) -> Option<usize> {
    let runs = runs(asks);
    let is_one = |run: &&[&Ask]| {
        let is_distinct = match run[0] {
            Ask::Enqueue(_) => are_distinct(submissions(run).0.into_iter().map(|one| one.task.id)),
            Ask::Settle(_) => are_distinct(settlements(run).0.into_iter().map(|one| one.task)),
            _ => true,
        };
        is_distinct && run.iter().all(|ask| ask.is_one_statement())
    };
    let are_sent_together = runs.len() <= SENT_TOGETHER && runs.iter().all(is_one);
    are_sent_together.then_some(runs.len())
}

fn are_distinct(mut tasks: impl Iterator<Item = TaskId>) -> bool {
    let mut seen = HashSet::new();
    tasks.all(|task| seen.insert(task))
}

fn submissions<'a>(asks: &[&'a Ask]) -> (Vec<&'a Submission>, Vec<Range<usize>>) {
    joined(asks.iter().map(|ask| if let Ask::Enqueue(batch) = ask { &batch[..] } else { &[] }))
}

fn settlements<'a>(asks: &[&'a Ask]) -> (Vec<&'a Settlement>, Vec<Range<usize>>) {
    joined(asks.iter().map(|ask| if let Ask::Settle(batch) = ask { &batch[..] } else { &[] }))
}

impl Tx<'_> {
    /// Runs one statement without any other. It is committed when it is answered.
    pub async fn run_alone(&self, asks: &[&Ask]) -> Result<Vec<Outcome>, Failure> {
        let answered = self.patiently(self.run_all(asks)).await.map_err(Failure::Unknown)?;
        answered.map_err(|fault| Failure::of_statement(fault, true))
    }

    /// Sends a transaction with its commit, and waits for all answers.
    pub async fn run_at_once(&self, begin: &str, asks: &[&Ask]) -> Result<Vec<Outcome>, Failure> {
        // Polled in this order, and each sends what it has when it is polled first.
        let all = async { tokio::join!(self.send(begin), self.run_all(asks), self.send("COMMIT")) };
        let (begun, outcomes, committed) = self.patiently(all).await.map_err(Failure::Unknown)?;
        if let Err(error) = begun {
            // If that was the last the server said, nothing was done. Else what was sent behind it was.
            let nothing = error.code().is_some() && ends_connection(&error) && self.link.has_session;
            let fault = Fault::Engine(error);
            return Err(if nothing { Failure::NotBegun(fault.explain()) } else { Failure::Unknown(fault) });
        }
        let outcomes = outcomes.map_err(|fault| Failure::of_statement(fault, self.link.has_session))?;
        committed.map_err(|error| Failure::of_commit(Fault::Engine(error)))?;
        Ok(outcomes)
    }

    /// Runs a transaction in which one thing may follow from another.
    pub async fn run_stepwise(&self, asks: &[&Ask]) -> Result<Vec<Outcome>, Failure> {
        let outcomes = match self.patiently(self.run_all(asks)).await.and_then(|answered| answered) {
            Ok(outcomes) => outcomes,
            Err(Fault::NotBegun(why)) => return Err(Failure::NotBegun(unavailable(why))),
            Err(fault @ Fault::Slow(_)) => return Err(Failure::Undone(fault)),
            Err(fault @ Fault::Astray(_)) => return Err(Failure::Unknown(fault)),
            Err(fault) => {
                let undone = self.patiently(self.send("ROLLBACK")).await;
                return Err(if matches!(undone, Ok(Ok(()))) { Failure::Undone(fault) } else { Failure::Broken(fault) });
            }
        };
        if self.take_opening().is_some() {
            // Nothing was asked of the database.
            return Ok(outcomes);
        }
        let committed = self.patiently(self.send("COMMIT")).await.map_err(Failure::Unknown)?;
        committed.map_err(|error| Failure::of_commit(Fault::Engine(error)))?;
        Ok(outcomes)
    }

    /// Runs operations in order; those of one kind that follow each other as one. If each is one statement, they are sent
    /// together: the server runs them in the order in which they are sent.
    async fn run_all(&self, asks: &[&Ask]) -> Sql<Vec<Outcome>> {
        let runs = runs(asks);
        let mut outcomes = Vec::with_capacity(asks.len());
        if runs.len() <= SENT_TOGETHER && asks.iter().all(|ask| ask.is_one_statement()) {
            // Polled in this order, and each sends its statement when it is polled first.
            let all: Vec<Sql<Vec<Outcome>>> = join_all(runs.into_iter().map(|run| self.run_alike(run))).await;
            for some in all {
                outcomes.extend(some?);
            }
        } else {
            for run in runs {
                outcomes.extend(self.run_alike(run).await?);
            }
        }
        Ok(outcomes)
    }

    async fn run_alike(&self, run: &[&Ask]) -> Sql<Vec<Outcome>> {
        match run {
            [Ask::Enqueue(_), ..] => {
                let (all, ranges) = submissions(run);
                Ok(divided(self.enqueue(&all).await?, ranges, Outcome::Enqueued))
            }
            [Ask::Settle(_), ..] => {
                let (all, ranges) = settlements(run);
                Ok(divided(self.settle(&all).await?, ranges, Outcome::Settled))
            }
            others => {
                let mut outcomes = Vec::with_capacity(others.len());
                for ask in others {
                    outcomes.push(self.run_one(ask).await?);
                }
                Ok(outcomes)
            }
        }
    }

    async fn run_one(&self, ask: &Ask) -> Sql<Outcome> {
        let answer: Answer = match ask {
            Ask::Enqueue(batch) => {
                return Ok(Outcome::Enqueued(self.enqueue(&batch.iter().collect::<Vec<_>>()).await?));
            }
            Ask::Settle(batch) => return Ok(Outcome::Settled(self.settle(&batch.iter().collect::<Vec<_>>()).await?)),
            Ask::Keyed(pool, key) => Box::new(self.keyed(pool, key).await?),
            Ask::Claim(claim) => Box::new(self.claim(claim).await?),
            Ask::Look(look) => Box::new(self.look(look).await?),
            Ask::Take(claim, tasks) => Box::new(self.take(claim, tasks).await?),
            Ask::Assign(assignments) => Box::new(self.assign(assignments).await?),
            Ask::Cancel(task, now) => Box::new(self.cancel(*task, *now).await?),
            Ask::Redrive(task, now) => Box::new(self.redrive(*task, *now).await?),
            Ask::Update(task, change, now) => Box::new(self.update(*task, *change, *now).await?),
            Ask::Sweep(pool, now) => Box::new(self.sweep(pool, *now).await?),
            Ask::Renew(node, until) => Box::new(self.heartbeat(*node, *until).await?),
            Ask::Beat(beat) => Box::new(self.take_beat(beat).await?),
            Ask::Leases(node, pool) => Box::new(Some(self.leases(*node, pool).await?)),
            Ask::Leave(node) => Box::new(self.forget_node(*node).await?),
            Ask::Rescue(rescue) => Box::new(self.rescue(rescue).await?),
            Ask::Attempts(task) => Box::new(self.attempts(*task).await?),
            Ask::Task(task) => Box::new(self.task(*task).await?),
            Ask::TasksOf(tasks) => Box::new(self.tasks_of(tasks).await?),
            Ask::Tasks(filter) => Box::new(self.tasks(filter).await?),
            Ask::Select(filter) => Box::new(self.select(filter).await?),
            Ask::Bulk(action, tasks, now) => Box::new(self.bulk(*action, tasks, *now).await?),
            Ask::Counts(pool) => Box::new(self.counts(pool).await?),
            Ask::PoolsWithTasks => Box::new(self.pools_with_tasks().await?),
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
            Ask::SetAside(unread) => Box::new((self.set_aside(unread).await?, self.count_damaged().await?)),
        };
        Ok(Outcome::Done(answer))
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

/// One outcome for each part.
fn divided<T>(all: Vec<T>, ranges: Vec<Range<usize>>, outcome: fn(Vec<T>) -> Outcome) -> Vec<Outcome> {
    let mut all = all.into_iter();
    ranges.into_iter().map(|range| outcome(all.by_ref().take(range.len()).collect())).collect()
}

//! Operations on their way to the writer, and what runs them.

use std::{any::Any, collections::HashSet, ops::Range};

use forerunner_core::{
    ContextId, ErrorKind, IdempotencyKey, LeaseEpoch, Next, NodeId, PoolName, TaskError, TaskId, TaskState, Timestamp,
};
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{damaged::Unread, failure::Sql, settle::is_plain_end, submit::is_plain, tx::Tx};
use crate::{
    Beat, BulkAction, Claim, ContextBase, ContextFilter, ContextRead, Enqueued, LeaseLost, Look, Refusal, Rescue, Said,
    Settled, Settlement, Start, StoreError, Submission, TaskChange, TaskFilter, damage::Damage,
};

/// What is asked of the store.
#[derive(Debug)]
pub(super) enum Ask {
    Enqueue(Vec<Submission>),
    Keyed(PoolName, IdempotencyKey),
    Claim(Claim),
    Look(Look),
    Take(Claim, Vec<TaskId>),
    Settle(Vec<Settlement>),
    Assign(Vec<(TaskId, LeaseEpoch, Start)>),
    Cancel(TaskId, Timestamp),
    Redrive(TaskId, Timestamp),
    Update(TaskId, TaskChange, Timestamp),
    Sweep(PoolName, Timestamp),
    Renew(NodeId, Timestamp),
    Beat(Box<Beat>),
    Leases(NodeId, PoolName),
    Leave(NodeId),
    Rescue(Rescue),
    Task(TaskId),
    Attempts(TaskId),
    TasksOf(Vec<TaskId>),
    Tasks(TaskFilter),
    Select(TaskFilter),
    Bulk(BulkAction, Vec<TaskId>, Timestamp),
    Counts(PoolName),
    PoolsWithTasks,
    Backlog(PoolName),
    InputBytes(PoolName),
    ContextBytes(PoolName),
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
    /// Asked by the writer itself.
    SetAside(Vec<Unread>),
}

/// An answer of the type that belongs to the question.
pub(super) type Answer = Box<dyn Any + Send>;

/// A question with where its answer goes.
pub(super) struct Job {
    pub ask: Ask,
    /// How many operations that begin tasks have to be over before it.
    pub after: u64,
    pub reply: oneshot::Sender<Result<Answer, StoreError>>,
}

/// What an operation that takes several statements weighs, in tasks that take a share of one.
const SEVERAL_STATEMENTS: usize = 16;

/// Most statements that are sent together: past this, ever more of them wait for the same turn.
const SENT_TOGETHER: usize = 16;

impl Ask {
    /// Whether it may be forgotten when the database server crashes: what a claim gave out is then claimed again, under an
    /// epoch that the clock makes greater, and nobody counts on the rest. Reads have nothing to forget.
    pub fn is_forgettable(&self) -> bool {
        use Ask::{Assign, Claim, Renew, Take};
        self.only_reads() || matches!(self, Claim(_) | Take(..) | Assign(_) | Renew(..))
    }

    /// Whether it changes nothing, so that it may be asked twice.
    pub fn only_reads(&self) -> bool {
        use Ask::{
            Attempts, Backlog, Context, ContextBytes, Contexts, Counts, Events, InputBytes, Leases, Look, Note,
            PoolsWithTasks, Select, Task, Tasks, TasksOf, Time,
        };
        matches!(self, Task(_) | TasksOf(_) | Tasks(_) | Counts(_) | Backlog(_) | Leases(..) | Events(..) | Context(..))
            || matches!(
                self,
                InputBytes(_)
                    | ContextBytes(_)
                    | Attempts(_)
                    | Contexts(_)
                    | Look(_)
                    | Note(_)
                    | PoolsWithTasks
                    | Select(_)
                    | Time
            )
    }

    /// Whether it finds its tasks one by one through an index, however few there seem to be.
    pub fn walks_an_index(&self) -> bool {
        use Ask::{Assign, Backlog, Claim, Leases, Look, PoolsWithTasks, Rescue, Settle, Take};
        matches!(self, Claim(_) | Take(..) | Look(_) | Settle(_) | Assign(_))
            || matches!(self, Rescue(_) | Leases(..) | Backlog(_) | PoolsWithTasks)
    }

    /// Whether it may take so long that nothing is to wait for the locks of its group: it reads past what a vacuum left.
    pub fn is_long(&self) -> bool {
        matches!(self, Ask::Leases(..) | Ask::Counts(_) | Ask::Select(_) | Ask::InputBytes(_) | Ask::ContextBytes(_))
    }

    /// Whether it is one statement as a rule, and no other of its group has to be over before.
    fn is_one_statement(&self) -> bool {
        match self {
            Ask::Enqueue(batch) => batch.iter().all(is_plain),
            Ask::Settle(batch) => batch.iter().all(is_plain_end),
            Ask::Claim(_) | Ask::Assign(_) => true,
            _ => false,
        }
    }

    /// Which lane it is run in, of three: what begins tasks, what ends them and all that may have to be done in the order of the
    /// calls, and what may take a while or comes from a clock.
    pub fn lane(&self) -> usize {
        use Ask::{
            Beat, Check, Claim, ContextBytes, Counts, Enqueue, ExpireContexts, ForgetEvents, InputBytes, Leases, Leave,
            PoolsWithTasks, Purge, Renew, Select, Sweep, Time,
        };
        match self {
            Claim(_) => 1,
            Enqueue(batch) if batch.iter().all(is_plain) => 1,
            Beat(_) | Renew(..) | Leave(_) | Sweep(..) | Purge(..) => 2,
            ExpireContexts(..) | ForgetEvents(..) | Time | Check | Leases(..) | Counts(_) | PoolsWithTasks
            | Select(_) | InputBytes(_) | ContextBytes(_) => 2,
            _ => 0,
        }
    }

    /// Whether it has to see what was begun before it was asked, in whichever lane.
    pub fn follows(&self) -> bool {
        self.is_long() || (self.lane() == 0 && !matches!(self, Ask::Settle(_) | Ask::Assign(_)))
    }

    /// Its members, each as an operation of its own; none if it has none.
    pub fn members(&self) -> Option<Vec<Self>> {
        match self {
            Self::Enqueue(batch) => Some(batch.iter().map(|one| Self::Enqueue(vec![one.clone()])).collect()),
            Self::Settle(batch) => Some(batch.iter().map(|one| Self::Settle(vec![one.clone()])).collect()),
            Self::Say(batch) => Some(batch.iter().map(|one| Self::Say(vec![one.clone()])).collect()),
            _ => None,
        }
    }

    /// What a single member comes to whose values the database refuses.
    pub fn refused(&self, reason: &str, is_over_limit: bool) -> Refused {
        match self {
            Self::Settle(batch) => {
                let instead = batch.iter().map(|one| refused_end(one, reason, is_over_limit)).collect();
                Refused::Instead(Self::Settle(instead))
            }
            Self::Enqueue(batch) => {
                let refusal = || Refusal::Unstorable { reason: reason.to_owned() };
                Refused::Answer(Outcome::Enqueued(batch.iter().map(|_| Some(Err(refusal()))).collect()))
            }
            _ => Refused::Answer(Outcome::Done(Box::new(()))),
        }
    }

    /// How much work it is: 1 for a task that is written along with others.
    pub fn weight(&self) -> usize {
        match self {
            Ask::Enqueue(batch) => {
                let weights = batch.iter().map(|one| if is_plain(one) { 1 } else { SEVERAL_STATEMENTS });
                weights.sum::<usize>().max(1)
            }
            Ask::Settle(batch) => batch.len().max(1),
            _ => SEVERAL_STATEMENTS,
        }
    }
}

/// What stands for a member that the database refuses.
pub(super) enum Refused {
    Answer(Outcome),
    Instead(Ask),
}

/// The end of an attempt whose result the database refuses, or whose other error it does.
fn refused_end(settlement: &Settlement, reason: &str, is_over_limit: bool) -> Settlement {
    let kind = if is_over_limit { ErrorKind::TooLarge } else { ErrorKind::AgentError };
    // In characters that every database has.
    let reason: String = reason.chars().filter(|c| c.is_ascii() && !c.is_ascii_control()).collect();
    let error = Some(TaskError::new(kind, format!("the database refuses the result of the attempt: {reason}")));
    let next = Next::Finish { state: TaskState::Failed, output: None, error };
    Settlement { next, context: None, context_cost: None, ..settlement.clone() }
}

/// What an operation came to.
pub(super) enum Outcome {
    Done(Answer),
    /// Lists in which none stands for what has to be looked at in a transaction that is not short.
    Enqueued(Vec<Option<Result<Enqueued, Refusal>>>),
    Settled(Vec<Option<Result<Settled, LeaseLost>>>),
}

impl Outcome {
    /// The part of the operation that is open.
    pub fn open(&self, ask: &Ask) -> Option<Ask> {
        fn some<T: Clone, A>(all: &[T], answers: &[Option<A>]) -> Option<Vec<T>> {
            let open = all.iter().zip(answers).filter(|(_, answer)| answer.is_none());
            let open: Vec<_> = open.map(|(one, _)| one.clone()).collect();
            (!open.is_empty()).then_some(open)
        }
        match (self, ask) {
            (Self::Enqueued(answers), Ask::Enqueue(batch)) => some(batch, answers).map(Ask::Enqueue),
            (Self::Settled(answers), Ask::Settle(batch)) => some(batch, answers).map(Ask::Settle),
            _ => None,
        }
    }

    /// Whether all of it is open.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Done(_) => false,
            Self::Enqueued(answers) => answers.iter().all(Option::is_none),
            Self::Settled(answers) => answers.iter().all(Option::is_none),
        }
    }

    /// Closes what was open.
    pub fn close(&mut self, rest: Self) {
        fn fill<A>(answers: &mut [Option<A>], rest: Vec<Option<A>>) {
            let open = answers.iter_mut().filter(|answer| answer.is_none());
            open.zip(rest).for_each(|(open, answer)| *open = answer);
        }
        match (self, rest) {
            (Self::Enqueued(answers), Self::Enqueued(rest)) => fill(answers, rest),
            (Self::Settled(answers), Self::Settled(rest)) => fill(answers, rest),
            _ => {}
        }
    }

    /// The outcome of an operation from those of its members.
    pub fn joined(members: Vec<Self>) -> Self {
        let mut members = members.into_iter();
        let mut all = members.next().unwrap_or(Self::Enqueued(Vec::new()));
        for member in members {
            match (&mut all, member) {
                (Self::Enqueued(all), Self::Enqueued(more)) => all.extend(more),
                (Self::Settled(all), Self::Settled(more)) => all.extend(more),
                _ => {}
            }
        }
        all
    }

    /// What was set aside, and how many tasks are, if it is about that.
    pub fn set_aside(self) -> Option<(Vec<Damage>, u64)> {
        let Self::Done(answer) = self else { return None };
        answer.downcast().ok().map(|answer| *answer)
    }

    /// The answer, once nothing is open.
    pub fn answer(self) -> Answer {
        match self {
            Self::Done(answer) => answer,
            Self::Enqueued(answers) => Box::new(answers.into_iter().flatten().collect::<Vec<_>>()),
            Self::Settled(answers) => Box::new(answers.into_iter().flatten().collect::<Vec<_>>()),
        }
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
pub(super) fn statements(asks: &[&Ask]) -> Option<usize> {
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
    /// Runs operations in order; those of one kind that follow each other as one. If each is one statement, they are sent
    /// together: the server runs them in the order in which they are sent.
    pub async fn run_all(&self, asks: &[&Ask]) -> Sql<Vec<Outcome>> {
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
            Ask::Bulk(action, tasks, now) => Box::new(self.bulk(action, tasks, *now).await?),
            Ask::Counts(pool) => Box::new(self.counts(pool).await?),
            Ask::PoolsWithTasks => Box::new(self.pools_with_tasks().await?),
            Ask::InputBytes(pool) => Box::new(self.input_bytes(pool).await?),
            Ask::ContextBytes(pool) => Box::new(self.context_bytes(pool).await?),
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

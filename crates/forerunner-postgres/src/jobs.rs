//! Operations on their way to the writer, and what runs them.

use std::any::Any;

use forerunner_core::{
    ContextId, ErrorKind, IdempotencyKey, LeaseEpoch, Next, NodeId, PoolName, TaskError, TaskId, TaskState, Timestamp,
};
use forerunner_store::{
    Beat, BulkAction, Claim, ContextBase, ContextFilter, ContextRead, Enqueued, LeaseLost, Look, Refusal, Rescue, Said,
    Settled, Settlement, Start, StoreError, Submission, TaskChange, TaskFilter, backend::Damage,
};
use tokio::sync::oneshot;

use crate::{settle::is_plain_end, submit::is_plain, unread::Unread};

/// What is asked of the store.
#[derive(Debug)]
pub(crate) enum Ask {
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
pub(crate) type Answer = Box<dyn Any + Send>;

/// A question with where its answer goes.
pub(crate) struct Job {
    pub ask: Ask,
    /// How many operations that begin tasks have to be over before it.
    pub after: u64,
    pub reply: oneshot::Sender<Result<Answer, StoreError>>,
}

/// What an operation that takes several statements weighs, in tasks that take a share of one.
const SEVERAL_STATEMENTS: usize = 16;

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
            Attempts, Backlog, Context, Contexts, Counts, Events, Leases, Look, Note, PoolsWithTasks, Select, Task,
            Tasks, TasksOf, Time,
        };
        matches!(self, Task(_) | TasksOf(_) | Tasks(_) | Counts(_) | Backlog(_) | Leases(..) | Events(..) | Context(..))
            || matches!(self, Attempts(_) | Contexts(_) | Look(_) | Note(_) | PoolsWithTasks | Select(_) | Time)
    }

    /// Whether it finds its tasks one by one through an index, however few there seem to be.
    pub fn walks_an_index(&self) -> bool {
        use Ask::{Assign, Backlog, Claim, Leases, Look, PoolsWithTasks, Rescue, Settle, Take};
        matches!(self, Claim(_) | Take(..) | Look(_) | Settle(_) | Assign(_))
            || matches!(self, Rescue(_) | Leases(..) | Backlog(_) | PoolsWithTasks)
    }

    /// Whether it may take so long that nothing is to wait for the locks of its group: it reads past what a vacuum left.
    pub fn is_long(&self) -> bool {
        matches!(self, Ask::Leases(..) | Ask::Counts(_) | Ask::Select(_))
    }

    /// Whether it is one statement as a rule, and no other of its group has to be over before.
    pub fn is_one_statement(&self) -> bool {
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
            Beat, Check, Claim, Counts, Enqueue, ExpireContexts, ForgetEvents, Leases, Leave, PoolsWithTasks, Purge,
            Renew, Select, Sweep, Time,
        };
        match self {
            Claim(_) => 1,
            Enqueue(batch) if batch.iter().all(is_plain) => 1,
            Beat(_) | Renew(..) | Leave(_) | Sweep(..) | Purge(..) => 2,
            ExpireContexts(..) | ForgetEvents(..) | Time | Check | Leases(..) | Counts(_) | PoolsWithTasks
            | Select(_) => 2,
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
pub(crate) enum Refused {
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
pub(crate) enum Outcome {
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

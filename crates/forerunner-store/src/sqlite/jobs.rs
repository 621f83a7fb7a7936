//! Operations on their way to the writer, and the answers on their way back.

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    failure::{Sql, unavailable},
    tx::Tx,
};
use crate::{StoreError, StoreFuture};

/// What an operation needs of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Accepts new tasks: rejected first when space runs out.
    Admit,
    /// Changes what is stored; answered after the commit.
    Change,
    /// Claims tasks: answered at once, since the task is still queued if a crash loses the claim.
    HandOut,
    /// Needs no transaction.
    Peek,
}

/// How much an operation adds to its group.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weight {
    /// Tasks it touches.
    pub items: usize,
    /// Bytes it carries.
    pub bytes: usize,
}

/// An operation for the writer. It may run more than once: when its group failed through another's fault.
pub(super) trait Job: Send {
    fn kind(&self) -> Kind;
    fn weight(&self) -> Weight;
    /// Runs in the group's transaction and stores the result.
    fn run(&mut self, tx: &mut Tx<'_>) -> Sql<()>;
    /// Answers with what it found, or with the error; only the first answer counts.
    fn answer(&mut self, outcome: Result<(), StoreError>);
    /// Whether it has been answered.
    fn is_answered(&self) -> bool;
    /// Whether it found nothing to hand out.
    fn is_empty(&self) -> bool;
}

/// A verb with its argument.
pub(super) struct Work<I, T> {
    pub kind: Kind,
    pub weight: Weight,
    pub input: I,
    pub verb: fn(&mut Tx<'_>, &I) -> Sql<T>,
    /// Whether an answer hands nothing out.
    pub empty: fn(&T) -> bool,
    found: Option<T>,
    reply: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<I: Send + 'static, T: Send + 'static> Work<I, T> {
    /// A job, and the future of its answer.
    pub fn new(kind: Kind, weight: Weight, input: I, verb: fn(&mut Tx<'_>, &I) -> Sql<T>) -> (Self, StoreFuture<T>) {
        let (reply, answer) = oneshot::channel();
        let work = Self { kind, weight, input, verb, empty: |_| false, found: None, reply: Some(reply) };
        (work, arriving(answer))
    }
}

impl<I: Send, T: Send> Job for Work<I, T> {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn weight(&self) -> Weight {
        self.weight
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Sql<()> {
        self.found = None;
        self.found = Some((self.verb)(tx, &self.input)?);
        Ok(())
    }

    fn answer(&mut self, outcome: Result<(), StoreError>) {
        let Some(reply) = self.reply.take() else { return };
        let answer = outcome.and_then(|()| self.found.take().ok_or_else(|| unavailable("the operation was left out")));
        // Nobody may be waiting: a dropped future does not undo its operation.
        drop(reply.send(answer));
    }

    fn is_answered(&self) -> bool {
        self.reply.is_none()
    }

    fn is_empty(&self) -> bool {
        self.found.as_ref().is_some_and(self.empty)
    }
}

/// A question for a reader.
pub(super) type Query = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Sql<()> + Send>;

/// The answer through a channel.
pub(super) fn arriving<T: Send + 'static>(answer: oneshot::Receiver<Result<T, StoreError>>) -> StoreFuture<T> {
    Box::pin(async move {
        let lost = || unavailable("the thread that would have answered has stopped; start the node again");
        answer.await.unwrap_or_else(|_| Err(lost()))
    })
}

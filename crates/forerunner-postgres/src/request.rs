//! A request to the store, which a writer runs.
//!
//! A group runs again when another node conflicts with it, or when its connection broke before anything was stored. Its
//! requests run one by one when one of them is rejected. So a request can run any number of times: each run replaces
//! the answer of the one before, and the last one is sent once it is committed.

use forerunner_core::TaskId;
use forerunner_store::{AttemptEvent, Settlement, StoreError, Submission};
use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use crate::{
    accept::is_plain,
    batch::{Batch, Parts, ReplyReceiver, ReplySender, store},
    class::{Class, Lane},
    failure::{Sql, unavailable},
    settle::is_plain_end,
    tx::Tx,
    unread::Unread,
};

/// The weight of a request that takes several statements, in tasks that share one.
const SEVERAL_STATEMENTS: usize = 16;

/// A request in progress.
pub(crate) struct Job {
    pub request: Request,
    /// How many requests that begin tasks have to be over before it.
    pub after: u64,
}

/// What is asked of the store.
pub(crate) enum Request {
    /// Run as one with those before and after it.
    Enqueue(Batch<Submission>),
    /// Run as one with those before and after it.
    Settle(Batch<Settlement>),
    Say(Batch<AttemptEvent>),
    /// Asked by the writer itself.
    SetAside(SetAside),
    /// Everything else.
    Call(Class, Box<dyn Call>),
}

/// Tasks to be set aside, then which were, and how many there are.
pub(crate) struct SetAside {
    pub unread: Vec<Unread>,
    pub done: (Vec<(String, String)>, u64),
}

/// A function of the transaction, and the receiver of its answer.
pub(crate) trait Call: Send {
    fn run<'a>(&'a mut self, tx: &'a Tx<'_>) -> LocalBoxFuture<'a, Sql<()>>;

    fn reply(self: Box<Self>, outcome: Result<(), StoreError>);
}

struct Question<F, T> {
    ask: F,
    answer: Option<T>,
    reply: ReplySender<T>,
}

impl<F, T> Call for Question<F, T>
where
    F: AsyncFn(&Tx<'_>) -> Sql<T> + Send,
    T: Send,
{
    fn run<'a>(&'a mut self, tx: &'a Tx<'_>) -> LocalBoxFuture<'a, Sql<()>> {
        Box::pin(async move {
            self.answer = Some((self.ask)(tx).await?);
            Ok(())
        })
    }

    fn reply(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { answer, reply, .. } = *self;
        // Nobody may be waiting: a dropped future does not undo its operation.
        drop(reply.send(outcome.and_then(|()| answer.ok_or_else(|| unavailable("no answer")))));
    }
}

impl Request {
    /// A request that a function of the transaction answers, and the receiver of the answer.
    pub fn call<T: Send + 'static>(
        class: Class,
        ask: impl AsyncFn(&Tx<'_>) -> Sql<T> + Send + 'static,
    ) -> (Self, ReplyReceiver<T>) {
        let (reply, answer) = oneshot::channel();
        (Self::Call(class, Box::new(Question { ask, answer: None, reply })), answer)
    }

    pub const fn class(&self) -> Class {
        match self {
            Self::Enqueue(_) | Self::Say(_) | Self::SetAside(_) => Class::WRITE,
            Self::Settle(_) => Class::SETTLE,
            Self::Call(class, _) => *class,
        }
    }

    /// Its lane. A submission that needs a lookup goes behind the requests before it.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Enqueue(batch) if batch.next().all(is_plain) => Lane::Begins,
            _ => self.class().lane,
        }
    }

    /// Whether it has to see what was begun before it was asked, in whichever lane.
    pub fn follows(&self) -> bool {
        self.class().follows && self.lane() != Lane::Begins
    }

    /// Whether it is one statement, and no other of its group has to be over before.
    pub fn is_one_statement(&self) -> bool {
        match self {
            Self::Enqueue(batch) => batch.next().all(is_plain),
            Self::Settle(batch) => batch.next().all(is_plain_end),
            _ => self.class().is_one_statement,
        }
    }

    /// The tasks that it writes together with others.
    pub fn tasks(&self) -> Vec<TaskId> {
        match self {
            Self::Enqueue(batch) => batch.next().map(|one| one.task.id).collect(),
            Self::Settle(batch) => batch.next().map(|one| one.task).collect(),
            _ => Vec::new(),
        }
    }

    /// How much work it is: 1 for a task that is written along with others.
    pub fn weight(&self) -> usize {
        match self {
            Self::Enqueue(batch) => {
                let weights = batch.next().map(|one| if is_plain(one) { 1 } else { SEVERAL_STATEMENTS });
                weights.sum::<usize>().max(1)
            }
            Self::Settle(batch) => batch.len().max(1),
            _ => SEVERAL_STATEMENTS,
        }
    }

    /// Whether two requests that follow each other are run as one.
    pub const fn is_alike(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Enqueue(_), Self::Enqueue(_)) | (Self::Settle(_), Self::Settle(_)))
    }

    /// Its members; none of a request that has none.
    pub fn batch(&mut self) -> Option<&mut dyn Parts> {
        match self {
            Self::Enqueue(batch) => Some(batch),
            Self::Settle(batch) => Some(batch),
            Self::Say(batch) => Some(batch),
            Self::SetAside(_) | Self::Call(..) => None,
        }
    }

    /// Runs requests that are alike.
    pub async fn run_alike(requests: &mut [&mut Self], tx: &Tx<'_>) -> Sql<()> {
        let (mut submissions, mut settlements) = (Vec::new(), Vec::new());
        for request in requests {
            match request {
                Self::Enqueue(batch) => submissions.push(batch),
                Self::Settle(batch) => settlements.push(batch),
                Self::Say(batch) => store(tx, vec![batch]).await?,
                Self::SetAside(SetAside { unread, done }) => {
                    *done = (tx.set_aside(unread).await?, tx.count_damaged().await?);
                }
                Self::Call(_, call) => call.run(tx).await?,
            }
        }
        if !submissions.is_empty() {
            store(tx, submissions).await?;
        }
        if !settlements.is_empty() {
            store(tx, settlements).await?;
        }
        Ok(())
    }

    /// Answers the caller.
    pub fn reply(self, outcome: Result<(), StoreError>) {
        match self {
            Self::Enqueue(batch) => batch.reply(outcome),
            Self::Settle(batch) => batch.reply(outcome),
            Self::Say(batch) => batch.reply(outcome),
            Self::SetAside(_) => {}
            Self::Call(_, call) => call.reply(outcome),
        }
    }
}

//! What stands beside an actor that runs alone: it keeps the letters that the actor sends.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Addr, Context, Handler};
use forerunner_core::{LeaseEpoch, Outcome, Selection, Task, TaskId};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::PATIENCE;
use crate::{
    batcher::{Batch, BatchSender, Batcher},
    pool::messages::{Configure, Resize},
    queue::messages::{
        Assign, Demand, Nudge, PoolFacts, Select, Selected, SetBaseline, Settle, SettleDone, StopTask, Withdraw,
        Withdrawn,
    },
    status::{Cause, PoolPatch},
};

/// A message that an actor sent to a neighbour.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SentMessage {
    /// The queue gives tasks to the pool.
    Assigned(Vec<Arc<Task>>),
    /// The queue has forgotten `got` of the `asked` slots.
    Withdrawn {
        /// Slots that the pool wanted back.
        asked: usize,
        /// Slots that were still open.
        got: usize,
    },
    /// The queue wants a running task stopped.
    StopTask(TaskId),
    /// The pool can take this many tasks more.
    Demand(usize),
    /// The pool can take this many tasks less.
    Withdraw(usize),
    /// An attempt ended.
    Settled {
        /// Which task.
        task: TaskId,
        /// Under which lease.
        epoch: LeaseEpoch,
        /// How.
        outcome: Outcome,
    },
    /// The pool tells the queue what it must know of it.
    PoolFacts {
        /// It wants to see what waits before tasks are claimed.
        uses_lookahead: bool,
        /// How long an agent takes to start, as measured.
        cold_start: Duration,
        /// How many agents it is to have.
        agents: u32,
    },
    /// The picture has changed.
    Nudge(Cause),
    /// The forecast wants this many agents.
    Resize(u32),
    /// The forecast passes on new bounds.
    Configured(PoolPatch),
    /// The forecast says what is normal now.
    Expected {
        /// Arrivals per second.
        rate_per_s: f64,
        /// Seconds on an agent.
        service_s: f64,
    },
}

/// The letters that an actor has sent, in order.
#[derive(Debug)]
pub(super) struct SentMessages(UnboundedReceiver<SentMessage>);

impl SentMessages {
    /// Waits for the next letter that `pick` takes; others before it are dropped.
    ///
    /// # Panics
    /// When none comes within an hour.
    pub(super) async fn next<T>(&mut self, what: &str, mut pick: impl FnMut(SentMessage) -> Option<T>) -> T {
        let found = async {
            loop {
                let letter = self.0.recv().await.expect("the neighbour lives as long as the actor");
                if let Some(found) = pick(letter) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("an hour passed without {what}"))
    }

    /// Takes the letters that have come so far.
    pub(super) fn take(&mut self) -> Vec<SentMessage> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

/// Plays all neighbours of an actor.
pub(super) struct TestProbe {
    sender: UnboundedSender<SentMessage>,
    settles: Batcher<Settle>,
}

impl TestProbe {
    pub(super) fn start() -> (Addr<Self>, SentMessages) {
        let (sender, letters) = unbounded_channel();
        (Actor::start(Self { sender, settles: Batcher::new() }), SentMessages(letters))
    }

    /// The same with a way in for ended attempts, which travel together.
    pub(super) fn start_settled() -> (Addr<Self>, BatchSender<Settle>, SentMessages) {
        let (sender, letters) = unbounded_channel();
        let settles = Batcher::new();
        let opening = settles.inlet();
        let neighbour = Actor::start(Self { sender, settles });
        let settle = opening.with_reader(neighbour.clone().recipient());
        (neighbour, settle, SentMessages(letters))
    }

    fn keep(&self, letter: SentMessage) {
        // A test that has ended reads no more.
        let _ = self.sender.send(letter);
    }
}

impl Actor for TestProbe {
    type Context = Context<Self>;
}

impl Handler<Assign> for TestProbe {
    type Result = ();

    fn handle(&mut self, Assign { tasks, .. }: Assign, _: &mut Self::Context) {
        self.keep(SentMessage::Assigned(tasks));
    }
}

impl Handler<Select> for TestProbe {
    type Result = Selected;

    /// Takes the first ones, as a pool does to which they are all the same.
    fn handle(&mut self, msg: Select, _: &mut Self::Context) -> Selected {
        let take = msg.tasks.iter().take(msg.limit).map(|task| task.task).collect();
        Selected(Selection { take, ..Selection::default() })
    }
}

impl Handler<PoolFacts> for TestProbe {
    type Result = ();

    fn handle(&mut self, facts: PoolFacts, _: &mut Self::Context) {
        self.keep(SentMessage::PoolFacts {
            uses_lookahead: facts.uses_lookahead,
            cold_start: facts.cold_start,
            agents: facts.agents,
        });
    }
}

impl Handler<Withdrawn> for TestProbe {
    type Result = ();

    fn handle(&mut self, msg: Withdrawn, _: &mut Self::Context) {
        self.keep(SentMessage::Withdrawn { asked: msg.asked, got: msg.got });
    }
}

impl Handler<StopTask> for TestProbe {
    type Result = ();

    fn handle(&mut self, StopTask { task, .. }: StopTask, _: &mut Self::Context) {
        self.keep(SentMessage::StopTask(task));
    }
}

impl Handler<Demand> for TestProbe {
    type Result = ();

    fn handle(&mut self, Demand(slots): Demand, _: &mut Self::Context) {
        self.keep(SentMessage::Demand(slots));
    }
}

impl Handler<Withdraw> for TestProbe {
    type Result = ();

    fn handle(&mut self, Withdraw(slots): Withdraw, _: &mut Self::Context) {
        self.keep(SentMessage::Withdraw(slots));
    }
}

impl Handler<Batch<Settle>> for TestProbe {
    type Result = ();

    fn handle(&mut self, _: Batch<Settle>, _: &mut Self::Context) {
        for Settle { task, epoch, outcome, reply, .. } in self.settles.take() {
            if let Some(reply) = reply {
                reply.do_send(SettleDone { task, result: Ok(()) });
            }
            self.keep(SentMessage::Settled { task, epoch, outcome });
        }
    }
}

impl Handler<Nudge> for TestProbe {
    type Result = ();

    fn handle(&mut self, Nudge(cause): Nudge, _: &mut Self::Context) {
        self.keep(SentMessage::Nudge(cause));
    }
}

impl Handler<Resize> for TestProbe {
    type Result = ();

    fn handle(&mut self, Resize(agents): Resize, _: &mut Self::Context) {
        self.keep(SentMessage::Resize(agents));
    }
}

impl Handler<Configure> for TestProbe {
    type Result = ();

    fn handle(&mut self, Configure(patch): Configure, _: &mut Self::Context) {
        self.keep(SentMessage::Configured(patch));
    }
}

impl Handler<SetBaseline> for TestProbe {
    type Result = ();

    fn handle(&mut self, msg: SetBaseline, _: &mut Self::Context) {
        self.keep(SentMessage::Expected { rate_per_s: msg.rate_per_s, service_s: msg.service_s });
    }
}

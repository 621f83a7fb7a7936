//! The environment of an isolated actor: it records the messages that the actor sends.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Addr, Context, Handler};
use forerunner_core::{LeaseEpoch, Outcome, Selection, Task, TaskId, placement::ReturnChances};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::TIMEOUT;
use crate::{
    batcher::{Batch, BatchSender, Batcher},
    pool::messages::{Configure, Resize, SetReturnChances},
    queue::messages::{
        Assign, Demand, Nudge, PoolFacts, Select, Selected, SetBaseline, Settle, SettleDone, StopTask, Withdraw,
        Withdrawn,
    },
    status::{Cause, PoolPatch},
};

/// A message that an isolated actor sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SentMessage {
    /// The queue assigned tasks to the pool.
    Assigned(Vec<Arc<Task>>),
    /// The queue removed `got` of the `asked` slots.
    Withdrawn {
        /// Slots that the pool withdrew.
        asked: usize,
        /// Slots that were still open.
        got: usize,
    },
    /// The queue stops a running task.
    StopTask(TaskId),
    /// The pool has this many more free slots.
    Demand(usize),
    /// The pool has this many fewer free slots.
    Withdraw(usize),
    /// An attempt ended.
    Settled {
        /// The task.
        task: TaskId,
        /// Its lease.
        epoch: LeaseEpoch,
        /// The outcome.
        outcome: Outcome,
    },
    /// The pool sends its facts to the queue.
    PoolFacts {
        /// Whether the pool selects among the waiting tasks before they are claimed.
        uses_lookahead: bool,
        /// The measured cold start.
        cold_start: Duration,
        /// The number of agents that it should have.
        agents: u32,
    },
    /// The situation has changed.
    Nudge(Cause),
    /// The forecast wants this many agents.
    Resize(u32),
    /// When contexts are wanted again.
    ReturnChances(ReturnChances),
    /// The forecast forwards new bounds.
    Configured(PoolPatch),
    /// The forecast sends the expected load.
    Expected {
        /// Arrivals per second.
        rate_per_s: f64,
        /// Seconds on an agent.
        service_s: f64,
    },
}

/// The messages of an actor, in order.
#[derive(Debug)]
pub(super) struct SentMessages(UnboundedReceiver<SentMessage>);

impl SentMessages {
    /// Waits for the next message that `pick` accepts, and drops those before it.
    ///
    /// # Panics
    /// When there is none within an hour.
    pub(super) async fn next<T>(&mut self, what: &str, mut pick: impl FnMut(SentMessage) -> Option<T>) -> T {
        let found = async {
            loop {
                let message = self.0.recv().await.expect("the neighbour lives as long as the actor");
                if let Some(found) = pick(message) {
                    return found;
                }
            }
        };
        tokio::time::timeout(TIMEOUT, found).await.unwrap_or_else(|_| panic!("an hour passed without {what}"))
    }

    /// Returns the messages so far.
    pub(super) fn take(&mut self) -> Vec<SentMessage> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

/// Plays all actors around the isolated one.
pub(super) struct TestProbe {
    sender: UnboundedSender<SentMessage>,
    settles: Batcher<Settle>,
}

impl TestProbe {
    pub(super) fn start() -> (Addr<Self>, SentMessages) {
        let (sender, sent) = unbounded_channel();
        (Actor::start(Self { sender, settles: Batcher::new() }), SentMessages(sent))
    }

    /// The same with a sender for ended attempts, which are batched.
    pub(super) fn start_settled() -> (Addr<Self>, BatchSender<Settle>, SentMessages) {
        let (sender, sent) = unbounded_channel();
        let settles = Batcher::new();
        let opening = settles.inlet();
        let neighbour = Actor::start(Self { sender, settles });
        let settle = opening.with_reader(neighbour.clone().recipient());
        (neighbour, settle, SentMessages(sent))
    }

    fn record(&self, message: SentMessage) {
        // A test that has ended reads no more messages.
        let _ = self.sender.send(message);
    }
}

impl Actor for TestProbe {
    type Context = Context<Self>;
}

impl Handler<Assign> for TestProbe {
    type Result = ();

    fn handle(&mut self, Assign { tasks, .. }: Assign, _: &mut Self::Context) {
        self.record(SentMessage::Assigned(tasks));
    }
}

impl Handler<Select> for TestProbe {
    type Result = Selected;

    /// Selects the first tasks, as a pool does that has no reason to prefer others.
    fn handle(&mut self, msg: Select, _: &mut Self::Context) -> Selected {
        let take = msg.tasks.iter().take(msg.limit).map(|task| task.task).collect();
        Selected(Selection { take, ..Selection::default() })
    }
}

impl Handler<PoolFacts> for TestProbe {
    type Result = ();

    fn handle(&mut self, facts: PoolFacts, _: &mut Self::Context) {
        self.record(SentMessage::PoolFacts {
            uses_lookahead: facts.uses_lookahead,
            cold_start: facts.cold_start,
            agents: facts.agents,
        });
    }
}

impl Handler<Withdrawn> for TestProbe {
    type Result = ();

    fn handle(&mut self, msg: Withdrawn, _: &mut Self::Context) {
        self.record(SentMessage::Withdrawn { asked: msg.asked, got: msg.got });
    }
}

impl Handler<StopTask> for TestProbe {
    type Result = ();

    fn handle(&mut self, StopTask { task, .. }: StopTask, _: &mut Self::Context) {
        self.record(SentMessage::StopTask(task));
    }
}

impl Handler<Demand> for TestProbe {
    type Result = ();

    fn handle(&mut self, Demand(slots): Demand, _: &mut Self::Context) {
        self.record(SentMessage::Demand(slots));
    }
}

impl Handler<Withdraw> for TestProbe {
    type Result = ();

    fn handle(&mut self, Withdraw(slots): Withdraw, _: &mut Self::Context) {
        self.record(SentMessage::Withdraw(slots));
    }
}

impl Handler<Batch<Settle>> for TestProbe {
    type Result = ();

    fn handle(&mut self, _: Batch<Settle>, _: &mut Self::Context) {
        for Settle { task, epoch, outcome, reply, .. } in self.settles.take() {
            if let Some(reply) = reply {
                reply.do_send(SettleDone { task, result: Ok(()) });
            }
            self.record(SentMessage::Settled { task, epoch, outcome });
        }
    }
}

impl Handler<Nudge> for TestProbe {
    type Result = ();

    fn handle(&mut self, Nudge(cause): Nudge, _: &mut Self::Context) {
        self.record(SentMessage::Nudge(cause));
    }
}

impl Handler<SetReturnChances> for TestProbe {
    type Result = ();

    fn handle(&mut self, SetReturnChances(chances): SetReturnChances, _: &mut Self::Context) {
        self.record(SentMessage::ReturnChances(chances));
    }
}

impl Handler<Resize> for TestProbe {
    type Result = ();

    fn handle(&mut self, Resize(agents): Resize, _: &mut Self::Context) {
        self.record(SentMessage::Resize(agents));
    }
}

impl Handler<Configure> for TestProbe {
    type Result = ();

    fn handle(&mut self, Configure(patch): Configure, _: &mut Self::Context) {
        self.record(SentMessage::Configured(patch));
    }
}

impl Handler<SetBaseline> for TestProbe {
    type Result = ();

    fn handle(&mut self, msg: SetBaseline, _: &mut Self::Context) {
        self.record(SentMessage::Expected { rate_per_s: msg.rate_per_s, service_s: msg.service_s });
    }
}

//! Turns messages into events for [`QueueMachine`] and its actions into store calls.

use std::{sync::Arc, task::Poll, time::Duration};

use super::{
    accept::PendingEnqueue,
    claim_selected::PREFETCH_PAUSE,
    crash_throttle::CrashThrottle,
    messages::{Arrived, AttachQueue, Demand, Enqueue, Nudge, PoolFacts, Settle, Withdraw, Withdrawn},
    prefetch_buffer::PrefetchBuffer,
    prefetch_tuner::PrefetchTuner,
    reconcile::{RECONCILE, Reconciling},
    settle::Settling,
    stats::QueueStats,
    store_health::StoreHealth,
    turn_ends::TurnEnds,
};
use crate::{
    admission::Admission,
    batcher::{BatchSender, Batcher},
    clock::Jitter,
    contexts::{ContextRoom, Prefetcher},
    deps::PoolDeps,
    metrics::QueueMetrics,
};
use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, SpawnHandle, WrapFuture};
use forerunner_core::{DependencyCircuit, IdMap, QueueAction, QueueEvent, QueueMachine, Task, TaskId, Timestamp};
use forerunner_forecast::Cause;
use forerunner_store::{Notification, StoreError, StoreFuture, Submission};
use futures_util::task::noop_waker_ref;

/// Pause before a failed store call is repeated.
pub(super) const STORE_BACKOFF: Duration = Duration::from_millis(100);

/// How long the wiring of a pool's actors may take before the queue tries again.
pub(super) const WIRING: Duration = Duration::from_millis(5);

/// Owns the tasks of one pool: those that wait, those that are leased, those whose end is not stored yet.
///
/// Submissions and settles that arrive close together share one store call, and so one commit. A durable store is fast
/// because of that.
pub(crate) struct QueueActor {
    pub(super) deps: Arc<PoolDeps>,
    pub(super) admission: Arc<Admission>,
    pub(super) room: Arc<ContextRoom>,
    pub(super) prefetcher: Prefetcher,
    /// The pool's newest facts.
    pub(super) facts: PoolFacts,
    pub(super) machine: QueueMachine,
    pub(super) links: Option<AttachQueue>,
    pub(super) submitted: Batcher<Enqueue>,
    pub(super) settled: Batcher<Settle>,
    /// Tasks that a store in this process has accepted.
    pub(super) arrived: Batcher<Arrived>,
    pub(super) incoming: Vec<Submission>,
    /// The same tasks, until the store has accepted them.
    pub(super) arriving: Vec<PendingEnqueue>,
    /// Number of `enqueue` calls in flight.
    pub(super) accepting: usize,
    /// Tasks of those calls that can be claimed once the store has accepted them.
    pub(super) expected: usize,
    /// The queue accepts nothing any more.
    pub(super) closed: bool,
    pub(super) leased: IdMap<TaskId, Arc<Task>>,
    /// Prefetched tasks: leased to this node, and not begun.
    pub(super) prefetched: PrefetchBuffer,
    pub(super) tuner: PrefetchTuner,
    /// The prefetch limit that the machine has.
    pub(super) prefetch_limit: usize,
    /// Known nodes that share the queue; at least 1.
    pub(super) nodes: usize,
    /// Number of calls in flight that release prefetched tasks.
    pub(super) releasing: usize,
    pub(super) settling: Settling,
    pub(super) crash_throttle: CrashThrottle,
    pub(super) turn_ends: TurnEnds,
    pub(super) dependency: DependencyCircuit,
    /// The machine has a limit of the circuit.
    pub(super) is_limited: bool,
    flush_due: bool,
    pub(super) reconciling: Reconciling,
    pub(super) wake: Option<(Timestamp, SpawnHandle)>,
    pub(super) stats: QueueStats,
    pub(super) metrics: QueueMetrics,
    pub(super) jitter: Jitter,
    pub(super) store_health: StoreHealth,
    /// A peek at the contexts of waiting tasks is scheduled.
    pub(super) prefetch_due: bool,
    pub(super) prefetch_pause: Duration,
}

/// What a queue shares with other actors of its pool.
pub(crate) struct QueueDeps {
    pub(crate) pool: Arc<PoolDeps>,
    /// Limits what waits in the queue.
    pub(crate) admission: Arc<Admission>,
    /// Whether the store has room for another context.
    pub(crate) room: Arc<ContextRoom>,
    /// Restores contexts before their tasks begin.
    pub(crate) prefetcher: Prefetcher,
    /// A seed that differs between pools and processes.
    pub(crate) seed: u64,
}

/// The addresses of a started queue.
pub(crate) struct QueueAddrs {
    pub(crate) queue: Addr<QueueActor>,
    pub(crate) submit: BatchSender<Enqueue>,
    pub(crate) settle: BatchSender<Settle>,
    pub(crate) arrived: BatchSender<Arrived>,
}

impl Actor for QueueActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.apply(QueueEvent::Tick, ctx);
        self.prefetch_soon(ctx);
        if self.deps.node.shared {
            ctx.run_interval(RECONCILE, Self::reconcile);
        }
    }
}

impl QueueActor {
    /// Creates a queue whose store has `claimable` tasks, and the next delayed one at `next_due`.
    pub(crate) fn new(deps: QueueDeps, claimable: u64, next_due: Option<Timestamp>) -> Self {
        let QueueDeps { pool: deps, admission, room, prefetcher, seed } = deps;
        Self {
            machine: QueueMachine::new(claimable, next_due),
            links: None,
            submitted: Batcher::new(),
            settled: Batcher::new(),
            arrived: Batcher::new(),
            incoming: Vec::new(),
            arriving: Vec::new(),
            accepting: 0,
            expected: 0,
            closed: false,
            reconciling: Reconciling::default(),
            leased: IdMap::default(),
            prefetched: PrefetchBuffer::default(),
            tuner: PrefetchTuner::default(),
            prefetch_limit: 0,
            nodes: 1,
            releasing: 0,
            settling: Settling::default(),
            crash_throttle: CrashThrottle::default(),
            turn_ends: TurnEnds::default(),
            dependency: DependencyCircuit::new(deps.settings.dependency),
            is_limited: false,
            flush_due: false,
            wake: None,
            stats: QueueStats::new(deps.settings.on_time.within.as_secs_f64()),
            metrics: QueueMetrics::new(&deps.name),
            jitter: Jitter::new(seed),
            store_health: StoreHealth::default(),
            prefetch_due: false,
            prefetch_pause: PREFETCH_PAUSE,
            admission,
            room,
            prefetcher,
            facts: PoolFacts::default(),
            deps,
        }
    }

    /// Starts the queue with `start` and returns its addresses.
    pub(crate) fn start_by(self, start: impl FnOnce(Self) -> Addr<Self>) -> QueueAddrs {
        let (submitted, settled, arrived) = (self.submitted.inlet(), self.settled.inlet(), self.arrived.inlet());
        let queue = start(self);
        QueueAddrs {
            submit: submitted.with_reader(queue.clone().recipient()),
            settle: settled.with_reader(queue.clone().recipient()),
            arrived: arrived.with_reader(queue.clone().recipient()),
            queue,
        }
    }

    /// The only place where this actor's choices become effects.
    pub(super) fn apply(&mut self, event: QueueEvent, ctx: &mut Context<Self>) {
        self.apply_at(self.deps.now(), event, ctx);
    }

    pub(super) fn apply_at(&mut self, now: Timestamp, event: QueueEvent, ctx: &mut Context<Self>) {
        let is_more = matches!(event, QueueEvent::BecameClaimable(count) if count > 0);
        for action in self.machine.step(event, now) {
            match action {
                QueueAction::Claim(limit) => self.claim(limit, ctx),
                QueueAction::Dispatch(count) => self.dispatch_prefetched(count, ctx),
                QueueAction::ReleasePrefetched => self.release_idle(ctx),
                QueueAction::Withdrawn { asked, got } => {
                    if let Some(links) = &self.links {
                        links.withdrawn.do_send(Withdrawn { asked, got });
                    }
                }
                // A closed queue sweeps nothing: its store may belong to another node by now.
                QueueAction::Sweep | QueueAction::Wake(_) if self.closed => {}
                QueueAction::Sweep => self.sweep(ctx),
                QueueAction::Wake(at) => self.wake_at(at, ctx),
            }
        }
        if is_more {
            self.share_work();
        }
    }

    /// Notifies other nodes of tasks for which this node has no free agents.
    fn share_work(&self) {
        if self.deps.node.shared && self.machine.depth() > self.machine.open_slots() as u64 {
            self.deps.node.store.notify(Notification::work(self.deps.name.clone()));
        }
    }

    /// Makes a store call. A store that answers at once is not awaited; any other call runs beside the mailbox.
    pub(super) fn call<T: 'static>(
        &mut self,
        mut call: StoreFuture<T>,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, Result<T, StoreError>, &mut Context<Self>) + 'static,
    ) {
        match call.as_mut().poll(&mut std::task::Context::from_waker(noop_waker_ref())) {
            Poll::Ready(answer) => then(self, answer, ctx),
            Poll::Pending => {
                ctx.spawn(call.into_actor(self).map(then_with(then)));
            }
        }
    }

    /// Sends the batches to the store after the messages that are in the mailbox now.
    pub(super) fn flush_soon(&mut self, ctx: &mut Context<Self>) {
        if !self.flush_due {
            self.flush_due = true;
            ctx.notify(Flush);
        }
    }

    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.now();
        let call = self.deps.node.store.sweep(self.deps.name.clone(), now);
        self.call(call, ctx, move |queue, answer, ctx| match answer {
            Ok(swept) => {
                for task in &swept.promoted {
                    let trigger = queue.stats.arrived(*task, None, now.as_secs_f64());
                    queue.nudge(trigger);
                }
                for (task, _) in &swept.expired {
                    queue.on_ended_waiting(*task, forerunner_core::TaskState::Expired, ctx);
                }
                let gone = swept.expired.iter().filter(|(_, was_claimable)| *was_claimable).count();
                queue.admission.back_out(swept.expired.len(), swept.expired_bytes);
                if gone < swept.expired.len() {
                    // Tasks that waited for an answer were not counted: the next sample counts anew.
                    queue.admission.note_unsure();
                }
                queue.apply(QueueEvent::BecameClaimable(swept.claimable), ctx);
                queue.apply(QueueEvent::Removed(gone), ctx);
                queue.apply(QueueEvent::Swept { next_due: swept.next_due }, ctx);
                queue.check_depth(ctx);
            }
            Err(error) => {
                queue.store_health.note_failure(&queue.deps.name, "the store does not sweep", 0, &error);
                let next_due = Some(queue.deps.now() + STORE_BACKOFF);
                queue.apply(QueueEvent::Swept { next_due }, ctx);
            }
        });
    }

    /// Nudges the forecast at once when tasks wait and no agent is ready.
    pub(super) fn check_depth(&mut self, ctx: &mut Context<Self>) {
        let t = self.deps.now().as_secs_f64();
        let trigger = self.stats.depth(t, self.machine.depth(), self.machine.open_slots());
        self.nudge(trigger);
        self.prefetch_soon(ctx);
        if let Some(due) = self.stats.trigger_due_at() {
            self.wake_at(Timestamp::from_micros((due * 1e6).ceil() as i64), ctx);
        }
    }

    pub(super) fn nudge(&self, cause: Option<Cause>) {
        let Some(cause) = cause else { return };
        if let Some(nudge) = self.links.as_ref().and_then(|links| links.nudge.as_ref()) {
            nudge.do_send(Nudge(cause));
        }
    }

    /// Sets the queue's only timer to the earliest requested wake-up.
    pub(super) fn wake_at(&mut self, at: Timestamp, ctx: &mut Context<Self>) {
        if let Some((earlier, timer)) = self.wake.take() {
            if earlier <= at {
                self.wake = Some((earlier, timer));
                return;
            }
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(at.since(self.deps.now()), |queue, ctx| {
            queue.wake = None;
            queue.steer(ctx);
            queue.apply(QueueEvent::Tick, ctx);
            queue.check_depth(ctx);
        });
        self.wake = Some((at, timer));
    }

    pub(super) fn set_gauges(&self) {
        self.metrics.depth.set(self.machine.depth() as f64);
        self.metrics.waiting.set(self.admission.waiting() as f64);
        self.metrics.running.set(f64::from(self.stats.running()));
        self.metrics.dependency.show(&self.dependency_report());
    }
}

/// Adapts a continuation to the arguments that an actor future passes.
fn then_with<T, F>(then: F) -> impl FnOnce(Result<T, StoreError>, &mut QueueActor, &mut Context<QueueActor>)
where
    F: FnOnce(&mut QueueActor, Result<T, StoreError>, &mut Context<QueueActor>),
{
    move |answer, queue, ctx| then(queue, answer, ctx)
}

/// The queue sends this to itself, to run after the messages that are in the mailbox now.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Flush;

impl Handler<Flush> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: Flush, ctx: &mut Self::Context) {
        self.flush_due = false;
        self.accept(ctx);
        self.settle_pending(ctx);
    }
}

impl Handler<Demand> for QueueActor {
    type Result = ();

    fn handle(&mut self, Demand(slots): Demand, ctx: &mut Self::Context) {
        self.apply(QueueEvent::Demand(slots), ctx);
    }
}

impl Handler<Withdraw> for QueueActor {
    type Result = ();

    fn handle(&mut self, Withdraw(slots): Withdraw, ctx: &mut Self::Context) {
        self.apply(QueueEvent::Withdraw(slots), ctx);
    }
}

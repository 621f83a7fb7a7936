//! Turns messages into events for [`QueueMachine`] and its actions into store calls.

use std::{
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use super::{
    look::PREFETCH_PAUSE,
    messages::{
        Accepted, Assign, AttachQueue, Counted, Demand, Enqueue, Expect, GetQueueStatus, LookForWork, Nudge,
        QueueSample, QueueStatus, Reply, Settle, TakeSample, Withdraw, Withdrawn,
    },
    reconcile::{RECONCILE, Reconciling},
    settle::Settling,
    tally::Tally,
};
use crate::{
    Error,
    clock::Jitter,
    deps::PoolDeps,
    gather::{Gathered, Inbox, Outlet},
    metrics::QueueMetrics,
    status::Cause,
};
use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, SpawnHandle, WrapFuture};
use forerunner_core::{IdMap, QueueAction, QueueEvent, QueueMachine, Task, TaskId, Timestamp};
use forerunner_forecast::Trigger;
use forerunner_store::{Claim, Enqueued, Hints, LEASE, Refusal, StoreError, StoreFuture, Submission};
use futures_util::task::noop_waker_ref;

/// How long a store that failed is left alone before the same call is made again.
pub(super) const STORE_BACKOFF: Duration = Duration::from_millis(100);

/// How long the wiring of a pool's actors may take before the queue looks again.
pub(super) const WIRING: Duration = Duration::from_millis(5);

/// What must be known of a task once the store has it.
struct Arriving {
    task: TaskId,
    submitted_at: Timestamp,
    run_at: Timestamp,
    deadline: Option<Timestamp>,
    reply: Reply,
}

/// Owns the tasks of one pool: what waits, what is leased, what is being settled.
///
/// Submissions and settles that arrive close together go to the store in one call, which is what makes a durable store
/// fast: the calls of one turn of the mailbox share one commit.
pub(crate) struct QueueActor {
    pub(super) deps: Arc<PoolDeps>,
    pub(super) machine: QueueMachine,
    pub(super) links: Option<AttachQueue>,
    submitted: Inbox<Enqueue>,
    pub(super) settled: Inbox<Settle>,
    incoming: Vec<Submission>,
    /// The same tasks, for when they have been accepted.
    arriving: Vec<Arriving>,
    /// Calls under way that accept tasks.
    pub(super) accepting: usize,
    /// Nothing is accepted any more.
    pub(super) closed: bool,
    pub(super) leased: IdMap<TaskId, Arc<Task>>,
    pub(super) settling: Settling,
    flush_due: bool,
    pub(super) reconciling: Reconciling,
    wake: Option<(Timestamp, SpawnHandle)>,
    pub(super) tally: Tally,
    pub(super) metrics: QueueMetrics,
    pub(super) jitter: Jitter,
    /// A look at the contexts of waiting tasks is due.
    pub(super) prefetch_due: bool,
    pub(super) prefetch_pause: Duration,
}

/// The ways to a queue that was started.
pub(crate) struct QueueWays {
    pub(crate) queue: Addr<QueueActor>,
    pub(crate) submit: Outlet<Enqueue>,
    pub(crate) settle: Outlet<Settle>,
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
    /// A queue that finds `claimable` tasks in its store, the next delayed one due at `next_due`.
    pub(crate) fn new(deps: Arc<PoolDeps>, claimable: u64, next_due: Option<Timestamp>) -> Self {
        Self {
            machine: QueueMachine::new(claimable, next_due),
            links: None,
            submitted: Inbox::new(),
            settled: Inbox::new(),
            incoming: Vec::new(),
            arriving: Vec::new(),
            accepting: 0,
            closed: false,
            reconciling: Reconciling::default(),
            leased: IdMap::default(),
            settling: Settling::default(),
            flush_due: false,
            wake: None,
            tally: Tally::new(deps.settings.on_time.within.as_secs_f64()),
            metrics: QueueMetrics::new(&deps.name),
            jitter: Jitter::new(deps.seed),
            prefetch_due: false,
            prefetch_pause: PREFETCH_PAUSE,
            deps,
        }
    }

    /// Starts the queue by `start`; answers with the ways to it.
    pub(crate) fn start_by(self, start: impl FnOnce(Self) -> Addr<Self>) -> QueueWays {
        let (submitted, settled) = (self.submitted.opening(), self.settled.opening());
        let queue = start(self);
        QueueWays {
            submit: submitted.read_by(queue.clone().recipient()),
            settle: settled.read_by(queue.clone().recipient()),
            queue,
        }
    }

    /// The only place where this actor's choices become effects.
    pub(super) fn apply(&mut self, event: QueueEvent, ctx: &mut Context<Self>) {
        let is_more = matches!(event, QueueEvent::Claimable(count) if count > 0);
        for action in self.machine.step(event, self.deps.now()) {
            match action {
                QueueAction::Claim(limit) => self.claim(limit, ctx),
                QueueAction::Withdrawn { asked, got } => {
                    if let Some(links) = &self.links {
                        links.withdrawn.do_send(Withdrawn { asked, got });
                    }
                }
                QueueAction::Sweep => self.sweep(ctx),
                QueueAction::Wake(at) => self.wake_at(at, ctx),
            }
        }
        if is_more {
            self.share_work();
        }
    }

    /// Tells other nodes of work that this one has no agents for just now.
    fn share_work(&self) {
        if self.deps.node.shared && self.machine.depth() > self.machine.open_slots() as u64 {
            self.deps.node.store.tell(Hints::work(self.deps.name.clone()));
        }
    }

    /// Runs a store call: at once if the store answers at once, else beside the mailbox.
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

    /// Sends what has gathered to the store once the mail that is there has been read.
    pub(super) fn flush_soon(&mut self, ctx: &mut Context<Self>) {
        if !self.flush_due {
            self.flush_due = true;
            ctx.notify(Flush);
        }
    }

    fn accept(&mut self, ctx: &mut Context<Self>) {
        if self.incoming.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.incoming);
        let mut arriving = std::mem::take(&mut self.arriving);
        arriving.iter_mut().for_each(|one| one.reply.note_sent());
        self.accepting += 1;
        let call = self.deps.node.store.enqueue(batch);
        self.call(call, ctx, |queue, answer, ctx| {
            queue.accepting -= 1;
            queue.on_accepted(answer, arriving, ctx);
            queue.answer_drains();
        });
    }

    fn on_accepted(
        &mut self,
        answer: Result<Vec<Result<Enqueued, Refusal>>, StoreError>,
        arriving: Vec<Arriving>,
        ctx: &mut Context<Self>,
    ) {
        let answers = match answer {
            Ok(answers) => answers,
            Err(error) => return self.on_not_accepted(&error, arriving),
        };
        let mut claimable = 0;
        for (answer, one) in answers.into_iter().zip(arriving) {
            claimable += usize::from(matches!(answer, Ok(Enqueued::New { claimable: true, .. })));
            let answer = self.on_accepted_one(answer, &one, ctx);
            one.reply.answer(answer);
        }
        self.apply(QueueEvent::Claimable(claimable), ctx);
        self.look_at_depth(ctx);
    }

    fn on_accepted_one(
        &mut self,
        answer: Result<Enqueued, Refusal>,
        task: &Arriving,
        ctx: &mut Context<Self>,
    ) -> Result<Accepted, Error> {
        match answer {
            Ok(Enqueued::New { state, .. }) => {
                self.metrics.submitted.increment(1);
                let t = task.submitted_at.as_secs_f64();
                let delayed = task.run_at > task.submitted_at;
                for due in delayed.then_some(task.run_at).into_iter().chain(task.deadline) {
                    self.apply(QueueEvent::Due(due), ctx);
                }
                let trigger = if delayed { None } else { self.tally.arrived(task.task, t) };
                self.nudge(trigger);
                Ok(Accepted::New { state })
            }
            Ok(Enqueued::Known(known)) => {
                self.deps.admission.leave(1);
                Ok(Accepted::Known(known))
            }
            Err(refusal) => {
                self.deps.admission.leave(1);
                self.metrics.refused("key_reused");
                Err(refusal.into())
            }
        }
    }

    fn on_not_accepted(&self, error: &StoreError, refused: Vec<Arriving>) {
        tracing::error!(pool = %self.deps.name, tasks = refused.len(), %error, "tasks could not be stored");
        self.deps.admission.leave(refused.len());
        for one in refused {
            self.metrics.refused("store");
            one.reply.answer(Err(match error {
                // It was closed before it was asked.
                StoreError::Closed { .. } => Error::ShuttingDown,
                error => error.clone().into(),
            }));
        }
    }

    fn claim(&mut self, asked: usize, ctx: &mut Context<Self>) {
        let now = self.deps.now();
        if self.links.is_none() {
            // The wiring is not complete: nobody could be given what is claimed.
            return self.apply(QueueEvent::ClaimFailed { retry_at: now + WIRING }, ctx);
        }
        match self.deps.looks_ahead.load(Ordering::Relaxed) {
            true => self.look(asked, ctx),
            false => self.claim_first(asked, ctx),
        }
    }

    /// Claims tasks from the head of the queue.
    pub(super) fn claim_first(&mut self, asked: usize, ctx: &mut Context<Self>) {
        self.reconciling.begin_claim();
        let call = self.deps.node.store.claim(self.terms(asked));
        self.call(call, ctx, move |queue, answer, ctx| {
            queue.reconciling.end_claim();
            match answer {
                Ok(tasks) => {
                    let got = queue.on_claimed(tasks);
                    queue.apply(QueueEvent::Claimed { asked, got }, ctx);
                    queue.look_at_depth(ctx);
                }
                Err(error) => queue.on_not_claimed(&error, ctx),
            }
        });
    }

    /// The terms of a claim made now.
    pub(super) fn terms(&self, limit: usize) -> Claim {
        let now = self.deps.now();
        let (pool, node) = (self.deps.name.clone(), self.deps.node.node);
        Claim { pool, node, limit, now, lease_until: now + LEASE }
    }

    pub(super) fn on_not_claimed(&mut self, error: &StoreError, ctx: &mut Context<Self>) {
        tracing::error!(pool = %self.deps.name, %error, "work could not be claimed");
        let retry_at = self.deps.now() + STORE_BACKOFF;
        self.apply(QueueEvent::ClaimFailed { retry_at }, ctx);
    }

    /// Passes claimed tasks on to the pool; answers how many they are.
    pub(super) fn on_claimed(&mut self, tasks: Vec<Task>) -> usize {
        let got = tasks.len();
        self.deps.admission.leave(got);
        let now = self.deps.now();
        let mut late_starts = 0;
        let mut assigned = Vec::with_capacity(got);
        for task in tasks {
            let (wait_s, late) = self.tally.started(&task);
            late_starts += u64::from(late);
            self.metrics.wait.record(wait_s);
            self.deps.node.watch.note_state(&task, now);
            let task = Arc::new(task);
            self.leased.insert(task.id, task.clone());
            assigned.push(task);
        }
        self.metrics.started.increment(got as u64);
        self.metrics.late.increment(late_starts);
        match &self.links {
            Some(links) if got > 0 => links.assign.do_send(Assign(assigned)),
            _ => {}
        }
        got
    }

    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.now();
        let call = self.deps.node.store.sweep(self.deps.name.clone(), now);
        self.call(call, ctx, move |queue, answer, ctx| match answer {
            Ok(swept) => {
                for task in &swept.promoted {
                    let trigger = queue.tally.arrived(*task, now.as_secs_f64());
                    queue.nudge(trigger);
                }
                for (task, _) in &swept.expired {
                    queue.on_ended_waiting(*task, forerunner_core::TaskState::Expired, ctx);
                }
                let gone = swept.expired.iter().filter(|(_, was_claimable)| *was_claimable).count();
                queue.deps.admission.leave(swept.expired.len());
                queue.apply(QueueEvent::Claimable(swept.claimable), ctx);
                queue.apply(QueueEvent::Gone(gone), ctx);
                queue.apply(QueueEvent::Swept { next_due: swept.next_due }, ctx);
                queue.look_at_depth(ctx);
            }
            Err(error) => {
                tracing::error!(pool = %queue.deps.name, %error, "due tasks could not be looked for");
                let next_due = Some(queue.deps.now() + STORE_BACKOFF);
                queue.apply(QueueEvent::Swept { next_due }, ctx);
            }
        });
    }

    /// Tells the forecast at once when tasks wait and no agent is ready.
    pub(super) fn look_at_depth(&mut self, ctx: &mut Context<Self>) {
        let t = self.deps.now().as_secs_f64();
        let trigger = self.tally.depth(t, self.machine.depth(), self.machine.open_slots());
        self.nudge(trigger);
        self.prefetch_soon(ctx);
        if let Some(due) = self.tally.trigger_due_at() {
            self.wake_at(Timestamp::from_micros((due * 1e6).ceil() as i64), ctx);
        }
    }

    pub(super) fn nudge(&self, trigger: Option<Trigger>) {
        let cause = match trigger {
            None => return,
            Some(Trigger::Surge) => Cause::Surge,
            Some(Trigger::AgentLost) => Cause::AgentLost,
            Some(Trigger::Pace) => Cause::ServiceShift,
            Some(_) => Cause::Backlog,
        };
        if let Some(nudge) = self.links.as_ref().and_then(|links| links.nudge.as_ref()) {
            nudge.do_send(Nudge(cause));
        }
    }

    /// Keeps one timer: the earliest wake-up asked for.
    fn wake_at(&mut self, at: Timestamp, ctx: &mut Context<Self>) {
        if let Some((earlier, timer)) = self.wake.take() {
            if earlier <= at {
                self.wake = Some((earlier, timer));
                return;
            }
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(at.since(self.deps.now()), |queue, ctx| {
            queue.wake = None;
            queue.apply(QueueEvent::Tick, ctx);
            queue.look_at_depth(ctx);
        });
        self.wake = Some((at, timer));
    }

    fn show(&self) {
        self.metrics.depth.set(self.machine.depth() as f64);
        self.metrics.waiting.set(self.deps.admission.waiting() as f64);
        self.metrics.running.set(f64::from(self.tally.running()));
    }
}

/// Fits a continuation to the shape that actor futures want.
fn then_with<T, F>(then: F) -> impl FnOnce(Result<T, StoreError>, &mut QueueActor, &mut Context<QueueActor>)
where
    F: FnOnce(&mut QueueActor, Result<T, StoreError>, &mut Context<QueueActor>),
{
    move |answer, queue, ctx| then(queue, answer, ctx)
}

/// Sent to itself: runs after the mail that was there when it was sent.
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

impl Handler<Gathered<Enqueue>> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: Gathered<Enqueue>, ctx: &mut Self::Context) {
        let mut submitted = self.submitted.take();
        self.arriving.reserve(submitted.len());
        self.incoming.reserve(submitted.len());
        if self.closed {
            self.deps.admission.leave(submitted.len());
            submitted.drain(..).for_each(|one| one.reply.answer(Err(Error::ShuttingDown)));
        }
        for Enqueue { submission, reply } in submitted.drain(..) {
            let task = &submission.task;
            self.arriving.push(Arriving {
                task: task.id,
                submitted_at: task.submitted_at,
                run_at: task.run_at,
                deadline: task.deadline,
                reply,
            });
            self.incoming.push(submission);
        }
        self.submitted.recycle(submitted);
        self.flush_soon(ctx);
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

impl Handler<AttachQueue> for QueueActor {
    type Result = ();

    fn handle(&mut self, msg: AttachQueue, ctx: &mut Self::Context) {
        self.links = Some(msg);
        self.look_at_depth(ctx);
    }
}

impl Handler<Expect> for QueueActor {
    type Result = ();

    fn handle(&mut self, msg: Expect, _: &mut Self::Context) {
        self.tally.expect(&msg);
    }
}

impl Handler<TakeSample> for QueueActor {
    type Result = QueueSample;

    fn handle(&mut self, _: TakeSample, _: &mut Self::Context) -> QueueSample {
        self.show();
        self.tally.take(self.machine.depth())
    }
}

impl Handler<Counted> for QueueActor {
    type Result = ();

    fn handle(&mut self, msg: Counted, ctx: &mut Self::Context) {
        if let Some(due) = msg.next_due {
            self.apply(QueueEvent::Due(due), ctx);
        }
        if let Some(waiting) = msg.waiting {
            self.deps.admission.count(usize::try_from(waiting).unwrap_or(usize::MAX));
        }
        self.apply(QueueEvent::Counted(msg.claimable), ctx);
        self.look_at_depth(ctx);
    }
}

impl Handler<LookForWork> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: LookForWork, ctx: &mut Self::Context) {
        self.apply(QueueEvent::Told, ctx);
    }
}

impl Handler<GetQueueStatus> for QueueActor {
    type Result = QueueStatus;

    fn handle(&mut self, _: GetQueueStatus, _: &mut Self::Context) -> QueueStatus {
        self.tally.status(self.machine.depth())
    }
}

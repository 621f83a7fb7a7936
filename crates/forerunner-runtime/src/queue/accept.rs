//! Accepts tasks. Submissions are batched, stored in one call, and answered once they are durable.

use actix::{Context, Handler};
use forerunner_core::{QueueEvent, Task};
use forerunner_store::{EnqueueOutcome, Refusal, StoreError};

use super::{
    QueueActor,
    messages::{Arrived, Enqueue, Reply},
};
use crate::{Error, batcher::Batch};

/// What the queue needs of a submitted task after the store has accepted it.
pub(super) struct PendingEnqueue {
    arrived: Arrived,
    reply: Reply,
}

impl QueueActor {
    /// Sends the batched submissions to the store.
    pub(super) fn accept(&mut self, ctx: &mut Context<Self>) {
        if self.incoming.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.incoming);
        let mut arriving = std::mem::take(&mut self.arriving);
        arriving.iter_mut().for_each(|one| one.reply.note_sent());
        self.accepting += 1;
        let expected = if self.claims_with_enqueue() {
            batch.iter().filter(|one| is_claimable_at_once(&one.task)).count()
        } else {
            0
        };
        self.expected += expected;
        let call = self.deps.node.store.enqueue(batch);
        self.call(call, ctx, move |queue, answer, ctx| {
            queue.accepting -= 1;
            queue.expected -= expected;
            queue.apply(QueueEvent::EnqueueDone { left: queue.expected }, ctx);
            queue.on_accepted(answer, arriving, ctx);
            queue.answer_drains();
        });
        // A store that answered the call at once has left nothing to announce.
        if self.expected > 0 {
            self.apply(QueueEvent::EnqueueStarted(expected), ctx);
        }
    }

    /// Whether a claim may follow a submission to the store at once. A shared store answers such a claim when both are
    /// durable.
    fn claims_with_enqueue(&self) -> bool {
        self.deps.node.shared && !self.facts.uses_lookahead
    }

    fn on_accepted(
        &mut self,
        answer: Result<Vec<Result<EnqueueOutcome, Refusal>>, StoreError>,
        arriving: Vec<PendingEnqueue>,
        ctx: &mut Context<Self>,
    ) {
        let answers = match answer {
            Ok(answers) => answers,
            Err(error) => return self.on_not_accepted(&error, arriving),
        };
        self.store_health.note_success(&self.deps.name);
        let mut new = Vec::with_capacity(arriving.len());
        for (answer, PendingEnqueue { mut arrived, reply }) in answers.into_iter().zip(arriving) {
            if let Ok(EnqueueOutcome::New { claimable, .. }) = answer {
                arrived.claimable = claimable;
                new.push(arrived);
            }
            reply.answer(self.outcome(answer, arrived.input_bytes));
        }
        self.on_arrived(&new, ctx);
    }

    /// Counts tasks that the store has accepted, and has agents run them.
    fn on_arrived(&mut self, arrived: &[Arrived], ctx: &mut Context<Self>) {
        self.metrics.submitted.increment(arrived.len() as u64);
        let (mut claimable, mut urgent) = (0, 0);
        let least = self.prefetched.least_priority();
        for task in arrived {
            claimable += usize::from(task.claimable);
            urgent += usize::from(task.claimable && least.is_some_and(|least| task.priority > least));
            let delayed = task.run_at > task.submitted_at;
            for due in delayed.then_some(task.run_at).into_iter().chain(task.deadline) {
                self.apply(QueueEvent::Due(due), ctx);
            }
            let t = task.submitted_at.as_secs_f64();
            let trigger = if delayed { None } else { self.stats.arrived(task.task, task.session, t) };
            self.nudge(trigger);
        }
        self.apply(QueueEvent::BecameClaimable(claimable), ctx);
        if urgent > 0 {
            self.apply(QueueEvent::Overtaking(urgent), ctx);
        }
        self.check_depth(ctx);
    }

    /// The answer to a submission. One that made no task returns its place.
    fn outcome(&self, answer: Result<EnqueueOutcome, Refusal>, input_bytes: u64) -> Result<EnqueueOutcome, Error> {
        match answer {
            Ok(new @ EnqueueOutcome::New { .. }) => Ok(new),
            Ok(known @ EnqueueOutcome::Known(_)) => {
                self.admission.back_out(1, input_bytes);
                Ok(known)
            }
            Err(refusal) => {
                self.admission.back_out(1, input_bytes);
                self.metrics.rejected(reason(&refusal));
                Err(refusal.into())
            }
        }
    }

    fn on_not_accepted(&mut self, error: &StoreError, refused: Vec<PendingEnqueue>) {
        self.store_health.note_failure(&self.deps.name, "the store does not accept tasks", refused.len(), error);
        self.admission.back_out(refused.len(), refused.iter().map(|one| one.arrived.input_bytes).sum());
        // The store may have stored these tasks before its answer was lost.
        self.admission.note_unsure();
        for one in refused {
            self.metrics.rejected("store");
            one.reply.answer(Err(match error {
                // The store was closed before the call reached it.
                StoreError::Closed { .. } => Error::ShuttingDown,
                error => error.clone().into(),
            }));
        }
    }
}

/// The label of a rejection in the metrics.
pub(crate) const fn reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::KeyReused { .. } => "key_reused",
        Refusal::ContextsFull { .. } => "contexts_full",
        Refusal::TooDeep { .. } => "too_deep",
        Refusal::NoParent { .. } => "no_parent",
        _ => "store",
    }
}

/// Whether a task can be claimed as soon as the store has accepted it, as far as the task itself shows.
fn is_claimable_at_once(task: &Task) -> bool {
    let is_plain = task.context.is_none() && task.idempotency_key.is_none() && task.parent.is_none();
    is_plain && task.run_at <= task.submitted_at
}

impl Handler<Batch<Enqueue>> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: Batch<Enqueue>, ctx: &mut Self::Context) {
        let mut submitted = self.submitted.take();
        self.arriving.reserve(submitted.len());
        self.incoming.reserve(submitted.len());
        if self.closed {
            let bytes = submitted.iter().map(|one| one.submission.task.input.len() as u64).sum();
            self.admission.back_out(submitted.len(), bytes);
            submitted.drain(..).for_each(|one| one.reply.answer(Err(Error::ShuttingDown)));
        }
        for Enqueue { submission, reply } in submitted.drain(..) {
            self.arriving.push(PendingEnqueue { arrived: Arrived::of(&submission.task), reply });
            self.incoming.push(submission);
        }
        self.submitted.recycle(submitted);
        self.flush_soon(ctx);
    }
}

impl Handler<Batch<Arrived>> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: Batch<Arrived>, ctx: &mut Self::Context) {
        let arrived = self.arrived.take();
        self.on_arrived(&arrived, ctx);
        self.arrived.recycle(arrived);
    }
}

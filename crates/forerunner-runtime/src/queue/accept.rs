//! Accepting tasks: gathered, stored in one call, and answered once durable.

use actix::{Context, Handler};
use forerunner_core::{Priority, QueueEvent, Task, TaskId, Timestamp};
use forerunner_store::{EnqueueOutcome, Refusal, StoreError};

use super::{
    QueueActor,
    messages::{Enqueue, Reply},
};
use crate::{Error, batcher::Batch};

/// What must be known of a task once the store has it.
pub(super) struct PendingEnqueue {
    task: TaskId,
    submitted_at: Timestamp,
    run_at: Timestamp,
    deadline: Option<Timestamp>,
    priority: Priority,
    input_bytes: u64,
    reply: Reply,
}

impl QueueActor {
    /// Sends what was submitted to the store.
    pub(super) fn accept(&mut self, ctx: &mut Context<Self>) {
        if self.incoming.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.incoming);
        let mut arriving = std::mem::take(&mut self.arriving);
        arriving.iter_mut().for_each(|one| one.reply.note_sent());
        self.accepting += 1;
        let coming =
            if self.claims_along() { batch.iter().filter(|one| comes_to_be_claimed(&one.task)).count() } else { 0 };
        self.coming += coming;
        let call = self.deps.node.store.enqueue(batch);
        self.call(call, ctx, move |queue, answer, ctx| {
            queue.accepting -= 1;
            queue.coming -= coming;
            queue.apply(QueueEvent::EnqueueDone { left: queue.coming }, ctx);
            queue.on_accepted(answer, arriving, ctx);
            queue.answer_drains();
        });
        // Unless it was answered at once.
        if self.coming > 0 {
            self.apply(QueueEvent::EnqueueStarted(coming), ctx);
        }
    }

    /// Whether a claim goes to the store right behind what it is for. Stores that nodes share answer it once both are durable.
    fn claims_along(&self) -> bool {
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
        self.outage.note_success(&self.deps.name);
        let (mut claimable, mut urgent) = (0, 0);
        let least = self.held.least_priority();
        for (answer, one) in answers.into_iter().zip(arriving) {
            let is_claimable = matches!(answer, Ok(EnqueueOutcome::New { claimable: true, .. }));
            claimable += usize::from(is_claimable);
            urgent += usize::from(is_claimable && least.is_some_and(|least| one.priority > least));
            let answer = self.on_accepted_one(answer, &one, ctx);
            one.reply.answer(answer);
        }
        self.apply(QueueEvent::BecameClaimable(claimable), ctx);
        if urgent > 0 {
            self.apply(QueueEvent::Overtaking(urgent), ctx);
        }
        self.look_at_depth(ctx);
    }

    fn on_accepted_one(
        &mut self,
        answer: Result<EnqueueOutcome, Refusal>,
        task: &PendingEnqueue,
        ctx: &mut Context<Self>,
    ) -> Result<EnqueueOutcome, Error> {
        match answer {
            Ok(new @ EnqueueOutcome::New { .. }) => {
                self.metrics.submitted.increment(1);
                let t = task.submitted_at.as_secs_f64();
                let delayed = task.run_at > task.submitted_at;
                for due in delayed.then_some(task.run_at).into_iter().chain(task.deadline) {
                    self.apply(QueueEvent::Due(due), ctx);
                }
                let trigger = if delayed { None } else { self.tally.arrived(task.task, t) };
                self.nudge(trigger);
                Ok(new)
            }
            Ok(known @ EnqueueOutcome::Known(_)) => {
                self.admission.back_out(1, task.input_bytes);
                Ok(known)
            }
            Err(refusal) => {
                self.admission.back_out(1, task.input_bytes);
                self.metrics.rejected(reason(&refusal));
                Err(refusal.into())
            }
        }
    }

    fn on_not_accepted(&mut self, error: &StoreError, refused: Vec<PendingEnqueue>) {
        self.outage.note_failure(&self.deps.name, "tasks could not be stored", refused.len(), error);
        self.admission.back_out(refused.len(), refused.iter().map(|one| one.input_bytes).sum());
        // The store may have taken them before its answer was lost.
        self.admission.note_unsure();
        for one in refused {
            self.metrics.rejected("store");
            one.reply.answer(Err(match error {
                // It was closed before it was asked.
                StoreError::Closed { .. } => Error::ShuttingDown,
                error => error.clone().into(),
            }));
        }
    }
}

/// The name of a refusal in the metrics.
const fn reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::KeyReused { .. } => "key_reused",
        Refusal::ContextsFull { .. } => "contexts_full",
        Refusal::TooDeep { .. } => "too_deep",
        Refusal::NoParent { .. } => "no_parent",
        _ => "store",
    }
}

/// Whether a task can be claimed as soon as it is accepted, as far as it tells itself.
fn comes_to_be_claimed(task: &Task) -> bool {
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
            let task = &submission.task;
            self.arriving.push(PendingEnqueue {
                task: task.id,
                submitted_at: task.submitted_at,
                run_at: task.run_at,
                deadline: task.deadline,
                priority: task.priority,
                input_bytes: task.input.len() as u64,
                reply,
            });
            self.incoming.push(submission);
        }
        self.submitted.recycle(submitted);
        self.flush_soon(ctx);
    }
}

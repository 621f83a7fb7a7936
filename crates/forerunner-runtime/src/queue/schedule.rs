//! Accepting the task of a schedule: in one call with the change of the schedule.

use actix::{Context, Handler};
use forerunner_core::{QueueEvent, Task};
use forerunner_forecast::Arrival;
use forerunner_store::{EnqueueOutcome, ScheduleConflict};

use super::{QueueActor, accept::reason, messages::FireSchedule};

impl Handler<FireSchedule> for QueueActor {
    type Result = ();

    fn handle(&mut self, msg: FireSchedule, ctx: &mut Self::Context) {
        let FireSchedule { write, reply } = msg;
        let Some(submission) = &write.task else { return };
        let task = Task { input: forerunner_core::Payload::null(), ..submission.task.clone() };
        let input_bytes = submission.task.input.len() as u64;
        if self.closed {
            // Without an answer the occurrence does not count as submitted.
            return self.admission.back_out(1, input_bytes);
        }
        let call = self.deps.node.store.write_schedule(write);
        self.accepting += 1;
        self.call(call, ctx, move |queue, answer, ctx| {
            queue.accepting -= 1;
            match &answer {
                Ok(Ok(Some(new @ EnqueueOutcome::New { .. }))) => queue.on_fired(&task, new, ctx),
                Ok(outcome) => {
                    queue.admission.back_out(1, input_bytes);
                    if let Err(ScheduleConflict::Refused(refusal)) = outcome {
                        queue.metrics.rejected(reason(refusal));
                    }
                }
                Err(error) => {
                    queue.store_health.note_failure(&queue.deps.name, "the store does not accept tasks", 1, error);
                    queue.admission.back_out(1, input_bytes);
                    // The store may have stored it before its answer was lost.
                    queue.admission.note_unsure();
                    queue.metrics.rejected("store");
                }
            }
            // Nobody may be waiting.
            let _ = reply.send(answer);
            queue.answer_drains();
        });
    }
}

impl QueueActor {
    fn on_fired(&mut self, task: &Task, outcome: &EnqueueOutcome, ctx: &mut Context<Self>) {
        self.store_health.note_success(&self.deps.name);
        self.metrics.submitted.increment(1);
        for due in (task.run_at > task.submitted_at).then_some(task.run_at).into_iter().chain(task.deadline) {
            self.apply(QueueEvent::Due(due), ctx);
        }
        if task.run_at <= task.submitted_at {
            let session = task.context.as_ref().map(|context| Arrival::session_named(context.as_str()));
            let trigger = self.stats.arrived(task.id, session, task.submitted_at.as_secs_f64());
            self.nudge(trigger);
        }
        let is_claimable = matches!(outcome, EnqueueOutcome::New { claimable: true, .. });
        let overtakes = self.prefetched.least_priority().is_some_and(|least| task.priority > least);
        self.apply(QueueEvent::BecameClaimable(usize::from(is_claimable)), ctx);
        if is_claimable && overtakes {
            self.apply(QueueEvent::Overtaking(1), ctx);
        }
        self.check_depth(ctx);
    }
}

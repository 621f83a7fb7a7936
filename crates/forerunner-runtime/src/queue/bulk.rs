//! What operations on many tasks, and changes of one, mean for a queue.

use std::sync::Arc;

use actix::{Context, Handler};
use forerunner_core::{QueueEvent, TaskState};
use forerunner_store::{BulkAction, Updated};

use super::{
    QueueActor,
    messages::{BulkDone, Update},
};
use crate::Error;

impl Handler<BulkDone> for QueueActor {
    type Result = ();

    fn handle(&mut self, msg: BulkDone, ctx: &mut Self::Context) {
        let (left, come) = msg.bytes;
        match msg.action {
            BulkAction::Cancel => {
                self.admission.back_out(msg.tasks.len(), left);
                for task in &msg.tasks {
                    self.on_ended_waiting(*task, TaskState::Cancelled, ctx);
                }
            }
            BulkAction::Retry => {
                self.admission.reenter(msg.tasks.len());
                self.admission.add_bytes(left);
                msg.tasks.iter().for_each(|task| self.tell_as_stored(*task, ctx));
            }
            BulkAction::Move { .. } => {
                self.admission.back_out(msg.tasks.len(), left);
                self.admission.add_bytes(come);
                msg.arrived.iter().for_each(|task| self.tell_as_stored(*task, ctx));
                if !msg.arrived.is_empty() {
                    // A sweep finds out when those are due that are delayed or have a deadline.
                    let now = self.deps.now();
                    self.apply(QueueEvent::Due(now), ctx);
                }
            }
            BulkAction::Delete => {}
        }
        self.note_claimable(msg.claimable, ctx);
        self.look_at_depth(ctx);
    }
}

impl Handler<Update> for QueueActor {
    type Result = ();

    fn handle(&mut self, msg: Update, ctx: &mut Self::Context) {
        let call = self.deps.node.store.update(msg.task, msg.change, self.deps.now());
        self.call(call, ctx, |queue, answer, ctx| {
            let answer = match answer {
                Ok(Ok(updated)) => Ok(queue.on_updated(updated, ctx)),
                Ok(Err(mismatch)) => Err(Error::from(mismatch)),
                Err(error) => Err(error.into()),
            };
            let _ = msg.reply.send(answer);
        });
    }
}

impl QueueActor {
    fn on_updated(&mut self, updated: Updated, ctx: &mut Context<Self>) -> forerunner_core::Task {
        let Updated { task, claimable } = updated;
        self.note_claimable(claimable, ctx);
        match task.state {
            TaskState::Scheduled => self.apply(QueueEvent::Due(task.run_at), ctx),
            _ if self.held.least_priority().is_some_and(|least| task.priority > least) => {
                self.apply(QueueEvent::Overtaking(1), ctx);
            }
            _ => {}
        }
        self.tell(Arc::new((*task).clone()));
        self.look_at_depth(ctx);
        *task
    }

    /// Takes in that so many more tasks can be claimed, or fewer.
    fn note_claimable(&mut self, more: i64, ctx: &mut Context<Self>) {
        let count = usize::try_from(more.unsigned_abs()).unwrap_or(usize::MAX);
        match more {
            0 => {}
            1.. => self.apply(QueueEvent::BecameClaimable(count), ctx),
            _ => self.apply(QueueEvent::Removed(count), ctx),
        }
    }
}

//! Effects on a queue of bulk operations and of a change to one task.

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
        let (removed_bytes, added_bytes) = msg.bytes;
        match msg.action {
            BulkAction::Cancel => {
                self.admission.back_out(msg.tasks.len(), removed_bytes);
                // Tasks that waited for an answer were not counted: the next sample counts anew.
                self.admission.note_unsure();
                for task in &msg.tasks {
                    self.on_ended_waiting(*task, TaskState::Cancelled, ctx);
                }
            }
            BulkAction::Retry => {
                self.admission.reenter(msg.tasks.len());
                self.admission.add_bytes(removed_bytes);
                msg.tasks.iter().for_each(|task| self.notify_as_stored(*task, ctx));
            }
            BulkAction::Move { .. } => {
                self.admission.back_out(msg.tasks.len(), removed_bytes);
                self.admission.add_bytes(added_bytes);
                msg.arrived.iter().for_each(|task| self.notify_as_stored(*task, ctx));
                if !msg.arrived.is_empty() {
                    // The sweep reads when the moved tasks are due and when their deadlines end.
                    let now = self.deps.now();
                    self.apply(QueueEvent::Due(now), ctx);
                }
            }
            BulkAction::Delete => {}
        }
        self.note_claimable(msg.claimable, ctx);
        self.check_depth(ctx);
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
            _ if self.prefetched.least_priority().is_some_and(|least| task.priority > least) => {
                self.apply(QueueEvent::Overtaking(1), ctx);
            }
            _ => {}
        }
        self.notify_watchers(Arc::new((*task).clone()));
        self.check_depth(ctx);
        *task
    }

    /// Reports to the machine that `more` tasks are claimable, or fewer if it is negative.
    fn note_claimable(&mut self, more: i64, ctx: &mut Context<Self>) {
        let count = usize::try_from(more.unsigned_abs()).unwrap_or(usize::MAX);
        match more {
            0 => {}
            1.. => self.apply(QueueEvent::BecameClaimable(count), ctx),
            _ => self.apply(QueueEvent::Removed(count), ctx),
        }
    }
}

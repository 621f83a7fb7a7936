//! Cancels and retries tasks.

use std::sync::Arc;

use actix::{Context, Handler};
use forerunner_core::{QueueEvent, TaskState};
use forerunner_store::Cancelled;

use super::{
    QueueActor,
    messages::{Cancel, RetryTask, StopAll, StopCancelled, StopTask},
};
use crate::agent::CancelReason;

impl Handler<Cancel> for QueueActor {
    type Result = ();

    fn handle(&mut self, msg: Cancel, ctx: &mut Self::Context) {
        let call = self.deps.node.store.cancel(msg.task, self.deps.now());
        self.call(call, ctx, |queue, answer, ctx| {
            let answer = match answer {
                Ok(Ok(cancelled)) => Ok(queue.on_cancelled(cancelled, ctx)),
                Ok(Err(mismatch)) => Err(mismatch.into()),
                Err(error) => Err(error.into()),
            };
            let _ = msg.reply.send(answer);
        });
    }
}

impl QueueActor {
    fn on_cancelled(&mut self, cancelled: Cancelled, ctx: &mut Context<Self>) -> forerunner_core::Task {
        match cancelled {
            Cancelled::Done { task, was_claimable, claimable } => {
                self.admission.back_out(1, task.input.len() as u64);
                self.metrics.finished(TaskState::Cancelled);
                self.stats.finished();
                self.apply(QueueEvent::Removed(usize::from(was_claimable)), ctx);
                self.apply(QueueEvent::BecameClaimable(claimable), ctx);
                self.notify_watchers(Arc::new((*task).clone()));
                *task
            }
            Cancelled::Running(task) if self.release_if_prefetched(task.id, ctx) => *task,
            Cancelled::Running(task) => {
                if let Some(links) = &self.links {
                    links.stop_task.do_send(StopTask { task: task.id, reason: CancelReason::TaskCancelled });
                }
                *task
            }
            Cancelled::Ended(task) => *task,
        }
    }
}

impl Handler<StopCancelled> for QueueActor {
    type Result = ();

    fn handle(&mut self, StopCancelled(tasks): StopCancelled, ctx: &mut Self::Context) {
        for task in tasks.iter() {
            self.release_if_prefetched(*task, ctx);
        }
        let Some(links) = &self.links else { return };
        for task in tasks.iter().filter(|task| self.leased.contains_key(task)) {
            links.stop_task.do_send(StopTask { task: *task, reason: CancelReason::TaskCancelled });
        }
    }
}

impl Handler<StopAll> for QueueActor {
    type Result = ();

    fn handle(&mut self, _: StopAll, ctx: &mut Self::Context) {
        self.release_all_prefetched(ctx);
        let Some(links) = &self.links else { return };
        for task in self.leased.keys() {
            links.stop_task.do_send(StopTask { task: *task, reason: CancelReason::LeaseLost });
        }
    }
}

impl Handler<RetryTask> for QueueActor {
    type Result = ();

    fn handle(&mut self, msg: RetryTask, ctx: &mut Self::Context) {
        let call = self.deps.node.store.retry(msg.task, self.deps.now());
        self.call(call, ctx, |queue, answer, ctx| {
            let answer = match answer {
                Ok(Ok(task)) => {
                    queue.admission.reenter(1);
                    queue.admission.add_bytes(task.input.len() as u64);
                    // Another task of its context may be ahead of it: the next claim shows that.
                    queue.apply(QueueEvent::BecameClaimable(1), ctx);
                    queue.notify_watchers(Arc::new(task.clone()));
                    Ok(task)
                }
                Ok(Err(mismatch)) => Err(mismatch.into()),
                Err(error) => Err(error.into()),
            };
            let _ = msg.reply.send(answer);
        });
    }
}

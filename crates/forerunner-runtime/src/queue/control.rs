//! Cancels and retries tasks.

use std::sync::Arc;

use actix::{Context, Handler};
use forerunner_core::{AgentRequest, QueueEvent, TaskState};
use forerunner_forecast::Arrival;
use forerunner_store::Cancelled;

use super::{
    QueueActor,
    messages::{AnswerTask, Cancel, RetryTask, StopAll, StopCancelled, StopTask},
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
                // A task that waits for an answer is no part of the backlog.
                match AgentRequest::has_open(task.requests.as_deref()) {
                    true => self.admission.leave_bytes(task.input.len() as u64),
                    false => self.admission.back_out(1, task.input.len() as u64),
                }
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

impl Handler<AnswerTask> for QueueActor {
    type Result = ();

    fn handle(&mut self, msg: AnswerTask, ctx: &mut Self::Context) {
        let call = self.deps.node.store.answer(msg.answered, self.deps.now());
        self.call(call, ctx, |queue, answer, ctx| {
            let answer = match answer {
                Ok(Ok(task)) => {
                    queue.on_answered(&task, ctx);
                    Ok(task)
                }
                Ok(Err(mismatch)) => Err(mismatch.into()),
                Err(error) => Err(error.into()),
            };
            let _ = msg.reply.send(answer);
        });
    }
}

impl QueueActor {
    /// A task has its answer: for the forecast it arrives.
    fn on_answered(&mut self, task: &forerunner_core::Task, ctx: &mut Context<Self>) {
        self.metrics.answered.increment(1);
        self.admission.reenter(1);
        let session = task.context.as_ref().map(|context| Arrival::session_named(context.as_str()));
        let trigger = self.stats.arrived(task.id, session, self.deps.now().as_secs_f64());
        self.nudge(trigger);
        if let Some(deadline) = task.deadline {
            self.apply(QueueEvent::Due(deadline), ctx);
        }
        self.apply(QueueEvent::BecameClaimable(1), ctx);
        self.notify_watchers(Arc::new(task.clone()));
        self.check_depth(ctx);
    }
}

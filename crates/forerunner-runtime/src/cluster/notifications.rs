//! The notifications of other nodes, passed on to the actors of this node.

use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, StreamHandler, WrapFuture};
use forerunner_core::{Task, TaskId};
use forerunner_store::{Notification, StoreError};
use futures_util::{Stream, stream};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::ClusterActor;
use crate::{
    deps::Deps,
    queue::messages::{StopCancelled, WorkAvailable},
};

/// Most tasks in one read.
const PAGE: usize = 500;

/// A notification of another node.
pub(super) struct Notifications(Notification);

/// Turns a receiver into a stream. A receiver that lagged may have missed any notification.
pub(super) fn stream_of(heard: Receiver<Notification>) -> impl Stream<Item = Notifications> {
    stream::unfold(heard, async |mut heard| match heard.recv().await {
        Ok(hints) => Some((Notifications(hints), heard)),
        Err(RecvError::Lagged(_)) => Some((Notifications(Notification::anything()), heard)),
        Err(RecvError::Closed) => None,
    })
}

impl StreamHandler<Notifications> for ClusterActor {
    fn handle(&mut self, Notifications(hints): Notifications, ctx: &mut Context<Self>) {
        let Notification { work, stops, ended, said, settings, more } = hints;
        for (name, pool) in &self.pools {
            if more || work.contains(name) {
                pool.look.do_send(WorkAvailable);
            }
        }
        self.stop_cancelled(stops.into_iter().collect());
        ended.iter().for_each(|task| self.deps.watch.wake(*task));
        self.look_for_ended(ended.into_iter().filter(|task| self.deps.watch.is_watched(*task)).collect(), ctx);
        said.iter().for_each(|task| self.deps.watch.wake(*task));
        if more {
            self.deps.watch.wake_all();
        }
        if more && !self.looking {
            self.look_for_all(ctx);
        }
        if settings {
            self.beat(ctx);
        }
    }

    /// The store was closed: there are no more notifications.
    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl ClusterActor {
    /// Stops tasks that were cancelled on another node and run here.
    pub(super) fn stop_cancelled(&self, tasks: Vec<TaskId>) {
        if tasks.is_empty() {
            return;
        }
        let tasks = Arc::new(tasks);
        for pool in self.pools.values() {
            pool.stop_cancelled.do_send(StopCancelled(tasks.clone()));
        }
    }

    /// Reads watched tasks and notifies the watchers of those that have ended.
    fn look_for_ended(&self, watched: Vec<TaskId>, ctx: &mut Context<Self>) {
        if !watched.is_empty() {
            let call = self.deps.store.tasks_of(watched);
            ctx.spawn(call.into_actor(self).map(|tasks, cluster, _| tell_ended(&cluster.deps, tasks)));
        }
    }

    /// Does the same for all watched tasks, in pages, and one such scan at a time.
    fn look_for_all(&mut self, ctx: &mut Context<Self>) {
        self.looking = true;
        let (deps, watched) = (self.deps.clone(), self.deps.watch.watched());
        let look = async move {
            for page in watched.chunks(PAGE) {
                tell_ended(&deps, deps.store.tasks_of(page.to_vec()).await);
            }
        };
        ctx.spawn(look.into_actor(self).map(|(), cluster, _| cluster.looking = false));
    }
}

fn tell_ended(deps: &Deps, tasks: Result<Vec<Task>, StoreError>) {
    match tasks {
        Ok(tasks) => {
            for task in tasks.into_iter().filter(|task| task.state.is_terminal()) {
                deps.watch.finish(Arc::new(task), deps.now());
            }
        }
        // The watchers read the tasks themselves, only later.
        Err(error) => tracing::debug!(%error, "tasks that ended on other nodes could not be read"),
    }
}

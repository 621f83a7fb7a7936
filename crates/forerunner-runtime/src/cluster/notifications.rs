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
pub(super) fn stream_of(notifications: Receiver<Notification>) -> impl Stream<Item = Notifications> {
    stream::unfold(notifications, async |mut notifications| match notifications.recv().await {
        Ok(notification) => Some((Notifications(notification), notifications)),
        Err(RecvError::Lagged(_)) => Some((Notifications(Notification::anything()), notifications)),
        Err(RecvError::Closed) => None,
    })
}

impl StreamHandler<Notifications> for ClusterActor {
    fn handle(&mut self, Notifications(notification): Notifications, ctx: &mut Context<Self>) {
        let Notification { work, stops, ended, with_events, settings, more } = notification;
        for (name, pool) in &self.pools {
            if more || work.contains(name) {
                pool.work_available.do_send(WorkAvailable);
            }
        }
        self.stop_cancelled(stops.into_iter().collect());
        ended.iter().for_each(|task| self.deps.watch.notify(*task));
        self.read_ended(ended.into_iter().filter(|task| self.deps.watch.is_watched(*task)).collect(), ctx);
        with_events.iter().for_each(|task| self.deps.watch.notify(*task));
        if more {
            self.deps.watch.notify_all();
        }
        if more && !self.scanning {
            self.read_all_watched(ctx);
        }
        if settings {
            self.heartbeat(ctx);
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
    fn read_ended(&self, watched: Vec<TaskId>, ctx: &mut Context<Self>) {
        if !watched.is_empty() {
            let call = self.deps.store.tasks_of(watched);
            ctx.spawn(call.into_actor(self).map(|tasks, cluster, _| notify_ended(&cluster.deps, tasks)));
        }
    }

    /// Does the same for all watched tasks, in pages, and one such scan at a time.
    fn read_all_watched(&mut self, ctx: &mut Context<Self>) {
        self.scanning = true;
        let (deps, watched) = (self.deps.clone(), self.deps.watch.watched());
        let scan = async move {
            for page in watched.chunks(PAGE) {
                notify_ended(&deps, deps.store.tasks_of(page.to_vec()).await);
            }
        };
        ctx.spawn(scan.into_actor(self).map(|(), cluster, _| cluster.scanning = false));
    }
}

fn notify_ended(deps: &Deps, tasks: Result<Vec<Task>, StoreError>) {
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

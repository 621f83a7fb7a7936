//! The shutdown of a node: its steps in order, each bounded in time.

use std::{future::Future, time::Duration};

use actix_rt::Arbiter;
use forerunner_store::StoreError;
use futures_util::future::join_all;
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::{
    Handle, Node, blocking, cluster::messages::Leave, forecast::messages::SaveAndStop, handle::PoolEntry,
    pool::messages::Stop, queue::messages::Drain,
};

/// Longest time of one step. The stop of agents may take the grace in addition.
const STEP: Duration = Duration::from_secs(10);
/// Longest time to close the store: SQLite copies a log of up to 64 MiB into its file.
const CLOSE: Duration = Duration::from_secs(30);

/// The result of a shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Whether every agent stopped in time.
    pub clean: bool,
    /// The error of the store when it was closed, if it failed.
    pub store: Option<String>,
}

/// A stopped node whose store is still open: tasks can be read, and waits have ended.
#[must_use = "the store stays open until it is closed"]
pub struct StoppedNode {
    handle: Handle,
    arbiters: Vec<Arbiter>,
    upkeep: Vec<JoinHandle<()>>,
    clean: bool,
}

impl Node {
    /// Stops the node and closes its store: [`Node::stop`], then [`StoppedNode::close`].
    pub async fn shutdown(self, grace: Duration) -> ShutdownReport {
        self.stop(grace).await.close().await
    }

    /// Accepts nothing new, lets running tasks finish for `grace`, releases the others, and saves the forecasts. Then
    /// all waits return the current state of their tasks.
    pub async fn stop(self, grace: Duration) -> StoppedNode {
        let Self { handle, arbiters, maintenance, upkeep } = self;
        handle.close_intake();
        maintenance.abort();
        let pools = || handle.shared.pools.values();
        ask_all(pools(), |entry, reply| entry.forecast.do_send(SaveAndStop { reply })).await;
        let kill_at = handle.shared.deps.now() + grace;
        let stopped = join_all(pools().map(|entry| ask(|reply| entry.pool.do_send(Stop { kill_at, reply }))));
        let clean = timeout(grace.saturating_add(STEP), stopped).await.is_ok();
        ask_all(pools(), |entry, reply| entry.queue.do_send(Drain { reply })).await;
        if let Some(cluster) = &handle.shared.cluster {
            let _ = timeout(STEP, ask(|reply| cluster.do_send(Leave { reply }))).await;
        }
        handle.shared.deps.watch.close();
        StoppedNode { handle, arbiters, upkeep, clean }
    }
}

impl StoppedNode {
    /// Closes the store and ends the threads.
    pub async fn close(self) -> ShutdownReport {
        self.upkeep.iter().for_each(JoinHandle::abort);
        let store = match timeout(CLOSE, self.handle.shared.deps.store.close()).await {
            Ok(Ok(()) | Err(StoreError::Closed { .. })) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("it did not end within {} s; the next start repairs it", CLOSE.as_secs())),
        };
        let ended = join_all(self.arbiters.into_iter().map(end)).await;
        ShutdownReport { clean: self.clean && ended.into_iter().all(|ended| ended), store }
    }
}

/// Ends a thread. Returns whether it ended in time. A thread that a task's code blocks ends with the process.
async fn end(arbiter: Arbiter) -> bool {
    arbiter.stop();
    let joined = blocking::run(move || arbiter.join());
    timeout(STEP, joined).await.is_ok()
}

/// Sends a request to all pools at once. A pool that does not answer in time, as without a store, is skipped.
async fn ask_all<'a>(pools: impl Iterator<Item = &'a PoolEntry>, send: impl Fn(&PoolEntry, oneshot::Sender<()>)) {
    let _ = timeout(STEP, join_all(pools.map(|entry| ask(|reply| send(entry, reply))))).await;
}

/// Sends a message at once. The future ends with the answer, or when there will be none.
fn ask(send: impl FnOnce(oneshot::Sender<()>)) -> impl Future<Output = ()> {
    let (reply, answer) = oneshot::channel();
    send(reply);
    async { drop(answer.await) }
}

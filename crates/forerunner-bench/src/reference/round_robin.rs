//! A channel per worker, filled in turns: the limit of what channels can do, without any choice of a free worker.

use std::{cell::Cell, future::Future};

use tokio::sync::{mpsc, oneshot};

use crate::{Error, service::Service};

type Job = (u64, oneshot::Sender<u64>);

/// Workers with a channel each. A slow task delays those after it while other workers are idle.
pub(crate) struct RoundRobin {
    workers: Vec<mpsc::UnboundedSender<Job>>,
    next: Cell<usize>,
}

impl RoundRobin {
    /// Starts workers on the current tokio runtime.
    pub(crate) fn start(workers: usize) -> Self {
        let workers = (0..workers).map(|_| {
            let (sender, receiver) = mpsc::unbounded_channel();
            tokio::spawn(work(receiver));
            sender
        });
        Self { workers: workers.collect(), next: Cell::new(0) }
    }
}

async fn work(mut jobs: mpsc::UnboundedReceiver<Job>) {
    while let Some((number, reply)) = jobs.recv().await {
        let _ = reply.send(number);
    }
}

impl Service for RoundRobin {
    fn send(&self, number: u64) -> impl Future<Output = Result<u64, Error>> {
        let worker = self.next.get();
        self.next.set((worker + 1) % self.workers.len());
        let (reply, answer) = oneshot::channel();
        let _ = self.workers[worker].send((number, reply));
        async { answer.await.map_err(|_| Error::Reference { reference: "round robin" }) }
    }
}

//! A task that gives work to whichever worker is idle: the barest pool of warm workers.

use std::{collections::VecDeque, future::Future};

use tokio::sync::{mpsc, oneshot};

use crate::{Error, service::Service};

type Job = (u64, oneshot::Sender<u64>);

enum Event {
    Job(Job),
    Idle(usize),
}

/// One dispatching task with a list of idle workers. It stores nothing, supervises no worker and finds no lost job.
pub(crate) struct Dispatcher {
    events: mpsc::UnboundedSender<Event>,
}

impl Dispatcher {
    /// Starts the dispatcher and its workers on the current tokio runtime.
    pub(crate) fn start(workers: usize) -> Self {
        let (events, receiver) = mpsc::unbounded_channel();
        let workers = (0..workers).map(|index| {
            let (sender, jobs) = mpsc::unbounded_channel();
            tokio::spawn(work(index, jobs, events.downgrade()));
            sender
        });
        tokio::spawn(dispatch(receiver, workers.collect()));
        Self { events }
    }
}

async fn dispatch(mut events: mpsc::UnboundedReceiver<Event>, workers: Vec<mpsc::UnboundedSender<Job>>) {
    let mut idle: Vec<usize> = (0..workers.len()).collect();
    let mut waiting = VecDeque::new();
    while let Some(event) = events.recv().await {
        match event {
            Event::Job(job) => waiting.push_back(job),
            Event::Idle(worker) => idle.push(worker),
        }
        while !idle.is_empty()
            && let Some(job) = waiting.pop_front()
            && let Some(worker) = idle.pop()
        {
            let _ = workers[worker].send(job);
        }
    }
}

async fn work(index: usize, mut jobs: mpsc::UnboundedReceiver<Job>, events: mpsc::WeakUnboundedSender<Event>) {
    while let Some((number, reply)) = jobs.recv().await {
        let _ = reply.send(number);
        let Some(events) = events.upgrade() else { return };
        let _ = events.send(Event::Idle(index));
    }
}

impl Service for Dispatcher {
    fn send(&self, number: u64) -> impl Future<Output = Result<u64, Error>> {
        let (reply, answer) = oneshot::channel();
        let _ = self.events.send(Event::Job((number, reply)));
        async { answer.await.map_err(|_| Error::Reference { reference: "dispatcher" }) }
    }
}

//! Submission of many tasks in one call.

use std::{collections::BTreeMap, sync::Arc};

use forerunner_core::{NewTask, PoolName, Task};
use tokio::sync::oneshot;

use crate::{
    Error, Handle,
    handle::{Acceptance, Admitted, PoolEntry},
    metrics,
    queue::messages::{Enqueue, Reply},
    status::Submitted,
};

/// The part of a batch for one pool.
#[derive(Default)]
struct Group {
    sent: Vec<Enqueue>,
    /// Why the pool accepts no more tasks of the batch.
    full: Option<Error>,
}

/// A task whose acceptance is pending.
struct PendingSubmission<'a> {
    task: Arc<Task>,
    entry: &'a PoolEntry,
    answer: Acceptance,
}

impl Handle {
    /// Submits tasks together. Returns one result per task, in order, once the accepted tasks are durable.
    ///
    /// The tasks of one pool are sent and stored as one group, with one commit instead of one per task. Each task is
    /// accepted or rejected by itself, with the errors of [`Handle::submit`]. Once a queue is full it accepts nothing
    /// more of the batch. So the accepted tasks are the first ones, and tasks of a context remain in order.
    ///
    /// The tasks are sent at the first poll, whether or not the future is polled again.
    pub async fn submit_batch(&self, batch: Vec<NewTask>) -> Vec<Result<Submitted, Error>> {
        let keyed: Vec<_> = batch.iter().map(|new| self.keyed(new)).collect();
        let sent = self.send_batch(batch);
        let mut outcomes = Vec::with_capacity(sent.len());
        for (one, keyed) in sent.into_iter().zip(keyed) {
            let outcome = match one {
                Ok(pending) => pending.outcome().await,
                Err(error) => Err(error),
            };
            outcomes.push(match outcome {
                Err(error) => self.known(keyed, error).await,
                submitted => submitted,
            });
        }
        outcomes
    }

    fn send_batch(&self, batch: Vec<NewTask>) -> Vec<Result<PendingSubmission<'_>, Error>> {
        let mut groups: BTreeMap<PoolName, Group> = BTreeMap::new();
        let mut sent = Vec::with_capacity(batch.len());
        for new in batch {
            let group = groups.entry(new.pool.clone()).or_default();
            sent.push(self.join(group, new));
        }
        for (pool, group) in groups {
            if let Some(entry) = self.shared.pools.get(&pool) {
                entry.submit.send_all(group.sent);
            }
        }
        sent
    }

    fn join(&self, group: &mut Group, new: NewTask) -> Result<PendingSubmission<'_>, Error> {
        if let Some(full) = &group.full {
            metrics::rejected(new.pool.as_str(), full.full().unwrap_or("queue_full"));
            return Err(full.clone().of_input(new.input.len() as u64));
        }
        let admitted = self.admit(new).map(|(entry, submission)| {
            let (task, store) = (submission.task.clone(), self.shared.deps.store.local());
            let answer = match store {
                Some(store) => Acceptance::Now(entry.accept_now(store, submission, None)),
                None => group.add(submission),
            };
            PendingSubmission { task, entry, answer }
        });
        if let Err(error) = &admitted
            && error.full().is_some()
        {
            group.full = Some(error.clone());
        }
        admitted
    }
}

impl Group {
    fn add(&mut self, admitted: Admitted) -> Acceptance {
        let (reply, answer) = oneshot::channel();
        self.sent.push(Enqueue { submission: admitted.into_submission(), reply: Reply::to(reply) });
        Acceptance::Later(answer)
    }
}

impl PendingSubmission<'_> {
    async fn outcome(self) -> Result<Submitted, Error> {
        let Self { task, entry, answer } = self;
        answer.outcome(entry).await.map(|accepted| Submitted::of(task, accepted))
    }
}

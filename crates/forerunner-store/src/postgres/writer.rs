//! The task that runs everything that waits in one transaction, again and again.

use std::{
    sync::{Arc, Mutex, atomic::AtomicI64},
    time::Duration,
};

use deadpool_postgres::{Object, Pool};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, timeout, timeout_at},
};

use super::{
    PostgresOptions,
    bell::Bell,
    failure::{Fault, unavailable},
    jobs::{Answer, Job},
    link,
    tx::{SLOW, Tx},
};
use crate::StoreError;

/// Most tasks that one group takes in: past this, a bigger group wins little and answers later.
const MAX_GROUP: usize = 1_024;
/// Without statistics of the newest rows, the planner would rather read whole tables, and sort all claimable tasks, than walk
/// their indexes.
const WALKS: &str = "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off; ";
/// How often a group is run that came to nothing because of other nodes.
const MAX_RUNS: u32 = 10;
/// The first and the longest pause between two attempts to connect; operations in between are refused at once.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How far a group came.
enum Failure {
    /// Nothing of it is stored.
    Undone(Fault),
    /// The connection broke, or was too slow, while it was committed: it may be stored.
    Unknown(Fault),
    /// There was no connection.
    NotBegun(StoreError),
}

impl Failure {
    fn explain(&self) -> StoreError {
        match self {
            Self::Undone(fault) => fault.explain(),
            Self::NotBegun(error) => error.clone(),
            Self::Unknown(fault) => StoreError::OutcomeUnknown { store: super::failure::KIND, reason: fault.reason() },
        }
    }

    /// Whether the database said nothing for as long as it may.
    const fn is_silence(&self) -> bool {
        matches!(self, Self::Undone(Fault::Slow(_)) | Self::Unknown(Fault::Slow(_)))
    }
}

pub(super) struct Writer {
    pub pool: Pool,
    pub options: PostgresOptions,
    pub jobs: UnboundedReceiver<Job>,
    pub bell: Arc<Bell>,
    /// When a connection may be tried again, how long the pause is, and why the last attempt failed.
    pub broken: Option<(Instant, Duration, StoreError)>,
}

impl Writer {
    /// Runs until nobody can ask any more and all that was asked is answered.
    pub async fn serve(mut self) {
        while let Some(first) = self.jobs.recv().await {
            let mut weight = first.weight();
            let mut group = vec![first];
            while weight < MAX_GROUP
                && let Ok(job) = self.jobs.try_recv()
            {
                weight += job.weight();
                group.push(job);
            }
            self.run(group).await;
        }
        self.pool.close();
    }

    async fn run(&mut self, group: Vec<Job>) {
        match self.attempt(&group).await {
            Ok(answers) => answer(group, answers),
            // One of them spoils it for all, so each gets a transaction of its own.
            Err(Failure::Undone(fault)) if fault.is_of_operation() && group.len() > 1 => {
                for job in group {
                    let alone = [job];
                    let outcome = self.attempt(&alone).await;
                    match outcome {
                        Ok(answers) => answer(alone.into(), answers),
                        Err(failure) => refuse(alone.into(), &failure.explain()),
                    }
                }
            }
            Err(failure) => refuse(group, &failure.explain()),
        }
    }

    /// Runs a group until it is stored or fails for a reason of its own.
    async fn attempt(&mut self, group: &[Job]) -> Result<Vec<Answer>, Failure> {
        let mut runs = 0;
        // One limit for a connection and the first answer over it, also if a second one has to be made.
        let mut begin_by = Instant::now() + self.options.call_timeout;
        loop {
            runs += 1;
            let client = self.connect(begin_by).await.map_err(Failure::NotBegun)?;
            match self.transact(client, group, begin_by).await {
                Err(Failure::Undone(fault)) if fault.is_transient() && runs < MAX_RUNS => {
                    tokio::time::sleep(Duration::from_millis(u64::from(runs))).await;
                    begin_by = Instant::now() + self.options.call_timeout;
                }
                // The pool had a connection that was cut while it rested.
                Err(Failure::NotBegun(_)) if runs == 1 => {}
                Err(failure) if failure.is_silence() => {
                    self.pause(unavailable(SLOW));
                    return Err(failure);
                }
                outcome => return outcome,
            }
        }
    }

    async fn connect(&mut self, by: Instant) -> Result<Object, StoreError> {
        if let Some((until, _, error)) = &self.broken
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        match timeout_at(by, link::connect(&self.pool)).await.unwrap_or_else(|_| Err(unavailable(SLOW))) {
            Ok(client) => {
                self.broken = None;
                Ok(client)
            }
            Err(error) => {
                self.pause(error.clone());
                Err(error)
            }
        }
    }

    /// Refuses for a moment what waits, since it would only wait for the same, and gives up connections that rest.
    fn pause(&mut self, error: StoreError) {
        let pause = self.broken.as_ref().map_or(BACKOFF.0, |(_, pause, _)| (*pause * 2).min(BACKOFF.1));
        self.broken = Some((Instant::now() + pause, pause, error));
        drop(self.pool.retain(|_, _| false));
    }

    /// Runs a group in one transaction. A connection in doubt is dropped, which ends its transaction as well.
    async fn transact(&self, client: Object, group: &[Job], begin_by: Instant) -> Result<Vec<Answer>, Failure> {
        let limit = self.options.call_timeout;
        let (database_time, gained) = (self.options.database_time, AtomicI64::new(0));
        let (opening, hints) = (Mutex::new(Some(self.begin(group))), Mutex::default());
        let tx = Tx { client: &client, begin_by, limit, database_time, opening, bell: &self.bell, gained, hints };
        let answers = match tx.run_all(group).await {
            Ok(answers) => answers,
            Err(Fault::NotBegun(why)) => {
                drop(Object::take(client));
                return Err(Failure::NotBegun(unavailable(why)));
            }
            Err(fault @ Fault::Slow(_)) => {
                drop(Object::take(client));
                return Err(Failure::Undone(fault));
            }
            Err(fault) => {
                if !matches!(timeout(limit, client.batch_execute("ROLLBACK")).await, Ok(Ok(()))) {
                    drop(Object::take(client));
                }
                return Err(Failure::Undone(fault));
            }
        };
        if tx.take_opening().is_some() {
            // Nothing was asked of the database.
            self.bell.tell(std::mem::take(&mut *tx.hints()));
            return Ok(answers);
        }
        let fault = match timeout(limit, client.batch_execute("COMMIT")).await {
            Ok(Ok(())) => {
                self.bell.tell(std::mem::take(&mut *tx.hints()));
                return Ok(answers);
            }
            // The server itself said that it did not commit.
            Ok(Err(error)) if error.code().is_some() && !error.is_closed() => {
                drop(Object::take(client));
                return Err(Failure::Undone(Fault::Engine(error)));
            }
            Ok(Err(error)) => Fault::Engine(error),
            Err(_) => Fault::Slow(SLOW),
        };
        drop(Object::take(client));
        Err(Failure::Unknown(fault))
    }

    /// Settings of the transaction only: what is set for a session would meet other clients behind a pooler.
    fn begin(&self, group: &[Job]) -> String {
        let millis = self.options.call_timeout.as_millis().max(1);
        // A commit that waits for the disk is the dearest thing in a task's life.
        let may_forget = self.options.database_time && group.iter().all(Job::is_forgettable);
        let waits = if may_forget { "SET LOCAL synchronous_commit = off; " } else { "" };
        let walks = if group.iter().any(Job::walks_an_index) { WALKS } else { "" };
        format!(
            "BEGIN; {waits}{walks}SET LOCAL statement_timeout = {millis}; SET LOCAL lock_timeout = {millis}; \
             SET LOCAL idle_in_transaction_session_timeout = {millis}"
        )
    }
}

fn answer(group: Vec<Job>, answers: Vec<Answer>) {
    for (job, answer) in group.into_iter().zip(answers) {
        // Nobody may be waiting: a dropped future does not undo its operation.
        drop(job.reply.send(Ok(answer)));
    }
}

fn refuse(group: Vec<Job>, error: &StoreError) {
    for job in group {
        drop(job.reply.send(Err(error.clone())));
    }
}

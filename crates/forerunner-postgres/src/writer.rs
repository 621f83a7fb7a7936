//! The tasks that run everything that waits in one transaction, again and again: one for each lane.

use std::{sync::atomic::AtomicI64, time::Duration};

use parking_lot::Mutex;

use deadpool_postgres::Pool;
use forerunner_core::NodeId;
use forerunner_store::StoreError;
use tokio::{
    sync::{mpsc::UnboundedReceiver, watch},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    address::Naming,
    failure::{Fault, KIND, unavailable},
    link::Link,
    node_state::NodeState,
    options::PostgresOptions,
    request::{Job, Request, SetAside},
    tx::{SLOW, Tx},
    unit_of_work::{Failure, statements},
    unread::Unread,
};

/// Most tasks of one group: beyond this, a bigger group wins little and answers later.
const MAX_GROUP: usize = 1_024;
/// Without statistics of the newest rows, the planner would rather read whole tables, and sort all claimable tasks, than walk
/// their indexes.
const WALKS: &str = "; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; \
                     SET LOCAL jit = off";
/// What undoes that in a session that is set to it, for questions of any form.
const LOOKS: &str = "; SET LOCAL enable_bitmapscan = on; SET LOCAL enable_seqscan = on; SET LOCAL enable_sort = on; \
                     SET LOCAL plan_cache_mode = auto";
/// How long a renewed lease needs no further renewal: short compared with its length.
const RENEWED: Duration = Duration::from_secs(1);
/// How often a group runs that failed because of other nodes.
const MAX_RUNS: u32 = 10;
/// The first and the longest pause between two attempts to connect; operations in between are refused at once.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Why a lane waits for another one.
pub(crate) struct Order<'a> {
    /// How many requests that begin tasks are over.
    pub ended: watch::Receiver<u64>,
    /// Where that is counted, if this is their lane.
    pub ends: Option<&'a watch::Sender<u64>>,
}

/// A lane: it runs one part of the requests, over a connection of its own.
pub(crate) struct Writer<'a> {
    order: Order<'a>,
    pool: Pool,
    options: PostgresOptions,
    naming: Naming,
    jobs: UnboundedReceiver<Job>,
    node: NodeState,
    link: Option<Link>,
    /// When a connection may be tried again, how long the pause is, and why the last attempt failed.
    broken: Option<(Instant, Duration, StoreError)>,
    /// Whose lease was renewed over this connection, and when.
    renewed: Option<(NodeId, Instant)>,
}

impl<'a> Writer<'a> {
    pub fn new(
        pool: Pool,
        options: PostgresOptions,
        naming: Naming,
        jobs: UnboundedReceiver<Job>,
        node: NodeState,
        order: Order<'a>,
    ) -> Self {
        Self { order, pool, options, naming, jobs, node, link: None, broken: None, renewed: None }
    }

    /// Runs until nobody can ask any more and all that was asked is answered.
    pub async fn serve(mut self) {
        let mut next = None;
        while let Some(first) = if next.is_some() { next.take() } else { self.jobs.recv().await } {
            let mut weight = first.request.weight();
            let mut group = vec![first];
            while weight < MAX_GROUP
                && !group[0].request.class().is_long
                && let Ok(job) = self.jobs.try_recv()
            {
                if job.request.class().is_long {
                    next = Some(job);
                    break;
                }
                weight += job.request.weight();
                group.push(job);
            }
            let after = group.iter().map(|job| job.after).max().unwrap_or(0);
            // Fails when that lane is over: then nothing is under way there.
            drop(self.order.ended.wait_for(|ended| *ended >= after).await);
            let count = group.len() as u64;
            self.run(group).await;
            if let Some(ends) = self.order.ends {
                ends.send_modify(|ended| *ended += count);
            }
            self.tend().await;
        }
    }

    async fn run(&mut self, mut group: Vec<Job>) {
        let mut requests: Vec<&mut Request> = group.iter_mut().map(|job| &mut job.request).collect();
        let mut outcomes = self.outcomes(&mut requests, true).await;
        let mut open = Vec::new();
        for (request, outcome) in requests.into_iter().zip(&mut outcomes) {
            let Some(batch) = request.batch().filter(|_| outcome.is_ok()) else { continue };
            let left = batch.open().len();
            if left > 0 {
                let is_whole = left == batch.len();
                open.push((request, outcome, is_whole));
            }
        }
        if !open.is_empty() {
            let mut requests: Vec<&mut Request> = open.iter_mut().map(|(request, ..)| &mut **request).collect();
            let rest = self.outcomes(&mut requests, false).await;
            for ((_, outcome, is_whole), rest) in open.into_iter().zip(rest) {
                *outcome = rest.map_err(|error| if is_whole { error } else { half_done(&error) });
            }
        }
        if outcomes.iter().any(Result::is_err) {
            self.node.unanswered.note(Instant::now());
        }
        for (job, outcome) in group.into_iter().zip(outcomes) {
            job.request.reply(outcome);
        }
    }

    /// Runs requests; answers what became of each. Unless they `may_be_short`, nothing of it is open.
    async fn outcomes(&mut self, requests: &mut [&mut Request], may_be_short: bool) -> Vec<Result<(), StoreError>> {
        match self.attempt(requests, may_be_short).await {
            Ok(()) => requests.iter().map(|_| Ok(())).collect(),
            // One of them fails all, so each gets a transaction of its own.
            Err(Failure::Undone(fault) | Failure::Broken(fault)) if fault.is_of_operation() => {
                self.apart(requests, may_be_short, &fault).await
            }
            Err(failure) => requests.iter().map(|_| Err(failure.explain())).collect(),
        }
    }

    /// Runs requests that were refused together: each alone, and each member of a batch alone.
    async fn apart(
        &mut self,
        requests: &mut [&mut Request],
        may_be_short: bool,
        fault: &Fault,
    ) -> Vec<Result<(), StoreError>> {
        if let [request] = requests {
            return vec![self.members_apart(request, fault).await];
        }
        let mut outcomes = Vec::with_capacity(requests.len());
        for request in requests {
            outcomes.push(match self.attempt(&mut [&mut **request], may_be_short).await {
                Ok(()) => Ok(()),
                Err(Failure::Undone(fault) | Failure::Broken(fault)) if fault.is_of_operation() => {
                    self.members_apart(request, &fault).await
                }
                Err(failure) => Err(failure.explain()),
            });
        }
        outcomes
    }

    /// Runs one request that the database refuses as a whole, member by member.
    async fn members_apart(&mut self, request: &mut Request, fault: &Fault) -> Result<(), StoreError> {
        // Others that changed the same tasks are no reason to do so one by one.
        let members = request.batch().filter(|_| fault.refusal().is_some()).map(|batch| batch.open());
        let Some(members) = members else { return Err(fault.explain()) };
        let is_one = members.len() == 1;
        for member in members {
            if let Some(batch) = request.batch() {
                batch.pick(member);
            }
            let failed = if is_one { Err(None) } else { self.attempt(&mut [&mut *request], false).await.map_err(Some) };
            match failed {
                Ok(()) => {}
                Err(Some(Failure::Undone(fault) | Failure::Broken(fault))) => {
                    self.refuse(request, member, &fault).await?
                }
                Err(Some(failure)) => return Err(failure.explain()),
                Err(None) => self.refuse(request, member, fault).await?,
            }
        }
        Ok(())
    }

    /// Handles the rejection of one member's values by the database: an attempt ends with an error instead of its
    /// result.
    async fn refuse(&mut self, request: &mut Request, member: usize, fault: &Fault) -> Result<(), StoreError> {
        let Some(reason) = fault.refusal() else { return Err(fault.explain()) };
        tracing::error!(reason, "the database rejects one item of a batch; the others are stored");
        let is_done = request.batch().is_none_or(|batch| batch.refuse(member, &reason, fault.is_over_limit()));
        if is_done {
            return Ok(());
        }
        self.attempt(&mut [request], false).await.map_err(|failure| failure.explain())
    }

    /// Sets unreadable tasks aside, in a transaction of its own; returns whether there were any.
    async fn set_aside(&mut self, unread: Vec<Unread>) -> bool {
        let mut request = Request::SetAside(SetAside { unread, done: Default::default() });
        if let Err(failure) = Box::pin(self.attempt(&mut [&mut request], false)).await {
            let error = failure.explain();
            tracing::error!(%error, "store: cannot set unreadable tasks aside");
            return false;
        }
        let Request::SetAside(SetAside { done: (found, there), .. }) = request else { return false };
        self.node.damaged.note_found(&found);
        self.node.damaged.note_there(there);
        !found.is_empty()
    }

    /// Runs a group until it is stored or fails for a reason of its own.
    async fn attempt(&mut self, requests: &mut [&mut Request], may_be_short: bool) -> Result<(), Failure> {
        let mut runs = 0;
        // One limit for a connection and the first answer over it, also if a second one has to be made.
        let mut begin_by = Instant::now() + self.options.call_timeout;
        loop {
            runs += 1;
            let link = self.connect(begin_by).await.map_err(Failure::NotBegun)?;
            match self.transact(link, requests, begin_by, may_be_short, runs > 1).await {
                // Run again without it in the way.
                Err(Failure::Undone(Fault::Damaged(unread)) | Failure::Broken(Fault::Damaged(unread)))
                    if !matches!(requests, [Request::SetAside(_)]) =>
                {
                    let fault = Fault::Damaged(unread.clone());
                    if !self.set_aside(vec![*unread]).await {
                        return Err(Failure::Undone(fault));
                    }
                    begin_by = Instant::now() + self.options.call_timeout;
                }
                Ok(unread) => {
                    requests.iter_mut().filter_map(|request| request.batch()).for_each(|batch| batch.keep());
                    if !unread.is_empty() {
                        self.set_aside(unread).await;
                    }
                    return Ok(());
                }
                Err(Failure::Undone(fault) | Failure::Broken(fault)) if fault.is_transient() && runs < MAX_RUNS => {
                    tokio::time::sleep(Duration::from_millis(u64::from(runs))).await;
                    begin_by = Instant::now() + self.options.call_timeout;
                }
                // The connection was cut while it rested, or under what it was asked.
                Err(failure) if failure.is_broken_off() && runs == 1 && Instant::now() < begin_by => {}
                Err(failure) if failure.is_silence() => {
                    self.pause(unavailable(SLOW));
                    return Err(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn connect(&mut self, by: Instant) -> Result<Link, StoreError> {
        if let Some((until, _, error)) = &self.broken
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        if let Some(link) = self.link.take().filter(|link| !link.is_closed()) {
            return Ok(link);
        }
        self.renewed = None;
        let opened = timeout_at(by, Link::open(&self.pool, &self.options, self.naming)).await;
        match opened.unwrap_or_else(|_| Err(unavailable(SLOW))) {
            Ok(link) => {
                self.broken = None;
                Ok(link)
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
        self.link = None;
        drop(self.pool.retain(|_, _| false));
    }

    /// Maintains the connection between two groups.
    async fn tend(&mut self) {
        let Some(link) = self.link.as_ref().filter(|link| link.is_to_be_tended()) else { return };
        let tended = timeout(self.options.call_timeout, link.tend()).await;
        if matches!(tended, Ok(Ok(()))) {
            return;
        }
        if let Some(link) = self.link.take() {
            link.discard();
        }
        if tended.is_err() {
            self.pause(unavailable(SLOW));
        }
    }

    /// Runs a group in one transaction; answers what of it could not be read. A connection in doubt is dropped, which ends its transaction as well.
    async fn transact(
        &mut self,
        link: Link,
        requests: &mut [&mut Request],
        begin_by: Instant,
        may_be_short: bool,
        is_repeated: bool,
    ) -> Result<Vec<Unread>, Failure> {
        let may_forget = self.options.database_time && requests.iter().all(|request| request.class().is_forgettable);
        let statements = if may_be_short && !link.has_rested() { statements(requests) } else { None };
        let begin = self.begin(&link, requests, may_forget);
        let claimer = requests.iter().find_map(|request| request.class().claims_for);
        let is_renewed = self.options.database_time
            && self.renewed.is_some_and(|(node, at)| Some(node) == claimer && at.elapsed() < RENEWED);
        let tx = Tx {
            link: &link,
            deadline: (Mutex::new(begin_by), self.options.call_timeout),
            database_time: self.options.database_time,
            opening: Mutex::new(statements.is_none().then(|| begin.clone())),
            is_short: statements.is_some(),
            is_repeated,
            is_renewed,
            node: &self.node,
            gained: AtomicI64::new(0),
            hints: Mutex::default(),
            unread: Mutex::default(),
        };
        let done = match statements {
            // One statement is a transaction by itself, if the session has the limits.
            Some(1) if link.has_session && !may_forget => tx.run_alone(requests).await,
            Some(_) => tx.run_at_once(&begin, requests).await,
            None => tx.run_stepwise(requests).await,
        };
        match done {
            Ok(()) => {
                self.node.notifier.notify(std::mem::take(&mut *tx.hints()));
                if let Some(node) = claimer.filter(|_| !is_renewed) {
                    self.renewed = Some((node, Instant::now()));
                }
                link.note_heard();
                let unread = tx.unread.into_inner();
                self.link = Some(link);
                Ok(unread)
            }
            Err(failure) => Err(self.after_failure(link, failure, requests, may_forget)),
        }
    }

    /// Decides whether the connection of a failed group stays in use, and what the failure means for its callers.
    fn after_failure(&mut self, link: Link, failure: Failure, requests: &[&mut Request], may_forget: bool) -> Failure {
        let is_about_names = matches!(&failure, Failure::Undone(fault) if fault.is_about_names());
        if is_about_names && !link.has_session && self.naming != Naming::Never {
            tracing::warn!(
                reason = failure.explain().to_string(),
                "prepared statements do not survive the connection pooler; using unprepared statements"
            );
            self.naming = Naming::Never;
        }
        match !is_about_names && failure.leaves_connection() {
            true => self.link = Some(link),
            false => link.discard(),
        }
        match failure {
            Failure::Unknown(fault) if requests.iter().all(|request| request.class().only_reads) => {
                Failure::Broken(fault)
            }
            // What may be forgotten may as well be undone.
            Failure::Unknown(fault) if may_forget => Failure::Undone(fault),
            failure => failure,
        }
    }

    /// Settings of the transaction only, unless the session is its own: what is set for a session would meet other clients
    /// behind a pooler.
    fn begin(&self, link: &Link, requests: &[&mut Request], may_forget: bool) -> String {
        let millis = self.options.call_timeout.as_millis().max(1);
        // A commit that waits for the disk is the dearest thing in a task's life.
        let waits = if may_forget { "; SET LOCAL synchronous_commit = off" } else { "" };
        let walks = requests.iter().any(|request| request.class().walks_an_index);
        if link.has_session {
            let looks = walks || requests.iter().all(|request| matches!(request, Request::Enqueue(_)));
            return format!("BEGIN{waits}{}", if looks { "" } else { LOOKS });
        }
        format!(
            "BEGIN{waits}{}; SET LOCAL statement_timeout = {millis}; SET LOCAL lock_timeout = {millis}; \
             SET LOCAL idle_in_transaction_session_timeout = {millis}",
            if walks { WALKS } else { "" }
        )
    }
}

/// The error of a request of which a short transaction has stored a part, and the rest could not be stored.
fn half_done(error: &StoreError) -> StoreError {
    let reason = format!("a part of the operation is stored, the other is not: {error}");
    StoreError::OutcomeUnknown { store: KIND, reason }
}

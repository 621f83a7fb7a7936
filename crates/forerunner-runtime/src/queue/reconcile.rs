//! Compares the leases of this node in the store with the tasks that it runs.
//!
//! A claim whose answer was lost leaves tasks that are leased to this node and run nowhere: the queue releases them. A
//! task whose lease another node has taken over is stopped now, not at its end.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use actix::Context;
use forerunner_core::{LeaseEpoch, QueueEvent, TaskId, Timestamp};
use forerunner_store::{LeaseLost, Settled, Settlement};

use super::{QueueActor, messages::StopTask};
use crate::agent::CancelReason;

/// Interval of the comparison.
pub(super) const RECONCILE: Duration = Duration::from_secs(5);
/// How long a task must be missing before it is released: the answer of its claim may still arrive.
const GRACE: Duration = Duration::from_secs(10);

/// The tasks that are missing on this node, and the number of claims in flight.
#[derive(Debug, Default)]
pub(super) struct Reconciling {
    missing: HashMap<TaskId, Missing>,
    under_way: bool,
    begun: u64,
    ended: u64,
}

/// A task that the store leases to this node, and that this node does not have.
#[derive(Debug, Clone, Copy)]
struct Missing {
    epoch: LeaseEpoch,
    since: Timestamp,
    /// Number of claims that had begun when the task was first missed. One of them may still return it.
    claims: u64,
}

impl Reconciling {
    pub(super) fn begin_claim(&mut self) {
        self.begun += 1;
    }

    pub(super) fn end_claim(&mut self) {
        self.ended += 1;
    }

    /// Whether a claim is in flight.
    pub(super) const fn awaits_claim(&self) -> bool {
        self.begun > self.ended
    }

    /// Notes which tasks are missing at `now`. Returns those that were missing for long enough to be released.
    fn note_missing(&mut self, missing: &[(TaskId, LeaseEpoch)], now: Timestamp) -> Vec<(TaskId, LeaseEpoch)> {
        let (before, begun) = (std::mem::take(&mut self.missing), self.begun);
        let mut lost = Vec::new();
        for (task, epoch) in missing {
            let known = before.get(task).filter(|known| known.epoch == *epoch).copied();
            let known = known.unwrap_or(Missing { epoch: *epoch, since: now, claims: begun });
            if now.since(known.since) >= GRACE && self.ended >= known.claims {
                lost.push((*task, *epoch));
            }
            self.missing.insert(*task, known);
        }
        lost
    }
}

impl QueueActor {
    /// Compares the store's leases with the tasks of this node.
    pub(super) fn reconcile(&mut self, ctx: &mut Context<Self>) {
        if self.reconciling.under_way || self.closed {
            return;
        }
        self.reconciling.under_way = true;
        let begun = self.leased.iter().map(|(task, leased)| (*task, leased.epoch));
        let here: Vec<_> = begun.chain(self.prefetched.leases()).collect();
        let known = here.iter().map(|(task, _)| *task).collect();
        let call = self.deps.node.store.leases(self.deps.node.node, self.deps.name.clone(), known);
        self.call(call, ctx, move |queue, answer, ctx| {
            queue.reconciling.under_way = false;
            if let Ok(Some(there)) = answer {
                queue.on_leases(&here, there.into_iter().collect(), ctx);
            }
        });
    }

    fn on_leases(
        &mut self,
        here: &[(TaskId, LeaseEpoch)],
        there: HashMap<TaskId, LeaseEpoch>,
        ctx: &mut Context<Self>,
    ) {
        let prefetched: HashSet<_> = self.prefetched.leases().map(|(task, _)| task).collect();
        let is_here = |task: &TaskId| {
            self.leased.contains_key(task) || prefetched.contains(task) || self.settling.contains(*task)
        };
        let missing: Vec<_> =
            there.iter().filter(|(task, _)| !is_here(task)).map(|(task, epoch)| (*task, *epoch)).collect();
        let lost = self.reconciling.note_missing(&missing, self.deps.now());
        self.release_lost(&lost, ctx);
        for (task, epoch) in here.iter().filter(|(task, epoch)| there.get(task) != Some(epoch)) {
            self.stop_lost(*task, *epoch, ctx);
        }
    }

    /// Releases tasks that the store leases to this node and that never arrived. No attempt of them began.
    fn release_lost(&mut self, lost: &[(TaskId, LeaseEpoch)], ctx: &mut Context<Self>) {
        if lost.is_empty() {
            return;
        }
        tracing::warn!(pool = %self.deps.name, tasks = lost.len(), "releasing tasks whose claim got no answer");
        let now = self.deps.now();
        let settlements = lost.iter().map(|(task, epoch)| Settlement::release(*task, *epoch, now));
        let call = self.deps.node.store.settle(settlements.collect());
        self.call(call, ctx, |queue, answer, ctx| {
            let given: Vec<Result<Settled, LeaseLost>> = answer.unwrap_or_default();
            let given: Vec<_> = given.into_iter().flatten().collect();
            queue.admission.reenter(given.len());
            queue.apply(QueueEvent::BecameClaimable(given.iter().map(|settled| settled.claimable).sum()), ctx);
        });
    }

    /// Stops a task whose lease another node has taken over, if it still runs here.
    fn stop_lost(&mut self, task: TaskId, epoch: LeaseEpoch, ctx: &mut Context<Self>) {
        let prefetched = self.prefetched.take_if(|prefetched| prefetched.id == task && prefetched.epoch == epoch);
        if !prefetched.is_empty() {
            return self.apply(QueueEvent::PrefetchDropped(prefetched.len()), ctx);
        }
        let runs = self.leased.get(&task).is_some_and(|leased| leased.epoch == epoch);
        if let Some(links) = self.links.as_ref().filter(|_| runs) {
            tracing::warn!(pool = %self.deps.name, %task, epoch = epoch.0, "the lease is lost; stopping the task");
            links.stop_task.do_send(StopTask { task, reason: CancelReason::LeaseLost });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
    }

    fn task(number: u128) -> TaskId {
        TaskId::from_parts(at(0), number)
    }

    #[test]
    fn what_stays_missing_is_lost_and_what_comes_back_is_not() {
        let (one, two) = ((task(1), LeaseEpoch(1)), (task(2), LeaseEpoch(1)));
        let mut reconciling = Reconciling::default();
        assert_eq!(reconciling.note_missing(&[one, two], at(0)), []);
        assert_eq!(reconciling.note_missing(&[one], at(5)), []);
        assert_eq!(reconciling.note_missing(&[one, two], at(10)), [one], "two was there in between");
        let again = (task(2), LeaseEpoch(2));
        assert_eq!(reconciling.note_missing(&[again], at(20)), [], "another lease is another matter");
        assert_eq!(reconciling.note_missing(&[again], at(30)), [again]);
    }

    #[test]
    fn what_a_claim_may_still_bring_is_waited_for() {
        let one = (task(1), LeaseEpoch(1));
        let mut reconciling = Reconciling::default();
        reconciling.begin_claim();
        reconciling.note_missing(&[one], at(0));
        assert_eq!(reconciling.note_missing(&[one], at(100)), []);
        reconciling.end_claim();
        reconciling.begin_claim();
        assert_eq!(reconciling.note_missing(&[one], at(105)), [one], "a later claim has nothing to do with it");
    }
}

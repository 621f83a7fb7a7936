//! What the store says this node runs, against what it runs.
//!
//! A claim whose answer was lost on the way leaves tasks that run for the store and for nobody else: they are given back. And
//! what runs here under a lease that another node has taken over is stopped, rather than found out when it ends.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use actix::Context;
use forerunner_core::{LeaseEpoch, QueueEvent, TaskId, Timestamp};
use forerunner_store::{LeaseLost, Settled, Settlement};

use super::{QueueActor, messages::StopTask};
use crate::agent::CancelReason;

/// How often the two are compared.
pub(super) const RECONCILE: Duration = Duration::from_secs(5);
/// How long a task must be missing before it is given back: an answer may still be on its way.
const GRACE: Duration = Duration::from_secs(10);

/// What seems to be missing here, and which claims are yet to be answered.
#[derive(Debug, Default)]
pub(super) struct Reconciling {
    missing: HashMap<TaskId, Missing>,
    under_way: bool,
    begun: u64,
    ended: u64,
}

/// A task that the store counts as this node's, and that the node does not have.
#[derive(Debug, Clone, Copy)]
struct Missing {
    epoch: LeaseEpoch,
    since: Timestamp,
    /// The claims that had begun when it was first missed: one of them may yet bring it.
    claims: u64,
}

impl Reconciling {
    pub(super) fn begin_claim(&mut self) {
        self.begun += 1;
    }

    pub(super) fn end_claim(&mut self) {
        self.ended += 1;
    }

    /// Whether a claim is yet to be answered.
    pub(super) const fn awaits_claim(&self) -> bool {
        self.begun > self.ended
    }

    /// Takes in what is missing at `now`; answers what has been for so long that it is to be given back.
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
    /// Compares what the store says with what there is.
    pub(super) fn reconcile(&mut self, ctx: &mut Context<Self>) {
        if self.reconciling.under_way || self.closed {
            return;
        }
        self.reconciling.under_way = true;
        let begun = self.leased.iter().map(|(task, leased)| (*task, leased.epoch));
        let here: Vec<_> = begun.chain(self.held.leases()).collect();
        let call = self.deps.node.store.leases(self.deps.node.node, self.deps.name.clone());
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
        let held: HashSet<_> = self.held.leases().map(|(task, _)| task).collect();
        let is_here =
            |task: &TaskId| self.leased.contains_key(task) || held.contains(task) || self.settling.holds(*task);
        let missing: Vec<_> =
            there.iter().filter(|(task, _)| !is_here(task)).map(|(task, epoch)| (*task, *epoch)).collect();
        let lost = self.reconciling.note_missing(&missing, self.deps.now());
        self.give_back(&lost, ctx);
        for (task, epoch) in here.iter().filter(|(task, epoch)| there.get(task) != Some(epoch)) {
            self.stop_lost(*task, *epoch, ctx);
        }
    }

    /// Gives back tasks that the store counts as this node's and that never arrived: no attempt of theirs began.
    fn give_back(&mut self, lost: &[(TaskId, LeaseEpoch)], ctx: &mut Context<Self>) {
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
        let held = self.held.take_if(|held| held.id == task && held.epoch == epoch);
        if !held.is_empty() {
            return self.apply(QueueEvent::PrefetchDropped(held.len()), ctx);
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

//! Stands between a pool's forecast, which thinks of all nodes, and this node's part of it.

use std::{collections::BTreeMap, sync::Arc};

use actix::{Actor, ActorFutureExt, Context, Handler, Recipient, ResponseActFuture, WrapFuture};
use forerunner_core::{Member, NodeId, shares};

use super::{
    messages::{ClusterView, HeartbeatNow, MakeReport, ReportReady},
    recent::{Recent, SeenEvents},
    report::{PoolPlan, PoolReport, Totals},
};
use crate::{
    deps::PoolDeps,
    pool::messages::{Configure, GetPool, PoolSample, Resize},
    queue::messages::{QueueSample, SampleQueue},
    status::{ColdStart, PoolPatch},
};

/// Where this node's part is found.
pub(crate) struct ShareLinks {
    pub(crate) queue: Recipient<SampleQueue>,
    pub(crate) pool: Recipient<GetPool>,
    pub(crate) resize: Recipient<Resize>,
    pub(crate) configure: Recipient<Configure>,
}

/// Another node's part of the pool.
struct Other {
    report: PoolReport,
    /// What of its totals the forecast has seen.
    seen: Totals,
    /// What of its single events the forecast has seen.
    seen_events: SeenEvents,
}

/// Shows a forecast the whole pool, and gives this node its share of what is wanted.
pub(crate) struct ShareActor {
    deps: Arc<PoolDeps>,
    links: ShareLinks,
    /// Fewest and most agents on all nodes together.
    bounds: (u32, u32),
    capacity: u32,
    totals: Totals,
    recent: Recent,
    /// What happened here since the forecast looked.
    unseen: QueueSample,
    own: PoolReport,
    others: BTreeMap<NodeId, Other>,
    leads: bool,
    /// Where a new plan is made known; none before the first beat.
    beat: Option<Recipient<HeartbeatNow>>,
    /// Agents wanted on all nodes.
    desired: u32,
    plan: Option<PoolPlan>,
}

impl ShareActor {
    /// A part of a pool that is wanted `desired` agents in all until its forecast or a leader says otherwise.
    pub(crate) fn new(deps: Arc<PoolDeps>, links: ShareLinks, desired: u32) -> Self {
        Self {
            bounds: (deps.settings.min, deps.settings.max),
            capacity: deps.settings.max,
            deps,
            links,
            totals: Totals::default(),
            recent: Recent::default(),
            unseen: QueueSample::default(),
            own: PoolReport::default(),
            others: BTreeMap::new(),
            leads: false,
            beat: None,
            desired,
            plan: None,
        }
    }

    fn note_queue(&mut self, sample: QueueSample) {
        self.totals.add(&sample);
        self.recent.add(&sample);
        self.own.running = sample.running;
        self.own.peak_running = sample.peak_running;
        self.unseen.absorb(sample);
    }

    fn note_pool(&mut self, sample: &PoolSample) {
        self.own.counts = sample.counts;
        self.own.draining = sample.draining;
        self.own.cold_start = sample.cold_start;
    }

    /// What happened on all nodes since the forecast looked.
    fn all_unseen(&mut self) -> QueueSample {
        let now_s = self.deps.node.now().as_secs_f64();
        let mut sample = std::mem::take(&mut self.unseen);
        (self.unseen.running, self.unseen.depth) = (sample.running, sample.depth);
        for other in self.others.values_mut() {
            other.report.totals.add_since(&other.seen, &mut sample);
            other.seen = other.report.totals;
            other.report.recent.add_since(other.seen_events, now_s, &mut sample);
            other.seen_events = other.report.recent.seen();
            sample.running += other.report.running;
            sample.peak_running += other.report.peak_running;
        }
        sample.arrived.sort_by(|one, other| one.1.total_cmp(&other.1));
        sample
    }

    /// The pool on all nodes.
    fn whole_pool(&self, own: PoolSample) -> PoolSample {
        let (min, max) = self.bounds;
        let mut whole = PoolSample { desired: self.desired, min, max, ..own };
        for Other { report, .. } in self.others.values() {
            whole.counts.starting += report.counts.starting;
            whole.counts.ready += report.counts.ready;
            whole.counts.busy += report.counts.busy;
            whole.counts.cooldown += report.counts.cooldown;
            whole.draining += report.draining;
            whole.cold_start = slower(whole.cold_start, report.cold_start);
        }
        whole
    }

    /// Divides what is wanted among the nodes, as their leader does, and takes this node's share.
    fn divide(&mut self) {
        if !self.leads {
            return;
        }
        let own = Member { node: self.deps.node.node, capacity: self.capacity, holds: self.own.holds() };
        let others = self.others.iter().map(|(node, Other { report, .. })| Member {
            node: *node,
            capacity: report.capacity,
            holds: report.holds(),
        });
        let members: Vec<_> = std::iter::once(own).chain(others).collect();
        let granted = shares(self.desired, &members);
        let shares = members.iter().zip(granted).map(|(member, share)| (member.node, share)).collect();
        let plan = PoolPlan { desired: self.desired, shares };
        self.take_share(&plan);
        self.plan = Some(plan);
    }

    fn take_share(&self, plan: &PoolPlan) {
        if let Some(share) = plan.shares.get(&self.deps.node.node) {
            self.links.resize.do_send(Resize(*share));
        }
    }

    fn stand(&mut self, msg: ClusterView) {
        let mut others = BTreeMap::new();
        for (node, report) in msg.others {
            // What a node did before it was known here was seen by those that knew it.
            let before = self.others.get(&node).map(|other| (other.seen, other.seen_events));
            let (seen, seen_events) = before.unwrap_or_else(|| (report.totals, report.recent.seen()));
            others.insert(node, Other { report, seen, seen_events });
        }
        self.others = others;
        let begins_to_lead = msg.leads && !self.leads;
        self.leads = msg.leads;
        self.beat = Some(msg.beat);
        if let Some(plan) = msg.plan.filter(|_| !msg.leads || begins_to_lead) {
            // A leader goes on from what the one before it wanted.
            self.desired = plan.desired;
            self.take_share(&plan);
        }
        self.divide();
    }
}

/// The slower of two: what all can rely on.
fn slower(one: Option<ColdStart>, other: Option<ColdStart>) -> Option<ColdStart> {
    match (one, other) {
        (Some(one), Some(other)) => Some(ColdStart { p50: one.p50.max(other.p50), p90: one.p90.max(other.p90) }),
        (one, other) => one.or(other),
    }
}

impl Actor for ShareActor {
    type Context = Context<Self>;
}

/// Sent by the `ForecastActor`: how the queue stands on all nodes.
impl Handler<SampleQueue> for ShareActor {
    type Result = ResponseActFuture<Self, QueueSample>;

    fn handle(&mut self, _: SampleQueue, _: &mut Self::Context) -> Self::Result {
        let sample = self.links.queue.send(SampleQueue);
        Box::pin(sample.into_actor(self).map(|sample, share, _| {
            if let Ok(sample) = sample {
                share.note_queue(sample);
            }
            share.all_unseen()
        }))
    }
}

/// Sent by the `ForecastActor`: how the pool stands on all nodes.
impl Handler<GetPool> for ShareActor {
    type Result = ResponseActFuture<Self, PoolSample>;

    fn handle(&mut self, _: GetPool, _: &mut Self::Context) -> Self::Result {
        let sample = self.links.pool.send(GetPool);
        Box::pin(sample.into_actor(self).map(|sample, share, _| {
            let sample = sample.unwrap_or_else(|_| PoolSample::empty(&share.deps.settings));
            share.note_pool(&sample);
            share.whole_pool(sample)
        }))
    }
}

/// Sent by the `ForecastActor`: how many agents it wants on all nodes. Only the leader's wish counts.
impl Handler<Resize> for ShareActor {
    type Result = ();

    fn handle(&mut self, Resize(desired): Resize, _: &mut Self::Context) {
        if !self.leads {
            return;
        }
        self.desired = desired;
        self.divide();
        if let Some(beat) = self.beat.as_ref().filter(|_| !self.others.is_empty()) {
            // Agents that are wanted now are late if the other nodes hear of it with the next beat.
            beat.do_send(HeartbeatNow);
        }
    }
}

/// Sent by the `ForecastActor`: bounds of the pool on all nodes, which the forecast keeps. A node's own are 0 and its capacity.
impl Handler<Configure> for ShareActor {
    type Result = ();

    fn handle(&mut self, Configure(patch): Configure, _: &mut Self::Context) {
        self.bounds.0 = patch.min.unwrap_or(self.bounds.0);
        if let Some(max) = patch.max {
            (self.bounds.1, self.capacity) = (max, max);
            self.links.configure.do_send(Configure(PoolPatch { min: Some(0), max: Some(max), mode: None }));
        }
    }
}

impl Handler<MakeReport> for ShareActor {
    type Result = ResponseActFuture<Self, ReportReady>;

    fn handle(&mut self, _: MakeReport, _: &mut Self::Context) -> Self::Result {
        let (queue, pool) = (self.links.queue.send(SampleQueue), self.links.pool.send(GetPool));
        let samples = async move { (queue.await, pool.await) };
        Box::pin(samples.into_actor(self).map(|(queue, pool), share, _| {
            if let Ok(queue) = queue {
                share.note_queue(queue);
            }
            if let Ok(pool) = pool {
                share.note_pool(&pool);
            }
            share.divide();
            let recent = share.recent.told_at(share.deps.node.now().as_secs_f64());
            let report = PoolReport { capacity: share.capacity, totals: share.totals, recent, ..share.own.clone() };
            ReportReady { report, plan: share.plan.clone().filter(|_| share.leads) }
        }))
    }
}

impl Handler<ClusterView> for ShareActor {
    type Result = ();

    fn handle(&mut self, msg: ClusterView, _: &mut Self::Context) {
        self.stand(msg);
    }
}

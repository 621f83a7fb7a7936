//! Connects a pool's forecast, which plans for all nodes, with this node's part of the pool.

use std::{collections::BTreeMap, sync::Arc};

use actix::{Actor, ActorFutureExt, Context, Handler, Recipient, ResponseActFuture, WrapFuture};
use forerunner_core::{CircuitState, Member, NodeId, shares};

use super::{
    elsewhere::Elsewhere,
    messages::{ClusterView, HeartbeatNow, MakeReport, ReportReady},
    report::{PoolPlan, PoolReport},
};
use crate::{
    deps::PoolDeps,
    pool::messages::{Configure, GetPool, PoolSample, Resize},
    queue::{
        messages::{DependencyChanged, FollowDependency, SampleQueue},
        sample::{QueueSample, SampleMark},
    },
    status::{ColdStart, PoolPatch},
};

/// The addresses of this node's part.
pub(crate) struct ShareLinks {
    pub(crate) queue: Recipient<SampleQueue>,
    pub(crate) pool: Recipient<GetPool>,
    pub(crate) resize: Recipient<Resize>,
    pub(crate) configure: Recipient<Configure>,
    pub(crate) dependency: Recipient<FollowDependency>,
}

/// Shows a forecast the whole pool, and scales this node's part to its share.
pub(crate) struct ShareActor {
    deps: Arc<PoolDeps>,
    links: ShareLinks,
    /// Bounds of the pool on all nodes together.
    bounds: (u32, u32),
    capacity: u32,
    /// The queue's sample in the last report.
    reported: QueueSample,
    own: PoolReport,
    /// The last reports of the other nodes.
    others: BTreeMap<NodeId, PoolReport>,
    elsewhere: Elsewhere,
    leads: bool,
    /// Where a changed plan is reported; `None` before the first heartbeat.
    heartbeat: Option<Recipient<HeartbeatNow>>,
    /// Wanted number of agents on all nodes.
    desired: u32,
    plan: Option<PoolPlan>,
}

impl ShareActor {
    /// Creates a part of a pool whose wanted size on all nodes is `desired`, until its forecast or a leader changes it.
    pub(crate) fn new(deps: Arc<PoolDeps>, links: ShareLinks, desired: u32) -> Self {
        Self {
            bounds: (deps.settings.min, deps.settings.max),
            capacity: deps.settings.max,
            deps,
            links,
            reported: QueueSample::default(),
            own: PoolReport::default(),
            others: BTreeMap::new(),
            elsewhere: Elsewhere::default(),
            leads: false,
            heartbeat: None,
            desired,
            plan: None,
        }
    }

    /// Adds the queue's counters to the next report.
    fn note_queue(&mut self, sample: QueueSample) {
        let activity = sample.since(&self.reported);
        self.own.totals = sample.mark.here;
        self.own.dependency.clone_from(&sample.dependency);
        self.own.recent.add(&activity);
        self.own.running = activity.running;
        self.own.peak_running = activity.peak_running;
        self.reported = sample;
    }

    fn note_pool(&mut self, sample: &PoolSample) {
        self.own.counts = sample.counts;
        self.own.draining = sample.draining;
        self.own.cold_start = sample.cold_start;
    }

    /// The queue on all nodes, for a reader whose last sample ended at `after`.
    fn whole_queue(&self, mut sample: QueueSample, after: &SampleMark) -> QueueSample {
        self.elsewhere.add_to(&mut sample, &after.elsewhere);
        for report in self.others.values() {
            sample.running += report.running;
            sample.peak_running += report.peak_running;
            if sample.dependency.state == CircuitState::Closed {
                sample.dependency.clone_from(&report.dependency);
            }
        }
        sample
    }

    /// The pool on all nodes.
    fn whole_pool(&self, own: PoolSample) -> PoolSample {
        let (min, max) = self.bounds;
        let mut whole = PoolSample { desired: self.desired, min, max, ..own };
        let nodes = u32::try_from(self.others.len() + 1).unwrap_or(u32::MAX);
        whole.max_starting = whole.max_starting.saturating_mul(nodes);
        for report in self.others.values() {
            whole.counts.starting += report.counts.starting;
            whole.counts.ready += report.counts.ready;
            whole.counts.busy += report.counts.busy;
            whole.counts.cooldown += report.counts.cooldown;
            whole.draining += report.draining;
            whole.cold_start = slower(whole.cold_start, report.cold_start);
        }
        whole
    }

    /// Divides the wanted size among the nodes, if this node plans for them, and applies this node's share.
    fn divide(&mut self) {
        if !self.leads {
            return;
        }
        let own = Member { node: self.deps.node.node, capacity: self.capacity, agents: self.own.agents() };
        let others = self.others.iter().map(|(node, report)| Member {
            node: *node,
            capacity: report.capacity,
            agents: report.agents(),
        });
        let members: Vec<_> = std::iter::once(own).chain(others).collect();
        let granted = shares(self.desired, &members);
        let shares = members.iter().zip(granted).map(|(member, share)| (member.node, share)).collect();
        let plan = PoolPlan { desired: self.desired, shares };
        self.apply_share(&plan);
        self.plan = Some(plan);
    }

    fn apply_share(&self, plan: &PoolPlan) {
        if let Some(share) = plan.shares.get(&self.deps.node.node) {
            self.links.resize.do_send(Resize(*share));
        }
    }

    /// Passes on the states of the other nodes' circuits.
    fn follow_dependency(&self) {
        let before = self.others.range(..self.deps.node.node).count();
        let others = self.others.values().map(|report| report.dependency.clone()).collect();
        self.links.dependency.do_send(FollowDependency { others, before });
    }

    /// Lets the other nodes know now what has changed, if there are any.
    fn heartbeat_now(&self) {
        if let Some(heartbeat) = self.heartbeat.as_ref().filter(|_| !self.others.is_empty()) {
            heartbeat.do_send(HeartbeatNow);
        }
    }

    fn update_view(&mut self, msg: ClusterView) {
        let now_s = self.deps.node.now().as_secs_f64();
        let others: BTreeMap<_, _> = msg.others.into_iter().collect();
        for (node, report) in &others {
            // Events before this node knew the other one were counted by the nodes that knew it.
            if let Some(before) = self.others.get(node) {
                self.elsewhere.add(before, report, now_s);
            }
        }
        self.others = others;
        self.follow_dependency();
        let becomes_leader = msg.leads && !self.leads;
        self.leads = msg.leads;
        self.heartbeat = Some(msg.heartbeat);
        if let Some(plan) = msg.plan.filter(|_| !msg.leads || becomes_leader) {
            // A new leader continues from the size that the last one wanted.
            self.desired = plan.desired;
            self.apply_share(&plan);
        }
        self.divide();
    }
}

/// The slower of two cold starts, on which all nodes can rely.
fn slower(one: Option<ColdStart>, other: Option<ColdStart>) -> Option<ColdStart> {
    match (one, other) {
        (Some(one), Some(other)) => Some(ColdStart { p50: one.p50.max(other.p50), p90: one.p90.max(other.p90) }),
        (one, other) => one.or(other),
    }
}

impl Actor for ShareActor {
    type Context = Context<Self>;
}

/// Sent by the `ForecastActor`; answered with the state of the queue on all nodes.
impl Handler<SampleQueue> for ShareActor {
    type Result = ResponseActFuture<Self, QueueSample>;

    fn handle(&mut self, SampleQueue { after }: SampleQueue, _: &mut Self::Context) -> Self::Result {
        let sample = self.links.queue.send(SampleQueue { after });
        Box::pin(sample.into_actor(self).map(move |sample, share, _| {
            // A queue that does not answer has stopped and counts nothing more.
            let here = || QueueSample { mark: after, ..QueueSample::default() };
            share.whole_queue(sample.unwrap_or_else(|_| here()), &after)
        }))
    }
}

/// Sent by the `ForecastActor`; answered with the state of the pool on all nodes.
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

/// Sent by the `ForecastActor` with the size that it wants on all nodes. Only the leader's is applied.
impl Handler<Resize> for ShareActor {
    type Result = ();

    fn handle(&mut self, Resize(desired): Resize, _: &mut Self::Context) {
        if !self.leads {
            return;
        }
        self.desired = desired;
        self.divide();
        // Agents are needed now: they would be late if the other nodes read the plan at their next heartbeat.
        self.heartbeat_now();
    }
}

/// Sent by the `QueueActor`: the other nodes are to open their circuits too, or to try again.
impl Handler<DependencyChanged> for ShareActor {
    type Result = ();

    fn handle(&mut self, _: DependencyChanged, _: &mut Self::Context) {
        self.heartbeat_now();
    }
}

/// Sent by the `ForecastActor` with the bounds on all nodes, which the forecast respects. The bounds of this node's
/// part are 0 and its capacity.
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
        let queue = self.links.queue.send(SampleQueue { after: self.reported.mark });
        let pool = self.links.pool.send(GetPool);
        let samples = async move { (queue.await, pool.await) };
        Box::pin(samples.into_actor(self).map(|(queue, pool), share, _| {
            if let Ok(queue) = queue {
                share.note_queue(queue);
            }
            if let Ok(pool) = pool {
                share.note_pool(&pool);
            }
            share.divide();
            let recent = share.own.recent.aged_at(share.deps.node.now().as_secs_f64());
            let report = PoolReport { capacity: share.capacity, recent, ..share.own.clone() };
            ReportReady { report, plan: share.plan.clone().filter(|_| share.leads) }
        }))
    }
}

impl Handler<ClusterView> for ShareActor {
    type Result = ();

    fn handle(&mut self, msg: ClusterView, _: &mut Self::Context) {
        self.update_view(msg);
    }
}

//! Sends the node's heartbeats, and gives its pools the state of the other nodes.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, WrapFuture};
use forerunner_core::{NodeId, PoolName, Timestamp};
use forerunner_store::{Backlog, ClusterState, Heartbeat, LEASE, Plan, Rescue, StoreError, TaskCounts};
use tokio::time::Instant;

use super::{
    messages::{ApplySettings, ClusterView, HeartbeatNow, Leave, ListNodes, MakeReport, Nodes, ReportReady},
    notifications::stream_of,
    report::{NodeReport, PlanText, PoolReport},
    settings::SettingsOverride,
};
use crate::{
    deps::Deps,
    forecast::messages::ReadLesson,
    metrics,
    pool::messages::SetPaused,
    queue::messages::{Counted, StopAll, StopCancelled, WorkAvailable},
    status::NodeStatus,
};

/// Interval of the heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often the leader rescues the tasks of nodes whose leases have ended.
const RESCUE: Duration = Duration::from_secs(1);
/// How long before the end of its leases a node without heartbeats stops their tasks: other nodes will run them.
const MARGIN: Duration = Duration::from_secs(2);
/// A backlog that is too long to be counted at each heartbeat is counted at every 30th.
const COUNT_ALL: u64 = 30;
/// How long after the end of another node's leases its tasks are rescued.
const ENDED: Duration = Duration::from_millis(10);

/// One pool of this node.
pub(crate) struct ClusterPool {
    pub(crate) report: Recipient<MakeReport>,
    pub(crate) view: Recipient<ClusterView>,
    pub(crate) counted: Recipient<Counted>,
    pub(crate) stop_all: Recipient<StopAll>,
    pub(crate) stop_cancelled: Recipient<StopCancelled>,
    pub(crate) work_available: Recipient<WorkAvailable>,
    pub(crate) apply_settings: Recipient<ApplySettings>,
    pub(crate) read_lesson: Recipient<ReadLesson>,
    pub(crate) pause: Recipient<SetPaused>,
    /// The override of its settings for all nodes, as last read.
    pub(crate) overrides: SettingsOverride,
}

/// Represents the node towards the other nodes, through the store.
pub(crate) struct ClusterActor {
    pub(super) deps: Arc<Deps>,
    pub(super) pools: BTreeMap<PoolName, ClusterPool>,
    started_at: Timestamp,
    /// The term under which this node leads; `None` if another node does.
    leads: Option<u64>,
    nodes: Vec<NodeStatus>,
    /// Whether a heartbeat is in flight.
    in_flight: bool,
    /// Whether another heartbeat must follow: the one in flight may have read the store before a change.
    heartbeat_again: bool,
    /// Number of counts of the backlogs.
    counts: u64,
    /// Whether all watched tasks are being read.
    pub(super) scanning: bool,
    /// The timer for the end of another node's leases, unless that node renews them.
    next_end: Option<SpawnHandle>,
    renewed_at: Instant,
    rescued_at: Instant,
    /// Whether the leases are given up until a heartbeat succeeds.
    lost: bool,
    has_left: bool,
}

impl ClusterActor {
    pub(crate) fn new(deps: Arc<Deps>, pools: BTreeMap<PoolName, ClusterPool>) -> Self {
        let (started_at, now) = (deps.now(), Instant::now());
        Self {
            deps,
            pools,
            started_at,
            leads: None,
            nodes: Vec::new(),
            in_flight: false,
            heartbeat_again: false,
            counts: 0,
            scanning: false,
            next_end: None,
            renewed_at: now,
            rescued_at: now,
            lost: false,
            has_left: false,
        }
    }

    /// Sends a heartbeat, or another one after the one that is in flight.
    pub(super) fn heartbeat(&mut self, ctx: &mut Context<Self>) {
        if self.in_flight || self.has_left {
            self.heartbeat_again = true;
            return;
        }
        self.in_flight = true;
        let asked: Vec<_> =
            self.pools.iter().map(|(name, pool)| (name.clone(), pool.report.send(MakeReport))).collect();
        let reports =
            futures_util::future::join_all(asked.into_iter().map(async |(name, report)| (name, report.await)));
        let (deps, begun) = (self.deps.clone(), Instant::now());
        let (started_at, term) = (self.started_at, self.leads);
        let call = async move {
            let (report, plan) = collect_reports(started_at, term.is_some(), reports.await);
            let plan = term.map(|term| Plan { term, text: text(&plan) });
            let heartbeat = Heartbeat { node: deps.node, now: deps.now(), lease: LEASE, report: text(&report), plan };
            // The heartbeat also shows whether the store's time can be read.
            let (state, _) = tokio::join!(deps.store.heartbeat(heartbeat), deps.clock.synchronise(&*deps.store));
            state
        };
        ctx.spawn(call.into_actor(self).map(move |answer, cluster, ctx| {
            cluster.in_flight = false;
            match answer {
                // The lease counts from before the call, since the moment of its arrival is unknown.
                Ok(state) => cluster.on_heartbeat(begun, state, ctx),
                Err(error) => tracing::warn!(%error, "the heartbeat failed"),
            }
            if std::mem::take(&mut cluster.heartbeat_again) {
                cluster.heartbeat(ctx);
            }
        }));
    }

    fn on_heartbeat(&mut self, begun: Instant, state: ClusterState, ctx: &mut Context<Self>) {
        self.renewed_at = begun;
        self.lost = false;
        let leads = (state.leader.node == self.deps.node).then_some(state.leader.term);
        if leads != self.leads {
            tracing::info!(leader = %state.leader.node, term = state.leader.term, "the leader has changed");
            metrics::leader_changed();
        }
        metrics::cluster(state.nodes.len(), leads.is_some());
        self.deps.is_leader.store(leads.is_some(), Ordering::Relaxed);
        self.leads = leads;
        let reports: Vec<(NodeId, NodeReport)> =
            state.nodes.iter().map(|one| (one.node, serde_json::from_str(&one.report).unwrap_or_default())).collect();
        self.nodes = reports.iter().map(|(node, report)| self.status(*node, report, state.leader.node)).collect();
        let mut plan: PlanText = state.plan.and_then(|plan| serde_json::from_str(&plan.text).ok()).unwrap_or_default();
        for (name, pool) in &self.pools {
            let reporting: BTreeMap<NodeId, &PoolReport> =
                reports.iter().filter_map(|(node, report)| Some((*node, report.pools.get(name)?))).collect();
            let planner = planner_of(state.leader.node, self.deps.node, &reporting);
            let plan = match planner == state.leader.node {
                true => plan.remove(name),
                false => reporting.get(&planner).and_then(|report| report.plan.clone()),
            };
            let others = reporting.into_iter().filter(|(node, _)| *node != self.deps.node);
            pool.view.do_send(ClusterView {
                leads: planner == self.deps.node,
                others: others.map(|(node, report)| (node, report.clone())).collect(),
                plan,
                heartbeat: ctx.address().recipient(),
            });
        }
        self.stop_cancelled(state.stops.iter().map(|(task, _)| *task).collect());
        self.apply_settings(&state.settings);
        self.count(ctx);
        self.schedule_rescue(state.next_end, ctx);
        self.rescue_if_due(ctx);
    }

    /// Applies the settings for all nodes that have changed since the last heartbeat.
    fn apply_settings(&mut self, settings: &BTreeMap<String, String>) {
        for (name, pool) in &mut self.pools {
            let now = SettingsOverride::read(settings, name);
            let before = std::mem::replace(&mut pool.overrides, now);
            if (now.bounds, now.mode) != (before.bounds, before.mode) {
                pool.apply_settings.do_send(ApplySettings(now.patch()));
            }
            if let Some(at) = now.learned.filter(|_| now.learned != before.learned) {
                pool.read_lesson.do_send(ReadLesson(at));
            }
            if let Some(paused) = now.paused.filter(|_| now.paused != before.paused) {
                pool.pause.do_send(SetPaused(paused));
            }
        }
    }

    fn status(&self, node: NodeId, report: &NodeReport, leader: NodeId) -> NodeStatus {
        let pools = report.pools.iter().map(|(name, pool)| (name.clone(), pool.counts)).collect();
        NodeStatus {
            id: node,
            version: report.version.clone(),
            started_at: report.started_at,
            leads: node == leader,
            this: node == self.deps.node,
            pools,
        }
    }

    /// Sends each queue the number of its tasks in the store: other nodes submit and claim as well.
    fn count(&mut self, ctx: &mut Context<Self>) {
        self.counts += 1;
        for name in self.pools.keys() {
            let (name, call) = (name.clone(), self.deps.store.backlog(name.clone()));
            ctx.spawn(call.into_actor(self).map(move |backlog: Result<Backlog, StoreError>, cluster, ctx| {
                let Ok(Backlog { claimable, waiting, next_due }) = backlog else { return };
                if waiting.is_none() && cluster.counts % COUNT_ALL == 0 {
                    return cluster.count_all(name, ctx);
                }
                if let Some(pool) = cluster.pools.get(&name) {
                    pool.counted.do_send(Counted { claimable, waiting, next_due, nodes: cluster.nodes.len() });
                }
            }));
        }
    }

    /// Counts a backlog that is too long to be counted each time.
    fn count_all(&self, name: PoolName, ctx: &mut Context<Self>) {
        let call = self.deps.store.counts(name.clone());
        ctx.spawn(call.into_actor(self).map(move |counts: Result<TaskCounts, StoreError>, cluster, _| {
            if let (Ok(counts), Some(pool)) = (counts, cluster.pools.get(&name)) {
                let TaskCounts { claimable, next_due, .. } = counts;
                pool.counted.do_send(Counted {
                    claimable,
                    waiting: Some(counts.waiting()),
                    next_due,
                    nodes: cluster.nodes.len(),
                });
            }
        }));
    }

    /// Schedules a rescue for the end of another node's leases. Every node does so, since the other node may be the
    /// leader.
    fn schedule_rescue(&mut self, next_end: Option<Duration>, ctx: &mut Context<Self>) {
        if let Some(timer) = self.next_end.take() {
            ctx.cancel_future(timer);
        }
        self.next_end = next_end.map(|until| {
            ctx.run_later(until + ENDED, |cluster, ctx| {
                cluster.next_end = None;
                cluster.rescue(ctx);
            })
        });
    }

    /// Rescues the tasks of silent nodes once per [`RESCUE`], if this node is the leader.
    fn rescue_if_due(&mut self, ctx: &mut Context<Self>) {
        if self.leads.is_some() && self.rescued_at.elapsed() >= RESCUE {
            self.rescue(ctx);
        }
    }

    fn rescue(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.now();
        self.rescued_at = Instant::now();
        let call = self.deps.store.rescue(Rescue::Expired { now });
        ctx.spawn(call.into_actor(self).map(|rescued, cluster, ctx| match rescued {
            Ok(rescued) if rescued.requeued.is_empty() && rescued.dead.is_empty() => {}
            Ok(rescued) => {
                let (requeued, dead) = (rescued.requeued.len(), rescued.dead.len());
                tracing::warn!(requeued, dead, "re-queued the tasks of a lost node");
                for pool in cluster.pools.values() {
                    pool.work_available.do_send(WorkAvailable);
                }
                // The leader divides the agents of the lost node among the remaining nodes.
                cluster.heartbeat(ctx);
            }
            Err(error) => tracing::warn!(%error, "cannot find tasks of lost nodes"),
        }));
    }

    /// Stops the tasks whose leases are about to end: other nodes then run them.
    fn stop_if_late(&mut self, ctx: &mut Context<Self>) {
        let late = self.renewed_at.elapsed() >= LEASE - MARGIN;
        if late && !self.lost && !self.has_left {
            self.lost = true;
            self.leads = None;
            metrics::cluster(1, false);
            self.deps.is_leader.store(false, Ordering::Relaxed);
            tracing::error!("no heartbeat succeeded for the length of a lease; stopping the node's tasks");
            for pool in self.pools.values() {
                pool.stop_all.do_send(StopAll);
                pool.view.do_send(ClusterView {
                    leads: false,
                    others: Vec::new(),
                    plan: None,
                    heartbeat: ctx.address().recipient(),
                });
            }
        }
    }
}

/// Returns the node that plans for a pool. This is the leader, unless it does not have the pool and so makes no plan
/// for it. Then it is the first of the nodes that have the pool.
fn planner_of(leader: NodeId, this: NodeId, reporting: &BTreeMap<NodeId, &PoolReport>) -> NodeId {
    match leader == this || reporting.contains_key(&leader) {
        true => leader,
        // This node has the pool, whether or not its report has arrived.
        false => reporting.keys().copied().chain([this]).min().unwrap_or(this),
    }
}

/// Collects the reports of the pools for the other nodes, and the plans of the forecasts.
fn collect_reports(
    started_at: Timestamp,
    leads: bool,
    reports: Vec<(PoolName, Result<ReportReady, actix::MailboxError>)>,
) -> (NodeReport, PlanText) {
    let mut pools = BTreeMap::<PoolName, PoolReport>::new();
    let mut plans = PlanText::new();
    for (name, reported) in reports {
        let Ok(ReportReady { report, plan }) = reported else { continue };
        // A node that plans in place of the leader puts the plan into its own report.
        let plan = match leads {
            true => {
                plans.extend(plan.map(|plan| (name.clone(), plan)));
                None
            }
            false => plan,
        };
        pools.insert(name, PoolReport { plan, ..report });
    }
    (NodeReport { version: env!("CARGO_PKG_VERSION").to_owned(), started_at, pools }, plans)
}

fn text(what: &impl serde::Serialize) -> String {
    serde_json::to_string(what).expect("reports and plans are maps with text keys")
}

impl Actor for ClusterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(notifications) = self.deps.store.subscribe() {
            ctx.add_stream(stream_of(notifications));
        }
        self.heartbeat(ctx);
        ctx.run_interval(HEARTBEAT, |cluster, ctx| {
            cluster.stop_if_late(ctx);
            if !cluster.in_flight {
                cluster.heartbeat(ctx);
            }
        });
    }
}

impl Handler<ListNodes> for ClusterActor {
    type Result = Nodes;

    fn handle(&mut self, _: ListNodes, _: &mut Self::Context) -> Nodes {
        Nodes(self.nodes.clone())
    }
}

impl Handler<HeartbeatNow> for ClusterActor {
    type Result = ();

    fn handle(&mut self, _: HeartbeatNow, ctx: &mut Self::Context) {
        self.heartbeat(ctx);
    }
}

impl Handler<Leave> for ClusterActor {
    type Result = ();

    fn handle(&mut self, msg: Leave, ctx: &mut Self::Context) {
        self.has_left = true;
        let call = self.deps.store.deregister(self.deps.node);
        let left = async move {
            if let Err(error) = call.await {
                tracing::warn!(%error, "cannot deregister the node; other nodes wait until its lease ends");
            }
            let _ = msg.reply.send(());
        };
        ctx.spawn(left.into_actor(self));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_planned_by_the_leader_or_by_the_first_node_that_has_it() {
        let node = |n| NodeId::from_parts(Timestamp::from_micros(n), 1);
        let report = PoolReport::default();
        // Leader, this node, nodes whose reports have the pool → the node that plans.
        for (leader, this, reporting, planner) in [
            (1, 1, vec![], 1),
            (1, 2, vec![1, 2], 1),
            (1, 2, vec![2, 3], 2),
            (1, 3, vec![2, 3], 2),
            (1, 3, vec![], 3),
            (1, 2, vec![3], 2),
        ] {
            let reporting = reporting.into_iter().map(|n| (node(n), &report)).collect();
            assert_eq!(planner_of(node(leader), node(this), &reporting), node(planner));
        }
    }
}

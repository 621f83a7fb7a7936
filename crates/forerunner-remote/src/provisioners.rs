//! Makes another system run as many remote agents as the pools want.

use std::{future::pending, time::Duration};

use forerunner_agents::remote::{CommandFailed, ProvisionPlan, ProvisionerSpec};
use forerunner_service::{Service, record_provisioner_run};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

/// How often a provisioner asks what its pool wants.
const INTERVAL: Duration = Duration::from_secs(1);

/// The provisioners of a node's pools. They run while this lives; dropping it kills a command that runs.
#[derive(Debug, Default)]
#[must_use = "provisioners stop when this is dropped"]
pub struct Provisioners(Vec<JoinHandle<()>>);

impl Provisioners {
    /// Starts a task for each pool whose spec has a command. Needs an actix system.
    ///
    /// Of several nodes, the leader runs the commands. The service must reach all pools.
    pub fn start<'a>(service: &Service, pools: impl IntoIterator<Item = (&'a str, &'a ProvisionerSpec)>) -> Self {
        let with_command = pools.into_iter().filter(|(_, spec)| spec.is_set());
        let started = with_command.map(|(pool, spec)| {
            let provisioner = Provisioner { service: service.clone(), pool: pool.to_owned(), spec: spec.clone() };
            actix_rt::spawn(provisioner.serve())
        });
        Self(started.collect())
    }
}

impl Drop for Provisioners {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

struct Provisioner {
    service: Service,
    pool: String,
    spec: ProvisionerSpec,
}

impl Provisioner {
    async fn serve(self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Those of the time as the leader.
        let mut plan = None;
        let mut running = None;
        loop {
            tokio::select! {
                (number, ended) = ended(&mut running) => {
                    running = None;
                    if let Some(plan) = &mut plan {
                        self.record(plan, number, ended);
                    }
                }
                // Another node provides for the pool.
                _ = ticks.tick() => if !self.service.leads() {
                    (plan, running) = (None, None);
                } else if let Some(wanted) = self.wanted().await {
                    let now = Instant::now();
                    let plan = plan.get_or_insert_with(|| ProvisionPlan::new(&self.spec, wanted.there, now));
                    if let Some(number) = plan.next_run(wanted.agents, now) {
                        running = Some((number, Box::pin(self.spec.run(&self.pool, number))));
                    }
                },
            }
        }
    }

    /// Returns what the pool wants; `None` if that is not known now.
    async fn wanted(&self) -> Option<Wanted> {
        let pool = self.service.pool(&self.pool).await.ok()?;
        // Before its first decision a pool wants what its bounds say. Agents of the time before would stop.
        pool.decision.as_ref()?;
        let there = pool.agents.ready + pool.agents.busy;
        let agents = pool.desired.max(pool.agents.busy).min(pool.max).max(pool.min);
        Some(Wanted { agents, there })
    }

    fn record(&self, plan: &mut ProvisionPlan, agents: u32, ended: Result<(), CommandFailed>) {
        let pause = plan.ended(agents, ended.is_ok(), Instant::now());
        record_provisioner_run(&self.pool, agents, plan.failures());
        let pool = self.pool.as_str();
        match (ended, pause) {
            (Err(error), Some(pause)) => tracing::warn!(
                pool,
                agents,
                %error,
                failures = plan.failures(),
                retry_in = ?pause,
                "cannot run the provisioner of a pool; its agents stay as many as they are"
            ),
            _ => tracing::info!(pool, agents, "the provisioner was run"),
        }
    }
}

/// What a pool wants, and how many agents it has.
struct Wanted {
    agents: u32,
    there: u32,
}

/// Waits for the end of the run, if there is one.
async fn ended<F: Future<Output = Result<(), CommandFailed>> + Unpin>(
    running: &mut Option<(u32, F)>,
) -> (u32, Result<(), CommandFailed>) {
    match running {
        Some((number, run)) => (*number, run.await),
        None => pending().await,
    }
}

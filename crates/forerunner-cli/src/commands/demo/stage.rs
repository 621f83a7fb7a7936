//! What the demo runs on: the real service on a temporary store, with two pools of real child processes.

use std::time::Duration;

use anyhow::Context;
use forerunner_agents::{AgentSpec, process::ProcessSpec};
use forerunner_core::PoolName;
use forerunner_forecast::PolicyKind;
use forerunner_lab::{
    demo::{HISTORY_S, Load, PoolRole},
    seed::{OffsetPolicy, TrainedPolicy, train},
};
use forerunner_runtime::PoolSettings;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    commands::serve::Service,
    config::{Config, PoolConfig},
    seed::remember,
};

/// Most agents of a pool. The load needs half of them, and a small machine can run these.
const MOST_AGENTS: u32 = 48;
/// Seconds between the start of the agents and the first task, beyond a cold start.
const MARGIN_S: f64 = 2.0;

/// The running service and its directory; [`Stage::clear`] removes both.
pub struct Stage {
    /// The service.
    pub service: Service,
    /// When the first task is due.
    pub begin: Instant,
    directory: TempDir,
}

/// The name of a pool.
pub const fn pool(which: PoolRole) -> &'static str {
    match which {
        PoolRole::Ours => "forerunner",
        PoolRole::Theirs => "other",
    }
}

/// Returns the settings of a pool: defaults for all but the policy, the size and the cold start.
pub fn settings(policy: PolicyKind, cold_start: Duration) -> PoolSettings {
    let (min, max) = match policy {
        PolicyKind::Fixed(fixed) => (fixed.size, fixed.size),
        _ => (1, MOST_AGENTS),
    };
    PoolSettings { policy, min, max, max_starting: Some(max), cold_start, ..PoolSettings::default() }
}

impl Stage {
    /// Starts the service. Both policies have seen the history of the load until the agents start.
    pub async fn set(pools: [PoolSettings; 2], load: &Load) -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix("forerunner-demo-").context("no temporary directory can be made")?;
        let [ours, theirs] = pools;
        let lead_s = ours.cold_start.as_secs_f64() + MARGIN_S;
        let config = config([ours.clone(), theirs.clone()], &directory)?;
        let store = forerunner_store::open(&config.store.url)?;
        let until_s = HISTORY_S - lead_s;
        for (which, settings) in [(PoolRole::Ours, &ours), (PoolRole::Theirs, &theirs)] {
            let taught = train(settings.policy, settings.limits(), &load.trace, until_s)?;
            remember(store.as_ref(), &PoolName::new(pool(which))?, &taught.learned()).await?;
        }
        // Only Forerunner's policy saves what it knows. The other one is taught again when its pool makes it.
        let (trace, kind) = (load.trace.clone(), theirs.policy);
        let begin = Instant::now() + Duration::from_secs_f64(lead_s);
        let service = Service::start_with(store, &config, |spec| {
            if spec.name.as_str() == pool(PoolRole::Ours) {
                return spec;
            }
            let trace = trace.clone();
            spec.policy(move |limits| match train(kind, limits, &trace, until_s) {
                Ok(TrainedPolicy { policy, .. }) => Box::new(OffsetPolicy::new(policy, until_s)),
                Err(error) => unreachable!("the same settings were taught before: {error}"),
            })
        });
        Ok(Self { service: service.await?, begin, directory })
    }

    /// Stops the service and removes its files.
    pub async fn clear(self, grace: Duration) -> anyhow::Result<()> {
        let stopped = self.service.shutdown(grace).await;
        self.directory.close().context("the temporary directory cannot be removed")?;
        stopped
    }
}

fn config(pools: [PoolSettings; 2], directory: &TempDir) -> anyhow::Result<Config> {
    let program = std::env::current_exe().context("this program's own path is not known")?;
    let mut config = Config::default();
    config.store.url = format!("sqlite:{}", directory.path().join("demo.db").display());
    config.http.listen = "127.0.0.1:0".to_owned();
    for (which, settings) in PoolRole::BOTH.into_iter().zip(pools) {
        let cold_start = forerunner_core::format_duration(settings.cold_start);
        let argv = [program.display().to_string(), "agent".to_owned(), "--cold-start".to_owned(), cold_start];
        // Everything is in one directory, which is removed even if there is no time to stop the agents one by one.
        let mut agent = ProcessSpec::new(argv);
        agent.cwd = Some(directory.path().to_path_buf());
        let made = PoolConfig { agent: AgentSpec::Process(agent), settings };
        config.pools.insert(PoolName::new(pool(which))?, made);
    }
    Ok(config)
}

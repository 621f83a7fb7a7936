//! What the demo runs on: the real service on a temporary store, with real child processes.

use std::time::Duration;

use anyhow::Context;
use forerunner_agents::{AgentSpec, process::ProcessSpec};
use forerunner_core::{Clock, PoolName};
use forerunner_lab::demo::{Slice, learn};
use forerunner_runtime::{PoolSettings, SystemClock};
use forerunner_store::Store;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    commands::serve::Service,
    config::{Config, PoolConfig},
};

/// The pool of the demo.
pub const POOL: &str = "demo";

/// The running service and its directory; [`Stage::clear`] removes both.
pub struct Stage {
    /// The service.
    pub service: Service,
    directory: TempDir,
}

/// Returns the pool's settings: defaults for all but the size and the cold start.
pub fn settings(cold_start: Duration) -> PoolSettings {
    // The agents of the demo sleep while they start: many at once cost nothing.
    PoolSettings { min: 1, max: 200, max_starting: Some(200), cold_start, ..PoolSettings::default() }
}

impl Stage {
    /// Starts the service, its forecast knowing the history right before the slice, as after a restart.
    pub async fn set(settings: PoolSettings, slice: &Slice) -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix("forerunner-demo-").context("no temporary directory can be made")?;
        let config = config(settings.clone(), &directory)?;
        let store = forerunner_store::open(&config.store.url)?;
        remember(store.as_ref(), &settings, slice).await?;
        let service = Service::start_on(store, &config).await?;
        Ok(Self { service, directory })
    }

    /// Stops the service and removes its files.
    pub async fn clear(self, grace: Duration) -> anyhow::Result<()> {
        let stopped = self.service.shutdown(grace).await;
        self.directory.close().context("the temporary directory cannot be removed")?;
        stopped
    }
}

fn config(settings: PoolSettings, directory: &TempDir) -> anyhow::Result<Config> {
    let program = std::env::current_exe().context("this program's own path is not known")?;
    let cold_start = forerunner_core::format_duration(settings.cold_start);
    let argv = [program.display().to_string(), "agent".to_owned(), "--cold-start".to_owned(), cold_start];
    let mut config = Config::default();
    config.store.url = format!("sqlite:{}", directory.path().join("demo.db").display());
    config.http.listen = "127.0.0.1:0".to_owned();
    // Everything is in one directory, which is removed even if there is no time to stop the agents one by one.
    let agent = ProcessSpec { cwd: Some(directory.path().to_path_buf()), ..ProcessSpec::new(argv) };
    let pool = PoolConfig { agent: AgentSpec::Process(agent), settings };
    config.pools.insert(PoolName::new(POOL)?, pool);
    Ok(config)
}

/// Writes what a node that had seen the history would have stored when it stopped.
async fn remember(store: &dyn Store, settings: &PoolSettings, slice: &Slice) -> anyhow::Result<()> {
    let Some(learned) = learn(settings.policy, settings.limits(), slice)? else { return Ok(()) };
    let note = json!({
        "at": SystemClock.now(),
        "policy": learned.policy,
        "text": learned.text,
        "desired": learned.desired,
        "seq": 0,
    });
    store.put_setting(format!("pool/{POOL}/history"), Some(note.to_string())).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use forerunner_agents::SimulatedFactory;
    use forerunner_lab::demo::Cut;
    use forerunner_runtime::{Node, NodeSpec, PoolSpec};

    use super::*;

    #[actix_rt::test]
    async fn a_node_takes_up_the_history_it_is_given() {
        let slice = Slice::cut(Cut { from: 22, minutes: 20, speed: 10.0, seed: 0 }).expect("inside the trace");
        let settings = settings(Duration::from_secs(2));
        let wanted =
            learn(settings.policy, settings.limits(), &slice).expect("valid").expect("there is history").desired;
        assert!((35..120).contains(&wanted), "about 40 agents are busy in the minutes before: {wanted}");

        let store = forerunner_store::open("memory:").expect("a store");
        remember(store.as_ref(), &settings, &slice).await.expect("a store that takes notes");
        let agents = std::sync::Arc::new(SimulatedFactory::new(Default::default()).expect("valid"));
        let pool = PoolSpec::new(POOL, settings, agents).expect("valid");
        let node = Node::start(NodeSpec::new(store).pool(pool)).await.expect("a node");
        let status = node.handle().pool(POOL).await.expect("the pool");
        node.shutdown(Duration::ZERO).await;
        assert_eq!(status.agents.size(), wanted);
    }
}
